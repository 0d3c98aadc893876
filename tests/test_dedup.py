from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import deltalake
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headwater import dedup
from headwater.dedup.minhash import choose_bands
from headwater.edits import apply_edits
from headwater.policies import DedupPolicy
from headwater.sentences import split_sentences

SENTENCE = (
    "the warehouse opens at seven and the night shift hands over its open orders before anyone starts a forklift "
    "while the office answers customers from eight until the last truck has left the yard in the evening"
)
PROSE = SENTENCE.split()
# Characters whose lower case or word class is unusual, between ordinary ones.
ODD = "aAbZ09_ \t\n.,-'\u00e9\u00df\u0130\u03a3\u03c3\u0345\u00aa\u00b2\u00bd\u0660\u0e01\u4e2d\u200b\u00ad\U0001d400\U0001f600\ud800"


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))} if words else set()


def brute_force(texts: list[str], threshold: float) -> list[tuple[int, int, float]]:
    sets = [shingles_of(text) for text in texts]
    found = []
    for (i, left), (j, right) in combinations(enumerate(sets), 2):
        if left and right:
            similarity = len(left & right) / len(left | right)
            if similarity >= threshold:
                found.append((i, j, similarity))
    return found


def varied(count: int, seed: int, length: int = 60) -> list[str]:
    """Texts cut from one prose with a few words changed, so that all similarities occur."""
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        base = int(generator.integers(4))
        words = [f"{PROSE[(i * (base + 1)) % len(PROSE)]}{i // len(PROSE)}" for i in range(length)]
        for place in generator.integers(0, length, int(generator.integers(0, 6))):
            words[place] = f"changed{generator.integers(5)}"
        texts.append(" ".join(words[int(generator.integers(0, 10)) :]))
    return texts


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from(ODD), max_size=40), max_size=6))
def test_texts_have_as_many_shingles_as_pythons_own_words_give(texts: list[str]) -> None:
    sets = dedup.shingle_sets(texts)
    assert np.diff(sets.offsets).tolist() == [len(shingles_of(text)) for text in texts]


@settings(deadline=None)
@given(
    st.lists(st.text(st.sampled_from(ODD), max_size=12), min_size=2, max_size=12), st.sampled_from([0.3, 0.5, 0.8, 1.0])
)
def test_pairs_equal_brute_force_for_unusual_unicode(texts: list[str], threshold: float) -> None:
    assert dedup.near_duplicates(texts, threshold) == brute_force(texts, threshold)


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_two_texts_are_equal_exactly_when_their_words_are(left: str, right: str) -> None:
    assert bool(dedup.near_duplicates([left, right], 1.0)) == (shingles_of(left) == shingles_of(right) != set())
    assert len(dedup.near_duplicates([left, left.upper().lower() + " .,"], 1.0)) == len(
        brute_force([left, left.upper().lower() + " .,"], 1.0)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.35, 0.5, 0.8, 0.9, 1.0]))
def test_pairs_equal_brute_force_for_prose_of_graded_similarity(seed: int, threshold: float) -> None:
    texts = varied(40, seed)
    assert dedup.near_duplicates(texts, threshold) == brute_force(texts, threshold)


def test_copies_are_pairs_of_each_other_and_of_their_near_duplicates() -> None:
    near = " ".join([*PROSE, "extra"])
    texts = [" ".join(PROSE), near, " ".join(PROSE).upper(), "", " ".join(PROSE) + "!", "", "short", "Short."]
    found = dedup.near_duplicates(texts, 0.8)
    assert [(i, j) for i, j, _ in found] == [(0, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 4), (6, 7)]
    assert found == brute_force(texts, 0.8)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        dedup.near_duplicates(["a"], threshold)


def test_nothing_in_nothing_out() -> None:
    assert dedup.near_duplicates([]) == []
    batch = dedup.signatures([])
    assert len(batch) == 0
    assert dedup.candidate_pairs(batch.hashes).shape == (0, 2)


