"""What a sentence puts in quotation marks stands word for word in its source, or it is no quotation."""

from __future__ import annotations

import re
from bisect import bisect_right

from headwater.answering.verification.tokens import fold

# Each alternative begins with its own mark and is bounded, so that the search is linear.
_QUOTED = re.compile(
    r"“([^“”]{1,1500})”|„([^„“”]{1,1500})[“”]|«([^«»]{1,1500})»|»([^«»]{1,1500})«|「([^「」]{1,1500})」"
    r"|``([^`']{1,1500})''|(?<![\w\"])\"([^\"\n]{1,1500})\"(?![\w\"])"
    r"|(?<![\w'’])[‘']((?=[^\s])[^‘’'\n]{1,300}(?:['’]\w[^‘’'\n]{0,300}){0,8})[’'](?!\w)"
)
_WORD = re.compile(r"\w+")
_CUT = re.compile(r"\[?(?:…|\.\.\.)\]?")


def quotations(text: str) -> list[str]:
    """Return what stands in quotation marks; a quotation with words left out ("…") gives its parts."""
    found: list[str] = []
    for match in _QUOTED.finditer(text):
        quoted = match.group(match.lastindex or 0)
        found += [part for part in _CUT.split(quoted) if _WORD.search(part)]
    return found


class QuotedText:
    """A source to look quotations up in: by its words, whatever stands between them and however they are capitalised."""

    def __init__(self, text: str) -> None:
        self._spans: list[tuple[int, int]] = []
        self._offsets: list[int] = []
        parts: list[str] = []
        length = 1
        for match in _WORD.finditer(text):
            word = fold(match.group()).strip("_")
            if word:
                self._spans.append(match.span())
                self._offsets.append(length)
                parts.append(word)
                length += len(word) + 1
        self._joined = " " + " ".join(parts) + " "

    def find(self, quoted: str) -> tuple[int, int] | None:
        """Return the character span in the source that holds the words of ``quoted`` in their order, None if none does."""
        words = [word for match in _WORD.finditer(quoted) if (word := fold(match.group()).strip("_"))]
        at = self._joined.find(" " + " ".join(words) + " ")
        if not words or at < 0:
            return None
        first = bisect_right(self._offsets, at + 1) - 1
        return self._spans[first][0], self._spans[first + len(words) - 1][1]
