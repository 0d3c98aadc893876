"""The check of one draft: aligned with the sentences it rests on, claim by claim; kept with its citations, or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from headwater.answering.contract import Draft, Verified
from headwater.answering.questions import is_question
from headwater.answering.verification.alignment import Tiling, tile
from headwater.answering.verification.citations import alignments_of, citations_of
from headwater.answering.verification.claims import ClaimCheck, Context, same, worst_first
from headwater.answering.verification.clauses import adds_a_claim
from headwater.answering.verification.disguise import is_disguised
from headwater.answering.verification.entailment import load_entailment
from headwater.answering.verification.evidence import (
    ANCHORS,
    Source,
    SourceSentence,
    gather,
    rank,
    read_source,
    weight_of,
)
from headwater.answering.verification.frames import loses_a_frame
from headwater.answering.verification.names import Casing
from headwater.answering.verification.polarity import can_tell, turned_round
from headwater.answering.verification.quotations import quotations
from headwater.answering.verification.roles import change_differs, roles_changed
from headwater.answering.verification.tokens import Token, tokenize
from headwater.answering.verifier import verify
from headwater.policies import AnswerPolicy
from headwater.types import DropReason, Passage, Sentence

if TYPE_CHECKING:
    from headwater.answering.support import TextEncoder

MAX_CHARACTERS = 4000
"""A longer draft is no sentence, and is dropped unread."""

MAX_TOKENS = 600

LEXICAL_ENOUGH = 0.85
"""From this share of a draft's words on, the encoder isn't asked: it could only confirm."""

MAX_FREE_RUN = 4
"""So many content words in a row without a counterpart are a claim of their own, which nothing supports."""

ENTAILED = 0.5
"""An entailment model's word counts from this probability on."""

_CACHED_PASSAGES = 64


@dataclass(frozen=True, slots=True)
class _Reading:
    """A draft on one choice of source sentences.

    ``found`` are the draft's tokens that it has. ``in_line`` counts the neighbouring words of the draft that are
    neighbours in the first of them, too.
    """

    chosen: list[SourceSentence]
    source: list[Token]
    tiling: Tiling
    reasons: frozenset[DropReason]
    found: frozenset[int]
    lexical: float
    in_line: int


class SpanVerifier:
    """Holds drafts against the spans that they cite; the same draft and passages always get the same verdict.

    ``encoder`` is the corpus' own embedding model; ``policy.draft_support`` is the least support of a sentence in 0..1,
    and ``policy.entailment_model`` the folder of a second opinion. Not for several threads at once.
    """

    def __init__(self, encoder: TextEncoder, policy: AnswerPolicy) -> None:
        self._encoder = encoder
        self._least = policy.draft_support
        self._entailment = load_entailment(policy.entailment_model) if policy.entailment_model else None
        self._read: dict[tuple[str, str, str], Source] = {}

    def check(self, draft: Draft, passages: Sequence[Passage]) -> Verified:
        """Return ``draft`` with its citations and alignments, or the reasons why it is dropped, worst first.

        Only passages that the draft cites are looked at. A citation's span is the smallest run of source sentences
        that the draft rests on, in offsets of the document's cleaned text. ``support`` is the share of the draft's
        words that were found there (names and numbers count double), or, where fewer than :data:`LEXICAL_ENOUGH` were
        found, the mean of that share and the cosine of draft and source.
        """
        cited = [i for i in dict.fromkeys(draft.cites) if 0 <= i < len(passages)]
        if not cited:
            return Verified(None, ("citation",))
        if len(draft.text) > MAX_CHARACTERS:
            return Verified(None, ("unsupported",))
        sources = [self._source(i, passages[i]) for i in cited]
        language = passages[cited[0]].language or "en"
        tokens = tokenize(draft.text, language, MAX_TOKENS + 1)
        sentences = [sentence for source in sources for sentence in source.sentences]
        if is_question(draft.text):
            sentences = [replace(sentence, says="statement") for sentence in sentences]
        if not sentences or len(tokens) > MAX_TOKENS or not any(token.is_content for token in tokens):
            return Verified(None, ("unsupported",))
        quoted = _quoted_sentences(draft.text, sources, sentences)
        if quoted is None:
            return Verified(None, ("quote",))
        context = _context(sources, language)
        readings = [
            _read(tokens, [sentences[i] for i in gather(anchor, tokens, sentences, quoted)], sentences[anchor], context)
            for anchor in rank(tokens, sentences)[:ANCHORS]
        ]
        if not readings:
            return Verified(None, ("unsupported",))
        # Words gathered from here and there can be made to say anything: the sentence that keeps their order counts.
        ordered = max(reading.in_line for reading in readings)
        best = min(
            (reading for reading in readings if reading.in_line == ordered),
            key=lambda reading: (len(reading.reasons), -reading.lexical),
        )
        support = self._support(draft.text, best, passages)
        reasons = set(best.reasons)
        languages = {passages[sentence.passage].language or "en" for sentence in best.chosen}
        if not all(can_tell(one, draft.text) for one in languages) and not _is_quoted(tokens, sources):
            reasons.add("unsupported")
        if is_disguised(draft.text, [part for i in cited for part in (passages[i].text, passages[i].title)]):
            reasons.add("unsupported")
        if best.lexical < 1 and _is_asked(tokens, sentences):
            reasons.add("unsupported")
        if not self._is_supported(draft.text, best, passages, support, tokens, context):
            reasons.add("unsupported")
        if reasons:
            return Verified(None, worst_first(reasons))
        return Verified(_sentence(draft.text, tokens, best, passages, support))

    def _source(self, position: int, passage: Passage) -> Source:
        key = (passage.chunk_id, passage.revision, f"{position} {passage.language}\n{passage.text}")
        if key not in self._read:
            if len(self._read) >= _CACHED_PASSAGES:
                self._read.clear()
            self._read[key] = read_source(position, passage)
        return self._read[key]

    def _support(self, text: str, reading: _Reading, passages: Sequence[Passage]) -> float:
        if reading.lexical >= LEXICAL_ENOUGH:
            return reading.lexical
        vectors = self._encoder.encode_documents([text, _text_of(reading.chosen, passages)])
        cosine = float(np.clip(vectors[0] @ vectors[1], 0.0, 1.0))
        return (reading.lexical + cosine) / 2

    def _is_supported(
        self,
        text: str,
        reading: _Reading,
        passages: Sequence[Passage],
        support: float,
        tokens: Sequence[Token],
        context: Context,
    ) -> bool:
        held = {token.key for token in reading.source} | context.heading
        known = reading.found | {i for i, token in enumerate(tokens) if token.key in held}
        enough = (
            support >= self._least
            and _longest_free_run(tokens, reading.tiling) < MAX_FREE_RUN
            and not adds_a_claim(text, tokens, known, context.language)
        )
        if self._entailment is None or reading.reasons:
            return enough
        verdict = self._entailment.judge(_text_of(reading.chosen, passages), text)
        return verdict.contradiction < ENTAILED and (enough or verdict.entailment >= ENTAILED)


