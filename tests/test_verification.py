"""The verifier of drafts: what the cited spans say is kept with exact spans, and what they don't say is dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headwater.answering.contract import Draft, Verified, Verifier
from headwater.answering.verification import SpanVerifier
from headwater.answering.verification.dates import find_dates
from headwater.answering.verification.entailment import EntailmentModel
from headwater.answering.verification.lexicon import ANTONYMS
from headwater.answering.verification.quotations import quotations
from headwater.answering.verification.tokens import tokenize
from headwater.embedding import Embedder
from headwater.errors import ConfigError
from headwater.policies import AnswerPolicy
from headwater.types import Passage

LEAVE = (
    "Crew members of Northwind get 25 days of paid leave per year. Up to 5 days may be carried over until 31 March 2027. "
    "Anna Miller reports to Bob Stone, who leads the Hamburg yard. Dogs are not allowed in the engine room. "
    'The harbour fee was $1.2 million, which is 12% of the revenue of 2023. The pilot said "the tide decides" at noon. '
    "Requests must be filed at least two weeks before the trip. The crane is unpainted and never lifts without a permit. "
    "The gate opens at 9:30 am on Mondays. Only the harbour master may close the lock, unless a storm is near.\n"
)
FERRY = (
    "The ferry to Brandholm sails every Friday at six. It carries forty cars. "
    "Captain Ida Lund has steered it since 2011.\n"
)


def passage(text: str, doc: str = "leave", start: int = 500, **fields: object) -> Passage:
    values: dict[str, object] = {
        "chunk_id": f"{doc}-{start}",
        "doc_id": doc,
        "key": f"{doc}.md",
        "revision": "r-1",
        "release": 4,
        "title": "Rules of the yard",
        "section": (),
        "page": None,
        "start": start,
        "end": start + len(text),
        "text": text,
        "score": 1.0,
    }
    return Passage(**{**values, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture(scope="module")
def verifier(embedder: Embedder) -> Verifier:
    return SpanVerifier(embedder, AnswerPolicy())


def check(verifier: Verifier, text: str, *sources: Passage | str, cites: tuple[int, ...] = (0,)) -> Verified:
    passages = [source if isinstance(source, Passage) else passage(source) for source in sources or (LEAVE,)]
    return verifier.check(Draft(text, cites), passages)


def consistent(result: Verified, draft: str, passages: list[Passage]) -> bool:
    """Whether every offset of a verdict says what it claims to say."""
    if result.sentence is None:
        return bool(result.reasons)
    by_doc = {p.doc_id: p for p in passages}
    for citation in result.sentence.citations:
        source = by_doc[citation.doc]
        if source.text[citation.start - source.start : citation.end - source.start] != citation.quote:
            return False
    last = 0
    for alignment in result.sentence.alignments:
        citation = result.sentence.citations[alignment.citation]
        inside = citation.start <= alignment.source_start < alignment.source_end <= citation.end
        if not inside or not last <= alignment.start < alignment.end <= len(draft):
            return False
        last = alignment.end
    return 0.0 <= result.sentence.support <= 1.0


# --- what is kept -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draft",
    [
        "Crew members of Northwind get 25 days of paid leave per year.",
        "Northwind crew members get twenty-five days of paid leave each year.",
        "Up to five days may be carried over until March 31, 2027.",
        "Up to 5 days may be carried over until 2027-03-31.",
        "Until 31 March 2027, up to 5 days can be carried over.",
        "The Hamburg yard is led by Bob Stone.",
        "Dogs aren't allowed in the engine room.",
        "Dogs are forbidden in the engine room.",
        "The harbour fee was 1,200,000 dollars.",
        "The harbour fee was 12 percent of the revenue of 2023.",
        "The pilot said that “the tide decides”.",
        "Requests have to be filed at least two weeks prior to the trip.",
        "The gate opens at 9:30 on Mondays.",
        "The gate opens at 9.30 a.m. on Mondays.",
        "Just the harbour master can close the lock, except if a storm is near.",
        "1. The crane never lifts without a permit.",
    ],
)
def test_what_the_span_says_in_other_words_is_kept(verifier: Verifier, draft: str) -> None:
    result = check(verifier, draft)
    assert result.reasons == ()
    assert result.sentence is not None
    assert result.sentence.text == draft
    assert consistent(result, draft, [passage(LEAVE)])


def test_every_sentence_of_a_passage_is_supported_word_for_word_by_itself(verifier: Verifier) -> None:
    for text in (LEAVE, FERRY):
        for draft in [part.strip() + "." for part in text.split(". ") if part.strip().count(" ") > 3]:
            draft = draft.replace("..", ".")
            result = check(verifier, draft, text)
            assert result.sentence is not None, draft
            assert (result.sentence.verdict, result.sentence.support) == ("verbatim", 1.0)


def test_a_paraphrase_is_called_supported_and_a_quotation_verbatim(verifier: Verifier) -> None:
    paraphrase = check(verifier, "Bob Stone leads the yard in Hamburg.").sentence
    verbatim = check(verifier, "The gate opens at 9:30 am on Mondays.").sentence
    assert paraphrase is not None and paraphrase.verdict == "supported"
    assert verbatim is not None and verbatim.verdict == "verbatim"


def test_the_citation_is_the_one_sentence_that_says_it_in_offsets_of_the_document(verifier: Verifier) -> None:
    source = passage(FERRY, "ferry", 12_000)
    sentence = check(verifier, "It carries forty cars.", source).sentence
    assert sentence is not None
    (citation,) = sentence.citations
    start = 12_000 + FERRY.index("It carries")
    assert (citation.doc, citation.start, citation.quote) == ("ferry", start, "It carries forty cars.")
    assert citation.end == start + len(citation.quote)


def test_a_draft_of_two_neighbouring_sentences_cites_their_run(verifier: Verifier) -> None:
    sentence = check(
        verifier, "The ferry to Brandholm sails every Friday at six and carries forty cars.", FERRY
    ).sentence
    assert sentence is not None
    assert [citation.quote for citation in sentence.citations] == [FERRY[: FERRY.index(" Captain")]]


def test_a_draft_that_joins_two_documents_cites_both(verifier: Verifier) -> None:
    draft = "The ferry to Brandholm sails every Friday, and the gate opens at 9:30 am on Mondays."
    passages = [passage(LEAVE), passage(FERRY, "ferry", 0)]
    result = verifier.check(Draft(draft, (1, 0)), passages)
    assert result.sentence is not None
    assert {citation.doc for citation in result.sentence.citations} == {"leave", "ferry"}
    assert consistent(result, draft, passages)


def test_alignments_say_which_words_stand_where(verifier: Verifier) -> None:
    draft = "Until 31 March 2027, up to 5 days may be carried over."
    sentence = check(verifier, draft).sentence
    assert sentence is not None
    pairs = [(draft[a.start : a.end], LEAVE[a.source_start - 500 : a.source_end - 500]) for a in sentence.alignments]
    assert ("Until 31 March 2027", "until 31 March 2027") in pairs
    assert ("up to 5 days may be carried over", "Up to 5 days may be carried over") in pairs


def test_a_name_that_only_the_title_tells_is_no_invention(verifier: Verifier) -> None:
    source = passage("It sails every Friday at six and carries forty cars.", title="The Brandholm ferry")
    assert check(verifier, "The Brandholm ferry sails every Friday at six and carries forty cars.", source).sentence


def test_an_acronym_stands_for_the_name_that_it_is_made_of(verifier: Verifier) -> None:
    text = "The Northern Harbour Authority inspects all cranes twice a year."
    assert check(verifier, "The NHA inspects all cranes twice a year.", text).sentence
    assert check(verifier, "The NHB inspects all cranes twice a year.", text).reasons == ("name",)


# --- what is dropped ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        ("Crew members of Northwind get 26 days of paid leave per year.", "number"),
        ("Crew members of Northwind get 25 weeks of paid leave per year.", "number"),
        ("Crew members of Northwind get 5 days of paid leave per year.", "number"),
        ("Up to 25 days may be carried over until 31 March 2027.", "number"),
        ("The harbour fee was $1.3 million, which is 12% of the revenue of 2023.", "number"),
        ("The harbour fee was $1.2 billion, which is 12% of the revenue of 2023.", "number"),
        ("The harbour fee was $12 million, which is 1.2% of the revenue of 2023.", "number"),
        ("The gate opens at 10:30 am on Mondays.", "number"),
        ("Requests must be filed at least three weeks before the trip.", "number"),
        ("Up to 5 days may be carried over until 30 March 2027.", "date"),
        ("Up to 5 days may be carried over until 31 May 2027.", "date"),
        ("Up to 5 days may be carried over until 2026-03-31.", "date"),
        ("The harbour fee was $1.2 million, which is 12% of the revenue of 2024.", "date"),
        ("The gate opens at 9:30 am on Tuesdays.", "date"),
        ("Crew members of Southwind get 25 days of paid leave per year.", "name"),
        ("Anna Miller reports to Carl Stone, who leads the Hamburg yard.", "name"),
        ("Bob Stone reports to Anna Miller, who leads the Hamburg yard.", "name"),
        ("Anna Miller reports to Bob Stone, who leads the Bremen yard.", "name"),
        ("Karl Weber reports to Bob Stone, who leads the Hamburg yard.", "name"),
        ("Dogs are allowed in the engine room.", "negation"),
        ("Crew members of Northwind do not get 25 days of paid leave per year.", "negation"),
        ("The crane is painted and never lifts without a permit.", "negation"),
        ("The crane is unpainted and lifts without a permit.", "negation"),
        ("The crane is unpainted and never lifts with a permit.", "negation"),
        ("The crane is unpainted and always lifts without a permit.", "negation"),
        ("At least 5 days may be carried over until 31 March 2027.", "negation"),
        ("5 days may be carried over until 31 March 2027.", "negation"),
        ("Up to 5 days must be carried over until 31 March 2027.", "negation"),
        ("Requests must be filed at least two weeks after the trip.", "negation"),
        ("Requests should be filed at least two weeks before the trip.", "negation"),
        ("The harbour master may close the lock, unless a storm is near.", "negation"),
        ("Only the harbour master may close the lock if a storm is near.", "negation"),
        ('The pilot said "the captain decides" at noon.', "quote"),
        ("The pilot said “the tide never decides” at noon.", "quote"),
        ("Dogs are not allowed in the engine room, 'a rule of iron', at noon.", "quote"),
        ("Cats love to sleep on warm keyboards all afternoon.", "unsupported"),
        ("Yes.", "unsupported"),
        ("", "unsupported"),
        ("...", "unsupported"),
    ],
)
def test_what_the_span_does_not_say_is_dropped_with_the_reason(verifier: Verifier, draft: str, reason: str) -> None:
    result = check(verifier, draft)
    assert result.sentence is None
    assert reason in result.reasons


@pytest.mark.parametrize(
    "faithful",
    ["The gate opens at 9:30 am on Mondays", LEAVE[: LEAVE.index(" Up to")].rstrip(".") + ", and " + LEAVE[LEAVE.index("The harbour fee") : LEAVE.index(" The pilot")].rstrip(".")],
)  # fmt: skip
def test_a_claim_of_its_own_appended_to_a_faithful_sentence_is_dropped(verifier: Verifier, faithful: str) -> None:
    assert check(verifier, f"{faithful}.").sentence
    assert check(verifier, f"{faithful}, and visitors receive coffee, cake and guide books.").reasons == (
        "unsupported",
    )


REFUNDS = "Refunds are paid within 30 days of purchase."


@pytest.mark.parametrize(
    "added",
    [
        "Refunds are paid within 30 days of purchase, and the finance department reimburses everything.",
        "Refunds are paid within 30 days of purchase and shipping is free.",
        "Refunds are paid within 30 days of purchase, which is fantastic.",
        "Refunds are paid within 30 days of purchase and the shop refunds everything gladly.",
        "Refunds are paid within 30 days of purchase - visit our partner shop.",
        "Refunds are paid within 30 days!!! Visit our partner shop.",
        "Refunds are paid within 30 days. Guaranteed!",
        "Because the finance department reimburses everything, refunds are paid within 30 days of purchase.",
        "Refunds for tired sad angry cats are paid within 30 days of purchase.",
    ],
)
def test_every_clause_and_sentence_of_a_draft_needs_words_of_the_source(agreeing: Verifier, added: str) -> None:
    assert check(agreeing, added, REFUNDS).reasons == ("unsupported",)


def test_an_added_german_clause_is_dropped(agreeing: Verifier) -> None:
    source = passage("Erstattungen werden binnen 30 Tagen gezahlt.", language="de")
    added = "Erstattungen werden binnen 30 Tagen gezahlt, und die Finanzabteilung ersetzt alle Kosten."
    assert check(agreeing, added, source).reasons == ("unsupported",)


@pytest.mark.parametrize(
    "draft",
    [
        "Currently, refunds are paid within 30 days of purchase.",
        "Within 30 days of the purchase, refunds get paid.",
        "According to the rules of the yard, refunds are paid within 30 days of purchase.",
    ],
)
def test_a_clause_without_a_claim_of_its_own_needs_no_counterpart(agreeing: Verifier, draft: str) -> None:
    assert check(agreeing, draft, REFUNDS).reasons == ()


@pytest.mark.parametrize(
    "source",
    [
        "The claim that refunds are paid within 30 days is false.",
        "The claim that refunds are paid within 30 days is not true.",
        "It is a common myth that refunds are paid within 30 days.",
        "It is not true that refunds are paid within 30 days.",
        "That refunds are paid within 30 days is a widespread misconception.",
        "The agency alleges that refunds are paid within 30 days.",
        "Allegedly, refunds are paid within 30 days.",
        "Many people wrongly believe that refunds are paid within 30 days.",
        "Myth: refunds are paid within 30 days.",
        "If the buyer has moved, refunds are paid within 30 days.",
        "If the buyer has moved refunds are paid within 30 days.",
        "Unless the seller objects, refunds are paid within 30 days.",
        "When the shop closes, refunds are paid within 30 days.",
        "Only if the seller agrees, refunds are paid within 30 days.",
        "Provided that the seller agrees, refunds are paid within 30 days.",
        "Refunds are paid within 30 days if the seller agrees.",
        "Refunds are paid within 30 days, unless the seller objects.",
        "Refunds are paid within 30 days only when the seller agrees.",
        "Refunds are paid within 30 days only with consent.",
    ],
)
def test_what_stands_under_a_condition_or_in_a_frame_is_not_said_without_it(agreeing: Verifier, source: str) -> None:
    assert check(agreeing, source, source).sentence
    assert "negation" in check(agreeing, "Refunds are paid within 30 days.", source).reasons


@pytest.mark.parametrize(
    "source",
    [
        "Es ist ein Mythos, dass Erstattungen binnen 30 Tagen gezahlt werden.",
        "Die Behauptung, dass Erstattungen binnen 30 Tagen gezahlt werden, ist falsch.",
        "Es stimmt nicht, dass Erstattungen binnen 30 Tagen gezahlt werden.",
        "Angeblich werden Erstattungen binnen 30 Tagen gezahlt.",
        "Wenn der Käufer umzieht, werden Erstattungen binnen 30 Tagen gezahlt.",
        "Erstattungen werden binnen 30 Tagen gezahlt, falls der Händler zustimmt.",
        "Erstattungen werden binnen 30 Tagen gezahlt, es sei denn, der Händler widerspricht.",
    ],
)
def test_german_conditions_and_frames_are_not_left_out_either(agreeing: Verifier, source: str) -> None:
    assert check(agreeing, source, passage(source, language="de")).sentence
    draft = "Erstattungen werden binnen 30 Tagen gezahlt."
    assert "negation" in check(agreeing, draft, passage(source, language="de")).reasons


def test_a_frame_that_the_source_does_not_have_is_not_put_around_its_words(agreeing: Verifier) -> None:
    assert check(agreeing, "It is a myth that refunds are paid within 30 days of purchase.", REFUNDS).reasons == (
        "negation",
    )


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("The claim that refunds are paid within 30 days is false.", "It is false that refunds are paid within 30 days."),
        ("The claim that refunds are paid within 30 days is false.", "Refunds are not paid within 30 days."),
        ("The agency claims that refunds are paid within 30 days.", "The agency claims refunds are paid within 30 days."),
        ("Customers may claim refunds within 30 days.", "Customers can claim refunds in 30 days."),
        ("If the crew has resigned, the boat returns in May.", "The boat returns in May if the crew has resigned."),
        ("If crews resign, they return the boat in May.", "Crews who resign return the boat in May."),
        ("Even if it rains, the race takes place in May.", "The race takes place in May."),
        ("The race takes place, unless a storm is near.", "The race takes place, except if a storm is near."),
    ],
)  # fmt: skip
def test_a_condition_or_frame_in_other_words_is_kept(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, draft, source).reasons == ()


def test_a_name_that_opens_a_near_copy_in_the_place_of_a_thing_is_dropped(verifier: Verifier) -> None:
    assert check(verifier, "Brunhild is unpainted and never lifts without a permit.").reasons == ("name",)
    assert check(verifier, "Currently, the crane is unpainted and never lifts without a permit.").sentence


def test_the_right_sentence_with_the_wrong_document_is_dropped(verifier: Verifier) -> None:
    passages = [passage(LEAVE), passage(FERRY, "ferry", 0)]
    draft = "The ferry to Brandholm sails every Friday at six."
    assert verifier.check(Draft(draft, (1,)), passages).sentence
    assert verifier.check(Draft(draft, (0,)), passages).sentence is None


def test_a_quotation_from_a_passage_that_is_not_cited_is_dropped(verifier: Verifier) -> None:
    passages = [passage(FERRY), passage(LEAVE)]
    draft = 'Captain Ida Lund said "the tide decides".'
    assert verifier.check(Draft(draft, (0,)), passages).reasons == ("quote",)


@pytest.mark.parametrize("cites", [(), (7,), (-1,), (1,)])
def test_a_draft_that_cites_nothing_it_was_given_is_dropped(verifier: Verifier, cites: tuple[int, ...]) -> None:
    assert check(verifier, "The gate opens at 9:30 am on Mondays.", cites=cites).reasons == ("citation",)


def test_citations_that_lead_nowhere_don_t_spoil_those_that_do(verifier: Verifier) -> None:
    assert check(verifier, "The gate opens at 9:30 am on Mondays.", cites=(9, 0, 0, -3)).sentence


def test_the_worst_reason_stands_first(verifier: Verifier) -> None:
    reasons = check(verifier, "Dogs are allowed in the engine room of 1999 by Karl Weber.").reasons
    assert reasons == tuple(sorted(reasons, key=("quote", "number", "date", "name", "negation", "unsupported").index))
    assert len(reasons) > 1


def test_two_facts_of_a_table_are_not_mixed(verifier: Verifier) -> None:
    table = "| Port | Fee |\n|---|---|\n| Brandholm | 300 crowns |\n| Lundby | 450 crowns |\n"
    assert check(verifier, "Lundby: 450 crowns.", table).sentence
    assert check(verifier, "Lundby: 300 crowns.", table).sentence is None


def test_the_least_support_is_the_policy_s(embedder: Embedder) -> None:
    draft = "The yard in Hamburg is run by Bob Stone."
    assert SpanVerifier(embedder, AnswerPolicy(draft_support=0.3)).check(Draft(draft, (0,)), [passage(LEAVE)]).sentence
    strict = SpanVerifier(embedder, AnswerPolicy(draft_support=1.0)).check(Draft(draft, (0,)), [passage(LEAVE)])
    assert strict.reasons == ("unsupported",)


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("Payment is due only after delivery of the goods.", "Payment is due before delivery of the goods."),
        ("Only full-time staff are included in the plan.", "Full-time staff are excluded from the plan."),
        ("Visitors are allowed only on weekdays.", "Visitors are forbidden on weekdays."),
        ("Prices increase only in summer.", "Prices decrease in summer."),
        ("The valve must only be opened under pressure.", "The valve must be closed under pressure."),
        ("All doors except the rear door open at eight.", "All doors and the rear door close at eight."),
        ("Smoking is allowed only outside.", "Smoking is allowed except outside."),
        ("The office is open except on Sundays.", "The office is open only on Sundays."),
    ],
)
def test_a_restriction_turns_no_word_into_its_opposite(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, draft, source).reasons == ("negation",)


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("The office is not open on Sundays.", "The office is closed on Sundays."),
        ("The gate is closed on Sundays.", "The gate is not open on Sundays."),
        ("Smoking is allowed only outside.", "Smoking is forbidden except outside."),
        ("The office is open except on Sundays.", "The office is closed only on Sundays."),
        ("Refunds are paid unless the item was opened.", "Refunds are refused if the item was opened."),
    ],
)
def test_the_opposite_of_what_is_denied_is_kept(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, draft, source).sentence is not None


TWO_DATES = "Applications close on 3 May 2024. Interviews begin on 10 June 2024."


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        (TWO_DATES, "Applications close on 10 June 2024."),
        (TWO_DATES, "Applications close in June 2024."),
        (TWO_DATES, "Interviews begin on 3 May 2024."),
        (TWO_DATES.replace("3 May", "10 May"), "Applications close on 10 June 2024."),
        (TWO_DATES.replace("3 May 2024", "10 June 2023"), "Applications close on 10 June 2024."),
        ("Applications close on May 3. Interviews begin on June 10.", "Applications close on June 10."),
        ("Applications close on 2024-05-03. Interviews begin on 2024-06-10.", "Applications close on 2024-06-10."),
        ("On 3 May applications close. On 10 June interviews begin.", "On 10 June applications close."),
        (
            "The lease of the yard began on 1 March 2020. The lease of the crane began on 5 April 2021.",
            "The lease of the yard began on 5 April 2021.",
        ),
    ],
)
def test_a_date_in_the_place_of_another_is_dropped(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, draft, source).reasons == ("date",)


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        (TWO_DATES, "Interviews begin on 2024-06-10."),
        (TWO_DATES, "On June 10, 2024, interviews begin."),
        (TWO_DATES, "Interviews begin on 10 June 2024 and applications close on 3 May 2024."),
        ("The lease of 1 March 2020 ends on 31 May 2024.", "The lease ends on 31 May 2024."),
        ("The pool is closed from 3 May 2024 to 10 June 2024.", "The pool is closed until 10 June 2024."),
        ("The pool is closed on 3 May, 10 June and 1 July.", "The pool is closed on 10 June."),
        ("Applications close in May 2024. The exact day is 10 May 2024.", "Applications close on 10 May 2024."),
    ],
)
def test_a_date_in_its_own_place_is_kept(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, draft, source).sentence is not None


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("Please read how we use Lanterns at Brandholm, as it is useful for new pilots.", "Please read how we use Brandholm at Lanterns, as it is useful for new pilots."),
        ("The Head of Moorings will propose how best to berth a tanker.", "The Moorings of Head will propose how best to berth a tanker."),
        ("In Lundby, under each Berth, set a lamp for all boats that sends signals to the tower.", "In Berth, under each Lundby, set a lamp for all boats that sends signals to the tower."),
    ],
)  # fmt: skip
def test_two_names_that_changed_places_in_a_copy_are_noticed(verifier: Verifier, source: str, draft: str) -> None:
    assert check(verifier, source, source).sentence
    assert check(verifier, draft, source).reasons == ("name",)


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("Lundby (in old charts: Gamla Hamn) is a port with forty berths.", "Lundby is a port with forty berths."),
        ("It derives from the Old Lundby Harbour Proverbs of the north.", "It derives from the Old Lundby Proverbs."),
        ("The lock was built by Bo Stone. He and Ann Lund run it, with Ida Berg.", "The lock, built by Bo Stone, is run by him, Ida Berg and Ann Lund."),
    ],
)  # fmt: skip
def test_a_name_left_out_or_listed_in_another_order_is_no_swap(verifier: Verifier, source: str, draft: str) -> None:
    assert check(verifier, draft, source).reasons == ()


def test_words_gathered_from_elsewhere_in_the_passage_don_t_hide_a_lost_negation(verifier: Verifier) -> None:
    text = (
        "Large crews with barges gain most, because moving grain at their scale is impractical without dock side cranes. "
        "Moving grain dock side removes that risk. The main gain is moving grain at large scale."
    )
    draft = (
        "Large crews with barges gain most, because moving grain at their scale is impractical with dock side cranes."
    )
    assert check(verifier, draft, text).reasons == ("negation",)


# --- other languages ----------------------------------------------------------------------------------------------

GERMAN = "Die Fähre nach Brandholm fährt nicht am 3. Mai 2026. Der Kapitän Ida Lund steuert 40 Autos über die Förde."


@pytest.mark.parametrize(
    ("language", "text", "kept", "dropped"),
    [
        ("de", GERMAN, "Am 3. Mai 2026 fährt die Fähre nach Brandholm nicht.", "Die Fähre nach Brandholm fährt am 3. Mai 2026."),
        ("de", GERMAN, "Ida Lund steuert 40 Autos über die Förde.", "Ida Lund steuert 50 Autos über die Förde."),
        ("fr", "Le bac part chaque vendredi à six heures avec 40 voitures.", "Chaque vendredi le bac part avec 40 voitures.", "Chaque vendredi le bac part avec 90 voitures."),
        ("zh", "渡轮每星期五开往布兰霍姆，可载40辆汽车。", "渡轮每星期五开往布兰霍姆。", "渡轮可载90辆汽车。"),
        (None, "Lautta kulkee joka perjantai ja ottaa 40 autoa kyytiin.", "Lautta kulkee joka perjantai.", "Lautta ottaa 41 autoa kyytiin."),
    ],
)  # fmt: skip
def test_other_languages_are_checked_by_digits_negations_and_words(
    verifier: Verifier, language: str | None, text: str, kept: str, dropped: str
) -> None:
    source = passage(text, language=language)
    assert check(verifier, kept, source).reasons == ()
    assert check(verifier, dropped, source).sentence is None


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("ru", "Сотрудники могут работать из дома.", "Сотрудники не могут работать из дома."),
        (None, "Сотрудники могут работать из дома.", "Сотрудники не могут работать из дома."),
        ("zh", "员工能在星期五在家工作。", "员工不能在星期五在家工作。"),
        ("cs", "Zaměstnanci mohou pracovat z domova v pátek.", "Zaměstnanci nemohou pracovat z domova v pátek."),
        ("tr", "Çalışanlar cuma günleri evden çalışabilir.", "Çalışanlar cuma günleri evden çalışamaz."),
        ("pt", "Os cães podem entrar na sala.", "Os cães não podem entrar na sala."),
        ("de", "Beschäftigte müssen Reisen vorher anmelden.", "Beschäftigte dürfen Reisen vorher anmelden."),
        ("de", "Es gilt, dass sie Reisen vorher anmelden müssen.", "Es gilt, dass sie Reisen vorher anmelden dürfen."),
        ("de", "Sie müssen Reisen nicht vorher anmelden.", "Sie dürfen Reisen nicht vorher anmelden."),
        ("de", "Sie müssen Reisen anmelden und dürfen Hunde mitbringen.", "Sie dürfen Reisen anmelden und müssen Hunde mitbringen."),
        ("de", "Nur der Leiter darf das Tor öffnen.", "Der Leiter darf das Tor öffnen."),
    ],
)  # fmt: skip
def test_a_claim_is_not_turned_round_in_other_languages_either(
    agreeing: Verifier, language: str | None, one: str, other: str
) -> None:
    for source, draft in ((one, other), (other, one)):
        assert check(agreeing, source, passage(source, language=language)).sentence
        assert check(agreeing, draft, passage(source, language=language)).sentence is None


def test_where_negations_are_not_known_a_draft_is_a_quotation_from_the_beginning_of_a_sentence(
    agreeing: Verifier,
) -> None:
    source = passage("Неверно, что яхты выходят в море. Порт открыт в мае, а паром ходит весь год.", language="ru")
    assert check(agreeing, "Порт открыт в мае.", source).sentence
    assert check(agreeing, "Яхты выходят в море.", source).reasons == ("unsupported",)
    assert check(agreeing, "Порт открыт весь год.", source).reasons == ("unsupported",)


# --- numbers, dates, quotations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1,200 tons", "1200 tons", True),
        ("1.200 Tonnen", "1200 Tonnen", True),
        ("1 200 tons", "1,200 tons", True),
        ("two thousand five hundred", "2,500", True),
        ("one hundred and five", "105", True),
        ("$2.5bn", "2.5 billion dollars", True),
        ("10k", "10,000", True),
        ("two million three hundred thousand", "2,300,000", True),
        ("5th", "fifth", True),
        ("12 %", "twelve per cent", True),
        ("12 %", "12 days", False),
        ("5 pm", "17:00", True),
        ("5 pm", "5 am", False),
        ("-4 degrees", "4 degrees", False),
        ("two dozen", "24", True),
        ("1.5", "1,5", True),
        ("100+", "100", True),
    ],
)
def test_numbers_are_equal_by_value_and_unit_however_written(one: str, other: str, same: bool) -> None:
    first = next((token.quantity for token in tokenize(f"It took {one} there") if token.quantity), None)
    second = next((token.quantity for token in tokenize(f"It took {other} there") if token.quantity), None)
    assert (first is not None and second is not None and first.agrees(second)) is same


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("on 5 March 2024 at", {(2024, 3, 5)}),
        ("on March 5th, 2024 at", {(2024, 3, 5)}),
        ("the 5th of March", {(None, 3, 5)}),
        ("on 2024-03-05 at", {(2024, 3, 5)}),
        ("on 03/05/2024 at", {(2024, 3, 5), (2024, 5, 3)}),
        ("in Sept 2024 at", {(2024, 9, None)}),
        ("you may march on", set()),
    ],
)
def test_dates_are_read_in_many_spellings(text: str, options: set[tuple[int | None, int | None, int | None]]) -> None:
    found = find_dates(tokenize(text), "en")
    assert {option for mention in found for option in mention.options} == options


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('He said "the tide decides".', ["the tide decides"]),
        ("Er sagte „die Flut entscheidet“.", ["die Flut entscheidet"]),
        ("Il dit «la marée décide».", ["la marée décide"]),
        ("so-called ``season'' here", ["season"]),
        ("She said “the tide … decides”.", ["the tide ", " decides"]),
        ("the crew's rule and the cooks' rule", []),
        ("It's the captain's 'rule of iron' here.", ["rule of iron"]),
        ('A 5" pipe and a 6" pipe.', []),
        ("unclosed “ quotation", []),
    ],
)
def test_quotations_are_found_by_their_marks(text: str, quoted: list[str]) -> None:
    assert quotations(text) == quoted


def test_no_word_is_its_own_opposite() -> None:
    assert all(len(pair) == 2 for pair in ANTONYMS)


# --- hostile drafts, determinism ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a " * 2000,
        "not " * 1000,
        "9" * 4000,
        "1," * 2000,
        "9:3" * 1300,
        '"' * 4000,
        "'a" * 2000,
        "“" * 2000 + "”" * 2000,
        "Aa" * 2000,
        "A." * 2000,
        "](" * 2000,
        "x@" * 2000,
        "one hundred and " * 250,
        "-" * 4000,
        "é" * 4000,
        "word " * 2000,
        "\x00\ufeff\u202e" * 1000,
        "the gate opens " * 260,
    ],
)
def test_a_hostile_draft_or_passage_is_judged_in_bounded_time(verifier: Verifier, text: str) -> None:
    started = time.process_time()
    assert check(verifier, text).sentence is None
    assert check(verifier, text + text + text).sentence is None
    check(verifier, "The gate opens at 9:30 am on Mondays.", text)
    check(verifier, text[:4000], text * 2)
    assert time.process_time() - started < 20


words = st.sampled_from(
    [*LEAVE.split(), *FERRY.split(), '"', "“", "not", "only", "3", "May", "1,5", "(", "can't", "\n", "🚢", "é", "U.S."]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, max_size=40), st.lists(words, max_size=80))
def test_any_draft_is_judged_without_error_and_with_spans_that_hold(
    verifier: Verifier, draft: list[str], source: list[str]
) -> None:
    text = " ".join(draft)
    one = passage(" ".join(source))
    result = verifier.check(Draft(text, (0,)), [one])
    assert consistent(result, text, [one])


def test_the_same_draft_gets_the_same_verdict_from_a_fresh_verifier(verifier: Verifier, embedder: Embedder) -> None:
    draft = "The yard at Hamburg is led by Bob Stone, to whom Anna Miller reports."
    fresh = SpanVerifier(embedder, AnswerPolicy())
    assert check(verifier, draft) == check(fresh, draft) == check(verifier, draft)


# --- the second opinion -------------------------------------------------------------------------------------------


def entailment_model(folder: Path, favoured: str, labels: tuple[str, ...]) -> str:
    """Make a tiny cross-encoder that always says ``favoured``."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    vocabulary = folder / "vocab.txt"
    folder.mkdir()
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    vocabulary.write_text("\n".join(pieces), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=256,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([9.0 if label == favoured else 0.0 for label in labels]))
    model.save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(vocabulary), model_max_length=256).save_pretrained(folder)
    return str(folder)


