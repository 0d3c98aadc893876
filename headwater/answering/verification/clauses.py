"""Has each clause of a draft a ground of its own, or was a claim added to a sentence that has one?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from headwater.answering.verification.lexicon import CLAUSE_OPENERS, SUBJECTS, WEAK_WORDS
from headwater.answering.verification.tokens import Token
from headwater.sentences import split_sentences

ADDED_CLAIM = 2
"""So many content words without a counterpart make a clause a claim of its own, unless it has half as many with one."""

SHORT_WORD = 3
"""In a language whose function words aren't listed, words up to this length are taken for such."""

_DASH = re.compile(r"\s[-/]+\s")


def is_telling(token: Token, language: str) -> bool:
    """Say whether a word tells something by itself, in any language: no article, pronoun, conjunction or the like."""
    if language == "en" or token.kind != "word":
        return token.is_content
    return len(token.lower) > SHORT_WORD and token.lower not in WEAK_WORDS.get(language, frozenset())


def adds_a_claim(text: str, tokens: Sequence[Token], known: Collection[int], language: str) -> bool:
    """Say whether a sentence or clause of the draft ``text`` says something that its source doesn't.

    ``known`` are the tokens that the source has. A clause ends at a comma, a stop, a dash or a conjunction. It adds a
    claim when :data:`ADDED_CLAIM` of its content words are missing from the source and less than half as many are not;
    one missing word is enough where it is all that a sentence holds, or the predicate of a pronoun ("and it leaks").
    Clauses in a row of which nothing is known count as one, such as a list's.
    """
    sentences = split_sentences(text)
    for start, end in sentences:
        inside = [i for i, token in enumerate(tokens) if start <= token.start < end]
        missing_in_row = 0
        for clause in _clauses(text, tokens, inside, language):
            content = [i for i in clause if is_telling(tokens[i], language)]
            found = sum(i in known for i in content)
            missing = len(content) - found
            if missing >= ADDED_CLAIM and 2 * found < missing:
                return True
            missing_in_row = 0 if found else missing_in_row + missing
            told = missing and not found and any(tokens[i].lower in SUBJECTS for i in clause)
            if missing_in_row >= ADDED_CLAIM or told:
                return True
        telling = [i for i in inside if is_telling(tokens[i], language)]
        if len(sentences) > 1 and telling and not any(i in known for i in telling):
            return True
    return False


def _clauses(text: str, tokens: Sequence[Token], inside: Sequence[int], language: str) -> Iterator[list[int]]:
    openers = CLAUSE_OPENERS.get(language, frozenset())
    clause: list[int] = []
    for i in inside:
        gap = text[tokens[i - 1].end : tokens[i].start] if i else ""
        opens = tokens[i].lower in openers
        if clause and (tokens[i].breaks or opens or _DASH.search(gap)):
            yield clause
            clause = []
        if not opens or tokens[i].lower in SUBJECTS:
            clause.append(i)
    yield clause
