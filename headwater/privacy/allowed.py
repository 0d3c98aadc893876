"""What a policy says is no personal data, and how its strings are compared with what documents hold.

Allow and deny lists name people and things as somebody typed them. In a document the same words may stand on two lines,
two spaces apart, or with accents as characters of their own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import regex  # type: ignore[import-untyped]

from headwater.policies import PrivacyPolicy


class Allowed:
    """The strings and patterns of ``allow`` and ``allow_patterns``."""

    def __init__(self, policy: PrivacyPolicy) -> None:
        self._strings = frozenset(_plain(text) for text in policy.allow)
        pattern = "|".join(f"(?:{unicodedata.normalize('NFC', pattern)})" for pattern in policy.allow_patterns)
        self._pattern = regex.compile(pattern) if policy.allow_patterns else None

    def __contains__(self, value: str) -> bool:
        """Return whether ``value`` as a whole is no personal data."""
        plain = _plain(value)
        if plain in self._strings:
            return True
        return self._pattern is not None and any(map(self._pattern.fullmatch, {value, plain}))


def denied(strings: Sequence[str]) -> str | None:
    """Return the regular expression of a deny list, None where it names nothing.

    A string counts where no word goes on before or after it (Presidio's rule), with any white space between its words,
    composed or decomposed. Longer ones come first: of two that begin alike the shorter one would leave a rest.
    """
    forms = {unicodedata.normalize(form, _plain(text)) for text in strings for form in ("NFC", "NFD")}
    longest = sorted(forms - {""}, key=lambda text: (-len(text), text))
    if not longest:
        return None
    alternatives = (r"\s+".join(map(regex.escape, text.split())) for text in longest)
    return rf"(?:^|(?<=\W))({'|'.join(alternatives)})(?:(?=\W)|$)"


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
