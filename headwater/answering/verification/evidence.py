"""The sentences of the cited passages, and which few of them a draft can rest on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from headwater.answering.questions import is_question
from headwater.answering.verification.lexicon import AFFIRMATIONS, CASES, OPEN_QUESTIONS
from headwater.answering.verification.names import Casing
from headwater.answering.verification.quotations import QuotedText
from headwater.answering.verification.tokens import Token, tokenize
from headwater.sentences import split_sentences
from headwater.types import Passage

MAX_SENTENCES = 4
"""A draft rests on at most this many source sentences."""

PIECE_TOKENS = 160
"""A longer source sentence (a table without line breaks) is taken in pieces."""

ANCHORS = 3
"""So many sentences are tried as the one that a draft rests on first of all."""

NAME_WEIGHT = 2.0
"""Names and numbers say what a sentence is about; a content word weighs 1."""

_LEAST_GAIN = 1.0

_OPENING = 2
"""Words of a question among which is what it asks for: "How long", "At what"."""

Says = Literal["statement", "affirmed", "open", "asked"]
"""What a sentence says: a question nothing (``asked``), unless it is answered by "yes" (``affirmed``), or takes what it
asks about for granted and is answered (``open``)."""


@dataclass(frozen=True, slots=True)
class SourceSentence:
    """``passage.text[start:end]``; token offsets count from the passage's beginning.

    A question that says something is followed by the sentence that answers it.
    """

    passage: int
    start: int
    end: int
    tokens: tuple[Token, ...]
    keys: frozenset[str]
    says: Says = "statement"


@dataclass(frozen=True, slots=True)
class Source:
    """One passage, read: its sentences, how its words are cased, the words of its headings, and its words to quote from."""

    sentences: tuple[SourceSentence, ...]
    casing: Casing
    heading: frozenset[str]
    language: str
    words: QuotedText = field(repr=False)


def read_source(position: int, passage: Passage) -> Source:
    """Split and tokenize one passage; ``position`` is its place among the passages."""
    language = passage.language or "en"
    sentences: list[SourceSentence] = []
    for start, end in split_sentences(passage.text):
        tokens = [
            replace(token, start=token.start + start, end=token.end + start)
            for token in tokenize(passage.text[start:end], language)
        ]
        for first in range(0, len(tokens), PIECE_TOKENS):
            piece = tokens[first : first + PIECE_TOKENS]
            # Pieces share no character, and together hold the whole sentence.
            begin = start if first == 0 else piece[0].start
            stop = end if first + PIECE_TOKENS >= len(tokens) else tokens[first + PIECE_TOKENS - 1].end
            keys = frozenset(token.key for token in piece)
            asks = is_question(passage.text[start:end])
            sentences.append(
                SourceSentence(position, begin, stop, tuple(piece), keys, "asked" if asks else "statement")
            )
    for i, (sentence, following) in enumerate(pairwise(sentences)):
        sentences[i] = replace(sentence, says=_says(sentence, following, language))
    heading = tokenize(" \n ".join((passage.title, *passage.section)), language)
    return Source(
        tuple(sentences),
        Casing.of(token for sentence in sentences for token in sentence.tokens),
        frozenset(word for token in heading for word in (token.key, token.lower)),
        language,
        QuotedText(passage.text),
    )


def _says(sentence: SourceSentence, following: SourceSentence, language: str) -> Says:
    if sentence.says == "statement" or following.says != "statement":
        return sentence.says
    if following.tokens[0].lower in AFFIRMATIONS or (
        # "A: Yes."
        len(following.tokens) > 1 and following.tokens[1].breaks and following.tokens[1].lower in AFFIRMATIONS
    ):
        return "affirmed"
    if all(token.lower in CASES for token in sentence.tokens):
        return "open"
    opens = OPEN_QUESTIONS.get(language, frozenset())
    return "open" if any(token.lower in opens for token in sentence.tokens[:_OPENING]) else "asked"


def weight_of(token: Token) -> float:
    """Return how much of a sentence's claim a token carries."""
    if not token.is_content:
        return 0.0
    strong = token.kind in ("number", "id") or (token.capital and not token.initial)
    return NAME_WEIGHT if strong else 1.0


def weights(tokens: Iterable[Token]) -> dict[str, float]:
    """Return the weight of each different key."""
    result: dict[str, float] = {}
    for token in tokens:
        result[token.key] = max(result.get(token.key, 0.0), weight_of(token))
    return {key: weight for key, weight in result.items() if weight}


def rank(tokens: Sequence[Token], sentences: Sequence[SourceSentence]) -> list[int]:
    """Return the positions of the sentences that share most with the draft, best first; short ones first among equals.

    Questions are not among them, unless they are affirmed.
    """
    wanted = weights(tokens)
    pairs = {(a.key, b.key) for a, b in pairwise(tokens)}
    scored = []
    for position, sentence in enumerate(sentences):
        held = sum(weight for key, weight in wanted.items() if key in sentence.keys)
        if held and sentence.says in ("statement", "affirmed"):
            inner = sentence.tokens
            order = sum((a.key, b.key) in pairs for a, b in pairwise(inner))
            scored.append((-held - 0.25 * order, len(inner), position))
    return [position for _, _, position in sorted(scored)]


def gather(
    anchor: int, tokens: Sequence[Token], sentences: Sequence[SourceSentence], must: Iterable[int] = ()
) -> list[int]:
    """Return the positions of the fewest sentences, in order, that together hold what ``anchor`` leaves uncovered.

    Each further sentence adds a content word's weight at least; its neighbours go first among equals. ``must`` are
    sentences that are taken in any case. An open question is taken with its answer only, and an affirmed one always with
    the answer.
    """
    wanted = weights(tokens)
    chosen = _with_answers((anchor, *must), sentences)
    for position in chosen:
        wanted = {key: weight for key, weight in wanted.items() if key not in sentences[position].keys}
    least = max(_LEAST_GAIN, 0.08 * sum(weights(tokens).values()))
    while len(chosen) < MAX_SENTENCES and wanted:
        best: tuple[float, int, int] | None = None
        for position, sentence in enumerate(sentences):
            gain = sum(weight for key, weight in wanted.items() if key in sentence.keys)
            if position in chosen or gain < least or sentence.says == "asked":
                continue
            if sentence.says == "open" and position + 1 not in chosen:
                continue
            # The nearest of those that add the same; one of another passage is far.
            distance = min(
                abs(position - other) if sentences[other].passage == sentence.passage else len(sentences)
                for other in chosen
            )
            offered = (-gain, distance, position)
            best = min(best, offered) if best else offered
        if best is None:
            break
        added = [position for position in _with_answers((best[2],), sentences) if position not in chosen]
        chosen += added
        for one in added:
            wanted = {key: weight for key, weight in wanted.items() if key not in sentences[one].keys}
    return sorted(chosen)


def _with_answers(positions: Iterable[int], sentences: Sequence[SourceSentence]) -> list[int]:
    found: dict[int, None] = {}
    for position in positions:
        found[position] = None
        if sentences[position].says == "affirmed":
            found[position + 1] = None
    return list(found)
