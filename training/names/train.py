"""Train the tagger: sentences with gold spans in, a model out.

The layers that stay as they are run once per sentence and variant; what they give is kept in memory (0.8 kB per
word piece), so that a pass of training costs only the layers above, and all folds of a cross-validation share it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from headwater.privacy.names.decode import ENTITIES, LABELS
from headwater.privacy.names.encoder import LAYERS, NameTagger
from headwater.privacy.names.weights import encoder_weights
from headwater.privacy.names.words import SHAPE_CODES, read_words
from training.names.data import Sentence, Span

IGNORE = -100
LONGEST = 160  # pieces; longer sentences are cut in training


@dataclass(frozen=True, slots=True)
class Settings:
    """What was found best by cross-validation; see MODEL_CARD.md."""

    frozen: int = 4
    epochs: int = 9
    tokens: int = 2048
    encoder_rate: float = 5e-4
    head_rate: float = 2e-3
    dropout: float = 0.1
    decay: float = 0.01
    warmup: float = 0.1
    average_from: float = 0.6
    seed: int = 0


@dataclass(frozen=True, slots=True)
class EncodedSentence:
    """One sentence: ``ids`` (special tokens included), the ``word`` of each (-1: special), words as offsets, codes."""

    ids: np.ndarray
    word: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    shapes: np.ndarray
    case: int


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence ready for training; ``hidden`` (pieces, width) is what the frozen layers give for it."""

    sentence: Sentence
    encoded: EncodedSentence
    labels: np.ndarray
    hidden: torch.Tensor


def build(settings: Settings = Settings()) -> NameTagger:
    """Return the tagger with the bundled encoder's weights everywhere and codes that say nothing yet."""
    torch.manual_seed(settings.seed)
    model = NameTagger(LABELS, settings.frozen, settings.dropout)
    model.load_state_dict(encoder_weights(LAYERS), strict=False)
    torch.nn.init.zeros_(model.shapes.weight)
    torch.nn.init.zeros_(model.cases.weight)
    torch.nn.init.normal_(model.head.weight, std=0.02)
    torch.nn.init.zeros_(model.head.bias)
    return model


def encode(sentences: Sequence[str]) -> list[EncodedSentence]:
    """Return the sentences one by one, as the tagger reads them."""
    words = read_words(sentences)
    result = []
    for row in range(len(sentences)):
        first, end = words.borders[row], words.borders[row + 1]
        pieces = words.pieces[words.firsts[first] : words.firsts[end]]
        word = np.repeat(np.arange(end - first), np.diff(words.firsts[first : end + 1]))
        here = slice(first, end)
        result.append(
            EncodedSentence(
                np.concatenate(([101], pieces, [102])),
                np.concatenate(([-1], word, [-1])),
                words.starts[here],
                words.ends[here],
                words.shapes[here],
                int(words.cases[row]),
            )
        )
    return result


def gold_labels(encoded: EncodedSentence, spans: Sequence[Span]) -> np.ndarray:
    """Return the label of each word."""
    labels = np.zeros(len(encoded.starts), np.int64)
    for start, end, entity in spans:
        words = np.flatnonzero((encoded.starts < end) & (encoded.ends > start))
        if len(words):
            begin = 1 + 2 * ENTITIES.index(entity)
            labels[words] = begin + 1
            labels[words[0]] = begin
    return labels


def prepare(sentences: Sequence[Sentence], model: NameTagger) -> list[Example]:
    """Return the sentences as examples for ``model``, or for any other with the same frozen layers."""
    encoded = encode([item.text for item in sentences])
    hidden: list[torch.Tensor] = [torch.empty(0)] * len(encoded)
    model.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for rows in batches([_length(item) for item in encoded], 4096):
            ids, mask, *_ = collate([encoded[row] for row in rows])
            below = model.lower(ids, mask).to(torch.bfloat16)
            for place, row in enumerate(rows):
                hidden[row] = below[place, : _length(encoded[row])].clone()
    return [
        Example(item, code, gold_labels(code, item.spans), vectors)
        for item, code, vectors in zip(sentences, encoded, hidden, strict=True)
    ]


