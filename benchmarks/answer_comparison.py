"""How far a comparison of answers can be trusted, and what choosing a prompt costs.

    python benchmarks/answer_comparison.py

Simulated golden sets: each question is as hard as a draw from a Beta(4, 1) distribution (most are answered, some hardly
ever), and each side gets it right with that probability, shifted up for a better side. "Alike" is the share of comparisons
that call one of two equal sides better: 5 % at most by McNemar's exact test. "Found" is the share that calls a side
better whose probability is higher by 0.1, or 0.2, for every question (at most 1).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from headwater.answer_evaluation.comparison import SIGNIFICANT
from headwater.answer_evaluation.statistics import bootstrap_interval, mcnemar_exact
from headwater.ledger import Ledger
from headwater.prompts import PromptRegistry

SETS = 5_000
INTERVALS = 400


def verdicts(questions: int, gain: float, rng: np.random.Generator) -> float:
    """The share of simulated golden sets whose comparison shows a difference."""
    hard = rng.beta(4.0, 1.0, size=(SETS, questions))
    a = rng.random((SETS, questions)) < hard
    b = rng.random((SETS, questions)) < np.minimum(hard + gain, 1.0)
    only_a, only_b = (a & ~b).sum(axis=1), (b & ~a).sum(axis=1)
    pairs = zip(only_a.tolist(), only_b.tolist(), strict=True)
    return float(np.mean([mcnemar_exact(one, other) < SIGNIFICANT for one, other in pairs]))


def coverage(questions: int, rng: np.random.Generator) -> float:
    """The share of intervals of a skewed figure (log-normal differences, as of seconds) that hold its mean."""
    truth = float(np.exp(0.5) - 1.5)
    held = 0
    for _ in range(INTERVALS):
        low, high = bootstrap_interval((rng.lognormal(size=questions) - 1.5).tolist())
        held += low <= truth <= high
    return held / INTERVALS


def choosing() -> float:
    """Seconds of one choice of a prompt during an A/B test, read a moment ago."""
    with tempfile.TemporaryDirectory() as folder:
        registry = PromptRegistry(Ledger(f"sqlite:///{Path(folder) / 'ledger.db'}"))
        registry.add("answer", "{{max_sentences}} sentences.", source="benchmark")
        registry.label("answer", 2, "candidate", "benchmark")
        registry.weights("answer", {"live": 0.9, "candidate": 0.1})
        registry.choose("answer", key="")
        keys = [f"conversation-{number}" for number in range(20_000)]
        began = time.perf_counter()
        for key in keys:
            registry.choose("answer", key=key)
        return (time.perf_counter() - began) / len(keys)


def main() -> None:
    rng = np.random.default_rng(11)
    print("questions   alike   found +10   found +20   interval holds the mean")
    for questions in (12, 25, 50, 100, 200, 400):
        shares = [verdicts(questions, gain, rng) for gain in (0.0, 0.1, 0.2)]
        held = coverage(questions, rng)
        print(f"{questions:>9} {shares[0]:>7.1%} {shares[1]:>11.1%} {shares[2]:>11.1%} {held:>25.1%}")
    print(f"choosing a prompt: {choosing() * 1e6:.1f} microseconds")


if __name__ == "__main__":
    main()