def _read(tokens: Sequence[Token], chosen: list[SourceSentence], anchor: SourceSentence, context: Context) -> _Reading:
    source: list[Token] = []
    borders = set()
    favoured = range(0)
    for sentence in chosen:
        borders.add(len(source))
        source += sentence.tokens
        if sentence is anchor:
            favoured = range(len(source) - len(sentence.tokens), len(source))
    tiling = tile(tokens, source, frozenset(borders), same, favoured)
    changed, passive = roles_changed(tokens, source, tiling, context.language)
    claims = ClaimCheck(tokens, source, tiling, context, passive)
    reasons = claims.reasons()
    turned = turned_round(tokens, source, tiling, context.language)
    if turned or changed or loses_a_frame(tokens, source, tiling, context.language):
        reasons.add("negation")
    if change_differs(tokens, source, tiling, context.language):
        reasons.add("number")
    found = claims.grounded | {i for i in range(len(tokens)) if tiling.source_of[i] >= 0}
    lexical = sum(weight_of(tokens[i]) for i in found) / sum(weight_of(token) for token in tokens)
    inside = [number if j in favoured else -1 for number, j in zip(tiling.tile_of, tiling.source_of, strict=True)]
    in_line = sum(a == b >= 0 for a, b in pairwise(inside))
    return _Reading(chosen, source, tiling, frozenset(reasons), frozenset(found), lexical, in_line)


def _quoted_sentences(text: str, sources: Sequence[Source], sentences: Sequence[SourceSentence]) -> list[int] | None:
    """Return the sentences that hold the draft's quotations, None when one of them stands nowhere."""
    found: list[int] = []
    for quoted in quotations(text):
        spans = [(source, span) for source in sources if (span := source.words.find(quoted))]
        if not spans:
            return None
        source, (start, end) = spans[0]
        mine = source.sentences[0].passage
        found += [
            i
            for i, s in enumerate(sentences)
            if s.passage == mine and s.start < end and start < s.end and i not in found and s.says != "asked"
        ]
    return found


def _context(sources: Sequence[Source], language: str) -> Context:
    heading = frozenset(word for source in sources for word in source.heading)
    every = [token for source in sources for sentence in source.sentences for token in sentence.tokens]
    words = heading | {token.key for token in every if token.capital or token.kind == "id"}
    return Context(Casing.of(every), heading, words, language)


def _is_quoted(tokens: Sequence[Token], sources: Sequence[Source]) -> bool:
    """Say whether the draft is, word for word, one or more sentences of a source; the last may be cut where it breaks."""
    wanted = [token.lower for token in tokens]
    for source in sources:
        every = [token for sentence in source.sentences for token in sentence.tokens]
        starts = set(accumulate((len(sentence.tokens) for sentence in source.sentences), initial=0))
        for start in starts:
            end = start + len(wanted)
            if [token.lower for token in every[start:end]] == wanted and (end in starts or every[end].breaks):
                return True
    return False


def _is_asked(tokens: Sequence[Token], sentences: Sequence[SourceSentence]) -> bool:
    """Say whether the draft has no word beyond those of a question that the passages leave open."""
    wanted = {token.key for token in tokens if token.is_content}
    return any(sentence.says == "asked" and wanted <= sentence.keys for sentence in sentences)


def _longest_free_run(tokens: Sequence[Token], tiling: Tiling) -> int:
    longest = run = 0
    for i, token in enumerate(tokens):
        if tiling.source_of[i] >= 0:
            run = 0
        elif token.is_content:
            run += 1
            longest = max(longest, run)
    return longest


def _text_of(chosen: Sequence[SourceSentence], passages: Sequence[Passage]) -> str:
    return " ".join(passages[s.passage].text[s.start : s.end] for s in chosen)


def _sentence(
    text: str, tokens: Sequence[Token], reading: _Reading, passages: Sequence[Passage], support: float
) -> Sentence:
    used = {j for j in reading.tiling.source_of if j >= 0}
    citations, runs = citations_of(reading.chosen, used, passages)
    aligned = alignments_of(tokens, reading.source, reading.chosen, reading.tiling, runs, passages)
    verbatim = any(verify(text, citation.quote) for citation in citations)
    return Sentence(text, citations, round(support, 4), "verbatim" if verbatim else "supported", aligned)
