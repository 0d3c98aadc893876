"""The manifests in k8s/, rendered by kustomize and checked against the API's schemas."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.config import load_corpus_file
from headwater.policies import CorpusPolicy

CHECKOUT = Path(__file__).parents[1]
K8S = CHECKOUT / "k8s"
OVERLAYS = ("dev", "production", "gpu")

VALUES = {
    "dev": ("values.yaml", "values-dev.yaml"),
    "production": ("values.yaml", "values-production.yaml"),
    "gpu": ("values.yaml", "values-production.yaml", "values-gpu.yaml"),
}
"""The files of Helm values that belong to an overlay, each laid over those before."""

OLDEST, NEWEST = "1.29", "1.37"
"""The supported versions of Kubernetes, which docs/kubernetes.md names."""

Manifest = dict[str, Any]


@cache
def kustomize() -> tuple[str, ...] | None:
    """Return the command that renders a folder: what ``make kustomize`` installed, else kubectl; None without either."""
    own = CHECKOUT / "build" / "kustomize" / "kustomize"
    if own.is_file():
        return (str(own), "build")
    if found := shutil.which("kustomize"):
        return (found, "build")
    return (found, "kustomize") if (found := shutil.which("kubectl")) else None


@cache
def _rendered(folder: Path) -> str:
    command = kustomize()
    assert command is not None
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(folder: Path) -> list[Manifest]:
    """Return the manifests that kustomize makes of a folder."""
    return [manifest for manifest in yaml.safe_load_all(_rendered(folder)) if manifest]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the pod template of each workload, with the workload's kind and name."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]] if manifest["kind"] == "RayCluster" else [spec]
        for group in groups:
            if "template" in group:
                yield f"{manifest['kind']} {manifest['metadata']['name']}", group["template"]


def containers(pod: Manifest) -> list[Manifest]:
    """Return all containers of a pod template."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the manifest of this kind and name."""
    (found,) = (each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def mounted_corpora(
    manifests: list[Manifest], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, CorpusPolicy]:
    """Return the policies of the corpora as the endpoint mounts them, read in the environment of its settings."""
    for name, value in one(manifests, "ConfigMap", "headwater-settings")["data"].items():
        monkeypatch.setenv(name, value)
    project = one(manifests, "ConfigMap", "headwater-project")["data"]
    pod = one(manifests, "Deployment", "headwater")["spec"]["template"]["spec"]
    (volume,) = (each for each in pod["volumes"] if each["name"] == "project")
    for item in volume["configMap"]["items"]:
        file = folder / item["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(project[item["key"]], encoding="utf-8")
    return {file.parent.name: load_corpus_file(file) for file in sorted(folder.glob("assets/*/defs.yaml"))}


def values(*names: str) -> Manifest:
    """Return the Helm values of these files laid over one another, as Helm does: maps are merged, lists replaced."""
    merged: Manifest = {}
    for name in names:
        merged = _laid_over(merged, yaml.safe_load((K8S / "dagster" / name).read_text(encoding="utf-8")))
    return json.loads(json.dumps(merged))  # YAML's anchors share objects; nobody should change two at once


def _laid_over(below: Manifest, above: Manifest) -> Manifest:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _laid_over(below[key], value) if both else value
    return merged
