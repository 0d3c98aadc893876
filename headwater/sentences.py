"""Sentence borders by a small set of rules for English and for scripts with their own full stop.

A sentence ends at a line break that separates (below), at ``。！？`` and their kin, or at ``. ! ? …`` with closing quotes
and brackets, before white space and something that can begin a sentence: anything but a lower-case letter. A full
stop does not end a sentence after an abbreviation that stands before its word ("Dr.", "e.g.", "Fig."), after a list
number ("1.") or after an initial; after an abbreviation that may also stand last ("Inc.", "U.S.", "p.m.") only if a
word follows that usually opens a sentence. A stop without white space after it ("3.14", "example.org") ends nothing.

A line break separates, so that headings, list items and table rows are sentences of their own, unless the line was
wrapped: the next line begins with a lower-case letter, or this one ends with a comma or a word that can't end one.
"""

from __future__ import annotations

import re

# Never last in a sentence: titles, and words that point at what follows.
_LEADING_WORDS = """
    dr mr mrs ms mx prof st rev hon gen col capt cmdr lt maj sgt gov sen rep pres e.g i.e cf viz vs approx ca fig figs
    eq eqs no nos vol vols p pp ch sec art para dept mt ft jan feb mar apr jun jul aug sep sept oct nov dec
"""
# Of these, words of their own: abbreviations only before a number.
_NUMBERING_WORDS = "no nos art mar dec sec p ch"
# Last in a sentence, or not: decided by the next word.
_EITHER_WORDS = "etc inc ltd co corp llc bros jr sr ph.d m.d b.a m.a a.m p.m ed eds al est"
_OPENING_WORDS = """
    A An The This That These Those There Here It Its He She We You They I My Our Your Their His Her In On At By For From
    To With Without As If When While After Before Since Because Although Though But And Or So Yet However Therefore
    Moreover Also Then Thus No Not Some Most Many All Each Every Both Please What Who How Why Where Which
"""
_DANGLING_WORDS = "a an the of to and or in on at by with for from as is are was were be that which"
_LEADING = frozenset(_LEADING_WORDS.split())
_NUMBERING = frozenset(_NUMBERING_WORDS.split())
_EITHER = frozenset(_EITHER_WORDS.split())
_OPENERS = frozenset(_OPENING_WORDS.split())
_DANGLING = frozenset(_DANGLING_WORDS.split())


_WIDE_STOPS = "。！？｡।॥።"
_CLOSERS = "\"'”’»)\\]}*_`」』）】"
_STOP = re.compile(rf"[{_WIDE_STOPS}]+[{_CLOSERS}]*|[.!?…]+[{_CLOSERS}]*(?=\s)")
_BREAK = re.compile(r"\n\s*")
_LIST_ITEM = re.compile(r"(?:[-*+•◦▪‣·–—]|\(?\d{1,3}[.)]|\(?[A-Za-z][.)])\s|[#|>]")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘*_`]+$")
_NEXT_WORD = re.compile(r"\w+")
_LIST_NUMBER = re.compile(r"\(?(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[ivxIVX]{1,5})")
_ACRONYM = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Return the sentences as ``(start, end)`` character offsets: in order, trimmed, together all that is no space."""
    sentences: list[tuple[int, int]] = []
    for start, end in _lines(text):
        position = start
        for match in _STOP.finditer(text, start, end):
            if match.end() < end and _ends_sentence(text, position, match, end):
                sentences.append((position, match.end()))
                position = match.end()
                while position < end and text[position].isspace():
                    position += 1
        if position < end:
            sentences.append((position, end))
    return sentences


def _lines(text: str) -> list[tuple[int, int]]:
    """Return the trimmed runs of text between separating line breaks."""
    start = len(text) - len(text.lstrip())
    stop = len(text.rstrip())
    lines: list[tuple[int, int]] = []
    for match in _BREAK.finditer(text, start, stop):
        # The line's last character is looked for from its end: a pattern that allowed for spaces before the break
        # would be tried at each of them, which takes long in a table padded with spaces.
        end = match.start()
        while text[end - 1].isspace():
            end -= 1
        if not _wrapped(text, start, end, match):
            lines.append((start, end))
            start = match.end()
    if start < stop:
        lines.append((start, stop))
    return lines


def _wrapped(text: str, start: int, end: int, line_break: re.Match[str]) -> bool:
    """Return whether a sentence goes on after the line break, which follows the line ``text[start:end]``."""
    before, after = text[max(start, end - 40) : end], line_break.end()
    if line_break[0].count("\n") > 1 or _LIST_ITEM.match(text, after) or before.endswith((":", "|", "\t", ";")):
        return False
    if before.endswith((".", "!", "?")) and not _opens_lower(text, after):
        return False
    return _opens_lower(text, after) or before.endswith(",") or before.rpartition(" ")[2] in _DANGLING


def _opens_lower(text: str, position: int) -> bool:
    return text[position : position + 1].islower()


def _ends_sentence(text: str, start: int, match: re.Match[str], end: int) -> bool:
    stop = match[0]
    if stop[0] in _WIDE_STOPS:
        return True
    after = match.end()
    while after < end and text[after].isspace():
        after += 1
    following = text[after:end] if after + 40 >= end else text[after : after + 40]
    if following[:1].islower():
        return False
    if stop[0] != "." or stop.startswith(".."):
        return True
    before = _LAST_WORD.search(text, max(start, match.start() - 40), match.start())
    word = before[0] if before else ""
    if before and before.start() == start and _LIST_NUMBER.fullmatch(word):
        return False
    lowered = word.lower()
    if lowered in _LEADING:
        return lowered in _NUMBERING and not following[:1].isdigit()
    if lowered in _EITHER or _ACRONYM.fullmatch(word) or (len(word) == 1 and word.isupper()):
        opener = _NEXT_WORD.match(following)
        return opener is not None and opener[0] in _OPENERS
    return True
