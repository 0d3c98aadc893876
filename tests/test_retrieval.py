"""The parts of a search: fusion, joined passages, diversity, shared query vectors, and weights that are learnt."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.embedding import Bm25Encoder, Embedder
from headwater.embedding.languages import analyzer_of
from headwater.errors import ConfigError, ReleaseError
from headwater.hashing import chunk_id, digest
from headwater.index.contract import Hit, SearchRequest, SparseVector
from headwater.index.fusion import blend, reciprocal_rank_fusion
from headwater.policies import RetrievalPolicy
from headwater.retrieval.diversity import diversify
from headwater.retrieval.learning import Golden, Sample, learn_weights
from headwater.retrieval.passages import collapse, merge, singles
from headwater.retrieval.queries import Source, known_items
from headwater.retrieval.search import _passage
from headwater.retrieval.vectors import Found, QueryVectors
from headwater.retrieval.weights import DEFAULT_WEIGHT, SETTING, Weights, weight_for
from headwater.types import PageBreak

TEXT = (
    "The keeper reads the gauge at dawn.\n\nHe writes the level into the book. The book is kept in the tower.\n"
    "When the level is high, the lower gate is opened first, and the ferry waits."
)


# --- fusion ---------------------------------------------------------------------------------------------------


def test_scores_are_blended_as_shares_of_the_best_of_their_list() -> None:
    dense = (["a", "b", "c"], [0.8, 0.6, 0.4])
    sparse = (["c", "d"], [10.0, 5.0])
    ids, scores = blend(dense, sparse, 0.25)
    expected = {
        "a": 0.25 * 1.0,
        "b": 0.25 * 0.75,
        "c": 0.25 * 0.5 + 0.75,
        "d": 0.25 * 0.5 + 0.75 * 0.5,  # the dense retriever would place it no higher than its last
    }
    assert ids == sorted(expected, key=lambda one: -expected[one])
    assert scores == pytest.approx([expected[one] for one in ids])


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_a_retriever_that_finds_nothing_leaves_the_order_to_the_other(weight: float) -> None:
    assert blend(([], []), (["x", "y"], [2.0, 1.0]), min(weight, 0.5))[0] == ["x", "y"]
    assert blend((["x", "y"], [0.4, 0.2]), ([], []), max(weight, 0.5))[0] == ["x", "y"]
    assert blend(([], []), ([], []), weight) == ([], [])


def test_cosines_below_zero_count_as_nothing() -> None:
    ids, scores = blend((["a", "b"], [-0.1, -0.5]), (["b"], [3.0]), 0.9)
    assert ids == ["b", "a"]
    assert scores == pytest.approx([0.1, 0.0])


@given(st.permutations(["a", "b", "c", "d", "e"]), st.floats(0, 1))
def test_the_order_of_equals_is_that_of_their_ids_and_noise_of_float32_changes_nothing(
    ids: list[str], weight: float
) -> None:
    noise = [1 + 1e-7 * place for place in range(5)]
    dense = (ids, [0.7 * one for one in noise])
    sparse = (ids[::-1], [9.0 * one for one in noise])
    assert blend(dense, sparse, weight)[0] == sorted(ids)


# --- passages -------------------------------------------------------------------------------------------------


def hit(start: int, end: int, score: float, lead: str | None, **fields: Any) -> Hit:
    payload = {
        "doc_id": "d1",
        "key": "gauge.md",
        "revision": "r1",
        "section": ["Gauge"],
        "page": None,
        "start": start,
        "end": end,
        "text": TEXT[start:end],
        "lead": lead,
        **fields,
    }
    return Hit(f"{payload['doc_id']}-{start}", score, payload)


def test_a_passage_may_be_changed_and_the_searchers_payload_stays() -> None:
    found = hit(0, 10, 0.9, None, revision="r", key="a.md", meta={"status": "valid"})
    (group,) = singles([found])
    passage = _passage(group, 1, ())
    passage.meta["status"] = "changed"  # type: ignore[index]
    assert found.payload["meta"] == {"status": "valid"}


def parts() -> list[Hit]:
    """The text as three chunks: what is between them is white space."""
    first = TEXT.index("\n\n")
    second = TEXT.index("\nWhen")
    return [
        hit(0, first, 0.5, None),
        hit(first + 2, second, 0.7, "\n\n"),
        hit(second + 1, len(TEXT), 0.9, "\n"),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (2, 0, 1), (1, 0, 2), (1, 2, 0)])
def test_neighbours_in_any_order_become_the_text_of_the_document(order: Sequence[int]) -> None:
    chunks = [replace(parts()[place], score=1 - rank / 10) for rank, place in enumerate(order)]
    (group,) = merge(singles(chunks), 4000)
    assert group.text == TEXT[group.start : group.end] == TEXT
    assert [one.payload["start"] for one in group.hits] == [one.payload["start"] for one in parts()]
    assert group.lead is chunks[0]


@pytest.mark.parametrize(
    "other",
    [{"section": ["Ferry"]}, {"page": 2}, {"doc_id": "d2"}, {"revision": "r2"}, {"lead": None}, {"lead": " "}],
    ids=str,
)
def test_what_a_citation_could_not_name_or_what_is_no_neighbour_stays_apart(other: dict[str, Any]) -> None:
    first, second, _ = parts()
    changed = replace(second, payload={**second.payload, **other})
    assert [group.text for group in merge(singles([first, changed]), 4000)] == [
        first.payload["text"],
        second.payload["text"],
    ]


def test_a_passage_grows_no_longer_than_is_allowed() -> None:
    first, second, third = parts()
    assert len(merge(singles([first, second]), second.payload["end"])) == 1
    assert len(merge(singles([first, second]), second.payload["end"] - 1)) == 2
    groups = merge(singles([third, second, first]), len(TEXT) - 1)
    assert [len(group.hits) for group in groups] == [2, 1]


def test_chunks_that_overlap_are_joined_without_repeating_a_character() -> None:
    one, other = hit(0, 60, 0.9, None), hit(40, len(TEXT), 0.8, "")
    (group,) = merge(singles([other, one]), 4000)
    assert group.text == TEXT


def test_a_joined_passage_knows_the_page_of_each_of_its_characters() -> None:
    first, second, third = parts()
    paged = [
        replace(one, payload={**one.payload, "page": 3, "page_breaks": breaks})
        for one, breaks in ((first, None), (second, [{"page": 4, "start": second.payload["end"] - 5}]), (third, None))
    ]
    (group,) = merge(singles(paged[:2]), 4000)
    passage = _passage(group, 1, ())
    assert (passage.page, passage.page_breaks) == (3, (PageBreak(4, second.payload["end"] - 5),))
    assert [passage.page_at(offset) for offset in (0, second.payload["end"] - 6, second.payload["end"] - 5)] == [
        3,
        3,
        4,
    ]
    (alone,) = singles([first])  # a release from before there were page breaks
    assert _passage(alone, 1, ()).page_breaks == ()


def test_a_joined_passage_has_the_table_header_of_its_first_chunk() -> None:
    first, second, third = (replace(one, payload={**one.payload, "table_header": "| Depth |"}) for one in parts())
    begins = replace(first, payload={**first.payload, "table_header": None})  # with the table, and so with its header
    for hits, header in (([first, second], "| Depth |"), ([second, begins, third], None)):
        (group,) = merge(singles(hits), 4000)
        assert _passage(group, 1, ()).table_header == header and "Depth" not in group.text


def test_of_results_that_say_the_same_the_best_is_kept_and_names_the_others() -> None:
    words = "the ferry waits at the lower gate until the keeper has read the gauge twice and rung the bell for the crew"
    longer = f"{words} again"
    unlike = " ".join(reversed(words.split()))
    hits = [
        hit(0, 1, 0.90, None, doc_id="a", text=words),
        hit(0, 1, 0.89, None, doc_id="b", text=longer),
        hit(0, 1, 0.89, None, doc_id="c", text=unlike),
        hit(0, 1, 0.20, None, doc_id="d", text=words),  # letter for letter: whatever its score
    ]
    groups = collapse(singles(hits))
    assert [group.lead.payload["doc_id"] for group in groups] == ["a", "c"]
    same = [(other.payload["doc_id"], like) for other, like in groups[0].same]
    assert same == [("b", pytest.approx(18 / 19)), ("d", 1.0)]
    assert not groups[1].same


# --- diversity ------------------------------------------------------------------------------------------------


def test_diversity_puts_what_is_unlike_the_best_before_its_copies() -> None:
    vectors = {
        "d1-0": np.array([1, 0, 0], dtype=np.float32),
        "d1-1": np.array([0.99, 0.141, 0], dtype=np.float32),
        "d1-2": np.array([0, 1, 0], dtype=np.float32),
    }
    hits = [hit(0, 1, 1.0, None), hit(1, 2, 0.98, None), hit(2, 3, 0.7, None)]
    assert [one.chunk_id for one in diversify(hits, vectors, 0.5)] == ["d1-0", "d1-2", "d1-1"]
    assert [one.chunk_id for one in diversify(hits, vectors, 0.05)] == ["d1-0", "d1-1", "d1-2"]
    negative = [replace(one, score=one.score - 2) for one in hits]  # a cross-encoder's scores
    assert [one.chunk_id for one in diversify(negative, vectors, 0.05)] == ["d1-0", "d1-1", "d1-2"]
    assert diversify([], {}, 0.5) == []


# --- query vectors --------------------------------------------------------------------------------------------


class CountingModel:
    """Vectors that say which text they are of; passes wait until they are let go."""

    fingerprint = "counting"

    def __init__(self) -> None:
        self.passes: list[list[str]] = []
        self.entered = threading.Event()
        self.gate = threading.Event()

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        self.passes.append(list(texts))
        self.entered.set()
        assert self.gate.wait(30)
        if "bad" in texts:
            raise ValueError("a query without a vector")
        return np.array([[float(text)] for text in texts], dtype=np.float32)


def waiting(vectors: QueryVectors) -> int:
    return len(vectors._waiting)


def test_queries_that_come_while_the_model_works_are_computed_together() -> None:
    model, vectors = CountingModel(), QueryVectors()
    results: dict[str, float] = {}
    errors: list[str] = []

    def ask(query: str) -> None:
        try:
            results[query] = float(vectors.of(model, query)[0])  # type: ignore[arg-type]
        except ValueError:
            errors.append(query)

    threads = [threading.Thread(target=ask, args=("0",))]
    threads[0].start()
    assert model.entered.wait(30)
    for query in ("1", "2", "3", "2", "bad"):
        threads.append(threading.Thread(target=ask, args=(query,)))
        threads[-1].start()
    while waiting(vectors) < 5:
        threading.Event().wait(0.001)
    model.gate.set()
    for thread in threads:
        thread.join(30)
    assert results == {str(number): float(number) for number in range(4)}
    assert errors == ["bad"]  # and nobody else's
    assert model.passes[0] == ["0"]
    assert sorted(model.passes[1]) == ["1", "2", "3", "bad"]  # the same query once


class CountingSearcher:
    """Finds the query itself; "2" and "6" can't be searched for, each for a reason of its own."""

    release = 1

    def __init__(self) -> None:
        self.groups: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()

    def search(self, request: SearchRequest) -> list[Hit]:
        return self.search_many([request])[0]

    def search_many(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        queries = [float(request.dense[0]) for request in requests if request.dense is not None]
        self.groups.append(queries)
        assert self.gate.wait(30)
        for query in queries:
            if query in (2.0, 6.0):
                raise ReleaseError(f"{query} can't be searched for")
        return [[Hit(str(query), request.limit, {})] for query, request in zip(queries, requests, strict=True)]


class Asking:
    """Asks the same model for several queries at once, while it computes "0"."""

    def __init__(self, first: CountingSearcher) -> None:
        self.model, self.vectors = CountingModel(), QueryVectors()
        self.found: dict[str, Found] = {}
        self.errors: dict[str, str] = {}
        self.threads: dict[str, threading.Thread] = {}
        self.ask("0", first)
        assert self.model.entered.wait(30)

    def ask(self, query: str, searcher: CountingSearcher) -> None:
        def search() -> None:
            try:
                request = SearchRequest(limit=int(query))
                self.found[query] = self.vectors.search(self.model, query, searcher, request)  # type: ignore[arg-type]
            except ReleaseError as error:
                self.errors[query] = str(error)

        self.threads[query] = threading.Thread(target=search)
        self.threads[query].start()

    def go(self, waiting_for: int) -> None:
        while waiting(self.vectors) < waiting_for:
            threading.Event().wait(0.001)
        self.model.gate.set()

    def join(self, *queries: str) -> None:
        for query in queries or self.threads:
            self.threads[query].join(30)


def test_what_was_embedded_together_is_searched_for_together() -> None:
    one, other = CountingSearcher(), CountingSearcher()
    asking = Asking(one)
    for query, searcher in (("1", one), ("3", other), ("4", one), ("5", other)):
        asking.ask(query, searcher)
    asking.go(4)
    asking.join()
    for query, found in asking.found.items():
        assert [hit.chunk_id for hit in found.hits] == [f"{query}.0"] and found.hits[0].score == int(query)
        assert found.request.dense is not None and found.encoded > 0
    assert sorted(asking.found) == ["0", "1", "3", "4", "5"]
    assert sorted(sorted(group) for group in one.groups) == [[0.0], [1.0, 4.0]]
    assert [sorted(group) for group in other.groups] == [[3.0, 5.0]]
    asking.ask("5", one)
    asking.join("5")
    assert [hit.chunk_id for hit in asking.found["5"].hits] == ["5.0"] and len(asking.model.passes) == 2  # it was known


def test_requests_that_fail_fail_alone_each_with_its_own_error() -> None:
    searcher = CountingSearcher()
    asking = Asking(searcher)
    for query in "123456":
        asking.ask(query, searcher)
    asking.go(6)
    asking.join()
    assert asking.errors == {query: f"{query}.0 can't be searched for" for query in "26"}
    assert sorted(asking.found) == ["0", "1", "3", "4", "5"]


def test_a_release_that_is_slow_to_search_holds_up_no_other() -> None:
    slow, quick = CountingSearcher(), CountingSearcher()
    slow.gate.clear()
    asking = Asking(quick)
    for query, searcher in (("1", slow), ("3", quick), ("4", slow), ("5", quick)):
        asking.ask(query, searcher)
    asking.go(4)
    asking.join("0", "3", "5")
    assert sorted(asking.found) == ["0", "3", "5"]
    asking.ask("7", quick)
    asking.join("7")
    assert "7" in asking.found and "1" not in asking.found
    slow.gate.set()
    asking.join()
    assert sorted(asking.found) == ["0", "1", "3", "4", "5", "7"]


class DeadModel:
    """An endpoint that is down, which takes its time to say so."""

    fingerprint = "dead"

    def __init__(self) -> None:
        self.passes = 0
        self.entered = threading.Event()
        self.gate = threading.Event()

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        self.passes += 1
        self.entered.set()
        assert self.gate.wait(30)
        raise ConnectionError("nobody there")


def test_a_model_that_is_down_is_not_tried_for_every_query_and_holds_up_no_other() -> None:
    dead, model, vectors = DeadModel(), CountingModel(), QueryVectors()
    model.gate.set()
    errors: list[str] = []

    def ask(query: str) -> None:
        try:
            vectors.of(dead, query)  # type: ignore[arg-type]
        except ConnectionError:
            errors.append(query)

    threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(12)]
    threads[0].start()
    assert dead.entered.wait(30)
    for thread in threads[1:]:
        thread.start()
    while waiting(vectors) < 11:
        threading.Event().wait(0.001)
    assert float(vectors.of(model, "7")[0]) == 7.0  # type: ignore[arg-type]
    dead.gate.set()
    for thread in threads:
        thread.join(30)
    assert len(errors) == 12
    assert dead.passes == 1 + 1 + 2


