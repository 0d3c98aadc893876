"""The page of assets, checks, jobs, schedules and sensors, from the Dagster definitions of an empty corpus."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from documentation.markdown import code, table, text

CORPUS = "handbook"

INTRODUCTION = f"""\
# Assets, checks and jobs

What `definitions.py` makes of every corpus, here of one with the name `{CORPUS}`. Assets are not partitioned: one run is
one reindex and one release ([why](../explanation/convergence.md)). All of a corpus' assets are in the group of its name.

## Assets

"""


def assets_page() -> str:
    """Return the page."""
    with _definitions() as repository:
        graph = repository.asset_graph
        nodes = [graph.get(key) for key in graph.toposorted_asset_keys]
        checks = [
            (
                code(spec.name),
                code(spec.asset_key.path[-1]),
                "yes" if spec.blocking else "no",
                text(spec.description or ""),
            )
            for assets in repository.assets_defs_by_key.values()
            for spec in assets.check_specs
        ]
        assets = [
            (code(node.key.path[-1]), text(node.description or ""), _names(node.parent_keys), _names_of(node.kinds))
            for node in nodes
        ]
        jobs = [(code(job.name), text(job.description)) for job in repository.get_all_jobs() if job.description]
        started = [
            *(
                (code(each.name), f"schedule, `{each.cron_schedule}` UTC", text(each.description or ""))
                for each in repository.schedule_defs
            ),
            *((code(each.name), "sensor", text(each.description or "")) for each in repository.sensor_defs),
        ]
    return "".join(
        (
            INTRODUCTION,
            table(("asset", "what it holds", "made from", "kinds"), assets),
            "\n## Checks\n\nA blocking check that fails leaves the live release as it was; "
            "[the gate](../releases.md#the-gate) has figures and thresholds.\n\n",
            table(("check", "of", "blocks", "holds when"), checks),
            "\n## Jobs\n\n",
            table(("job", "does"), jobs),
            "\n## Schedules and sensors\n\n",
            table(("name", "kind", "does"), started),
        )
    )


@contextmanager
def _definitions() -> Iterator[Any]:
    """Give Dagster's repository of a project with one corpus, which exists as long as the block runs."""
    import definitions
    from headwater.scaffold import add_corpus, make_project

    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder) / "documents"
        documents.mkdir()
        project = make_project(Path(folder) / "project")
        add_corpus(project, CORPUS, str(documents))
        before = os.environ.get("HEADWATER_PROJECT")
        os.environ["HEADWATER_PROJECT"] = str(project.root)
        try:
            yield definitions.defs().get_repository_def()
        finally:
            if before is None:
                del os.environ["HEADWATER_PROJECT"]
            else:
                os.environ["HEADWATER_PROJECT"] = before


def _names(keys: Any) -> str:
    return ", ".join(sorted(code(key.path[-1]) for key in keys))


def _names_of(kinds: Any) -> str:
    return ", ".join(sorted(kinds))
