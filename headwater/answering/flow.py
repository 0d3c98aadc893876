"""How a question becomes an answer: search, write or quote, verify, record; told step by step.

A model's sentence is shown only after the checks of :mod:`headwater.injection` and the verifier; where the model can't
be had, or fails midway, the answer is quoted and says so.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from headwater import tracing
from headwater.answering.events import AnswerEvent, Finished, Restarted, SentenceDropped, SentenceReady, Started
from headwater.answering.extractive import METHOD as QUOTED
from headwater.answering.extractive import NO_PASSAGES, NO_SUPPORT
from headwater.answering.generation.client import ChatClient, open_client
from headwater.answering.generation.conversation import Standalone, bounded, by_rule, rewrite
from headwater.answering.generation.writer import METHOD as GENERATED
from headwater.answering.generation.writer import Writer, priced
from headwater.errors import GenerationError
from headwater.hashing import digest
from headwater.injection.output import unsafe_output
from headwater.types import Answer, DropReason, Passage, Principal, Sentence, Turn, Usage

if TYPE_CHECKING:
    from headwater.answer_log import AnswerKey
    from headwater.answering.contract import Draft, Verifier
    from headwater.corpus import Corpus
    from headwater.prompts import Prompt

LOG = logging.getLogger("headwater.answering")

NOT_SUPPORTED = "Nothing that could be written from the documents was supported by them."

_FALLBACKS = {
    "unavailable": "The language model kept failing and is left alone for a while; the sentences are quoted.",
    "unreachable": "The language model could not be reached; the sentences are quoted.",
    "busy": "The language model is busy; the sentences are quoted.",
    "timeout": "The language model took too long; the sentences are quoted.",
    "cut_off": "The language model broke off; the sentences are quoted.",
    "malformed": "What the language model wrote could not be read; the sentences are quoted.",
}
"""What people are told, by the code of the error; the log says more."""

_FALLBACK = "The language model failed; the sentences are quoted."


@dataclass(frozen=True, slots=True)
class Request:
    """One question and what belongs to it: what callers of :meth:`headwater.corpus.Corpus.answer_events` give.

    ``readers`` None reads everything. An answer that is not ``kept`` is neither recorded nor cached: an evaluation's.
    """

    question: str
    principal: Principal
    readers: frozenset[str] | None
    release: int | None = None
    history: Sequence[Turn] = ()
    filters: Mapping[str, Any] | str | None = None
    conversation: str | None = None
    kept: bool = True
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def boundary(self) -> str:
        """The mark around passages in the prompt: nobody can know it before, and the answer's id gives it again."""
        return digest("boundary", self.id)[:16]

    @property
    def rewrite_boundary(self) -> str:
        """The mark around the turns where a model rewrites the question: what it writes must not know the other."""
        return digest("rewrite boundary", self.id)[:16]


def answer_events(corpus: Corpus, request: Request) -> Generator[AnswerEvent, None, None]:
    """Yield what happens while ``request`` is answered: one Started, sentences as each is verified, one Finished.

    The answer is recorded in the ledger before Finished is yielded, and, when the iterator is closed after a sentence
    was yielded, as far as it got (its parameters then say ``cancelled``). Closing the iterator ends the request to the
    model. Raises NotFoundError without a live release, FilterError for a filter that can't be understood, both before
    Started.
    """
    yield from _Answering(corpus, request).events()


