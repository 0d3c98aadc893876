"""What a plan's rows would take: seconds, bytes, and money where there are prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headwater.costs import StageCost, machine, price
from headwater.plan.rates import is_cold, rates, stored_rows
from headwater.plan.sample import ModelSample
from headwater.plan.shipped import SHIPPED_MACHINE
from headwater.plan.work import Work

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

    ``rates`` says by stage where its seconds come from: ``own`` runs of the corpus, ``shipped`` figures, which were
    measured on ``shipped_machine``, or, for an embedding model that the corpus has no run of, a ``sample``: so many
    ``sampled_texts``, chunks of the corpus, were embedded in ``sampled_seconds``. ``new_model`` says that the seconds per
    token are those of another model all the same, because no sample was taken. ``nothing`` is True when every stage would
    find its table as it should be.
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
    sampled_texts: int
    sampled_seconds: float

    @property
    def nothing(self) -> bool:
        """Whether there would be nothing to do."""
        return not any(stage.rows or stage.removed for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Embedding:
    """What is known of the chunks to embed: ``tokens`` at most, and how long the points to write are beside the chunks that
    there are (``relative_length``). Of the model: its ``sample``, or that its speed is ``unmeasured``."""

    tokens: float
    relative_length: float
    sample: ModelSample | None
    unmeasured: bool


def costed(
    corpus: Corpus,
    works: Mapping[str, Work],
    costs: Sequence[StageCost],
    embedding: Embedding,
    *,
    listed: int,
    added: int,
    fetched: int,
) -> Plan:
    """Return the plan of ``works`` by stage.

    ``costs`` are those of the corpus' runs, newest first, ``listed`` and ``added`` numbers of objects, and ``fetched``
    the bytes that would be read from the bucket.
    """
    prices = corpus.policy.costs
    endpoint = corpus.policy.embed.url is not None
    found = rates(costs)
    lines = dict(found.lines)
    said = {name: "own" if name in found.own else "shipped" for name in works}
    tokens, sampled = embedding.tokens, embedding.sample
    if sampled is not None:
        tokens *= sampled.token_ratio
        said["embeddings"] = "sample"
        lines["embeddings"] = {
            measure: replace(sampled.lines.get(measure, line), idle=line.idle, touch=line.touch)
            for measure, line in found.lines["embeddings"].items()
        }
    rows, each = stored_rows(costs)
    index = works["index_candidate"]
    cold = is_cold(objects=works["source_objects"].rows, tokens=round(tokens), points=index.rows + index.removed)
    share_new = added / max(works["source_objects"].rows, 1)
    stages = []
    for name, work in works.items():
        embedded = round(tokens) if name == "embeddings" else 0
        units = _units(name, works, embedding, embedded)
        touched = bool(work.rows or work.removed)
        taken = {measure: line.of(units, touched=touched) for measure, line in lines[name].items()}
        if name == "index_candidate" and cold:
            taken = {measure: seconds + found.cold[measure] for measure, seconds in taken.items()}
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
        rates=said,
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
        new_model=embedding.unmeasured,
        sampled_texts=sampled.texts if sampled is not None else 0,
        sampled_seconds=sampled.seconds if sampled is not None else 0.0,
    )


def _units(stage: str, works: Mapping[str, Work], embedding: Embedding, tokens: int) -> float:
    """Return what a stage's seconds hang on, see :class:`headwater.plan.rates.Line`."""
    if stage == "embeddings":
        return tokens
    if stage == "retrieval_evaluation" and works[stage].rows:
        return max(works["index_candidate"].rows * embedding.relative_length, 1)
    return works[stage].rows - works[stage].rewritten


def _rows_after(stage: str, works: Mapping[str, Work], now: int, share_new: float) -> float:
    """Return how many rows a stage's table would be written with; 0 when it would stay as it is."""
    work = works[stage]
    if not work.rows and not work.removed:
        return 0
    growth = works["embeddings"].rows if stage == "chunks" else work.rows
    return max(now + share_new * growth, growth)
