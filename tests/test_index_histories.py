"""Whatever happens to the releases of a corpus, each one that is kept equals a plain dictionary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.index.contract import REDACTED, ReleaseEngine, SearchRequest, SparseVector
from tests.release_engines import (
    ENGINES,
    QUIET,
    SPEC,
    batch,
    build,
    chunk_id,
    clean_up,
    dense_request,
    held,
    numbers,
    terms,
    unit,
)

pytestmark = [QUIET, pytest.mark.slow]

_EXAMPLES = {"memory": 300, "edge": 15, "server": 15}
"""What takes about half a minute."""

_points = st.integers(0, 15)
_documents = st.sets(st.integers(0, 4), max_size=2)
_events = st.one_of(
    st.tuples(
        st.just("build"),
        st.integers(0, 5),  # which kept release is the parent; the last one is none
        st.dictionaries(_points, st.integers(1, 2), max_size=6),
        st.sets(_points, max_size=4),
        st.booleans(),  # whether it is sealed, or left as a killed process leaves it
    ),
    st.tuples(st.just("drop"), st.integers(0, 5)),
    st.tuples(st.just("redact"), st.integers(0, 5), _documents, _documents),
)
Model = dict[int, dict[int, tuple[str, tuple[str, ...]]]]
"""Release -> point number -> fingerprint and readers."""


def _pick(model: Model, choice: int) -> int | None:
    kept = sorted(model)
    return kept[choice % (len(kept) + 1)] if choice % (len(kept) + 1) < len(kept) else None


def _replay(engine: ReleaseEngine, model: Model, release: int, event: tuple[Any, ...]) -> None:
    kind, chosen = event[0], _pick(model, event[1])
    if kind == "build":
        _, _, upserts, deletes, sealed = event
        engine.stage(release, chosen, SPEC)
        ids = [[chunk_id(number) for number in sorted(deletes)]]
        engine.apply(release, [batch(sorted(upserts.items()))] if upserts else [], ids)
        if sealed:
            engine.seal(release)
            content = {number: held for number, held in model.get(chosen or 0, {}).items() if number not in deletes}
            content |= {n: (f"{n}/{version}", ("*",) if n % 5 else ("staff",)) for n, version in upserts.items()}
            model[release] = content
    elif chosen is None:
        engine.drop(9999)
    elif kind == "drop":
        engine.drop(chosen)
        del model[chosen]
    else:
        _, _, forget, narrow = event
        content = model[chosen]
        gone = {number for number in content if number // 4 in forget}
        changed = {n for n, (_, readers) in content.items() if n // 4 in narrow and n not in gone and readers != ("x",)}
        names = {f"doc{document}": ["x"] for document in narrow}
        assert engine.redact(chosen, forget=[f"doc{document}" for document in forget], readers=names) == len(
            gone | changed
        )
        model[chosen] = {n: (REDACTED, ("x",)) if n in changed else content[n] for n in content.keys() - gone}


def _check(engine: ReleaseEngine, model: Model) -> None:
    assert engine.releases() == sorted(model)
    for release, content in model.items():
        assert held(engine, release) == {chunk_id(number): fingerprint for number, (fingerprint, _) in content.items()}
        searcher = engine.open(release)
        hits = searcher.search(dense_request(limit=100))
        assert {(hit.chunk_id, tuple(hit.payload["readers"])) for hit in hits} == {
            (chunk_id(number), readers) for number, (_, readers) in content.items()
        }
        searcher.close()


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_kept_release_equals_a_dictionary_after_any_history(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(max_examples=_EXAMPLES[name], deadline=None)
    @given(events=st.lists(_events, min_size=3, max_size=9))
    def replay(events: list[tuple[Any, ...]]) -> None:
        engine = ENGINES[name](tmp_path_factory.mktemp("index"))
        model: Model = {}
        for release, event in enumerate(events, 1):
            _replay(engine, model, release, event)
        _check(engine, model)
        clean_up(engine)

    replay()


_steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=12),
        st.lists(st.integers(0, 30), max_size=8),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", sorted(ENGINES))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps)
def test_any_sequence_of_releases_searches_like_one_built_from_scratch(
    name: str, steps: list[tuple[list[tuple[int, int]], list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = ENGINES[name](tmp_path_factory.mktemp("index"))
    build(engine, 1, numbers(25))
    wanted = dict(numbers(25))
    for release, (upserts, deletes) in enumerate(steps, 2):
        unique = dict(upserts)
        build(engine, release, list(unique.items()), parent=release - 1, deletes=deletes)
        wanted = {number: version for number, version in wanted.items() if number not in deletes} | unique
    last = len(steps) + 1
    build(engine, 100, sorted(wanted.items(), reverse=True))
    one, other = engine.open(last), engine.open(100)
    assert one.fingerprints() == other.fingerprints()
    for query in range(5):
        sparse = SparseVector(*terms(query, 5))
        for request in (
            dense_request(query, limit=8),
            SearchRequest(limit=8, sparse=sparse),
            SearchRequest(limit=8, dense=unit(query, 99), sparse=sparse, candidates=12),
        ):
            left, right = one.search(request), other.search(request)
            assert [hit.chunk_id for hit in left] == [hit.chunk_id for hit in right]
            assert [hit.payload for hit in left] == [hit.payload for hit in right]
            np.testing.assert_allclose([hit.score for hit in left], [hit.score for hit in right], rtol=1e-5)
    one.close()
    other.close()
    clean_up(engine)