def test_a_vector_is_computed_once_and_the_oldest_is_forgotten() -> None:
    model, vectors = CountingModel(), QueryVectors(remembered=2)
    model.gate.set()
    for query in ("1", "2", "1", "3", "1", "2"):
        assert float(vectors.of(model, query)[0]) == float(query)  # type: ignore[arg-type]
    assert [one for passed in model.passes for one in passed] == ["1", "2", "3", "2"]
    with pytest.raises(ValueError, match="without a vector"):
        vectors.of(model, "bad")  # type: ignore[arg-type]
    assert float(vectors.of(model, "2")[0]) == 2.0  # type: ignore[arg-type]


# --- weights --------------------------------------------------------------------------------------------------

SUBJECTS = ["pump", "ferry", "gauge", "tower", "lantern", "weir", "sluice", "barge", "anchor", "harbour"]
ACTS = ["is oiled", "is painted", "was repaired", "gets inspected", "must be locked", "is rented out"]
WHEN = ["every spring", "before the flood", "after the winter", "on Mondays", "in the evening"]


def documents() -> list[Source]:
    """Sixty short documents, each about one thing and what is done with it."""
    made = []
    for number in range(60):
        subject, act, when = SUBJECTS[number % 10], ACTS[number % 6], WHEN[number % 5]
        text = (
            f"The {subject} number {number} {act} {when} by the crew on duty. "
            f"Whoever sees damage to this {subject} tells the keeper in room {number * 7} at once. "
            f"A note about the work of {when.split()[-1]} goes into the station book, page {number * 3}."
        )
        made.append(Source(chunk_id(f"doc{number}", 0), f"doc{number}", text, f"{subject.title()}\n{text}"))
    return made


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


