"""What the answer log costs: a question scrubbed and recorded, an answer from the cache, and the daily assets' work.

    python benchmarks/answer_log.py --answers 20000

Prints one line per step. Questions are made up from a few words, so that a tenth of them is about the same.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

SUBJECTS = ("boat", "boathouse key", "leave", "travel bill", "river gauge", "pay band", "night watch", "opera ticket")
VERBS = ("borrow", "order", "repair", "hand in", "pay for", "cancel")


@contextmanager
def timed(what: str, count: int = 1, unit: str = "ms") -> Iterator[None]:
    started = time.perf_counter()
    yield
    each = (time.perf_counter() - started) / count
    print(f"{what:<58} {each * {'s': 1, 'ms': 1e3, 'us': 1e6}[unit]:>10,.2f} {unit}{' each' if count > 1 else ''}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--answers", type=int, default=20_000)
    count = arguments.parse_args().answers
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("HEADWATER_LEDGER_URL", None)
        os.environ["HEADWATER_PROJECT"] = folder
        os.environ["HEADWATER_HOME"] = f"{folder}/.headwater"
        measure(Path(folder), count)


def measure(root: Path, count: int) -> None:
    from headwater.answer_log import key_of
    from headwater.answer_log.gaps import find_gaps, question_drift
    from headwater.answer_log.monitors import figures_by_day
    from headwater.answer_log.tables import update_answer_log
    from headwater.corpus import open_corpus
    from headwater.ledger.engine import write
    from headwater.ledger.schema import answers
    from headwater.pipeline import Pipeline
    from headwater.types import Principal

    documents = root / "documents"
    documents.mkdir()
    (root / "workspace.yaml").touch()
    for subject in SUBJECTS[:-1]:
        text = f"# The {subject}\n\nWhoever needs the {subject} asks the duty desk two days before and signs for it.\n"
        (documents / f"{subject}.md").write_text(text)
    file = root / "assets" / "works" / "defs.yaml"
    file.parent.mkdir(parents=True)
    attributes = {"source": {"uri": str(documents)}}
    file.write_text(yaml.safe_dump({"type": "assets.corpus.Corpus", "attributes": attributes}))
    rng = random.Random(7)
    with open_corpus(file) as corpus:
        Pipeline(corpus, workers=1).run()
        answer, passages = corpus.answer_as(frozenset({"*"}), "Who lends the boat?")
        options = {"passages": passages, "principal": Principal(), "parameters": {}, "seconds": 0.1}
        with timed("first question of a process scrubbed", unit="s"):
            corpus.scrub("Who lends the boat?")
        questions = [f"May Ilse Varga {rng.choice(VERBS)} the {rng.choice(SUBJECTS)} {n}?" for n in range(300)]
        with timed("a new question scrubbed", len(questions)):
            for question in questions:
                corpus.scrub(question)
        with timed("a question scrubbed before", len(questions), "us"):
            for question in questions:
                corpus.scrub(question)
        with timed("an answer recorded (question scrubbed before)", len(questions)):
            for number, question in enumerate(questions):
                asked = replace(answer, id=f"q{number}", question=question, searched=question)
                corpus.ledger.record_answer("works", asked, scrub=corpus.scrub, **options)
        parameters = corpus.policy.model_dump(mode="json")
        keys = {"prompt": None, "model": None, "parameters": parameters}
        with timed("an answer put into the cache, key included", len(questions), "us"):
            for question in questions:
                key = key_of("works", corpus.pointer(), 1, frozenset({"*"}), question, **keys)
                corpus.answer_cache.put(key, answer, passages)
        with timed("an answer taken from the cache, key included", len(questions), "us"):
            for question in questions:
                key = key_of("works", corpus.pointer(), 1, frozenset({"*"}), question, **keys)
                assert corpus.answer_cache.get(key) is not None
        now = datetime.now(UTC)
        (row,) = [dict(r) for r in _rows(corpus, answers) if r["id"] == "q0"]
        with write(corpus.ledger._engine) as connection:
            for start in range(0, count, 1000):
                rows = [
                    row
                    | {
                        "id": f"b{n}",
                        "question": f"How do I {rng.choice(VERBS)} the {rng.choice(SUBJECTS)}, case {n % 900}?",
                        "searched": "",
                        "refused": n % 10 == 0,
                        "sentences": [] if n % 10 == 0 else row["sentences"],
                        "asked_at": now - timedelta(minutes=rng.random() * 60 * 24 * 34),
                    }
                    for n in range(start, min(start + 1000, count))
                ]
                connection.execute(answers.insert(), rows)
        with timed(f"answer_log brought up to date, {count:,} new answers", unit="s"):
            assert update_answer_log(corpus).written >= count
        with timed("answer_log brought up to date, nothing new", unit="s"):
            assert update_answer_log(corpus).written == 0
        with timed("figures by day", unit="s"):
            figures_by_day(corpus.tables.answer_log.scan().collect(), now - timedelta(days=34), now)
        with timed("unanswered_questions", unit="s"):
            gaps = find_gaps(corpus)
        print(f"  {sum(gap.asked for gap in gaps):,} questions in {len(gaps)} groups")
        with timed("question_drift", unit="s"):
            found = question_drift(corpus)
        print(f"  psi {found.psi:.4f}, limit {found.limit:.4f}")


def _rows(corpus, table):
    with corpus.ledger._engine.connect() as connection:
        return connection.execute(table.select()).mappings().all()


if __name__ == "__main__":
    main()
