"""What a source says only under a condition, or only to call it false or alleged, isn't said without that.

"The claim that refunds take a year is false" and "If the account is closed, refunds take a year" both hold the words
"refunds take a year", and neither says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headwater.answering.verification.alignment import Tiling
from headwater.answering.verification.clauses import is_telling
from headwater.answering.verification.lexicon import (
    ALLEGING,
    BE,
    CONCESSIVE,
    CONDITIONS,
    CORRECT,
    FALSEHOODS,
    REPORTING,
    RESTRICTIVE,
    SUBJECTS,
    THAT,
    TRAILING_CONDITIONS,
)
from headwater.answering.verification.polarity import is_negation
from headwater.answering.verification.tokens import Token

NEAR = 4
"""Content words beside a frame or a condition that tell whether the draft took over what stands there."""

_GAP = 3
"""Words between the parts of a frame, at most: "claim by some *that*", "*is* a common *myth*"."""


def loses_a_frame(sentence: Sequence[Token], source: Sequence[Token], tiling: Tiling, language: str) -> bool:
    """Say whether the sentence leaves out a condition or frame of what it took over, or puts it into a frame."""
    back = Tiling(tiling.sentence_of, tiling.source_of, [], frozenset(), frozenset())
    spans = _spans(tiling.borders, len(source))
    return (
        _frame_differs(source, spans, back, sentence, [range(len(sentence))], language)
        or _frame_differs(sentence, [range(len(sentence))], tiling, source, spans, language)
        or any(_condition_dropped(source, span, tiling, sentence, language) for span in spans)
    )


def _spans(borders: frozenset[int], length: int) -> list[range]:
    starts = sorted({0, *borders})
    return [range(start, end) for start, end in zip(starts, [*starts[1:], length], strict=True) if start < end]


# --- frames -------------------------------------------------------------------------------------------------------


def _frame_differs(
    tokens: Sequence[Token],
    spans: Sequence[range],
    tiling: Tiling,
    others: Sequence[Token],
    other_spans: Sequence[range],
    language: str,
) -> bool:
    """Say whether ``tokens`` frame words that ``others`` have unframed; ``tiling`` leads from the former to the latter."""
    if any(True for span in other_spans for _ in _frames(others, span, language)):
        return False
    falsehoods = FALSEHOODS.get(language, frozenset())
    if any(
        tiling.sentence_of[j] < 0 and (other.lower in falsehoods or is_negation(other, language))
        for j, other in enumerate(others)
    ):
        return False
    return any(
        tiling.source_of[head] < 0 and 2 * sum(tiling.source_of[i] >= 0 for i in framed) >= max(2, len(framed))
        for span in spans
        for head, framed in _frames(tokens, span, language)
    )


def _frames(tokens: Sequence[Token], span: range, language: str) -> Iterator[tuple[int, list[int]]]:
    """Yield the word that makes each frame, and the content words beside it that tell whether they were taken out."""
    falsehoods, that = FALSEHOODS.get(language, frozenset()), THAT.get(language, frozenset())
    reporting, alleging = REPORTING.get(language, frozenset()), ALLEGING.get(language, frozenset())
    be, correct = BE.get(language, frozenset()), CORRECT.get(language, frozenset())
    for i in span:
        word = tokens[i].lower
        before = range(max(span.start, i - _GAP), i)
        beside = [*before, *(k for k in range(i + 1, min(span.stop, i + 2)) if not tokens[k].breaks)]
        denied = next((k for k in beside if word in correct and is_negation(tokens[k], language)), None)
        if word in alleging:
            yield i, _telling(tokens, range(i + 1, span.stop), language)[:2]
        if word not in falsehoods and word not in reporting and denied is None:
            continue
        head = i if denied is None else min(i, denied)
        after = range(i + 1, min(span.stop, i + 2 + _GAP))
        opened = next((k for k in after if tokens[k].lower in that), None)
        titled = i == span.start and i + 1 < span.stop and tokens[i + 1].breaks
        if opened is not None or titled:
            begin = i if opened is None else opened
            yield i, _telling(tokens, range(begin + 1, span.stop), language)[:NEAR]
        elif word not in reporting and (denied is not None or any(tokens[k].lower in be for k in before)):
            yield i, _telling(tokens, range(span.start, head), language)[-NEAR:]


def _telling(tokens: Sequence[Token], where: range, language: str) -> list[int]:
    return [i for i in where if is_telling(tokens[i], language)]


# --- conditions ---------------------------------------------------------------------------------------------------


def _condition_dropped(
    source: Sequence[Token], span: range, tiling: Tiling, sentence: Sequence[Token], language: str
) -> bool:
    if any(token.lower in CONDITIONS.get(language, frozenset()) for token in sentence):
        return False
    for condition, main in _conditions(source, span, language):
        taken = sum(tiling.sentence_of[j] >= 0 for j in main)
        if 2 * taken > len(main) and not any(tiling.sentence_of[j] >= 0 for j in condition):
            return True
    return False


def _conditions(source: Sequence[Token], span: range, language: str) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the content words of each condition, and those of the main clause that stand next to it."""
    conditions, trailing = CONDITIONS.get(language, frozenset()), TRAILING_CONDITIONS.get(language, frozenset())
    for j in span:
        if source[j].lower not in conditions or (j > span.start and source[j - 1].lower in CONCESSIVE):
            continue
        end = next((k for k in range(j + 1, span.stop) if source[k].breaks), span.stop)
        begin = next((k for k in range(j, span.start, -1) if source[k].breaks), span.start)
        inside = _telling(source, range(j + 1, end), language)
        opens = not _telling(source, range(begin, j), language)
        if opens and end < span.stop:
            main = _telling(source, range(end, span.stop), language)[:NEAR]
        elif opens and begin == span.start:
            # No comma says where the condition ends: it is taken to be a subject and a predicate.
            words = 1 if _has_pronoun(source, j) else 2
            inside, main = inside[:words], inside[words:][-NEAR:]
        elif source[j].lower in trailing or source[j - 1].lower in RESTRICTIVE:
            main = _telling(source, range(span.start, j), language)[-NEAR:]
        else:
            continue
        if inside and main:
            # The subject is often that of the main clause, and says nothing about the condition.
            yield (inside if _has_pronoun(source, j) else inside[1:]) or inside, main


def _has_pronoun(source: Sequence[Token], j: int) -> bool:
    return j + 1 < len(source) and source[j + 1].lower in SUBJECTS
