"""What ``headwater up`` asks a running Dagster webserver, over its GraphQL interface.

Runs are launched the way the Dagster UI launches them, so they show there with their job, logs and materialisations
and wait their turn in the queue.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import HeadwaterError, NotFoundError

_WORKSPACE = """
query { workspaceOrError { __typename
  ... on PythonError { message }
  ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename
    ... on PythonError { message }
    ... on RepositoryLocation { repositories { name pipelines { name } } } } } } } }
"""
_LAUNCH = """
mutation($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) { __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on Error { message } } }
"""
_EVENTS = """
query($run: ID!, $after: String) {
  runOrError(runId: $run) { __typename ... on Run { status } }
  logsForRun(runId: $run, afterCursor: $after) { __typename ... on EventConnection { cursor events { __typename
    ... on MessageEvent { message level }
    ... on ExecutionStepFailureEvent { error { message causes { message } } }
    ... on RunFailureEvent { error { message } } } } } }
"""
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True, slots=True)
class Job:
    """Where a job is: code location, repository and name."""

    location: str
    repository: str
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run; ``failure`` is the innermost cause where a step or the run failed."""

    kind: str
    level: str
    message: str
    failure: str | None


class DagsterServer:
    """A Dagster webserver at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def jobs(self) -> list[Job] | None:
        """Return all jobs; None while the webserver or a code location still starts.

        Raises HeadwaterError, with Dagster's message, when a code location can't be loaded.
        """
        try:
            workspace = self._query(_WORKSPACE)["workspaceOrError"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None
        entries = workspace.get("locationEntries", [])
        jobs: list[Job] = []
        for entry in entries:
            location = entry["locationOrLoadError"]
            if entry["loadStatus"] != "LOADED" or location is None:
                return None
            if location["__typename"] != "RepositoryLocation":
                raise HeadwaterError(f"Dagster can't load the code location {entry['name']}: {location.get('message')}")
            for repository in location["repositories"]:
                jobs += [Job(entry["name"], repository["name"], job["name"]) for job in repository["pipelines"]]
        return jobs if entries else None

    def launch(self, name: str) -> str:
        """Launch the job ``name`` and return the run's id. Raises NotFoundError when there is no such job."""
        jobs = self.jobs() or []
        found = next((job for job in jobs if job.name == name), None)
        if found is None:
            known = ", ".join(sorted(job.name for job in jobs if not job.name.startswith("__"))) or "none"
            raise NotFoundError(f"Dagster has no job {name!r} (there: {known}).")
        selector = {
            "repositoryLocationName": found.location,
            "repositoryName": found.repository,
            "jobName": found.name,
        }
        launched = self._query(_LAUNCH, {"parameters": {"selector": selector, "runConfigData": {}}})["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise HeadwaterError(f"Dagster did not launch {name}: {launched.get('message', launched['__typename'])}")
        return str(launched["run"]["runId"])

    def follow(self, run: str, after: str | None) -> tuple[str, list[Event], str | None]:
        """Return a run's status, its new events, and the cursor to go on from."""
        answer = self._query(_EVENTS, {"run": run, "after": after})
        logs = answer["logsForRun"]
        return (
            answer["runOrError"].get("status", "MISSING"),
            [_event(e) for e in logs.get("events", [])],
            logs.get("cursor", after),
        )

    @staticmethod
    def ended(status: str) -> bool:
        """Return whether a run with this status is over."""
        return status in _ENDED

    def _query(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        if answer.get("errors"):
            raise HeadwaterError(f"Dagster refused a query: {answer['errors'][0].get('message')}")
        return dict(answer["data"])


def _event(event: Mapping[str, Any]) -> Event:
    error = event.get("error")
    causes = [error, *error.get("causes", ())] if error else []
    failure = str(causes[-1]["message"]).strip() if causes else None
    return Event(event["__typename"], event.get("level", ""), event.get("message", ""), failure)
