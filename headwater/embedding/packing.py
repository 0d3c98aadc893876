"""Short texts behind one another in one row, each of which sees itself only: no padding to compute.

Queries are a handful of tokens, and those that are asked together are of all lengths: padded to the longest, more than half
of a pass was padding. The row costs attention between all its tokens, so it is worth it for short rows only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headwater.embedding.contract import TokenIds

if TYPE_CHECKING:
    import torch

PACK_TOKENS = 512
"""Tokens of a row, unless one text alone has more: attention is then a tenth of the arithmetic at 384 dimensions."""

_ROW_STEP = 16
"""Rows are filled up to a multiple of this: see the widths of padded batches."""


class Layout:
    """Where the tokens of a row belong: ``texts`` and ``places`` (in their text), both of shape (tokens,)."""

    def __init__(self, tokens: Sequence[TokenIds]) -> None:
        lengths = np.array([len(one) for one in tokens], dtype=np.int64)
        self.shape = len(lengths), int(lengths.max())
        self.texts = np.repeat(np.arange(len(lengths)), lengths)
        self.places = np.concatenate([np.arange(length) for length in lengths])
        self.width = -(-len(self.texts) // _ROW_STEP) * _ROW_STEP


def pack(tokens: Sequence[TokenIds], layout: Layout, *, pad: int, first: int) -> dict[str, torch.Tensor]:
    """Return ids, positions (the first of each text is ``first``), types and who sees whom; what fills up the row sees
    itself.
    """
    import torch

    row = np.full((3, 1, layout.width), 0, dtype=np.int64)
    ids, positions, types = row
    filled = len(layout.texts)
    ids[:] = pad
    ids[0, :filled] = np.concatenate([np.asarray(one, dtype=np.int64) for one in tokens])
    positions[:] = first
    positions[0, :filled] += layout.places
    owners: npt.NDArray[np.int64] = np.full(layout.width, -1, dtype=np.int64)
    owners[:filled] = layout.texts
    sees = torch.from_numpy(owners[:, None] == owners[None, :])[None, None]
    found = {"input_ids": ids, "position_ids": positions, "token_type_ids": types}
    return {name: torch.from_numpy(values) for name, values in found.items()} | {"attention_mask": sees}


def sentence_embeddings(model: Any, features: Mapping[str, Any], layout: Layout) -> torch.Tensor:
    """Return what a sentence-transformers ``model`` makes of the texts of a row, shape (texts, dimensions)."""
    import torch

    encoder, *others = model.children()
    row = encoder(dict(features))["token_embeddings"][0, : len(layout.texts)]
    texts, places = (torch.from_numpy(one).to(row.device) for one in (layout.texts, layout.places))
    tokens = row.new_zeros((*layout.shape, row.shape[-1]))
    tokens[texts, places] = row
    mask = torch.zeros(layout.shape, dtype=torch.int64, device=row.device)
    mask[texts, places] = 1
    found = {"token_embeddings": tokens, "attention_mask": mask}
    for module in others:
        found = module(found)
    vectors: torch.Tensor = found["sentence_embedding"]
    return vectors
