"""The whole line on the server engine, with qdrant-client's in-memory mode or a server (``HEADWATER_TEST_QDRANT_URL``) behind it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from headwater.corpus import Corpus, open_corpus
from headwater.erase import erase
from headwater.index.server import ServerEngine
from headwater.releases import promote, rollback
from headwater.types import Principal
from tests import station_corpus
from tests.release_engines import QUIET
from tests.station_corpus import reindex, thing

QUESTION = "How often is the weir greased?"


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corpus]:
    for name in ("HEADWATER_PROJECT", "HEADWATER_HOME", "HEADWATER_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    url = os.environ.get("HEADWATER_TEST_QDRANT_URL")
    client = QdrantClient(":memory:") if url is None else None
    with open_corpus(station_corpus.make(tmp_path)) as corpus:
        name = f"stations-{uuid.uuid4().hex[:8]}"
        corpus.engine = ServerEngine(url or (lambda: client), name)  # type: ignore[arg-type, return-value]
        reindex(corpus)
        yield corpus
        for release in corpus.engine.releases():
            corpus.engine.drop(release)


@pytest.mark.slow
@QUIET
def test_edit_rollback_promotion_revocation_and_erasure(corpus: Corpus) -> None:
    documents = corpus.project.root / "documents"
    recorded = corpus.search(QUESTION, 5)
    assert recorded[0].key == thing(0)
    (documents / thing(0)).write_text(station_corpus.document(0).replace("log", "diary"))
    report = reindex(corpus)
    assert report.release == 2 and all(check.passed for check in report.checks)
    assert any("diary" in passage.text for passage in corpus.search(QUESTION, 5))

    assert rollback(corpus, reason="look") == 1 and corpus.search(QUESTION, 5) == recorded
    (documents / thing(1)).unlink()
    held = reindex(corpus).held_back
    assert held == 3 and corpus.search(QUESTION, 5) == recorded
    promote(corpus, held, reason="go on")
    assert any("diary" in passage.text for passage in corpus.search(QUESTION, 5))

    (documents / f"{thing(0)}.acl.json").write_text('{"groups": ["field"]}')
    reindex(corpus)
    for release in (1, 2, 3, None):
        assert all(passage.key != thing(0) for passage in corpus.search(QUESTION, 30, release=release))
        found = corpus.search(QUESTION, 1, release=release, principal=Principal(frozenset({"field"})))
        assert found[0].key == thing(0)

    receipt = erase(corpus, thing(2), reason="asked for")
    assert receipt.verified.found == 0 and receipt.removed.points
    for release in corpus.engine.releases():
        assert all(
            passage.key != thing(2) for passage in corpus.search("How often is the boom greased?", 30, release=release)
        )
    assert all(check.passed for check in reindex(corpus).checks)
