"""What one answer to a golden question is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.stages.evaluation import GoldenQuestion
from headwater.types import Answer, Citation

METRICS: Mapping[str, str] = {
    "right": "answered with a citation of a golden quote, or refused where there is no answer",
    "answered": "answerable questions that were answered",
    "refused": "unanswerable questions that were refused",
    "document_precision": "citations that are of a golden document, where the question was answered",
    "document_recall": "golden documents that were cited; 0 for a refusal",
    "quote_precision": "citations that meet a golden quote, where the question was answered",
    "quote_recall": "golden quotes that a citation meets; 0 for a refusal",
    "dropped": "sentences that the verifier left out, of those that were written",
    "sentences": "sentences of an answer",
    "characters": "characters of an answer",
    "seconds": "time from question to answer",
    "tokens": "tokens that the model read and wrote",
    "cost": "cost of the tokens",
}
"""Every figure and what it counts. The first seven and ``dropped`` lie in 0..1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question; a figure is None where it means nothing (the length of a refusal).

    ``fallback``: a model is configured, but the answer was quoted because it failed.
    """

    question: str
    answerable: bool
    right: bool
    figures: Mapping[str, float | None]
    fallback: bool = False


def outcome_of(question: GoldenQuestion, answer: Answer, seconds: float) -> Outcome:
    """Return what ``answer`` is worth. A citation meets a quote when one holds the other, or its greater half."""
    citations = [citation for sentence in answer.sentences for citation in sentence.citations]
    answerable, answered = bool(question.answers), not answer.refused
    documents = {key for key, _ in question.answers}
    met = {place for place in question.answers if any(_meets(citation, *place) for citation in citations)}
    right = bool(met) if answerable else answer.refused
    written = len(answer.sentences) + len(answer.dropped)
    figures: dict[str, float | None] = dict.fromkeys(METRICS)
    figures |= {
        "right": float(right),
        "seconds": seconds,
        "dropped": len(answer.dropped) / written if written else None,
        "sentences": len(answer.sentences) if answered else None,
        "characters": len(answer.text) if answered else None,
        "tokens": answer.usage.prompt_tokens + answer.usage.completion_tokens if answer.usage else None,
        "cost": answer.usage.cost if answer.usage else None,
    }
    if answerable:
        cited = {citation.key for citation in citations}
        figures |= {
            "answered": float(answered),
            "document_recall": len(documents & cited) / len(documents),
            "quote_recall": len(met) / len(set(question.answers)),
        }
        if citations:
            of_documents = sum(citation.key in documents for citation in citations)
            of_quotes = sum(any(_meets(citation, *place) for place in question.answers) for citation in citations)
            figures["document_precision"] = of_documents / len(citations)
            figures["quote_precision"] = of_quotes / len(citations)
    else:
        figures["refused"] = float(answer.refused)
    return Outcome(question.id, answerable, right, figures, fallback=answer.fallback is not None)


def _meets(citation: Citation, key: str, quote: str) -> bool:
    """Say whether a citation is of the document and of the words, or of the greater half of them.

    A golden quote may run over what an answer needs, and the other way round.
    """
    if citation.key != key:
        return False
    cited, wanted = " ".join(citation.quote.split()), " ".join(quote.split())
    half = len(wanted) // 2 + 1
    return bool(wanted and cited) and (
        wanted in cited or cited in wanted or wanted[:half] in cited or wanted[-half:] in cited
    )
