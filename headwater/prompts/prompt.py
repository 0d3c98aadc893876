"""A prompt: a text with named placeholders, as one numbered version of it.

A placeholder is ``{{name}}``: lower-case letters, digits and underscores, a letter first. Nothing else is ever
evaluated, so a template can't read attributes or call anything, and a value that itself holds ``{{name}}`` is
inserted as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headwater.errors import ConfigError

_PLACEHOLDER = re.compile(r"\{\{ ?([a-z][a-z0-9_]*) ?\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a prompt. ``label`` says through which label it was chosen; empty when it was asked for outright."""

    name: str
    version: int
    text: str
    label: str = ""

    @property
    def id(self) -> str:
        """Name and version, as answers keep it: ``answer@3``."""
        return f"{self.name}@{self.version}"

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of the placeholders in the text."""
        return placeholders(self.text)

    def render(self, **values: object) -> str:
        """Return the text with every placeholder replaced by the value of its name, in one pass.

        Raises ConfigError for a placeholder without a value. A value that the text has no place for is left out: two
        versions of one prompt need not use the same ones.
        """
        missing = self.placeholders - values.keys()
        if missing:
            raise ConfigError(f"Prompt {self.id} needs a value for {_names(missing)}.")
        return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), self.text)


def placeholders(text: str) -> frozenset[str]:
    """Return the names of the placeholders in ``text``."""
    return frozenset(_PLACEHOLDER.findall(text))


def without_placeholders(text: str) -> str:
    """Return ``text`` with its placeholders cut out: where braces still open here, one was written wrongly."""
    return _PLACEHOLDER.sub("", text)


def _names(names: frozenset[str]) -> str:
    return ", ".join(f"{{{{{name}}}}}" for name in sorted(names))