class _Answering:
    """The state of one answer under way."""

    def __init__(self, corpus: Corpus, request: Request) -> None:
        self._corpus, self._request = corpus, request
        self._policy = corpus.policy.answer
        self._client = open_client(self._policy.llm) if self._policy.llm is not None else None
        self._began = time.perf_counter()
        self._timings: dict[str, float] = {}
        self._searched = Standalone(request.question)
        self._passages: Sequence[Passage] = ()
        self._release = 0
        self._sentences: list[Sentence] = []
        self._dropped: list[DropReason] = []
        self._usage: Usage | None = None

    def events(self) -> Iterator[AnswerEvent]:
        request = replace(self._request, history=bounded(self._request.history))
        self._request = request
        with self._corpus.searcher(request.release) as searcher:
            self._release = searcher.release
        prompt, rewriting = self._prompts()
        key = self._key(prompt, rewriting)
        cached = None
        if key is not None:
            cached = self._corpus.answer_cache.get(key, conversation=request.conversation, turn=len(request.history))
        if cached is not None:
            self._passages = cached.passages
            self._searched = Standalone(cached.answer.searched, cached.rewrite)
            yield self._started(cached.answer)
            yield from self._told(cached.answer)
            yield self._finished(cached.answer)
            return
        self._stand_alone(rewriting)
        if self._client is not None and prompt is not None:
            answer = yield from self._generated(self._client, prompt)
        else:
            answer = self._quoted()
            yield self._started(answer)
            yield from self._told(answer)
        finished = self._finished(answer)
        if key is not None:
            self._corpus.answer_cache.put(key, finished.answer, self._passages, rewrite=self._searched.prompt)
        yield finished

    # --- a model writes ---------------------------------------------------------------------------------------

    def _generated(self, client: ChatClient, prompt: Prompt) -> Generator[AnswerEvent, None, Answer]:
        with self._timing("search"):
            self._passages = self._corpus.search_as(
                self._request.readers,
                self._searched.text,
                self._policy.passages,
                release=self._release,
                filters=self._request.filters,
            )
        blank = self._answer(GENERATED, prompt=prompt.id, model=client.policy.model)
        yield self._started(blank)
        if not self._passages:
            return replace(blank, refused=True, reason=NO_PASSAGES)
        writer = Writer(
            self._request.question,
            self._passages,
            searched=self._searched.text,
            prompt=prompt,
            client=client,
            boundary=self._request.boundary,
        )
        try:
            with self._timing("write"):
                yield from self._verified(writer)
        except GenerationError as error:
            url = client.policy.url
            LOG.warning(
                "answer %s is quoted, not written by the model at %s: %s (%s)", self._request.id, url, error, error.code
            )
            self._usage = _together(self._usage, writer.usage, client)  # it counts, although nothing came of it
            return (yield from self._fallen_back(error))
        except GeneratorExit:
            if self._sentences:
                usage = _together(self._usage, writer.usage, client)
                self._record(replace(blank, sentences=tuple(self._sentences), usage=usage), cancelled=True)
            raise
        self._usage = _together(self._usage, writer.usage, client)
        if writer.ending is not None:
            self._timings["first_token"] = writer.ending.first_token_seconds
        answer = replace(blank, sentences=tuple(self._sentences), dropped=tuple(self._dropped), usage=self._usage)
        if answer.sentences:
            return answer
        return replace(answer, refused=True, reason=NOT_SUPPORTED if self._dropped else NO_SUPPORT)

    def _verified(self, writer: Writer) -> Iterator[AnswerEvent]:
        """Yield what the checks say of each sentence that the model writes."""
        from headwater.answering.verification import SpanVerifier

        verifier = SpanVerifier(self._corpus.embedder_of(self._release), self._policy)
        said: set[str] = set()
        with closing(writer.drafts()) as drafts:
            for draft in drafts:
                if draft.text in said:
                    continue
                said.add(draft.text)
                with self._timing("verify"):
                    sentence, reason = check_draft(draft, writer.passages, writer.system_prompt, verifier)
                self._timings.setdefault("first_sentence", time.perf_counter() - self._began)
                if sentence is not None:
                    self._sentences.append(sentence)
                    yield SentenceReady(sentence)
                else:
                    self._dropped.append(reason)
                    yield SentenceDropped(reason)

    def _fallen_back(self, error: GenerationError) -> Generator[AnswerEvent, None, Answer]:
        reason = _FALLBACKS.get(error.code, _FALLBACK)
        if self._sentences or self._dropped:
            self._sentences, self._dropped = [], []
            yield Restarted(reason)
        answer = replace(self._quoted(), fallback=reason)
        yield from self._told(answer)
        return answer

    # --- sentences are quoted ---------------------------------------------------------------------------------

    def _quoted(self) -> Answer:
        with self._timing("quote"):
            answer, self._passages = self._corpus.answer_as(
                self._request.readers, self._searched.text, release=self._release, filters=self._request.filters
            )
        return replace(
            self._answer(QUOTED),
            sentences=answer.sentences,
            refused=answer.refused,
            reason=answer.reason,
            usage=self._usage,
        )

    # --- what both share --------------------------------------------------------------------------------------

    def _prompts(self) -> tuple[Prompt | None, Prompt | None]:
        """Choose what the answer is written with, and what its question is made to stand alone with."""
        request, client = self._request, self._client
        if client is None:
            return None, None
        prompts, key = self._corpus.prompts, request.conversation or request.id
        rewrites = client.policy.rewrite and request.history
        return prompts.choose(client.policy.prompt, key=key), prompts.choose("rewrite", key=key) if rewrites else None

    def _stand_alone(self, prompt: Prompt | None) -> None:
        """Find out what to search for: in a conversation, the question as it is understood there."""
        request, client = self._request, self._client
        if not request.history:
            return
        encoder = self._corpus.sparse_encoder_of(self._release)
        with self._timing("rewrite"):
            if client is not None and prompt is not None:
                self._searched = rewrite(
                    request.question,
                    request.history,
                    prompt=prompt,
                    client=client,
                    encoder=encoder,
                    boundary=request.rewrite_boundary,
                )
                self._usage = _together(None, self._searched.usage, client)
            else:
                self._searched = Standalone(by_rule(request.question, request.history, encoder))

    def _answer(self, method: str, *, prompt: str | None = None, model: str | None = None) -> Answer:
        request = self._request
        return Answer(
            id=request.id,
            question=request.question,
            sentences=(),
            refused=False,
            reason=None,
            release=self._release,
            method=method,
            searched=self._searched.text,
            prompt=prompt,
            model=model,
            conversation=request.conversation,
            turn=len(request.history),
        )

    def _started(self, answer: Answer) -> Started:
        return Started(
            id=answer.id,
            release=answer.release,
            method=answer.method,
            searched=answer.searched,
            prompt=answer.prompt,
            model=answer.model,
            passages=tuple(self._passages),
        )

    def _told(self, answer: Answer) -> Iterator[AnswerEvent]:
        """Yield the sentences of an answer that is whole; one that is left after a sentence is recorded so far."""
        told: list[Sentence] = []
        try:
            for sentence in answer.sentences:
                told.append(sentence)
                yield SentenceReady(sentence)
        except GeneratorExit:
            self._record(replace(answer, sentences=tuple(told)), cancelled=True)
            raise

    def _finished(self, answer: Answer) -> Finished:
        return Finished(self._record(answer))

    def _record(self, answer: Answer, *, cancelled: bool = False) -> Answer:
        """Write the answer down, and return it with its timings."""
        seconds = time.perf_counter() - self._began
        timings = {name: round(taken, 4) for name, taken in (*self._timings.items(), ("total", seconds))}
        answer = replace(answer, timings=timings)
        if not self._request.kept:
            return answer
        parameters: dict[str, Any] = self._policy.model_dump(mode="json")
        if self._searched.prompt is not None:
            parameters["rewrite_prompt"] = self._searched.prompt
        if cancelled:
            parameters["cancelled"] = True
        self._corpus.ledger.record_answer(
            self._corpus.name,
            answer,
            passages=self._passages,
            principal=self._request.principal,
            parameters=parameters,
            seconds=seconds,
            scrub=self._corpus.scrub,
        )
        return answer

    def _key(self, prompt: Prompt | None, rewriting: Prompt | None) -> AnswerKey | None:
        """Return what the answer is cached by, None when it is not."""
        if not self._request.kept or self._request.readers is None:
            return None
        from headwater.answer_log import key_of

        return key_of(
            self._corpus.name,
            self._corpus.pointer(),
            self._release,
            self._request.readers,
            self._request.question,
            prompt=prompt.id if prompt else None,
            rewrite=rewriting.id if rewriting else None,
            model=self._client.policy.model if self._client else None,
            parameters=self._corpus.policy.model_dump(mode="json"),
            filters=self._request.filters,
            history=self._request.history,
        )

    def _timing(self, name: str) -> _Timing:
        return _Timing(self._timings, name)


