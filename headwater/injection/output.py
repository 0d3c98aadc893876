"""What a model may not put into an answer, whatever its sources say: the last check on what it wrote.

An injected instruction has to leave by the answer: a link that carries what was read away, an image that is fetched
as soon as it is shown (Rehberger 2023), text that nobody sees, the system prompt, or a marker that starts a turn in the
next model's input. None of them is let through unless a cited source holds it word for word; images never.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from headwater.injection.characters import UNSEEN, fold, without_unseen
from headwater.injection.links import SCHEME, links
from headwater.injection.markers import CONTROL_TOKEN
from headwater.injection.patterns import explicit_spans
from headwater.types import Passage

UnsafeReason = Literal["invisible", "image", "markup", "link", "prompt", "instruction"]

ECHO_WORDS = 8
"""As many words of the system prompt in a row, which no source holds, are an echo of it (in the field 5 to 13 are used
for verbatim overlap; 8 is Brown et al.'s lower bound, 2020, appendix C)."""

_IMAGE = re.compile(r"!\s*\[[^\]\n]*\]\s*[(\[:]|<\s*/?\s*(?:img|image|picture|svg|video|audio|source)\b", re.IGNORECASE)
_ACTIVE = re.compile(
    r"</?(?:a|applet|base|body|button|embed|form|frame|frameset|iframe|input|link|math|meta|object|script|style"
    r"|template)\b[^<]{0,400}>?",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-z][a-z0-9-]*(?:\s[^<>\n]{0,200})?/?>", re.IGNORECASE)
_TARGET = re.compile(r"\]\(\s*([^)\s]*)")
_FENCE_MARK = re.compile(r"\[\[\s*(?:source|end)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")


def unsafe_output(text: str, passages: Sequence[Passage], system_prompt: str = "") -> UnsafeReason | None:
    """Say why ``text``, which a model wrote from the cited ``passages``, must not be shown; None where it may be.

    ``invisible``: it has characters that nobody sees. ``image``: it holds an image, in Markdown or HTML. ``markup``: it
    holds a control token of a chat template, a mark of the prompt's blocks, an HTML tag that does something, or another
    that no passage holds. ``link``: a link, host name or e-mail address stands in none of the passages as it is here.
    ``prompt``: it repeats :data:`ECHO_WORDS` words of ``system_prompt`` (or all of a shorter one) that no passage
    holds. ``instruction``: it is itself an instruction to a model that ignores, reveals or plays a role.
    """
    if any(not match.lastgroup for match in UNSEEN.finditer(text)):
        return "invisible"
    if _IMAGE.search(text):
        return "image"
    sources = [part for passage in passages for part in (passage.text, passage.title, *passage.section)]
    if _is_markup(text, sources):
        return "markup"
    if SCHEME.search(text) or _has_new_link(text, sources):
        return "link"
    if _echoes(text, system_prompt, sources):
        return "prompt"
    return "instruction" if explicit_spans(without_unseen(text)[0]) else None


def _is_markup(text: str, sources: Iterable[str]) -> bool:
    folded = fold(text)
    if CONTROL_TOKEN.search(folded) or _FENCE_MARK.search(folded) or _ACTIVE.search(folded):
        return True
    tags = {tag[0].lower() for tag in _TAG.finditer(folded)}
    return bool(tags) and not tags <= {tag[0].lower() for part in sources for tag in _TAG.finditer(fold(part))}


def _has_new_link(text: str, sources: Iterable[str]) -> bool:
    found = set(links(text))
    targets = set(_TARGET.findall(text))
    if not found and not targets:
        return False
    sources = list(sources)
    known = {link for part in sources for link in links(part, every=True)}
    # A target that is no address, such as a path, has to stand in a source as it is.
    odd = [target for target in targets if not list(links(target))]
    return not found <= known or any(not any(f"]({target}" in part for part in sources) for target in odd)


def _echoes(text: str, prompt: str, sources: Iterable[str]) -> bool:
    asked = _words(prompt)
    length = min(ECHO_WORDS, len(asked))
    if not length:
        return False
    shared = _runs(_words(text), length) & _runs(asked, length)
    return bool(shared) and bool(shared - set().union(*(_runs(_words(part), length) for part in sources)))


def _words(text: str) -> list[str]:
    return _WORD.findall(fold(text).lower())


def _runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}
