"""The loaded model: words in, scores out. Torch is imported when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from headwater.privacy.names.decode import LABELS
from headwater.privacy.names.weights import load_weights
from headwater.privacy.names.words import SHAPE_CODES, Words

PIECES_PER_BATCH = 2048
CORE, MARGIN = 86, 20
"""A sentence of more than 126 pieces (1 in 100) is read in parts of CORE pieces and MARGIN more on both sides."""
_STEP = 4  # lengths are padded to a multiple, so that many rows share one
_CLASS, _SEPARATOR = 101, 102  # BERT's special tokens

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """What is read together: the words ``first`` to ``end``; scores are kept of ``core`` to ``core_end``."""

    first: Ints
    end: Ints
    core: Ints
    core_end: Ints

    def pick(self, chosen: Ints) -> Rows:
        """Return some of the rows."""
        return Rows(self.first[chosen], self.end[chosen], self.core[chosen], self.core_end[chosen])


class Tagger:
    """The model on the CPU, in bfloat16 where the CPU multiplies it in hardware."""

    def __init__(self) -> None:
        from headwater.embedding.devices import before_torch

        before_torch()
        import torch

        from headwater.embedding.linear import prepack
        from headwater.privacy.names.encoder import NameTagger

        weights, frozen = load_weights()
        self._model = NameTagger(LABELS, frozen)
        self._model.load_state_dict(weights)
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        self._model.to(torch.bfloat16 if fast else torch.float32).eval().requires_grad_(False)
        prepack(self._model)

    def scores(self, words: Words) -> npt.NDArray[np.float32]:
        """Return the logarithms of the labels' probabilities, shape (words, LABELS).

        They don't depend on which sentences are read together: all rows of a batch have the padded length of each.
        """
        from headwater.embedding.devices import cpu_threads, limit_threads

        result = np.zeros((len(words.starts), LABELS), np.float32)
        piece_shapes = np.repeat(words.shapes, np.diff(words.firsts))

        def read(batch: tuple[Rows, int]) -> None:
            kept, scores = self._scores(words, piece_shapes, *batch)
            result[kept] = scores

        batches = list(_batches(words))
        lanes = min(cpu_threads(), len(batches))
        if lanes <= 1:
            for batch in batches:
                read(batch)
            return result
        # One batch per core: cores that share a batch wait for each other at every layer.
        threads = cpu_threads() // lanes
        with ThreadPoolExecutor(lanes, "headwater-names", initializer=limit_threads, initargs=(threads,)) as pool:
            for done in [pool.submit(read, batch) for batch in reversed(batches)]:  # the longest first
                done.result()
        return result

    def _scores(self, words: Words, piece_shapes: Ints, rows: Rows, length: int) -> tuple[Ints, Floats]:
        """Return the words of some rows, and the logarithms of their labels' probabilities."""
        import torch

        offset, pieces = words.firsts[rows.first], words.firsts[rows.end] - words.firsts[rows.first]
        row, source = _ranges(offset, offset + pieces)
        place = source - offset[row] + 1
        ids = np.zeros((len(offset), length), np.int64)
        ids[:, 0] = _CLASS
        ids[np.arange(len(offset)), pieces + 1] = _SEPARATOR
        ids[row, place] = words.pieces[source]
        shapes = np.full(ids.shape, SHAPE_CODES, np.int64)
        shapes[row, place] = piece_shapes[source]
        cases = words.cases[np.searchsorted(words.borders, rows.first, side="right") - 1]
        row, kept = _ranges(rows.core, rows.core_end)
        with torch.inference_mode():
            mask = torch.from_numpy(np.arange(length) < pieces[:, None] + 2)[:, None, None, :]
            hidden = self._model.lower(torch.from_numpy(ids), mask)
            hidden = self._model.upper(hidden, mask, torch.from_numpy(shapes), torch.from_numpy(cases))
            chosen = hidden[torch.from_numpy(row), torch.from_numpy(words.firsts[kept] - offset[row] + 1)]
            return kept, torch.log_softmax(self._model.score(chosen).float(), -1).numpy()


@lru_cache(maxsize=1)
def load_tagger() -> Tagger:
    """Return the tagger, loaded once per process."""
    return Tagger()


def _batches(words: Words) -> Iterator[tuple[Rows, int]]:
    """Yield rows of one padded length, and that length."""
    rows = _rows(words)
    lengths = words.firsts[rows.end] - words.firsts[rows.first] + 2
    lengths = -(-lengths // _STEP) * _STEP
    for length in np.unique(lengths).tolist():
        same = np.flatnonzero(lengths == length)
        size = max(1, PIECES_PER_BATCH // length)
        for start in range(0, len(same), size):
            yield rows.pick(same[start : start + size]), length


def _rows(words: Words) -> Rows:
    first, end = words.borders[:-1], words.borders[1:]
    pieces = words.firsts[end] - words.firsts[first]
    short = (pieces > 0) & (pieces <= CORE + 2 * MARGIN)
    parts = [(first[short], end[short], first[short], end[short])]
    for sentence in np.flatnonzero(pieces > CORE + 2 * MARGIN).tolist():
        parts.append(_cut(words.firsts, int(first[sentence]), int(end[sentence])))
    return Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _cut(firsts: Ints, first: int, end: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the parts of one long sentence; a word of more than CORE pieces is a core of its own."""
    cores = [first]
    while cores[-1] < end:
        limit = int(np.searchsorted(firsts, firsts[cores[-1]] + CORE, side="right")) - 1
        cores.append(min(end, max(cores[-1] + 1, limit)))
    borders = np.array(cores)
    left = np.searchsorted(firsts, firsts[borders[:-1]] - MARGIN)
    right = np.searchsorted(firsts, firsts[borders[1:]] + MARGIN, side="right") - 1
    return np.maximum(left, first), np.minimum(right, end), borders[:-1], borders[1:]


def _ranges(starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Return the numbers ``starts[i]`` to ``ends[i]`` of every i, one range after the other, and the i of each."""
    counts = ends - starts
    row = np.repeat(np.arange(len(starts)), counts)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + starts[row]
