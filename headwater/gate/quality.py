"""Checks of how well a release finds and answers, alone and beside the live release."""

from __future__ import annotations

from typing import Any

from headwater.gate.subject import LISTED, Finding, Subject
from headwater.stages.evaluation import gain

_NO_GOLDEN = "No golden set: known-item queries stand in for it."
_NO_LIVE = "There is no other live release to compare with."


def embedding_canary(subject: Subject) -> Finding:
    """The lowest cosine between stored vectors and the model's now."""
    floor = subject.corpus.policy.gate.min_canary_cosine
    figures = subject.evaluation.figures
    cosine = float(figures["canary_cosine"])
    return Finding(cosine >= floor, cosine, floor, {"chunks": figures["canary_chunks"]})


def known_items_found(subject: Subject) -> Finding:
    """The share of known-item queries that find their document."""
    floor = subject.corpus.policy.gate.min_known_item_recall
    figures = subject.evaluation.figures
    recall = float(figures["known_item_recall"])
    return Finding(recall >= floor, recall, floor, {"queries": figures["known_item_queries"]})


def golden_recall(subject: Subject) -> Finding:
    """The share of answerable golden questions whose passage is among the first ten."""
    floor = subject.corpus.policy.gate.min_golden_recall
    figures = subject.evaluation.figures
    if "golden_recall_at_10" not in figures:
        recall = float(figures["known_item_recall"])
        return Finding(recall >= floor, recall, floor, {"note": _NO_GOLDEN})
    recall = float(figures["golden_recall_at_10"])
    extra = {name: value for name, value in figures.items() if not name.startswith(("known_item", "canary"))}
    missed = [name for name, rank in subject.evaluation.ranks.items() if rank is None]
    return Finding(recall >= floor, recall, floor, extra | {"not_found": missed[:LISTED]})


def golden_not_worse(subject: Subject) -> Finding:
    """The mean change of nDCG@10 over the questions that both releases were asked; the worse ones are listed.

    Paired: a question is only compared with itself, so a golden set that grew or shrank does not count as a change
    of the index. Without a golden set the known-item recall is compared.
    """
    tolerance = subject.corpus.policy.gate.max_golden_drop
    if subject.live_evaluation is None or subject.live is None:
        return Finding(True, 0, -tolerance, {"note": _NO_LIVE})
    ours, theirs = subject.evaluation.ranks, subject.live_evaluation.ranks
    both = ours.keys() & theirs.keys()
    details: dict[str, Any] = {"live": subject.live.number, "questions": len(both)}
    if not both:
        figures = (subject.evaluation.figures, subject.live_evaluation.figures)
        recalls = [float(side["known_item_recall"]) for side in figures]
        return Finding(recalls[0] - recalls[1] >= -tolerance, recalls[0] - recalls[1], -tolerance, {"note": _NO_GOLDEN})
    changes = {name: gain(ours[name]) - gain(theirs[name]) for name in sorted(both)}
    mean = sum(changes.values()) / len(changes)
    worse = sorted((name for name, change in changes.items() if change < 0), key=changes.__getitem__)
    details |= {
        "worse": {name: {"rank": ours[name], "rank_in_live": theirs[name]} for name in worse[:LISTED]},
        "number_worse": len(worse),
        "number_better": sum(change > 0 for change in changes.values()),
    }
    return Finding(mean >= -tolerance, mean, -tolerance, details)


def refusal_accuracy(subject: Subject) -> Finding:
    """The share of golden questions without an answer that are refused: above the floor, and not far below live's."""
    gate = subject.corpus.policy.gate
    refused = subject.evaluation.refused
    if not refused:
        return Finding(
            True, 1, gate.min_refusal_accuracy, {"note": "No golden question is marked as having no answer."}
        )
    share = sum(refused.values()) / len(refused)
    floor = gate.min_refusal_accuracy
    details: dict[str, Any] = {"answered": [name for name, right in refused.items() if not right][:LISTED]}
    theirs = subject.live_evaluation.refused if subject.live_evaluation else {}
    both = refused.keys() & theirs.keys()
    if both:
        of_live = sum(theirs[name] for name in both) / len(both)
        floor = max(floor, of_live - gate.max_refusal_drop)
        details |= {"live": of_live, "max_drop": gate.max_refusal_drop}
    return Finding(share >= floor, share, floor, details)
