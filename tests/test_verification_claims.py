"""The verifier of drafts: what a question asks isn't said, and a number is held to its unit, sign, range and limit."""

from __future__ import annotations

import pytest

from headwater.answering.contract import Verifier
from headwater.answering.questions import is_question
from headwater.answering.verification.tokens import tokenize
from tests.verifying import check

# --- questions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Is the gate open at night?", True),
        ("**Is the gate open at night?**", True),
        ("“Is the gate open at night?”", True),
        ("Is the gate really open at night?!", True),
        ("Q: the gate at night", True),
        ("Question 4: the gate at night.", True),
        ("门开着吗？", True),
        ("The gate is open at night.", False),
        ("The pilot asked: “Is the gate open?”", False),
        ("The gate is open at night (why?)", False),
        ("Q4: fees rose by 5 percent.", False),
        ("Q. Lund steers the ferry.", False),
        ("?", True),
        ("", False),
    ],
)
def test_a_question_is_told_by_its_mark_or_label(text: str, asks: bool) -> None:
    assert is_question(text) is asks


INTERNS = "Do interns get paid leave in their first year? No. Paid leave starts with the second year."


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        (INTERNS, "Interns get paid leave in their first year."),
        (INTERNS.replace("? No", "?\n\nNo"), "Interns get paid leave in their first year."),
        ("Do interns get paid leave? No, interns get no paid leave in their first year.", "Interns get paid leave."),
        ("Does the insurance cover floods? It does not.", "The insurance covers floods."),
        ("Is the gate open at night? It depends on the river.", "The gate is open at night."),
        ("Is the gate open at night? Ask who watches the gate.", "The gate is open at night."),
        ("Is the gate open at night?", "The gate is open at night."),
        ("The gate opens at night? No.", "The gate opens at night."),
        ("Can dogs enter the lab? Please ask the warden.", "Dogs can enter the lab."),
        ("Have members paid? Mail Ann.", "Members have paid."),
        ("Have questions? Mail Ann.", "You have questions."),
        ("Q: Dogs in the lab.\nA: Ask the warden.", "Dogs are in the lab."),
        ("| Can dogs enter the lab? | No |\n| Can cats enter it? | Yes |", "Dogs can enter the lab."),
        ("Can dogs enter the lab? Yes, but only with a leash.", "Dogs can enter the lab."),
        ("Who opens the gate?", "Who opens the gate is the warden."),
    ],
)
def test_what_a_passage_only_asks_is_not_said(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, draft).sentence is None


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        (INTERNS, "Paid leave starts with the second year."),
        ("How much leave do I get?\n\nTwenty days.", "You get twenty days of leave."),
        ("## How long is the notice period?\n\nIt is six weeks.", "The notice period is six weeks."),
        ("Who opens the gate? The warden of the yard.", "The warden of the yard opens the gate."),
        ("Want to carry over leave? Ask by 5 May.", "To carry over leave, ask by 5 May."),
        ("Have questions? Mail Ann.", "Mail Ann if you have questions."),
        ("Any problems? Mail Ann.", "If you have any problems, mail Ann."),
        ("Can dogs enter the lab? Yes.", "Dogs can enter the lab."),
        ("Can dogs enter the lab? Yes, but only with a leash.", "Dogs can enter the lab, but only with a leash."),
        ("Does the plan of Ann Lund cover floods? It covers fires.", "The plan of Ann Lund covers fires."),
        ("Is the gate open at night?", "Is the gate open at night?"),
        ("The pilot asked: “Is the gate open?”", "The pilot asked “Is the gate open?”"),
    ],
)
def test_what_answers_a_question_is_said_with_the_words_of_the_question(
    agreeing: Verifier, source: str, draft: str
) -> None:
    assert check(agreeing, source, draft).reasons == ()


def test_a_german_question_is_no_evidence_and_its_answer_is(agreeing: Verifier) -> None:
    asked = "Ist das Tor nachts offen? Das hängt vom Fluss ab."
    assert check(agreeing, asked, "Das Tor ist nachts offen.", "de").sentence is None
    assert check(agreeing, "Ist das Tor nachts offen? Ja.", "Das Tor ist nachts offen.", "de").sentence
    told = "Wie viel Urlaub bekommt die Crew? Zwanzig Tage."
    assert check(agreeing, told, "Die Crew bekommt zwanzig Tage Urlaub.", "de").sentence


