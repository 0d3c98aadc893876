"""Which sentences of the passages could be an answer, and what each needs beside it to be understood."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headwater.answering.questions import is_question
from headwater.injection import instruction_spans
from headwater.sentences import split_sentences
from headwater.types import Passage

MIN_WORDS = 4
"""Shorter pieces are fragments, unless they directly answer a question that stands before them."""

HEADING_WORDS = 5
"""A line of at most this many words without closing punctuation is taken for a heading."""

SHORT_WORDS = 8
"""A sentence of fewer words is scored together with its heading: alone it rarely says what it is about."""

MAX_LINK_SHARE = 0.6
"""A line with more than this share of its characters in links is navigation."""

_WORD = re.compile(r"\w+")
_LINK = re.compile(r"!?\[[^\]\n]*\]\([^)\s]*\)|<?https?://\S+|www\.\S+")
_LIST_MARKER = re.compile(r"^\s*(?:[-*+•‣▪]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s+")
_CLOSING = re.compile(r"[.!?:;…。！？]['\"”’)\]*_]*\s*$")


@dataclass(frozen=True, slots=True)
class Candidate:
    """``passage.text[start:end] == text`` is the sentence; ``rank`` counts the passages from 0, best first.

    ``scored`` is what is embedded: the sentence, with the question or heading before it where it needs that.
    """

    rank: int
    start: int
    end: int
    text: str
    scored: str


def candidates(passages: Sequence[Passage]) -> list[Candidate]:
    """Return the sentences worth scoring, in the order of the passages; overlapping passages give each span once."""
    seen: set[tuple[str, int, int]] = set()
    result = []
    for rank, passage in enumerate(passages):
        for candidate in _of_passage(rank, passage):
            span = (passage.doc_id, passage.start + candidate.start, passage.start + candidate.end)
            if span not in seen:
                seen.add(span)
                result.append(candidate)
    return result


def _of_passage(rank: int, passage: Passage) -> Iterator[Candidate]:
    headings = {_bare(name) for name in (*passage.section, passage.title)}
    heading = passage.section[-1] if passage.section else passage.title
    question: str | None = None
    told = instruction_spans(passage.text)
    for start, end in split_sentences(passage.text):
        if any(start < stop and end > begin for begin, stop, _ in told):
            question = None  # nothing that tells a model what to do is quoted
            continue
        text = passage.text[start:end]
        if not text.strip() or _is_rule(text) or _is_links(text):
            continue
        if is_question(text):
            question = text
            continue
        if _is_heading(text, headings, passage.text, start, end):
            heading, question = text, None
            continue
        words = len(_WORD.findall(text))
        if words >= MIN_WORDS or (question and words):
            context = question or (heading if words < SHORT_WORDS else "")
            yield Candidate(rank, start, end, text, f"{context}\n{text}" if context else text)
        question = None


def _bare(line: str) -> str:
    return " ".join(_WORD.findall(line)).casefold()


def _is_rule(text: str) -> bool:
    """A table's separator row, a horizontal rule, a row of empty cells: nothing with a letter or digit."""
    return _WORD.search(text.replace("_", "")) is None


def _is_links(text: str) -> bool:
    linked = sum(len(match.group()) for match in _LINK.finditer(text))
    return linked > MAX_LINK_SHARE * len(_LIST_MARKER.sub("", text).strip())


def _is_heading(text: str, headings: set[str], passage: str, start: int, end: int) -> bool:
    if text.lstrip().startswith("#") or _bare(text) in headings:
        return True
    alone = passage[:start].rstrip(" \t")[-1:] in ("", "\n") and passage[end:].lstrip(" \t")[:1] == "\n"
    if not alone or "|" in text or "\t" in text or _LIST_MARKER.match(text) or _CLOSING.search(text):
        return False
    return len(_WORD.findall(text)) <= HEADING_WORDS
