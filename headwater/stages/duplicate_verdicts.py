"""What becomes of every document of ``deduplicated_documents``, and everything that this is decided from.

In: the kept documents of ``quality_documents`` with their signatures, keys and readers; the policy; the other corpora
and the evaluation questions that it leaves out. Out: one verdict per document, the same whatever the order in which
documents arrived. In this order a document

1. is ``rejected`` when it contains an evaluation question;
2. is a ``duplicate`` of what another corpus holds for the same readers, when that is near enough;
3. survives, but stands for no other document, when the privacy stage is going to keep it out of the index;
4. is a ``duplicate`` of a better-ranked survivor with the same readers and the same text, or nearly the same;
5. survives, without the paragraphs and sentences that the policy removes.

The third rule needs a :class:`Screen`, and there is one only where the privacy policy can refuse documents. It is asked
about documents that have copies, and about no others: nobody loses a text because a document without copies is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from headwater import dedup
from headwater.hashing import digest, row_fingerprints
from headwater.lake import Table
from headwater.policies import DedupPolicy
from headwater.source.keys import begins_with
from headwater.stages.duplicate_clusters import READ_ROWS, OtherCorpus, StandIns, stand_ins

STAGE = "deduplicated_documents"
CODE_VERSION = "2"

FLAWS = (
    "unknown_character_share",
    "consonant_run_share",
    "duplicate_line_share",
    "log_line_share",
    "placeholder_share",
)
"""Signals of which a better copy of the same text has less: broken decoding, bad OCR, lines that repeat."""

_EXCLUSIONS = {"exclude_corpora", "exclude_questions", "exclude_ngram"}


class Screen(Protocol):
    """Tells which documents the privacy stage is going to keep out of the index."""

    @property
    def signature(self) -> str:
        """What, beside a document, decides what is told of it."""
        ...

    def kept_out(self, documents: pl.DataFrame) -> Collection[str]:
        """Return the ids of those of the documents that are kept out; maybe those of others, too.

        ``documents`` have an ``id``, the ``fingerprint`` of what the privacy stage is going to read, and the hashes of
        the boilerplate ``paragraphs`` that were found in it. A run asks about all that it asked about before, and more.
        """
        ...

    def forget_others(self, ids: Collection[str]) -> None:
        """Be told that the run has asked about the documents with these ids, and about no others."""
        ...


class DedupInputs:
    """What the verdicts of one run are decided from, read once."""

    def __init__(
        self,
        policy: DedupPolicy,
        quality: Table,
        signatures: Table,
        objects: Table,
        others: Sequence[OtherCorpus],
        screen: Screen | None = None,
    ) -> None:
        self.policy = policy
        self.screen = screen if policy.enabled else None
        self.quality = quality
        self.signatures = signatures
        self.others = others
        self._objects = objects
        self.elsewhere = [other.documents() for other in others]
        self.questions = dedup.read_questions(Path(policy.exclude_questions)) if policy.exclude_questions else []

    @cached_property
    def digest(self) -> str:
        """A digest over everything that the verdicts depend on: equal digests, equal verdicts."""
        written = ["last_modified"] if self.policy.survivor == "first_seen" else []
        readers = pl.col("readers").list.join("\n")
        rows = (
            self.quality.scan()
            .filter(pl.col("state") == "ok")
            .select("id", "fingerprint")
            .join(
                self._objects.scan().select("id", readers, *(pl.col(name).cast(pl.String) for name in written)), on="id"
            )
            .sort("id")
            .select(pl.concat_str("id", "fingerprint", "readers", *written, separator="\t"))
            .collect()
        )
        elsewhere = [
            (other.name, *frame.select(pl.concat_str("id", "text_hash", "key", readers, separator="\t")).to_series())
            for other, frame in zip(self.others, self.elsewhere, strict=True)
        ]
        settings = self.policy.model_dump_json(exclude={"exclude_questions"})
        text = "\n".join(rows.to_series().to_list())
        # Only these prefixes meet other keys than when names were compared byte by byte.
        composed = ["composed"] if any(not prefix.isascii() for prefix in self.policy.preferred_prefixes) else []
        versions = (CODE_VERSION, dedup.CODE_VERSION)
        screened = [self.screen.signature] if self.screen else []
        return digest(STAGE, *versions, settings, text, elsewhere, self.questions, *composed, *screened)

    def documents(self) -> pl.DataFrame:
        """Return the documents to decide on, one row each, sorted by id."""
        columns = ["id", "fingerprint", "characters"] + (list(FLAWS) if self.policy.survivor == "best_quality" else [])
        hashes = ["paragraphs"] if self.policy.boilerplate != "keep" else []
        hashes += ["sentences"] if self.policy.sentences != "keep" else []
        return (
            self.quality.scan()
            .filter(pl.col("state") == "ok")
            .select(columns)
            .join(self._objects.scan().select("id", "key", "readers", "last_modified"), on="id")
            .join(self.signatures.scan().filter(pl.col("state") == "ok").select("id", "text_hash", *hashes), on="id")
            .sort("id")
            .collect()
        )


def decide(inputs: DedupInputs) -> pl.DataFrame:
    """Return one row per document: what the stage's table says of it, and what is removed from its text.

    ``paragraphs`` (hashes) and ``sentences`` (indexes) are what was found; the policy says whether they are removed.
    """
    policy, frame = inputs.policy, inputs.documents()
    rank = _ranks(policy, frame)
    asked = _questions_in(inputs, frame)
    usable = np.array([line is None for line in asked], np.bool_)
    standing = _standing(inputs, frame, rank, usable)
    settings = digest(STAGE, CODE_VERSION, dedup.CODE_VERSION, policy.model_dump_json(exclude=_EXCLUSIONS))
    # Counted before any document is kept out for its personal data, which is looked for in what this leaves of a text.
    boilerplate = _boilerplate(policy, frame, usable & _stands(standing))
    refused = np.zeros(frame.height, np.bool_)
    if inputs.screen:
        texts = frame.select(
            "id",
            pl.Series("fingerprint", _fingerprints(frame, boilerplate, None, settings), pl.String),
            pl.Series("paragraphs", boilerplate, pl.List(pl.String)),
        )
        standing, refused = _screened(inputs, inputs.screen, frame, rank, usable, standing, texts)
    codes: list[str] = []
    notes: list[str | None] = []
    for line, corpus, survivor, exact in zip(asked, standing.corpora, standing.survivors, standing.exact, strict=True):
        note = None
        if line is not None:
            code, note = "contains_evaluation_question", f"It is the one on line {line} of the questions' file."
        elif corpus is not None:
            code, note = "held_by_other_corpus", f"It is in corpus {corpus!r}."
        elif survivor is not None:
            code = "exact_duplicate" if exact else "near_duplicate"
        else:
            code = "ok"
        codes.append(code)
        notes.append(note)
    kept = np.array([code == "ok" for code in codes], np.bool_)
    paragraphs = [found if stays else [] for found, stays in zip(boilerplate, kept, strict=True)]
    # What a document says that nobody will read is no reason to take it out of another one.
    sentences = _repeated(policy, frame, kept & ~refused, rank)
    fingerprints = _fingerprints(frame, paragraphs, sentences, settings)
    verdicts = [
        digest(*parts)
        for parts in zip(fingerprints, codes, standing.survivors, standing.similarities, notes, strict=True)
    ]
    return pl.DataFrame(
        {
            "id": frame["id"],
            "fingerprint": fingerprints,
            "state": [_STATES.get(code, "duplicate") for code in codes],
            "reason": codes,
            "error": pl.Series(notes, dtype=pl.String),
            "survivor": pl.Series(standing.survivors, dtype=pl.String),
            "similarity": pl.Series(standing.similarities, dtype=pl.Float64),
            "paragraphs": pl.Series(paragraphs, dtype=pl.List(pl.String)),
            "sentences": pl.Series(sentences, dtype=pl.List(pl.Int64)),
            "verdict": verdicts,
        },
        schema_overrides=dict.fromkeys(("fingerprint", "state", "reason", "verdict"), pl.String),
    )


_STATES = {"ok": "ok", "contains_evaluation_question": "rejected"}


def _standing(
    inputs: DedupInputs, frame: pl.DataFrame, rank: npt.NDArray[np.int64], usable: npt.NDArray[np.bool_]
) -> StandIns:
    return stand_ins(inputs.policy, frame, inputs.signatures, inputs.others, inputs.elsewhere, rank, usable)


def _stands(standing: StandIns) -> npt.NDArray[np.bool_]:
    """Return which documents stand for themselves."""
    return np.array([survivor is None for survivor in standing.survivors], np.bool_)


def _screened(
    inputs: DedupInputs,
    screen: Screen,
    frame: pl.DataFrame,
    rank: npt.NDArray[np.int64],
    usable: npt.NDArray[np.bool_],
    standing: StandIns,
    texts: pl.DataFrame,
) -> tuple[StandIns, npt.NDArray[np.bool_]]:
    """Return who stands for whom when nobody stands for others who will be kept out, and who these are.

    ``texts`` is what the screen is asked about. A document that is kept out leaves its copies to others, which may make
    copies of documents that had none, so it goes on until nobody who was not asked about has a copy.
    """
    asked, refused = np.zeros(frame.height, np.bool_), np.zeros(frame.height, np.bool_)
    while True:
        copies = _have_copies(frame, standing)
        if not (copies & ~asked).any():
            screen.forget_others(frame["id"].filter(pl.Series(asked)).to_list())
            return standing, refused
        asked |= copies
        out = pl.Series(sorted(screen.kept_out(texts.filter(pl.Series(asked)))), dtype=pl.String)
        found = asked & frame["id"].is_in(out.implode()).to_numpy()
        if (found & ~refused).any():
            refused = found
            standing = _standing(inputs, frame, rank, usable & ~refused)


def _have_copies(frame: pl.DataFrame, standing: StandIns) -> npt.NDArray[np.bool_]:
    """Return which documents are in a cluster of this corpus with others."""
    here = [
        survivor if corpus is None else None
        for survivor, corpus in zip(standing.survivors, standing.corpora, strict=True)
    ]
    survivors = pl.Series(here, dtype=pl.String)
    return (survivors.is_not_null() | frame["id"].is_in(survivors.drop_nulls().unique().implode())).to_numpy()


def _fingerprints(
    frame: pl.DataFrame, paragraphs: list[list[str]], sentences: list[list[int]] | None, settings: str
) -> list[str]:
    """Return the fingerprints of documents from which these are removed; without ``sentences``, paragraphs only."""
    left = sentences if sentences is not None else [[]] * frame.height
    removed = [f"{row}:{a}:{b}" for row, a, b in zip(frame["fingerprint"], paragraphs, left, strict=True)]
    return row_fingerprints(removed, settings)


def _ranks(policy: DedupPolicy, frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Return each document's place in the order of who is kept, 0 for the first."""
    first = [begins_with(prefix).not_() for prefix in policy.preferred_prefixes]
    flawless = pl.lit(1.0)
    for name in FLAWS if policy.survivor == "best_quality" else ():
        flawless = flawless * (1 - pl.col(name))
    rule = {
        "longest": [-pl.col("characters")],
        "first_key": [],
        "first_seen": [pl.col("last_modified")],
        # Rounded: a difference in the third digit says nothing of quality, and then the longer copy says more.
        "best_quality": [-flawless.round(2), -pl.col("characters")],
    }[policy.survivor]
    order = frame.with_row_index("row").sort(*first, *rule, "key")["row"].to_numpy()
    rank = np.empty(frame.height, np.int64)
    rank[order] = np.arange(frame.height)
    return rank