def test_a_text_that_repeats_itself_a_million_times_is_no_trouble() -> None:
    text = "the same four words again " * 200_000
    assert dedup.near_duplicates([text, text + "end"], 0.5)[0][2] == pytest.approx(5 / 6)


def test_signatures_are_those_of_datasketch() -> None:
    from datasketch import MinHash

    texts = [*varied(5, 1, 300), "", "two words", "gr\u00fc\u00dfe aus M\u00fcnchen an alle Kolleginnen und Kollegen"]
    batch = dedup.signatures(texts)
    assert batch.hashes.dtype == np.uint32
    assert batch.hashes.shape == (len(texts), 128)
    for row in range(len(texts)):
        start, stop = batch.shingles.offsets[row : row + 2]
        expected = MinHash(num_perm=128, scheme="affine32", hashfunc=int)
        expected.update_batch([int(value) & 0xFFFFFFFF for value in batch.shingles.values[start:stop]])
        assert (batch.hashes[row] == expected.hashvalues).all()
    assert (
        MinHash(hashvalues=batch.hashes[0], scheme="affine32").jaccard(
            MinHash(hashvalues=batch.hashes[0], scheme="affine32")
        )
        == 1.0
    )


def test_signatures_do_not_depend_on_what_else_is_in_the_batch() -> None:
    texts = varied(20, 2)
    together = dedup.signatures(texts).hashes
    assert (together == np.concatenate([dedup.signatures([text]).hashes for text in texts])).all()


def test_shingle_sets_survive_a_delta_table(tmp_path: Path) -> None:
    sets = dedup.shingle_sets([*varied(4, 3), "", "x"])
    deltalake.write_deltalake(tmp_path, pa.table({"shingles": sets.to_arrow()}))
    column = pa.table(deltalake.DeltaTable(tmp_path).to_pyarrow_table())["shingles"]
    for stored in (column, pa.chunked_array([*column.slice(0, 2).chunks, *column.slice(2).chunks]), sets.to_arrow()):
        back = dedup.ShingleSets.from_arrow(stored)
        assert (back.values == sets.values).all()
        assert (back.offsets == sets.offsets).all()


def test_minhash_finds_the_pairs_that_brute_force_finds() -> None:
    texts = varied(300, 4, 120)
    batch = dedup.signatures(texts)
    pairs = dedup.candidate_pairs(batch.hashes)
    similar = dedup.jaccard_pairs(batch.shingles, pairs) >= 0.8
    truth = {(i, j) for i, j, _ in brute_force(texts, 0.8)}
    found = set(map(tuple, pairs[similar].tolist()))
    assert found <= truth
    assert len(found) >= 0.995 * len(truth) > 100
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert (pairs[:, 0] < pairs[:, 1]).all()


def test_a_change_mask_keeps_exactly_the_pairs_with_a_changed_member() -> None:
    hashes = dedup.signatures(varied(80, 5)).hashes
    changed = np.zeros(80, np.bool_)
    changed[[3, 40, 41]] = True
    every = dedup.candidate_pairs(hashes)
    assert dedup.candidate_pairs(hashes, changed=changed).tolist() == every[changed[every].any(axis=1)].tolist()
    assert len(dedup.candidate_pairs(hashes, changed=np.zeros(80, np.bool_))) == 0


def test_texts_without_words_are_no_candidates() -> None:
    assert len(dedup.candidate_pairs(dedup.signatures(["", "...", "  "]).hashes)) == 0


def test_bands_fit_the_threshold() -> None:
    assert choose_bands(0.8) == (25, 5)
    for threshold in (0.3, 0.5, 0.7, 0.95, 1.0):
        bands, rows = choose_bands(threshold)
        assert bands * rows <= 128
        assert 1 - (1 - threshold**rows) ** bands >= 0.9995
    with pytest.raises(ValueError, match="too low"):
        choose_bands(0.01)


