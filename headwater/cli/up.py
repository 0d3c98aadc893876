"""``headwater up``: Dagster and the endpoint on one machine, and optionally a first reindex and a first question."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from headwater.cli.output import say
from headwater.errors import ConfigError, HeadwaterError

if TYPE_CHECKING:
    from headwater.cli.children import Children
    from headwater.cli.dagster_api import DagsterServer
    from headwater.project import Project

HOST = "127.0.0.1"
_START_SECONDS = 300.0
"""Dagster is up within ten seconds on a warm disk; a cold one with two cores takes minutes."""

_POLL_SECONDS = 0.5
T = TypeVar("T")


def up(
    reindex: Annotated[
        list[str] | None, typer.Option("--reindex", metavar="NAME", help="Reindex this corpus first; repeatable.")
    ] = None,
    ask: Annotated[
        tuple[str, str] | None,
        typer.Option("--ask", metavar="NAME QUESTION", help="Then ask this corpus a question over HTTP."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the endpoint.")] = 8000,
    dagster_port: Annotated[
        int, typer.Option("--dagster-port", min=1, max=65535, help="Port of the Dagster UI.")
    ] = 3000,
    exit_after_answer: Annotated[
        bool, typer.Option("--exit-after-answer", help="Stop everything when that is done, instead of at Ctrl-C.")
    ] = False,
) -> None:
    """Start everything a person needs on one machine: Dagster's UI and daemon, and the endpoint.

    Stays until Ctrl-C, which stops all of it. What the processes print goes to logs/ in the project's home.
    """
    from headwater.cli.children import Children, Stopped
    from headwater.cli.dagster_api import DagsterServer
    from headwater.cli.endpoint import Endpoint
    from headwater.project import find_project

    project = find_project()
    for name in {*(reindex or ()), *([ask[0]] if ask else [])}:
        project.corpus_file(name)  # a mistyped name is said before anything is started
    check_port(port, "the endpoint", "--port")
    check_port(dagster_port, "Dagster", "--dagster-port")
    dagster, endpoint = DagsterServer(f"http://{HOST}:{dagster_port}"), Endpoint(f"http://{HOST}:{port}")
    ready = False
    try:
        with Children(project.home / "logs") as children:
            _start(children, project, port, dagster_port)
            say(f"Starting Dagster and the endpoint; their logs are in {project.home / 'logs'}")
            _wait(children, "Dagster", dagster.jobs)
            say(f"Dagster answers at {dagster.url}")
            _wait(children, "the endpoint", lambda: endpoint.ready() or None)
            say(f"The endpoint answers at {endpoint.url}")
            for name in reindex or ():
                _reindex(children, dagster, name)
            if ask:
                from headwater.cli.answer_text import print_answer

                say(f"\nQuestion to {ask[0]}: {ask[1]}\n")
                print_answer(endpoint.ask(*ask))
            say(f"\nDagster   {dagster.url}\nQuestions {endpoint.url}\nHTTP API  {endpoint.url}/openapi.json")
            ready = True
            if not exit_after_answer:
                say("Ctrl-C stops everything.")
                while True:
                    children.pause(_POLL_SECONDS)
    except Stopped:
        say("Stopped.")
        if not ready:
            raise typer.Exit(130) from None  # as a shell says of a program that SIGINT ended


def check_port(port: int, what: str, option: str) -> None:
    """Raise ConfigError when something else listens on ``port``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} for {what} can't be used ({error.strerror}). Stop what listens there, or choose another "
                f"with {option}."
            ) from error


def _start(children: Children, project: Project, port: int, dagster_port: int) -> None:
    from headwater.doctor import importable
    from headwater.scaffold import INSTANCE_FILE, WORKSPACE_FILE, code_folder

    code = code_folder()
    missing = [part for part in ("dagster", "dagster_webserver", "serving") if not importable(part)]
    if code is None or missing:
        parts = ", ".join(missing) or "the Dagster project"
        raise ConfigError(
            f"Not installed: {parts}. `headwater up` needs a checkout installed with pip install -e '.[dagster]', "
            "or an image."
        )
    home = project.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    instance = project.root / INSTANCE_FILE
    if not (home / INSTANCE_FILE).exists():
        # A link, so that a change of the project's file counts at the next start.
        (home / INSTANCE_FILE).unlink(missing_ok=True)
        (home / INSTANCE_FILE).symlink_to(instance if instance.is_file() else code / INSTANCE_FILE)
    env = {
        **os.environ,
        "HEADWATER_PROJECT": str(project.root),
        "HEADWATER_HOME": str(project.home),
        "DAGSTER_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }
    workspace = ["-w", str(project.root / WORKSPACE_FILE), "-h", HOST, "-p", str(dagster_port)]
    children.start("dagster", [sys.executable, "-m", "dagster", "dev", *workspace], cwd=project.root, env=env)
    serve = [sys.executable, "-m", "headwater.cli", "serve", "--host", HOST, "--port", str(port)]
    children.start("endpoint", serve, cwd=code, env=env)


def _wait(children: Children, what: str, look: Callable[[], T | None]) -> T:
    """Return what ``look`` gives once it gives something."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        children.pause(_POLL_SECONDS)
    raise HeadwaterError(f"{what} did not answer within {_START_SECONDS:.0f} seconds; see the logs.")


def _reindex(children: Children, dagster: DagsterServer, name: str) -> None:
    """Run the corpus' reindex job in Dagster, as a person in the UI would."""
    from headwater.cli.reindex import accounts
    from headwater.corpus import open_corpus

    run = dagster.launch(f"reindex_{name}")
    page = f"{dagster.url}/runs/{run}"
    say(f"\nReindexing {name} in Dagster: {page}")
    cursor: str | None = None
    failures: list[str] = []
    while True:
        status, events, cursor = dagster.follow(run, cursor)
        for event in events:
            if event.kind == "LogMessageEvent" and event.level == "INFO":
                say(f"  {event.message}")
            failures += [event.failure] if event.failure else []
        if dagster.ended(status):
            break
        children.pause(_POLL_SECONDS)
    if status != "SUCCESS":
        raise HeadwaterError(f"The reindex of {name} ended with {status}. {' '.join(failures[:1])} Its log: {page}")
    with open_corpus(name) as corpus:
        found = corpus.status()
    say(accounts(found.listed, found.states))
    say(f"Live release {found.live}, {found.chunks:,} chunks")
