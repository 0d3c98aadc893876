"""Listing the documents of a corpus' live release, for whoever may read them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from headwater.errors import LakeError, NotFoundError
from headwater.releases import KEPT
from headwater.source.attachments import decider
from headwater.source.keys import begins_with

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.ledger import ReleaseInfo


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
    corpus: Corpus,
    *,
    readers: Collection[str],
    prefix: str = "",
    after: str | None = None,
    limit: int = 100,
) -> DocumentPage:
    """Return at most ``limit`` documents of the live release with keys behind ``after``, under ``prefix``.

    Only documents that one of the groups ``readers`` may read, both as the release leaves them and as the bucket has it
    now: those that open. What is not listed any more keeps the readers that the release leaves it. Raises NotFoundError
    without a live release, LakeError when the tables can't be read.
    """
    try:
        return _page(corpus, readers, prefix, after, limit)
    except (LakeError, FileNotFoundError, pl.exceptions.PolarsError):
        # An erasure may just have rewritten the lake's history: its new versions are in the ledger now.
        return _page(corpus, readers, prefix, after, limit)


def readable_documents(
    corpus: Corpus, doc_ids: Collection[str], readers: Collection[str], release: int
) -> frozenset[str]:
    """Return those of ``doc_ids`` that one of the groups ``readers`` may read as the bucket has it now.

    What is not listed any more keeps the readers that ``release`` leaves it, as long as that is kept and holds it.
    Raises LakeError when the tables can't be read.
    """
    if not doc_ids:
        return frozenset()

    def read() -> frozenset[str]:
        now = _open_now(corpus, doc_ids, readers)
        unlisted = [doc_id for doc_id in doc_ids if doc_id not in now]
        allowed = frozenset(doc_id for doc_id, is_open in now.items() if is_open)
        return allowed | _left_to(readers, corpus, unlisted, corpus.ledger.release(corpus.name, release))

    try:
        return read()
    except (LakeError, FileNotFoundError, pl.exceptions.PolarsError):  # as above
        return read()


def _allowed(readers: Collection[str]) -> pl.Expr:
    return pl.col("readers").list.eval(pl.element().is_in(list(readers))).list.any().fill_null(False)


def _open_now(corpus: Corpus, doc_ids: Collection[str], readers: Collection[str]) -> dict[str, bool]:
    """Return those of the documents that are listed now, and whether one of ``readers`` may read them."""
    wanted = corpus.tables.source_objects.scan().filter(pl.col("doc_id").is_in(list(doc_ids)))
    return dict(wanted.select("doc_id", _allowed(readers)).collect().iter_rows())


def _left_to(readers: Collection[str], corpus: Corpus, doc_ids: Collection[str], info: ReleaseInfo) -> frozenset[str]:
    """Return those of the documents that a release leaves to one of ``readers``.

    What was attached to a mail that is listed goes by the mail's readers of now, too.
    """
    if not doc_ids or info.state not in KEPT:
        return frozenset()
    held = corpus.held_readers(doc_ids, info)
    left = [doc_id for doc_id, groups in held.items() if not groups.isdisjoint(readers)]
    objects = corpus.tables.source_objects.scan(info.table_versions["source_objects"])
    if "parent" not in objects.collect_schema().names():  # of before attachments were documents
        return frozenset(left)
    attached = objects.filter(pl.col("parent").is_not_null()).select("doc_id", "parent").collect()
    parents = dict(attached.iter_rows())
    mails = {mail for doc_id in left for mail in _mails(doc_id, parents)}
    now = _open_now(corpus, mails, readers) if mails else {}
    return frozenset(doc_id for doc_id in left if now.get(decider(doc_id, parents, now), True))


def _mails(doc_id: str, parents: Mapping[str, str]) -> Iterator[str]:
    """Yield the mail that a document is attached to, the mail that one is attached to, and so on."""
    while doc_id in parents:
        doc_id = parents[doc_id]
        yield doc_id


def _page(corpus: Corpus, readers: Collection[str], prefix: str, after: str | None, limit: int) -> DocumentPage:
    number = corpus.ledger.live(corpus.name)
    if number is None:
        raise NotFoundError(f"Corpus {corpus.name!r} has no live release yet.")
    tables, info = corpus.tables, corpus.ledger.release(corpus.name, number)
    versions, allowed = info.table_versions, _allowed(readers)
    held = tables.index_manifest.scan(versions["index_manifest"]).select("doc_id").unique()
    now = tables.source_objects.scan().select("doc_id", open=allowed)
    wanted = tables.source_objects.scan(versions["source_objects"]).filter(allowed)
    if prefix:
        wanted = wanted.filter(begins_with(prefix))
    if after is not None:
        wanted = wanted.filter(pl.col("key") > after)
    objects = (
        wanted.select("doc_id", "key", "revision", "size", "last_modified")
        .join(held, on="doc_id", how="semi")
        .join(now, on="doc_id", how="left")
        .filter(pl.col("open").is_null() | pl.col("open"))
        # Readers that the release lost stay lost there, also when the bucket gives them back: its tables know of neither.
        .with_columns(sure=pl.col("open").is_not_null() & (not info.redacted))
        .collect()
    )
    found = _first(objects, limit + 1, lambda doubtful: _left_to(readers, corpus, doubtful, info))
    shown = found.head(limit)
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
    return DocumentPage(number, documents, documents[-1].key if len(documents) < found.height else None)


def _first(objects: pl.DataFrame, count: int, left: Callable[[list[str]], frozenset[str]]) -> pl.DataFrame:
    """Return the first ``count`` objects in order of key, less those that are not ``sure`` and that ``left`` doesn't
    return. It is asked for no more of them than it takes."""
    if objects["sure"].all():
        return objects.bottom_k(count, by="key").sort("key")
    ordered, found = objects.sort("key"), objects.clear()
    for some in ordered.iter_slices(count):
        doubtful = some.filter(~pl.col("sure"))["doc_id"].to_list()
        readable = pl.col("sure") | pl.col("doc_id").is_in(list(left(doubtful)))
        found = found.vstack(some.filter(readable))
        if found.height >= count:
            break
    return found.head(count)
