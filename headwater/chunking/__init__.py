"""A document in passages: cut where its structure says so, never above the embedding model's token cap.

In: a parsed document. Out: chunks in order, each an exact slice of the text; together they hold every character
that is not white space, once. The rules:

* A chunk stays inside one section (one heading path). Headings belong to the text that follows them.
* Elements stay whole where they fit; longer ones are cut between table rows or sentences, then between tokens.
* Pieces below ``min_tokens`` join the neighbour that shares more of their heading path: the same section, an
  enclosing one, or a section next to them under the same parent; only while the cap allows.
* A chunk that begins below the header row of a table knows that row: it is embedded with the chunk.
* A chunk may go over a page break: it knows where each of its pages begins.
* With ``overlap_tokens`` a chunk that was cut off inside its section begins again with the last sentences before it.
* The cap holds for the *embedded* text, the model's prompt for documents and special tokens included, as
  :func:`embedded_text` puts it together.

The document is tokenised once; a chunk's ids are taken from that where this is exact, else the chunk is tokenised. They
go to the embedder as they are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from headwater.chunking.context import context, embedded_text
from headwater.chunking.headers import TableHeaders
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

CODE_VERSION = "4"

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
    heads: dict[tuple[tuple[str, ...], str], list[int]] = {}
    special = len(vocabulary.prefix) + len(vocabulary.suffix)
    cap = policy.max_tokens - policy.overlap_tokens

    found = units(document)
    headers = TableHeaders(found, text)

    def head(section: tuple[str, ...], header: str) -> list[int]:
        """Return the ids of what stands before a chunk's own text."""
        if (section, header) not in heads:
            heads[section, header] = vocabulary.ids(prompt + context(title, section, policy, tokenizer, header))
        return heads[section, header]

    def room(section: tuple[str, ...]) -> int:
        """Return how many tokens a chunk's own text may have."""
        return max(1, cap - special - len(head(section, "")))

    def room_at(section: tuple[str, ...], most: int, start: int) -> int:
        """Return what is left of the room ``most`` where the chunk begins at ``start``: less within a table."""
        header = headers.at(start, most)
        return most - len(head(section, header)) + len(head(section, "")) if header else most

    passages: list[Passage] = []
    for block in sections(found):
        most = partial(room_at, block[0].section, room(block[0].section))
        passages += pack([part for unit in block for part in divide(unit, text, most)], text, most)
    joined = join_tiny(
        passages,
        is_tiny=lambda passage: text.weight(passage.start, passage.end) < policy.min_tokens,
        fits=lambda passage: (
            text.weight(passage.start, passage.end) <= room_at(passage.section, room(passage.section), passage.start)
        ),
    )
    if policy.overlap_tokens:
        joined = with_overlap(joined, text, policy.overlap_tokens)

    pages = Pages(document)

    def embedded_ids(passage: Passage, header: str) -> tuple[int, ...]:
        before = head(passage.section, header)
        lines = context(title, passage.section, policy, tokenizer, header)
        if (not before or (prompt + lines)[-1:].isspace()) and text.is_exact(passage.start, passage.end):
            return (*vocabulary.prefix, *before, *text.ids(passage.start, passage.end), *vocabulary.suffix)
        return tuple(vocabulary.model_ids(f"{prompt}{lines}{document.text[passage.start : passage.end]}"))

    chunks: list[Chunk] = []
    pending = joined[::-1]
    while pending:
        passage = pending.pop()
        if passage.own_start is not None and chunks and passage.start <= chunks[-1].start:
            passage = replace(passage, start=passage.own_start, own_start=None)  # the one before was halved
        piece = document.text[passage.start : passage.end]
        header = headers.at(passage.start, room(passage.section))
        ids = embedded_ids(passage, header)
        if header and len(ids) > policy.max_tokens:
            header, ids = "", embedded_ids(passage, "")
        if len(ids) <= policy.max_tokens:
            start, end = passage.start, passage.end
            page, breaks = pages.at(start), pages.inside(start, end)
            chunks.append(Chunk(piece, start, end, passage.section, page, len(ids), ids, breaks, header or None))
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
