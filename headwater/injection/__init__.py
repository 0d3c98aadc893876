"""Instructions that documents carry: found when they come in, fenced in prompts, refused in answers.

No single check holds against an attacker who knows it. They stand one behind the other: documents are scanned and
flagged or quarantined (:func:`scan`), passages go into prompts as delimited material (:func:`fence`), sentences inside
instructions are not quoted (:func:`instruction_spans`), and what a model wrote is checked before anyone sees it
(:func:`unsafe_output`, beside the verifier).
"""

from headwater.injection.fence import Fenced, fence, neutralise, without_instructions
from headwater.injection.output import UnsafeReason, unsafe_output
from headwater.injection.question import MAX_QUESTION, clean_question
from headwater.injection.scan import FLAGGED, Finding, instruction_spans, scan

CODE_VERSION = "1"
"""Counts up when the same text could get another score."""

REASONS: dict[str, tuple[str, str]] = {
    "instructions": (
        "This document holds text that reads like instructions to a language model.",
        "Take it out and upload the document again. If it belongs there, the people who run this system can index such "
        "documents with injection.action: flag.",
    )
}
"""What the reason of a quarantined document means, and what its owner can do."""

__all__ = [
    "CODE_VERSION",
    "FLAGGED",
    "MAX_QUESTION",
    "REASONS",
    "Fenced",
    "Finding",
    "UnsafeReason",
    "clean_question",
    "fence",
    "instruction_spans",
    "neutralise",
    "scan",
    "unsafe_output",
    "without_instructions",
]
