"""What each stage may be told, as one pydantic model per stage.

Every field has a default and a description; unknown fields are errors. A policy is part of its stage's
fingerprint: change a field and exactly the rows of that stage, and what hangs on them, are recomputed.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Policy(BaseModel):
    """Base of all policies: immutable, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourcePolicy(Policy):
    """Where the documents are and which of them belong to the corpus."""

    uri: str = Field(
        description="Folder path or bucket URI: ./documents, file:///data, s3://bucket/prefix, gs://, az://."
    )
    include: list[str] = Field(default=["**"], description="Glob patterns of keys to take; ** crosses folders.")
    exclude: list[str] = Field(
        default=["**/.git/**", "**/.headwater/**", "**/.DS_Store", "**/*.acl.json"],
        description="Glob patterns of keys to leave out; wins over include.",
    )
    max_removed_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A listing that lost more than this share of the known objects stops the run before anything is removed.",
    )
    write_receipts: bool = Field(
        default=False,
        description="Write what became of every object beside the documents, under .headwater/receipts/; needs write access.",
    )


class WatchPolicy(Policy):
    """The sensor that looks for changes in the bucket and asks for a reindex."""

    enabled: bool = Field(default=True, description="Whether the sensor runs once Dagster has loaded the corpus.")
    interval_seconds: int = Field(default=5, ge=1, description="Pause between two looks at the bucket.")
    budget_seconds: float = Field(
        default=20.0,
        gt=0,
        le=40,
        description="Time one look may take; a larger bucket is listed over several looks. Dagster gives a sensor a minute.",
    )
    quiet_seconds: float = Field(
        default=1.0, ge=0, description="A bulk upload is waited out: nothing may have been written for this long."
    )
    max_wait_seconds: float = Field(
        default=60.0, ge=0, description="... but a bucket that never rests is reindexed after this long."
    )
    queue: str | None = Field(
        default=None,
        description="URL of an SQS queue that gets the bucket's event notifications: a faster trigger than listing.",
    )


class ParsePolicy(Policy):
    """Bytes to elements, in a worker process under limits."""

    max_bytes: int = Field(default=64 * 2**20, gt=0, description="Objects larger than this are quarantined, in bytes.")
    max_pages: int = Field(default=5000, gt=0, description="Documents with more pages than this are quarantined.")
    timeout_seconds: float = Field(default=60.0, gt=0, description="Wall-clock limit for one document.")
    memory_mb: int = Field(
        default=2048, ge=512, description="Address-space limit of a parser process above its start size, in MiB."
    )
    max_expanded_bytes: int = Field(
        default=512 * 2**20,
        gt=0,
        description="Office files whose archive expands to more than this are quarantined, in bytes.",
    )
    sentence_model: str | None = Field(
        default=None,
        description="spaCy pipeline that unstructured uses to tell prose from headings; default: en_core_web_sm if installed, else the rules the install carries.",
    )


class QualityPolicy(Policy):
    """Which documents are worth indexing. Defaults follow Gopher (Rae et al. 2021), loosened for short business documents."""

    languages: list[str] = Field(
        default=["en"], description="ISO 639-1 codes to keep; an empty list keeps every language."
    )
    min_language_score: float = Field(
        default=0.5, ge=0, le=1, description="Below this the language counts as unknown and the document is kept."
    )
    min_words: int = Field(default=5, ge=0, description="Fewer words than this is nothing to answer from.")
    max_unknown_character_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of replacement characters (U+FFFD); more means a wrongly decoded file (own choice).",
    )
    max_mean_word_length: float = Field(
        default=15.0,
        gt=0,
        description="Mean word length above this is encoded data (Gopher: 10; base64 has 20 and more).",
    )
    min_vowel_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Share of vowels among ASCII letters; random letters have 0.19, English prose about 0.38.",
    )
    max_consonant_run_share: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="Share of ASCII letters in runs of five consonants and more; random letters have 0.5, prose 0.01.",
    )
    max_mixed_word_share: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Share of words with letters and digits, outside tables; hexadecimal dumps have 0.47 and more.",
    )
    max_symbol_word_ratio: float = Field(
        default=0.3, ge=0, description="Hash signs and ellipses per word (Gopher: 0.1, without Markdown headings)."
    )
    min_alpha_word_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of words with a letter, outside tables (Gopher: 0.8; sheets of figures go below 0.2).",
    )
    max_log_line_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of text in log lines that repeat an earlier one but for its numbers (own choice).",
    )
    max_duplicate_line_share: float = Field(
        default=0.85,
        ge=0,
        le=1,
        description="Share of text in lines (20 characters and more) that repeat an earlier line "
        "(Gopher: 0.2; pages whose tabs repeat examples have up to 0.7).",
    )
    max_repeated_phrase_share: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Share of word 5-shingles that repeat an earlier one, outside tables "
        "(Gopher: 0.15 of characters; technical pages have up to 0.85).",
    )
    max_top_word_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Share of the most frequent word, outside tables (own choice; English prose: below 0.1).",
    )
    max_placeholder_share: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Share of lorem ipsum words (C4 drops any page with the phrase; a form may hold a sample).",
    )


