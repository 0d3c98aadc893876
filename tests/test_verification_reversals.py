"""The verifier of drafts: a near copy that a sign, an opposite, a disguised "not" or a change of roles turns round."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from headwater.answering.contract import Draft, Verified, Verifier
from headwater.answering.verification import SpanVerifier
from headwater.policies import AnswerPolicy
from headwater.types import Passage


class AgreeingEncoder:
    """Finds every two texts alike, so that only words count."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.tile(np.array([1.0, 0.0], dtype=np.float32), (len(texts), 1))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encode_documents(texts)


@pytest.fixture(scope="module")
def agreeing() -> Verifier:
    return SpanVerifier(AgreeingEncoder(), AnswerPolicy())


def check(verifier: Verifier, source: str, draft: str, language: str = "en") -> Verified:
    one = Passage(
        "yard-0", "yard", "yard.md", "r-1", 4, "Rules of the yard", (), None, 0, len(source), source, 1.0,
        language=language,
    )  # fmt: skip
    return verifier.check(Draft(draft, (0,)), [one])


# --- comparison signs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("Keep the store at a temperature < 5 °C.", "Keep the store at a temperature > 5 °C."),
        ("Keep the store at a temperature < 5 °C.", "Keep the store at a temperature ≥ 5 °C."),
        ("Keep the store at a temperature < 5 °C.", "Keep the store at a temperature above 5 °C."),
        ("Keep the store at a temperature < 5 °C.", "Keep the store at a temperature of 5 °C."),
        ("Keep the store at a temperature <= 5 °C.", "Keep the store at a temperature >= 5 °C."),
        ("The limit is ≤ 20 mg per litre.", "The limit is ≥ 20 mg per litre."),
        ("The limit is 20 mg per litre.", "The limit is > 20 mg per litre."),
        ("The fee is below €20 a day.", "The fee is > €20 a day."),
        ("The dose is 20 mg.", "The dose is over 20 mg."),
        ("The dose is 20 mg.", "The dose is below 20 mg."),
        ("The dose is 20 mg.", "The dose is under 20 mg."),
        ("The dose is 20 mg.", "The dose is less than 20 mg."),
        ("The dose is 20 mg.", "The dose is ± 20 mg."),
        ("The dose is below 20 mg.", "The dose is 20 mg."),
        ("The dose is at most 20 mg.", "The dose is above 20 mg."),
        ("Set x != 0 before the start.", "Set x == 0 before the start."),
        ("Set x = 0 before the start.", "Set x ≠ 0 before the start."),
        ("The flow holds while 5 < x.", "The flow holds while 5 > x."),
        ("The fee is 40 crowns.", "The fee is ≠ 40 crowns."),
        ("The fee is 40 crowns.", "The fee is ~40 crowns."),
        ("The fee is 40 crowns.", "The fee is 40+ crowns."),
        ("The fee is ~40 crowns.", "The fee is 40 crowns."),
    ],
)
def test_a_sign_of_comparison_is_not_turned_round_added_or_lost(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, source).sentence
    assert check(agreeing, source, draft).reasons == ("negation",)


@pytest.mark.parametrize("language", ["de", "fr", "es", "it", "sv"])
def test_signs_are_read_in_every_language_that_is_checked(agreeing: Verifier, language: str) -> None:
    source = "Temperatur < 5 °C, Radon ≠ 0."
    assert check(agreeing, source, source, language).sentence
    assert check(agreeing, source, "Temperatur > 5 °C, Radon ≠ 0.", language).reasons == ("negation",)
    assert check(agreeing, source, "Temperatur < 5 °C, Radon = 0.", language).reasons == ("negation",)


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("Keep the store at a temperature < 5 °C.", "Keep the store at a temperature below 5 °C."),
        ("Keep the store at a temperature below 5 °C.", "Keep the store at a temperature < 5 °C."),
        ("The dose is ≤ 20 mg.", "The dose is at most 20 mg."),
        ("The dose is ≤ 20 mg.", "The dose is <= 20 mg."),
        ("The dose is ≥ 20 mg.", "The dose is 20 mg or more."),
        ("The dose is less than or equal to 20 mg.", "The dose is ≤ 20 mg."),
        ("The limit is 20 mg.", "The limit is ≤ 20 mg."),
        ("The fee is more than $20 a day.", "The fee is > $20 a day."),
        ("Set x != 0 before the start.", "Set x ≠ 0 before the start."),
        ("Set x != 0 before the start.", "Before the start, set x != 0."),
        ("Set x == 0 before the start.", "Set x = 0 before the start."),
        ("The flow holds while x < 5.", "The flow holds while 5 > x."),
        ("The fee is ~40 crowns.", "The fee is about 40 crowns."),
        ("The fee is about 40 crowns.", "The fee is ≈ 40 crowns."),
        ("The fee is 40+ crowns.", "The fee is over 40 crowns."),
        ("The course runs over 5 days.", "The course runs for 5 days."),
        ("Refunds are paid within 5 days.", "Refunds are paid in 5 days."),
        ("The fee goes -> 40 crowns.", "The fee goes to 40 crowns."),
        ("The fee is <b>40</b> crowns.", "The fee is 40 crowns."),
        ("> 40 crews berth in the yard.", "40 crews berth in the yard."),
        ("Heat it to +5 °C.", "Heat it to 5 °C."),
    ],
)
def test_the_same_comparison_in_words_or_another_sign_is_kept(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, draft).reasons == ()


@pytest.mark.parametrize("text", ["<" * 4000, "5 <" * 1300, "~~a" * 1300, "<s>" * 1300, "❌ 5 " * 1000, "5+" * 2000])
def test_hostile_signs_are_judged_in_bounded_time(agreeing: Verifier, text: str) -> None:
    started = time.process_time()
    check(agreeing, text + text, text)
    check(agreeing, text, "The gate opens at 9:30 am on Mondays.")
    assert time.process_time() - started < 10
