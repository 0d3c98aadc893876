"""Headwater: documents in a bucket become answers that cite their sources.

Every stage can be called from plain Python. Names are loaded on first use, so importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from headwater.errors import (
    ConfigError,
    CorruptDocument,
    EmptyDocument,
    EncryptedDocument,
    GateError,
    HeadwaterError,
    LakeError,
    NotFoundError,
    ParseError,
    ParseLimitExceeded,
    ReleaseError,
    RowError,
    SourceError,
    UnsupportedFormat,
)
from headwater.memory import before_frames
from headwater.policies import (
    AccessRule,
    AnswerPolicy,
    ChunkPolicy,
    CorpusPolicy,
    DedupPolicy,
    EmbedPolicy,
    GatePolicy,
    IndexPolicy,
    LlmPolicy,
    ParsePolicy,
    PrivacyPolicy,
    QualityPolicy,
    SourcePolicy,
)
from headwater.types import (
    AnonymizedText,
    Answer,
    Chunk,
    Citation,
    Duplicate,
    Element,
    ParsedDocument,
    Passage,
    PiiSpan,
    Principal,
    Replacement,
    Sentence,
    Turn,
)

before_frames()

if TYPE_CHECKING:
    from headwater.chunking import chunk
    from headwater.corpus import Corpus, open_corpus
    from headwater.dedup import near_duplicates
    from headwater.embedding import Embedder
    from headwater.parsing import parse
    from headwater.privacy import anonymize, find_pii
    from headwater.quality import assess

__version__ = "0.1.0"

_LAZY = {
    "parse": "headwater.parsing",
    "assess": "headwater.quality",
    "near_duplicates": "headwater.dedup",
    "find_pii": "headwater.privacy",
    "anonymize": "headwater.privacy",
    "chunk": "headwater.chunking",
    "Embedder": "headwater.embedding",
    "Corpus": "headwater.corpus",
    "open_corpus": "headwater.corpus",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'headwater' has no attribute {name!r}")


__all__ = [
    "AccessRule",
    "AnonymizedText",
    "Answer",
    "AnswerPolicy",
    "Chunk",
    "ChunkPolicy",
    "Citation",
    "ConfigError",
    "Corpus",
    "CorpusPolicy",
    "CorruptDocument",
    "DedupPolicy",
    "Duplicate",
    "Element",
    "EmbedPolicy",
    "Embedder",
    "EmptyDocument",
    "EncryptedDocument",
    "GateError",
    "GatePolicy",
    "HeadwaterError",
    "IndexPolicy",
    "LakeError",
    "LlmPolicy",
    "NotFoundError",
    "ParseError",
    "ParseLimitExceeded",
    "ParsePolicy",
    "ParsedDocument",
    "Passage",
    "PiiSpan",
    "Principal",
    "PrivacyPolicy",
    "QualityPolicy",
    "ReleaseError",
    "Replacement",
    "RowError",
    "Sentence",
    "SourceError",
    "SourcePolicy",
    "Turn",
    "UnsupportedFormat",
    "anonymize",
    "assess",
    "chunk",
    "find_pii",
    "near_duplicates",
    "open_corpus",
    "parse",
]
