"""One corpus, opened: search it, ask it, read its documents and what became of its objects."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater.answer_log import AnswerCache, scrubber
from headwater.answering import answer_extractive
from headwater.answering.events import AnswerEvent, Finished
from headwater.answering.flow import Request, answer_events
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
from headwater.errors import LakeError, NotFoundError, ReleaseError, StaleReleaseError
from headwater.hashing import chunk_id
from headwater.index import open_engine
from headwater.index.contract import ReleaseEngine, Searcher
from headwater.index.server import fenced
from headwater.lake_owner import check_owner
from headwater.lease import Lease, corpus_lease
from headwater.ledger import Ledger, Pointer, ReleaseInfo
from headwater.policies import CorpusPolicy, EmbedPolicy
from headwater.project import CORPUS_FILE, Project, find_project, project_at
from headwater.prompts import PromptRegistry
from headwater.prompts.files import prompts_folder
from headwater.receipts import Receipt, count_states, read_receipts
from headwater.restore_mark import require_restored
from headwater.retrieval.explain import Explanation
from headwater.retrieval.search import Mode, Query, retrieve
from headwater.source import EVERYONE
from headwater.tables import Tables
from headwater.types import Answer, Duplicate, Passage, Principal, Turn

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
_MODELS = 4
"""Releases whose embedding model is remembered, and so stays loaded."""
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
        project.make_home()
        self.ledger = Ledger(project.ledger_url)
        self.prompts = PromptRegistry(self.ledger, prompts_folder(project))
        self.engine: ReleaseEngine = open_engine(name, project.index_path(name), policy.index)
        self.tables = Tables(project.lake(name))
        self._duplicates = DuplicateLists(name, self.tables, self.ledger)
        self.answer_cache = AnswerCache(policy.answer.cache_mb * 2**20, policy.answer.cache_seconds)
        self.scrub = scrubber(policy.privacy, name)
        self._lock = threading.Lock()
        self._open: dict[int, _OpenRelease] = {}
        self._pointer = Pointer(None, 0)
        self._looked = float("-inf")
        self._settings = lru_cache(maxsize=_SETTINGS_ROWS)(self._read_settings)
        self._sparse_encoders = lru_cache(maxsize=_SETTINGS_ROWS)(self._make_sparse_encoder)
        self._embedders = lru_cache(maxsize=_MODELS)(self._open_embedder_of)

    # --- releases ---------------------------------------------------------------------------------------------

    def live(self) -> int | None:
        """Return the number of the live release, at most half a second old; None before the first."""
        if time.monotonic() - self._looked > _POLL_SECONDS:
            self.refresh()
        return self._pointer.live

    def pointer(self) -> Pointer:
        """Return what readers follow, at most half a second old."""
        self.live()
        return self._pointer

    def refresh(self) -> None:
        """Ask the ledger now which release is live, and retire those that no longer are or were changed in place."""
        pointer = self.ledger.pointer(self.name)
        with self._lock:
            self._looked = time.monotonic()
            before, self._pointer = self._pointer, pointer
            self.answer_cache.follow(pointer)
            if pointer == before:
                return
            changed = pointer.generation != before.generation
            if changed:
                self._duplicates.forget()
            idle = self._retired([n for n in self._open if changed or n != pointer.live])
        for searcher in idle:
            searcher.close()

    @contextmanager
    def writing(self) -> Iterator[Lease]:
        """Be the corpus' only writer until the block ends; LeaseError, which names the holder, when another one is.

        An erasure that was interrupted is finished first. Raises BackupError while a restore is not finished.
        """
        from headwater.erase import recover

        with corpus_lease(self.ledger, self.name, self.project.lake_path(self.name) / ".lock") as lease:
            lease.check()
            check_owner(self.tables.folder, self.project)
            require_restored(self.tables.folder, self.name)
            with fenced(self.engine, lease):
                recover(self)
                yield lease

    def releases(self) -> list[ReleaseInfo]:
        """Return all releases, newest first."""
        return self.ledger.releases(self.name)

    def check_passed(self, release: int) -> None:
        """Raise NotFoundError unless the gate once let ``release`` go live and it is kept."""
        if self.ledger.release(self.name, release).state not in ("live", "retained"):
            raise NotFoundError(f"Corpus {self.name!r} has no release {release} that can be searched.")

    def _retired(self, numbers: Sequence[int]) -> list[Searcher]:
        """Give releases to nobody any more; return the searchers that nobody uses now. For the holder of the lock."""
        handles = [self._open.pop(number) for number in numbers]
        for handle in handles:
            handle.retired = True
        return [handle.searcher for handle in handles if handle.users == 0]

    @contextmanager
    def searcher(self, release: int | None = None) -> Iterator[Searcher]:
        """Give the searcher of ``release`` (default: live), kept open until the block ends.

        NotFoundError when the corpus has no live release, or not the one asked for, ReleaseError while that is restored.
        """
        live = self.live()  # asked for every release: it also says when releases were changed in place
        number = release if release is not None else live
        if number is None:
            raise self._nothing_live()
        with self._lock:
            handle = self._open.get(number)
            if handle is None:
                handle = self._open[number] = _OpenRelease(self._opened(number))
            handle.users += 1
        try:
            yield handle.searcher
        finally:
            with self._lock:
                handle.users -= 1
                done = handle.retired and handle.users == 0
            if done:
                handle.searcher.close()

    def _opened(self, number: int) -> Searcher:
        """Open a release, unless a backup is being put in its place: it may hold what was erased since.

        The ledger is asked afterwards, so that what was opened is what it speaks of.
        """
        searcher = self.engine.open(number)
        try:
            if self.ledger.release(self.name, number).state == "restoring":
                raise ReleaseError(
                    f"Release {number} of {self.name!r} is being restored; nobody can open it before that ends."
                )
        except BaseException:
            searcher.close()
            raise
        return searcher

    def _nothing_live(self) -> NotFoundError:
        return NotFoundError(
            f"Corpus {self.name!r} has no live release yet. Build one with: headwater reindex {self.name}"
        )

    def _reopening(self, read: Callable[[], T]) -> T:
        """Read; once more when the release was changed in place meanwhile, which ends the searchers of a server, and those
        of a process that died.
        """
        before = self._pointer
        try:
            return read()
        except ReleaseError as error:
            self.refresh()
            if isinstance(error, StaleReleaseError):
                with self._lock:
                    idle = self._retired(list(self._open))
                for searcher in idle:
                    searcher.close()
            elif self._pointer == before:
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
        embedder = self._embedders(release)
        if not is_same_model(embedder, self._settings(release)):
            policy = self._embed_policy(release)
            name = policy.url or policy.model or "the bundled one"
            raise ReleaseError(
                f"Release {release} of {self.name!r} was embedded with another model than {name} holds now. "
                f"Put the old model back, or reindex: headwater reindex {self.name}"
            )
        return embedder

    def _open_embedder_of(self, release: int) -> EmbeddingModel:
        """Return the model that ``release`` names; to find it takes a dozen look-ups of files."""
        with _embedder_lock:
            return embedder_of_release(self._settings(release), self.policy.embed)

    def sparse_encoder_of(self, release: int) -> Bm25Encoder:
        """Return the encoder of BM25 queries on ``release`` (query weights don't depend on the average length)."""
        return self._sparse_encoders(release)

    def _make_sparse_encoder(self, release: int) -> Bm25Encoder:
        policy = self._embed_policy(release)
        return Bm25Encoder(k=policy.bm25_k, b=policy.bm25_b, language=policy.bm25_language)

    def _embed_policy(self, release: int) -> EmbedPolicy:
        """Return the policy that a release was embedded by."""
        embed = self._settings(release).get("embed")
        return EmbedPolicy.model_validate(embed) if embed else self.policy.embed

    def _read_settings(self, release: int) -> Mapping[str, Any]:
        """Return what a release keeps of how it was embedded; it never changes."""
        return self.ledger.release(self.name, release).settings

    def settings_of(self, release: int) -> Mapping[str, Any]:
        """Return what ``release`` keeps of how it was embedded and what it learnt; it never changes."""
        return self._settings(release)

    def duplicates_of(
        self, release: int, doc_ids: Collection[str], readers: frozenset[str] | None
    ) -> Mapping[str, tuple[Duplicate, ...]]:
        """Return the documents that each of ``doc_ids`` stands for in ``release`` and that ``readers`` may read now."""
        return self._duplicates.of(release, doc_ids, readers)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        release: int | None = None,
        principal: Principal | None = None,
        filters: Mapping[str, Any] | str | None = None,
        mode: Mode = "hybrid",
        merge: bool | None = None,
    ) -> list[Passage]:
        """Return at most ``k`` passages for ``query``, best first.

        Only passages that ``principal`` may read are searched; None is an anonymous reader, who sees what is
        readable by everyone. ``filters`` maps a filterable field (doc_id, key, title, content_type, page, language, date,
        modified, authors, keywords, meta.<name>) to a value, a list of values, or a range of dates or numbers such as
        ``{"gte": "2024-01", "lt": "2025"}``, with and, or and not, see :mod:`headwater.index.filters`; or it is a string
        such as ``date >= 2024 and not key ^= "drafts/"``, see :mod:`headwater.retrieval.grammar`. ``merge`` joins
        neighbouring results of a document, or doesn't, whatever the policy says. Raises NotFoundError without a live
        release, FilterError for a filter that can't be understood.
        """
        asked = Query(query, k, readers_of_principal(principal), filters, mode, merge=merge)
        return list(self._retrieve(asked, release).passages)

    def explain(
        self,
        query: str,
        k: int = 10,
        *,
        release: int | None = None,
        principal: Principal | None = None,
        filters: Mapping[str, Any] | str | None = None,
        mode: Mode = "hybrid",
        merge: bool | None = None,
    ) -> Explanation:
        """Search as :meth:`search` does, and return with the passages how they were found."""
        asked = Query(query, k, readers_of_principal(principal), filters, mode, merge=merge)
        return self._retrieve(asked, release)

    def search_as(
        self,
        readers: frozenset[str] | None,
        query: str,
        k: int,
        *,
        release: int | None = None,
        filters: Mapping[str, Any] | str | None = None,
        mode: Mode = "hybrid",
        dense: npt.NDArray[np.float32] | None = None,
        merge: bool | None = False,
    ) -> list[Passage]:
        """Search with the reader groups given outright; None sees everything, for the gate and maintenance only.

        ``dense`` is the query's vector where the caller has it already. Neighbours are not joined unless asked for: what
        reads passages one by one knows the vector of a chunk.
        """
        return list(self._retrieve(Query(query, k, readers, filters, mode, dense, merge), release).passages)

    def _retrieve(self, query: Query, release: int | None) -> Explanation:
        def search() -> Explanation:
            with self.searcher(release) as searcher:
                return retrieve(self, searcher, query)

        return self._reopening(search)

    def answer(
        self,
        question: str,
        *,
        principal: Principal | None = None,
        release: int | None = None,
        history: Sequence[Turn] = (),
        filters: Mapping[str, Any] | str | None = None,
        conversation: str | None = None,
    ) -> Answer:
        """Answer from the passages that ``principal`` may read, or refuse; the answer is recorded in the ledger.

        Takes and raises what :meth:`answer_events` does.
        """
        for event in self.answer_events(
            question,
            principal=principal,
            release=release,
            history=history,
            filters=filters,
            conversation=conversation,
        ):
            if isinstance(event, Finished):
                return event.answer
        raise AssertionError("the events of an answer end with Finished")

    def answer_events(
        self,
        question: str,
        *,
        principal: Principal | None = None,
        release: int | None = None,
        history: Sequence[Turn] = (),
        filters: Mapping[str, Any] | str | None = None,
        conversation: str | None = None,
    ) -> Generator[AnswerEvent, None, None]:
        """Yield what happens while a question is answered; see :mod:`headwater.answering.events`.

        The whole answer comes from one release (default: live) and from what ``principal`` may read. ``history`` are
        the earlier turns of a conversation, oldest first: the last 20 are read to understand the question, and
        ``conversation`` is the caller's name for it. ``filters`` are those of :meth:`search`. Closing the iterator stops
        the work. Raises NotFoundError without a live release, FilterError for a filter that can't be understood, before
        anything is yielded.
        """
        request = Request(
            question=question,
            principal=principal or Principal(),
            readers=readers_of_principal(principal),
            release=release,
            history=history,
            filters=filters,
            conversation=conversation,
        )
        return answer_events(self, request)

    def answer_as(
        self,
        readers: frozenset[str] | None,
        question: str,
        *,
        release: int | None = None,
        filters: Mapping[str, Any] | str | None = None,
    ) -> tuple[Answer, list[Passage]]:
        """Return a quoted answer and the passages read for it, unrecorded, with the reader groups given outright."""

        def answer() -> tuple[Answer, list[Passage]]:
            with self.searcher(release) as searcher:  # one release for both steps, whatever goes live between them
                number = searcher.release
                wanted = self.policy.answer.passages
                passages = self.search_as(readers, question, wanted, release=number, filters=filters)
                return self.answer_from(question, passages, number), passages

        return self._reopening(answer)

    def answer_from(self, question: str, passages: Sequence[Passage], release: int) -> Answer:
        """Return an answer quoted from ``passages`` of ``release``, unrecorded."""
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
        held = self.held_readers([doc_id], info).get(doc_id) if info.state != "dropped" else None
        if held is None:
            raise missing
        versions = info.table_versions
        one = pl.col("doc_id") == doc_id
        found = self.tables.source_objects.scan(versions["source_objects"]).filter(one).collect()
        now = self.tables.source_objects.scan().filter(one).select("readers").collect()
        groups = readers_of_principal(principal)
        readers = [held, *now["readers"]]
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

    def held_readers(self, doc_ids: Collection[str], info: ReleaseInfo) -> dict[str, frozenset[str]]:
        """Return those of the documents that a release holds, with the readers that it leaves them: what search goes by.

        Raises NotFoundError for a release that can't be opened, ReleaseError while it is restored.
        """

        def look(chunks: Sequence[str]) -> dict[str, frozenset[str]]:
            with self.searcher(info.number) as searcher:
                payloads = [hit.payload for hit in searcher.retrieve(chunks)]
            return {payload["doc_id"]: frozenset(payload["readers"] or ()) for payload in payloads}

        found = self._reopening(lambda: look([chunk_id(doc_id, 0) for doc_id in doc_ids]))
        rest = [doc_id for doc_id in doc_ids if doc_id not in found]
        if rest:
            # A chunk that got no vector is in no release; the others of its document are.
            wanted = self.tables.index_manifest.scan(info.table_versions["index_manifest"])
            others = wanted.filter(pl.col("doc_id").is_in(rest)).select("id").collect()["id"].to_list()
            found |= self._reopening(lambda: look(others)) if others else {}
        return found

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
            idle = self._retired(list(self._open))
        for searcher in idle:
            searcher.close()
        self.answer_cache.clear()
        self.engine.close()
        self.ledger.close()

    def __enter__(self) -> Corpus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def readers_of_principal(principal: Principal | None) -> frozenset[str]:
    """Return the reader groups a principal may use: its own and everyone's."""
    return (principal or Principal()).groups | {EVERYONE}


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
