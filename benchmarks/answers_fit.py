"""Fit the weights of the answerer without a model (headwater/answering/support.py) and choose its thresholds.

    python benchmarks/answers_fit.py ANSWERABLE.jsonl UNANSWERABLE.jsonl XQUAD_EN

The first two are ClapNQ's, of which the odd rows are used; the third is English XQuAD as a BEIR folder, of whose
questions every sixth is used as it is and every sixth without the passage that answers it. ClapNQ says which sentences
are right. XQuAD says which passage is: the sentence of it that the model of the round before scores best counts as right,
the others as unknown. A question of XQuAD weighs six times as much, because one of its sentences answers, not three of
seven. Printed are the weights, and for several thresholds what ``benchmarks/answers.py`` prints, on these questions;
the thresholds with the highest precision of quotes on ClapNQ are the defaults (of equals, those that answer more).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from benchmarks.answers import is_gold, read, retrieve
from headwater.answering.candidates import candidates
from headwater.answering.extractive import SAME_COSINE
from headwater.answering.support import sentence_features
from headwater.embedding import Embedder
from headwater.types import Passage

Floats = npt.NDArray[np.float64]

XQUAD_WEIGHT = 6.0
RIDGE = 3e-6
ROUNDS = 6
DEFAULT = 0.6
"""The default of min_support: the bias is moved so that the threshold chosen lies here."""


@dataclass(frozen=True)
class Question:
    """Features and vectors of the sentences read; ``right`` are those to quote, or all of the right passage (``own``)."""

    features: Floats
    vectors: npt.NDArray[np.float32]
    right: npt.NDArray[np.bool_]
    own: bool
    answerable: bool


class Memory:
    """An embedder that embeds a text once."""

    def __init__(self) -> None:
        self._model = Embedder()
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def encode_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row per question."""
        return self._model.encode_queries(texts)

    def encode_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row per text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._model.encode_documents(new), strict=True))
        return np.array([self._known[text] for text in texts])


def clapnq(answerable: Path, unanswerable: Path, model: Memory) -> list[Question]:
    rows = read(answerable, True) + read(unanswerable, False)
    found = []
    for row, passages in zip(rows, retrieve(rows, model), strict=True):
        if not row.even:
            features, vectors, texts, _ = _features(row.question, passages, model)
            right = np.array([is_gold(text, row.gold) for text in texts])
            found.append(Question(features, vectors, right, False, bool(row.gold)))
    return found


def xquad(folder: Path, model: Memory) -> list[Question]:
    passages = []
    for line in (folder / "corpus.jsonl").read_text().splitlines():
        one = json.loads(line)
        name, text = one["_id"], one["text"]
        passages.append(Passage(name, name, name, "", 1, one.get("title") or "", (), None, 0, len(text), text, 1.0))
    answer: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, _ = line.split("\t")
        answer.setdefault(query, set()).add(document)
    asked = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    whole = model.encode_documents([f"{passage.title}\n{passage.text}" for passage in passages])
    found = []
    for place, query in enumerate(asked[::3]):
        if place % 4 >= 2:  # held out
            continue
        right, missing = answer[query["_id"]], place % 2 == 1
        order = np.argsort(-(whole @ model.encode_queries([query["text"]])[0]), kind="stable")
        read_of = [passages[i] for i in order if not (missing and passages[i].doc_id in right)][:10]
        features, vectors, _, documents = _features(query["text"], read_of, model)
        own = np.array([document in right for document in documents])
        found.append(Question(features, vectors, own, True, not missing))
    return found


def _features(
    question: str, passages: Sequence[Passage], model: Memory
) -> tuple[Floats, npt.NDArray[np.float32], list[str], list[str]]:
    chosen = candidates(passages)
    asked = model.encode_queries([question])[0]
    whole = model.encode_documents([f"{passage.title}\n{passage.text}" for passage in passages])
    vectors = model.encode_documents([candidate.scored for candidate in chosen])
    features = np.column_stack([vectors @ asked, sentence_features(question, passages, chosen, whole @ asked)])
    return features, vectors, [one.text for one in chosen], [passages[one.rank].doc_id for one in chosen]


