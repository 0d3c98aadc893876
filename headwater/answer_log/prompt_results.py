"""How the versions of a prompt do in use, by what became of the answers that were written with them.

In: frames as the tables ``answer_log`` and ``feedback`` have them. Answers without a prompt, which are quoted, are left
out; so are those from the cache but for the votes on them, as each repeats an answer that is counted already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa

from headwater.answer_log.monitors import FIGURES, VOTES
from headwater.answer_log.shares import Difference, Share, difference_of, share_of
from headwater.answer_log.tables import ANSWER_LOG, FEEDBACK, answer_row, feedback_row
from headwater.ledger import Ledger
from headwater.ledger.records import AnswerRecord

SHARES = ("refused_share", "dropped_share", "down_share")
"""Refusals among answers, sentences that the verifier left out among those written, and thumbs down among thumbs."""


@dataclass(frozen=True, slots=True)
class PromptResult:
    """What became of the answers of one version of a prompt (``answer@3``) by one model.

    ``shares`` are :data:`SHARES`, ``votes`` the feedback of each kind, ``seconds_p50`` is the median time until an
    answer and ``tokens`` the mean of tokens read and written for one: None where nothing was measured.
    """

    prompt: str
    model: str | None
    answers: int
    shares: Mapping[str, Share]
    votes: Mapping[str, int]
    seconds_p50: float | None
    tokens: float | None


@dataclass(frozen=True, slots=True)
class PromptComparison:
    """Two versions of a prompt with the same model, over the time in which both were served.

    ``start`` and ``end`` are the times of its first and last answer, None when the versions were served one after the
    other. ``differences`` says of each of :data:`SHARES` how ``b`` is in comparison with ``a``.
    """

    a: str
    b: str
    model: str | None
    start: datetime | None
    end: datetime | None
    differences: Mapping[str, Difference]


def results_by_prompt(log: pl.DataFrame, feedback: pl.DataFrame) -> list[PromptResult]:
    """Return what became of the answers of each version and model, in the order of names and numbers."""
    return [
        PromptResult(
            prompt=prompt,
            model=model,
            answers=asked.height,
            shares=_shares(asked, votes),
            votes={kind: votes.filter(pl.col("kind") == kind).height for kind in VOTES},
            seconds_p50=asked.select(FIGURES["seconds_p50"]).item(),
            tokens=asked.select((pl.col("prompt_tokens") + pl.col("completion_tokens")).mean()).item(),
        )
        for (prompt, model), (asked, votes) in _versions(log, feedback).items()
    ]


def compare_prompts(log: pl.DataFrame, feedback: pl.DataFrame, live: Mapping[str, str]) -> list[PromptComparison]:
    """Return each version in comparison with the live one that the same model wrote with.

    ``live`` maps the name of a prompt to its live version (``answer`` to ``answer@2``). In its place stands the oldest
    version, where nothing was written with it. Other times have other questions, so answers count from when the later
    one of two versions began until the first one ended.
    """
    versions = _versions(log, feedback)
    series: dict[tuple[str, str | None], list[str]] = {}
    for prompt, model in versions:
        series.setdefault((_name(prompt), model), []).append(prompt)
    found = []
    for (name, model), prompts in series.items():
        base = live[name] if live.get(name) in prompts else prompts[0]
        for prompt in prompts:
            if prompt != base:
                found.append(_compared(base, prompt, model, versions[base, model], versions[prompt, model]))
    return found


def written_with(
    ledger: Ledger, corpora: Iterable[str], name: str, since: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the answers of these corpora that versions of ``name`` had a part in, asked at ``since`` or later, and the
    feedback on them. What was written with ``rewrite`` is the question that an answer searched for.
    """
    answers, votes = [], []
    for corpus in corpora:
        for record in ledger.each_answer(corpus, since):
            prompt = _used(record, name)
            if prompt is not None and _name(prompt) == name:
                answers.append({**answer_row(record), "prompt": prompt})
        votes += [feedback_row(record) for record in ledger.feedback(corpus, since=since)]
    log = pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(answers, schema=ANSWER_LOG)))
    return log, pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(votes, schema=FEEDBACK)))


def _used(record: AnswerRecord, name: str) -> str | None:
    if name.partition(".")[0] != "rewrite":
        return record.prompt
    used = record.parameters.get("rewrite_prompt")
    return used if isinstance(used, str) else None


_Rows = tuple[pl.DataFrame, pl.DataFrame]
"""Answers of a version, and the votes on them."""


def _versions(log: pl.DataFrame, feedback: pl.DataFrame) -> dict[tuple[str, str | None], _Rows]:
    written = log.filter(pl.col("prompt").is_not_null()).with_columns(
        # Who asks single questions is dealt a version for each.
        conversation=pl.coalesce("conversation", "id")
    )
    about = written.select(pl.col("id").alias("answer_id"), "prompt", "model", "conversation", "asked_at")
    votes = feedback.select("answer_id", "kind").join(about, on="answer_id")
    pairs = sorted(written.select("prompt", "model").unique().iter_rows(), key=_order)
    found = {}
    for prompt, model in pairs:
        same = (pl.col("prompt") == prompt) & pl.col("model").eq_missing(pl.lit(model, pl.String))
        found[prompt, model] = written.filter(same, ~pl.col("cached")), votes.filter(same)
    return found


def _compared(a: str, b: str, model: str | None, first: _Rows, second: _Rows) -> PromptComparison:
    times = [frame["asked_at"] for frame, _ in (first, second) if frame.height]
    starts, ends = [each.min() for each in times], [each.max() for each in times]
    start = max((time for time in starts if isinstance(time, datetime)), default=None)
    end = min((time for time in ends if isinstance(time, datetime)), default=None)
    if len(times) < 2 or start is None or end is None or start > end:
        nothing = share_of((), ())
        return PromptComparison(a, b, model, None, None, dict.fromkeys(SHARES, difference_of(nothing, nothing)))
    both = pl.col("asked_at").is_between(start, end)
    before, after = (_shares(asked.filter(both), votes.filter(both)) for asked, votes in (first, second))
    differences = {name: difference_of(before[name], after[name]) for name in SHARES}
    return PromptComparison(a, b, model, start, end, differences)


def _shares(asked: pl.DataFrame, votes: pl.DataFrame) -> dict[str, Share]:
    dropped = pl.col("dropped").list.len().cast(pl.Int64)
    down = pl.col("kind") == "thumbs_down"
    thumbs = down | (pl.col("kind") == "thumbs_up")
    return {
        "refused_share": _share(asked, pl.col("refused"), pl.lit(True)),
        "dropped_share": _share(asked, dropped, pl.col("sentences") + dropped),
        "down_share": _share(votes, down, thumbs),
    }


def _share(rows: pl.DataFrame, count: pl.Expr, of: pl.Expr) -> Share:
    """Return a share over rows, which stand together by conversation."""
    each = rows.select("conversation", count=count.cast(pl.Int64), of=of.cast(pl.Int64))
    sums = each.group_by("conversation", maintain_order=True).agg(pl.col("count", "of").sum())
    return share_of(sums["count"].to_list(), sums["of"].to_list())


def _name(prompt: str) -> str:
    return prompt.partition("@")[0]


def _order(pair: tuple[str, str | None]) -> tuple[str, int, str]:
    name, _, version = pair[0].partition("@")
    return name, int(version) if version.isdecimal() else 0, pair[1] or ""