BM25 = Bm25Encoder(average_length=32.0)


class Foreign:
    """A model that understands nothing: every text has its own direction."""

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [int(digest(text), 16) % 2**32 for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=64) for seed in seeds])
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    encode_queries = encode_documents


def learnt(
    embedder: Embedder, *, foreign: bool = False, golden: Sequence[Golden] = (), bm25: Bm25Encoder = BM25
) -> Weights:
    sources = sorted(documents(), key=lambda source: source.chunk_id)
    model: Any = Foreign() if foreign else embedder
    texts = [source.embedded for source in sources]
    names = [source.doc_id for source in sources]
    sample = Sample(
        ids=[source.chunk_id for source in sources],
        documents=names,
        keys=names,
        languages=[None] * len(sources),
        vectors=model.encode_documents(texts),
        terms=bm25.encode_documents(texts),
        digest="s",
    )
    items = list(known_items(sources, 100))
    encode = {"encode_queries": model.encode_queries, "encode_documents": model.encode_documents}
    return learn_weights(sample, items, golden, **encode, bm25=bm25)


def test_a_model_that_does_not_understand_the_documents_loses_its_weight(embedder: Embedder) -> None:
    good = learnt(embedder)
    bad = learnt(embedder, foreign=True)
    assert bad.dense < good.dense
    assert bad.gains["learnt"] > bad.gains["default"] + 0.05
    assert good.gains["learnt"] > max(bad.gains.values()) - 0.05
    assert bad.queries == good.queries == 100
    assert learnt(embedder) == good