# --- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("The limit is 50 kg.", "The limit is 50 g."),
        ("The limit is 50 mg/l.", "The limit is 50 g/l."),
        ("The limit is 50 mg/l.", "The limit is 50 mg."),
        ("The limit is 50mg/l.", "The limit is 50 mg/kg."),
        ("The limit is 50 mW.", "The limit is 50 MW."),
        ("The tank is 5 litres.", "The tank is 5 gallons."),
        ("The tank of the boat is 5 litres.", "The tank of the boat is 5 firkins."),
        ("Speed is 5 m/s.", "Speed is 5 km/h."),
        ("The flow is 5 m³/s.", "The flow is 5 m/s."),
        ("The area is 10 m².", "The area is 10 m."),
        ("The price is ¥100.", "The price is €100."),
        ("The price is 100 yen.", "The price is 100 yuan."),
        ("The price is CHF 100.", "The price is EUR 100."),
        ("It costs 5 € per week.", "It costs 5 € per month."),
        ("The rate is 5 percentage points.", "The rate is 5 percent."),
        ("Store it at 18 °C.", "Store it at 18 °F."),
        ("Store it below minus 18 degrees.", "Store it below 18 degrees."),
        ("Store it at –18 °C.", "Store it at 18 °C."),
        ("Store it at −18 °C.", "Store it at 18 °C."),
        ("The balance is -€5.", "The balance is €5."),
        ("The dose is 1/2 tablet.", "The dose is 2 tablets."),
        ("The dose is 1/2 tablet.", "The dose is 1 tablet."),
        ("The dose is 1 1/2 tablets.", "The dose is 1 tablet."),
        ("The dose is 1½ tablets.", "The dose is 1 tablet."),
        ("The dose is 5 to 10 mg.", "The dose is 10 mg."),
        ("The dose is 5–10 mg.", "The dose is 5 mg."),
        ("The dose is 5 mg to 10 mg.", "The dose is 10 mg."),
        ("The dose is between 5 and 10 mg.", "The dose is 5 mg."),
        ("Take from 5 to 10 mg of it.", "Take 10 mg of it."),
        ("Doses range from 5 to 10 mg.", "Doses are 10 mg."),
        ("The limit is 10 mg.", "The limit is 10."),
        ("The limit of 10 mg holds for all boats.", "The limit of 10 holds for all boats."),
        ("The first shift starts at six.", "The third shift starts at six."),
        ("The ferry came in first.", "The ferry came in third."),
        ("The second floor holds the archive.", "The third floor holds the archive."),
        ("Use version 2.10 of the firmware.", "Use version 2.1 of the firmware."),
        ("Section 4.20 applies to boats.", "Section 4.2 applies to boats."),
        ("The pressure is 10^6 Pa.", "The pressure is 10 Pa."),
        ("The pressure is 10⁶ Pa.", "The pressure is 10 Pa."),
        ("The pressure is 3 × 10^6 Pa.", "The pressure is 3 Pa."),
    ],
)
def test_a_number_is_held_to_its_unit_sign_range_and_form(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, source).sentence
    assert "number" in check(agreeing, source, draft).reasons


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("The limit is 50 kg.", "The limit is 50 kilograms."),
        ("The limit is 50 kg.", "The limit is fifty kilograms."),
        ("The limit is 50kg.", "The limit is 50 kg."),
        ("The limit is 50 KG.", "The limit is 50 kg."),
        ("The limit is 50 kilowatts.", "The limit is 50 kW."),
        ("The limit is 50 mg/l.", "The limit is 50 milligrams per litre."),
        ("The tank is 5 l.", "The tank is 5 liters."),
        ("Speed is 5 m/s.", "Speed is five metres per second."),
        ("Speed is 60 km/h.", "Speed is 60 kilometers an hour."),
        ("The area is 10 m².", "The area is 10 square metres."),
        ("The area is 10 m2.", "The area is 10 m²."),
        ("The rate is 5%.", "The rate is 5 percent."),
        ("Store it at 18 °C.", "Store it at 18 degrees Celsius."),
        ("Store it at 18 °C.", "Store it at 18 degrees."),
        ("Store it at –18 °C.", "Store it at minus 18 degrees."),
        ("The price is €100.", "The price is 100 euros."),
        ("The price is €100.", "The price is EUR 100."),
        ("The price is £100.", "The price is 100 pounds."),
        ("The price is ¥100.", "The price is 100 yen."),
        ("The price is $5m.", "The price is 5 million dollars."),
        ("It costs 5 € per week.", "Each week it costs 5 €."),
        ("Crews get 25 days of leave per year.", "Crews get 25 days of leave."),
        ("The tide takes 5 litres of water per second.", "The tide takes 5 litres per second of water."),
        ("The dose is 1/2 tablet.", "The dose is half a tablet."),
        ("About 2/3 of the crew agreed.", "About two thirds of the crew agreed."),
        ("About one third of the crew agreed.", "About 1/3 of the crew agreed."),
        ("The dose is ½ tablet.", "The dose is 1/2 tablet."),
        ("The dose is 1½ tablets.", "The dose is 1.5 tablets."),
        ("The dose is 5 to 10 mg.", "The dose is 5–10 mg."),
        ("The dose is 5 to 10 mg.", "The dose is at most 10 mg."),
        ("The dose is 5 to 10 mg.", "The dose is at least 5 mg."),
        ("The dose is between 5 and 10 mg.", "The dose is five to ten mg."),
        ("The fee rose from 5 to 10 euros.", "The fee rose to 10 euros."),
        ("The dose is from 5 to 10 mg.", "The dose is 5 to 10 mg."),
        ("The dose is from 5 to 10 mg.", "The dose is at most 10 mg."),
        ("The limits are 10 mg and 20 mg.", "The limits are 10 and 20 mg."),
        ("The yard is open from 9:00 to 17:00.", "The yard is open until 17:00."),
        ("The lease ran 2020–2024.", "The lease ended in 2024."),
        ("The yard won 3–1 on Monday.", "On Monday the yard won 3–1."),
        ("First, open the valve of the tank.", "Open the valve of the tank first."),
        ("The first shift starts at six.", "The 1st shift starts at six."),
        ("The first pump is red.", "One of the pumps, the first, is red."),
        ("The yard was first opened in 1950.", "The yard was opened in 1950."),
        ("The first two weeks are free.", "The initial two weeks are free."),
        ("Use version 2.10 of the firmware.", "Use firmware version 2.10."),
        ("Use version 2.0 of the firmware.", "Use version 2 of the firmware."),
        ("In 2020 A. Lund came.", "A. Lund came in 2020."),
        ("The resin costs 5 €/kg.", "The resin costs 5 euros per kilogram."),
        ("The yard seats 2–3 crews.", "The yard seats two or three crews."),
        ("The fee is 2.10 euros.", "The fee is 2.1 euros."),
        ("The pressure is 10^6 Pa.", "The pressure is 10⁶ Pa."),
        ("The field 0^-2 is left blank.", "The field 0^-2 is left blank."),
        ("The pressure is 10^6 Pa.", "The pressure is one million pascals."),
        ("The desk is staffed 24/7.", "The desk is staffed 24 hours a day, 7 days a week."),
        ("The yard has 4/5 stars.", "The yard has 4 out of 5 stars."),
        ("Call 555-1234 to reach the yard.", "To reach the yard, call 555-1234."),
    ],
)
def test_the_same_quantity_in_another_spelling_is_kept(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, draft).reasons == ()


