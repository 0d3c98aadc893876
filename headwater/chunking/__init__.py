"""A document in passages: cut where its structure says so, never above the embedding model's token cap.

In: a parsed document. Out: chunks in order, each an exact slice of the text; together they hold every character
that is not white space, once. The rules:

* A chunk stays inside one section (one heading path). Headings belong to the text that follows them.
* Elements stay whole where they fit; longer ones are cut between table rows or sentences, then between tokens.
* Pieces below ``min_tokens`` join the neighbour that shares more of their heading path: the same section, an
  enclosing one, or a section next to them under the same parent; only while the cap allows.
* A chunk may go over a page break: it knows where each of its pages begins.
* With ``overlap_tokens`` a chunk that was cut off inside its section begins again with the last sentences before it.
* The cap holds for the *embedded* text, the model's prompt for documents and special tokens included, as
  :func:`embedded_text` puts it together.

The document is tokenised once; a chunk's ids are taken from that where this is exact, else the chunk is tokenised. They
go to the embedder as they are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from headwater.chunking.context import context_line, embedded_text
from headwater.chunking.overlap import with_overlap
from headwater.chunking.packing import Passage, join_tiny, pack
from headwater.chunking.pages import Pages
from headwater.chunking.tokens import TokenizedText
from headwater.chunking.units import Unit, divide, sections, trim, units
from headwater.embedding.tokenizing import text_tokenizer
from headwater.errors import RowError
from headwater.policies import ChunkPolicy
from headwater.types import Chunk, ParsedDocument

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CODE_VERSION = "3"

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
    prompt: str | None = None,
) -> list[Chunk]:
    """Return the chunks of ``document``; none if it has no text.

    ``tokenizer`` is the embedding model's own, without truncation and padding, and ``prompt`` what the model wants
    before a document. Without a tokenizer both are those of ``model`` (None: the bundled one), which raises
    ``ConfigError`` if there is none. Raises ``RowError`` (``chunk_cap``) if not even one character fits the cap.
    """
    if tokenizer is None:
        tokenizer, own = _tokenizer(model)
        prompt = own if prompt is None else prompt
    prompt = prompt or ""
    title = str(document.metadata.get("title") or "")
    vocabulary = text_tokenizer(tokenizer)
    text = TokenizedText(document.text, vocabulary)
    heads: dict[tuple[str, ...], list[int]] = {}
    special = len(vocabulary.prefix) + len(vocabulary.suffix)
    cap = policy.max_tokens - policy.overlap_tokens

    def head(section: tuple[str, ...]) -> list[int]:
        """Return the ids of what stands before a chunk's own text."""
        if section not in heads:
            heads[section] = vocabulary.ids(prompt + context_line(title, section, policy, tokenizer))
        return heads[section]

    def overhead(section: tuple[str, ...]) -> int:
        return len(head(section)) + special

    passages: list[Passage] = []
    for block in sections(units(document)):
        room = max(1, cap - overhead(block[0].section))
        passages += pack([part for unit in block for part in divide(unit, text, room)], text, room)
    joined = join_tiny(
        passages,
        is_tiny=lambda passage: text.weight(passage.start, passage.end) < policy.min_tokens,
        fits=lambda passage: text.weight(passage.start, passage.end) + overhead(passage.section) <= cap,
    )
    if policy.overlap_tokens:
        joined = with_overlap(joined, text, policy.overlap_tokens)

    pages = Pages(document)
    chunks: list[Chunk] = []
    pending = joined[::-1]
    while pending:
        passage = pending.pop()
        if passage.own_start is not None and chunks and passage.start <= chunks[-1].start:
            passage = replace(passage, start=passage.own_start, own_start=None)  # the one before was halved
        piece = document.text[passage.start : passage.end]
        before = head(passage.section)
        apart = not before or prompt[-1:].isspace() or bool(context_line(title, passage.section, policy, tokenizer))
        if apart and text.is_exact(passage.start, passage.end):
            ids = (*vocabulary.prefix, *before, *text.ids(passage.start, passage.end), *vocabulary.suffix)
        else:
            whole = prompt + embedded_text(title, passage.section, piece, policy, tokenizer)
            ids = tuple(vocabulary.model_ids(whole))
        if len(ids) <= policy.max_tokens:
            start, end = passage.start, passage.end
            breaks = pages.inside(start, end)
            chunks.append(Chunk(piece, start, end, passage.section, pages.at(start), len(ids), ids, breaks))
        elif passage.own_start is not None:
            pending.append(replace(passage, start=passage.own_start, own_start=None))
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
    unit = Unit(start, end, passage.section)
    halves = [*trim(unit, text.text, start, cut), *trim(unit, text.text, cut, end)]
    return [Passage(half.start, half.end, half.section) for half in halves]


@lru_cache(maxsize=4)
def _tokenizer(model: str | None) -> tuple[Tokenizer, str]:
    from headwater.embedding.model import load_tokenizer, model_prompts

    return load_tokenizer(model), model_prompts(model).document