def fit(groups: Sequence[tuple[Sequence[Question], float]]) -> tuple[Floats, float]:
    """Return weights and bias; each group weighs as much as its number says, whatever its size."""
    found = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0])  # the first guess: nearness and coverage
    for _ in range(ROUNDS):
        features, labels, shares = [], [], []
        for questions, weight in groups:
            for question in questions:
                label, known = question.right, np.ones(len(question.right), dtype=bool)
                if question.own and label.any():
                    best = np.flatnonzero(label)[np.argmax((question.features @ found[:-1])[label])]
                    known = ~label
                    known[best] = True
                features.append(question.features[known])
                labels.append(label[known].astype(float))
                shares.append(np.full(known.sum(), weight / len(questions)))
        found = _regression(np.vstack(features), np.concatenate(labels), np.concatenate(shares))
    return found[:-1], float(found[-1])


def _regression(features: Floats, labels: Floats, shares: Floats) -> Floats:
    shares = shares / shares.sum()

    def loss(parameters: Floats) -> tuple[float, Floats]:
        logits = features @ parameters[:-1] + parameters[-1]
        wrong = shares * (1 / (1 + np.exp(-logits)) - labels)
        value = (shares * (np.logaddexp(0, logits) - labels * logits)).sum() + RIDGE * parameters[:-1] @ parameters[:-1]
        return float(value), np.append(features.T @ wrong + 2 * RIDGE * parameters[:-1], wrong.sum())

    return np.asarray(minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B").x)


def judge(questions: Sequence[Question], weights: Floats, bias: float, further: float) -> tuple[float, float, float]:
    """Return the share of quotes that are right, the F1 of refusals, and the share of answerable questions answered."""
    quotes: list[bool] = []
    refused = []
    for question in questions:
        support = 1 / (1 + np.exp(-(question.features @ weights + bias)))
        chosen: list[int] = []
        for place in np.argsort(-support, kind="stable").tolist():
            if len(chosen) == 3 or support[place] < (further if chosen else DEFAULT):
                break
            if all(float(question.vectors[place] @ question.vectors[other]) < SAME_COSINE for other in chosen):
                chosen.append(place)
        refused.append(not chosen)
        quotes += [bool(question.right[place]) for place in chosen if question.answerable]
    no, wanted = np.array(refused), np.array([not question.answerable for question in questions])
    f1 = 2 * float((no & wanted).sum()) / max(1, int(no.sum() + wanted.sum()))
    return float(np.mean(quotes)), f1, float((~no & ~wanted).sum() / (~wanted).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answerable", type=Path)
    parser.add_argument("unanswerable", type=Path)
    parser.add_argument("xquad", type=Path)
    options = parser.parse_args()
    model = Memory()
    long, short = clapnq(options.answerable, options.unanswerable, model), xquad(options.xquad, model)
    weights, bias = fit([(long, 1.0), (short, XQUAD_WEIGHT)])
    print("weights", np.round(weights, 1).tolist(), "bias", round(bias, 1))
    print("threshold  bias  further   quotes right  refusal F1  answered   (ClapNQ; then XQuAD)")
    for threshold in (0.2, 0.25, 0.3, 0.35, 0.4, 0.5):
        moved = bias + np.log(DEFAULT / (1 - DEFAULT)) - np.log(threshold / (1 - threshold))
        for further in (0.8, 0.85, 0.9, 0.95):
            both = [judge(questions, np.round(weights, 1), round(moved, 1), further) for questions in (long, short)]
            print(f"{threshold:9} {moved:5.1f} {further:8} ", *(f"{value:10.3f}" for row in both for value in row))


if __name__ == "__main__":
    main()