def test_a_policy_takes_no_threshold_for_which_signatures_are_too_short() -> None:
    least = 0.06
    assert choose_bands(DedupPolicy(threshold=least).threshold) == (128, 1)
    with pytest.raises(ValidationError, match=r"0\.06"):
        DedupPolicy(threshold=0.05)
    with pytest.raises(ValueError, match="too low"):
        choose_bands(least - 0.01)


def test_bands_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="permutations"):
        dedup.candidate_pairs(np.zeros((2, 128), np.uint32), 30, 6)


def clustered(
    pairs: dict[tuple[int, int], float], ranks: list[int], groups: list[int] | None = None
) -> tuple[list[int], list[float]]:
    result = dedup.cluster(
        len(ranks),
        np.array(list(pairs), np.int64).reshape(-1, 2),
        np.array(list(pairs.values()), np.float64),
        np.array(ranks),
        np.array(groups or [0] * len(ranks)),
    )
    return result.survivor.tolist(), result.similarity.tolist()


def test_a_row_is_removed_only_for_a_survivor_that_resembles_it() -> None:
    # 0 ~ 1 ~ 2 is a chain: 2 does not resemble 0, so it survives though its neighbour 1 does not.
    assert clustered({(0, 1): 0.9, (1, 2): 0.85}, [0, 1, 2]) == ([0, 0, 2], [1.0, 0.9, 1.0])


def test_the_most_similar_survivor_is_named_and_ties_go_to_the_better_rank() -> None:
    assert clustered({(0, 2): 0.8, (1, 2): 0.9}, [0, 1, 2])[0] == [0, 1, 1]
    assert clustered({(0, 2): 0.9, (1, 2): 0.9}, [1, 0, 2])[0] == [0, 1, 1]


def test_only_rows_with_the_same_readers_are_merged() -> None:
    assert clustered({(0, 1): 1.0, (0, 2): 0.9}, [0, 1, 2], [0, 1, 0])[0] == [0, 1, 0]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 14))
def test_survivors_do_not_depend_on_the_order_of_arrival(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    every = np.array(list(combinations(range(n), 2)), np.int64)
    pairs = every[generator.random(len(every)) < 0.4]
    similarities = generator.choice([0.8, 0.85, 0.9], len(pairs))
    ranks, groups = generator.permutation(n), generator.integers(0, 2, n)
    first = dedup.cluster(n, pairs, similarities, ranks, groups)
    known = {tuple(pair): value for pair, value in zip(pairs.tolist(), similarities.tolist(), strict=True)}
    for row, survivor in enumerate(first.survivor.tolist()):
        assert first.survivor[survivor] == survivor
        if row != survivor:
            assert first.similarity[row] == known[min(row, survivor), max(row, survivor)]
            assert groups[row] == groups[survivor]
            assert ranks[survivor] < ranks[row]
    arrival = generator.permutation(n)  # new index -> old index
    place = np.argsort(arrival)
    shuffled = generator.permutation(len(pairs))
    moved = place[pairs[shuffled]][:, ::-1]
    second = dedup.cluster(n, moved, similarities[shuffled], ranks[arrival], groups[arrival])
    assert arrival[second.survivor[place]].tolist() == first.survivor.tolist()


def test_equal_texts_follow_their_representative() -> None:
    ranks, groups = np.array([3, 0, 1, 2, 4]), np.array([0, 0, 0, 1, 0])
    exact = dedup.exact_representatives(["a", "b", "a", "a", "b"], ranks, groups)
    assert exact.tolist() == [2, 1, 2, 3, 1]
    result = dedup.cluster(5, np.array([[1, 2]]), np.array([0.9]), ranks, groups, exact)
    # Row 2 is a near-duplicate of row 1, so its copy 0 is one too; 4 is a copy of the survivor 1.
    assert result.survivor.tolist() == [1, 1, 1, 3, 1]
    assert result.similarity.tolist() == [0.9, 1.0, 0.9, 1.0, 1.0]
    assert result.exact.tolist() == [False, False, False, False, True]


def sets_of(shingles: dedup.ShingleSets, rows: npt.NDArray[np.int64]) -> dedup.ShingleSets:
    return dedup.ShingleSets.from_arrow(shingles.to_arrow().take(pa.array(rows)))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.6, 0.8]))
