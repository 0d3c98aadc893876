"""A document in passages: cut where its structure says so, never above the embedding model's token cap.

In: a parsed document. Out: chunks in order, each an exact slice of the text; together they hold every character
that is not white space, once. The rules:

* A chunk stays inside one section (one heading path). Headings belong to the text that follows them.
* Elements stay whole where they fit; longer ones are cut between table rows or sentences, then between tokens.
* Pieces below ``min_tokens`` join the neighbour that shares more of their heading path: the same section, an
  enclosing one, or a section next to them under the same parent; only while the cap allows.
* The cap holds for the *embedded* text, special tokens included, as :func:`embedded_text` puts it together.

The document is tokenised once; a chunk's own count is derived from that where this is exact, else measured.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from headwater.chunking.context import context_line, embedded_text
from headwater.chunking.packing import Passage, join_tiny, pack
from headwater.chunking.tokens import TokenizedText
from headwater.chunking.units import Unit, divide, sections, trim, units
from headwater.errors import RowError
from headwater.policies import ChunkPolicy
from headwater.types import Chunk, ParsedDocument

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CODE_VERSION = "1"

REASONS: dict[str, tuple[str, str]] = {
    "no_chunks": (
        "Nothing is left of the text to index.",
        "Add text to the document, or exclude it from the corpus (source.exclude).",
    ),
    "chunk_cap": (
        "A single character of this document takes more tokens than a chunk may have.",
        "Raise chunk.max_tokens, or choose another embedding model.",
    ),
}

__all__ = ["CODE_VERSION", "REASONS", "chunk", "embedded_text"]


def chunk(
    document: ParsedDocument,
    policy: ChunkPolicy = ChunkPolicy(),
    *,
    tokenizer: Tokenizer | None = None,
    model: str | None = None,
) -> list[Chunk]:
    """Return the chunks of ``document``; none if it has no text.

    ``tokenizer`` is the embedding model's own, without truncation and padding; without one, that of ``model`` is
    loaded (None: the bundled model), which raises ``ConfigError`` if there is none. Raises ``RowError``
    (``chunk_cap``) if not even one character fits the cap.
    """
    tokenizer = tokenizer or _tokenizer(model)
    title = str(document.metadata.get("title") or "")
    text = TokenizedText(document.text, tokenizer)
    contexts: dict[tuple[str, ...], int] = {}

    def overhead(section: tuple[str, ...]) -> int:
        """Return how many tokens the embedded text has besides the chunk's own."""
        if section not in contexts:
            contexts[section] = text.count_embedded(context_line(title, section, policy, tokenizer))
        return contexts[section]

    def weight(passage: Passage) -> int:
        return text.weight(passage.start, passage.end) + overhead(passage.section)

    passages: list[Passage] = []
    for block in sections(units(document)):
        room = max(1, policy.max_tokens - overhead(block[0].section))
        passages += pack([part for unit in block for part in divide(unit, text, room)], text, room)
    joined = join_tiny(
        passages,
        is_tiny=lambda passage: text.weight(passage.start, passage.end) < policy.min_tokens,
        fits=lambda passage: weight(passage) <= policy.max_tokens,
    )

    chunks: list[Chunk] = []
    pending = joined[::-1]
    while pending:
        passage = pending.pop()
        piece = document.text[passage.start : passage.end]
        if text.is_exact(passage.start, passage.end):
            tokens = text.count(passage.start, passage.end) + overhead(passage.section)
        else:
            tokens = text.count_embedded(embedded_text(title, passage.section, piece, policy, tokenizer))
        if tokens <= policy.max_tokens:
            chunks.append(Chunk(piece, passage.start, passage.end, passage.section, passage.page, tokens))
        elif len(piece) > 1:
            pending += _halves(passage, text)[::-1]
        else:
            raise RowError("One character takes more tokens than chunk.max_tokens; raise it.", code="chunk_cap")
    return chunks


def _halves(passage: Passage, text: TokenizedText) -> list[Passage]:
    """Cut a passage that has more tokens on its own than as a part of the text: rare, and only inside words."""
    start, end = passage.start, passage.end
    cut = text.cut(start, end, max(1, text.weight(start, end) // 2))
    if cut >= end:
        cut = (start + end) // 2
    unit = Unit(start, end, passage.section, passage.page)
    halves = [*trim(unit, text.text, start, cut), *trim(unit, text.text, cut, end)]
    return [Passage(half.start, half.end, half.section, half.page) for half in halves]


@lru_cache(maxsize=4)
def _tokenizer(model: str | None) -> Tokenizer:
    from headwater.embedding import load_tokenizer

    return load_tokenizer(model)
