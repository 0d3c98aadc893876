"""The tagger: the bundled MiniLM encoder, told how words are written, and one linear layer over the first piece of a word.

Plain torch: importing transformers takes longer than tagging a document. The forward pass is that of BERT (Devlin et
al. 2019), as all-MiniLM-L6-v2 was trained with it; the tests compare it with transformers' own. Import this module
inside functions only.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from headwater.privacy.names.words import CASE_CODES, SHAPE_CODES

WIDTH, HEADS, INNER, LAYERS, PIECES, POSITIONS = 384, 12, 1536, 6, 30522, 512
NO_WORD = SHAPE_CODES  # the shape of special tokens and padding
_EPSILON = 1e-12


class Embeddings(nn.Module):
    """Word pieces and their positions; the one segment's vector is part of the positions'."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = nn.Embedding(PIECES, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, _EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        """Return vectors (rows, length, WIDTH) of piece numbers (rows, length)."""
        normed: Tensor = self.norm(self.pieces(ids) + self.positions.weight[: ids.shape[1]])
        return normed


class Layer(nn.Module):
    """One transformer layer; query, key and value are one matrix."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.attend = nn.Linear(WIDTH, 3 * WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, _EPSILON)
        self.widen = nn.Linear(WIDTH, INNER)
        self.narrow = nn.Linear(INNER, WIDTH)
        self.last_norm = nn.LayerNorm(WIDTH, _EPSILON)
        self.dropout = dropout

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return vectors of the shape of ``hidden``; ``mask`` (rows, 1, 1, length) is True where there is a piece."""
        rows, length, _ = hidden.shape
        query, key, value = (
            self.attend(hidden).view(rows, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed = self.mix(mixed.transpose(1, 2).reshape(rows, length, WIDTH))
        hidden = self.norm(hidden + functional.dropout(mixed, self.dropout, self.training))
        widened = self.narrow(functional.gelu(self.widen(hidden)))
        normed: Tensor = self.last_norm(hidden + functional.dropout(widened, self.dropout, self.training))
        return normed


class NameTagger(nn.Module):
    """Scores of ``labels`` for every word.

    The first ``frozen`` layers are the bundled encoder's; the codes of :mod:`~headwater.privacy.names.words` join
    before the next one.
    """

    def __init__(self, labels: int, frozen: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.frozen = frozen
        self.embeddings = Embeddings()
        self.layers = nn.ModuleList(Layer(0.0 if number < frozen else dropout) for number in range(LAYERS))
        self.shapes = nn.Embedding(SHAPE_CODES + 1, WIDTH)
        self.cases = nn.Embedding(CASE_CODES, WIDTH)
        self.head = nn.Linear(WIDTH, labels)
        self.dropout = dropout

    def lower(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the hidden vectors (rows, length, WIDTH) below the first layer that was trained."""
        hidden: Tensor = self.embeddings(ids)
        for layer in self.layers[: self.frozen]:
            hidden = layer(hidden, mask)
        return hidden

    def upper(self, hidden: Tensor, mask: Tensor, shapes: Tensor, cases: Tensor) -> Tensor:
        """Return hidden vectors for the output of :meth:`lower`; ``shapes`` (rows, length), ``cases`` (rows,)."""
        hidden = hidden + self.shapes(shapes) + self.cases(cases)[:, None]
        for layer in self.layers[self.frozen :]:
            hidden = layer(hidden, mask)
        return hidden

    def score(self, hidden: Tensor) -> Tensor:
        """Return the scores (words, labels) of the hidden vectors (words, WIDTH) of words' first pieces."""
        scores: Tensor = self.head(functional.dropout(hidden, self.dropout, self.training))
        return scores
