"""Markdown: CommonMark with tables, rendered to HTML and partitioned as such.

markdown-it-py instead of unstructured's own Markdown route: that one (Python-Markdown) follows the 2004 rules, under which
a list needs a blank line before it and four spaces of indent to nest, so lists written for GitHub run into
their paragraphs.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

import yaml

from headwater.parsing.blocks import Block
from headwater.parsing.html import html_blocks
from headwater.parsing.metadata import date_of, people_of, words_of
from headwater.parsing.placeholders import escape_placeholders

_YAML_BLOCK = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML_BLOCK = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_MAX_FRONT_MATTER = 64 * 1024
_HEADING_ID = re.compile(r"^(#{1,6}[ \t].*?)[ \t]*\{#[^}\n]*\}[ \t]*$", re.MULTILINE)
_MAX_NESTING = 100  # markdown-it's own limit of 20 drops what lies deeper


class _NoAliasLoader(yaml.SafeLoader):
    """Plain YAML without aliases: a few of them expand to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; an alias is an error."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed in front matter")
        return super().compose_node(parent, index)


def markdown_blocks(text: str) -> tuple[list[Block], dict[str, Any]]:
    """Return the blocks, and the front matter as ``front_matter`` with what is known by name lifted out.

    ``front_matter`` is flat: nested keys are joined with dots, values are text, numbers and booleans; a list of those
    becomes one text with commas. ``title``, ``authors``, ``date``, ``modified``, ``language`` and ``keywords`` are
    filled from the usual keys (Jekyll's, Hugo's, Docusaurus's, Pandoc's).
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    metadata: dict[str, Any] = {}
    front_matter, body, note = split_front_matter(text)
    if front_matter:
        metadata = {"front_matter": _flat(front_matter), **_known_fields(front_matter)}
    if note:
        metadata["notes"] = [note]
    blocks, _ = html_blocks(_renderer().render(_HEADING_ID.sub(r"\1", body)), keep_furniture=True)
    return blocks, metadata


def _known_fields(front_matter: Mapping[str, Any]) -> dict[str, Any]:
    lower = {key.lower(): value for key, value in front_matter.items() if value not in (None, "", [], {})}

    def first(*names: str) -> Any:
        return next((lower[name] for name in names if name in lower), None)

    authors = first("authors", "author")
    if isinstance(authors, list):  # Docusaurus and Pandoc write people as mappings with a name
        authors = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in authors]
    elif isinstance(authors, Mapping):
        authors = authors.get("name")
    title, language = first("title"), first("lang", "language")
    fields = {
        "title": str(title) if isinstance(title, (str, int, float)) else None,
        "authors": people_of(authors),
        "date": date_of(first("date", "published", "created")),
        "modified": date_of(first("modified", "updated", "lastmod", "last_modified", "last_updated")),
        "language": language if isinstance(language, str) else None,
        "keywords": words_of([*_listed(first("keywords")), *_listed(first("tags"))]),
    }
    return {key: value for key, value in fields.items() if value}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    flat: dict[str, str | int | float | bool] = {}
    for key, entry in value.items():
        name = f"{prefix}{key}"
        if isinstance(entry, Mapping):
            flat.update(_flat(entry, f"{name}."))
        elif isinstance(entry, list):
            simple = [str(item) for item in entry if isinstance(item, (str, int, float))]
            if simple:
                flat[name] = ", ".join(simple)
        elif entry is not None:
            flat[name] = entry
    return flat


def split_front_matter(text: str) -> tuple[dict[str, Any], str, str | None]:
    """Return the front matter (YAML between ``---``, TOML between ``+++``), the rest, and a note when it can't be read.

    A block that is no mapping stays in the text: ``---`` may open a document with a rule, too.
    """
    for pattern, load in ((_YAML_BLOCK, _load_yaml), (_TOML_BLOCK, tomllib.loads)):
        match = pattern.match(text)
        if match is None or len(match[1]) > _MAX_FRONT_MATTER:
            continue
        try:
            value = _plain(load(match[1]))
        except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
            return {}, text, f"the front matter can't be read ({type(error).__name__}) and stays in the text"
        if isinstance(value, dict):
            return value, text[match.end() :], None
        if value is None:
            return {}, text[match.end() :], None
    return {}, text, None


def _load_yaml(text: str) -> Any:
    return yaml.load(text, _NoAliasLoader)


def _plain(value: Any) -> Any:
    """Return the value as JSON can hold it. Raises ValueError for a number with more digits than Python writes (4,300)."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    written = str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else written


@lru_cache(maxsize=1)
def _renderer() -> Any:
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": True, "maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    renderer.core.ruler.after("inline", "placeholders", escape_placeholders)
    renderer.add_render_rule("s_open", lambda *_: "<s>")
    renderer.add_render_rule("s_close", lambda *_: "</s>")
    return renderer