class DedupPolicy(Policy):
    """Which documents say the same as another one."""

    enabled: bool = Field(default=True, description="False keeps every copy.")
    threshold: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Exact Jaccard of word 5-shingles at which two documents are near-duplicates.",
    )
    survivor: Literal["longest", "first_key"] = Field(
        default="longest",
        description="Which copy is kept: the longest (ties: first key in order), or the first key in order.",
    )
    boilerplate_min_documents: int = Field(
        default=10,
        ge=0,
        description="A paragraph found in at least this many documents is boilerplate; 0 turns removal off.",
    )
    boilerplate_min_share: float = Field(
        default=0.3, ge=0, le=1, description="... and in at least this share of the documents."
    )


class PrivacyPolicy(Policy):
    """Which personal data is replaced before anything is chunked."""

    enabled: bool = Field(default=True, description="False lets personal data into the index.")
    entities: list[str] | None = Field(
        default=None,
        description="Presidio entity names to look for; default: all that Presidio's enabled recognisers support except DATE_TIME, URL, UUID and ORGANIZATION.",
    )
    spacy_model: str | None = Field(
        default=None,
        description="spaCy pipeline for names and places; default: en_core_web_lg, _md or _sm if installed, else patterns only.",
    )
    language: str = Field(default="en", description="Language of the recognisers.")
    min_score: float = Field(default=0.4, ge=0, le=1, description="Findings below this confidence are ignored.")
    allow: list[str] = Field(
        default=[], description="Exact strings that are never personal data (a support address, say)."
    )
    keep_identifiers: bool = Field(
        default=True,
        description="Leave digit runs inside http links and licence numbers inside longer words: they name pages and records. False replaces them too.",
    )
    action: Literal["replace", "mask"] = Field(
        default="replace", description="replace writes <ENTITY>; mask writes asterisks of the same length."
    )


class ChunkPolicy(Policy):
    """How a document is cut into passages."""

    max_tokens: int = Field(
        default=254,
        ge=16,
        description="Hard cap per chunk in tokens of the embedding model, special tokens, title and section included.",
    )
    min_tokens: int = Field(
        default=32, ge=0, description="A section's last piece shorter than this joins its neighbour if the cap allows."
    )
    context: bool = Field(
        default=True, description="Embed each chunk together with its document's title and section path."
    )
    max_context_tokens: int = Field(default=48, ge=0, description="At most this many tokens of title and section path.")


class EmbedPolicy(Policy):
    """How chunks become vectors."""

    model: str | None = Field(
        default=None,
        description="sentence-transformers model: a folder or a name; default: the bundled all-MiniLM-L6-v2.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="Where to compute; auto takes a GPU when there is one."
    )
    tokens_per_batch: int | None = Field(
        default=None,
        gt=0,
        description="Token budget of one forward pass; default: 2048 on a CPU, 32768 on a GPU. Longest chunks go first.",
    )
    bm25_k: float = Field(
        default=0.9,
        ge=0,
        description="BM25 term-frequency saturation; 0.9 with b 0.4 is Anserini's tuning (Yang et al. 2017).",
    )
    bm25_b: float = Field(default=0.4, ge=0, le=1, description="BM25 length normalisation.")
    bm25_language: str = Field(default="english", description="Stemmer and stop words of the sparse vectors.")


class IndexPolicy(Policy):
    """The Qdrant releases."""

    url: str | None = Field(
        default=None,
        description="Qdrant server, such as http://qdrant:6333 (its key: QDRANT_API_KEY); default: embedded, in process.",
    )
    retain: int = Field(default=5, ge=1, description="How many releases before the live one are kept for rollback.")
    rrf_k: int = Field(default=60, ge=1, description="Constant of reciprocal rank fusion (Cormack et al. 2009: 60).")
    candidates: int = Field(default=100, ge=10, description="How many results each retriever hands to the fusion.")


