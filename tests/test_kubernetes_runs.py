"""Runs whose steps are Kubernetes Jobs: Dagster's own launcher and executor, and an API server that runs Jobs here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import dagster as dg
import pytest
import yaml

from headwater.corpus import open_corpus
from tests.kubernetes_api import Cluster, running
from tests.manifests import CHECKOUT
from tests.test_dagster import make_project

T = TypeVar("T")
DAGSTER = str(Path(sys.executable).parent / "dagster")

pytestmark = pytest.mark.slow


def until(found: Callable[[], T], seconds: float, what: Callable[[], str]) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.2)
    pytest.fail(what())


def test_a_reindex_runs_step_by_step_as_jobs_and_survives_an_eviction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    project = make_project(tmp_path / "project", "depot")
    defs = project / "assets" / "depot" / "defs.yaml"
    defs.write_text(defs.read_text() + "\n  pods: {retry_seconds: 1, retries: 1}\n  retrieval: {learning_queries: 0}\n")
    home = tmp_path / "dagster"
    home.mkdir()
    env = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "DAGSTER_CURRENT_IMAGE": "headwater:test",
        "HEADWATER_PROJECT": str(project),
        "HEADWATER_EXECUTOR": "k8s",
        "PYTHONPATH": str(CHECKOUT),
    }
    pods = tmp_path / "pods"
    pods.mkdir()
    cluster = Cluster(pods, env, {"dagster-instance": {}, "dagster-pipeline-env": {}})
    with running(cluster) as kubeconfig:
        (home / "dagster.yaml").write_text(
            yaml.safe_dump(
                {
                    "telemetry": {"enabled": False},
                    # At once: the queue needs a daemon.
                    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
                    "run_launcher": {
                        "module": "dagster_k8s",
                        "class": "K8sRunLauncher",
                        "config": {
                            "load_incluster_config": False,
                            "kubeconfig_file": str(kubeconfig),
                            "service_account_name": "dagster",
                            "instance_config_map": "dagster-instance",
                            "dagster_home": str(home),
                            "job_namespace": "headwater",
                        },
                    },
                }
            )
        )
        launched = subprocess.run(
            [DAGSTER, "job", "launch", "-w", str(CHECKOUT / "workspace.yaml"), "-j", "reindex_depot"],
            cwd=CHECKOUT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert launched.returncode == 0, launched.stderr
        with dg.DagsterInstance.from_config(str(home)) as instance:
            (run_id,) = instance.get_run_ids()

            def story() -> str:
                events = [entry.message for entry in instance.all_logs(run_id)]
                return "\n".join([*events, *cluster.rejected, cluster.logs()])

            def started() -> bool:
                steps = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
                return "depot__parsed_documents" in {
                    step.dagster_event.step_key for step in steps if step.dagster_event
                }

            def ended() -> bool:
                run = instance.get_run_by_id(run_id)
                return run is not None and run.is_finished

            until(started, 240, story)
            cluster.evict(cluster.of("parsed_documents")[0])
            until(ended, 480, story)
            run = instance.get_run_by_id(run_id)
            assert run is not None and run.status is dg.DagsterRunStatus.SUCCESS, story()

    assert cluster.rejected == []
    assert len(cluster.of("parsed_documents")) == 2, "the evicted pod's step was started again, once"
    assert all(len(cluster.of(asset)) == 1 for asset in ("source_objects", "chunks", "embeddings", "live_release"))
    (embeddings,) = cluster.of("embeddings")
    assert embeddings.container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    with open_corpus(defs) as corpus:
        assert corpus.search("When is the heating of the east building switched on?", k=1)[0].key == "heating.md"
