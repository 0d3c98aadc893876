"""Opening what the action ``encrypt`` wrote: for who has the key and gives a reason, and never without a record."""

from __future__ import annotations

import getpass
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from headwater.audit import audited
from headwater.errors import ConfigError, HeadwaterError, NotFoundError
from headwater.hashing import document_id
from headwater.privacy.actions import TOKEN, reveal
from headwater.source.keys import as_listed

if TYPE_CHECKING:
    from headwater.corpus import Corpus

REVEAL = "document.reveal"
"""What the audit log calls it, whether it succeeded or not."""

_COLUMNS = ("text", "title", "metadata")


@dataclass(frozen=True, slots=True)
class Revealed:
    """One encrypted value: its token, what it is, and what it says.

    ``value`` is None for what only looks like a token of this corpus: anyone can write one into a document.
    """

    token: str
    entity: str
    value: str | None


def reveal_token(corpus: Corpus, token: str, *, reason: str, who: str | None = None) -> Revealed:
    """Return what a token of the corpus stands for, and record who asked and why.

    Raises ConfigError without a reason or the key, HeadwaterError for a token that the key doesn't open; the audit log has
    that, too.
    """
    with audited(corpus.ledger, REVEAL, corpus=corpus.name, who=who) as noted:
        opened = _open(corpus, token.strip())
        documents = corpus.tables.anonymized_documents.scan()
        holding = documents.filter(_holds(opened.token)).select("doc_id").collect()["doc_id"].to_list()
        _record(corpus, [opened], holding, reason, who)
        noted.add(counts={"values": 1, "documents": len(holding)})
    return opened


def reveal_document(corpus: Corpus, key: str, *, reason: str, who: str | None = None) -> list[Revealed]:
    """Return what every token in the newest state of the document at ``key`` stands for, and record it.

    Raises NotFoundError when the corpus has no such document, ConfigError without a reason or the key, HeadwaterError
    when the key opens none of them; the audit log has that, too.
    """
    key = as_listed(key, corpus.tables.source_objects.read(["key"])["key"])
    doc_id = document_id(corpus.name, key)
    with audited(corpus.ledger, REVEAL, corpus=corpus.name, who=who, target=doc_id) as noted:
        opened = _tokens_of(corpus, doc_id, key)
        found = [item for item in opened if item.value is not None]
        _record(corpus, found, [doc_id], reason, who)
        noted.add(counts={"values": len(found), "documents": 1})
    return opened


def _tokens_of(corpus: Corpus, doc_id: str, key: str) -> list[Revealed]:
    rows = corpus.tables.anonymized_documents.scan().filter(pl.col("doc_id") == doc_id).collect()
    if rows.is_empty():
        raise NotFoundError(f"Corpus {corpus.name!r} has no anonymised document {key!r}.")
    row = rows.row(0, named=True)
    headings = [heading for element in row["elements"] or () for heading in element["section"]]
    texts = [*(row[name] or "" for name in _COLUMNS), *headings]
    tokens = dict.fromkeys(match[0] for text in texts for match in TOKEN.finditer(text))
    opened = [_try_open(corpus, token) for token in tokens]
    if opened and all(item.value is None for item in opened):
        _open(corpus, opened[0].token)  # says why
    return opened


def _holds(token: str) -> pl.Expr:
    columns = [pl.col(name).fill_null("").str.contains(token, literal=True) for name in _COLUMNS]
    headings = pl.element().struct.field("section").list.join("\n").str.contains(token, literal=True)
    return pl.any_horizontal(*columns, pl.col("elements").list.eval(headings).list.any().fill_null(False))


def _try_open(corpus: Corpus, token: str) -> Revealed:
    try:
        return _open(corpus, token)
    except ConfigError:
        raise
    except HeadwaterError:
        return Revealed(token, token[1 : token.index(":")], None)


def _open(corpus: Corpus, token: str) -> Revealed:
    return Revealed(token, *reveal(token, corpus.policy.privacy, corpus.name))


def _record(corpus: Corpus, opened: list[Revealed], documents: list[str], reason: str, who: str | None) -> None:
    """Record a reveal before anyone sees it."""
    words = " ".join(reason.split())
    if not words:
        raise ConfigError("Say why the values are opened: the ledger keeps the reason.")
    entities = Counter(item.entity for item in opened)
    corpus.ledger.record_reveal(
        corpus.name, who=who or getpass.getuser(), reason=words, entities=entities, documents=documents
    )
