"""One corpus, opened: search it, ask it, read its documents and what became of its objects."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater.answering import answer_extractive
from headwater.config import load_corpus_file
from headwater.duplicates import DuplicateLists
from headwater.embedding import (
    Bm25Encoder,
    EmbeddingModel,
    embedder_of_release,
    fingerprint_of,
    is_same_model,
    open_embedder,
)
from headwater.errors import LakeError, NotFoundError, ReleaseError
from headwater.hashing import chunk_id
from headwater.index import open_engine
from headwater.index.contract import Hit, ReleaseEngine, Searcher, SearchRequest
from headwater.lease import Lease, corpus_lease
from headwater.ledger import Ledger, Pointer, ReleaseInfo
from headwater.policies import CorpusPolicy, EmbedPolicy
from headwater.project import CORPUS_FILE, Project, find_project, project_at
from headwater.receipts import Receipt, count_states, read_receipts
from headwater.source import EVERYONE
from headwater.tables import Tables
from headwater.types import Answer, Duplicate, Passage, Principal

Mode = Literal["hybrid", "dense", "sparse"]
T = TypeVar("T")

_POLL_SECONDS = 0.5
"""How often, at most, the ledger is asked which release is live."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document as a release holds it: its cleaned text, and where sections and pages lie in it.

    ``sections`` are (path of headings, start, end) and ``pages`` (page number, start, end), in reading order.
    """

    doc_id: str
    key: str
    revision: str
    release: int
    title: str
    content_type: str
    text: str
    sections: tuple[tuple[tuple[str, ...], int, int], ...]
    pages: tuple[tuple[int, int, int], ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CorpusStatus:
    """How a corpus stands: releases, and how many objects are in each end state."""

    name: str
    live: int | None
    candidate: int | None
    listed: int
    states: Mapping[str, int]
    chunks: int
    last_release_at: datetime | None


_SETTINGS_ROWS = 256
"""Releases whose settings are remembered; a corpus keeps a handful."""

_embedder_lock = threading.Lock()


class _OpenRelease:
    """A searcher with the number of searches in flight, closed when it is retired and idle."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self.users = 0
        self.retired = False


