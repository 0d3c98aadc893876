"""Train the model of out-of-place requests, and measure it with attacks and documents that it has not seen.

    python -m training.injection.train DATA [--write] [--folds 5]

``DATA`` holds ``injection/bipia``, ``corpora/handbook`` and the other public sets that ``data.py`` names. The model is a
logistic regression over the features of :mod:`headwater.injection.requests`. Cross-validation holds out whole
categories of attacks together with a share of the documents. ``--write`` trains on everything and writes
``headwater/injection/requests.json``.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from headwater.injection.characters import fold
from headwater.injection.model import WEIGHTS
from headwater.injection.requests import requests
from training.injection.data import Attack, Document, Planted, attacks, clean, parsed, planted

HOSTS = ("email", "table", "code", "handbook")
PER_ATTACK = 6
STRENGTH = 0.3
FALSE_FLAGS = 0.004
"""The share of the handbook's pages, parsed, that the threshold may flag."""

Row = dict[str, float]


def fold_of(name: str, folds: int) -> int:
    """Return the fold that a document is held out in."""
    return zlib.crc32(name.encode()) % folds


def attack_rows(text: Planted) -> list[Row]:
    """Return the features of the requests that overlap the attack."""
    return [r.features for r in requests(fold(text.text)) if r.start < text.end and r.end > text.start]


def matrix(rows: Sequence[Row], names: Sequence[str]) -> Any:
    """Return rows as an array (n, features)."""
    index = {name: column for column, name in enumerate(names)}
    values = np.zeros((len(rows), len(names)), np.float32)
    for row, features in enumerate(rows):
        for name, value in features.items():
            if name in index:
                values[row, index[name]] = value
    return values


def learn(positive: Sequence[Row], negative: Sequence[Row], names: Sequence[str]) -> Any:
    """Return the fitted model."""
    model = LogisticRegression(C=STRENGTH, max_iter=2000, class_weight="balanced")
    rows = matrix([*positive, *negative], names)
    return model.fit(rows, np.repeat([1, 0], [len(positive), len(negative)]))


def best(model: Any, groups: Sequence[Sequence[Row]], names: Sequence[str]) -> Any:
    """Return the highest logit of each group of rows; minus infinity of an empty one."""
    flat = [row for group in groups for row in group]
    scores = model.decision_function(matrix(flat, names)) if flat else np.zeros(0)
    borders = np.cumsum([0, *(len(group) for group in groups)])
    return np.array([scores[a:b].max() if b > a else -np.inf for a, b in pairwise(borders)])


def threshold_of(scores: Any, share: float) -> float:
    """Return the score that a share of the documents is above; those without a request count as below."""
    return float(np.quantile(scores[np.isfinite(scores)], 1 - share * len(scores) / np.isfinite(scores).sum()))


def main() -> None:
    """Cross-validate, then train on everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation; 0: none")
    parser.add_argument("--write", action="store_true", help="train on everything and write the weights")
    parser.add_argument(
        "--show", action="store_true", help="print the documents of the handbook with the highest scores"
    )
    options = parser.parse_args()
    unparsed = clean(options.data)
    documents = [*map(parsed, unparsed), *(replace(d, source=f"unparsed {d.source}") for d in unparsed)]
    every = attacks(options.data / "injection" / "bipia")
    texts = list(planted([d for d in unparsed if d.source in HOSTS], every, PER_ATTACK))
    negative = [[r.features for r in requests(fold(d.text))] for d in documents]
    positive = [attack_rows(text) for text in texts]
    names = sorted({name for group in (*negative, *positive) for row in group for name in row})
    if options.folds:
        cross_validate(documents, negative, texts, positive, every, names, options.folds, options.show)
    model = learn([r for g in positive for r in g], [r for g in negative for r in g], names)
    scores = best(model, negative, names)
    handbook = np.array([document.source == "handbook" for document in documents])
    threshold = threshold_of(scores[handbook], FALSE_FLAGS)
    weights = dict(zip(names, model.coef_[0], strict=True))
    for name, weight in sorted(weights.items(), key=lambda item: item[1]):
        print(f"  {weight:+7.2f} {name}")
    if options.write:
        found = {
            "intercept": round(float(model.intercept_[0]) - threshold, 4),
            "weights": {name: round(float(weight), 4) for name, weight in weights.items()},
        }
        WEIGHTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def cross_validate(
    documents: Sequence[Document],
    negative: Sequence[Sequence[Row]],
    texts: Sequence[Planted],
    positive: Sequence[Sequence[Row]],
    every: Sequence[Attack],
    names: Sequence[str],
    folds: int,
    show: bool,
) -> None:
    """Print how many clean documents and planted texts are flagged by models that have not seen them."""
    categories = {name: number % folds for number, name in enumerate(dict.fromkeys(a.category for a in every))}
    clean_scores = np.zeros(len(documents))
    planted_scores = np.zeros(len(texts))
    for held in range(folds):
        known = [fold_of(d.name, folds) != held for d in documents]
        # An attack is unseen when its category is; its host too.
        use = [categories[t.attack.category] != held and fold_of(t.host.name, folds) != held for t in texts]
        model = learn(
            [r for g, ok in zip(positive, use, strict=True) if ok for r in g],
            [r for g, ok in zip(negative, known, strict=True) if ok for r in g],
            names,
        )
        out = [i for i, ok in enumerate(known) if not ok]
        clean_scores[out] = best(model, [negative[i] for i in out], names)
        test = [i for i, t in enumerate(texts) if categories[t.attack.category] == held]
        planted_scores[test] = best(model, [positive[i] for i in test], names)
        learned = best(model, [g for g, ok in zip(negative, known, strict=True) if ok], names)
        own = np.array([d.source == "handbook" for d, ok in zip(documents, known, strict=True) if ok])
        # Scores of different folds are compared by their own thresholds, which the seen documents give.
        threshold = threshold_of(learned[own], FALSE_FLAGS)
        clean_scores[out] -= threshold
        planted_scores[test] -= threshold
    for source in dict.fromkeys(d.source for d in documents):
        own = np.array([d.source == source for d in documents])
        print(f"clean {source:<18} {own.sum():>5} documents, flagged {np.mean(clean_scores[own] > 0):.2%}")
    for label, key in (
        ("kind", "kind"),
        ("place", "place"),
        ("joint", "joint"),
        ("host", "host"),
        ("category", "category"),
    ):
        for value in dict.fromkeys(_value(t, key) for t in texts):
            own = np.array([_value(t, key) == value for t in texts])
            print(f"planted by {label} {value:<40} {own.sum():>4}, flagged {np.mean(planted_scores[own] > 0):.1%}")
    if show:
        handbook = [i for i, d in enumerate(documents) if d.source in HOSTS]
        for i in sorted(handbook, key=lambda i: -clean_scores[i])[:25]:
            print(f"{clean_scores[i]:+.2f} {documents[i].source} {documents[i].name[-80:]}")


def _value(text: Planted, key: str) -> str:
    if key == "host":
        return text.host.source
    return repr(getattr(text, key)) if hasattr(text, key) else str(getattr(text.attack, key))


if __name__ == "__main__":
    main()
