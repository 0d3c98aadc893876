"""Which tags in Markdown are HTML, and which are words that the author put between angle brackets.

``Use cp <source> <destination>`` is CommonMark's raw HTML, and an HTML parser would take what follows an opened
``<title>``, ``<object>`` or ``<table>`` into it, where nobody reads it. A tag is let through as HTML only where that can
lose nothing but the tag: it is known, and closed where it has to be. Everything else is shown as it was typed, as
GitHub's tag filter does with a few names.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from headwater.parsing.walk import LEFT_OUT

# Any other "tag" is a placeholder or a type parameter that the author meant to be read: <your-name>, List<String>.
_TAG_NAMES = """
    a abbr address article aside audio b big blockquote body br button caption center cite code col colgroup dd del
    details dfn div dl dt em embed fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i
    iframe img input ins kbd label legend li link main mark meta nav noscript object ol option p picture pre q s samp
    script section select small source span strike strong style sub summary sup svg table tbody td textarea tfoot th
    thead time title tr tt u ul var video wbr
"""
_TAGS = frozenset(_TAG_NAMES.split())
_NEVER_INLINE = frozenset(["body", "head", "html", "object", "option", "select", "template", "textarea", "title"])
"""Names that are words first; within a line nobody writes them as HTML."""

_ALWAYS_EMPTY = frozenset(["base", "col", "embed", "frame", "img", "input", "link", "meta", "param", "source", "track"])
"""Without an attribute they stand for nothing, so ``<link>`` and ``<source>`` are words."""

_BREAKS = frozenset(("br", "hr", "wbr"))
_MAY_STAY_OPEN = frozenset(
    ["center", "dd", "details", "div", "dt", "font", "li", "p", "span", "summary", "td", "th", "tr"]
)
"""Losing sight of their end costs no text."""

_SWALLOW = LEFT_OUT | frozenset(["body", "dir", "head", "html", "menu", "ol", "pre", "table", "ul"])
"""What stands in them is read otherwise than what stands beside them, or not at all."""

_RAW = frozenset(["iframe", "noembed", "noframes", "plaintext", "script", "style", "textarea", "title", "xmp"])
"""What they hold is no HTML to a parser: up to their end tag, or to the end of the document (as in GFM, 6.11)."""

_RAW_ENDS = {name: re.compile(f"</{name}", re.IGNORECASE) for name in _RAW - {"plaintext"}}

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)([^<>]*)(>?)")
# A comment is one piece, whatever stands in it.
_PIECE = re.compile(rf"<!--.*?(?:-->|\Z)|{_TAG.pattern}", re.DOTALL)
_VALUE = re.compile(r"[^\s=][ \t]*=")


@dataclass(slots=True)
class _Tag:
    name: str
    closes: bool
    place: int
    ends: bool
    """It has its ">". Without, it would go on to the next one in the document."""

    stated: bool
    """It has an attribute with a value."""

    paired: bool = False


def escape_placeholders(state: Any) -> None:
    """Escape the tags that are none, in the tokens of a document; a rule for markdown-it's core, after ``inline``."""
    blocks: list[tuple[Any, list[_Tag]]] = []
    for token in state.tokens:
        if token.type == "html_block":
            blocks.append((token, list(_tags(token.content))))
        elif token.type == "inline" and token.children:
            _escape_inline([child for child in token.children if child.type == "html_inline"])
    _pair(tag for _, tags in blocks for tag in tags if tag.name not in _RAW)
    for token, tags in blocks:
        _escape_block(token, tags)


def _escape_inline(tokens: list[Any]) -> None:
    found = [(token, tag) for token in tokens if (tag := _tag(_TAG.match(token.content))) is not None]
    _pair(tag for _, tag in found)
    for token, tag in found:
        if tag.name in _NEVER_INLINE or tag.name not in _TAGS or not _is_html(tag):
            token.content = html.escape(token.content)


def _escape_block(token: Any, tags: list[_Tag]) -> None:
    content: str = token.content
    if tags and tags[0].place == len(content) - len(content.lstrip()) and tags[0].name not in _TAGS:
        token.content = f"<p>{html.escape(content)}</p>"
        return
    pieces: list[str] = []
    end = 0
    for tag in tags:
        if not _is_html(tag):
            pieces.extend((content[end : tag.place], "&lt;"))
            end = tag.place + 1
    token.content = "".join((*pieces, content[end:]))


def _is_html(tag: _Tag) -> bool:
    if not tag.ends:
        return False
    if tag.name in _BREAKS:
        return True
    if tag.closes:  # one without a start tag is passed over by the parser, and most end what another part opened
        return tag.paired or (tag.name in _TAGS and tag.name not in _RAW and tag.name not in _NEVER_INLINE)
    if tag.name in _ALWAYS_EMPTY:
        return tag.stated
    return tag.paired or tag.name in _MAY_STAY_OPEN or (tag.stated and tag.name in _TAGS - _SWALLOW)


def _tags(content: str) -> Iterator[_Tag]:
    """Yield the tags of a block; what a raw element holds, such as a script's strings, has none."""
    unended = {"plaintext"}
    raw_until = 0
    for match in _PIECE.finditer(content):
        tag = _tag(match)
        if tag is None or tag.place < raw_until:
            continue
        if tag.name in _RAW:  # paired here: the end has to stand in the same block
            if tag.closes:
                tag.paired = tag.place == raw_until > 0
            elif tag.name not in unended:
                end = _RAW_ENDS[tag.name].search(content, match.end())
                if end is None:
                    unended.add(tag.name)  # or each of a thousand would be looked for to the end
                else:
                    raw_until, tag.paired = end.start(), True
        yield tag


def _tag(match: re.Match[str] | None) -> _Tag | None:
    if match is None or match[2] is None:
        return None
    stated = _VALUE.search(match[3]) is not None
    return _Tag(match[2].lower(), bool(match[1]), match.start(), bool(match[4]), stated)


def _pair(tags: Iterable[_Tag]) -> None:
    opened: dict[str, list[_Tag]] = {}
    for tag in tags:
        if not tag.closes:
            opened.setdefault(tag.name, []).append(tag)
        elif not tag.paired and opened.get(tag.name):
            tag.paired = opened[tag.name].pop().paired = True
