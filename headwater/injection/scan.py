"""Instructions to a model in a text: where they stand, how sure that is, and what gives them away.

Four things are looked for: instructions that say so (``patterns``), requests that have nothing to do with the text
around them (``requests``, ``model``), text that nobody sees, and either of the first two in an encoding (``encoded``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from headwater.injection.characters import UNSEEN, fold, has_unseen, is_look_alike, tag_text, without_unseen
from headwater.injection.encoded import decoded
from headwater.injection.model import score
from headwater.injection.patterns import Span, explicit_spans
from headwater.injection.requests import Request, requests

Reason = Literal[
    "none", "override", "role", "secrecy", "exfiltration", "markers", "reply", "request", "code", "hidden", "look_alikes",
    "encoded", "metadata", "unread",
]  # fmt: skip

FLAGGED = 0.5
"""Scores from here on count, unless a policy says otherwise."""

_HIDDEN = 0.95
_RUN = 8
"""So many invisible characters in a row carry a byte or more; texts from the web have one or two between words."""

_TAGGED = 4
_OVERRIDES = ("\u202d", "\u202e")
_OVERRIDE_SCORE = 0.6
_LINE = 600
"""Characters that a span grows by at most, to the end of its line."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The likeliest instruction of a text: ``text[start:end]``; both 0 where it has none there."""

    score: float
    reason: Reason
    start: int = 0
    end: int = 0


def scan(text: str, metadata: Iterable[str] = ()) -> Finding:
    """Return the likeliest instruction in ``text``, as it was parsed, and in what the file says of itself.

    A score of 0 and the reason ``none`` where there is none at all. Never raises.
    """
    found = [Finding(span.score, span.reason, span.start, span.end) for span in _every(text)]  # type: ignore[arg-type]
    for value in metadata:
        hidden = [Span(0, 0, _HIDDEN, "hidden")] if _has_hidden(value) else []
        found += [Finding(span.score, "metadata") for span in (*explicit_spans(without_unseen(value)[0]), *hidden)]
    return max(found, key=lambda finding: finding.score, default=Finding(0.0, "none"))


def instruction_spans(text: str, threshold: float = FLAGGED) -> list[tuple[int, int, float]]:
    """Return (start, end, score) of what in ``text`` reads like an instruction to a model, apart and in order.

    A span that says so outright goes from its sentence's start to the end of its line, one about code to the end of the
    code.
    """
    merged: list[tuple[int, int, float]] = []
    for span in sorted(_every(text), key=lambda span: span.start):
        if span.score < threshold:
            continue
        start, end = _grown(text, span)
        if merged and start < merged[-1][1]:
            first, last, before = merged[-1]
            merged[-1] = (first, max(last, end), max(before, span.score))
        else:
            merged.append((start, end, span.score))
    return merged


def _every(text: str) -> Iterator[Span]:
    seen, offsets = without_unseen(text)
    folded = fold(seen)
    for span in _visible(folded):
        yield _original(span, text, offsets)
    yield from _hidden(text)
    for start, end, said in decoded(seen):
        best = max((span.score for span in _visible(fold(said))), default=0.0)
        if best >= FLAGGED:
            yield _original(Span(start, end, max(best, _HIDDEN), "encoded"), text, offsets)


def _visible(folded: str) -> Iterator[Span]:
    yield from explicit_spans(folded)
    for request in requests(folded):
        yield Span(request.start, request.end, score(request.features), _kind(request))


def _kind(request: Request) -> str:
    if "code_block" in request.features:
        return "code"
    return "reply" if "reply_your" in request.features else "request"


def _original(span: Span, text: str, offsets: list[int] | None) -> Span:
    """Return a span of the visible text as one of the whole text; what was written to be missed counts for more."""
    start, end = span.start, span.end
    reason, value = span.reason, span.score
    if offsets is not None:
        start, end = offsets[start], offsets[end - 1] + 1
        if end - start > span.end - span.start and _obfuscates(text[start:end]) and value >= FLAGGED:
            reason, value = "hidden", max(value, _HIDDEN)
    if value >= FLAGGED and is_look_alike(text[start:end]):
        reason, value = "look_alikes", max(value, _HIDDEN)
    return Span(start, end, value, reason)


def _obfuscates(piece: str) -> bool:
    """Return whether unseen characters part letters of ASCII; a soft hyphen does that in any web page."""
    runs = (match for match in UNSEEN.finditer(piece) if not match.lastgroup)
    return any(match[0].strip("\xad") and piece[max(match.start() - 1, 0)].isascii() for match in runs)


def _hidden(text: str) -> Iterator[Span]:
    if text.isascii() or not has_unseen(text):
        return
    for match in UNSEEN.finditer(text):
        if match.lastgroup:
            continue
        run = match[0]
        if len(run) >= _RUN or len(tag_text(run)) >= _TAGGED:
            yield Span(match.start(), match.end(), _HIDDEN, "hidden")
        elif any(mark in run for mark in _OVERRIDES) and _is_latin(text[match.end() : match.end() + 20]):
            yield Span(match.start(), match.end(), _OVERRIDE_SCORE, "hidden")


def _has_hidden(text: str) -> bool:
    return any(span.score >= _HIDDEN for span in _hidden(text))


def _is_latin(text: str) -> bool:
    return sum(character.isascii() and character.isalpha() for character in text) > len(text) / 2


def _grown(text: str, span: Span) -> tuple[int, int]:
    start, end = span.start, span.end
    if span.reason == "request":
        return start, end
    if span.reason == "code":
        fence = text.find("```", end, end + 4)
        closing = text.find("```", fence + 3) if fence >= 0 else text.find("\n\n", end)
        return start, len(text) if closing < 0 else closing + 3 * (fence >= 0)
    low = max(0, start - _LINE)
    start = max(
        [
            low,
            *(text.rfind(mark, low, start) + len(mark) for mark in ("\n", ". ", "! ", "? ") if mark in text[low:start]),
        ]
    )
    line_end = text.find("\n", end, end + _LINE)
    return start, min(end + _LINE, len(text)) if line_end < 0 else line_end
