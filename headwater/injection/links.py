"""Links in a text, in the one form in which two spellings of the same link are equal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

SCHEME = re.compile(r"\b(?:javascript|data|vbscript|file|blob):(?=\S)", re.IGNORECASE)
"""Links that run or hold something, rather than lead somewhere."""

_ADDRESS = r"[^\s<>\"'`|\\^{}\[\]()]"
_LINK = re.compile(
    # A whole address, parentheses in pairs; or an e-mail address or host name, with what follows it.
    rf"(?P<whole>\b[a-z][a-z0-9+.-]{{1,15}}://(?:{_ADDRESS}|\({_ADDRESS}*\))+|\bmailto:{_ADDRESS}+)"
    rf"|(?P<bare>(?<![\w@.-])(?:[\w.+-]+@)?(?:[a-z0-9](?:[a-z0-9-]{{0,62}})\.)+[a-z]{{2,24}}(?![\w-])"
    rf"(?::\d{{1,5}})?(?:/(?:{_ADDRESS}|\({_ADDRESS}*\))*)?)",
    re.IGNORECASE,
)
_END = ".,:;!?*_'\""


def links(text: str, *, every: bool = False) -> Iterator[str]:
    """Yield the links of ``text``: addresses with a scheme, and host names and e-mail addresses without one.

    Without its scheme, ``www.``, the full stop of the sentence around it and its last slash; host names in small
    letters. A name with a dot counts as a host where its ending is a public suffix (so ``config.yaml`` is none, and
    ``notes.md`` is one), or where ``every`` such name is wanted.
    """
    for match in _LINK.finditer(text):
        found = match[0].rstrip(_END)
        host = re.split(r"[/:]", found, maxsplit=1)[0]
        plain = match["bare"] and "@" not in host and not host.lower().startswith("www.")
        if plain and not every and not _is_host(host):
            continue
        yield normal(found)


def normal(link: str) -> str:
    """Return a link in the form that :func:`links` gives."""
    bare = re.sub(r"^(?:[a-z][a-z0-9+.-]*://|mailto:)", "", link, flags=re.IGNORECASE)
    host, slash, path = bare.partition("/")
    host = host.lower().removeprefix("www.")
    return (host + slash + path).rstrip("/")


def _is_host(name: str) -> bool:
    ending = name.rpartition(".")[2]
    # "the end.It begins": a sentence that lacks a space, not a host.
    if not (ending.islower() or name.isupper()):
        return False
    return bool(_suffixes()(name.lower()).suffix)


@lru_cache(maxsize=1)
def _suffixes() -> Any:
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
