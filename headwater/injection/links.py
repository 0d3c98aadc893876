"""Links in a text, in the one form in which two spellings of the same link are equal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

SCHEME = re.compile(r"\b(?:javascript|data|vbscript|file|blob):(?=\S)", re.IGNORECASE)
"""Links that run or hold something, rather than lead somewhere."""

_ADDRESS = r"[^\s<>\"'`|\\^{}\[\]()]"
_PATH = rf"(?:/(?:{_ADDRESS}|\({_ADDRESS}*\))*)"
# What may stand in an internationalised name beside ASCII: letters and marks of all scripts, no punctuation or signs.
_FOREIGN = "\u00c0-\u1fff\u2c00-\u2fff\u3040-\ud7ff\uf900-\ufdff\U00010000-\U0003ffff"
_LABEL = rf"[a-z0-9{_FOREIGN}][a-z0-9{_FOREIGN}-]{{0,62}}"
_LINK = re.compile(
    # A whole address, parentheses in pairs; a file share; a numeric address with a port or path behind it; or an e-mail
    # address or host name, with what follows it. The lengths keep hostile texts from taking more than linear time.
    rf"(?P<whole>\b[a-z][a-z0-9+.-]{{1,15}}://(?:{_ADDRESS}|\({_ADDRESS}*\)|\[[0-9a-f:.]{{2,45}}\])+"
    rf"|\bmailto:{_ADDRESS}+|(?<![\w\\])\\\\[\w.$-]{{1,253}}\\(?=\w)[^\s<>\"'`|()]+"
    rf"|(?<![\w.-])(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}(?:(?::[0-9]{{1,5}}){_PATH}?|{_PATH}))"
    rf"|(?P<bare>(?<![\w.-])(?:[\w.+-]{{1,64}}@)?(?:{_LABEL}\.)+(?:xn--[a-z0-9-]{{2,59}}|[a-z{_FOREIGN}]{{2,24}})(?![\w-])"
    rf"(?::[0-9]{{1,5}})?{_PATH}?)",
    re.IGNORECASE,
)
_END = ".,:;!?*_'\""

# "1.公司": a numbered heading, where no space follows the number and the word happens to be a public suffix.
_HEADING = re.compile(rf"[0-9]{{1,2}}\.[{_FOREIGN}]+")

# Browsers read it as a dot in a name. Between letters that are written without spaces it ends sentences.
_WIDE_STOP = re.compile("(?<=[^\\W_])(?<![\u2e80-\U0003ffff])\u3002(?=[^\\W_])(?![\u2e80-\U0003ffff])")


_REMEMBERED = 20_000


class _Compatible(dict[int, str]):
    """Each character in its compatibility form (NFKC), one by one: no run of marks has to be put in order."""

    def __missing__(self, point: int) -> str:
        form = unicodedata.normalize("NFKC", chr(point))
        if len(self) < _REMEMBERED:  # a hostile text may hold every character there is
            self[point] = form
        return form


_COMPATIBLE = _Compatible()


def links(text: str, *, every: bool = False) -> Iterator[str]:
    """Yield the links of ``text``: addresses with a scheme, and host names and e-mail addresses without one.

    Without its scheme, ``www.``, the full stop of the sentence around it and its last slash; host names in small
    letters, full-width and other compatibility forms as the plain ones. A name with a dot counts as a host where its
    ending is a public suffix (so ``config.yaml`` is none, and ``notes.md`` is one), or where ``every`` such name is
    wanted; four numbers (``10.0.0.1``) where a port or path follows.
    """
    for match in _LINK.finditer(_plain(text)):
        found = match[0].rstrip(_END)
        host = re.split(r"[/:]", found, maxsplit=1)[0]
        plain = match["bare"] and "@" not in host and not host.lower().startswith("www.")
        if plain and not every and (not _is_host(host) or _HEADING.fullmatch(found)):
            continue
        yield normal(found)


def _plain(text: str) -> str:
    return text if text.isascii() else _WIDE_STOP.sub(".", text.translate(_COMPATIBLE))


def normal(link: str) -> str:
    """Return a link in the form that :func:`links` gives."""
    bare = re.sub(r"^(?:[a-z][a-z0-9+.-]*://|mailto:)", "", link, flags=re.IGNORECASE)
    host, slash, path = bare.partition("/")
    host = host.lower().removeprefix("www.")
    return (host + slash + path).rstrip("/")


def _is_host(name: str) -> bool:
    ending = name.rpartition(".")[2]
    # "the end.It begins": a sentence that lacks a space, not a host.
    if not (ending == ending.lower() or name.isupper()):
        return False
    return bool(_suffixes()(name.lower()).suffix)


@lru_cache(maxsize=1)
def _suffixes() -> Any:
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
