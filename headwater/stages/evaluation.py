"""How well a release finds what it should: known items, and the golden set where there is one.

Golden questions are labelled by document and quote, so labels survive re-chunking. Known-item queries are taken
from the release's own chunks: a sentence of a chunk must find that chunk's document. They catch a broken index
(missing or foreign vectors, a wrong model), not a bad one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from headwater.errors import ConfigError
from headwater.hashing import digest, digest_bytes
from headwater.lake import Table
from headwater.policies import GatePolicy
from headwater.sentences import split_sentences
from headwater.types import Passage

if TYPE_CHECKING:
    from headwater.corpus import Corpus

CODE_VERSION = "1"
_DEPTH = 10
"""Passages looked at per question; the usual depth of a RAG prompt."""

_MIN_QUERY_WORDS = 5
_MAX_QUERY_WORDS = 25

FIGURES = pa.schema([("release", pa.int64()), ("figures", pa.string()), ("questions", pa.string())])
"""One row per evaluated release: figures as JSON, and per golden question the rank of its quote (null: not found)."""


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """A question and where its answer stands: (key, quote) pairs; none for a question that has no answer."""

    id: str
    question: str
    answers: tuple[tuple[str, str], ...]


def read_golden(path: Path) -> list[GoldenQuestion]:
    """Return the questions of a JSON Lines file.

    Each line: ``{"id", "question", "answers": [{"key", "quote"}]}``. ConfigError names file and line.
    """
    questions = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: the golden set can't be read ({error.strerror}).") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            answers = tuple((str(item["key"]), str(item["quote"])) for item in row["answers"])
            questions.append(GoldenQuestion(str(row["id"]), str(row["question"]), answers))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}:{number}: not a golden question ({type(error).__name__}: {error}).") from error
    return questions


def evaluate_release(corpus: Corpus, release: int, table: Table, embeddings: Table) -> tuple[dict[str, Any], bool]:
    """Return the figures of a release, and whether they were computed now or read from ``table``."""
    policy = corpus.policy.gate
    golden = read_golden(Path(policy.golden)) if policy.golden else []
    fingerprint = _fingerprint(corpus, release, policy, golden)
    if table.exists() and table.same_schema():
        stored = table.scan().filter(pl.col("fingerprint") == fingerprint).select("figures").collect()
        if stored.height:
            return dict(json.loads(stored["figures"][0])), False
    figures: dict[str, Any] = _known_items(corpus, release, policy.known_item_queries, embeddings)
    ranks: dict[str, int | None] = {}
    if golden:
        figures |= _golden(corpus, release, golden, ranks)
    _store(table, release, fingerprint, figures, ranks)
    return figures, True


def _fingerprint(corpus: Corpus, release: int, policy: GatePolicy, golden: Sequence[GoldenQuestion]) -> str:
    info = corpus.ledger.release(corpus.name, release)
    asked = digest_bytes(json.dumps([(g.id, g.question, g.answers) for g in golden]).encode())
    settings = (
        policy.known_item_queries,
        corpus.policy.index.model_dump_json(),
        corpus.policy.answer.model_dump_json(),
    )
    return digest(CODE_VERSION, release, info.created_at.isoformat(), asked, *settings)


def _known_items(corpus: Corpus, release: int, count: int, embeddings: Table) -> dict[str, Any]:
    """Ask for a sentence of each of ``count`` chunks, chosen by their id's hash so that the choice is stable."""
    version = corpus.ledger.release(corpus.name, release).table_versions["embeddings"]
    chosen = (
        embeddings.scan(version)
        .filter(pl.col("state") == "ok")
        .select("id")
        .collect()
        .with_columns(pl.col("id").map_elements(digest, return_dtype=pl.String).alias("order"))
        .sort("order")
        .head(count * 3)["id"]
        .to_list()
    )
    rows = embeddings.scan(version).filter(pl.col("id").is_in(chosen)).select("id", "doc_id", "text").collect()
    by_id = {row["id"]: row for row in rows.iter_rows(named=True)}
    asked = found = 0
    for name in chosen:
        query = known_item_query(by_id[name]["text"])
        if query is None or asked == count:
            continue
        asked += 1
        passages = corpus.search_as(None, query, _DEPTH, release=release)
        found += any(passage.doc_id == by_id[name]["doc_id"] for passage in passages)
    return {"known_item_queries": asked, "known_item_recall": found / asked if asked else 1.0}


def known_item_query(text: str) -> str | None:
    """Return the first words of the longest sentence of a chunk, None when it has no sentence of five words."""
    sentences = [text[start:end].split() for start, end in split_sentences(text)]
    longest = max(sentences, key=len, default=[])
    return " ".join(longest[:_MAX_QUERY_WORDS]) if len(longest) >= _MIN_QUERY_WORDS else None


def _golden(
    corpus: Corpus, release: int, golden: Sequence[GoldenQuestion], ranks: dict[str, int | None]
) -> dict[str, Any]:
    """Search and answer every golden question; ``ranks`` gets the rank (from 1) of the first right passage."""
    ndcg: list[float] = []
    refused_rightly = answered = cited_rightly = 0
    unanswerable = [question for question in golden if not question.answers]
    for question in golden:
        passages = corpus.search_as(None, question.question, _DEPTH, release=release)
        answer, _ = corpus.answer_as(None, question.question, release=release)
        if not question.answers:
            refused_rightly += answer.refused
            continue
        relevant = [_holds(passage, question) for passage in passages]
        ranks[question.id] = relevant.index(True) + 1 if any(relevant) else None
        first = ranks[question.id]
        # nDCG with one relevant passage.
        ndcg.append(1 / math.log2(first + 1) if first else 0.0)
        if not answer.refused:
            answered += 1
            keys = {citation.key for sentence in answer.sentences for citation in sentence.citations}
            cited_rightly += any(key in keys for key, _ in question.answers)
    found = [rank for rank in ranks.values() if rank is not None]
    asked = max(len(ranks), 1)
    return {
        "golden_questions": len(golden),
        "golden_recall_at_5": sum(rank <= 5 for rank in found) / asked,
        "golden_recall_at_10": len(found) / asked,
        "golden_ndcg_at_10": sum(ndcg) / asked,
        "answered_share": answered / asked,
        "right_document_cited": cited_rightly / max(answered, 1),
        "refusal_accuracy": refused_rightly / len(unanswerable) if unanswerable else 1.0,
    }


def _holds(passage: Passage, question: GoldenQuestion) -> bool:
    """Return whether the passage is of an answer's document and holds its quote, or the greater half of it.

    A quote may be cut by a chunk border; then the passage with the greater part counts.
    """
    text = " ".join(passage.text.split())
    for key, quote in question.answers:
        if key != passage.key:
            continue
        wanted = " ".join(quote.split())
        half = len(wanted) // 2 + 1
        if wanted in text or wanted[:half] in text or wanted[-half:] in text:
            return True
    return False


def _store(table: Table, release: int, fingerprint: str, figures: dict[str, Any], ranks: dict[str, int | None]) -> None:
    from headwater.driver import change_batches

    row = {
        "id": str(release),
        "doc_id": "",
        "fingerprint": fingerprint,
        "state": "ok",
        "reason": "ok",
        "error": None,
        "release": release,
        "figures": json.dumps(figures),
        "questions": json.dumps(ranks),
    }
    batches = pa.Table.from_pylist([row], schema=table.schema).to_batches()
    if table.exists() and table.same_schema():
        table.change(change_batches(table.schema, batches, []))
    else:
        table.replace(batches)
