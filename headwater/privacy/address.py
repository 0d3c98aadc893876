"""Street addresses, which Presidio has no recogniser for."""

from __future__ import annotations

import regex  # type: ignore[import-untyped]
from presidio_analyzer import Pattern, PatternRecognizer

# The commonest of the street suffixes of the U.S. Postal Service's Publication 28, appendix C1, with abbreviations,
# and what streets of other countries end or begin with.
_SUFFIX = (
    r"(?i:street|str|st|avenue|ave|av|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|place|pl|square|sq|terrace|ter|"
    r"way|highway|hwy|parkway|pkwy|circle|cir|trail|trl|crescent|cres|close|mews|quay|row|gardens|grove|alley|plaza|"
    r"esplanade|causeway|turnpike|tpke)"
)
_LETTER = "A-Za-zÀ-ÖØ-öø-ž"
_CAPITALISED = rf"(?:[A-ZÀ-ÖØ-Þ][{_LETTER}\d'’.-]*|\d{{1,3}}(?:st|nd|rd|th))"
_NUMBER = r"\d{1,5}(?:[-–/]\d{1,4})?[A-Za-z]?"
_JOINED = (
    r"(?:straße|strasse|str\.|gasse|weg|allee|platz|ufer|damm|laan|straat|gracht|plein|vej|gade|vägen|gatan|veien|gata|"
    r"katu|tie|utca)"
)
_KIND = (
    r"(?i:rue|avenue|boulevard|chemin|place|calle|avenida|plaza|paseo|via|viale|piazza|corso|rua|travessa|ul\.|ulica)"
)
_UNIT = r"(?:,?\s+(?i:apt|apartment|suite|ste|unit|flat|room|floor)\b\.?\s*#?\s*[A-Za-z]?\d{1,5}[A-Za-z]?)?"

PATTERNS = (
    ("number, name and suffix", rf"\b{_NUMBER}[ ,]+(?:{_CAPITALISED}[ ]+){{1,4}}{_SUFFIX}\b\.?{_UNIT}", 0.6),
    ("suffix joined to the name, number", rf"\b[{_LETTER}][{_LETTER}-]*{_JOINED}[ ]+{_NUMBER}\b{_UNIT}", 0.6),
    ("kind of street, name, number", rf"\b{_KIND}[ ]+(?:[{_LETTER}'’.-]+[ ]+){{1,4}}{_NUMBER}\b{_UNIT}", 0.6),
    ("number, kind of street, name", rf"\b{_NUMBER},?[ ]+{_KIND}(?:[ ]+{_CAPITALISED}){{1,4}}", 0.5),
    ("post office box", r"\b(?i:p\.?[ ]?o\.?[ ]?box)[ ]+\d{1,6}\b", 0.7),
    ("flat", r"\b(?i:apt|suite|flat)\b\.?[ ]+#?\d{1,5}[A-Za-z]?\b", 0.5),
)


class StreetAddressRecognizer(PatternRecognizer):  # type: ignore[misc,unused-ignore]
    """House numbers with a street, post office boxes, and flats."""

    def __init__(self, supported_language: str) -> None:
        super().__init__(
            supported_entity="STREET_ADDRESS",
            supported_language=supported_language,
            patterns=[Pattern(name, pattern, score) for name, pattern, score in PATTERNS],
            global_regex_flags=regex.DOTALL | regex.MULTILINE,
        )
