"""From scores per word to spans: mentions of a text agree, then the best well-formed sequence of labels (Viterbi 1967)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

ENTITIES = ("PERSON", "LOCATION", "ORGANIZATION", "OTHER", "ADDRESS")
"""What is learned. OTHER (works, events, products, peoples) is a contrast, ADDRESS a street address."""
REPORTED = {"PERSON": "PERSON", "LOCATION": "LOCATION", "ORGANIZATION": "ORGANIZATION", "ADDRESS": "STREET_ADDRESS"}
"""What is reported, by Presidio's names."""
LABELS = 1 + 2 * len(ENTITIES)  # 0 outside, then begin (odd) and inside (even) of each entity

OTHERS_SHARE = 0.5
"""How much a text's mentions of a word count beside the sentence at hand; .3 to 1 were alike in cross-validation."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def _forbidden() -> Floats:
    cost = np.zeros((LABELS, LABELS), np.float32)
    for inside in range(2, LABELS, 2):
        cost[:, inside] = -np.inf
        cost[[inside - 1, inside], inside] = 0
    return cost


_TRANSITIONS = _forbidden()
_INSIDE = np.arange(LABELS) % 2 == 0
_INSIDE[0] = False


_KINDS = (np.arange(LABELS) + 1) // 2


def agree(scores: Floats, words: Iterable[str]) -> Floats:
    """Return the scores of the words of one text after its mentions of the same capitalised word agreed on the kind.

    ``scores`` are logarithms of probabilities, shape (words, LABELS), and so is what is returned. "Reed" alone says little;
    "Dr Anna Reed" elsewhere in the text says who that is. The scores of each kind move towards the mean over all
    mentions by :data:`OTHERS_SHARE`; whether a word begins a name is left to its sentence.
    """
    numbers: dict[str, int] = {}
    voting = (numbers.setdefault(w, len(numbers)) if w[:1].isupper() and len(w) > 1 else -1 for w in words)
    form = np.fromiter(voting, np.int64)
    counts = np.bincount(form[form >= 0], minlength=1)
    rows = np.flatnonzero((form >= 0) & (counts[form] > 1))
    if not len(rows):
        return scores
    own = scores[rows].astype(np.float64)
    kinds = np.stack([own[:, 0], *(np.logaddexp(own[:, i], own[:, i + 1]) for i in range(1, LABELS, 2))], 1)
    form = form[rows]
    mean = np.stack([np.bincount(form, column, len(counts)) for column in kinds.T], 1)[form] / counts[form, None]
    own += (OTHERS_SHARE * (mean - kinds))[:, _KINDS]
    result = scores.copy()
    result[rows] = own - np.logaddexp.reduce(own, 1)[:, None]
    return result


def best_labels(scores: Floats, borders: Ints) -> Ints:
    """Return the label of each word; ``scores`` is (words, LABELS), row ``i`` the words ``borders[i]:borders[i + 1]``.

    The likeliest label of each word is the best sequence wherever it is well formed; the rest is searched for.
    """
    labels: Ints = scores.argmax(1).astype(np.int64)
    first = np.zeros(len(labels), bool)
    first[borders[:-1][borders[:-1] < borders[1:]]] = True
    before = np.where(first, 0, np.concatenate(([0], labels[:-1]))) if len(labels) else labels
    wrong = np.flatnonzero(_INSIDE[labels] & (before != labels) & (before != labels - 1))
    for row in np.unique(np.searchsorted(borders, wrong, side="right") - 1).tolist():
        here = slice(borders[row], borders[row + 1])
        labels[here] = _viterbi(scores[here])
    return labels


def _viterbi(scores: Floats) -> Ints:
    best = np.where(_INSIDE, -np.inf, scores[0])
    back = np.empty(scores.shape, np.int64)
    for word in range(1, len(scores)):
        paths = best[:, None] + _TRANSITIONS
        back[word] = paths.argmax(0)
        best = paths[back[word], np.arange(LABELS)] + scores[word]
    labels = np.empty(len(scores), np.int64)
    labels[-1] = best.argmax()
    for word in range(len(scores) - 1, 0, -1):
        labels[word - 1] = back[word, labels[word]]
    return labels


def runs(labels: Ints) -> list[tuple[int, int, int]]:
    """Return (first word, word after the last, number of the entity) of every span in well-formed labels."""
    spans: list[tuple[int, int, int]] = []
    for word in np.flatnonzero(labels).tolist():
        label = int(labels[word])
        if label % 2:
            spans.append((word, word + 1, label // 2))
        else:
            first, _, _ = spans[-1]
            spans[-1] = (first, word + 1, label // 2 - 1)
    return spans
