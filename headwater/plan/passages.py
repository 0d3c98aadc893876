"""What the stages from ``chunks`` on would do: one row is one chunk, but in ``chunks``, which works document by document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from headwater.embedding.languages import analyzer_of
from headwater.hashing import digest
from headwater.index.contract import IndexSpec
from headwater.plan.work import Overlay, Work, forecast, handed_on, only, through, without
from headwater.stages.chunks import chunk_stage
from headwater.stages.embeddings import embedding_stage, stored_dimensions
from headwater.stages.index_candidate import IndexInputs, diff, held, wanted_points

if TYPE_CHECKING:
    from headwater.corpus import Corpus
    from headwater.embedding import EmbeddingModel
    from headwater.policies import CorpusPolicy
    from headwater.tables import Tables

BYTES_PER_CHUNK = 800.0
"""Of the source, where the corpus has no chunks yet to tell; measured on a handbook in Markdown (6.2 MB, 7,626 chunks)."""

TOKENS_PER_CHUNK = 150.0
"""Where the corpus has no chunks yet to tell; measured on the same."""

_FEW = 5
"""From so many documents of a kind on, their own chunks per byte are taken for it."""


@dataclass(frozen=True, slots=True)
class Passages:
    """Chunks to come: ``expected`` of documents that would be cut anew (a guess), and those that stay as they are (``kept``).

    ``documents`` has ``id``, ``ok``, ``due`` and ``chunks`` (number expected) of every document that reaches the stage.
    Of the expected chunks, ``tokens`` would be embedded at most if the model stays, ``all_tokens`` if it is another one.
    ``mean_tokens`` is how many a chunk has that is there already.
    """

    work: Work
    documents: pl.DataFrame
    kept: pl.DataFrame
    expected: float
    tokens: float
    all_tokens: float
    mean_tokens: float

    @property
    def relative_length(self) -> float:
        """How long the chunks to come are on average beside those that are there."""
        return self.all_tokens / self.expected / self.mean_tokens if self.expected else 1.0

    @property
    def recut(self) -> pl.Series:
        """Ids of the documents that would be cut anew."""
        return self.documents.filter(pl.col("due"))["id"]


def with_language(policy: CorpusPolicy, tables: Tables, quality: pl.DataFrame) -> CorpusPolicy:
    """Return the policy with the BM25 language that the documents would call for; new ones are left out of the count."""
    kept = handed_on(quality)["id"]
    languages = only(tables.quality_documents, kept).scan().select("language").collect()["language"]
    counts = languages.fill_null("und").value_counts()
    language = analyzer_of(policy.embed.bm25_language, dict(counts.iter_rows()))
    return policy.model_copy(update={"embed": policy.embed.model_copy(update={"bm25_language": language})})


def plan_chunks(policy: CorpusPolicy, tables: Tables, texts: pl.DataFrame, objects: pl.DataFrame) -> Passages:
    """Return what ``chunks`` would do, and how many chunks there would be."""
    work, after = through(chunk_stage(policy), texts, tables.chunks)
    rows = tables.chunks.scan().select("id", "doc_id", "fingerprint", "state", "tokens").collect()
    fine = rows.filter(pl.col("state") == "ok")
    counts = _counts(fine, policy.chunk.max_tokens)
    documents = (
        after.select("id", "ok", "due")
        .join(texts.select("id", pl.col("due").alias("new_text")), on="id", how="left")
        .join(counts, on="id", how="left")
        .join(objects.select("id", "size", _kind().alias("kind")), on="id", how="left")
        .join(_density(objects, counts), on="kind", how="left")
    )
    longest = fine["tokens"].max()
    # Where longer chunks are allowed than there are, neighbours are joined.
    joined = min(float(longest) / policy.chunk.max_tokens, 1.0) if isinstance(longest, int) else 1.0
    mean = fine["tokens"].mean()
    by_size = (pl.col("size") * pl.col("density").fill_null(_overall(objects, counts))).clip(lower_bound=1.0)
    # Texts that are cut anew without being new: it is the way of cutting that changed.
    recut = ~pl.col("new_text") & pl.col("held").is_not_null()
    cut = pl.when(recut).then((pl.col("pieces") * joined).clip(lower_bound=1.0)).otherwise(pl.col("held"))
    to_embed = pl.when(recut & (pl.col("pieces") > pl.col("held"))).then("split_tokens").otherwise("held_tokens")
    mean_tokens = float(mean) if isinstance(mean, float) and mean else TOKENS_PER_CHUNK
    by_length = by_size * mean_tokens
    documents = documents.select(
        "id",
        "ok",
        "due",
        (pl.col("ok") * cut.fill_null(by_size)).alias("chunks"),
        (pl.col("ok") * to_embed.fill_null(by_length)).alias("tokens"),
        (pl.col("ok") * pl.col("held_tokens").fill_null(by_length)).alias("all_tokens"),
    )
    unchanged = handed_on(documents).filter(~pl.col("due"))["id"]
    kept = rows.join(unchanged.rename("doc_id").to_frame(), on="doc_id", how="semi")
    sums = documents.filter(pl.col("due")).select("chunks", "tokens", "all_tokens").sum().row(0)
    expected, tokens, all_tokens = (float(value or 0) for value in sums)
    return Passages(work, documents, kept, expected, tokens, all_tokens, mean_tokens)


def _counts(chunks: pl.DataFrame, max_tokens: int) -> pl.DataFrame:
    """Return by document: chunks and tokens that it has, in how many pieces under the cap, and tokens above it."""
    tokens = pl.col("tokens").cast(pl.Float64)
    return chunks.group_by(pl.col("doc_id").alias("id")).agg(
        pl.len().cast(pl.Float64).alias("held"),
        tokens.sum().alias("held_tokens"),
        (tokens / max_tokens).ceil().sum().alias("pieces"),
        tokens.filter(tokens > max_tokens).sum().alias("split_tokens"),
    )


def _kind() -> pl.Expr:
    """Return what kind of file an object is: the ending of its key."""
    return pl.col("key").str.to_lowercase().str.extract(r"\.([a-z0-9]{1,8})$", 1).fill_null("")


def _density(objects: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """Return chunks per byte by kind of file, of kinds that the corpus has enough of."""
    known = objects.join(counts, on="id").with_columns(_kind().alias("kind"))
    per_byte = (pl.col("held").sum() / pl.col("size").sum().clip(lower_bound=1)).alias("density")
    return known.group_by("kind").agg(per_byte, pl.len().alias("count")).filter(pl.col("count") >= _FEW).drop("count")


def _overall(objects: pl.DataFrame, counts: pl.DataFrame) -> float:
    known = objects.join(counts, on="id")
    size = float(known["size"].sum() or 0)
    return float(known["held"].sum()) / size if size else 1 / BYTES_PER_CHUNK


def plan_embeddings(
    corpus: Corpus, policy: CorpusPolicy, passages: Passages, model: str
) -> tuple[Work, pl.DataFrame, float]:
    """Return what ``embeddings`` would do, its forecast for unchanged chunks, and how many tokens would be embedded.

    Vectors of texts that were embedded by the same model before come from the cache; that a text of a changed document
    is one of these is not counted on, so the tokens are the most there can be.
    """
    tables = corpus.tables
    staying = handed_on(passages.documents)["id"]
    lengths = Overlay(
        tables.chunks,
        tables.chunks.scan().join(staying.rename("doc_id").to_frame().lazy(), on="doc_id", how="semi"),
    )
    cache = corpus.project.cache_path() / "embeddings"
    stage = embedding_stage(policy.embed, model, lengths, _never, cache)
    work, after = through(stage, forecast(passages.kept), without(tables.embeddings, passages.recut))
    known_model = is_known(corpus, model)
    again = after.filter(pl.col("due")).join(passages.kept.select("id", "tokens"), on="id")
    tokens = passages.tokens if known_model else passages.all_tokens + float(again["tokens"].sum() or 0)
    guessed = round(passages.expected)
    exact = work.exact and passages.work.exact and not passages.recut.len()
    return Work(work.rows + guessed, work.removed, exact), after, tokens


def is_known(corpus: Corpus, model: str) -> bool:
    """Return whether a release of the corpus was made with this embedding model, so that its vectors are in the cache."""
    return any(release.settings.get("model") == model for release in corpus.releases())


def plan_index(
    corpus: Corpus, policy: CorpusPolicy, passages: Passages, vectors: pl.DataFrame, objects: pl.DataFrame, model: str
) -> Work:
    """Return which points ``index_candidate`` would write and delete."""
    tables, ledger = corpus.tables, corpus.ledger
    spec = IndexSpec(stored_dimensions(tables.embeddings) or 1, digest(model, chunk_stage(policy).signature))
    live = next((r for r in corpus.releases() if r.number == ledger.live(corpus.name)), None)
    based = (
        live if live is not None and live.spec == spec.fingerprint and live.number in corpus.engine.releases() else None
    )
    fresh = vectors.lazy().select("id", pl.col("fingerprint").alias("new"), pl.col("ok"))
    rows = tables.embeddings.scan().drop("fingerprint", "state").join(fresh.filter(pl.col("ok") > 0), on="id")
    # A vector that is not there yet is a point to write all the same.
    stored_points = rows.with_columns(fingerprint="new", state=pl.lit("ok")).drop("new", "ok")
    inputs = IndexInputs(
        Overlay(tables.embeddings, stored_points),
        Overlay(tables.source_objects, objects.lazy()),
        tables.parsed_documents,
        tables.anonymized_documents,
        tables.index_manifest,
    )
    recut = tables.embeddings.scan().select("id", "doc_id")
    recut = recut.join(passages.recut.rename("doc_id").to_frame().lazy(), on="doc_id", how="semi")
    have = held(corpus.engine, tables.index_manifest, based).join(recut.select("id").collect(), on="id", how="anti")
    wanted = wanted_points(inputs)
    lacking = vectors.filter((pl.col("ok") > 0) & pl.col("due")).join(wanted, on="id", how="anti").height
    upserts, deletes = diff(wanted, have)
    exact = passages.work.exact and not passages.recut.len()
    return Work(len(upserts) + lacking + round(passages.expected), len(deletes), exact)


def _never() -> EmbeddingModel:
    raise AssertionError("a plan embeds nothing")
