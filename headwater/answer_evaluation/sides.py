"""The sides of a comparison: one corpus, answering by another prompt, model, release or policy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from headwater.errors import ConfigError
from headwater.policies import CorpusPolicy

if TYPE_CHECKING:
    from headwater.corpus import Corpus

_PROMPT = re.compile(r"answer(?:\.[^@\s]+)?@(?:\d+|[a-z][a-z0-9_-]*)")
_PARTS = ("answer", "retrieval")
"""The parts of a corpus' policy that act when a question is asked; the others made the release."""


@dataclass(frozen=True, slots=True)
class Side:
    """What differs from the corpus as it is configured.

    ``prompt`` names a version or label of a system prompt (``answer@3``); ``release`` is None for the live one;
    ``settings`` maps dotted fields of the policy (``answer.min_support``) to values.
    """

    prompt: str | None = None
    release: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def parse_side(text: str) -> Side:
    """Return the side that ``key=value,key=value`` describes.

    Keys are ``prompt`` (``answer@3``, or ``answer@candidate``), ``release``, ``model`` (short for ``llm.model``; ``none``
    quotes without a model), and any field of the corpus' answer policy (``min_support``, ``llm.temperature``) or
    retrieval policy (``retrieval.`` before its name). Raises ConfigError for anything else.
    """
    prompt: str | None = None
    release: int | None = None
    settings: dict[str, Any] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value):
            raise ConfigError(f"{pair!r} is not KEY=VALUE, such as prompt=answer@3 or release=7.")
        if key == "prompt":
            # No golden question is one of a conversation, so the prompt that rewrites those has no part in it.
            if prompt is not None or not _PROMPT.fullmatch(value):
                raise ConfigError(
                    f"{pair!r} is not one version of an answerer's prompt, such as prompt=answer@3 or prompt=answer@candidate."
                )
            prompt = value
        elif key == "release":
            if release is not None or not value.isdecimal():
                raise ConfigError(f"{pair!r} is not one release's number.")
            release = int(value)
        elif key == "model":
            if value.lower() == "none":
                _once(settings, "answer.llm", None)
            else:
                _once(settings, "answer.llm.model", value)
        else:
            part, _, rest = key.partition(".")
            _once(settings, key if rest and part in _PARTS else f"answer.{key}", _scalar(pair, value))
    return Side(prompt, release, settings)


@dataclass(frozen=True, slots=True)
class OpenSide:
    """A side ready to be asked: its own corpus, which release answers, and by which prompt (None without a model)."""

    corpus: Corpus
    release: int
    prompt: str | None

    def same_as(self, other: OpenSide) -> bool:
        """Say whether both would answer alike, whatever words they were described with."""
        mine = (self.corpus.policy, self.release, self.prompt)
        return mine == (other.corpus.policy, other.release, other.prompt)


@contextmanager
def open_side(corpus: Corpus, side: Side) -> Iterator[OpenSide]:
    """Open the corpus anew as ``side`` has it. Without a prompt of its own it has the live version, A/B test or not.

    Raises ConfigError for a setting that the policy does not take and for a prompt where no model reads it,
    NotFoundError for a prompt, label or release that does not exist.
    """
    from headwater.corpus import Corpus
    from headwater.prompts import PromptRegistry
    from headwater.prompts.files import prompts_folder

    policy = changed_policy(corpus.policy, side.settings)
    if side.prompt is not None:
        if policy.answer.llm is None:
            raise ConfigError(
                f"prompt={side.prompt} changes nothing: corpus {corpus.name!r} answers without a model, by quoting. "
                "Name a model in answer.llm of its defs.yaml."
            )
        policy = changed_policy(policy, {"answer.llm.prompt": side.prompt.partition("@")[0]})
    with Corpus(corpus.name, policy, corpus.project) as opened:
        prompt = None
        if policy.answer.llm is not None:
            chosen = opened.prompts.find(side.prompt or policy.answer.llm.prompt)
            prompt, pins = chosen.id, {chosen.name: chosen.version}
            opened.prompts = PromptRegistry(opened.ledger, prompts_folder(corpus.project), pins=pins)
        with opened.searcher(side.release) as searcher:
            release = searcher.release
        yield OpenSide(opened, release, prompt)


def changed_policy(policy: CorpusPolicy, settings: Mapping[str, Any]) -> CorpusPolicy:
    """Return ``policy`` with dotted fields set; ConfigError names the field that is unknown or has a wrong value."""
    updates: dict[str, Any] = {}
    for part in _PARTS:
        changes = {name.partition(".")[2]: value for name, value in settings.items() if name.split(".")[0] == part}
        if not changes:
            continue
        if part not in CorpusPolicy.model_fields:
            raise ConfigError(f"There is no policy {part!r} to set {next(iter(changes))!r} of.")
        before = getattr(policy, part)
        content = before.model_dump()
        for name, value in changes.items():
            _set(content, name.split("."), value)
        try:
            updates[part] = type(before).model_validate(content)
        except ValidationError as error:
            problems = (f"{part}.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise ConfigError("\n".join(problems)) from error
    return policy.model_copy(update=updates)


def _set(content: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        if not isinstance(content.get(name), dict):
            content[name] = {}
        content = content[name]
    content[path[-1]] = value


def _once(into: dict[str, Any], key: str, value: Any) -> None:
    if key in into:
        raise ConfigError(f"{key!r} is given twice.")
    into[key] = value


def _scalar(pair: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{pair!r}: the value can't be read.") from error
