"""Instructions to a model that say so: to ignore what it was told, to play a role, to keep something from the user.

Each pattern names a family; what a document says *about* such attacks matches as well, which is why a corpus on
security may want to flag rather than quarantine. All families are looked for in one scan with Hyperscan; the few
patterns that occur are then matched by ``re``, so findings are the same where Hyperscan is not installed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from headwater.injection.characters import fold
from headwater.injection.markers import ROLE_LINE, TEMPLATE_TOKEN

try:
    import hyperscan
except ImportError:  # no wheel for this platform
    hyperscan = None  # type: ignore[assignment,unused-ignore]

Family = Literal["override", "role", "secrecy", "exfiltration", "markers", "reply"]


@dataclass(frozen=True, slots=True)
class Span:
    """``text[start:end]`` reads like an instruction to a model; ``score`` lies in 0..1, ``reason`` is a stable code."""

    start: int
    end: int
    score: float
    reason: str


_SAID = r"(?:instructions?|prompts?|rules?|guidelines?|directives?|commands?|constraints?|training|programming)"
_BEFORE = (
    r"(?:previous|prior|preceding|above|earlier|foregoing|former|initial|original|existing|system|safety|developer)"
)
_ANY = r"(?:all|any|every|each|your|the|these|those|my|of|other|and|or)"
_REPLY = r"(?:response|answer|reply|output|completion|generation)s?"
_GAP = r"[^.!?\n]{0,60}"

_PATTERNS: tuple[tuple[Family, float, str], ...] = (
    ("override", 1.0, rf"\b(?:ignore|disregard|forget|override|bypass|discard|neglect|abandon)\s+(?:{_ANY}\s+){{0,5}}{_BEFORE}\s+(?:{_ANY}\s+){{0,2}}(?:\w+\s+){{0,2}}{_SAID}"),
    ("override", 1.0, rf"\b(?:ignore|disregard|forget|override|bypass|discard)\s+(?:{_ANY}\s+){{0,4}}{_SAID}\s+(?:you|that\s+(?:you|were)|from\s+(?:above|before|your)|above|given|before|so\s+far|prior)"),
    ("override", 1.0, r"\b(?:ignore|disregard|forget)\s+(?:everything|anything|all|whatever)\s+(?:\w+\s+){0,3}(?:above|before|previously|prior|earlier|said|told|learned|so\s+far)"),
    ("override", 0.95, rf"\b(?:do\s+not|don'?t|stop|no\s+longer|never)\s+(?:follow|obey|adhere\s+to|comply\s+with|apply(?:ing)?|following|obeying)\s+(?:{_ANY}\s+){{0,3}}{_BEFORE}\s+{_SAID}"),
    ("override", 0.95, rf"\b(?:here\s+(?:are|is)|these\s+are|follow|obey|execute|read)\s+(?:your|the|these|my|only\s+these)\s+(?:new|real|true|actual|updated|following\s+new|hidden|secret)\s+{_SAID}"),
    ("override", 0.95, r"(?:^|[\n.!>*\[(])\s*(?:new|updated|real|important\s+new|additional|urgent)\s+(?:system\s+)?(?:instructions?|prompt|task|directive)s?\s*(?:for\s+(?:the\s+)?(?:ai|assistant|model|llm|chatbot)\w*)?\s*:"),
    ("override", 0.95, r"\b(?:end|start|begin(?:ning)?|beginning)\s+of\s+(?:the\s+)?(?:system\s+prompt|system\s+message|user\s+prompt|user\s+query)"),
    ("role", 0.95, r"\byou\s+are\s+now\s+(?:acting\s+as|called|named|dan\b|no\s+longer\s+(?:an?\s+|bound|required|restricted)|in\s+(?:\w+\s+)?mode\b|an?\s+(?:\w+\s+){0,3}(?:ai|assistant|bot|chatbot|language\s+model|llm|agent|hacker|pirate|persona|character|translator|poet))"),
    ("role", 0.95, r"\b(?:from\s+now\s+on|henceforth|starting\s+now),?\s+(?:you\s+(?:are|will\s+be)\s+(?:an?\s|called|named|dan\b)|you\s+(?:will|must|shall|should)?\s*(?:only\s+|always\s+)?(?:act|respond|answer|ignore|speak|obey|reply|pretend)\b|your\s+(?:name|role|task|goal)\s+is\b)"),
    ("role", 0.95, r"\b(?:act|behave|respond|pretend|role-?\s?play)\s+(?:as\s+(?:if|though)\s+you\s+(?:are|were)|as|like|to\s+be)\s+(?:an?\s+)?(?:\w+\s+){0,2}(?:ai|dan|llm|language\s+model|chat\s?bot|assistant\s+without|unrestricted|unfiltered|jailbroken)"),
    ("role", 0.9, r"\b(?:as|since|because)\s+(?:you\s+are\s+)?an?\s+(?:ai|artificial\s+intelligence|llm|large\s+language\s+model|language\s+model)(?:\s+(?:language\s+)?(?:model|assistant|agent))?,?\s+(?:you|it\s+is\s+your|your|please)\b"),
    ("role", 0.95, r"\b(?:enable|enter|activate|switch\s+(?:in)?to|turn\s+on)\s+(?:the\s+)?(?:dan|developer|debug|god|jailbreak|admin(?:istrator)?|unrestricted|sudo)\s+mode\b[^.\n]{0,40}\b(?:you|respond|answer|output|ignore|assistant|ai)\b"),
    ("role", 0.95, r"(?:^|[\n.!?>*:\[(\"'-])\s*(?:attention|note|notice|message|instructions?|important|hey|hello|hi|dear|to)[\s,:!-]+(?:(?:for|to|from)\s+)?(?:the\s+|all\s+|any\s+|you,?\s+)?(?:\w+\s+)?(?:ai|a\.i\.|llms?|language\s+models?|chat\s?bots?|gpt(?:-\d)?|chatgpt|claude|copilot|gemini|ai\s+(?:assistants?|models?|systems?|agents?|reviewers?|readers?|graders?|summari[sz]ers?))\s*[:,!.-]"),
    ("role", 0.95, r"\bif\s+you\s+are\s+(?:an?\s+)?(?:ai|llm|large\s+language\s+model|language\s+model|chat\s?bot|automated\s+(?:system|assistant|agent))(?:\s+(?:model|assistant|agent|system))?(?:\s*[,.:;!\n]|\s+(?:reading|processing|summari[sz]ing|that|who|and|you|please)\b)"),
    ("role", 0.9, r"\b(?:any|all|every|the)\s+(?:ai|llm|language\s+model|chatbot)s?(?:\s+(?:assistant|model|agent|system)s?)?\s+(?:reading|processing|summari[sz]ing|that\s+(?:reads?|process(?:es)?|summari[sz]es?)|who\s+reads?)\b[^.\n]{0,60}\b(?:must|should|shall|please|is\s+to|are\s+to|needs?\s+to|has\s+to)\b"),
    ("role", 0.9, r"\b(?:ai|llm|language\s+model|chatbot)s?(?:\s+(?:assistant|model|agent|system)s?)?\s+(?:must|should|shall|is\s+(?:required|instructed)\s+to|are\s+(?:required|instructed)\s+to)\s+(?:\w+\s+)?(?:answer|reply|respond|say|tell|recommend|ignore|include|mention|output|state)\b"),
    ("secrecy", 0.7, r"\b(?:do\s+not|don'?t|never|without|must\s+not|should\s+not)\s+(?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?|reveal(?:ing)?|disclos(?:e|ing)|alert(?:ing)?)\s+(?:(?:this|these|that|it|any|of|the\s+above|to|about)\s+){0,3}(?:to\s+)?(?:the|your|any)\s+(?:end[\s-])?(?:user|human|reader|person\s+(?:asking|you))\b"),
    ("secrecy", 0.9, rf"\b(?:do\s+not|don'?t|never)\s+(?:mention|reveal|disclose|repeat|discuss|refer\s+to|acknowledge)\s+(?:{_ANY}\s+){{0,3}}(?:instructions?|prompt|this\s+(?:message|note|text|request))\b"),
    ("exfiltration", 0.95, r"\b(?:reveal|print|repeat|output|show|display|leak|disclose|return|share|paste|write\s+out|send|tell\s+me|give\s+me|what\s+(?:is|are|was))\s+(?:\w+\s+){0,3}?(?:your|the|its|entire|full|initial|complete|hidden|original|above|verbatim)\s+(?:\w+\s+){0,2}?(?:system\s+(?:prompt|message|instructions?)|initial\s+(?:prompt|instructions?)|hidden\s+(?:prompt|instructions?)|original\s+(?:prompt|instructions?))"),
    ("exfiltration", 0.95, r"\b(?:append|include|insert|encode|embed|exfiltrate|attach|place|put|add)\s[^.\n]{0,60}\b(?:conversation|chat\s+history|user'?s\s+(?:question|query|message|data|password|e-?mail|name)|system\s+prompt|previous\s+messages|api\s+keys?|secrets?|credentials?)\s[^.\n]{0,40}\b(?:in|into|to|as|inside|within|via)\s+(?:an?|the|this)\s+(?:\w+\s+){0,2}(?:url|link|image|query\s+string|query\s+parameter|parameter|markdown|webhook)\b"),
    ("exfiltration", 0.9, r"\b(?:insert|include|add|append|embed|render|display|output|show|place)\s+(?:\w+\s+){0,3}?(?:following|this|below)\s+(?:\w+\s+)?(?:markdown\s+)?(?:link|image|url|img|hyperlink)\b[^.\n]{0,40}\b(?:response|answer|reply|output|summary|user|every)\b"),
    ("reply", 0.95, r"\b(?:respond|reply|answer|output)\s+(?:only|exclusively|solely|simply|just|always)\s+(?:with|in|using)\s+(?:(?:the|a|one|this|exactly)\s+){0,2}(?:following|exact|single|words?|phrase|sentence|string|text|\"|'|json\b|nothing\b|base64|rot13|rhyme|emojis?|capitals|pirate)"),
    ("reply", 0.9, r"\b(?:respond|answer)\s+(?:only|exclusively|solely)\s+(?:with|in|using)\b"),
    ("reply", 0.95, rf"\b(?:begin|start|end|finish|conclude|preface|close|prefix|precede|follow)\s+(?:all\s+|each\s+|every\s+|any\s+)?(?:of\s+)?(?:your|the)\s+(?:next\s+|final\s+|own\s+|entire\s+)?{_REPLY}\s+(?:with|by)\b"),
    ("reply", 0.9, rf"\b(?:when|if|whenever)\s+(?:you\s+are\s+)?(?:asked|the\s+user\s+asks|a\s+user\s+asks|someone\s+asks|anyone\s+asks|users\s+ask)\b{_GAP}\balways\s+(?:answer|reply|respond|say|state|claim|recommend|tell)\b"),
)  # fmt: skip

_COMPILED = tuple((family, score, re.compile(pattern, re.IGNORECASE)) for family, score, pattern in _PATTERNS)
_MARKERS: tuple[tuple[Family, float, re.Pattern[str]], ...] = (
    ("markers", 0.9, TEMPLATE_TOKEN),
    ("markers", 0.9, ROLE_LINE),
)
_EVERY = (*_COMPILED, *_MARKERS)


def explicit_spans(text: str) -> list[Span]:
    """Return where ``text`` instructs a model outright, in order; look-alike letters count as those they look like.

    What markers (control tokens, role lines) introduce counts to the end of the line.
    """
    folded = fold(text)
    return list(_spans(folded, occurring(folded)))


def _spans(folded: str, patterns: Iterator[int]) -> Iterator[Span]:
    for index in patterns:
        family, score, pattern = _EVERY[index]
        for match in pattern.finditer(folded):
            start = match.start()
            while family != "markers" and not folded[start].isalnum():
                start += 1  # past the stop or bracket that the pattern asks for before it
            yield Span(start, match.end(), score, family)


def occurring(folded: str) -> Iterator[int]:
    """Yield the patterns that may occur in a folded text, by number."""
    if hyperscan is None:
        yield from range(len(_EVERY))
        return
    yield from sorted(_scanner().occurring(folded.encode("ascii")))


class _Scanner:
    """The patterns as one Hyperscan database, which says which of them occur."""

    def __init__(self) -> None:
        flags = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_PREFILTER
        multi = hyperscan.HS_FLAG_MULTILINE
        expressions = [pattern.pattern.replace("(?P<colon>:)", ":").encode("ascii") for _, _, pattern in _EVERY]
        self._database = hyperscan.Database()
        self._database.compile(
            expressions=expressions,
            ids=list(range(len(expressions))),
            flags=[flags | (multi if pattern.flags & re.MULTILINE else 0) for _, _, pattern in _EVERY],
        )
        self._lock = threading.Lock()

    def occurring(self, data: bytes) -> set[int]:
        found: set[int] = set()

        def note(identity: int, _start: int, _end: int, _flags: int, _context: Any) -> None:
            found.add(identity)

        with self._lock:  # the database has memory for one scan at a time
            self._database.scan(data, match_event_handler=note)
        return found


@lru_cache(maxsize=1)
def _scanner() -> _Scanner:
    return _Scanner()
