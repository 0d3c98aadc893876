"""The verifier of drafts: a near copy that a sign, an opposite, a disguised "not" or a change of roles turns round."""

from __future__ import annotations

import time

import pytest

from headwater.answering.contract import Verifier
from tests.verifying import check

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


# --- disguises ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draft",
    [
        "Smoking is n\u043et allowed in the yard.",  # a Cyrillic letter
        "Smoking is \u0578ot allowed in the yard.",  # an Armenian one
        "Smoking is \u039d\u039f\u03a4 allowed in the yard.",  # Greek ones alone
        "Smoking is n\u0332o\u0332t\u0332 allowed in the yard.",
        "Smoking is n\u200bo\u00adt allowed in the yard.",
        "Smoking is \u0274ot allowed in the yard.",
        "Smoking is \u0274\u1d0f\u1d1b allowed in the yard.",
        "Smoking is \u24dd\u24de\u24e3 allowed in the yard.",
        "Smoking is \uff4e\uff4f\uff54 allowed in the yard.",
        "Smoking is n-o-t allowed in the yard.",
        "Smoking is n.o.t allowed in the yard.",
        "Smoking is n_o_t allowed in the yard.",
        "Smoking is n o t allowed in the yard.",
        "Smoking isnt allowed in the yard.",
        "Smoking isn`t allowed in the yard.",
        "Smoking isn\u02bct allowed in the yard.",
        "Smoking is ~~allowed~~ in the yard.",
        "Smoking is <s>allowed</s> in the yard.",
        "Smoking is a\u0336l\u0336l\u0336o\u0336w\u0336e\u0336d\u0336 in the yard.",
        "\u274c Smoking is allowed in the yard.",
        "Smoking is allowed in the yard \U0001f6ab.",
        "Smoking is \u2717 allowed in the yard.",
    ],
)
def test_a_disguised_denial_is_read_in_a_draft_and_in_a_source(agreeing: Verifier, draft: str) -> None:
    source = "Smoking is allowed in the yard."
    assert "negation" in check(agreeing, source, draft).reasons
    assert "negation" in check(agreeing, draft, source).reasons
    assert check(agreeing, draft, draft).sentence


@pytest.mark.parametrize(
    ("language", "source", "draft"),
    [
        ("de", "Rauchen ist im Hof erlaubt.", "Rauchen ist im Hof ni\u0441ht erlaubt."),
        ("de", "Rauchen ist im Hof erlaubt.", "Rauchen ist im Hof n-i-c-h-t erlaubt."),
        ("fr", "Le tabac est autorisé.", "Le tabac n'est p\u0430s autorisé."),
        ("es", "Se puede fumar en el patio.", "N\u043e se puede fumar en el patio."),
        ("en", "They do tie up at the quay.", "They dont tie up at the quay."),
        ("en", "They will tie up at the quay.", "They wont tie up at the quay."),
        ("en", "They can tie up at the quay.", "They cant tie up at the quay."),
    ],
)
def test_denials_are_disguised_in_other_words_and_languages(
    agreeing: Verifier, language: str, source: str, draft: str
) -> None:
    assert "negation" in check(agreeing, source, draft, language).reasons


def test_a_word_of_mixed_scripts_is_only_copied(agreeing: Verifier) -> None:
    source = "Smoking isn't allowed in the yard."
    assert check(agreeing, source, "Smoking is n\u043et allowed in the yard.").reasons == ("unsupported",)
    assert check(agreeing, "Ann leads the yard.", "\u0410nn leads the yard.").sentence is None
    assert check(agreeing, "The r\u03c1 valve leads to the yard.", "The r\u03c1 valve leads to the yard.").sentence


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("Smoking is not allowed in the yard.", "Smoking isnt allowed in the yard."),
        ("Smoking is not allowed in the yard.", "Smoking is n-o-t allowed in the yard."),
        ("Don't smoke in the yard.", "Dont smoke in the yard."),
        ("\u274c Don't smoke in the yard.", "Don't smoke in the yard."),
        ("The fee is ~~40~~ 50 crowns.", "The fee is 50 crowns."),
        ("The cafe\u0301 in the yard opens at six.", "The café in the yard opens at six."),
        ("Plan A, B or C fits the yard.", "Plan A, B or C fits the yard."),
    ],
)
def test_a_denial_that_both_have_needs_no_same_spelling(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, draft).reasons == ()