class _Timing:
    """Adds the seconds of a block to ``timings[name]``, and makes it a step of the trace."""

    def __init__(self, timings: dict[str, float], name: str) -> None:
        self._timings, self._name, self._began = timings, name, 0.0
        self._step = tracing.step(name)

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        self._step.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._step.__exit__(kind, error, traceback)
        self._timings[self._name] = self._timings.get(self._name, 0.0) + time.perf_counter() - self._began


def check_draft(
    draft: Draft, passages: Sequence[Passage], system_prompt: str, verifier: Verifier
) -> tuple[Sentence | None, DropReason]:
    """Return a draft from ``passages`` as a verified sentence, or why it is none."""
    cited = [passages[cite] for cite in draft.cites]
    if unsafe_output(draft.text, cited, system_prompt) is not None:
        return None, "unsafe"
    verified = verifier.check(draft, passages)
    return verified.sentence, (verified.reasons or ("unsupported",))[0]


def _together(one: Usage | None, other: Usage | None, client: ChatClient) -> Usage | None:
    """Return the tokens of two requests, and what they cost together."""
    if one is None or other is None:
        only = one or other
        return None if only is None else priced(only.prompt_tokens, only.completion_tokens, client)
    prompt_tokens = one.prompt_tokens + other.prompt_tokens
    return priced(prompt_tokens, one.completion_tokens + other.completion_tokens, client)
