"""What kind of thing a question asks for, and whether a sentence holds one: a date, a figure, a place, a person, a reason.

English questions only; any other question asks for nothing in particular, and no sentence is held against it.
"""

from __future__ import annotations

import re

_DATE = re.compile(
    r"\b(?:1\d{3}|20\d\d|january|february|march|april|may|june|july|august|september|october|november|december|monday"
    r"|tuesday|wednesday|thursday|friday|saturday|sunday|century|[ap]\.m|year|day|daily|season|after|before|during|when)\b",
    re.IGNORECASE,
)
_FIGURE = re.compile(
    r"\d|[$€£%]|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|hundred|thousand|million|billion)\b",
    re.IGNORECASE,
)
_PLACE = re.compile(r"\b(?:in|at|near|from|of|to|on|between) (?:the )?[A-Z]\w+|\b(?:located|situated|border|lies)\b")
_REASON = re.compile(
    r"\b(?:because|due to|so that|in order to|reason|cause[sd]?|result|led to|therefore|purpose|allow|to \w+)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<=[\w,;)] )[A-Z]\w+")
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_ASKED = re.compile(
    r"\b(?:(?P<date>when)|(?P<place>where)|(?P<reason>why)|(?P<person>who|whose|whom)"
    r"|(?P<figure>how(?: (?:many|much|long|old|far|tall|big|large|often))?|price|cost))\b",
    re.IGNORECASE,
)
_HOLDS = {"date": _DATE, "place": _PLACE, "reason": _REASON, "figure": _FIGURE}


def fits_kind(question: str, sentence: str) -> float:
    """Return 1 when ``sentence`` holds the kind of thing that is asked for, -1 when it lacks it, 0 when none is asked for."""
    asked = _ASKED.search(question)
    if asked is None or asked.group().lower() == "how":
        return 0.0
    kind = asked.lastgroup or ""
    if kind == "person":
        known = {word.casefold() for word in _WORD.findall(question)}
        return 1.0 if any(name.casefold() not in known for name in _NAME.findall(sentence)) else -1.0
    return 1.0 if _HOLDS[kind].search(sentence) else -1.0
