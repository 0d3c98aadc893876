"""What each stage may be told, as one pydantic model per stage.

Every field has a default and a description; unknown fields are errors. A policy is part of its stage's
fingerprint: change a field and exactly the rows of that stage, and what hangs on them, are recomputed.
"""

from headwater.policies.answer import AnswerPolicy
from headwater.policies.base import Policy
from headwater.policies.chunk import ChunkPolicy
from headwater.policies.compute import ComputePolicy
from headwater.policies.corpus import CorpusPolicy
from headwater.policies.costs import CostPolicy
from headwater.policies.dedup import DedupPolicy
from headwater.policies.embed import EmbedPolicy
from headwater.policies.gate import GatePolicy
from headwater.policies.index import IndexPolicy
from headwater.policies.injection import InjectionPolicy
from headwater.policies.llm import LlmPolicy
from headwater.policies.monitor import MonitorPolicy
from headwater.policies.parse import ParsePolicy, ParserChoice
from headwater.policies.pods import PodShape, PodsPolicy, PodToleration
from headwater.policies.privacy import PrivacyAction, PrivacyPolicy, PrivacyRecognizer
from headwater.policies.quality import QualityPolicy, RuleFamily
from headwater.policies.retrieval import RetrievalPolicy
from headwater.policies.source import AccessRule, SourcePolicy, WatchPolicy
from headwater.policies.web_rules import C4Rules, FineWebRules, GopherRules

__all__ = [
    "AccessRule",
    "AnswerPolicy",
    "C4Rules",
    "ChunkPolicy",
    "ComputePolicy",
    "CorpusPolicy",
    "CostPolicy",
    "DedupPolicy",
    "EmbedPolicy",
    "FineWebRules",
    "GatePolicy",
    "GopherRules",
    "IndexPolicy",
    "InjectionPolicy",
    "LlmPolicy",
    "MonitorPolicy",
    "ParsePolicy",
    "ParserChoice",
    "PodShape",
    "PodToleration",
    "PodsPolicy",
    "Policy",
    "PrivacyAction",
    "PrivacyPolicy",
    "PrivacyRecognizer",
    "QualityPolicy",
    "RetrievalPolicy",
    "RuleFamily",
    "SourcePolicy",
    "WatchPolicy",
]
