"""The jobs with which people go back, promote, compare, erase, requeue and clear away in the Dagster UI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from headwater.corpus import Corpus, open_corpus
from jobs.releases import SUBJECT_TAG
from resources.headwater import CORPUS_TAG
from tests.test_dagster import SUBJECTS, load_project, make_project, run_job

NAME = "manuals"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dg.Definitions, Path]]:
    """A project whose corpus has two releases: the second one without the document about keys."""
    monkeypatch.delenv("HEADWATER_HOME", raising=False)
    root = make_project(tmp_path / "project", NAME)
    defs = load_project(root)
    assert run_job(defs, NAME).success
    (root / "assets" / NAME / "documents" / "keys.md").unlink()
    assert run_job(defs, NAME).success
    yield defs, root


def run(defs: dg.Definitions, name: str, config: dict[str, Any], step: str) -> tuple[bool, dict[str, Any]]:
    """Run a job with its form filled in; return whether it succeeded, and its step's output metadata."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def(f"{name}_{NAME}")
        run_config = {"ops": {step: {"config": config}}} if config else {}
        done = job.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)
    outputs = [event for event in done.all_events if event.event_type_value == "STEP_OUTPUT"]
    metadata = outputs[0].event_specific_data.metadata if outputs else {}
    return done.success, {key: value.value for key, value in metadata.items()}


def opened(root: Path) -> Corpus:
    return open_corpus(root / "assets" / NAME)


def test_rollback_promote_and_diff(project: tuple[dg.Definitions, Path]) -> None:
    defs, root = project
    done, difference = run(defs, "diff", {"before": 1, "after": 2}, f"diff_{NAME}_releases")
    assert done and [c["key"] for c in difference["difference"]["documents"]] == ["keys.md"]
    done, told = run(defs, "rollback", {"reason": "keys are missing"}, f"rollback_{NAME}_release")
    assert done and (told["release"], told["previous"]) == (1, 2)
    with opened(root) as corpus:
        assert corpus.live() == 1
        assert corpus.search("Where is a lost key reported?")[0].key == "keys.md"
    assert run_job(defs, NAME).success
    with opened(root) as corpus:
        assert corpus.live() == 1  # held back by the pin
    promote = f"promote_{NAME}_release"
    assert run(defs, "promote", {"release": 2, "reason": "the keys are gone on purpose"}, promote)[0]
    with opened(root) as corpus:
        assert corpus.live() == 2
        assert "on purpose" in (corpus.ledger.release(NAME, 2).reason or "")
    assert not run(defs, "promote", {"release": 77, "reason": "no such release"}, promote)[0]


def test_erase_requeue_and_garbage_collection(project: tuple[dg.Definitions, Path]) -> None:
    defs, root = project
    config = {"key": "parking.md", "reason": "asked for by its author"}
    done, told = run(defs, "erase", config, f"erase_{NAME}_document")
    assert done and told["receipt"]["verified"]["found"] == 0
    with opened(root) as corpus:
        for release in (1, 2):
            assert all(p.key != "parking.md" for p in corpus.search(SUBJECTS["parking"], release=release))
    done, told = run(defs, "requeue", {"state": "indexed", "reason": "new parser"}, f"requeue_{NAME}_objects")
    assert done and told["objects"] == 4
    done, told = run(defs, "gc", {}, "")
    assert done and told["files_removed"] >= 0


def test_only_what_writes_waits_for_a_reindex(project: tuple[dg.Definitions, Path]) -> None:
    defs, _ = project
    for name in ("gc", "erase", "requeue"):
        assert defs.resolve_job_def(f"{name}_{NAME}").tags[CORPUS_TAG] == NAME
    for name in ("rollback", "promote", "diff"):
        tags = defs.resolve_job_def(f"{name}_{NAME}").tags
        assert CORPUS_TAG not in tags and tags[SUBJECT_TAG] == NAME


def test_a_lost_half_of_the_bucket_waits_for_a_persons_word(project: tuple[dg.Definitions, Path]) -> None:
    defs, root = project
    for path in sorted((root / "assets" / NAME / "documents").iterdir())[:4]:
        path.unlink()
    assert not run_job(defs, NAME).success
    with opened(root) as corpus:
        assert corpus.live() == 2 and len(corpus.receipts()) == 5
    confirmed = {"resources": {"headwater": {"config": {"confirm_removals": True}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def(f"reindex_{NAME}")
        assert job.execute_in_process(instance=instance, run_config=confirmed, raise_on_error=False).success
    with opened(root) as corpus:
        assert corpus.live() == 3 and len(corpus.receipts()) == 1
