"""Cross-validation: every article of wikigold, and every template of the generated set, is held out once.

    python -m training.names.cross_validate DATA [--folds 5] [--jobs 4] [--take 5] [--model tagger|spacy]

Each fold trains on the other articles and templates and on all of the other sets, and is scored on what was held out:
exact spans, CoNLL style, sums over the first --take folds. One core per fold.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from training.names.data import Sentence, load, select
from training.names.scoring import Score, folds

VARIANTS = 3
SETS = ("wikigold", "generated")


def splits(sentences: Sequence[Sentence], count: int) -> dict[str, int]:
    """Return the fold in which each group of the two sets is held out."""
    result: dict[str, int] = {}
    for source in SETS:
        result |= folds([item for item in sentences if item.source == source], count)
    return result


def variants(sentences: Sequence[Sentence], number: int) -> list[Sentence]:
    """Return variant ``number`` of the sentences; the first is the sentences themselves.

    Names are exchanged for those of other sets than wikigold, so no name of a held-out article is learned.
    """
    from training.names.augment import augment, mentions

    if number == 0:
        return list(sentences)
    pool = mentions([item for item in sentences if item.source != "wikigold"])
    return augment(sentences, random.Random(number), pool)


def prepare_variant(data: Path, number: int, file: Path) -> None:
    """Write one variant of the data, ready for training."""
    import torch

    from training.names.train import build, prepare

    torch.set_num_threads(1)
    torch.save(prepare(variants(select(load(data)), number), build()), file)


def run_tagger(data: Path, fold: int, count: int, files: Sequence[Path]) -> dict[str, Score]:
    """Return the scores of one fold on the two sets."""
    import torch

    from training.names.scoring import predict
    from training.names.train import train

    torch.set_num_threads(1)
    where = splits(select(load(data)), count)
    examples: list[Any] = [torch.load(file, weights_only=False) for file in files]
    model = train([[item for item in part if where.get(item.sentence.group) != fold] for part in examples])
    scores = {}
    for source in SETS:
        held_out = [e for e in examples[0] if e.sentence.source == source and where[e.sentence.group] == fold]
        scores[source] = Score().add([e.sentence for e in held_out], predict(model, held_out))
    return scores


def run_spacy(data: Path, fold: int, count: int) -> dict[str, Score]:
    """Return the scores of one fold on the two sets, of a small spaCy pipeline."""
    from training.names.spacy_pipeline import predict, train

    sentences = select(load(data))
    where = splits(sentences, count)
    parts = [[s for s in variants(sentences, number) if where.get(s.group) != fold] for number in range(VARIANTS)]
    nlp = train(parts)
    scores = {}
    for source in SETS:
        held_out = [item for item in sentences if item.source == source and where[item.group] == fold]
        scores[source] = Score().add(held_out, predict(nlp, [item.text for item in held_out]))
    return scores


def cross_validate(data: Path, count: int, take: int, jobs: int, model: str) -> dict[str, Score]:
    """Return the sums of the scores of the first ``take`` of ``count`` folds, per set."""
    os.environ["OMP_NUM_THREADS"] = "1"
    total = {source: Score() for source in SETS}
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool,
    ):
        if model == "tagger":
            files = [Path(folder) / f"variant{number}.pt" for number in range(VARIANTS)]
            for done in [pool.submit(prepare_variant, data, number, file) for number, file in enumerate(files)]:
                done.result()
            runs = [pool.submit(run_tagger, data, fold, count, files) for fold in range(take)]
        else:
            runs = [pool.submit(run_spacy, data, fold, count) for fold in range(take)]
        for run in runs:
            for source, score in run.result().items():
                total[source].update(score)
    return total


def main() -> None:
    """Print the table of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with wikigold, wnut17, sec_filings and generated_large.json")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--take", type=int, help="score the first so many folds only; default: all")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--model", choices=["tagger", "spacy"], default="tagger")
    arguments = parser.parse_args()
    began = time.perf_counter()
    take = arguments.take or arguments.folds
    total = cross_validate(arguments.data, arguments.folds, take, arguments.jobs, arguments.model)
    for source, score in total.items():
        print(f"{source}: {take} of {arguments.folds} folds, {arguments.model}\n{score.table()}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
