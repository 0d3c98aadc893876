"""Extractive answers on ClapNQ: are unanswerable questions refused, and are the right sentences quoted?

    python benchmarks/answers.py ANSWERABLE.jsonl UNANSWERABLE.jsonl            # figures on the even rows
    python benchmarks/answers.py ANSWERABLE.jsonl UNANSWERABLE.jsonl --odd      # the rows that the defaults are from
    ... --own        # the row's own passage alone, instead of ten passages retrieved from those of all rows
    ... --sweep      # one line per threshold

A row of ClapNQ (Rosenthal et al. 2024, https://github.com/primeqa/clapnq) has ``input``, ``passages[0].title``,
``.text`` and ``output[].selected_sentences``: an annotator's choice of the sentences that an answer is made from, often
three or four of a passage's seven; rows with several outputs had several annotators, who agree only in part.
``passage_recall@5``: an answerable question's passage is among the first five. ``refusal_*``: refusals of unanswerable
questions are hits. ``citation_precision``: the share of quoted sentences, over answered answerable questions, that any
annotator selected (``_first``: that the first one did); ``citation_recall``: the share of a question's selected sentences
that are quoted, over all answerable questions, refused ones included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headwater.answering import answer_extractive
from headwater.embedding import Embedder
from headwater.policies import AnswerPolicy
from headwater.types import Answer, Passage


@dataclass(frozen=True)
class Row:
    """One question with its passage; without gold sentences it is unanswerable."""

    question: str
    passage: Passage
    gold: tuple[str, ...]
    first: tuple[str, ...]
    even: bool


def read(path: Path, answerable: bool) -> list[Row]:
    rows = []
    for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        raw: dict[str, Any] = json.loads(line)
        source = raw["passages"][0]
        doc = f"{path.stem}-{i}"
        passage = Passage(doc, doc, doc, "", 1, source["title"], (), None, 0, len(source["text"]), source["text"], 1.0)
        chosen = [tuple(output.get("selected_sentences") or ()) for output in raw["output"]] if answerable else [()]
        every = tuple(dict.fromkeys(text for texts in chosen for text in texts))
        rows.append(Row(raw["input"], passage, every, chosen[0], i % 2 == 0))
    return rows


def retrieve(rows: Sequence[Row], embedder: Embedder, k: int = 10) -> list[list[Passage]]:
    texts = [f"{row.passage.title}\n{row.passage.text}" for row in rows]
    scores = embedder.encode_queries([row.question for row in rows]) @ embedder.encode_documents(texts).T
    return [[rows[j].passage for j in np.argsort(-line, kind="stable")[:k]] for line in scores]


def is_gold(quote: str, gold: Sequence[str]) -> bool:
    """A quote counts when it holds, or lies within, a selected sentence (the corpus's sentence borders differ)."""
    words = "".join(quote.split())
    return any(words in "".join(text.split()) or "".join(text.split()) in words for text in gold)


def figures(
    rows: Sequence[Row], answers: Sequence[Answer], found: Sequence[Sequence[Passage]], threshold: float
) -> dict[str, float]:
    best = [max((s.support for s in answer.sentences), default=0.0) for answer in answers]
    refused = np.array([support < threshold for support in best])
    unanswerable = np.array([not row.gold for row in rows])
    hits = float((refused & unanswerable).sum())
    quotes: list[tuple[bool, bool, bool]] = []
    recalls: list[float] = []
    for row, answer, no in zip(rows, answers, refused, strict=True):
        if not row.gold:
            continue
        said = () if no else tuple(s for s in answer.sentences if s.support >= threshold)
        quotes += [
            (is_gold(s.text, row.gold), is_gold(s.text, row.first), s.citations[0].doc == row.passage.doc_id)
            for s in said
        ]
        recalls.append(sum(any(is_gold(s.text, [text]) for s in said) for text in row.first) / len(row.first))
    gold, first, own = np.array(quotes, dtype=float).reshape(-1, 3).T
    answered = float((~refused & ~unanswerable).sum())
    reached = [row.passage in passages[:5] for row, passages in zip(rows, found, strict=True) if row.gold]
    return {
        "threshold": threshold,
        "passage_recall@5": float(np.mean(reached)),
        "refusal_precision": hits / max(1.0, refused.sum()),
        "refusal_recall": hits / max(1, unanswerable.sum()),
        "refusal_f1": 2 * hits / max(1, refused.sum() + unanswerable.sum()),
        "answered_of_answerable": answered / max(1, (~unanswerable).sum()),
        "citation_precision": float(gold.mean()) if len(gold) else 0.0,
        "citation_precision_first": float(first.mean()) if len(first) else 0.0,
        "citation_own_passage": float(own.mean()) if len(own) else 0.0,
        "citation_recall": float(np.mean(recalls)),
        "sentences_per_answer": len(quotes) / max(1.0, answered),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answerable", type=Path)
    parser.add_argument("unanswerable", type=Path)
    parser.add_argument("--odd", action="store_true", help="the odd rows, which the default was chosen on")
    parser.add_argument("--own", action="store_true", help="the row's own passage alone")
    parser.add_argument("--sweep", action="store_true", help="one line per threshold from 0.20 to 0.80")
    options = parser.parse_args()

    everything = read(options.answerable, True) + read(options.unanswerable, False)
    embedder = Embedder()
    pooled = [[row.passage] for row in everything] if options.own else retrieve(everything, embedder)
    picked = [i for i, row in enumerate(everything) if row.even != options.odd]
    rows = [everything[i] for i in picked]
    default = AnswerPolicy().min_support
    policy = AnswerPolicy(min_support=0.0)
    started = time.perf_counter()
    answers = [
        answer_extractive(everything[i].question, pooled[i], embedder=embedder, policy=policy, release=1)
        for i in picked
    ]
    seconds = (time.perf_counter() - started) / len(rows)
    for threshold in np.arange(0.20, 0.80, 0.02) if options.sweep else [default]:
        print(
            json.dumps(
                {
                    k: round(v, 3)
                    for k, v in figures(rows, answers, [pooled[i] for i in picked], float(threshold)).items()
                }
            )
        )
    print(json.dumps({"rows": len(rows), "milliseconds_per_question": round(1000 * seconds, 1)}))


if __name__ == "__main__":
    main()
