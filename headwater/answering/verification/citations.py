"""From aligned words to what a reader sees: citations of whole source sentences, and spans to highlight."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.answering.verification.alignment import Tiling
from headwater.answering.verification.evidence import SourceSentence
from headwater.answering.verification.tokens import Token
from headwater.types import Alignment, Citation, Passage

BRIDGE = 2
"""Aligned runs with at most this many unaligned function words between them, on both sides, are shown as one."""


def cite(passage: Passage, start: int, end: int) -> Citation:
    """Return the citation of ``passage.text[start:end]``, with the pages on which these words begin and end."""
    return Citation(
        doc=passage.doc_id,
        start=passage.start + start,
        end=passage.start + end,
        quote=passage.text[start:end],
        key=passage.key,
        title=passage.title,
        section=passage.section,
        page=passage.page_at(passage.start + start),
        revision=passage.revision,
        chunk_id=passage.chunk_id,
        last_page=passage.page_at(passage.start + max(start, end - 1)),
    )


def citations_of(
    chosen: Sequence[SourceSentence], used: set[int], passages: Sequence[Passage]
) -> tuple[tuple[Citation, ...], list[int]]:
    """Return the runs of source sentences that hold a ``used`` content token, and each chosen sentence's run (or -1).

    Sentences next to each other make one run. Runs of one document stand in reading order.
    """
    runs: list[tuple[int, int, int]] = []
    of: list[int] = []
    first = 0
    for sentence in chosen:
        span = range(first, first + len(sentence.tokens))
        first = span.stop
        if not any(j in used and sentence.tokens[j - span.start].is_content for j in span):
            of.append(-1)
            continue
        last = runs[-1] if runs else None
        gap = passages[sentence.passage].text[last[2] : sentence.start] if last else ""
        if last and last[0] == sentence.passage and last[2] <= sentence.start and not gap.strip():
            runs[-1] = (last[0], last[1], sentence.end)
        else:
            runs.append((sentence.passage, sentence.start, sentence.end))
        of.append(len(runs) - 1)
    return tuple(cite(passages[passage], start, end) for passage, start, end in runs), of


def alignments_of(
    tokens: Sequence[Token],
    source: Sequence[Token],
    chosen: Sequence[SourceSentence],
    tiling: Tiling,
    runs: Sequence[int],
    passages: Sequence[Passage],
) -> tuple[Alignment, ...]:
    """Return the aligned spans of the draft in order; ``runs`` are those of :func:`citations_of`."""
    owner = [number for number, sentence in enumerate(chosen) for _ in sentence.tokens]
    spans: list[tuple[int, int, int, int]] = []
    for i in range(len(tokens)):
        j = tiling.source_of[i]
        if j < 0:
            continue
        if spans:
            first, last, from_, to = spans[-1]
            close = 0 < i - last <= BRIDGE + 1 and 0 < j - to <= BRIDGE + 1 and owner[j] == owner[to]
            between = (*tokens[last + 1 : i], *source[to + 1 : j])
            if close and not any(token.is_content for token in between):
                spans[-1] = (first, i, from_, j)
                continue
        spans.append((i, i, j, j))
    found = []
    for first, last, from_, to in spans:
        sentence = chosen[owner[from_]]
        offset = passages[sentence.passage].start
        if runs[owner[from_]] >= 0:
            found.append(
                Alignment(
                    tokens[first].start,
                    tokens[last].end,
                    runs[owner[from_]],
                    offset + source[from_].start,
                    offset + source[to].end,
                )
            )
    return tuple(found)