LABELS = ("contradiction", "entailment", "neutral")


def test_an_entailment_model_that_sees_a_contradiction_drops_the_sentence(tmp_path: Path, embedder: Embedder) -> None:
    model = entailment_model(tmp_path / "model", "contradiction", LABELS)
    strict = SpanVerifier(embedder, AnswerPolicy(entailment_model=model))
    assert check(strict, "The gate opens at 9:30 am on Mondays.").reasons == ("unsupported",)


def test_an_entailment_model_rescues_words_but_no_wrong_claim(tmp_path: Path, embedder: Embedder) -> None:
    model = entailment_model(tmp_path / "model", "entailment", LABELS)
    policy = AnswerPolicy(entailment_model=model, draft_support=1.0)
    lenient = SpanVerifier(embedder, policy)
    draft = "The gate gets unlocked at 9:30 am on Mondays."
    assert check(lenient, draft).sentence
    assert SpanVerifier(embedder, AnswerPolicy(draft_support=1.0)).check(Draft(draft, (0,)), [passage(LEAVE)]).reasons
    assert check(lenient, "The gate gets unlocked at 8:30 am on Mondays.").reasons[0] == "number"
    russian = passage("Яхты не могут выходить в море.", language="ru")
    assert check(lenient, "Яхты могут выходить в море.", russian).reasons == ("unsupported",)


