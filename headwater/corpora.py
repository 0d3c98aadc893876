"""Corpora that another corpus leaves out: whose documents it doesn't hold a second time."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.config import load_corpus_file
from headwater.errors import ConfigError, NotFoundError
from headwater.project import Project
from headwater.stages.duplicate_clusters import OtherCorpus
from headwater.tables import Tables


def other_corpora(project: Project, corpus: str, names: Sequence[str]) -> list[OtherCorpus]:
    """Return the lakes of the corpora that ``dedup.exclude_corpora`` of ``corpus`` names, in its order.

    One that was never indexed holds nothing yet. Raises ConfigError for a corpus that does not exist, and for corpora
    that leave each other out, because a document that both have would then be in neither.
    """
    _check(project, corpus, names, (corpus,))
    found = []
    for name in dict.fromkeys(names):
        tables = Tables(project.lake(name))
        found.append(OtherCorpus(name, tables.anonymized_documents, tables.document_signatures, tables.source_objects))
    return found


def _check(project: Project, corpus: str, names: Sequence[str], path: tuple[str, ...]) -> None:
    for name in names:
        if name in path:
            circle = " -> ".join((*path, name))
            raise ConfigError(
                f"dedup.exclude_corpora goes in a circle ({circle}): a document that all of them have would be in "
                f"none. Take one of these names out of the defs.yaml of its corpus."
            )
        try:
            file = project.corpus_file(name)
        except NotFoundError as error:
            raise ConfigError(f"dedup.exclude_corpora of corpus {path[-1]!r}: {error}") from error
        _check(project, name, load_corpus_file(file).dedup.exclude_corpora, (*path, name))
