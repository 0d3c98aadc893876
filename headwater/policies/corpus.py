"""One corpus: the policies of all its stages."""

from __future__ import annotations

import os
import re

from pydantic import Field, field_validator, model_validator

from headwater.policies.answer import AnswerPolicy
from headwater.policies.base import Policy
from headwater.policies.chunk import ChunkPolicy
from headwater.policies.compute import ComputePolicy
from headwater.policies.costs import CostPolicy
from headwater.policies.dedup import DedupPolicy
from headwater.policies.embed import EmbedPolicy
from headwater.policies.gate import GatePolicy
from headwater.policies.index import IndexPolicy
from headwater.policies.injection import InjectionPolicy
from headwater.policies.monitor import MonitorPolicy
from headwater.policies.parse import ParsePolicy
from headwater.policies.pods import PodsPolicy
from headwater.policies.privacy import PrivacyPolicy
from headwater.policies.quality import QualityPolicy
from headwater.policies.retrieval import RetrievalPolicy
from headwater.policies.source import AccessRule, SourcePolicy, WatchPolicy

_BESIDE_A_PARSER = 2**30
"""Memory of the step's own process, with Dagster, Arrow and Polars in it; own choice."""

_OWNER = re.compile(r"team:[\w.\-/]+|[^@\s]+@[^@\s]+\.[^@\s]+")


class CorpusPolicy(Policy):
    """One corpus: the attributes of its ``defs.yaml``."""

    source: SourcePolicy = Field(description="Where the documents are.")
    watch: WatchPolicy = Field(default=WatchPolicy(), description="When to look for changes.")
    description: str = Field(default="", description="What this body of documents is, for people.")
    owners: list[str] = Field(default=["team:data"], description="Dagster owners: team:name or an e-mail address.")
    parse: ParsePolicy = Field(default=ParsePolicy(), description="Bytes to elements.")
    quality: QualityPolicy = Field(default=QualityPolicy(), description="What is worth indexing.")
    injection: InjectionPolicy = Field(
        default=InjectionPolicy(), description="Instructions to a language model in documents."
    )
    dedup: DedupPolicy = Field(default=DedupPolicy(), description="Exact and near-duplicates, boilerplate.")
    privacy: PrivacyPolicy = Field(default=PrivacyPolicy(), description="Personal data.")
    chunk: ChunkPolicy = Field(default=ChunkPolicy(), description="Passages.")
    embed: EmbedPolicy = Field(default=EmbedPolicy(), description="Vectors.")
    index: IndexPolicy = Field(default=IndexPolicy(), description="Releases.")
    retrieval: RetrievalPolicy = Field(default=RetrievalPolicy(), description="Search.")
    gate: GatePolicy = Field(default=GatePolicy(), description="Checks between a candidate and live.")
    answer: AnswerPolicy = Field(default=AnswerPolicy(), description="Answers.")
    monitor: MonitorPolicy = Field(default=MonitorPolicy(), description="What is watched of answers.")
    costs: CostPolicy = Field(default=CostPolicy(), description="Prices.")
    pods: PodsPolicy = Field(default=PodsPolicy(), description="Pods on Kubernetes.")
    compute: ComputePolicy = Field(default=ComputePolicy(), description="This machine, or a Ray cluster.")
    access: list[AccessRule] = Field(
        default=[], description="Who may read what; without rules everyone may read everything."
    )

    @model_validator(mode="after")
    def _a_parser_fits_its_pod(self) -> CorpusPolicy:
        # Where there are no pods, what they would be like is no reason to refuse a parser its memory.
        if "pods" not in self.model_fields_set and os.environ.get("HEADWATER_EXECUTOR") != "k8s":
            return self
        if self.compute.engine == "ray":
            return self  # parsers run on the cluster
        needed = self.parse.memory_mb * 2**20 + _BESIDE_A_PARSER
        if self.pods.parse.memory_bytes < needed:
            raise ValueError(
                f"pods.parse.memory ({self.pods.parse.memory}) has no room for one parser of parse.memory_mb "
                f"({self.parse.memory_mb} MiB) and what runs beside it: give it {-(-needed // 2**30)}Gi or more"
            )
        return self

    @field_validator("owners")
    @classmethod
    def _owners_are_known_to_dagster(cls, owners: list[str]) -> list[str]:
        for owner in owners:
            if not _OWNER.fullmatch(owner):
                raise ValueError(f"{owner!r} is neither team:NAME nor an e-mail address")
        return owners