class Corpus:
    """A corpus opened for reading. Thread-safe; a search in flight keeps the release it started with."""

    def __init__(self, name: str, policy: CorpusPolicy, project: Project) -> None:
        self.name = name
        self.policy = policy
        self.project = project
        project.home.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(project.ledger_url)
        self.engine: ReleaseEngine = open_engine(name, project.index_path(name), policy.index)
        self.tables = Tables(project.lake_path(name))
        self._duplicates = DuplicateLists(name, self.tables, self.ledger)
        self._lock = threading.Lock()
        self._open: dict[int, _OpenRelease] = {}
        self._pointer = Pointer(None, 0)
        self._looked = float("-inf")
        self._settings = lru_cache(maxsize=_SETTINGS_ROWS)(self._read_settings)

    # --- releases ---------------------------------------------------------------------------------------------

    def live(self) -> int | None:
        """Return the number of the live release, at most half a second old; None before the first."""
        if time.monotonic() - self._looked > _POLL_SECONDS:
            self.refresh()
        return self._pointer.live

    def refresh(self) -> None:
        """Ask the ledger now which release is live, and retire those that no longer are or were changed in place."""
        pointer = self.ledger.pointer(self.name)
        with self._lock:
            self._looked = time.monotonic()
            before, self._pointer = self._pointer, pointer
            if pointer == before:
                return
            changed = pointer.generation != before.generation
            if changed:
                self._duplicates.forget()
            for number in [n for n in self._open if changed or n != pointer.live]:
                self._retire(number)

    @contextmanager
    def writing(self) -> Iterator[Lease]:
        """Be the corpus' only writer until the block ends; LeaseError, which names the holder, when another one is.

        An erasure that was interrupted is finished first.
        """
        from headwater.erase import recover

        with corpus_lease(self.ledger, self.name, self.project.lake_path(self.name) / ".lock") as lease:
            lease.check()
            recover(self)
            yield lease

    def releases(self) -> list[ReleaseInfo]:
        """Return all releases, newest first."""
        return self.ledger.releases(self.name)

    def _retire(self, number: int) -> None:
        handle = self._open.pop(number)
        handle.retired = True
        if handle.users == 0:
            handle.searcher.close()

    @contextmanager
    def searcher(self, release: int | None = None) -> Iterator[Searcher]:
        """Give the searcher of ``release`` (default: live), kept open until the block ends.

        NotFoundError when the corpus has no live release, or not the one asked for.
        """
        live = self.live()  # asked for every release: it also says when releases were changed in place
        number = release if release is not None else live
        if number is None:
            raise self._nothing_live()
        with self._lock:
            handle = self._open.get(number)
            if handle is None:
                handle = self._open[number] = _OpenRelease(self.engine.open(number))
            handle.users += 1
        try:
            yield handle.searcher
        finally:
            with self._lock:
                handle.users -= 1
                if handle.retired and handle.users == 0:
                    handle.searcher.close()

    def _nothing_live(self) -> NotFoundError:
        return NotFoundError(
            f"Corpus {self.name!r} has no live release yet. Build one with: headwater reindex {self.name}"
        )

    def _reopening(self, read: Callable[[], T]) -> T:
        """Read; once more when the release was changed in place meanwhile, which ends the searchers of a server."""
        before = self._pointer
        try:
            return read()
        except ReleaseError:
            self.refresh()
            if self._pointer == before:
                raise
            return read()

    # --- search and answers -----------------------------------------------------------------------------------

    @property
    def embedder(self) -> EmbeddingModel:
        """The embedding model that the configuration names, loaded at first use and shared between corpora."""
        with _embedder_lock:
            return open_embedder(self.policy.embed)

    def embedding_fingerprint(self) -> str:
        """Return the fingerprint of the embedding model that the configuration names.

        An endpoint is asked for a vector: when it is another model's than that of the releases, so is the fingerprint.
        """
        with _embedder_lock:
            return fingerprint_of(self.policy.embed, (release.settings for release in self.releases()))

    def embedder_of(self, release: int) -> EmbeddingModel:
        """Return the model that made the vectors of ``release``, which a changed configuration may no longer name.

        Raises ReleaseError when its folder or endpoint holds another model by now, ConfigError when it is gone.
        """
        settings = self._settings(release)
        with _embedder_lock:
            embedder = embedder_of_release(settings, self.policy.embed)
        if not is_same_model(embedder, settings):
            policy = self._embed_policy(release)
            name = policy.url or policy.model or "the bundled one"
            raise ReleaseError(
                f"Release {release} of {self.name!r} was embedded with another model than {name} holds now. "
                f"Put the old model back, or reindex: headwater reindex {self.name}"
            )
        return embedder

    def sparse_encoder_of(self, release: int) -> Bm25Encoder:
        """Return the encoder of BM25 queries on ``release`` (query weights don't depend on the average length)."""
        policy = self._embed_policy(release)
        return Bm25Encoder(k=policy.bm25_k, b=policy.bm25_b, language=policy.bm25_language)

    def _embed_policy(self, release: int) -> EmbedPolicy:
        """Return the policy that a release was embedded by."""
        embed = self._settings(release).get("embed")
        return EmbedPolicy.model_validate(embed) if embed else self.policy.embed

    def _read_settings(self, release: int) -> Mapping[str, Any]:
        """Return what a release keeps of how it was embedded; it never changes."""
        return self.ledger.release(self.name, release).settings

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        release: int | None = None,
        principal: Principal | None = None,
        filters: Mapping[str, Any] | None = None,
        mode: Mode = "hybrid",
    ) -> list[Passage]:
        """Return at most ``k`` passages for ``query``, best first.

        Only passages that ``principal`` may read are searched; None is an anonymous reader, who sees what is
        readable by everyone. ``filters`` maps a filterable field (doc_id, key, content_type, page, language, date,
        modified, authors, keywords, meta.<name>) to a value, a list of values, or a range of dates or numbers such as
        ``{"gte": "2024-01", "lt": "2025"}``; see :mod:`headwater.index.filters`. Raises NotFoundError without a live
        release, ReleaseError for an unknown filter.
        """
        return self.search_as(readers_of_principal(principal), query, k, release=release, filters=filters, mode=mode)

    def search_as(
        self,
        readers: frozenset[str] | None,
        query: str,
        k: int,
        *,
        release: int | None = None,
        filters: Mapping[str, Any] | None = None,
        mode: Mode = "hybrid",
        dense: npt.NDArray[np.float32] | None = None,
    ) -> list[Passage]:
        """Search with the reader groups given outright; None sees everything, for the gate and maintenance only.

        ``dense`` is the query's vector where the caller has it already.
        """

        def search() -> list[Passage]:
            with self.searcher(release) as searcher:
                number = searcher.release
                request = SearchRequest(
                    limit=k,
                    dense=self._dense(number, query, dense) if mode != "sparse" else None,
                    sparse=None if mode == "dense" else self.sparse_encoder_of(number).encode_query(query),
                    readers=readers,
                    filters=filters or {},
                    candidates=max(self.policy.index.candidates, k),
                    rrf_k=self.policy.index.rrf_k,
                )
                hits = searcher.search(request)
                merged = self._duplicates.of(number, [hit.payload["doc_id"] for hit in hits], readers)
                return [passage_of(hit, number, merged.get(hit.payload["doc_id"], ())) for hit in hits]

        return self._reopening(search)

    def _dense(self, release: int, query: str, vector: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
        return vector if vector is not None else self.embedder_of(release).encode_queries([query])[0]

    def answer(self, question: str, *, principal: Principal | None = None, release: int | None = None) -> Answer:
        """Answer from the passages that ``principal`` may read, or refuse; the answer is recorded in the ledger.

        The whole answer comes from one release. Raises NotFoundError without a live release.
        """
        started = time.perf_counter()
        number = release if release is not None else self.live()
        answer, passages = self.answer_as(readers_of_principal(principal), question, release=number)
        self.ledger.record_answer(
            self.name,
            answer,
            passages=passages,
            principal=principal or Principal(),
            parameters=self.policy.answer.model_dump(mode="json"),
            seconds=time.perf_counter() - started,
        )
        return answer

    def answer_as(
        self, readers: frozenset[str] | None, question: str, *, release: int | None = None
    ) -> tuple[Answer, list[Passage]]:
        """Return an answer and the passages read for it, unrecorded, with the reader groups given outright."""

        def answer() -> tuple[Answer, list[Passage]]:
            with self.searcher(release) as searcher:  # one release for both steps, whatever goes live between them
                number = searcher.release
                passages = self.search_as(readers, question, self.policy.answer.passages, release=number)
                return self.answer_from(question, passages, number), passages

        return self._reopening(answer)

    def answer_from(self, question: str, passages: Sequence[Passage], release: int) -> Answer:
        """Return an answer from ``passages`` of ``release``, unrecorded."""
        with self.searcher(release) as searcher:
            hits = searcher.retrieve([passage.chunk_id for passage in passages], with_vectors=True)
        stored = {hit.chunk_id: hit.payload["vector"] for hit in hits}
        if not all(passage.chunk_id in stored for passage in passages):
            raise ReleaseError(f"Release {release} of {self.name!r} was changed while it was read; ask again.")
        vectors = np.array([stored[passage.chunk_id] for passage in passages], dtype=np.float32)
        return answer_extractive(
            question,
            passages,
            embedder=self.embedder_of(release),
            policy=self.policy.answer,
            release=release,
            passage_vectors=vectors if passages else None,
        )

    # --- documents, receipts, status --------------------------------------------------------------------------

    def document(self, doc_id: str, *, principal: Principal | None = None, release: int | None = None) -> Document:
        """Return a document as ``release`` (default: live) holds it.

        Raises NotFoundError when it isn't there or ``principal`` may not read it, then or now: the two look the same.
        """
        number = release if release is not None else self.live()
        try:
            return self._document(doc_id, principal, number)
        except (LakeError, FileNotFoundError, pl.exceptions.PolarsError):
            # An erasure may just have rewritten the lake's history: its new versions are in the ledger now.
            return self._document(doc_id, principal, number)

    def _document(self, doc_id: str, principal: Principal | None, number: int | None) -> Document:
        missing = NotFoundError(f"There is no document {doc_id!r} in corpus {self.name!r} that you may read.")
        if number is None:
            raise missing
        info = self.ledger.release(self.name, number)
        held = self._first_point(doc_id, number) if info.state != "dropped" else None
        if held is None:
            raise missing
        versions = info.table_versions
        one = pl.col("doc_id") == doc_id
        found = self.tables.source_objects.scan(versions["source_objects"]).filter(one).collect()
        now = self.tables.source_objects.scan().filter(one).select("readers").collect()
        groups = readers_of_principal(principal)
        readers = [held["readers"] or (), *now["readers"]]
        if found.is_empty() or not all(groups.intersection(allowed) for allowed in readers):
            raise missing
        texts = self.tables.anonymized_documents.scan(versions["anonymized_documents"])
        rows = texts.filter(one & (pl.col("state") == "ok")).collect()
        if rows.is_empty():
            raise missing
        parsed = self.tables.parsed_documents.scan(versions["parsed_documents"])
        content = parsed.filter(one).select("content_type", "pages").collect()
        origin, row = found.row(0, named=True), rows.row(0, named=True)
        return Document(
            doc_id=doc_id,
            key=origin["key"],
            revision=origin["revision"],
            release=number,
            title=row["title"] or origin["key"],
            content_type=content["content_type"][0],
            text=row["text"],
            sections=_spans((tuple(e["section"]), e["start"], e["end"]) for e in row["elements"]),
            pages=_spans((e["page"], e["start"], e["end"]) for e in row["elements"] if e["page"] is not None),
            metadata={
                "pages": content["pages"][0],
                "size": origin["size"],
                "last_modified": origin["last_modified"],
                # A release that an earlier version of Headwater made has none of it.
                **json.loads(row.get("metadata") or "{}"),
            },
        )

    def _first_point(self, doc_id: str, release: int) -> Mapping[str, Any] | None:
        """Return the payload of a document's first chunk as the release holds it: what search goes by."""

        def look() -> Mapping[str, Any] | None:
            with self.searcher(release) as searcher:
                hits = searcher.retrieve([chunk_id(doc_id, 0)])
                return hits[0].payload if hits else None

        return self._reopening(look)

    def receipts(self, key: str | None = None) -> list[Receipt]:
        """Return what became of every listed object (or of one), in order of key.

        Raises NotFoundError for a key that isn't listed.
        """
        receipts = read_receipts(self.name, self.tables, self.ledger, key)
        if key is not None and not receipts:
            raise NotFoundError(f"Corpus {self.name!r} has no object {key!r}; see: headwater receipts {self.name}")
        return receipts

    def status(self) -> CorpusStatus:
        """Return releases and end states as they stand."""
        self.refresh()
        states = count_states(self.tables)
        releases = self.releases()
        live = next((r for r in releases if r.number == self._pointer.live), None)
        candidates = [
            r.number for r in releases if r.state in ("candidate", "rejected") and r.number > (self._pointer.live or 0)
        ]
        return CorpusStatus(
            name=self.name,
            live=self._pointer.live,
            candidate=max(candidates, default=None),
            listed=sum(states.values()),
            states=states,
            chunks=int(live.counts.get("points", 0)) if live else 0,
            last_release_at=live.published_at if live else None,
        )

    def close(self) -> None:
        """Close the ledger, every open release and the connections to the index."""
        with self._lock:
            for number in list(self._open):
                self._retire(number)
        self.engine.close()
        self.ledger.close()

    def __enter__(self) -> Corpus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def readers_of_principal(principal: Principal | None) -> frozenset[str]:
    """Return the reader groups a principal may use: its own and everyone's."""
    return (principal or Principal()).groups | {EVERYONE}


def passage_of(hit: Hit, release: int, duplicates: tuple[Duplicate, ...] = ()) -> Passage:
    """Return a hit as a passage of ``release``, with the documents that its own stands for."""
    payload = hit.payload
    return Passage(
        chunk_id=hit.chunk_id,
        doc_id=payload["doc_id"],
        key=payload["key"],
        revision=payload["revision"],
        release=release,
        title=payload.get("title") or payload["key"],
        section=tuple(payload.get("section") or ()),
        page=payload.get("page"),
        start=payload["start"],
        end=payload["end"],
        text=payload["text"],
        score=hit.score,
        content_type=payload.get("content_type") or "",
        language=payload.get("language"),
        date=payload.get("date"),
        modified=payload.get("modified"),
        authors=tuple(payload.get("authors") or ()),
        keywords=tuple(payload.get("keywords") or ()),
        meta=payload.get("meta") or {},
        duplicates=duplicates,
    )


def _spans(pieces: Iterator[tuple[Any, int, int]]) -> tuple[tuple[Any, int, int], ...]:
    """Join neighbouring pieces with the same label."""
    joined: list[tuple[Any, int, int]] = []
    for label, start, end in pieces:
        if joined and joined[-1][0] == label:
            joined[-1] = (label, joined[-1][1], end)
        else:
            joined.append((label, start, end))
    return tuple(joined)


def open_corpus(name_or_path: str | Path) -> Corpus:
    """Open a corpus by its name in the project at hand, or by the path of its folder or ``defs.yaml``.

    Raises NotFoundError when there is no such corpus, ConfigError when its configuration is wrong.
    """
    path = Path(name_or_path)
    if path.name == CORPUS_FILE or (path / CORPUS_FILE).is_file():
        file = (path if path.name == CORPUS_FILE else path / CORPUS_FILE).resolve()
        project = _project_of(file)
        return Corpus(file.parent.name, load_corpus_file(file), project)
    project = find_project()
    return Corpus(str(name_or_path), load_corpus_file(project.corpus_file(str(name_or_path))), project)


def _project_of(file: Path) -> Project:
    """Return the project a corpus file lies in; a file outside of any is a project of its own."""
    try:
        return find_project(file.parent)
    except NotFoundError:
        return project_at(file.parent)
