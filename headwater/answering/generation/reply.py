"""What a model is asked to write, and reading it while it is being written.

The reply is one JSON object, ``{"refused": false, "sentences": [{"text": "...", "cites": [1, 3]}]}``. Its schema admits
only the numbers of the passages that were given, so a server with structured output can't write any other; what comes
from a server without is read by the same rules.
"""

from __future__ import annotations

from typing import Any

from headwater.answering.contract import Draft
from headwater.errors import GenerationError

MAX_CITES = 3
"""Passages of one sentence; ClapNQ's annotators needed one or two (Rosenthal et al. 2024)."""

_BARE_CONTROLS = dict.fromkeys(range(32), " ")
"""A line break or the like that stands in a string as it is: no JSON, but vLLM's grammars for strings of limited length
let it through (seen with 0.32)."""


def answer_schema(passages: int, max_sentences: int, max_characters: int) -> dict[str, Any]:
    """Return the JSON Schema of a reply from ``passages`` passages, numbered from 1.

    Uses only what xgrammar, guidance and outlines (vLLM's back ends) all turn into a grammar.
    """
    cites = {
        "type": "array",
        "items": {"type": "integer", "enum": list(range(1, passages + 1))},
        "minItems": 1,
        "maxItems": MAX_CITES,
    }
    sentence = {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": max_characters}, "cites": cites},
        "required": ["text", "cites"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        # In this order: a refusal is known before any sentence.
        "properties": {
            "refused": {"type": "boolean"},
            "sentences": {"type": "array", "items": sentence, "maxItems": max_sentences},
        },
        "required": ["refused", "sentences"],
        "additionalProperties": False,
    }


class ReplyReader:
    """Reads a reply piece by piece: ``feed`` returns the drafts that a piece completes.

    ``refused`` is None until the reply says; ``complete`` once its last brace has come. ``passages`` is how many were
    given; a cite of any other number is left out of the draft, one of no passage at all becomes a draft without cites.
    """

    def __init__(self, passages: int) -> None:
        import ijson

        self.refused: bool | None = None
        self.complete = False
        self._passages = passages
        self._events: list[tuple[str, str, Any]] = ijson.sendable_list()
        self._parser = ijson.parse_coro(self._events)
        self._begun = False
        self._text: str | None = None
        self._cites: list[int] = []

    def feed(self, piece: str) -> list[Draft]:
        """Return the drafts that are complete with ``piece``; GenerationError ``malformed`` for what is no reply."""
        import ijson

        if self.complete:
            return []
        if not self._begun:  # some models put a word or a code fence before the object
            start = piece.find("{")
            if start < 0:
                return []
            piece, self._begun = piece[start:], True
        try:
            self._parser.send(piece.translate(_BARE_CONTROLS).encode("utf-8", "replace"))
        except ijson.JSONError:
            # What follows the object on the same piece (a closing code fence) is no part of it.
            if not any(event == ("", "end_map", None) for event in self._events):
                raise GenerationError("the language model wrote what is no JSON", "malformed") from None
        drafts = [draft for event in self._events if (draft := self._take(*event)) is not None]
        del self._events[:]
        return drafts

    def _take(self, prefix: str, event: str, value: Any) -> Draft | None:
        match prefix, event:
            case "", "end_map":
                self.complete = True
            case "", "start_array":
                raise GenerationError("the language model wrote JSON of another form", "malformed")
            case "refused", "boolean":
                self.refused = value
            case "sentences.item", "start_map":
                self._text, self._cites = None, []
            case "sentences.item.text", "string":
                self._text = value
            case "sentences.item.cites.item", "number":
                self._cites.append(value)
            case "sentences.item", "end_map":
                return self._draft()
        return None

    def _draft(self) -> Draft | None:
        text = " ".join((self._text or "").split())
        if not text:
            return None
        given = [cite for cite in self._cites if isinstance(cite, int) and 1 <= cite <= self._passages]
        return Draft(text, tuple(cite - 1 for cite in dict.fromkeys(given))[:MAX_CITES])
