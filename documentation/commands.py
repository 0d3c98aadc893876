"""The page of the ``headwater`` command, from the command tree itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from documentation.markdown import code, table, text

_KINDS = {"integer range": "N", "integer": "N", "float range": "X", "float": "X", "choice": "WORD"}

INTRODUCTION = """\
# Commands

Commands work on the project around the working directory, or the one that `HEADWATER_PROJECT` names. Each has `--help`;
the exit code is 0 only on success, and a mistake is one message on standard error.

"""


def commands_page() -> str:
    """Return the page of all commands."""
    import typer.main

    from headwater.cli import app

    root: Any = typer.main.get_command(app)
    found = list(leaves(root, "headwater"))
    summary = table(
        ("command", "does"), [(f"[`{name}`](#{_anchor(name)})", text(_first(command.help))) for name, command in found]
    )
    return INTRODUCTION + summary + "".join(_section(name, command) for name, command in found)


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its full name."""
    inner = getattr(command, "commands", {})
    if (not inner or command.invoke_without_command) and name != "headwater":
        yield name, command
    for sub, found in inner.items():
        if not found.hidden:
            yield from leaves(found, f"{name} {sub}")


def parameters(command: Any) -> list[Any]:
    """Return what a command takes, less ``--help``."""
    return [found for found in command.params if found.name != "help" and not getattr(found, "hidden", False)]


def _section(name: str, command: Any) -> str:
    arguments = [found for found in parameters(command) if found.param_type_name == "argument"]
    options = [found for found in parameters(command) if found.param_type_name == "option"]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *(_metavar(found) for found in arguments)])
    paragraphs = [text(part) for part in (command.help or "").split("\n\n")]
    rows = [(code(_metavar(found)), _meaning(found), "") for found in arguments]
    rows += [(code(_spelling(found)), _meaning(found), _default(found)) for found in options]
    shown = table(("argument or option", "meaning", "default"), rows) if rows else ""
    return f"\n## {name} {{ #{_anchor(name)} }}\n\n```console\n{usage}\n```\n\n" + "\n\n".join([*paragraphs, shown])


def _metavar(argument: Any) -> str:
    named = argument.metavar or argument.name.upper()
    return named if argument.required else f"[{named}]"


def _spelling(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    return f"{names} {option.metavar or _KINDS.get(option.type.name, option.type.name.upper())}"


def _meaning(parameter: Any) -> str:
    choices = ", ".join(code(str(choice)) for choice in getattr(parameter.type, "choices", ()))
    return " ".join(part for part in (text(parameter.help or ""), f"One of {choices}." if choices else "") if part)


def _default(option: Any) -> str:
    value = option.default
    shown = "" if value in (None, False, (), []) or callable(value) else code(str(value))
    variable = f"`{option.envvar}`" if getattr(option, "envvar", None) else ""
    return " or ".join(part for part in (variable, shown) if part)


def _first(words: str | None) -> str:
    return (words or "").split("\n\n")[0]


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