class Scrambled(Bm25Encoder):
    """An analyzer that takes texts apart at random: what it finds has nothing to do with them."""

    def encode_query(self, text: str) -> SparseVector:
        return super().encode_query(self._terms(text))

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return super().encode_documents([self._terms(text) for text in texts])

    def _terms(self, text: str) -> str:
        chance = np.random.default_rng(int(digest(text), 16) % 2**32)
        return " ".join(f"term{number}" for number in chance.integers(0, 40, size=8))


def test_terms_that_say_nothing_lose_to_the_vectors(embedder: Embedder) -> None:
    assert learnt(embedder, bm25=Scrambled(average_length=8.0)).dense > DEFAULT_WEIGHT


def test_questions_of_people_count(embedder: Embedder) -> None:
    # The model finds nothing but what is asked for in the very words of the document.
    golden = [Golden(source.embedded, frozenset({source.doc_id})) for source in documents()]
    with_them = learnt(embedder, foreign=True, golden=golden, bm25=Scrambled(average_length=8.0))
    without = learnt(embedder, foreign=True, bm25=Scrambled(average_length=8.0))
    assert with_them.queries == without.queries + 60
    assert with_them.gains["dense"] > without.gains["dense"] + 0.3


def test_made_queries_are_the_same_each_time_and_a_held_out_one_is_not_in_the_rest() -> None:
    items = list(known_items(documents(), 80))
    assert items == list(known_items(documents(), 80))
    assert len(items) == 80
    held_out = [item for item in items if item.rest is not None]
    assert len(held_out) == 40
    for item in held_out:
        assert item.rest is not None
        assert len(item.query.split()) <= 12
        assert item.query.split()[-3:] != item.rest.split()[-3:]
        assert " ".join(item.query.split()[:5]) not in " ".join(item.rest.split())
    assert not list(known_items([Source("c", "d", "too short", "too short")], 10))
    assert not list(known_items([Source("c", "d", "", "")], 10))
    unspaced = "北京大学的学生每天早上都在图书馆里学习到很晚。他们晚上坐最后一班地铁回到宿舍，第二天又来。老师说这样很累，但是他们觉得值得。"
    assert len(list(known_items([Source("c", "d", unspaced, unspaced)], 10))) == 2


