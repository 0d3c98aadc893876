"""The values for Dagster's Helm chart. The chart is no package that could be installed here, so what can be checked without it
is: that they have the keys and types of the chart (by a schema of our own), that Dagster takes the instance configuration and
Kubernetes the pods that the chart's templates make of them, and that they agree with the manifests. (The pods of runs and
steps are checked in test_kubernetes_pods.py.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema, validate_concurrency_config
from jsonschema import Draft202012Validator

from tests.manifests import (
    CHECKOUT,
    K8S,
    NEWEST,
    OLDEST,
    OVERLAYS,
    VALUES,
    Manifest,
    containers,
    kustomize,
    pods,
    render,
    values,
)

SCHEMA = yaml.safe_load((CHECKOUT / "tests" / "helm_values.schema.yaml").read_text(encoding="utf-8"))
"""Our own schema of the values that we set: the chart's is laxer, and ignores most keys that it doesn't know."""


def mistakes(found: Manifest) -> list[str]:
    errors = Draft202012Validator(SCHEMA).iter_errors(found)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_values_have_the_keys_and_types_that_the_chart_knows(overlay: str) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert mistakes(values(*VALUES[overlay])) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dagsterWebserver.replicas", 2),
        ("dagsterWebserver.service.port", "3000"),
        ("dagsterDaemon.image.tag", 1.0),
        ("dagsterDaemon.image.pullPolicy", "Sometimes"),
        ("dagsterDaemon.runMonitoring.maxResumeAttempts", 3),
        ("dagsterDaemon.runRetries", None),
        ("dagster-user-deployments.deployments.0.envSecrets", ["headwater-storage"]),
        ("dagster-user-deployments.deployments.0.resource", {}),
        ("runLauncher.type", "K8SRunLauncher"),
        ("runLauncher.config.k8sRunLauncher.runK8sConfig.podSpec", {}),
        ("concurrency.pools.granularity", "step"),
        ("computeLogManager.type", "NoopComputeLogManager"),
        ("migrate.enabled", "false"),
        ("postgresql", {"enabled": False}),
        ("postgres", {}),
    ],
)
def test_a_mistake_in_the_values_is_found(path: str, value: Any) -> None:
    found = values(*VALUES["production"])
    *parts, last = path.split(".")
    node: Any = found
    for part in parts:
        node = node[int(part) if isinstance(node, list) else part]
    if value is None:
        del node[last]
    else:
        node[last] = value
    told = mistakes(found)
    assert told and all(each.startswith(".".join(parts)) for each in told), told


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_the_values_say_of_pods_makes_valid_pods(overlay: str, version: str) -> None:
    found = values(*VALUES[overlay])
    for part in (found["dagsterWebserver"], found["dagsterDaemon"], *found["dagster-user-deployments"]["deployments"]):
        container = {
            "name": "dagster",
            "image": f"{part['image']['repository']}:{part['image']['tag']}",
            "imagePullPolicy": part["image"]["pullPolicy"],
            "securityContext": part["securityContext"],
            "resources": part["resources"],
            "volumeMounts": part["volumeMounts"],
            "env": part.get("env", []),
            "envFrom": [
                *({"configMapRef": each} for each in part.get("envConfigMaps", [])),
                *({"secretRef": each} for each in part.get("envSecrets", [])),
            ],
        }
        spec = {"containers": [container], "volumes": part["volumes"], "securityContext": part["podSecurityContext"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dagster"}, "spec": spec}
        kubernetes_validate.validate(pod, version, strict=True)


def snake(key: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), key)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_dagster_takes_the_instance_that_the_chart_makes_of_them(overlay: str) -> None:
    found = values(*VALUES[overlay])
    daemon, concurrency = found["dagsterDaemon"], found["concurrency"]
    instance = {
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {
                snake(key): value for key, value in daemon["runCoordinator"]["config"]["queuedRunCoordinator"].items()
            },
        },
        "concurrency": {
            part: {snake(key): value for key, value in concurrency[part].items()} for part in ("pools", "runs")
        },
        "run_monitoring": {snake(key): value for key, value in daemon["runMonitoring"].items()},
        "sensors": {snake(key): value for key, value in daemon["sensors"].items()},
        "schedules": {snake(key): value for key, value in daemon["schedules"].items()},
        "telemetry": found["telemetry"],
        "compute_logs": {
            "module": "dagster.core.storage.noop_compute_log_manager",
            "class": found["computeLogManager"]["type"],
        },
        **found["additionalInstanceConfig"],
    }
    checked = process_config(dagster_instance_config_schema(), instance)
    assert checked.success, checked.errors
    validate_concurrency_config(instance)
    local = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text(encoding="utf-8"))["concurrency"]["runs"]
    assert instance["concurrency"]["runs"] == local, "the same limits as on one machine"


def migration() -> Manifest:
    manifests = render(K8S / "dagster" / "migrate")
    assert [(each["kind"], each["metadata"]["name"]) for each in manifests] == [("Job", "headwater-dagster-migrate")]
    return manifests[0]


@pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here (make kustomize)")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_dagsters_tables_are_migrated_by_our_job_with_the_charts_configuration(overlay: str) -> None:
    found = values(*VALUES[overlay])
    assert found["migrate"] == {"enabled": False}, "a job without labels, whose image can't be changed"
    ((_, pod),) = pods([migration()])
    (container,) = containers(pod)
    (password,) = (each["valueFrom"]["secretKeyRef"] for each in container["env"])
    assert password == {"name": found["global"]["postgresqlSecretName"], "key": "postgresql-password"}
    (web, daemon) = (found[part]["image"] for part in ("dagsterWebserver", "dagsterDaemon"))
    assert container["image"] == f"{web['repository']}:{web['tag']}" and web == daemon


@pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here (make kustomize)")
def test_the_migration_of_dagsters_tables_asks_nothing_of_kubernetes(tmp_path: Path) -> None:
    ((_, pod),) = pods([migration()])
    (container,) = containers(pod)
    assert pod["spec"]["automountServiceAccountToken"] is False
    home = container["volumeMounts"][0]["mountPath"].removesuffix("/dagster.yaml")
    assert f"DAGSTER_HOME={home}" in (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    launcher = {
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": home,
        "postgres_password_secret": "headwater-dagster-postgresql",
    }
    instance = {
        "run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher},
        "storage": {"sqlite": {"base_dir": str(tmp_path / "storage")}},
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance), encoding="utf-8")
    python, *rest = container["args"]
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *rest],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), "DAGSTER_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Updating run storage" in done.stdout and list((tmp_path / "storage").rglob("runs.db"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_dagster_pod_is_confined_as_the_namespace_demands(overlay: str) -> None:
    found = values(*VALUES[overlay])
    (code,) = found["dagster-user-deployments"]["deployments"]
    for part in (found["dagsterWebserver"], found["dagsterDaemon"], code):
        assert {"cpu", "memory"} <= part["resources"]["requests"].keys() and "memory" in part["resources"]["limits"]
        assert part["podSecurityContext"]["runAsNonRoot"] is True
        assert part["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert part["securityContext"]["readOnlyRootFilesystem"] is True
        assert part["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "/tmp" in {mount["mountPath"] for mount in part["volumeMounts"]}
        assert {mount["name"] for mount in part["volumeMounts"]} <= {volume["name"] for volume in part["volumes"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_dagster_runs_the_same_project_settings_and_image_as_the_endpoint(overlay: str) -> None:
    manifests = render(K8S / "overlays" / overlay)
    (code,) = values(*VALUES[overlay])["dagster-user-deployments"]["deployments"]
    endpoint = dict(pods(manifests))["Deployment headwater"]
    there = {each["metadata"]["name"] for each in manifests}
    assert code["name"] not in {each["metadata"]["name"] for each in manifests if each["kind"] == "Service"}
    assert {each["name"] for each in code["envConfigMaps"]} <= there
    # Nothing but steps computes on GPUs.
    cuda = "-cuda" if overlay == "gpu" else ""
    assert f"{code['image']['repository']}:{code['image']['tag']}" == containers(endpoint)[-1]["image"] + cuda
    assert not cuda or " AS cuda\n" in (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")

    def project(pod: Manifest) -> Any:
        (found,) = (each for each in pod["volumes"] if each["name"] == "project")
        return found

    assert project(code) == project(endpoint["spec"])
    for volume in code["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in there
    secrets = {
        each["valueFrom"]["secretKeyRef"]["name"] for each in code["env"] if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert secrets <= {"headwater-ledger", "headwater-qdrant", "headwater-models"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_value_is_a_secret(overlay: str) -> None:
    def look(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                assert not (re.search(r"(?i)password$|token$|secretkey$", key) and isinstance(value, str)), (
                    f"{path}.{key}"
                )
                look(value, f"{path}.{key}")
        elif isinstance(node, list):
            for value in node:
                look(value, path)

    look(values(*VALUES[overlay]), "")


def test_with_gpus_the_code_location_differs_from_production_in_its_image_alone() -> None:
    (plain,) = values(*VALUES["production"])["dagster-user-deployments"]["deployments"]
    (cuda,) = values(*VALUES["gpu"])["dagster-user-deployments"]["deployments"]
    assert {**cuda, "image": plain["image"]} == plain
