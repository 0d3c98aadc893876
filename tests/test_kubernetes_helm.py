"""The values for Dagster's Helm chart. The chart is no package that could be installed here, so what can be checked without it
is: that Dagster takes the instance configuration that the chart's templates make of them, that only keys are used that the
chart knows, and that they agree with the manifests. (The pods are checked in test_kubernetes_pods.py.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema, validate_concurrency_config

from tests.manifests import CHECKOUT, K8S, OVERLAYS, VALUES, Manifest, containers, kustomize, pods, render, values

KNOWN = {
    "": "additionalInstanceConfig computeLogManager concurrency dagster-user-deployments dagsterDaemon dagsterWebserver "
    "generatePostgresqlPasswordSecret global migrate postgresql runLauncher telemetry",
    "global": "dagsterHome postgresqlSecretName serviceAccountName",
    "dagsterWebserver": "image podSecurityContext replicaCount resources securityContext service volumeMounts volumes",
    "dagsterDaemon": "image podSecurityContext resources runCoordinator runMonitoring runRetries schedules securityContext "
    "sensors volumeMounts volumes",
    "dagster-user-deployments": "deployments enableSubchart enabled imagePullSecrets",
    "dagster-user-deployments.deployments": "codeServerArgs dagsterApiGrpcArgs env envConfigMaps envSecrets image "
    "includeConfigInLaunchedRuns labels name podSecurityContext port resources securityContext volumeMounts volumes",
    "runLauncher": "config type",
    "runLauncher.config": "k8sRunLauncher",
    "runLauncher.config.k8sRunLauncher": "failPodOnRunFailure imagePullPolicy jobNamespace labels resources runK8sConfig "
    "securityContext volumeMounts volumes",
    "runLauncher.config.k8sRunLauncher.runK8sConfig": "containerConfig jobMetadata jobSpecConfig podSpecConfig "
    "podTemplateSpecMetadata",
    "concurrency": "enabled pools runs",
    "concurrency.pools": "defaultLimit granularity opGranularityRunBuffer",
    "concurrency.runs": "maxConcurrentRuns tagConcurrencyLimits",
    "postgresql": "enabled postgresqlDatabase postgresqlHost postgresqlParams postgresqlUsername service",
}
"""Keys of the chart that may be used, from its values and schema as of version 1.13; the chart ignores all others."""


def at(found: Manifest, path: str) -> list[Manifest]:
    node: Any = found
    for part in filter(None, path.split(".")):
        node = node.get(part, {})
    return node if isinstance(node, list) else [node]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_keys_are_used_that_the_chart_knows(overlay: str) -> None:
    found = values(*VALUES[overlay])
    for path, known in KNOWN.items():
        for node in at(found, path):
            assert node.keys() <= set(known.split()), path or "top"


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
