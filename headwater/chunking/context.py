"""What is embedded: the chunk's text under one line that says where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from headwater.embedding.tokenizing import text_tokenizer
from headwater.policies import ChunkPolicy

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEPARATOR = " > "


def embedded_text(
    title: str,
    section: Sequence[str],
    text: str,
    policy: ChunkPolicy,
    tokenizer: Tokenizer,
    *,
    table_header: str | None = None,
) -> str:
    """Return the text that the embedding model and BM25 see of a chunk.

    That is the title and the section path in one line, the header of the table that the chunk begins within, then the
    chunk's text; with ``policy.context`` False the chunk's text alone.
    """
    return f"{context(title, tuple(section), policy, tokenizer, table_header)}{text}"


def context(
    title: str, section: tuple[str, ...], policy: ChunkPolicy, tokenizer: Tokenizer, table_header: str | None = None
) -> str:
    """Return what stands before a chunk's own text: '', or lines with the break after the last."""
    lines = (context_line(title, section, policy, tokenizer), table_header if policy.context else None)
    return "".join(f"{line}\n" for line in lines if line)


@lru_cache(maxsize=4096)
def context_line(title: str, section: tuple[str, ...], policy: ChunkPolicy, tokenizer: Tokenizer) -> str:
    """Return ``title > outer heading > ... > inner heading`` within the policy's token limit.

    The limit is ``max_context_tokens``, and a quarter of ``max_tokens`` at most. Too long a path loses its outer
    headings first; what is still too long is cut at a word, or anywhere in a long word.
    """
    if not policy.context:
        return ""
    limit = min(policy.max_context_tokens, policy.max_tokens // 4)
    parts = [" ".join(part.split()) for part in (title, *section)]
    parts = [part for index, part in enumerate(parts) if part and part not in parts[:index]]
    line = SEPARATOR.join(parts)
    while len(parts) > 2 and _count(line, tokenizer) > limit:
        del parts[1]
        line = SEPARATOR.join(parts)
    while line and _count(line, tokenizer) > limit:
        ends = [end for _, end in tokenizer.encode(line, add_special_tokens=False).offsets]
        # One token fewer each time: a cut inside a word can give it more tokens than it had.
        cut = ends[limit - 1] if limit and ends[limit - 1] < len(line) else len(line) * limit // (limit + 1)
        line = line[: max(line.rfind(" ", cut // 2, cut + 1), 0) or cut].rstrip()
    return line


def _count(line: str, tokenizer: Tokenizer) -> int:
    return len(text_tokenizer(tokenizer).ids(line))