class GatePolicy(Policy):
    """What a candidate must show before it goes live."""

    known_item_queries: int = Field(
        default=50, ge=0, description="Chunks sampled as queries that must find their own document."
    )
    min_known_item_recall: float = Field(
        default=0.9, ge=0, le=1, description="Share of known-item queries that find their document in the first 10."
    )
    golden: str | None = Field(
        default=None, description="JSON Lines file of golden questions, relative to the corpus file."
    )
    min_golden_recall: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of answerable golden questions whose quote is in the first 10 passages.",
    )
    max_golden_drop: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="How far nDCG@10, averaged over the golden questions, may fall below the live release's.",
    )
    min_refusal_accuracy: float = Field(
        default=0.0, ge=0, le=1, description="Share of golden questions without an answer that must be refused."
    )
    max_refusal_drop: float = Field(
        default=0.25, ge=0, le=1, description="How far the refusal accuracy may fall below the live release's."
    )
    max_leaks: int = Field(default=0, ge=0, description="Findings of personal data in chunks that are let through.")
    canary_chunks: int = Field(
        default=16, ge=0, description="Chunks embedded anew to see whether the stored vectors are the model's."
    )
    min_canary_cosine: float = Field(
        default=0.99,
        ge=-1,
        le=1,
        description="Lowest cosine between a stored and a fresh vector (bfloat16 against float32: above 0.999).",
    )
    max_shrink: float = Field(
        default=0.4, ge=0, le=1, description="Share of live's documents that a candidate may have lost."
    )
    max_growth: float | None = Field(
        default=None, gt=0, description="How many times live's chunks a candidate may have; default: any number."
    )
    max_quarantined_share: float = Field(
        default=0.5, ge=0, le=1, description="More quarantined objects than this share stop the release."
    )


class AnswerPolicy(Policy):
    """How questions are answered without a language model."""

    passages: int = Field(default=10, ge=1, description="Passages read for one answer.")
    max_sentences: int = Field(default=3, ge=1, description="At most this many sentences are quoted.")
    min_support: float = Field(
        default=0.55,
        ge=0,
        le=1,
        description="Support below this is no answer: the question is refused. 0.55 to 0.58 balance refusals and "
        "answers equally well on the odd rows of ClapNQ's development set (benchmarks/answers.py); the lowest answers most.",
    )
    min_relative_support: float = Field(
        default=0.9, ge=0, le=1, description="Further sentences need this share of the best sentence's support."
    )


class AccessRule(Policy):
    """Who may read the keys under a prefix; the longest matching prefix decides."""

    prefix: str = Field(description="Key prefix, such as hr/; the empty prefix matches all.")
    groups: list[str] = Field(description="Groups that may read; * is everyone; an empty list is nobody.")


_OWNER = re.compile(r"team:[\w.\-/]+|[^@\s]+@[^@\s]+\.[^@\s]+")


class CorpusPolicy(Policy):
    """One corpus: the attributes of its ``defs.yaml``."""

    source: SourcePolicy = Field(description="Where the documents are.")
    watch: WatchPolicy = Field(default=WatchPolicy(), description="When to look for changes.")
    description: str = Field(default="", description="What this body of documents is, for people.")
    owners: list[str] = Field(default=["team:data"], description="Dagster owners: team:name or an e-mail address.")
    parse: ParsePolicy = Field(default=ParsePolicy(), description="Bytes to elements.")
    quality: QualityPolicy = Field(default=QualityPolicy(), description="What is worth indexing.")
    dedup: DedupPolicy = Field(default=DedupPolicy(), description="Exact and near-duplicates, boilerplate.")
    privacy: PrivacyPolicy = Field(default=PrivacyPolicy(), description="Personal data.")
    chunk: ChunkPolicy = Field(default=ChunkPolicy(), description="Passages.")
    embed: EmbedPolicy = Field(default=EmbedPolicy(), description="Vectors.")
    index: IndexPolicy = Field(default=IndexPolicy(), description="Releases.")
    gate: GatePolicy = Field(default=GatePolicy(), description="Checks between a candidate and live.")
    answer: AnswerPolicy = Field(default=AnswerPolicy(), description="Extractive answers.")
    access: list[AccessRule] = Field(
        default=[], description="Who may read what; without rules everyone may read everything."
    )

    @field_validator("owners")
    @classmethod
    def _owners_are_known_to_dagster(cls, owners: list[str]) -> list[str]:
        for owner in owners:
            if not _OWNER.fullmatch(owner):
                raise ValueError(f"{owner!r} is neither team:NAME nor an e-mail address")
        return owners
