"""The plan of one reindex: the stages in order, each planned from the forecast of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from headwater.corpora import other_corpora
from headwater.costs import machine, price
from headwater.plan.documents import objects_after, plan_duplicates, plan_privacy, plan_quality
from headwater.plan.passages import is_known, plan_chunks, plan_embeddings, plan_index, with_language
from headwater.plan.rates import RUNS, SHIPPED_MACHINE, rates, stored_rows
from headwater.plan.work import Work, forecast, through
from headwater.reports import NoProgress, Progress
from headwater.source import compare_objects
from headwater.stages.evaluation import is_evaluated
from headwater.stages.parsed_documents import parse_stage

if TYPE_CHECKING:
    from headwater.corpus import Corpus


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage. ``rows`` would be computed and ``removed`` leave its table: certainly so where ``exact``.

    ``tokens`` would be embedded, at most. Seconds and bytes are estimates; the ``read_bytes`` of ``parsed_documents``,
    which are fetched from the bucket, are not. ``money`` is None without prices.
    """

    stage: str
    rows: int
    removed: int
    exact: bool
    seconds: float
    cpu_seconds: float
    gpu_seconds: float
    tokens: int
    read_bytes: int
    written_bytes: int
    money: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a reindex of a corpus would do.

    ``rates`` says by stage where its seconds come from: ``own`` runs of the corpus or ``shipped`` figures, which were
    measured on ``shipped_machine``. ``new_model`` says that the seconds per token are another embedding model's.
    ``nothing`` is True when every stage would find its table as it should be.
    """

    corpus: str
    listed: int
    added: int
    changed: int
    removed: int
    stages: list[StagePlan]
    rates: Mapping[str, str]
    machine: str
    shipped_machine: str
    currency: str
    seconds: float
    cpu_seconds: float
    gpu_seconds: float
    tokens: int
    read_bytes: int
    written_bytes: int
    money: float | None
    stored_money_per_month: float | None
    new_model: bool

    @property
    def nothing(self) -> bool:
        """Whether there would be nothing to do."""
        return not any(stage.rows or stage.removed for stage in self.stages)


def plan_reindex(
    corpus: Corpus,
    progress: Progress | None = None,
    *,
    confirm_removals: bool = False,
    workers: int | None = None,
) -> Plan:
    """Return what a reindex of ``corpus`` would do now. Nothing is written.

    Objects that were listed before and look changed are read for their hash, and those that may be mails are opened, as
    a reindex would; new ones are not read. Raises what a reindex would raise before it writes anything: SourceError for
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
    works["deduplicated_documents"], survivors = plan_duplicates(policy, tables, quality, objects, others)
    works["anonymized_documents"], texts = plan_privacy(policy, corpus.name, tables, survivors)
    model = corpus.embedding_fingerprint()
    policy = with_language(policy, tables, quality)
    passages = plan_chunks(policy, tables, texts, objects)
    works["chunks"] = passages.work
    works["embeddings"], vectors, tokens = plan_embeddings(corpus, policy, passages, model)
    works["index_candidate"] = plan_index(corpus, policy, passages, vectors, objects, model)
    new_model = bool(corpus.releases()) and not is_known(corpus, model)
    works |= _releases(corpus, works["index_candidate"])
    fetched = int(objects.filter(pl.col("id").is_in(_due(parsed)))["size"].sum() or 0)
    return _costed(corpus, works, objects.height, added, fetched, tokens, new_model)


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


def _costed(
    corpus: Corpus, works: Mapping[str, Work], listed: int, added: int, fetched: int, tokens: float, new_model: bool
) -> Plan:
    prices = corpus.policy.costs
    endpoint = corpus.policy.embed.url is not None
    costs = corpus.ledger.costs(corpus.name, runs=RUNS)
    lines, own = rates(costs)
    rows, each = stored_rows(costs)
    share_new = added / max(works["source_objects"].rows, 1)
    stages = []
    for name, work in works.items():
        embedded = round(tokens) if name == "embeddings" else 0
        units = _units(name, works, embedded)
        taken = {measure: line.of(units, busy=units > 0) for measure, line in lines[name].items()}
        read = fetched if name == "parsed_documents" else round(taken["read_bytes"])
        money = price(
            prices,
            cpu_seconds=taken["cpu_seconds"],
            gpu_seconds=taken["gpu_seconds"],
            tokens=embedded if endpoint else 0,
        )
        stages.append(
            StagePlan(
                stage=name,
                rows=work.rows,
                removed=work.removed,
                exact=work.exact,
                seconds=taken["seconds"],
                cpu_seconds=taken["cpu_seconds"],
                gpu_seconds=taken["gpu_seconds"],
                tokens=embedded,
                read_bytes=read,
                written_bytes=round(each.get(name, 0) * _rows_after(name, works, rows.get(name, 0), share_new)),
                money=money,
            )
        )
    written = sum(stage.written_bytes for stage in stages)
    paid = [stage.money for stage in stages if stage.money is not None]
    source = works["source_objects"]
    return Plan(
        corpus=corpus.name,
        listed=listed,
        added=added,
        changed=source.rows - added,
        removed=source.removed,
        stages=stages,
        rates={name: "own" if name in own else "shipped" for name in works},
        machine=machine(),
        shipped_machine=SHIPPED_MACHINE,
        currency=prices.currency,
        seconds=sum(stage.seconds for stage in stages),
        cpu_seconds=sum(stage.cpu_seconds for stage in stages),
        gpu_seconds=sum(stage.gpu_seconds for stage in stages),
        tokens=round(tokens),
        read_bytes=sum(stage.read_bytes for stage in stages),
        written_bytes=written,
        money=sum(paid) if paid else None,
        stored_money_per_month=prices.gb_month * written / 1e9 if prices.gb_month is not None else None,
        new_model=new_model,
    )


def _units(stage: str, works: Mapping[str, Work], tokens: int) -> int:
    """Return what a stage's seconds hang on, see :class:`headwater.plan.rates.Line`."""
    if stage == "embeddings":
        return tokens
    if stage == "retrieval_evaluation" and works[stage].rows:
        return max(works["index_candidate"].rows, 1)
    return works[stage].rows


def _rows_after(stage: str, works: Mapping[str, Work], now: int, share_new: float) -> float:
    """Return how many rows a stage's table would be written with; 0 when it would stay as it is."""
    work = works[stage]
    if not work.rows and not work.removed:
        return 0
    growth = works["embeddings"].rows if stage == "chunks" else work.rows
    return max(now + share_new * growth, growth)