def test_survivors_are_those_among_all_proposed_pairs_in_any_order_of_arrival(seed: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    texts = varied(120, seed, 120)
    batch = dedup.signatures(texts)
    ranks, groups = generator.permutation(len(texts)), generator.integers(0, 2, len(texts))
    pairs = dedup.candidate_pairs(batch.hashes, *choose_bands(threshold))
    similarities = dedup.jaccard_pairs(batch.shingles, pairs)
    near = similarities >= threshold
    expected = dedup.cluster(len(texts), pairs[near], similarities[near], ranks, groups)
    for arrival in (np.arange(len(texts)), generator.permutation(len(texts))):
        moved = sets_of(batch.shingles, arrival)
        found = dedup.find_survivors(
            batch.hashes[arrival],
            lambda rows, moved=moved: sets_of(moved, rows),
            ranks[arrival],
            groups[arrival],
            threshold,
        )
        place = np.argsort(arrival)
        assert arrival[found.survivor[place]].tolist() == expected.survivor.tolist()
        assert found.similarity[place].tolist() == expected.similarity.tolist()


def test_fixed_rows_survive_and_win_over_better_ranks() -> None:
    near = [*PROSE, "extra"]
    texts = [" ".join(PROSE), " ".join(near), " ".join(PROSE), " ".join(near)]
    batch = dedup.signatures(texts)
    found = dedup.find_survivors(
        batch.hashes,
        lambda rows: sets_of(batch.shingles, rows),
        np.array([0, 1, 3, 2]),
        np.zeros(4, np.int64),
        0.8,
        np.array([False, False, True, True]),
    )
    assert found.survivor.tolist() == [2, 3, 2, 3]


def test_a_template_of_many_copies_is_compared_with_its_survivor_only() -> None:
    base = [f"word{n}" for n in range(120)]
    texts = [" ".join([*base, f"number{n}"]) for n in range(3000)]
    batch = dedup.signatures(texts)
    found = dedup.find_survivors(
        batch.hashes, lambda rows: sets_of(batch.shingles, rows), np.arange(3000), np.zeros(3000, np.int64), 0.8
    )
    assert set(found.survivor.tolist()) == {0}


RULES = "Ring the bell before you open the gate. Nobody may stand below the weir. Write the hour into the log book."


def test_a_run_of_sentences_is_kept_by_the_best_document_of_each_group() -> None:
    texts = [f"This one is about boats and their keepers. {RULES}", f"{RULES}", f"Title\n\n{RULES}", RULES.upper()]
    hashes = [dedup.sentence_hashes(text) for text in texts]
    assert hashes[2][0] == 0  # too short to count
    found = dedup.repeated_sentences(hashes, np.array([2, 0, 1, 3]), np.array([0, 0, 0, 1]), 3)
    assert found == [[1, 2, 3], [], [1, 2, 3], []]
    assert dedup.repeated_sentences(hashes, np.array([2, 0, 1, 3]), np.array([0, 0, 0, 1]), 5) == [[]] * 4
    assert dedup.repeated_sentences([[], []], np.array([0, 1]), np.array([0, 0]), 3) == [[], []]


def test_a_run_within_one_document_is_its_own_affair() -> None:
    hashes = [dedup.sentence_hashes(f"{RULES} {RULES}")]
    assert dedup.repeated_sentences(hashes, np.array([0]), np.array([0]), 3) == [[]]


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["One two three four five six.", "Short.", "\n\n", " ", "- item of a list\n"]), max_size=12
    ),
    st.data(),
)
def test_removing_sentences_leaves_the_others_as_they_are(parts: list[str], data: st.DataObject) -> None:
    text = "".join(f"{part}{n} " if part[0].isalpha() else part for n, part in enumerate(parts))
    spans = split_sentences(text)
    gone = sorted(data.draw(st.sets(st.integers(0, max(0, len(spans) - 1))))) if spans else []
    edits = dedup.sentence_edits(text, gone)
    kept = [text[start:end] for n, (start, end) in enumerate(spans) if n not in gone]
    if edits:
        assert apply_edits(text, edits).split() == " ".join(kept).split()
    elif gone:
        assert len(" ".join(kept).split()) < 5