def test_the_weight_of_a_query_comes_from_the_nearest_place_that_has_one() -> None:
    policy = RetrievalPolicy()
    weights = Weights(0.4, 200, "s", {"de": 0.2, "en": 0.6}, {"dense": 0.5})
    settings = {SETTING: weights.setting()}
    assert Weights.of(settings) == weights
    assert weight_for("Wie viele Tage Urlaub stehen allen Angestellten im Jahr zu?", settings, policy) == (
        0.2,
        "learnt for the language",
    )
    assert weight_for("How many days of leave does every employee have?", settings, policy)[0] == 0.6
    assert weight_for("12345", settings, policy) == (0.4, "learnt")
    assert weight_for("leave", {}, policy) == (DEFAULT_WEIGHT, "default")
    assert weight_for("leave", settings, RetrievalPolicy(dense_weight=0.9)) == (0.9, "configured")
    assert weight_for("leave", settings, RetrievalPolicy(fusion="ranks")) == (None, None)


def test_ranks_can_still_be_fused() -> None:
    ids, scores = reciprocal_rank_fusion([["a", "b"], ["b"]], 60)
    assert ids == ["b", "a"]
    assert scores == pytest.approx([1 / 62 + 1 / 61, 1 / 61])


# --- analyzers ------------------------------------------------------------------------------------------------


