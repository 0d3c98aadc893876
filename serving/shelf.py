"""The corpora of the service: opened when first needed, warmed in the background, closed at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from headwater.config import load_corpus_file
from headwater.corpus import Corpus
from headwater.errors import HeadwaterError, NotFoundError, ReleaseError
from headwater.ledger import AnswerRecord
from headwater.project import Project, find_project
from serving.models import CorpusReadiness, Readiness

LOG = logging.getLogger("headwater.serving")

PROBE = "ready"
"""The query that warming and the readiness check search for."""

READINESS_SECONDS = 1.0
"""How long what the readiness check found is told again: anybody may ask, and each look searches every corpus."""

_LOOK_SECONDS = 10.0
"""After this long without an end, a look itself says that the service is not ready."""

T = TypeVar("T")


class UnknownCorpus(Exception):
    """There is no corpus of that name."""


class NotSearchable(Exception):
    """The corpus exists, but can't be searched now; the message says why, in words fit for callers."""


class Shelf:
    """Gives corpora by name. With ``corpora`` exactly those, which stay their owner's to close."""

    def __init__(self, project: Project | None, corpora: Mapping[str, Corpus] | None) -> None:
        self._given = corpora
        self._project = project
        self._opened: dict[str, Corpus] = {}
        self._lock = threading.Lock()
        self._warm = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._looking = threading.Lock()
        self._looked_at = float("-inf")
        self._found = Readiness(status="not ready", reason="Nothing was looked at yet.", corpora={})

    def names(self) -> list[str]:
        """Return the names of all corpora, sorted."""
        if self._given is not None:
            return sorted(self._given)
        if self._project is None:
            self._project = find_project()
        return self._project.corpus_names()

    def get(self, name: str) -> Corpus:
        """Return the corpus, opened; UnknownCorpus if there is none, NotSearchable if it can't be opened."""
        if self._given is not None and name in self._given:
            return self._given[name]
        with self._lock:
            if name in self._opened:
                return self._opened[name]
            # Only listed names become paths.
            if self._given is not None or name not in self.names() or self._project is None:
                raise UnknownCorpus
            try:
                policy = load_corpus_file(self._project.corpus_file(name))
                corpus = self._opened[name] = Corpus(name, policy, self._project)
            except (HeadwaterError, OSError, ValueError) as error:
                LOG.error("corpus can't be opened", extra={"fields": {"corpus": name, "error": type(error).__name__}})
                raise NotSearchable(
                    "The corpus can't be opened; run headwater doctor where the service runs."
                ) from error
        return corpus

    def answer(self, answer_id: str) -> AnswerRecord | None:
        """Return the record of an answer of any corpus, None when there is none of that id."""
        asked = set()
        for name in self.names():
            try:
                corpus = self.get(name)
            except NotSearchable:
                continue
            # The corpora of a project share one ledger.
            if corpus.project.ledger_url not in asked:
                asked.add(corpus.project.ledger_url)
                if (found := corpus.ledger.answer(answer_id)) is not None:
                    return found
        return None

    def start(self) -> None:
        """Open every corpus and load its model, in the background."""
        self._thread = threading.Thread(target=self._warm_up, name="headwater-warm-up", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the warm-up to end, then close what was opened."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for corpus in self._opened.values():
                corpus.close()
            self._opened.clear()

    def readiness(self) -> Readiness:
        """Return how the corpora stand, as it was found a second ago at most; looked up once at a time."""
        if not self._looking.acquire(blocking=False):
            if time.monotonic() - self._looked_at < _LOOK_SECONDS:
                return self._found
            return Readiness(status="not ready", reason="The corpora are being looked at.", corpora={})
        try:
            if time.monotonic() - self._looked_at > READINESS_SECONDS:
                self._found = self._look()
                self._looked_at = time.monotonic()
            return self._found
        finally:
            self._looking.release()

    def _look(self) -> Readiness:
        """Search every corpus for the probe, with the sparse vectors alone, which need no model."""
        try:
            names = self.names()
        except HeadwaterError:
            names = []
        corpora = {name: self._check(name) for name in names}
        if self._thread is not None and not self._warm.is_set():
            return Readiness(status="warming", reason="The models are being loaded.", corpora=corpora)
        if not corpora:
            reason = "There are no corpora. Add one with: headwater corpus add NAME --uri FOLDER_OR_BUCKET"
            return Readiness(status="not ready", reason=reason, corpora=corpora)
        waiting = [name for name, state in corpora.items() if not state.ready]
        if waiting:
            return Readiness(status="not ready", reason=f"Not searchable: {', '.join(waiting)}", corpora=corpora)
        return Readiness(status="ready", reason=None, corpora=corpora)

    def _check(self, name: str) -> CorpusReadiness:
        try:
            corpus = self.get(name)
            release, _ = on_release(corpus, None, lambda number: corpus.search(PROBE, 1, release=number, mode="sparse"))
        except NotSearchable as error:
            return CorpusReadiness(ready=False, release=None, reason=str(error))
        except Exception as error:
            LOG.error("corpus can't be searched", extra={"fields": {"corpus": name, "error": type(error).__name__}})
            return CorpusReadiness(ready=False, release=None, reason="The live release can't be searched; see the log.")
        return CorpusReadiness(ready=True, release=release, reason=None)

    def _warm_up(self) -> None:
        try:
            for name in self.names():
                if self._stop.is_set():
                    return
                try:
                    corpus = self.get(name)
                    on_release(corpus, None, lambda number, corpus=corpus: corpus.search(PROBE, 1, release=number))  # type: ignore[misc]
                    corpus.scrub(PROBE)  # the first answer should not wait for the model of names
                except Exception as error:  # what is wrong with one corpus is the readiness check's to tell
                    LOG.warning("warm-up failed", extra={"fields": {"corpus": name, "error": type(error).__name__}})
        except HeadwaterError as error:
            LOG.warning("no project", extra={"fields": {"error": type(error).__name__}})
        finally:
            self._warm.set()


def on_release(corpus: Corpus, release: int | None, call: Callable[[int], T]) -> tuple[int, T]:
    """Return the release and ``call(release)``; without one, the live release, followed if it moves meanwhile.

    A release may be retired and collected between the look and the call; the caller of a moving pointer must not
    see that. Raises NotSearchable when nothing is live, NotFoundError for a release that the gate never let through.
    """
    if release is not None:
        corpus.check_passed(release)
        return release, call(release)
    while True:
        live = corpus.live()
        if live is None:
            raise NotSearchable("The corpus has no live release yet.")
        try:
            return live, call(live)
        except (NotFoundError, ReleaseError):
            corpus.refresh()
            if corpus.live() == live:
                raise
