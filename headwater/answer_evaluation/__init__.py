"""Two ways of answering, compared on the golden set: prompts, models, releases or policies, question by question."""

from headwater.answer_evaluation.comparison import Comparison, Difference, compare
from headwater.answer_evaluation.measures import METRICS, Outcome, outcome_of
from headwater.answer_evaluation.running import SideResult, evaluate_answers, measure
from headwater.answer_evaluation.sides import Side, open_side, parse_side

__all__ = [
    "METRICS",
    "Comparison",
    "Difference",
    "Outcome",
    "Side",
    "SideResult",
    "compare",
    "evaluate_answers",
    "measure",
    "open_side",
    "outcome_of",
    "parse_side",
]