@pytest.mark.parametrize("text", ["n-" * 2000, "n o t " * 600, "n\u0332" * 2000, "\u24dd" * 4000, "n\u043et" * 1300])
def test_hostile_spellings_are_judged_in_bounded_time(agreeing: Verifier, text: str) -> None:
    started = time.process_time()
    check(agreeing, text + text, text)
    check(agreeing, text, "The gate opens at 9:30 am on Mondays.")
    assert time.process_time() - started < 10


# --- opposites ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "source", "draft"),
    [
        ("en", "Smoking is allowed in the yard.", "Smoking is banned in the yard."),
        ("en", "Smoking is allowed in the yard.", "Smoking is barred in the yard."),
        ("en", "Smoking is allowed in the yard.", "Smoking is outlawed in the yard."),
        ("en", "Smoking is allowed in the yard.", "Smoking is impossible in the yard."),
        ("en", "Smoking is common in the yard.", "Smoking is prohibited in the yard."),
        ("en", "Late requests are accepted by the office.", "Late requests are declined by the office."),
        ("en", "Late requests are accepted by the office.", "Late requests are dismissed by the office."),
        ("en", "The gate is open on weekdays.", "The gate is locked on weekdays."),
        ("en", "The gate is open on weekdays.", "The gate is shut on weekdays."),
        ("en", "Pressure increases with depth.", "Pressure falls with depth."),
        ("en", "Pressure rose in the tank last night.", "Pressure dropped in the tank last night."),
        ("en", "The contract ends in March.", "The contract continues in March."),
        ("en", "The fee is payable weekly.", "The fee is payable yearly."),
        ("en", "The office lends forklifts to crews.", "The office borrows forklifts to crews."),
        ("en", "The crew opened the lock at noon.", "The crew failed to open the lock at noon."),
        ("en", "The crew failed to open the lock at noon.", "The crew opened the lock at noon."),
        ("de", "Rauchen ist im Hof erlaubt.", "Rauchen ist im Hof verboten."),
        ("de", "Rauchen ist im Hof gestattet.", "Rauchen ist im Hof untersagt."),
        ("de", "Der Vertrag endet im März.", "Der Vertrag beginnt im März."),
        ("de", "Das Tor ist am Montag geöffnet.", "Das Tor ist am Montag geschlossen."),
        ("de", "Der Druck steigt mit der Tiefe.", "Der Druck sinkt mit der Tiefe."),
        ("de", "Das Tor ist mit Ausweis frei.", "Das Tor ist ohne Ausweis frei."),
        ("de", "Im Hafen ist das Tor immer frei.", "Im Hafen ist das Tor nie frei."),
        ("fr", "Le tabac est autorisé dans la cour.", "Le tabac est interdit dans la cour."),
        ("fr", "La grille ouvre avec un badge.", "La grille ouvre sans un badge."),
        ("fr", "La grille est ouverte le lundi.", "La grille est fermée le lundi."),
        ("fr", "La pression augmente avec la profondeur.", "La pression diminue avec la profondeur."),
        ("es", "Fumar está permitido en el patio.", "Fumar está prohibido en el patio."),
        ("es", "El contrato termina en marzo.", "El contrato empieza en marzo."),
        ("es", "La puerta está abierta los lunes.", "La puerta está cerrada los lunes."),
    ],
)
def test_an_opposite_in_the_place_of_a_word_is_caught(
    agreeing: Verifier, language: str, source: str, draft: str
) -> None:
    assert check(agreeing, source, source, language).sentence
    assert check(agreeing, source, draft, language).reasons == ("negation",)
    assert check(agreeing, draft, source, language).sentence is None


@pytest.mark.parametrize(
    ("language", "source", "draft"),
    [
        ("en", "Smoking is not allowed in the yard.", "Smoking is banned in the yard."),
        ("en", "Smoking is prohibited in the yard.", "Smoking is banned in the yard."),
        ("en", "Smoking is prohibited in the yard.", "Smoking is not allowed in the yard."),
        ("en", "Late requests are rejected by the office.", "Late requests are refused by the office."),
        ("en", "Late requests are not accepted by the office.", "Late requests are declined by the office."),
        ("en", "The crew could not open the lock.", "The crew failed to open the lock."),
        ("en", "The crew was unable to open the lock.", "The crew failed to open the lock."),
        ("en", "The gate isn't open on Sundays.", "The gate is locked on Sundays."),
        ("en", "Pressure increases with depth.", "Pressure rises with depth."),
        ("en", "The fee is payable annually.", "The fee is payable yearly."),
        ("en", "Refunds start in May and end in June.", "Refunds end in June and start in May."),
        ("de", "Rauchen ist im Hof nicht erlaubt.", "Rauchen ist im Hof verboten."),
        ("de", "Rauchen ist im Hof erlaubt.", "Rauchen ist im Hof gestattet."),
        ("de", "Der Vertrag endet im März.", "Im März endet der Vertrag."),
        ("fr", "Le tabac n'est pas autorisé dans la cour.", "Le tabac est interdit dans la cour."),
        ("es", "Fumar no está permitido en el patio.", "Fumar está prohibido en el patio."),
    ],
)
def test_a_synonym_or_a_denied_opposite_is_kept(agreeing: Verifier, language: str, source: str, draft: str) -> None:
    assert check(agreeing, source, draft, language).reasons == ()


