"""As much of a Kubernetes API server as dagster-k8s asks for, on this machine, whose Jobs are processes.

A Job that is posted is checked strictly against the API's schema; then its container's command runs as a process, with
the environment that its pod would have. Evicting a pod kills the process, and the Job has failed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.manifests import NEWEST


class Job:
    """A posted Job and its process."""

    def __init__(self, body: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
        self.body = body
        self.process = process

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.body["spec"]["template"]["metadata"]["labels"])

    @property
    def container(self) -> dict[str, Any]:
        return dict(self.body["spec"]["template"]["spec"]["containers"][0])

    def seen(self) -> dict[str, Any]:
        """The Job as the API shows it."""
        code = self.process.poll()
        status = {"active": 1} if code is None else {"failed": 1} if code else {"succeeded": 1}
        return {**self.body, "status": status}


class Cluster:
    """The Jobs of one namespace."""

    def __init__(self, folder: Path, env: dict[str, str], config_maps: dict[str, dict[str, str]]) -> None:
        self.folder = folder
        self.env = env
        self.config_maps = config_maps
        self.jobs: dict[str, Job] = {}
        self.rejected: list[str] = []
        self._lock = threading.Lock()

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        kubernetes_validate.validate(body, NEWEST, strict=True)
        name = body["metadata"]["name"]
        pod = body["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        env = dict(self.env)
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                env.update(self.config_maps[source["configMapRef"]["name"]])
        for variable in container.get("env", []):
            if "value" in variable:
                env[variable["name"]] = variable["value"]
        with self._lock, (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / container["args"][0]), *container["args"][1:]],
                cwd=self.folder,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.jobs[name] = Job(body, process)
        return self.jobs[name].seen()

    def of(self, asset: str) -> list[Job]:
        """Return the Jobs of an asset's step, in the order in which they were posted."""
        return [job for job in list(self.jobs.values()) if job.labels.get("headwater/asset") == asset]

    def evict(self, job: Job) -> None:
        """End a pod with all of its processes, without a warning."""
        os.killpg(job.process.pid, signal.SIGKILL)
        job.process.wait()

    def logs(self) -> str:
        return "\n".join(f"== {file.name}\n{file.read_text()[-4000:]}" for file in sorted(self.folder.glob("*.log")))


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self._answer(201, cluster.post(body))
            except kubernetes_validate.ValidationError as error:
                cluster.rejected.append(error.message)
                self._answer(422, {"kind": "Status", "message": error.message})

        def do_GET(self) -> None:
            words = self.path.partition("?")[0].strip("/").split("/")
            if "jobs" in words and words[-1] != "jobs":
                job = cluster.jobs.get(words[words.index("jobs") + 1])
                self._answer(*((200, job.seen()) if job else (404, {"kind": "Status", "code": 404})))
            else:
                self._answer(200, {"items": []})

        def do_DELETE(self) -> None:
            job = cluster.jobs.get(self.path.partition("?")[0].rpartition("/")[2])
            if job is not None and job.process.poll() is None:
                cluster.evict(job)
            self._answer(200, {"kind": "Status", "status": "Success"})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def running(cluster: Cluster) -> Iterator[Path]:
    """Serve ``cluster`` and yield a kubeconfig file that leads there; at the end all pods are gone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cluster))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = cluster.folder / "kubeconfig"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "nobody", "user": {}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
                "current-context": "here",
            }
        )
    )
    try:
        yield config
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for job in cluster.jobs.values():
            if job.process.poll() is None:
                cluster.evict(job)