def test_a_folder_without_an_entailment_model_is_a_configuration_error(tmp_path: Path, embedder: Embedder) -> None:
    with pytest.raises(ConfigError, match="entailment_model"):
        SpanVerifier(embedder, AnswerPolicy(entailment_model=str(tmp_path)))
    model = entailment_model(tmp_path / "model", "a", ("a", "b"))
    with pytest.raises(ConfigError, match="id2label"):
        SpanVerifier(embedder, AnswerPolicy(entailment_model=model))


class OneAtATime:
    """A model that fails when a second pass begins before the first has ended, as a padding tokenizer does."""

    def __init__(self) -> None:
        self._busy = threading.Lock()

    def predict(self, pairs: Sequence[tuple[str, str]], *, show_progress_bar: bool) -> NDArray[np.float64]:
        assert self._busy.acquire(blocking=False), "Already borrowed"
        try:
            time.sleep(0.01)
            return np.zeros((len(pairs), 2))
        finally:
            self._busy.release()


def test_an_entailment_model_is_asked_by_one_thread_at_a_time() -> None:
    model = EntailmentModel(OneAtATime(), 0, 1)  # type: ignore[arg-type]
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda n: model.judge("The gate opens.", f"Draft {n}."), range(16)))
    assert {(verdict.entailment, verdict.contradiction) for verdict in verdicts} == {(0.5, 0.5)}
