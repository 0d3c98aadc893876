"""Presidio's phone recogniser, reading only what can be a number, each candidate once, and numbers that a label names.

libphonenumber (``phonenumbers``) decides what a valid number of a region is; Presidio asks it for eight regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import phonenumbers
import regex  # type: ignore[import-untyped]
from phonenumbers import phonenumbermatcher
from presidio_analyzer import Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

# What libphonenumber lets stand between the digits of one number, at most four of them.
_BETWEEN = "".join(
    character
    for character in map(chr, range(0x10000))
    if not 0xD800 <= ord(character) < 0xE000
    and regex.match(f"[{phonenumbers.phonenumberutil._VALID_PUNCTUATION}]", character)
)
_SEEN = 20_000
"""Candidates whose verdict is remembered: years, dates and version numbers come again and again."""


class CandidatePhoneRecognizer(PhoneRecognizer):  # type: ignore[misc,unused-ignore]
    """Presidio's phone recogniser on libphonenumber's own candidates, with the characters that decide on them.

    A candidate is no number with fewer digits than a region's shortest, or in international form the shortest country
    code and number of any region; one in international form is the same number in every region.
    """

    def __init__(self, supported_language: str, supported_regions: tuple[str, ...] | None = None) -> None:
        regions = supported_regions or PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS
        super().__init__(
            supported_language=supported_language, supported_regions=regions, name=PhoneRecognizer.__name__
        )
        shortest = {region: _shortest_number(region) for region in phonenumbers.SUPPORTED_REGIONS}
        international = min(
            length + len(str(phonenumbers.country_code_for_region(region))) for region, length in shortest.items()
        )
        self._digits = {region: min(shortest[region], international) for region in regions}
        fewest = min(self._digits.values())
        between = "".join(f"\\{character}" if character in "-[]^" else character for character in _BETWEEN)
        self.patterns = [Pattern("candidate", rf"(?:\d[{between}]{{0,4}}){{{fewest - 1}}}\d", self.SCORE)]
        self.global_regex_flags = 0

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        """Return the phone numbers of ``text``."""
        results = []
        for start, end in _candidates(text):
            digits = sum(map(str.isdecimal, text[start:end]))
            regions = tuple(region for region, fewest in self._digits.items() if digits >= fewest)
            low, high = max(0, start - 1), min(len(text), end + 3)  # what libphonenumber looks at besides
            for first, last in _numbers(text[low:high], regions, self.leniency):
                match: Any = SimpleNamespace(start=low + first, end=low + last)
                results.append(self._get_recognizer_result(match, text, None, nlp_artifacts))  # type: ignore[no-untyped-call]
        return results


def _candidates(text: str) -> Iterator[tuple[int, int]]:
    """Yield where libphonenumber looks for a number."""
    for match in phonenumbermatcher._PATTERN.finditer(text):
        yield match.span()


@lru_cache(maxsize=_SEEN)
def _numbers(text: str, regions: tuple[str, ...], leniency: int) -> tuple[tuple[int, int], ...]:
    """Return where in ``text`` valid numbers of any of the regions are."""
    found: set[tuple[int, int]] = set()
    for region in regions:
        found.update((match.start, match.end) for match in phonenumbers.PhoneNumberMatcher(text, region, leniency))
    return tuple(sorted(found))


def _shortest_number(region: str) -> int:
    """Return the fewest digits of a national number of the region."""
    metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region(region)
    return int(min(length for length in metadata.general_desc.possible_length if length > 0))


_LABEL = r"(?:tel|tele?phone|phone|ph|call(?:ing|ed|s)?|cell(?:phone)?|mobile|fax|dial(?:ing|led)?|answering|reach(?:ed)?|text(?:ed)?|whatsapp|sms)"
_NUMBER = r"(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,5}\)[ .-]?)?\d{2,}(?:[ .\-/]\d{2,}){0,5}"


class LabelledPhoneRecognizer(PatternRecognizer):  # type: ignore[misc,unused-ignore]
    """Numbers of any country that a word before or after them calls a phone number.

    Presidio asks libphonenumber for eight regions; in the other two hundred, and in what people write down of a number
    (without its area code), a label says more than the digits do.
    """

    def __init__(self, supported_language: str) -> None:
        before = rf"(?<=\b{_LABEL}\b[ \t]*(?:number|no\.?|nr\.?|me|us|him|her|them|at|on|is|under)?[ \t]*(?:at|on|is|under)?[ \t]*[.:#]?[ \t]*)"
        after = r"(?=[ \t]*[-,(]?[ \t]*(?:office|fax|mobile|cell|home|work|phone|tel)\b)"
        bounded = rf"(?<![\w+(.-]){_NUMBER}(?![\w-]|[.,]\d)"
        either = [("before", rf"{before}{bounded}"), ("after", rf"(?<![\w+(.-]){_NUMBER}(?:x\d{{1,6}})?{after}")]
        super().__init__(
            supported_entity="PHONE_NUMBER",
            supported_language=supported_language,
            patterns=[Pattern(f"label {place} the number", pattern, 0.5) for place, pattern in either],
        )

    def invalidate_result(self, pattern_text: str) -> bool:
        """Numbers have six to fifteen digits (ITU-T E.164 has the upper bound), and dates are none."""
        digits = sum(map(str.isdecimal, pattern_text))
        return not 6 <= digits <= 15 or bool(regex.fullmatch(r"(?:19|20)\d\d[-./]\d\d[-./]\d\d", pattern_text))
