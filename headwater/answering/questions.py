"""Which sentences ask: what they hold isn't said, neither when they are quoted nor when a draft is held against them."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[#*_|\s]*(?:Q\s*[:)]|Question\s*\d*\s*[:.)])\s", re.IGNORECASE)
_OPENERS = {'"': '"', "”": "“", "’": "‘", "»": "«", ")": "("}
_AROUND = " \t\r\n*_!|'" + "".join(_OPENERS)


def is_question(text: str) -> bool:
    """Say whether a sentence is a question: by its mark, or by a label such as "Q:".

    A question in quotation marks or brackets behind other words ('He asked "Why?"') makes the whole none.
    """
    if _LABEL.match(text):
        return True
    stripped = text.rstrip(_AROUND)
    if not stripped.endswith(("?", "？")):
        return False
    opened = max((stripped.rfind(_OPENERS[c]) for c in set(text[len(stripped) :]) if c in _OPENERS), default=-1)
    return opened < 0 or not any(c.isalnum() for c in stripped[:opened])
