"""What all policies have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Policy(BaseModel):
    """Base of all policies: immutable, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def compiled(patterns: list[str]) -> list[str]:
    """Return the regular expressions; ValueError when one can't be compiled or matches nothing at all."""
    import regex  # type: ignore[import-untyped]

    for pattern in patterns:
        try:
            if regex.compile(pattern).fullmatch(""):
                raise ValueError(f"the regular expression {pattern!r} matches an empty text")
        except regex.error as error:
            raise ValueError(f"not a regular expression: {pattern!r} ({error})") from error
    return patterns
