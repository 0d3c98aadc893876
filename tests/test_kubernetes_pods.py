"""The pods that dagster-k8s would start for the assets, from the real definitions and the Helm values."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
from dagster._config import process_config
from dagster_k8s import K8sRunLauncher, k8s_job_executor
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import construct_dagster_k8s_job, get_user_defined_k8s_config
from kubernetes.client import ApiClient

import definitions
from assets.corpus import Corpus
from headwater.cgroup import cpu_limit
from headwater.config import load_corpus_file, scaffold_corpus
from headwater.errors import ConfigError, GateError, LeaseError
from headwater.policies import CorpusPolicy, PodShape
from headwater.pool import usable_cpus
from resources.executor import VARIABLE, executor, failing_for_good
from resources.pods import POD_TAG, SHAPES, pod_shape
from tests.manifests import K8S, NEWEST, OLDEST, OVERLAYS, VALUES, Manifest, kustomize, mounted_corpora, render, values

SOURCE = {"source": {"uri": "s3://bucket"}}


def policy(**attributes: Any) -> CorpusPolicy:
    return CorpusPolicy.model_validate({**SOURCE, **attributes})


def assets_of(policy: CorpusPolicy, name: str = "depot") -> dict[str, dg.AssetsDefinition]:
    defs = dg.build_defs_for_component(Corpus(name=name, policy=policy))
    return {
        each.key.path[-1]: each
        for each in defs.assets or []
        if isinstance(each, dg.AssetsDefinition) and each.is_executable
    }


def launcher_config(overlay: str) -> dict[str, Any]:
    """Return the run launcher's configuration that the chart makes of the Helm values (its template _run-launcher)."""
    found = values(*VALUES[overlay])
    config = dict(found["runLauncher"]["config"]["k8sRunLauncher"])
    run = config.pop("runK8sConfig")
    return {
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": "/opt/dagster/dagster_home",
        "job_namespace": "headwater",
        "postgres_password_secret": found["global"]["postgresqlSecretName"],
        **{re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), key): value for key, value in config.items()},
        "run_k8s_config": {
            re.sub(r"[A-Z]|(?<=[a-z])8", lambda match: "_" + match[0].lower(), key): value for key, value in run.items()
        },
    }


def code_location_context(overlay: str) -> dict[str, Any]:
    """Return what the code server says of its runs' containers (the chart's template k8sContainerContext)."""
    (deployment,) = values(*VALUES[overlay])["dagster-user-deployments"]["deployments"]
    context: dict[str, Any] = {
        "image_pull_policy": deployment["image"]["pullPolicy"],
        "env_config_maps": [each["name"] for each in deployment["envConfigMaps"]],
        "env_secrets": [each["name"] for each in deployment.get("envSecrets", [])],
        "volume_mounts": deployment["volumeMounts"],
        "volumes": deployment["volumes"],
        "env": deployment["env"],
        "namespace": "headwater",
        "service_account_name": "dagster-user-deployments",
    }
    if "resources" in deployment:
        context["resources"] = deployment["resources"]
    return {"k8s": context}


KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: nobody, user: {}}]
contexts: [{name: none, context: {cluster: none, user: nobody}}]
current-context: none
"""


@cache
def launcher(overlay: str) -> K8sRunLauncher:
    """Return the run launcher of the Helm values. Nothing is asked of a cluster when it is made."""
    with tempfile.NamedTemporaryFile("w") as kubeconfig:
        kubeconfig.write(KUBECONFIG)
        kubeconfig.flush()
        config = {**launcher_config(overlay), "load_incluster_config": False, "kubeconfig_file": kubeconfig.name}
        checked = process_config(K8sRunLauncher.config_type(), config)
        assert checked.success, checked.errors
        made: K8sRunLauncher = K8sRunLauncher.from_config_value(None, checked.value)
        return made


def step_job(tags: dict[str, str], overlay: str = "production") -> Manifest:
    """Return the Job of a step with these op tags: launcher, code location and tag, merged as the executor does."""
    context = (
        K8sContainerContext.create_for_run(dg.DagsterRun(job_name="reindex"), launcher(overlay), include_run_tags=False)
        .merge(K8sContainerContext.create_from_config(code_location_context(overlay)))
        .merge(K8sContainerContext(run_k8s_config=get_user_defined_k8s_config(tags)))
    )
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config("headwater:test", launcher(overlay)),
        args=["dagster", "api", "execute_step"],
        job_name="dagster-step-test",
        component="step_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return dict(ApiClient().sanitize_for_serialization(job))


def run_pod(overlay: str) -> Manifest:
    """Return the pod template of a run, which the launcher starts."""
    run = dg.DagsterRun(job_name="reindex")
    context = K8sContainerContext.create_for_run(run, launcher(overlay), include_run_tags=False).merge(
        K8sContainerContext.create_from_config(code_location_context(overlay))
    )
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config("headwater:test", launcher(overlay)),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run-test",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    template: Manifest = ApiClient().sanitize_for_serialization(job)["spec"]["template"]
    return template


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_code_server_and_a_runs_pod_have_what_the_deployment_says(overlay: str) -> None:
    (container,) = run_pod(overlay)["spec"]["containers"]
    (deployment,) = values(*VALUES[overlay])["dagster-user-deployments"]["deployments"]
    assert container["resources"] == deployment["resources"]


def tags(asset: dg.AssetsDefinition) -> dict[str, str]:
    return {name: value for name, value in asset.op.tags.items() if isinstance(value, str)}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_the_pod_of_every_asset_is_valid(overlay: str, version: str) -> None:
    found = assets_of(policy())
    assert len(found) == 16
    for name, asset in found.items():
        job = step_job(tags(asset), overlay)
        kubernetes_validate.validate(job, version, strict=True)
        shape = pod_shape(policy(), name)
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        wanted = {"cpu": shape.cpu, "memory": shape.memory, "ephemeral-storage": shape.scratch}
        if shape.gpus:
            wanted["nvidia.com/gpu"] = str(shape.gpus)
        assert container["resources"] == {"requests": wanted, "limits": wanted}, name
        assert pod.get("nodeSelector", {}) == shape.node_selector
        assert [each["key"] for each in pod.get("tolerations", [])] == [each.key for each in shape.tolerations]
        assert job["spec"]["backoffLimit"] == 0
        assert pod["restartPolicy"] == "Never"
        assert job["spec"]["template"]["metadata"]["labels"]["headwater/asset"] == name


def test_embedding_alone_asks_for_a_gpu_and_parsing_for_the_most_memory() -> None:
    found = {name: step_job(tags(asset))["spec"]["template"]["spec"] for name, asset in assets_of(policy()).items()}
    limits = {name: pod["containers"][0]["resources"]["limits"] for name, pod in found.items()}
    assert [name for name, limit in limits.items() if "nvidia.com/gpu" in limit] == ["embeddings"]
    assert found["embeddings"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert found["embeddings"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    heaviest = max(limits, key=lambda name: PodShape(memory=limits[name]["memory"]).memory_bytes)
    assert heaviest == "parsed_documents"
    for name in limits.keys() - SHAPES.keys():
        assert limits[name] == {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "4Gi"}


@pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here (make kustomize)")
@pytest.mark.parametrize(("overlay", "gpus"), [("production", {}), ("gpu", {"embeddings": "1"})])
def test_steps_ask_for_gpus_with_the_image_that_can_use_them_and_only_then(
    overlay: str, gpus: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpora = mounted_corpora(render(K8S / "overlays" / overlay), tmp_path, monkeypatch)
    for name, mounted in corpora.items():
        jobs = {asset: step_job(tags(each), overlay) for asset, each in assets_of(mounted, name).items()}
        found = {asset: job["spec"]["template"]["spec"] for asset, job in jobs.items()}
        limits = {asset: pod["containers"][0]["resources"]["limits"] for asset, pod in found.items()}
        assert {asset: each["nvidia.com/gpu"] for asset, each in limits.items() if "nvidia.com/gpu" in each} == gpus
        assert {asset for asset, pod in found.items() if "nodeSelector" in pod or "tolerations" in pod} == gpus.keys()
        kubernetes_validate.validate(jobs["embeddings"], NEWEST, strict=True)
    (code,) = values(*VALUES[overlay])["dagster-user-deployments"]["deployments"]
    assert code["image"]["tag"].endswith("-cuda") == bool(gpus)


def test_a_pod_is_confined_and_gets_the_project_the_secrets_and_no_more_threads_than_processors() -> None:
    job = step_job(tags(assets_of(policy())["parsed_documents"]))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/project", "/var/lib/headwater", "/tmp"} <= mounted
    assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
    env = {each["name"]: each for each in container["env"]}
    assert env["HEADWATER_LEDGER_URL"]["valueFrom"]["secretKeyRef"] == {"name": "headwater-ledger", "key": "url"}
    assert env["OMP_NUM_THREADS"]["value"] == "4"
    assert {"configMapRef": {"name": "headwater-settings"}} in container["envFrom"]


def test_the_shape_of_a_pod_is_the_corpus_own(tmp_path: Path) -> None:
    file = tmp_path / "assets" / "depot" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        scaffold_corpus("s3://bucket")
        + """
  pods:
    embed: {cpu: "8", memory: 32Gi, gpus: 2, gpu_resource: amd.com/gpu, node_selector: {pool: big}}
    text: {cpu: 500m}
