"""The file format of prompt tests: ``<prompt>.yaml``, a list of cases under ``cases``.

An answer's case has a question, passages, and what is expected of the answer::

    cases:
      - name: a number stays as it stands in the passage
        question: How long is the notice period?
        passages:
          - {title: Leaving us, text: The notice period is six weeks.}
        expect: {refused: false, cites: [1], contains: [six weeks], excludes: [weeks or so]}

With a ``reply``, the case tests what becomes of that reply of a model; without, it is run by quoting and on a model. A
rewriting's case has a ``history`` of turns in the place of the passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from headwater.errors import ConfigError
from headwater.policies import Policy
from headwater.prompts.purposes import check_name
from headwater.types import DropReason, Passage, Turn
from headwater.yaml_files import read_yaml

Way: TypeAlias = Literal["quoted", "scripted", "rule", "model"]
"""How a case is answered: by quoting, from its reply, by the plain rule of rewriting, or by a real model."""

_CASES = Path(__file__).parents[1] / "tests"


class PassageText(Policy):
    """A passage of a case."""

    title: str = Field(default="", description="Title of its document.")
    text: str = Field(min_length=1, description="What it says.")


class Exchange(Policy):
    """An earlier exchange of a case's conversation."""

    question: str
    answer: str


class Written(Policy):
    """A sentence of a scripted reply. ``cites`` count passages from 1; any number may stand there."""

    text: str
    cites: list[int] = []


class ScriptedReply(Policy):
    """What a model is said to have replied."""

    refused: bool = False
    sentences: list[Written] = []


class AnswerExpectation(Policy):
    """What an answer must be like; what is not given does not matter. Words are found whatever their case."""

    refused: bool | None = Field(default=None, description="Whether it must be a refusal.")
    cites: list[int] = Field(default=[], description="Passages, from 1, that must be cited.")
    cites_only: list[int] | None = Field(default=None, description="No other passage may be cited.")
    contains: list[str] = Field(default=[], description="What the answer must say.")
    excludes: list[str] = Field(default=[], description="What it must not say.")
    dropped: list[DropReason] | None = Field(default=None, description="Why sentences must be left out, in order.")


class RewriteExpectation(Policy):
    """What a rewritten question must be like."""

    unchanged: bool = Field(default=False, description="It must be the question as it was asked.")
    contains: list[str] = Field(default=[], description="What it must hold, whatever the case.")
    excludes: list[str] = Field(default=[], description="What it must not hold.")


class AnswerCase(Policy):
    """One test of the ``answer`` prompt."""

    name: str = Field(min_length=1)
    question: str
    passages: list[PassageText] = Field(min_length=1)
    reply: ScriptedReply | None = None
    skip: list[Way] = Field(default=[], description="Ways that can't be held to it.")
    expect: AnswerExpectation

    @model_validator(mode="after")
    def _expects_something_that_can_be(self) -> AnswerCase:
        if self.expect == AnswerExpectation():
            raise ValueError("expect is empty: nothing could make the case fail")
        for cite in (*self.expect.cites, *(self.expect.cites_only or ())):
            if not 1 <= cite <= len(self.passages):
                raise ValueError(f"there is no passage {cite}; they count from 1 to {len(self.passages)}")
        if self.expect.dropped is not None and self.reply is None:
            raise ValueError("dropped can only be expected of a scripted reply")
        return self

    def sources(self) -> list[Passage]:
        """Return the passages as a search would have found them."""
        return [
            Passage(
                chunk_id=f"passage-{number}",
                doc_id=f"document-{number}",
                key=f"{number}.md",
                revision="test",
                release=1,
                title=one.title or f"{number}.md",
                section=(),
                page=None,
                start=0,
                end=len(one.text),
                text=one.text,
                score=1.0 / number,
            )
            for number, one in enumerate(self.passages, start=1)
        ]


class RewriteCase(Policy):
    """One test of the ``rewrite`` prompt."""

    name: str = Field(min_length=1)
    question: str
    history: list[Exchange] = Field(min_length=1)
    skip: list[Way] = Field(default=[], description="Ways that can't be held to it.")
    expect: RewriteExpectation

    @model_validator(mode="after")
    def _expects_something(self) -> RewriteCase:
        if self.expect == RewriteExpectation():
            raise ValueError("expect is empty: nothing could make the case fail")
        return self

    def turns(self) -> list[Turn]:
        """Return the conversation so far."""
        return [Turn(turn.question, turn.answer) for turn in self.history]


Case: TypeAlias = AnswerCase | RewriteCase


def packaged_cases() -> list[tuple[str, Case]]:
    """Return the cases that come with Headwater."""
    return read_cases(_CASES)


def read_cases(folder: Path) -> list[tuple[str, Case]]:
    """Return (prompt's name, case) of every ``<prompt>.yaml`` in ``folder``, in order.

    Raises ConfigError with file, case and field for what is not a case, and for two of one name.
    """
    found: list[tuple[str, Case]] = []
    for path in sorted(folder.glob("*.yaml")):
        check_name(path.stem)
        kind: type[AnswerCase] | type[RewriteCase] = (
            RewriteCase if path.stem.partition(".")[0] == "rewrite" else AnswerCase
        )
        names: set[str] = set()
        for number, content in enumerate(_contents(path), start=1):
            case = _case(kind, content, f"{path}: case {number}")
            if case.name in names:
                raise ConfigError(f"{path}: case {number}: there is another case of the name {case.name!r}.")
            names.add(case.name)
            found.append((path.stem, case))
    return found


def _contents(path: Path) -> Sequence[Any]:
    document, _ = read_yaml(path)
    if not isinstance(document, dict) or document.keys() != {"cases"} or not isinstance(document["cases"], list):
        raise ConfigError(f"{path}: the file must hold a list named 'cases', and nothing else.")
    return document["cases"]


def _case(kind: type[AnswerCase] | type[RewriteCase], content: Any, where: str) -> Case:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = (": ".join([*map(str, one["loc"]), one["msg"]]) for one in error.errors())
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from error
