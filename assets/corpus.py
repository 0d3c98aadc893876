"""The ``Corpus`` component: ``assets/<corpus>/defs.yaml`` becomes the assets of one corpus.

The attributes are the fields of :class:`headwater.policies.CorpusPolicy`, and the file is read by the library's
own reader, so that Dagster, the command line and the server never disagree about a configuration.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components import Scaffolder, ScaffoldRequest
from pydantic import BaseModel

from assets.anonymized_documents import anonymized_documents
from assets.answer_log import answer_log
from assets.attributes import attributes_model
from assets.bucket import bucket, evaluation_questions
from assets.chunks import chunks
from assets.deduplicated_documents import deduplicated_documents
from assets.embeddings import embeddings
from assets.feedback import feedback
from assets.index_candidate import index_candidate
from assets.live_release import live_release
from assets.monitors import answer_costs, answer_quality
from assets.monitors_questions import question_drift, unanswered_questions
from assets.parsed_documents import parsed_documents
from assets.quality_documents import quality_documents
from assets.retrieval_evaluation import retrieval_evaluation
from assets.source_objects import source_objects
from headwater.config import load_corpus_file, scaffold_corpus
from headwater.policies import CorpusPolicy
from headwater.project import CORPUS_FILE, check_corpus_name

STAGES = (
    source_objects,
    parsed_documents,
    quality_documents,
    deduplicated_documents,
    anonymized_documents,
    chunks,
    embeddings,
    index_candidate,
    retrieval_evaluation,
    live_release,
)
ANSWERS = (answer_log, feedback, answer_quality, answer_costs, unanswered_questions, question_drift)


class CorpusScaffolder(Scaffolder[BaseModel]):
    """Writes a commented ``defs.yaml``: what ``dg scaffold defs assets.corpus.Corpus NAME`` makes."""

    def scaffold(self, request: ScaffoldRequest[BaseModel]) -> None:
        """Make the corpus' folder and its configuration file."""
        check_corpus_name(request.target_path.name)
        request.target_path.mkdir(parents=True, exist_ok=True)
        (request.target_path / CORPUS_FILE).write_text(scaffold_corpus("./documents"), encoding="utf-8")


@dg.scaffold_with(CorpusScaffolder)
@dataclass(frozen=True)
class Corpus(dg.Component):
    """One named body of documents and everything between its bucket and its live release."""

    name: str
    policy: CorpusPolicy

    @classmethod
    def from_file(cls, path: Path) -> "Corpus":
        """Return the corpus that ``path`` (``.../<corpus>/defs.yaml``) describes.

        Raises ConfigError naming file, line and field.
        """
        return cls(name=check_corpus_name(path.parent.name), policy=load_corpus_file(path))

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the YAML attributes: what ``dg check yaml`` and editors check against."""
        return attributes_model(CorpusPolicy)

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "Corpus":
        """Return the corpus in the folder that Dagster is loading."""
        folder = context.path if context.path.is_dir() else context.path.parent
        return cls.from_file(folder / CORPUS_FILE)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the corpus' assets and, upstream of them, what lies outside Dagster."""
        outside: list[Any] = [bucket(self.name, self.policy)]
        if self.policy.gate.golden is not None:
            outside.append(evaluation_questions(self.name, self.policy))
        return dg.Definitions(assets=[*outside, *(asset(self.name, self.policy) for asset in (*STAGES, *ANSWERS))])
