"""The plan of one reindex: the stages in order, each planned from the forecast of the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from headwater.corpora import other_corpora
from headwater.errors import ConfigError
from headwater.plan.costing import Embedding, Plan, costed
from headwater.plan.documents import objects_after, plan_duplicates, plan_privacy, plan_quality
from headwater.plan.passages import is_known, plan_chunks, plan_embeddings, plan_index, with_language
from headwater.plan.rates import RUNS, of_model
from headwater.plan.sample import ModelSample, sample_model
from headwater.plan.work import Work, forecast, through
from headwater.reports import NoProgress, Progress
from headwater.source import compare_objects
from headwater.stages.evaluation import is_evaluated
from headwater.stages.parsed_documents import parse_stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.corpus import Corpus
    from headwater.costs import StageCost
    from headwater.policies import CorpusPolicy
    from headwater.tables import Tables


def plan_reindex(
    corpus: Corpus,
    progress: Progress | None = None,
    *,
    confirm_removals: bool = False,
    workers: int | None = None,
    sample: bool = True,
) -> Plan:
    """Return what a reindex of ``corpus`` would do now. Nothing is written.

    Objects that were listed before and look changed are read for their hash, and those that may be mails are opened, as
    a reindex would; new ones are not read. With ``sample``, an embedding model whose speed no run of the corpus tells is
    loaded and timed for some seconds (:func:`headwater.plan.sample.sample_model`), if it is to run in this process: of an
    endpoint and of a Ray cluster that would say nothing. Raises what a reindex would raise before it writes anything: SourceError for
    a listing that fails or lost too much (unless ``confirm_removals``), ConfigError for a missing key or model.
    """
    policy, tables = corpus.policy, corpus.tables
    found = compare_objects(
        corpus.name,
        policy.source,
        policy.access,
        policy.parse.max_bytes,
        tables.source_objects,
        progress or NoProgress(),
        confirm_removals=confirm_removals,
        ledger=corpus.ledger,
        parse=policy.parse,
        workers=workers,
        hash_new=False,
    )
    objects = objects_after(found)
    known = set(found.before["id"])
    added = sum(row["id"] not in known for row in found.changed)
    works = {"source_objects": Work(len(found.changed), len(found.removed), exact=True)}
    works["parsed_documents"], parsed = through(
        parse_stage(policy.parse, policy.source.uri), forecast(objects), tables.parsed_documents
    )
    works["quality_documents"], quality = plan_quality(policy, tables, parsed)
    others = other_corpora(corpus.project, corpus.name, policy.dedup.exclude_corpora)
    works["deduplicated_documents"], survivors = plan_duplicates(policy, corpus.name, tables, quality, objects, others)
    works["anonymized_documents"], texts = plan_privacy(policy, corpus.name, tables, survivors)
    model = corpus.embedding_fingerprint()
    policy = with_language(policy, tables, quality)
    passages = plan_chunks(policy, tables, texts, objects)
    works["chunks"] = passages.work
    works["embeddings"], vectors, tokens = plan_embeddings(corpus, policy, passages, model)
    works["index_candidate"] = plan_index(corpus, policy, passages, vectors, objects, model)
    works |= _releases(corpus, works["index_candidate"])
    fetched = int(objects.filter(pl.col("id").is_in(_due(parsed)))["size"].sum() or 0)
    every = corpus.ledger.costs(corpus.name, runs=RUNS)
    costs = of_model(every, corpus.releases(), model)
    unmeasured = bool(tokens) and not _is_measured(corpus, costs, model)
    measured = _sampled(policy, tables) if unmeasured and sample and _embeds_here(policy) else None
    return costed(
        corpus,
        works,
        costs if measured is not None or not unmeasured else every,
        Embedding(tokens, passages.relative_length, measured, unmeasured and measured is None),
        listed=objects.height,
        added=added,
        fetched=fetched,
    )


def _is_measured(corpus: Corpus, costs: Sequence[StageCost], model: str) -> bool:
    """Return whether a run of the corpus, or the figures that are shipped, tell how fast the embedding model is."""
    if not corpus.releases():
        return corpus.policy.embed.model is None and corpus.policy.embed.url is None
    return is_known(corpus, model) and any(cost.tokens for cost in costs if cost.stage == "embeddings")


def _sampled(policy: CorpusPolicy, tables: Tables) -> ModelSample | None:
    try:
        return sample_model(policy.embed, tables.chunks)
    except ConfigError:  # such as a device that is not here: the reindex may run elsewhere
        return None


def _embeds_here(policy: CorpusPolicy) -> bool:
    """Return whether a reindex would embed by the process that runs it."""
    return policy.embed.url is None and (policy.compute.engine == "local" or policy.compute.actors == 0)


def _due(rows: pl.DataFrame) -> list[str]:
    return rows.filter(pl.col("due"))["id"].to_list()


def _releases(corpus: Corpus, index: Work) -> dict[str, Work]:
    """Return what follows from a new release: it is evaluated, and goes live if the gate lets it."""
    live = corpus.ledger.live(corpus.name)
    again = int(live is not None and not is_evaluated(corpus, live))
    built = int(live is None or bool(index.rows or index.removed))
    return {
        "retrieval_evaluation": Work(built + again, 0, exact=index.exact or built == 1),
        "live_release": Work(built, 0, exact=not built and index.exact),
    }