def _questions_in(inputs: DedupInputs, frame: pl.DataFrame) -> list[int | None]:
    """Return, per document, the line of the evaluation question that it contains, None where it contains none."""
    if not inputs.questions:
        return [None] * frame.height
    finder = dedup.QuestionFinder(inputs.questions, inputs.policy.exclude_ngram)
    suspects: list[str] = []
    parts = inputs.signatures.scan().filter(pl.col("state") == "ok").select("id", "shingles")
    for part in parts.collect_batches(chunk_size=READ_ROWS):
        sets = dedup.ShingleSets.from_arrow(part["shingles"].to_arrow())
        suspects += part["id"].gather(finder.suspects(sets)).to_list()
    found: dict[str, int | None] = {}
    for batch in inputs.quality.batches(["id", "text"], suspects, 256):
        for name, text in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True):
            found[name] = finder.first_in(text)
    return [found.get(name) for name in frame["id"]]


def _boilerplate(policy: DedupPolicy, frame: pl.DataFrame, counted: npt.NDArray[np.bool_]) -> list[list[str]]:
    """Return the boilerplate paragraphs of each document, by hash; only those that are ``counted`` make boilerplate."""
    if policy.boilerplate == "keep":
        return [[] for _ in counted]
    documents = frame["paragraphs"].to_list()
    common = dedup.boilerplate_paragraphs(
        [hashes for hashes, counts in zip(documents, counted, strict=True) if counts], policy
    )
    return [sorted(common.intersection(hashes)) for hashes in documents]


def _repeated(
    policy: DedupPolicy, frame: pl.DataFrame, kept: npt.NDArray[np.bool_], rank: npt.NDArray[np.int64]
) -> list[list[int]]:
    """Return the indexes of the sentences of each survivor that a better-ranked survivor has, too."""
    if policy.sentences == "keep":
        return [[] for _ in kept]
    documents = [hashes if stays else [] for hashes, stays in zip(frame["sentences"].to_list(), kept, strict=True)]
    groups = frame["readers"].list.join("\n").rank("dense").to_numpy().astype(np.int64)
    return dedup.repeated_sentences(documents, rank, groups, policy.sentence_window)
