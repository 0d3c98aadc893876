"""Fixtures that several test modules share: projects, corpora, and one small corpus that is indexed once."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Test processes run beside each other: threads inside each would only fight for the same cores.
    for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.config import COMPONENT_TYPE
from headwater.corpus import Corpus, open_corpus
from headwater.pipeline import Pipeline
from headwater.project import CORPUS_FILE, Project, project_at
from headwater.scaffold import WORKSPACE_FILE, make_project
from tests.object_store import s3, s3_server
from tests.postgres import postgres_server, postgres_url
from tests.verifying import agreeing

__all__ = ["agreeing", "postgres_server", "postgres_url", "s3", "s3_server"]

MakeCorpus = Callable[..., Path]


LONGEST = (
    "test_convergence",
    "test_releases",
    "test_storage_convergence",
    "test_kubernetes_runs",
    "test_generation_vllm",
    "test_storage_line",
    "test_erase",
    "test_compute",
    "test_leakage",
    "test_pipeline",
    "test_openapi",
    "test_backup",
    "test_cli",
    "test_dagster",
    "test_docs_tutorial",
    "test_soak",
    "test_attachments",
    "test_index_histories",
)
"""Modules of a minute and more. They begin first: one that begins last leaves all processes but its own idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a module's tests in one process, so that what it builds once is built once; shards go anywhere."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    for item in items:
        if item.get_closest_marker("shard") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))


_MISSING = re.compile(r"needs |is not (?:here|there|installed)|nor \w+ is here")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that was skipped for a part that can be installed counts as a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None or session.exitstatus != pytest.ExitCode.OK:
        return
    missing = [report for report in reporter.stats.get("skipped", ()) if _MISSING.search(str(report.longrepr))]
    if missing:
        reporter.write_line(f"{len(missing)} tests were skipped for what is not installed: see the summary.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


SMALL = "works"
SMALL_FILES: dict[str, str] = {
    "gauge.md": """# Teal gauge

The Teal gauge measures the water level every fifteen minutes with a radar head.

## Battery

Its battery lasts nine years at one transmission per hour. Replace it with part TB-7 only.
""",
    "policies/leave.md": """# Leave

Everyone has twenty-eight days of paid leave each year. Ask your crew lead two weeks before the first day.

Leave that is not taken by March expires, unless a crew lead agreed otherwise in writing.
""",
    "policies/travel.html": """<html><head><title>Travel</title></head><body><h1>Travel</h1>
<p>Trains are booked through the office, and first class is allowed on journeys of more than four hours.</p>
</body></html>""",
    "hr/pay.md": """# Pay bands

The pay band of field engineers starts at forty-one thousand crowns a year and rises by two percent each spring.
""",
    "empty.txt": "",
}
SMALL_FILES["policies/leave-copy.md"] = SMALL_FILES["policies/leave.md"]
SMALL_ACCESS = [{"prefix": "", "groups": ["*"]}, {"prefix": "hr/", "groups": ["hr"]}]


def write_corpus(root: Path, name: str, files: Mapping[str, bytes | str], **attributes: Any) -> Path:
    """Write a corpus with its documents beside its configuration, and return its folder."""
    folder = root / "assets" / name
    for key, content in files.items():
        file = folder / "documents" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "documents").mkdir(parents=True, exist_ok=True)
    document = {"type": COMPONENT_TYPE, "attributes": {"source": {"uri": "./documents"}} | attributes}
    (folder / CORPUS_FILE).write_text(yaml.safe_dump(document))
    return folder


def use_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make ``root`` a project if it isn't one, and the one that commands and ``open_corpus`` work on."""
    if not (root / WORKSPACE_FILE).exists():
        make_project(root)
    monkeypatch.setenv("HEADWATER_PROJECT", str(root))
    monkeypatch.setenv("HEADWATER_HOME", str(root / ".headwater"))
    monkeypatch.delenv("HEADWATER_LEDGER_URL", raising=False)
    return project_at(root)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project."""
    return use_project(tmp_path / "project", monkeypatch)


@pytest.fixture
def make_corpus(project: Project) -> MakeCorpus:
    """A function ``(name, files, **attributes) -> folder`` that adds a corpus to the project; it is not indexed."""

    def make(name: str, files: Mapping[str, bytes | str], **attributes: Any) -> Path:
        return write_corpus(project.root, name, files, **attributes)

    return make


@pytest.fixture(scope="session")
def indexed_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a project whose corpus ``works`` is indexed. Read it, never change it: see ``indexed_copy``."""
    root = tmp_path_factory.mktemp("indexed") / "project"
    with pytest.MonkeyPatch.context() as patch:
        use_project(root, patch)
        folder = write_corpus(root, SMALL, SMALL_FILES, access=SMALL_ACCESS, description="House rules.")
        with open_corpus(folder) as corpus:
            Pipeline(corpus, workers=2).run()
    return root


@pytest.fixture
def indexed(indexed_project: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The shared indexed project as the one at hand, for reading."""
    return use_project(indexed_project, monkeypatch)


@pytest.fixture
def indexed_copy(indexed_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the indexed project that a test may change."""
    root = tmp_path / "copy"
    shutil.copytree(indexed_project, root, copy_function=shutil.copy2)
    return use_project(root, monkeypatch)


@pytest.fixture
def small_corpus(indexed: Project) -> Iterator[Corpus]:
    """The indexed corpus, opened for reading."""
    with open_corpus(indexed.root / "assets" / SMALL) as corpus:
        yield corpus
