"""Filters as people write them, what they mean to either engine, and what is refused."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.dates import period
from headwater.errors import FilterError
from headwater.index.contract import Searcher, SearchRequest
from headwater.index.filters import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, check
from headwater.retrieval.grammar import MAX_LENGTH, expression_of, parse
from tests.release_engines import DIMENSIONS, ENGINES, QUIET, SPEC, batch, chunk_id, clean_up

pytestmark = QUIET

DOCUMENTS: list[dict[str, Any]] = [
    {
        "key": "policies/leave.md",
        "language": "en",
        "date": "2024-03-01",
        "meta": '{"draft": true, "level": 3}',
        "page": 1,
    },
    {
        "key": "policies/travel.md",
        "title": "Travel by rail",
        "language": "en",
        "date": "2023-11-20",
        "meta": '{"level": 5}',
        "page": 2,
        "page_breaks": [{"page": 3, "start": 4}, {"page": 5, "start": 7}],
    },
    {"key": "policies-old/pay.md", "language": "de", "date": "2024-07-09", "meta": '{"draft": false, "team": "pay"}'},
    {"key": "notes/heron's.md", "language": "en", "date": "2025-01-02", "keywords": ["grey heron", "weir"]},
    {"key": "notes/deich.md", "language": "de", "readers": ["staff"], "date": "2024-12-31"},
]
ALL = {0, 1, 2, 3, 4}
ACCENTED: list[dict[str, Any]] = [
    {"key": unicodedata.normalize(form, "Pläne/Büro.md"), "title": "Büro", "date": "2024", "meta": '{"ort": "Köln"}'}
    for form in ("NFC", "NFD")
]


@pytest.fixture(scope="module", params=sorted(ENGINES))
def searcher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    yield from serve(request.param, tmp_path_factory.mktemp(request.param), DOCUMENTS)


def serve(engine_name: str, folder: Path, documents: list[dict[str, Any]]) -> Iterator[Searcher]:
    engine = ENGINES[engine_name](folder)
    engine.stage(1, None, SPEC)
    blank = dict.fromkeys(("title", "language", "date", "meta", "page", "keywords", "date_seconds"))
    rows = []
    for number, fields in enumerate(documents):
        seconds = period(fields["date"])[0]
        rows.append(batch([(number, 0)], **{**blank, "readers": ["*"], "date_seconds": seconds, **fields}))
    engine.apply(1, rows, [])
    engine.seal(1)
    opened = engine.open(1)
    yield opened
    opened.close()
    clean_up(engine)


def found(searcher: Searcher, filters: Any, readers: frozenset[str] | None = None) -> set[int]:
    vector = np.ones(DIMENSIONS, dtype=np.float32)
    request = SearchRequest(limit=10, dense=vector, readers=readers, filters=expression_of(filters))
    numbers = {chunk_id(number): number for number in range(len(DOCUMENTS))}
    return {numbers[hit.chunk_id] for hit in searcher.search(request)}


@pytest.mark.parametrize("written", ["007", "1.10", "1e3", "TRUE", "inf"])
def test_a_prefix_is_a_text_as_it_is_written(written: str) -> None:
    assert parse(f"meta.code ^= {written}") == parse(f'meta.code ^= "{written}"') == {"meta.code": {"prefix": written}}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ALL),
        ("key ^= policies/", {0, 1}),
        ("key ^= 'policies'", {0, 1, 2}),
        ("not key ^= policies", {3, 4}),
        ("language = de", {2, 4}),
        ("language != de", {0, 1, 3}),
        ("language in (de, en)", ALL),
        ('language not in ["en"]', {2, 4}),
        ("date >= 2024 and date < 2025", {0, 2, 4}),
        ("date = 2024-03", {0}),
        ("date > 2024", {3}),
        ("date <= 2023", {1}),
        ('date >= 2024 and (language = "en" or key ^= "policies-old/") and not meta.draft = true', {2, 3}),
        ("meta.level >= 4", {1}),
        ("meta.level = 3 or meta.level = 5", {0, 1}),
        ('meta.team = "pay"', {2}),
        ("meta.team ^= p", {2}),
        ("meta.draft = false", {2}),
        ("meta.draft != true", {1, 2, 3, 4}),
        ("keywords = 'grey heron'", {3}),
        ("keywords ^= 'grey'", {3}),
        (r"key = 'notes/heron\'s.md'", {3}),
        ('key = "notes/heron\'s.md"', {3}),
        ("page = 2 OR Page_is_none = 1", None),
        ("title = 'Travel by rail'", {1}),
        ("title ^= Travel", {1}),
        ("page in (1, 2)", {0, 1}),
        ("page = 3", {1}),
        ("page in (1, 5)", {0, 1}),
        ("page = 4", set()),
        ("page >= 5", {1}),
        ("not page = 5", {0, 2, 3, 4}),
        ("page != 2 and language = en", {0, 3}),
        ("language = en and key ^= policies/ or language = de and date = 2024-07-09", {0, 1, 2}),
        ("language = en and (key ^= policies/ or language = de)", {0, 1}),
        ("not (language = en or page = 1)", {2, 4}),
        ("not not language = de", {2, 4}),
    ],
)
def test_an_expression_finds_what_it_says_on_either_engine(
    searcher: Searcher, text: str, wanted: set[int] | None
) -> None:
    if wanted is None:
        with pytest.raises(FilterError, match="expected a field"):
            found(searcher, text)
    else:
        assert found(searcher, text) == wanted


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_text_is_found_in_whichever_unicode_form_it_is_typed(engine: str, form: str, tmp_path: Path) -> None:
    for opened in serve(engine, tmp_path, ACCENTED):
        for text in ("key ^= 'Pläne/'", "key = 'Pläne/Büro.md'", "title in (Büro)", "title ^= Bü", "meta.ort = Köln"):
            assert found(opened, unicodedata.normalize(form, text)) == {0, 1}, text
            assert found(opened, unicodedata.normalize(form, f"not {text}")) == set(), text


def test_one_page_of_a_chunk_has_to_be_inside_both_limits_of_a_range(searcher: Searcher) -> None:
    assert found(searcher, {"page": {"gt": 2, "lte": 3}}) == {1}
    assert found(searcher, {"page": {"gt": 3, "lt": 5}}) == set()  # although its pages are 2, 3 and 5


def test_no_negation_shows_what_the_reader_may_not_see(searcher: Searcher) -> None:
    everyone, staff = frozenset({"*"}), frozenset({"*", "staff"})
    assert found(searcher, "not language = fr", everyone) == {0, 1, 2, 3}
    assert found(searcher, "language = de or language = en", everyone) == {0, 1, 2, 3}
    assert found(searcher, "not language = fr", staff) == ALL


def test_an_object_and_a_string_mean_the_same(searcher: Searcher) -> None:
    expression = {
        "and": [
            {"date": {"gte": "2024"}},
            {"or": [{"language": ["en"]}, {"key": {"prefix": ["policies/", "policies-old/"]}}]},
            {"not": {"meta.draft": True}},
        ]
    }
    assert found(searcher, expression) == {2, 3}
    # Fields beside operators, and beside each other, all have to hold.
    assert found(searcher, {"language": "en", "not": {"key": {"prefix": "notes/"}}, "date": {"gte": "2024"}}) == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = red", "character 1: expected a field"),
        ("readers = staff", "character 1: expected a field"),
        ("key =", "character 6: expected a value"),
        ("key = 'open", "character 7: .*never closed"),
        ("key & x", "character 5: expected one of ="),
        ("key = a b", "character 9: expected and, or"),
        ("(key = a", "character 9: expected a closing bracket"),
        ("key in (a b)", "character 11: expected a comma"),
        ("key in (a]", "character 10: expected a comma"),
        ("key in ()", "character 9: expected a value"),
        ("key not a", "character 9: expected in"),
        ("and", "character 1: expected a field"),
        ("key = a or", "character 11: expected a field"),
        ("date > yesterday", "must be dates"),
        ("page = two", "whole number"),
        ("key > a", "can't be a range"),
        ("date ^= 2024", "can't be a prefix"),
        ("meta. = 1", "expected a field"),
        ('key ^= ""', "not empty"),
        ("(" * 5000 + "key = a", "more than"),
        ("(" * 500 + "key = a", "nested more than"),
        ("not " * 500 + "key = a", "nested more than"),
        (" or ".join(["key = a"] * (MAX_CONDITIONS + 1)), "comparisons"),
        ("key = " + "a" * MAX_LENGTH, "characters, more than"),
        ("page = 99999999999999999999999", "'page' must be a whole number"),
        ("key = \ud800", "UTF-8"),
        ("meta.a ^= '\udfff'", "UTF-8"),
        ("date = 2024-05-31\ud80010:00", "UTF-8"),
    ],
)
def test_what_is_no_filter_is_refused_with_the_place_of_the_mistake(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"and": []}, "must have a list"),
        ({"or": "key"}, "must have a list"),
        ({"and": [{}]}, "empty filter"),
        ({"not": [{"key": "a"}]}, "must be an object"),
        ({"not": {}}, "empty filter"),
        ({"and": ["key = a"]}, "must be an object"),
        ({"key": {"prefix": "a", "gte": "b"}}, "range"),
        ({"key": {"prefix": 3}}, "prefix of 'key'"),
        ({"key": ["a"] * (MAX_VALUES + 1)}, "values"),
        ({"key": None}, "must be a text"),
        ({"page": {"gte": 10**400}}, "must be numbers"),
        ({"": "a"}, "can't filter on"),
        ({"x" * 5000: "a"}, "can't filter on that field"),
        ({"and": [{"page": 10**30}]}, "'page' must be a whole number"),
        ({"page": [1, -(2**63)]}, "'page' must be a whole number"),
        ({"page": {"gte": 2**63}}, "must be numbers"),
        ({"key": "\ud800"}, "UTF-8"),
        ({"authors": ["Ann", "B\udc80"]}, "UTF-8"),
        ({"meta.a": "\ud800"}, "UTF-8"),
        ({"not": {"title": {"prefix": "\ud800"}}}, "UTF-8"),
        ({"meta.a": {"prefix": ["b", "\udfff"]}}, "UTF-8"),
        ({"date": "2024-05-31\ud80010:00"}, "UTF-8"),
        ({"modified": {"lt": "2024-05-31\ud80010:00"}}, "UTF-8"),
    ],
)
def test_what_is_no_filter_object_is_refused(expression: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        check(expression)


def test_the_largest_page_that_an_index_could_hold_is_searched_for(searcher: Searcher) -> None:
    assert found(searcher, {"page": [2**63 - 1, 1 - 2**63]}) == set()


def test_depth_is_limited_exactly() -> None:
    def nested(depth: int) -> dict[str, Any]:
        inner: dict[str, Any] = {"key": "a"}
        for _ in range(depth - 1):
            inner = {"not": inner}
        return inner

    check(nested(MAX_DEPTH))
    with pytest.raises(FilterError, match="deep"):
        check(nested(MAX_DEPTH + 1))


@given(st.text(alphabet="()[]\"'\\=!<>^, abknotrdey.meta0", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse(text)
    except FilterError as error:
        assert "character" in str(error) or "must" in str(error) or "can't" in str(error)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_quoted_value_is_taken_as_it_is(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'key = "{quoted}"') == {"key": value}
