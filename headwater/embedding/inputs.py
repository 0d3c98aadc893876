"""What a model gets: token ids, in most cases put together here; else what sentence-transformers makes of the texts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.embedding.contract import TokenIds
from headwater.embedding.packing import Layout, pack
from headwater.embedding.tokenizing import text_tokenizer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

_PROBES = ("Überall: don't [stop] 日本 3.14!", "a")
_LONGEST_PROBE = 8192
_WIDTH_STEP = 16
"""Batches are padded to a multiple of this: oneDNN compiles and keeps code for every shape that it meets. Over 600 texts of
20 to 256 tokens the process grew by 170 MiB with exact widths, by 50 with these."""

_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"


class Inputs:
    """Texts to the features of one task ("document" or "query") with its prompt, truncated to ``max_tokens``.

    A text is tokenised once, by :class:`TextTokenizer`, or not at all where its ids are known. Whether the model takes
    its input that way is found out: where sentence-transformers makes other features of a few probes, it goes on
    making them.
    """

    def __init__(
        self, model: SentenceTransformer, tokenizer: Tokenizer, prompt: str, task: str, max_tokens: int
    ) -> None:
        self.task = task
        self.packs_from: int | None = None
        """The position of a text's first token in a packed row; None where the model takes no such rows."""
        self._model = model
        self._prompt = prompt
        self._limit = max_tokens
        self._tokenizer = text_tokenizer(tokenizer)
        self._lock = threading.Lock()  # a fast tokenizer can't be reconfigured while another thread uses it
        self._pad = 0
        self._types = False
        self._constant: dict[str, Any] = {}
        self._own = self._probe()

    def tokens(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> Sequence[TokenIds]:
        """Return the ids of each text, prompt and special tokens included; ``ids`` where they are known."""
        if ids is not None:
            return [one if len(one) <= self._limit else self._ids(text) for one, text in zip(ids, texts, strict=True)]
        return [self._ids(text) for text in texts]

    def features(
        self, texts: Sequence[str], tokens: Sequence[TokenIds], *, packs: bool = False
    ) -> tuple[dict[str, Any], Layout | None]:
        """Return the model's features of a batch, from what :meth:`tokens` gave for its texts: padded, or packed and how."""
        if not self._own:
            return self._preprocess(texts), None
        if not packs or self.packs_from is None:
            return self._padded(tokens, self.width(max(map(len, tokens)))), None
        layout = Layout(tokens)
        return self._constant | pack(tokens, layout, pad=self._pad, first=self.packs_from), layout

    def first_positions(self, positions: int) -> list[int]:
        """Return where a packed text might begin in a model of so many ``positions``: at 0, or behind that of padding.

        None where features are sentence-transformers' business, or the longest text would run over the last position.
        """
        return [first for first in (0, self._pad + 1) if self._own and first + self._limit <= positions]

    def width(self, longest: int) -> int:
        """Return how wide a batch is whose longest row has ``longest`` tokens."""
        if not self._own:
            return longest
        return min(-(-longest // _WIDTH_STEP) * _WIDTH_STEP, max(longest, self._limit))

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.model_ids(self._prompt + text, self._limit)

    def _padded(self, tokens: Sequence[TokenIds], width: int) -> dict[str, Any]:
        import torch

        shape = (len(tokens), width)
        ids = np.full(shape, self._pad, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        features: dict[str, Any] = {_IDS: torch.from_numpy(ids), _MASK: torch.from_numpy(mask)}
        if self._types:
            features[_TYPES] = torch.zeros(shape, dtype=torch.int64)
        return features | self._constant

    def _preprocess(self, texts: Sequence[str]) -> dict[str, Any]:
        with self._lock:
            return dict(self._model.preprocess(list(texts), prompt=self._prompt or None, task=self.task))

    def _probe(self) -> bool:
        """Return whether features put together here are those of sentence-transformers, and learn how to."""
        import torch

        texts = [*_PROBES, "word " * min(self._limit + 8, _LONGEST_PROBE)]
        theirs = self._preprocess(texts)
        tensors = {name for name, value in theirs.items() if isinstance(value, torch.Tensor)}
        if not {_IDS, _MASK} <= tensors <= {_IDS, _MASK, _TYPES}:
            return False
        self._constant = {name: value for name, value in theirs.items() if name not in tensors}
        self._types = _TYPES in tensors
        padding = theirs[_IDS][theirs[_MASK] == 0]
        self._pad = int(padding[0]) if padding.numel() else 0
        tokens = [self._ids(text) for text in texts]
        ours = self._padded(tokens, max(map(len, tokens)))
        return all(
            ours[name].shape == theirs[name].shape and bool((ours[name] == theirs[name]).all()) for name in tensors
        )
