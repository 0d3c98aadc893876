"""Prompts as files: those that come with Headwater, and a project's own in its ``prompts`` folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headwater.project import Project
from headwater.prompts.purposes import check_text, normal
from headwater.text_files import read_text

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A prompt as a file holds it; ``source`` says which file, without the folders of this machine."""

    name: str
    text: str
    source: str


def prompts_folder(project: Project) -> Path:
    """Return the folder of a project's own prompts and of their tests; it need not exist."""
    return project.root / "prompts"


def read_prompt_files(folder: Path | None = None) -> dict[str, PromptFile]:
    """Return the packaged prompts, and those of ``folder``/<name>.md in their place or beside them, by name.

    ``README.md`` is no prompt. Raises ConfigError with file and line for one that can't be used.
    """
    found = {path.stem: read_prompt_file(path, path.stem, "headwater") for path in sorted(TEMPLATES.glob("*.md"))}
    if folder is not None:
        for path in sorted(folder.glob("*.md")):
            if path.stem.lower() != "readme":
                found[path.stem] = read_prompt_file(path, path.stem, folder.name)
    return found


def read_prompt_file(path: Path, name: str, shown: str | None = None) -> PromptFile:
    """Return the text of ``path`` as prompt ``name``; ConfigError with file and line when it can't be one.

    ``shown`` stands for the folder in :attr:`PromptFile.source`.
    """
    text = normal(read_text(path))
    check_text(name, text, str(path))
    return PromptFile(name, text, f"{shown}/{path.name}" if shown else path.name)