"""
    )
    found = assets_of(load_corpus_file(file))
    embeddings = step_job(tags(found["embeddings"]))["spec"]["template"]["spec"]
    assert embeddings["containers"][0]["resources"]["limits"]["amd.com/gpu"] == "2"
    assert embeddings["nodeSelector"] == {"pool": "big"}
    assert "tolerations" not in embeddings
    chunks = step_job(tags(found["chunks"]))["spec"]["template"]["spec"]["containers"][0]
    assert chunks["resources"]["limits"]["cpu"] == "500m"
    assert {each["name"]: each.get("value") for each in chunks["env"]}["OMP_NUM_THREADS"] == "1"


def test_where_an_endpoint_embeds_the_pod_needs_no_gpu() -> None:
    remote = policy(embed={"url": "http://embeddings:8000/v1", "model": "bge-m3"})
    pod = step_job(tags(assets_of(remote)["embeddings"]))["spec"]["template"]["spec"]
    limits = pod["containers"][0]["resources"]["limits"]
    # Its rows and vectors are on its disk all the same.
    assert limits == {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "40Gi"}
    assert "nodeSelector" not in pod


ON_RAY = {"compute": {"engine": "ray", "address": "ray://headwater-head-svc:10001"}}


def test_what_a_ray_cluster_computes_needs_a_light_pod() -> None:
    light = {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "40Gi"}
    found = {name: step_job(tags(asset)) for name, asset in assets_of(policy(**ON_RAY)).items()}
    specs = {name: job["spec"]["template"]["spec"] for name, job in found.items()}
    limits = {name: spec["containers"][0]["resources"]["limits"] for name, spec in specs.items()}
    elsewhere = {"parsed_documents", "quality_documents", "anonymized_documents", "chunks", "embeddings"}
    assert {name for name in SHAPES if limits[name] == light} == elsewhere
    assert not [name for name, spec in specs.items() if "nodeSelector" in spec or "tolerations" in spec]
    # Duplicates are clustered by the step itself.
    assert limits["deduplicated_documents"] == {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "40Gi"}
    # A model in the step's own process, and parsers of any size on the cluster.
    compute = {**ON_RAY["compute"], "actors": 0}
    own = policy(compute=compute, parse={"memory_mb": 65_536}, pods={"retries": 1})
    assert pod_shape(own, "embeddings").gpus == 1
    assert pod_shape(own, "parsed_documents").memory == "2Gi"


def test_with_a_ray_cluster_no_step_waits_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "k8s")
    assert {asset.op.pool for asset in assets_of(policy(**ON_RAY)).values()} == {"corpus_depot"}


SPOOLED_BYTES = 2_400
"""Of one chunk, in the file in which a stage's new rows wait for their commit: chunks and embeddings alike."""


@pytest.mark.parametrize("stated", [{}, {"embed": {"cpu": "4", "memory": "8Gi", "gpus": 0}, "text": {"cpu": "8"}}])
def test_the_rows_of_a_first_index_of_a_million_documents_find_room(stated: dict[str, Any]) -> None:
    chunks, dimensions = 8_900_000, 384  # docs/scale.md
    shaped = policy(pods=stated)
    for asset in SHAPES.keys() - {"index_candidate", "retrieval_evaluation"}:
        rows = chunks * SPOOLED_BYTES
        vectors = chunks * 4 * dimensions if asset == "embeddings" else 0  # their cache, in the same home
        assert pod_shape(shaped, asset).scratch_bytes > rows + vectors, asset


@pytest.mark.parametrize("overlay", ["production", "gpu"])
def test_a_pods_volumes_hold_what_it_may_write(overlay: str) -> None:
    largest = max(pod_shape(policy(), asset).scratch_bytes for asset in SHAPES)
    volumes = {each["name"]: each for each in code_location_context(overlay)["k8s"]["volumes"]}
    for name in ("home", "tmp"):
        assert PodShape(scratch=volumes[name]["emptyDir"]["sizeLimit"]).scratch_bytes >= largest