NOTICE = "This message is confidential and meant for the addressee only."
POLICY = DedupPolicy(boilerplate_min_documents=3, boilerplate_min_share=0.5)


def test_a_paragraph_that_many_documents_share_is_boilerplate() -> None:
    documents = [f"Overview\n\nBody number {i} says something of its own.\n\n{NOTICE}" for i in range(4)]
    documents += [
        f"Overview\n\n{NOTICE.upper()}\n\n{NOTICE}\n\nOnly here is this one sentence found.",
        "Overview\n\nNothing else.",
    ]
    hashes = [[paragraph for _, _, paragraph in dedup.paragraphs(text)] for text in documents]
    found = dedup.boilerplate_paragraphs(hashes, POLICY)
    assert len(found) == 1
    cleaned = [apply_edits(text, dedup.boilerplate_edits(text, found)) for text in documents]
    assert cleaned[0] == "Overview\n\nBody number 0 says something of its own."
    assert cleaned[4] == "Overview\n\nOnly here is this one sentence found."
    assert cleaned[5] == documents[5]


def test_boilerplate_needs_both_a_number_and_a_share_of_documents() -> None:
    assert dedup.boilerplate_paragraphs([["a"]] * 2, POLICY) == set()
    assert dedup.boilerplate_paragraphs([["a"]] * 3 + [["b"]] * 3, POLICY) == {"a", "b"}
    assert dedup.boilerplate_paragraphs([["a"]] * 3 + [["b"]] * 4, POLICY) == {"b"}
    assert dedup.boilerplate_paragraphs([["a", "a", "a"]], POLICY) == set()
    assert dedup.boilerplate_paragraphs([["a"]] * 9, DedupPolicy(boilerplate_min_documents=0)) == set()


def test_a_document_that_is_all_boilerplate_keeps_it() -> None:
    found = {paragraph for _, _, paragraph in dedup.paragraphs(NOTICE)}
    assert dedup.boilerplate_edits(NOTICE, found) == []
    assert dedup.boilerplate_edits(f"Title\n\n{NOTICE}", found) == []


@settings(deadline=None)
@given(st.text(st.sampled_from("ab \t\r\n"), max_size=60))
def test_paragraphs_are_trimmed_spans_between_blank_lines(text: str) -> None:
    spans = dedup.paragraphs(text)
    for start, end, _ in spans:
        assert text[start:end] == text[start:end].strip()
        assert not re.search(r"\n\s*\n", text[start:end])
    removed = apply_edits(text, dedup.boilerplate_edits(text, {paragraph for *_, paragraph in spans}))
    assert not dedup.paragraphs(removed) or removed == text


def test_importing_deduplication_does_not_load_the_compiler() -> None:
    code = (
        "import sys, json, headwater.dedup; print(json.dumps([m for m in ('numba', 'datasketch') if m in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == []


def test_every_verdict_has_words_for_the_owner() -> None:
    removed_for = {"exact_duplicate", "near_duplicate", "held_by_other_corpus", "contains_evaluation_question"}
    assert set(dedup.REASONS) == removed_for
    assert all(message.endswith(".") and advice.endswith(".") for message, advice in dedup.REASONS.values())