# --- roles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "draft", "reason"),
    [
        ("The Berlin team manages the Oslo team.", "The Oslo team manages the Berlin team.", "negation"),
        ("The lender pays the borrower the fee.", "The borrower pays the lender the fee.", "negation"),
        ("The lender pays the fee to the borrower.", "The borrower pays the fee to the lender.", "negation"),
        ("The crew of the tug tows the barge.", "The barge tows the crew of the tug.", "negation"),
        ("Ann leads the north office.", "The north office leads Ann.", "negation"),
        ("In 2019 the yard sued the port.", "In 2019 the port sued the yard.", "negation"),
        ("The north gate of the south yard leaks.", "The south gate of the north yard leaks.", "negation"),
        ("Acme acquired Globex in 2019.", "Acme was acquired by Globex in 2019.", "negation"),
        ("Acme was acquired by Globex in 2019.", "Acme acquired Globex in 2019.", "negation"),
        ("Globex was acquired by Acme.", "Acme was acquired by Globex.", "negation"),
        ("The port is leased by the yard.", "The yard is leased by the port.", "negation"),
        ("Profit rose from 4 to 6 million crowns.", "Profit rose by 6 million crowns.", "number"),
        ("Profit rose from 4 to 6 million crowns.", "Profit rose to 4 million crowns.", "number"),
        ("Profit rose by 6 million crowns.", "Profit rose to 6 million crowns.", "number"),
    ],
)
def test_sides_that_changed_places_in_a_copy_are_noticed(
    agreeing: Verifier, source: str, draft: str, reason: str
) -> None:
    assert check(agreeing, source, source).sentence
    assert reason in check(agreeing, source, draft).reasons


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("The Berlin team manages the Oslo team.", "The Oslo team is managed by the Berlin team."),
        ("The Oslo team is managed by the Berlin team.", "The Berlin team manages the Oslo team."),
        ("Acme acquired Globex in 2019.", "Globex was acquired by Acme in 2019."),
        ("Acme acquired Globex in 2019.", "In 2019, Globex was acquired by Acme."),
        ("Acme acquired Globex in 2019.", "In 2019 Acme acquired Globex."),
        ("In May, the yard repairs the lock.", "The yard repairs the lock in May."),
        ("The yard repairs the lock in the north harbour.", "In the north harbour, the yard repairs the lock."),
        ("In the north harbour the yard repairs the lock.", "The yard repairs the lock in the north harbour."),
        ("When the tide turns, the crew opens the lock.", "The crew opens the lock when the tide turns."),
        ("The lender pays the borrower the fee.", "The lender pays the fee to the borrower."),
        ("Ann, the head of the yard, met Bo.", "Bo met Ann, the head of the yard."),
        ("The fee is paid by 5 May by the crew.", "The crew pays the fee by 5 May."),
        ("The tug was moved by the quay.", "By the quay, the tug was moved."),
        (
            "The west branch begins near the mill. The river's east branch begins near the lock.",
            "The west branch of the river begins near the mill, and the east branch near the lock.",
        ),
        ("Profit rose from 4 to 6 million crowns.", "Profit rose to 6 million crowns."),
        ("Profit rose by about 6 million crowns.", "Profit went up by 6 million crowns."),
    ],
)
def test_a_passive_or_another_order_of_clauses_is_kept(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, draft).reasons == ()


@pytest.mark.parametrize(
    "text", ["crew tow barge " * 270, "by to 5 " * 500, "in the yard of " * 260, "is paid by " * 360]
)
def test_hostile_roles_are_judged_in_bounded_time(agreeing: Verifier, text: str) -> None:
    started = time.process_time()
    check(agreeing, text + text, text)
    check(agreeing, "barge tow crew " * 20 + text, text)
    assert time.process_time() - started < 10