# --- limits, quantifiers, comparisons -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("Refunds are paid within 5 days.", "Refunds are paid after 5 days."),
        ("Claims are filed within 5 days of the loss.", "Claims are filed 5 days after the loss."),
        ("Claims are filed within 5 days after the loss.", "Claims are filed 5 days after the loss."),
        ("Refunds are paid by 5 March.", "Refunds are paid from 5 March."),
        ("Refunds are paid by March 5.", "Refunds are paid from March 5."),
        ("The fee applies from 2020.", "The fee applies until 2020."),
        ("The fee applies since 2020.", "The fee applies until 2020."),
        ("The fee applies until Friday.", "The fee applies from Friday."),
        ("Nobody but the warden opens the gate.", "Nobody opens the gate."),
        ("None but members may vote.", "None may vote."),
        ("All but two valves are open.", "All valves are open."),
        ("The north pump costs more than the south pump.", "The south pump costs more than the north pump."),
        ("The tanker is slower than the ferry.", "The ferry is slower than the tanker."),
        ("Most members voted for the plan.", "All members voted for the plan."),
        ("Several valves leak.", "Every valve leaks."),
    ],
)
def test_limits_quantifiers_and_comparisons_are_not_turned_round(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, source).sentence
    assert "negation" in check(agreeing, source, draft).reasons


@pytest.mark.parametrize(
    ("source", "draft"),
    [
        ("Refunds are paid within 5 days.", "Refunds are paid in 5 days."),
        ("Claims are filed within 5 days of the loss.", "Claims are filed up to 5 days after the loss."),
        ("Claims are filed within 5 days of the loss.", "Claims are filed within 5 days after the loss."),
        ("Claims are filed within 5 days of the loss.", "Claims are filed in the 5 days after the loss."),
        ("Refunds are paid by 5 March.", "Refunds are paid before 5 March."),
        ("The fee applies from 2020.", "The fee applies since 2020."),
        ("The fee applies from 2020.", "From 2020 on the fee applies."),
        ("The fee does not apply until 2020.", "Until 2020 the fee does not apply."),
        ("The pool is closed from 3 May to 10 June.", "The pool is closed until 10 June."),
        ("The plan was signed by 5 people.", "The plan has signatures from 5 people."),
        ("Nobody but the warden opens the gate.", "Only the warden opens the gate."),
        ("Nobody but the warden opens the gate.", "Nobody except the warden opens the gate."),
        ("All but two valves are open.", "All valves except two are open."),
        ("The tanker costs more than the ferry.", "The ferry costs less than the tanker."),
        ("The tanker is slower than the ferry.", "The ferry is faster than the tanker."),
        ("In May the tanker is slower than the ferry.", "The tanker is slower than the ferry in May."),
        ("Most members voted for the plan.", "Most of the members voted for the plan."),
    ],
)
def test_the_same_limit_or_comparison_in_other_words_is_kept(agreeing: Verifier, source: str, draft: str) -> None:
    assert check(agreeing, source, draft).reasons == ()


@pytest.mark.parametrize(
    "text", ["1/2" * 1300, "10^" * 1300, "°" * 4000, "5 m/" * 1000, "5 " + "k" * 3000, "-" * 2000 + "5"]
)
def test_hostile_numbers_are_read_in_bounded_time(text: str) -> None:
    assert len(tokenize(text)) <= 4000