@pytest.mark.parametrize(
    ("pods", "message"),
    [
        ("{embed: {memory: 8GB}}", r"pods\.embed\.memory"),
        ("{embed: {cpu: four}}", r"pods\.embed\.cpu"),
        ("{embed: {gpus: -1}}", r"pods\.embed\.gpus"),
        ("{embed: {tolerations: [{key: a, effect: Never}]}}", r"pods\.embed\.tolerations"),
        ("{embedding: {}}", r"pods\.embedding"),
        ("{retries: -1}", r"pods\.retries"),
        ("{parse: {memory: 1Gi}}", r"pods\.parse\.memory \(1Gi\) has no room .* 3Gi or more"),
    ],
)
def test_a_wrong_shape_fails_at_load_with_file_and_line(tmp_path: Path, pods: str, message: str) -> None:
    file = tmp_path / "defs.yaml"
    lines = ["type: assets.corpus.Corpus", "attributes:", "  source: {uri: s3://bucket}", f"  pods: {pods}"]
    file.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=message) as raised:
        load_corpus_file(file)
    assert re.match(rf"{re.escape(str(file))}:[24]: ", str(raised.value))


def test_where_there_are_no_pods_a_parser_may_have_more_memory_than_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    file = tmp_path / "defs.yaml"
    text = "type: assets.corpus.Corpus\nattributes:\n  source: {uri: s3://bucket}\n  parse: {memory_mb: 16384}\n"
    file.write_text(text)
    assert load_corpus_file(file).parse.memory_mb == 16384
    message = r"pods\.parse\.memory \(12Gi\) has no room .* 17Gi or more"
    monkeypatch.setenv(VARIABLE, "k8s")
    with pytest.raises(ConfigError, match=message):
        load_corpus_file(file)
    monkeypatch.setenv(VARIABLE, "in_process")
    file.write_text(f"{text}  pods: {{retries: 1}}\n")
    with pytest.raises(ConfigError, match=message):
        load_corpus_file(file)


def test_pods_are_no_part_of_what_decides_rows() -> None:
    plain, shaped = assets_of(policy()), assets_of(policy(pods={"light": {"memory": "64Gi"}}))
    for name in plain:
        assert (
            plain[name].specs_by_key[plain[name].key].code_version
            == shaped[name].specs_by_key[plain[name].key].code_version
        )


def test_steps_run_within_the_run_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert executor() is dg.in_process_executor
    assert {asset.op.pool for asset in assets_of(policy()).values()} == {"corpus_depot"}
    assert {asset.op.retry_policy for asset in assets_of(policy()).values()} == {None}
    monkeypatch.setenv(VARIABLE, "kubernetes")
    with pytest.raises(
        ConfigError, match=r"HEADWATER_EXECUTOR is 'kubernetes'; it can be in_process .*, multiprocess or k8s"
    ):
        executor()


def test_on_kubernetes_steps_are_jobs_are_tried_again_and_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "k8s")
    assert executor() is k8s_job_executor
    found = {**assets_of(policy()), **{f"other {name}": each for name, each in assets_of(policy(), "other").items()}}
    assert {name for name, asset in found.items() if asset.op.pool == "gpu"} == {"embeddings", "other embeddings"}
    assert found["chunks"].op.pool == "corpus_depot"
    assert found["chunks"].op.retry_policy == dg.RetryPolicy(max_retries=2, delay=65)
    assert assets_of(policy(pods={"retries": 0}))["chunks"].op.retry_policy is None
    assert definitions.defs().executor is k8s_job_executor


def test_errors_that_a_second_try_would_repeat_fail_at_once() -> None:
    def failing(error: Exception) -> None:
        raise error

    with pytest.raises(dg.Failure, match="no such field") as raised:
        failing_for_good(failing)(ConfigError("no such field"))
    assert raised.value.allow_retries is False
    with pytest.raises(dg.Failure):
        failing_for_good(failing)(GateError("recall"))
    with pytest.raises(LeaseError):
        failing_for_good(failing)(LeaseError("another writer"))


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({"cpu.max": "400000 100000"}, 4),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "5000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
        ({"cpu.max": "nonsense"}, None),
    ],
)
def test_a_containers_limit_is_read_from_its_control_group(
    tmp_path: Path, files: dict[str, str], processors: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert cpu_limit(tmp_path) == processors


def test_workers_follow_the_limit_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.pool.cpu_limit", lambda: 1)
    assert usable_cpus() == 1
    monkeypatch.setattr("headwater.pool.cpu_limit", lambda: 100_000)
    assert usable_cpus() < 100_000


def test_the_pod_tag_names_only_what_dagster_k8s_knows() -> None:
    broken = {POD_TAG: '{"container_cfg": {}}'}
    with pytest.raises(dg.DagsterInvalidConfigError, match="container_cfg"):
        get_user_defined_k8s_config(broken)