def train(
    variants: Sequence[Sequence[Example]],
    settings: Settings = Settings(),
    report: Callable[[int, NameTagger], None] | None = None,
) -> NameTagger:
    """Return the tagger trained on one variant of the examples per epoch, in turn.

    Its weights are the mean of those during the last part of the training (Izmailov et al. 2018).
    """
    shuffle = random.Random(settings.seed)
    model = build(settings)
    encoder = [p for layer in model.layers[settings.frozen :] for p in layer.parameters()]
    head = [*model.head.parameters(), *model.shapes.parameters(), *model.cases.parameters()]
    trained = [*encoder, *head]
    optimizer = torch.optim.AdamW(
        [{"params": encoder, "lr": settings.encoder_rate}, {"params": head, "lr": settings.head_rate}],
        weight_decay=settings.decay,
        betas=(0.9, 0.98),
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    mean: list[torch.Tensor] = []
    averaged = 0
    for epoch in range(settings.epochs):
        began, total = time.perf_counter(), 0.0
        examples = variants[epoch % len(variants)]
        plan = batches([_length(item.encoded) for item in examples], settings.tokens, shuffle)
        model.train()
        for step, rows in enumerate(plan):
            progress = (epoch + step / len(plan)) / settings.epochs
            factor = min(progress / settings.warmup, (1 - progress) / (1 - settings.warmup))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * max(factor, 0.02)
            loss = _loss(model, [examples[row] for row in rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            total += float(loss.detach())
            if progress >= settings.average_from and step % 5 == 0:
                averaged += 1
                mean = mean or [p.detach().clone() for p in trained]
                for m, p in zip(mean, trained, strict=True):
                    m.lerp_(p.detach(), 1 / averaged)
        print(f"epoch {epoch + 1} loss {total / len(plan):.4f} {time.perf_counter() - began:.0f} s", flush=True)
        if report:
            report(epoch, model)
    with torch.no_grad():
        for m, p in zip(mean, trained, strict=bool(mean)):
            p.copy_(m)
    return model.eval()


def scores_of(model: NameTagger, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores (rows, words, labels) and where there are words (rows, words)."""
    _, mask, shapes, cases, firsts = collate([item.encoded for item in examples])
    hidden = torch.nn.utils.rnn.pad_sequence([item.hidden for item in examples], batch_first=True)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.upper(functional.dropout(hidden, model.dropout, model.training), mask, shapes, cases)
        scores = model.score(hidden.gather(1, firsts.clamp(min=0)[:, :, None].expand(-1, -1, hidden.shape[2])))
    return scores.float(), firsts >= 0


def _loss(model: NameTagger, examples: Sequence[Example]) -> torch.Tensor:
    scores, present = scores_of(model, examples)
    gold = torch.full(present.shape, IGNORE)
    for row, item in enumerate(examples):
        words = int(present[row].sum())
        gold[row, :words] = torch.from_numpy(item.labels[:words])
    return functional.cross_entropy(scores.flatten(0, 1), gold.flatten(), ignore_index=IGNORE)


def collate(items: Sequence[EncodedSentence]) -> tuple[torch.Tensor, ...]:
    """Return ids, attention mask, shapes, cases, and the piece at which each word begins (rows, words; -1: no word)."""
    lengths = np.array([_length(item) for item in items])
    ids = np.zeros((len(items), lengths.max()), np.int64)
    shapes = np.full(ids.shape, SHAPE_CODES, np.int64)
    firsts = np.full((len(items), max(1, *(len(item.starts) for item in items), 1)), -1, np.int64)
    for row, item in enumerate(items):
        n = lengths[row]
        word = item.word[:n]
        ids[row, :n] = item.ids[:n]
        shapes[row, :n][word >= 0] = item.shapes[word[word >= 0]]
        begins = np.flatnonzero((word >= 0) & (np.diff(word, prepend=-1) != 0))
        firsts[row, : len(begins)] = begins
    mask = (np.arange(ids.shape[1]) < lengths[:, None])[:, None, None, :]
    cases = np.array([item.case for item in items])
    return tuple(torch.from_numpy(array) for array in (ids, mask, shapes, cases, firsts))


def batches(lengths: Sequence[int], budget: int, shuffle: random.Random | None = None) -> list[list[int]]:
    """Return rows of similar length in batches; rows times longest stays within ``budget``."""
    keys = [length + (shuffle.uniform(0, 4) if shuffle else 0) for length in lengths]
    result: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=keys.__getitem__):
        longest = max(longest, lengths[row])
        if result and longest * (len(result[-1]) + 1) <= budget:
            result[-1].append(row)
        else:
            result.append([row])
            longest = lengths[row]
    if shuffle:
        shuffle.shuffle(result)
    return result


def _length(item: EncodedSentence) -> int:
    return min(len(item.ids), LONGEST)
