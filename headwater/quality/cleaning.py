"""What cleaning changes in a text, as edits, so that offsets can follow.

Removed: control and zero-width characters, byte-order marks, soft hyphens, direction marks, invisible tag characters
(they can hide instructions), spaces at line ends. Joiners and variation selectors stay beside emoji and in scripts that
need them; between Latin letters, where they could hide an address, they go. Replaced: every kind of line break by a
newline, every kind of space by a plain one, runs of replacement characters by one, three and more blank lines by one,
what is not composed by its NFC form. On request, links are shortened or removed and long runs of one sign are cut.
Cleaning a cleaned text changes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import regex  # type: ignore[import-untyped]

from headwater.characters import UNSEEN, stray_spans
from headwater.edits import Edit, apply_edits
from headwater.policies import QualityPolicy

_BREAKS = "\r\x0b\x0c\x85\u2028\u2029"
_SPACES = "\xa0\u1680\u2000-\u200a\u202f\u205f"
# One character after which something must change: an odd one, a space at a line's or the text's end, the first of
# four newlines. It starts with a set, which re scans for without trying anything else.
_TRIGGER = re.compile(
    rf"[ \t\n{UNSEEN}{_BREAKS}{_SPACES}\ufffd\ud800-\udfff]"
    rf"(?:(?<=[ \t])(?:\n|\Z)|(?<=\n)\n{{3}}|(?<=[^ \t\n\ufffd])|(?<=\ufffd)[{UNSEEN}]*[\ufffd\ud800-\udfff])"
)
_WHITE = re.compile(f"[ \\t\\n{UNSEEN}{_BREAKS}{_SPACES}]+")
# Replacement characters, and lone surrogates, which have no UTF-8 form.
_LOST = re.compile(f"[\ufffd\ud800-\udfff](?:[{UNSEEN}]*[\ufffd\ud800-\udfff])*")
_DELETE = re.compile(f"[{UNSEEN}]+")
_BREAK = re.compile(f"\r\n|[\n{_BREAKS}]")
_SPACE = re.compile(f"[{_SPACES}]")
_MOST_NEWLINES = 3
# No canonical composition goes beyond an extended grapheme cluster, so each can be composed alone.
_CLUSTER = regex.compile(r"\X")
_LINE = re.compile("[^\n]+")
# A link ends before the signs that end the sentence or bracket around it.
_BRACKETS = r"\([^\s<>()]*\)"
_LINK_SIGN = r"[^\s<>\"'()\[\]{}|\\^`]"
_LINK = re.compile(
    rf"(?<![\w@.])(?:https?://|www\.)(?:{_LINK_SIGN}|{_BRACKETS})*(?:(?![.,:;!?*_]){_LINK_SIGN}|{_BRACKETS})",
    re.IGNORECASE,
)
# With the space before it, where what follows needs none.
_LINK_WITH_SPACE = re.compile(rf"(?: (?={_LINK.pattern}(?:\s|\Z)))?{_LINK.pattern}", re.IGNORECASE)
_HOST = re.compile(r"(?:https?://)*(?:[^/?#\s@]*@)?(?:www\.)*([^/?#:\s]*)", re.IGNORECASE)


def clean_edits(text: str) -> list[Edit]:
    """Return the edits that clean ``text``, sorted and not overlapping; empty for a clean text."""
    edits: list[Edit] = []
    end = 0
    while trigger := _TRIGGER.search(text, end):
        start = trigger.start()
        lost = _LOST.match(text, start)
        if lost:
            edits.append(Edit(start, lost.end(), "\ufffd"))
            end = lost.end()
            continue
        # The whole run of white space changes together. What precedes the trigger in it is plain.
        while start > end and text[start - 1] in " \t\n":
            start -= 1
        run = _WHITE.match(text, start)
        assert run is not None  # it holds the trigger
        end = run.end()
        edits.append(Edit(start, end, _white_space(run.group(), end == len(text))))
    return edits


def stray_edits(text: str) -> list[Edit]:
    """Return the edits that remove joiners and the like where they mean nothing, sorted and not overlapping."""
    return [Edit(start, end) for start, end in stray_spans(text)]


def clean_steps(text: str, policy: QualityPolicy) -> Iterator[list[Edit]]:
    """Yield the edits that clean ``text`` as the policy says, a list per step: each is of the text that the one before
    left, and none is empty."""
    for find in (stray_edits, clean_edits, composing_edits):
        if edits := find(text):
            yield edits
            text = apply_edits(text, edits)
    if policy.urls == "keep" and not policy.max_symbol_run:
        return
    while edits := _content_edits(text, policy):  # a link that is gone may have joined two runs of signs
        yield edits
        text = apply_edits(text, edits)
    # A link that is gone leaves spaces, and joiners without what they stood beside.
    for find in (stray_edits, clean_edits):
        if edits := find(text):
            yield edits
            text = apply_edits(text, edits)


def composing_edits(text: str) -> list[Edit]:
    """Return the edits that bring ``text`` to NFC, sorted and not overlapping.

    Parsed text has that form, until a character goes that stood between a letter and its accent.
    """
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return []
    edits: list[Edit] = []
    for line in _LINE.finditer(text):
        if unicodedata.is_normalized("NFC", line.group()):
            continue
        for cluster in _CLUSTER.finditer(text, *line.span()):
            if (composed := unicodedata.normalize("NFC", cluster.group())) != cluster.group():
                edits.append(Edit(cluster.start(), cluster.end(), composed))
    return edits


def _content_edits(text: str, policy: QualityPolicy) -> list[Edit]:
    """Return the edits of links; where there is none left to make, those of runs of signs."""
    edits: list[Edit] = []
    if policy.urls == "shorten":
        for link in _LINK.finditer(text):
            host = _HOST.match(link.group())
            edits.append(Edit(link.start(), link.end(), host.group(1) if host else ""))
    elif policy.urls == "remove":
        edits = [Edit(*link.span()) for link in _LINK_WITH_SPACE.finditer(text)]
    if policy.max_symbol_run and not edits:
        runs = re.finditer(rf"([^\w\s])\1{{{policy.max_symbol_run},}}", text)
        edits = [Edit(run.start() + policy.max_symbol_run, run.end()) for run in runs]
    return edits


def _white_space(run: str, last: bool) -> str:
    """Return what a run of white space becomes; the last one of a text loses its spaces."""
    lines = _BREAK.split(_DELETE.sub("", run))
    breaks = len(lines) - 1
    if breaks > _MOST_NEWLINES:
        breaks = 2
    if last:
        return "\n" * breaks
    indent = _SPACE.sub(" ", lines[-1])
    return "\n" * breaks + indent
