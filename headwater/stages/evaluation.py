"""How well a release finds what it should: known items, the golden set where there is one, and a canary.

Golden questions are labelled by document and quote, so labels survive re-chunking. Known-item queries are taken
from the release's own chunks: a sentence of a chunk must find that chunk's document. They catch a broken index
(missing or foreign vectors, a wrong model), not a bad one. The canary embeds a few chunks anew and compares them
with the vectors that the release holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from headwater.answering import METHOD
from headwater.errors import ConfigError
from headwater.hashing import digest, digest_bytes
from headwater.lake import Table
from headwater.policies import GatePolicy
from headwater.sentences import split_sentences
from headwater.text_files import json_lines, read_text
from headwater.types import Passage

if TYPE_CHECKING:
    from headwater.corpus import Corpus

CODE_VERSION = "2"
_DEPTH = 10
"""Passages looked at per question; the usual depth of a RAG prompt."""

_MIN_QUERY_WORDS = 5
_MAX_QUERY_WORDS = 25

FIGURES = pa.schema([("release", pa.int64()), ("figures", pa.string()), ("questions", pa.string())])
"""One row per evaluated release: its figures and its golden questions' results, both as JSON."""


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """A question and where its answer stands: (key, quote) pairs; none for a question that has no answer."""

    id: str
    question: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one release, and what became of each golden question.

    ``ranks`` maps an answerable question to the rank (from 1) of the first passage that holds its quote, None when
    the first ten don't; ``refused`` maps a question without an answer to whether it was refused. ``answers`` maps
    what an answer hangs on to the keys that it cites, None for a refusal: the same question with the same passages
    is not answered again.
    """

    figures: Mapping[str, Any]
    ranks: Mapping[str, int | None]
    refused: Mapping[str, bool]
    answers: Mapping[str, list[str] | None] = field(default_factory=dict)


def read_golden(path: Path) -> list[GoldenQuestion]:
    """Return the questions of a JSON Lines file.

    Each line: ``{"id", "question", "answers": [{"key", "quote"}]}``. ConfigError names file and line.
    """
    questions = []
    for number, line in json_lines(read_text(path, "the golden set")):
        try:
            row = json.loads(line)
            answers = tuple((str(item["key"]), str(item["quote"])) for item in row["answers"])
            questions.append(GoldenQuestion(str(row["id"]), str(row["question"]), answers))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}:{number}: not a golden question ({type(error).__name__}: {error}).") from error
    return questions


def gain(rank: int | None) -> float:
    """Return nDCG@10 of a question with one relevant passage at ``rank`` (Järvelin and Kekäläinen 2002)."""
    return 1 / math.log2(rank + 1) if rank else 0.0


def evaluate_release(corpus: Corpus, release: int) -> tuple[Evaluation, bool]:
    """Return the evaluation of a release, and whether it was computed now or read from the lake."""
    policy = corpus.policy.gate
    table = corpus.tables.retrieval_evaluation
    golden, gone = answerable_questions(corpus, release, read_golden(Path(policy.golden)) if policy.golden else [])
    fingerprint = _fingerprint(corpus, release, policy, golden)
    if table.exists() and table.same_schema():
        stored = table.scan().filter(pl.col("fingerprint") == fingerprint).select("figures", "questions").collect()
        if stored.height:
            return Evaluation(json.loads(stored["figures"][0]), **json.loads(stored["questions"][0])), False
    figures = _known_items(corpus, release, policy.known_item_queries) | _canary(corpus, release, policy.canary_chunks)
    evaluation = Evaluation(figures, {}, {})
    if golden:
        evaluation = _golden(corpus, release, golden, _answered_before(table))
        together = {**figures, **evaluation.figures, "golden_without_document": gone}
        evaluation = replace(evaluation, figures=together)
    _store(table, release, fingerprint, evaluation)
    return evaluation, True


def is_evaluated(corpus: Corpus, release: int) -> bool:
    """Return whether the lake holds the release's evaluation by today's settings and questions."""
    policy, table = corpus.policy.gate, corpus.tables.retrieval_evaluation
    if not (table.exists() and table.same_schema()):
        return False
    golden = answerable_questions(corpus, release, read_golden(Path(policy.golden)) if policy.golden else [])[0]
    fingerprint = _fingerprint(corpus, release, policy, golden)
    return not table.scan().filter(pl.col("fingerprint") == fingerprint).select("id").collect().is_empty()


def answerable_questions(
    corpus: Corpus, release: int, golden: Sequence[GoldenQuestion]
) -> tuple[list[GoldenQuestion], list[str]]:
    """Return the questions to ask, and the ids of those whose every labelled document is gone or erased."""
    if not golden:
        return [], []
    version = corpus.ledger.release(corpus.name, release).table_versions["source_objects"]
    objects = corpus.tables.source_objects.read(["key", "reason"], version)
    listed = set(objects.filter(pl.col("reason") != "erased")["key"])
    gone = [q.id for q in golden if q.answers and not any(key in listed for key, _ in q.answers)]
    return [q for q in golden if q.id not in set(gone)], gone


def _fingerprint(corpus: Corpus, release: int, policy: GatePolicy, golden: Sequence[GoldenQuestion]) -> str:
    info = corpus.ledger.release(corpus.name, release)
    asked = digest_bytes(json.dumps([(g.id, g.question, g.answers) for g in golden]).encode())
    settings = (
        policy.known_item_queries,
        policy.canary_chunks,
        corpus.policy.index.model_dump_json(),
        corpus.policy.retrieval.model_dump_json(),
        corpus.policy.answer.model_dump_json(),
        METHOD,
    )
    return digest(CODE_VERSION, release, info.created_at.isoformat(), asked, *settings)


def _sample(corpus: Corpus, release: int, count: int) -> list[str]:
    """Return chunk ids of the release in the order of their hashes, so that the choice is stable."""
    version = corpus.ledger.release(corpus.name, release).table_versions["embeddings"]
    ids = corpus.tables.embeddings.scan(version).filter(pl.col("state") == "ok").select("id").collect()["id"]
    return sorted(ids, key=digest)[:count]


def _known_items(corpus: Corpus, release: int, count: int) -> dict[str, Any]:
    """Ask for a sentence of each of ``count`` chunks."""
    version = corpus.ledger.release(corpus.name, release).table_versions["embeddings"]
    chosen = _sample(corpus, release, count * 3)
    embeddings = corpus.tables.embeddings.scan(version)
    rows = embeddings.filter(pl.col("id").is_in(chosen)).select("id", "doc_id", "text").collect()
    by_id = {row["id"]: row for row in rows.iter_rows(named=True)}
    queries = [(by_id[name]["doc_id"], known_item_query(by_id[name]["text"])) for name in chosen]
    asked = [(doc_id, query) for doc_id, query in queries if query is not None][:count]
    results = _search_all(corpus, release, [query for _, query in asked], _DEPTH)
    found = sum(
        any(doc_id in (passage.doc_id, *(other.doc_id for other in passage.duplicates)) for passage in passages)
        for (doc_id, _), passages in zip(asked, results, strict=True)
    )
    return {"known_item_queries": len(asked), "known_item_recall": found / len(asked) if asked else 1.0}


def _search_all(corpus: Corpus, release: int, queries: Sequence[str], k: int) -> list[list[Passage]]:
    """Search for every query; they are embedded in one go."""
    if not queries:
        return []
    vectors = corpus.embedder_of(release).encode_queries(queries)
    return [
        corpus.search_as(None, query, k, release=release, dense=vector)
        for query, vector in zip(queries, vectors, strict=True)
    ]


def known_item_query(text: str) -> str | None:
    """Return the first words of the longest sentence of a chunk, None when it has no sentence of five words."""
    sentences = [text[start:end].split() for start, end in split_sentences(text)]
    longest = max(sentences, key=len, default=[])
    return " ".join(longest[:_MAX_QUERY_WORDS]) if len(longest) >= _MIN_QUERY_WORDS else None


def _canary(corpus: Corpus, release: int, count: int) -> dict[str, Any]:
    """Embed ``count`` chunks anew; the figure is the lowest cosine with the vector that the release holds."""
    version = corpus.ledger.release(corpus.name, release).table_versions["chunks"]
    chosen = _sample(corpus, release, count)
    texts = corpus.tables.chunks.scan(version).filter(pl.col("id").is_in(chosen)).select("id", "embedded").collect()
    with corpus.searcher(release) as searcher:
        held = {hit.chunk_id: hit.payload["vector"] for hit in searcher.retrieve(chosen, with_vectors=True)}
    known = texts.filter(pl.col("id").is_in(list(held)))
    if known.is_empty():
        return {"canary_chunks": 0, "canary_cosine": 1.0 if not count or texts.is_empty() else 0.0}
    fresh = corpus.embedder_of(release).encode_documents(known["embedded"].to_list())
    stored = np.stack([held[name] for name in known["id"]])
    cosines = np.einsum("ij,ij->i", fresh, stored) if fresh.shape == stored.shape else np.zeros(1)
    return {"canary_chunks": known.height, "canary_cosine": float(cosines.min())}


def _answered_before(table: Table) -> dict[str, list[str] | None]:
    """Return the answers of all evaluations that are kept."""
    if not (table.exists() and table.same_schema()):
        return {}
    answers: dict[str, list[str] | None] = {}
    for text in table.read(["questions"])["questions"]:
        answers |= json.loads(text).get("answers", {})
    return answers


def _golden(
    corpus: Corpus, release: int, golden: Sequence[GoldenQuestion], before: Mapping[str, list[str] | None]
) -> Evaluation:
    """Search and answer every golden question; what ``before`` holds is not answered again."""
    ranks: dict[str, int | None] = {}
    refused: dict[str, bool] = {}
    answers: dict[str, list[str] | None] = {}
    answered = cited_rightly = 0
    settings = digest(METHOD, corpus.policy.answer.model_dump_json(), corpus.embedder_of(release).fingerprint)
    depth = max(_DEPTH, corpus.policy.answer.passages)
    results = _search_all(corpus, release, [question.question for question in golden], depth)
    for question, passages in zip(golden, results, strict=True):
        read = passages[: corpus.policy.answer.passages]
        same = digest(settings, question.question, *(f"{p.chunk_id} {digest(p.text)}" for p in read))
        answers[same] = before[same] if same in before else _cited_keys(corpus, release, question, passages)
        cited = answers[same]
        if not question.answers:
            refused[question.id] = cited is None
            continue
        relevant = [_holds(passage, question) for passage in passages[:_DEPTH]]
        ranks[question.id] = relevant.index(True) + 1 if any(relevant) else None
        if cited is not None:
            answered += 1
            cited_rightly += any(key in cited for key, _ in question.answers)
    found = [rank for rank in ranks.values() if rank is not None]
    asked = max(len(ranks), 1)
    figures = {
        "golden_questions": len(golden),
        "golden_recall_at_5": sum(rank <= 5 for rank in found) / asked,
        "golden_recall_at_10": len(found) / asked,
        "golden_ndcg_at_10": sum(map(gain, found)) / asked,
        "answered_share": answered / asked,
        "right_document_cited": cited_rightly / max(answered, 1),
        "refusal_accuracy": sum(refused.values()) / len(refused) if refused else 1.0,
    }
    return Evaluation(figures, ranks, refused, answers)


def _cited_keys(corpus: Corpus, release: int, question: GoldenQuestion, passages: list[Passage]) -> list[str] | None:
    """Answer from the passages; return the keys that are cited, None for a refusal."""
    answer = corpus.answer_from(question.question, passages[: corpus.policy.answer.passages], release)
    if answer.refused:
        return None
    return sorted({citation.key for sentence in answer.sentences for citation in sentence.citations})


def _holds(passage: Passage, question: GoldenQuestion) -> bool:
    """Return whether the passage holds the quote of an answer, or the greater half of it.

    It has to be of the answer's document, or stand for it. A quote may be cut by a chunk border; then the passage with
    the greater part counts.
    """
    text = " ".join(passage.text.split())
    for key, quote in question.answers:
        if key not in (passage.key, *(other.key for other in passage.duplicates)):
            continue
        wanted = " ".join(quote.split())
        half = len(wanted) // 2 + 1
        if wanted in text or wanted[:half] in text or wanted[-half:] in text:
            return True
    return False


def _store(table: Table, release: int, fingerprint: str, evaluation: Evaluation) -> None:
    from headwater.driver import change_batches

    row = {
        "id": str(release),
        "doc_id": "",
        "fingerprint": fingerprint,
        "state": "ok",
        "reason": "ok",
        "error": None,
        "release": release,
        "figures": json.dumps(dict(evaluation.figures)),
        "questions": json.dumps(
            {"ranks": evaluation.ranks, "refused": evaluation.refused, "answers": evaluation.answers}
        ),
    }
    batches = pa.Table.from_pylist([row], schema=table.schema).to_batches()
    if table.exists() and table.same_schema():
        table.change(change_batches(table.schema, batches, []))
    else:
        table.replace(batches)
