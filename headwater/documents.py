"""Listing the documents of a corpus' live release, for whoever may read them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from headwater.errors import LakeError, NotFoundError
from headwater.source.keys import begins_with

if TYPE_CHECKING:
    from headwater.ledger import Ledger
    from headwater.tables import Tables


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """A document of a release; ``size`` is its object's in bytes, ``modified`` when that was last written (UTC)."""

    doc_id: str
    key: str
    title: str
    revision: str
    content_type: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Some documents in order of key; ``after`` is the key that the next page starts after, None on the last."""

    release: int
    documents: list[ListedDocument]
    after: str | None


def page_of_documents(
    corpus: str,
    tables: Tables,
    ledger: Ledger,
    *,
    readers: Collection[str],
    prefix: str = "",
    after: str | None = None,
    limit: int = 100,
) -> DocumentPage:
    """Return at most ``limit`` documents of the live release with keys behind ``after``, under ``prefix``.

    Only documents that one of the groups ``readers`` may read, both in the release and as the bucket has it now.
    Raises NotFoundError without a live release, LakeError when the tables can't be read.
    """
    try:
        return _page(corpus, tables, ledger, readers, prefix, after, limit)
    except (LakeError, FileNotFoundError, pl.exceptions.PolarsError):
        # An erasure may just have rewritten the lake's history: its new versions are in the ledger now.
        return _page(corpus, tables, ledger, readers, prefix, after, limit)


def readable_documents(tables: Tables, doc_ids: Collection[str], readers: Collection[str]) -> frozenset[str]:
    """Return those of ``doc_ids`` that one of the groups ``readers`` may read as the bucket has it now.

    Raises LakeError when the tables can't be read.
    """
    if not doc_ids:
        return frozenset()
    wanted = pl.col("doc_id").is_in(list(doc_ids)) & _allowed(readers)

    def read() -> frozenset[str]:
        return frozenset(tables.source_objects.scan().filter(wanted).select("doc_id").collect()["doc_id"])

    try:
        return read()
    except (LakeError, FileNotFoundError, pl.exceptions.PolarsError):  # as above
        return read()


def _allowed(readers: Collection[str]) -> pl.Expr:
    return pl.col("readers").list.eval(pl.element().is_in(list(readers))).list.any()


def _page(
    corpus: str,
    tables: Tables,
    ledger: Ledger,
    readers: Collection[str],
    prefix: str,
    after: str | None,
    limit: int,
) -> DocumentPage:
    number = ledger.live(corpus)
    if number is None:
        raise NotFoundError(f"Corpus {corpus!r} has no live release yet.")
    versions = ledger.release(corpus, number).table_versions
    allowed = _allowed(readers)
    held = tables.index_manifest.scan(versions["index_manifest"]).select("doc_id").unique()
    now = tables.source_objects.scan().filter(allowed).select("doc_id")
    wanted = tables.source_objects.scan(versions["source_objects"]).filter(allowed)
    if prefix:
        wanted = wanted.filter(begins_with(prefix))
    if after is not None:
        wanted = wanted.filter(pl.col("key") > after)
    objects = (
        wanted.select("doc_id", "key", "revision", "size", "last_modified")
        .join(held, on="doc_id", how="semi")
        .join(now, on="doc_id", how="semi")
        .collect()
    )
    shown = objects.bottom_k(limit, by="key").sort("key")
    of_page = pl.col("doc_id").is_in(shown["doc_id"].to_list())
    titles = tables.anonymized_documents.scan(versions["anonymized_documents"]).filter(of_page)
    kinds = tables.parsed_documents.scan(versions["parsed_documents"]).filter(of_page)
    rows = shown.join(titles.select("doc_id", "title").collect(), on="doc_id", how="left").join(
        kinds.select("doc_id", "content_type").collect(), on="doc_id", how="left"
    )
    documents = [
        ListedDocument(
            doc_id=row["doc_id"],
            key=row["key"],
            title=row["title"] or row["key"],
            revision=row["revision"],
            content_type=row["content_type"] or "",
            size=row["size"],
            modified=row["last_modified"],
        )
        for row in rows.sort("key").iter_rows(named=True)
    ]
    return DocumentPage(number, documents, documents[-1].key if len(documents) < objects.height else None)
