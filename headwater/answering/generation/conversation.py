"""A question of a conversation, made to stand alone, so that it can be searched for.

A model rewrites it where there is one. Else, and where what it wrote is not the question that was asked, a plain rule
does: a question that leans on what was said before (it is short, or begins with a pronoun or a connective) takes along
the content words of the questions before it, back to the last one that stood alone.

Earlier answers are text of documents, or whatever a client says they were. What reads like an instruction is left out of
them, the turns stand between marks that no document can know, and what was only ever answered may give a rewritten
question a name, not the question.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.errors import GenerationError
from headwater.injection.fence import neutralise, without_instructions
from headwater.injection.scan import FLAGGED, scan
from headwater.types import Turn, Usage

if TYPE_CHECKING:
    from headwater.answering.generation.client import ChatClient
    from headwater.embedding import Bm25Encoder
    from headwater.prompts import Prompt

MAX_TURNS = 20
MAX_HISTORY = 8000
"""Characters of the turns that are read; a fifth of a context of 8,192 tokens."""

MAX_REWRITTEN = 500
"""Characters; a longer question is no question any more."""

SHORT_QUESTION = 3
"""A question with at most this many content words hardly stands alone after another one."""

LONG_QUESTION = 6
"""A question with more content words stands alone, even if it begins with "and" or holds an "it"."""

MAX_CARRIED = 12
"""Words taken along; more would drown the question's own."""

MIN_KNOWN = 0.5
"""A rewritten question has at least this share of its content words from the conversation; else it is made up."""

MIN_KEPT = 0.5
"""A rewritten question keeps at least this share of the content words that were typed; else it is another question."""

MAX_BORROWED = 6
"""Content words that only earlier answers hold: what a pronoun stands for is a name or a noun phrase, not a sentence."""

_REWRITE_TOKENS = 160

_LEANING = re.compile(
    r"\W*(?:and|or|but|so|also|then|else|it|its|it's|they|them|their|theirs|this|that|these|those|he|him|his|she|her|hers"
    r"|there|one|ones|the same|what about|how about|what if|why not|why so|who else|what else|anything else|which one"
    r"|und|oder|aber|auch|dann|sie|er|es|das|dies\w*|dort|et|ou|mais|aussi|il|elle|ils|elles|celui|ça|y|o|pero|también"
    r"|eso|esto|ese|esa|él|ella|ellos|ellas|allí)\b",
    re.IGNORECASE,
)
_POINTING = re.compile(r"\b(?:it|its|they|them|their|theirs|that one|this one|the same|there|former|latter)\b", re.I)
_WORD = re.compile(r"\w+(?:[-'’]\w+)*")


@dataclass(frozen=True, slots=True)
class Standalone:
    """What to search for, the prompt that made it so (None for the rule), and what the model was charged."""

    text: str
    prompt: str | None = None
    usage: Usage | None = None


def bounded(history: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return the last turns of ``history``, oldest first: :data:`MAX_TURNS` and :data:`MAX_HISTORY` characters at most."""
    kept: list[Turn] = []
    left = MAX_HISTORY
    for turn in reversed(history[-MAX_TURNS:]):
        left -= len(turn.question) + len(turn.answer)
        if left < 0 and kept:
            break
        kept.append(Turn(turn.question[:MAX_HISTORY], turn.answer[: max(0, MAX_HISTORY - len(turn.question))]))
    return tuple(reversed(kept))


def by_rule(question: str, history: Sequence[Turn], encoder: Bm25Encoder) -> str:
    """Return ``question``, with the content words of the questions that it leans on behind it.

    ``encoder`` says which words have content (its language's stop words have none) and which are the same by stem.
    """
    if not history or not _leans(question, encoder):
        return question
    said = _terms(question, encoder)
    carried: list[str] = []
    for turn in reversed(history):
        for word, term in _content(turn.question, encoder):
            if term not in said and len(carried) < MAX_CARRIED:
                said.add(term)
                carried.append(word)
        if not _leans(turn.question, encoder):
            break
    return f"{question} {' '.join(carried)}" if carried else question


def rewrite(
    question: str,
    history: Sequence[Turn],
    *,
    prompt: Prompt,
    client: ChatClient,
    encoder: Bm25Encoder,
    boundary: str | None = None,
) -> Standalone:
    """Return what the model makes of ``question``; what the rule makes of it where the model fails or makes it up.

    Turns and question stand in the prompt between marks with ``boundary``: 16 hexadecimal digits, new unless given. It
    must not be the one of the answer's prompt, into which goes what the model writes.
    """
    mark = boundary or secrets.token_hex(8)
    history = [Turn(turn.question, without_instructions(turn.answer)) for turn in history]
    lines = [f"Question: {_inline(turn.question)}\nAnswer: {_inline(turn.answer)}" for turn in history]
    message = prompt.render(
        history=_marked("conversation", mark, "\n".join(lines)), question=_marked("question", mark, _inline(question))
    )
    stream = client.stream([{"role": "user", "content": message}], max_tokens=_REWRITE_TOKENS)
    try:
        written = "".join(stream).strip().strip("\"'“”„«»`").strip()
    except GenerationError:
        return Standalone(by_rule(question, history, encoder))
    finally:
        stream.close()
    ending = stream.ending
    usage = None
    if ending is not None and ending.prompt_tokens is not None and ending.completion_tokens is not None:
        usage = Usage(ending.prompt_tokens, ending.completion_tokens)
    if mark not in written and _is_same(written, question, history, encoder):
        return Standalone(written, prompt.id, usage)
    return Standalone(by_rule(question, history, encoder), None, usage)


def _marked(name: str, mark: str, text: str) -> str:
    return f"[[{name} {mark}]]\n{text}\n[[end {name} {mark}]]"


def _inline(text: str) -> str:
    return " ".join(neutralise(text).split())


def _is_same(written: str, question: str, history: Sequence[Turn], encoder: Bm25Encoder) -> bool:
    """Return whether ``written`` is ``question`` with what it points to, as far as their words tell."""
    if not written or len(written) > MAX_REWRITTEN or "\n" in written or scan(written).score >= FLAGGED:
        return False
    terms, typed = _terms(written, encoder), _terms(question, encoder)
    asked = typed.union(*(_terms(turn.question, encoder) for turn in history))
    answered = set[int]().union(*(_terms(turn.answer, encoder) for turn in history))
    borrowed = (terms & answered) - asked
    return (
        not terms.isdisjoint(asked)
        and len(terms & typed) >= MIN_KEPT * len(typed)
        and len(borrowed) <= MAX_BORROWED
        and len(terms & asked) + len(borrowed) >= MIN_KNOWN * len(terms)
    )


def _leans(question: str, encoder: Bm25Encoder) -> bool:
    words = len(_terms(question, encoder))
    if words <= SHORT_QUESTION:
        return True
    return words <= LONG_QUESTION and bool(_LEANING.match(question) or _POINTING.search(question))


def _content(text: str, encoder: Bm25Encoder) -> list[tuple[str, int]]:
    words = _WORD.findall(text)
    terms = encoder.encode_documents(words)
    return [(word, int(term.indices[0])) for word, term in zip(words, terms, strict=True) if len(term.indices)]


def _terms(text: str, encoder: Bm25Encoder) -> set[int]:
    return {int(index) for index in encoder.encode_query(text).indices}