def test_the_analyzer_follows_the_language_of_most_documents() -> None:
    assert analyzer_of("auto", {"de": 6, "en": 4}) == "german"
    assert analyzer_of("auto", {"de": 4, "en": 3, "fr": 3}) == "english"  # no majority
    assert analyzer_of("auto", {"und": 9, "de": 1}) == "english"
    assert analyzer_of("auto", {}) == "english"
    assert analyzer_of("auto", {"pl": 3}) == "none"
    assert analyzer_of("french", {"de": 6}) == "french"


@pytest.mark.parametrize("language", ["chinese", "japanese", "none"])
def test_words_are_found_in_scripts_without_spaces(language: str) -> None:
    bm25 = Bm25Encoder(language=language)
    text = {"chinese": "北京大学的学生在图书馆学习", "japanese": "日本語の文章を検索する"}.get(
        language, "นักเรียนเรียนหนังสือที่โรงเรียน"
    )
    assert len(bm25.encode_query(text).indices) > 2


def test_words_are_taken_as_they_are_where_there_is_no_analyzer() -> None:
    plain, english = Bm25Encoder(language="none"), Bm25Encoder(language="english")
    assert len(plain.encode_query("the running dogs").indices) == 3
    assert len(english.encode_query("the running dogs").indices) == 2
    with pytest.raises(ConfigError, match="bm25_language"):
        Bm25Encoder(language="klingon")
