"""Exact-span precision, recall and F1 (CoNLL 2003), and predictions of a tagger in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from headwater.privacy.names.decode import ENTITIES, LABELS, Floats, agree, best_labels, runs
from headwater.privacy.names.encoder import NameTagger
from training.names.data import Sentence, Span
from training.names.train import EncodedSentence, Example, batches, scores_of


def predict(model: NameTagger, examples: Sequence[Example]) -> list[list[Span]]:
    """Return the spans that the tagger finds in each example, OTHER included; mentions agree within a document."""
    model.eval()
    read: list[Floats] = [np.empty((0, LABELS), np.float32)] * len(examples)
    for rows in batches([len(item.hidden) for item in examples], 4096):
        with torch.inference_mode():
            scores, present = scores_of(model, [examples[row] for row in rows])
        for place, row in enumerate(rows):
            read[row] = torch.log_softmax(scores[place][present[place]], -1).numpy()
    documents: dict[str, list[int]] = {}
    for row, item in enumerate(examples):
        documents.setdefault(item.sentence.document or f"row {row}", []).append(row)
    found: list[list[Span]] = [[] for _ in examples]
    for rows in documents.values():
        spans = spans_of([(examples[row].sentence, examples[row].encoded, read[row]) for row in rows])
        for row, own in zip(rows, spans, strict=True):
            found[row] = own
    return found


def spans_of(sentences: Sequence[tuple[Sentence, EncodedSentence, Floats]]) -> list[list[Span]]:
    """Return the spans in each sentence of one document, from its text, its words and their scores."""
    words = (
        sentence.text[start:end]
        for sentence, encoded, scores in sentences
        for start, end in zip(encoded.starts[: len(scores)], encoded.ends[: len(scores)], strict=True)
    )
    borders = np.cumsum([0, *(len(scores) for *_, scores in sentences)])
    together = agree(np.concatenate([scores for *_, scores in sentences]), words)
    labels = best_labels(together, borders)
    return [
        [
            (int(encoded.starts[first]), int(encoded.ends[end - 1]), ENTITIES[entity])
            for first, end, entity in runs(labels[low:high])
        ]
        for (_, encoded, _), low, high in zip(sentences, borders[:-1], borders[1:], strict=True)
    ]


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
