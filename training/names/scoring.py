"""Exact-span precision, recall and F1 (CoNLL 2003), and predictions of a tagger in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from headwater.privacy.names.decode import ENTITIES, best_labels, runs
from headwater.privacy.names.encoder import NameTagger
from training.names.data import Sentence, Span
from training.names.train import Example, batches, scores_of


def predict(model: NameTagger, examples: Sequence[Example]) -> list[list[Span]]:
    """Return the spans that the tagger finds in each example, OTHER included."""
    model.eval()
    found: list[list[Span]] = [[] for _ in examples]
    for rows in batches([len(item.hidden) for item in examples], 4096):
        with torch.inference_mode():
            scores, present = scores_of(model, [examples[row] for row in rows])
        for place, row in enumerate(rows):
            item = examples[row].encoded
            own = torch.log_softmax(scores[place][present[place]], -1).numpy()
            labels = best_labels(own, np.array([0, len(own)]))
            found[row] = [
                (int(item.starts[first]), int(item.ends[end - 1]), ENTITIES[entity])
                for first, end, entity in runs(labels)
            ]
    return found


class Score:
    """Counts of found, gold and right spans per entity."""

    def __init__(self) -> None:
        self.found, self.gold, self.right = Counter[str](), Counter[str](), Counter[str]()

    def add(self, sentences: Iterable[Sentence], found: Iterable[Sequence[Span]]) -> Score:
        """Count the spans of some sentences."""
        for sentence, spans in zip(sentences, found, strict=True):
            self.gold.update(entity for *_, entity in sentence.spans)
            self.found.update(entity for *_, entity in spans)
            self.right.update(entity for *_, entity in set(sentence.spans) & set(spans))
        return self

    def update(self, other: Score) -> None:
        """Add the counts of ``other``."""
        for name in ("found", "gold", "right"):
            getattr(self, name).update(getattr(other, name))

    def f1(self, entity: str) -> float:
        """Return 2PR / (P + R)."""
        return 2 * self.right[entity] / max(1, self.found[entity] + self.gold[entity])

    def table(self) -> str:
        """Return one line per entity."""
        return "\n".join(
            f"{entity:13} P {self.right[entity] / max(1, self.found[entity]):.3f}  R {self.right[entity] / max(1, self.gold[entity]):.3f}"
            f"  F1 {self.f1(entity):.3f}  gold {self.gold[entity]}"
            for entity in ENTITIES
            if self.gold[entity]
        )


def folds(sentences: Sequence[Sentence], count: int, seed: int = 0) -> dict[str, int]:
    """Return the fold of every group: groups shuffled, then dealt out in turn."""
    groups = sorted({item.group for item in sentences})
    np.random.default_rng(seed).shuffle(groups)
    return {group: number % count for number, group in enumerate(groups)}
