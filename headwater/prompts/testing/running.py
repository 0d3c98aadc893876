"""Running prompt tests: every way of answering goes through the same checks as an answer in use."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.errors import GenerationError
from headwater.policies import AnswerPolicy, LlmPolicy
from headwater.prompts.prompt import Prompt
from headwater.prompts.testing.cases import AnswerCase, AnswerExpectation, Case, RewriteCase, RewriteExpectation, Way
from headwater.types import DropReason, Passage, Sentence

if TYPE_CHECKING:
    from headwater.answering.contract import Draft
    from headwater.answering.generation import ChatClient
    from headwater.answering.support import TextEncoder


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of a case: ``failures`` say what was not as expected, ``text`` is what was answered."""

    prompt: str
    case: str
    way: Way
    failures: tuple[str, ...]
    text: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Say whether everything was as expected."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class _Answered:
    sentences: tuple[Sentence, ...]
    dropped: tuple[DropReason, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)


def ways_of(case: Case, *, model: bool) -> list[Way]:
    """Return the ways that ``case`` is run, those on a model only where there is one."""
    if isinstance(case, RewriteCase):
        ways: list[Way] = ["rule", "model"]
    else:
        ways = ["scripted"] if case.reply is not None else ["quoted", "model"]
    return [way for way in ways if way not in case.skip and (model or way != "model")]


def run_case(
    case: Case, way: Way, prompt: Prompt, *, encoder: TextEncoder, client: ChatClient | None = None
) -> CaseResult:
    """Run a case one way and return what became of it. ``client`` is the model's, for the way ``model``.

    A model that can't be had fails the case. Raises ValueError for a way that the case is not run.
    """
    if way not in ways_of(case, model=client is not None):
        raise ValueError(f"the case {case.name!r} is not run the way {way!r}")
    began = time.perf_counter()
    try:
        if isinstance(case, RewriteCase):
            text = _rewritten(case, prompt, client if way == "model" else None)
            failures = _rewrite_failures(case, case.expect, text)
        else:
            answered = _answered(case, way, prompt, encoder, client)
            text, failures = answered.text, _answer_failures(case.expect, answered)
    except GenerationError as error:
        text, failures = "", [f"the model failed: {error}"]
    return CaseResult(prompt.id, case.name, way, tuple(failures), text, time.perf_counter() - began)


def _answered(case: AnswerCase, way: Way, prompt: Prompt, encoder: TextEncoder, client: ChatClient | None) -> _Answered:
    from headwater.answering.extractive import answer_extractive
    from headwater.answering.generation import Writer
    from headwater.answering.generation.reply import ReplyReader

    passages = case.sources()
    if way == "quoted":
        quoted = answer_extractive(case.question, passages, embedder=encoder, policy=AnswerPolicy(), release=1)
        return _Answered(quoted.sentences)
    if client is not None and way == "model":
        writer = Writer(case.question, passages, searched=case.question, prompt=prompt, client=client)
        with closing(writer.drafts()) as drafts:
            return _checked(drafts, passages, writer.system_prompt, encoder)
    reader = ReplyReader(len(passages))
    written = reader.feed(case.reply.model_dump_json()) if case.reply is not None else []
    if reader.refused:
        return _Answered(())
    system_prompt = prompt.render(max_sentences=LlmPolicy.model_fields["max_sentences"].default)
    return _checked(written, passages, system_prompt, encoder)


def _checked(drafts: Iterable[Draft], passages: list[Passage], system_prompt: str, encoder: TextEncoder) -> _Answered:
    from headwater.answering.flow import check_draft
    from headwater.answering.verification import SpanVerifier

    verifier = SpanVerifier(encoder, AnswerPolicy())
    sentences: list[Sentence] = []
    dropped: list[DropReason] = []
    for draft in drafts:
        sentence, reason = check_draft(draft, passages, system_prompt, verifier)
        if sentence is None:
            dropped.append(reason)
        else:
            sentences.append(sentence)
    return _Answered(tuple(sentences), tuple(dropped))


def _rewritten(case: RewriteCase, prompt: Prompt, client: ChatClient | None) -> str:
    from headwater.answering.generation import rewrite
    from headwater.answering.generation.conversation import by_rule
    from headwater.embedding import Bm25Encoder

    encoder = Bm25Encoder()
    if client is None:
        return by_rule(case.question, case.turns(), encoder)
    written = rewrite(case.question, case.turns(), prompt=prompt, client=client, encoder=encoder)
    if written.prompt is None:
        raise GenerationError("what it wrote was no rewritten question", "malformed")
    return written.text


def _answer_failures(expect: AnswerExpectation, answered: _Answered) -> list[str]:
    refused = not answered.sentences
    cited = {int(c.chunk_id.removeprefix("passage-")) for one in answered.sentences for c in one.citations}
    failures = []
    if expect.refused is not None and refused != expect.refused:
        failures.append("was refused" if refused else "was answered and should have been refused")
    missing = sorted(set(expect.cites) - cited)
    if missing:
        failures.append(f"does not cite passage {', '.join(map(str, missing))}")
    if expect.cites_only is not None and (extra := sorted(cited - set(expect.cites_only))):
        failures.append(f"cites passage {', '.join(map(str, extra))}")
    if expect.dropped is not None and answered.dropped != tuple(expect.dropped):
        failures.append(f"left out sentences for {list(answered.dropped)}, should have for {expect.dropped}")
    return failures + _word_failures(answered.text, expect.contains, expect.excludes)


def _rewrite_failures(case: RewriteCase, expect: RewriteExpectation, text: str) -> list[str]:
    failures = ["changed the question"] if expect.unchanged and text != case.question else []
    return failures + _word_failures(text, expect.contains, expect.excludes)


def _word_failures(text: str, contains: Iterable[str], excludes: Iterable[str]) -> list[str]:
    said = " ".join(text.split()).casefold()
    failures = [f"does not say {words!r}" for words in contains if words.casefold() not in said]
    return failures + [f"says {words!r}" for words in excludes if words.casefold() in said]
