"""Speed and recall of the search for personal data, beside plain Presidio.

    python benchmarks/privacy.py speed FOLDER     every *.md below the folder: MB of text per CPU second, and the ratio
    python benchmarks/privacy.py recall FILE      presidio-research's JSON (full_text, spans): recall per entity

Without a spaCy pipeline both sides use patterns only; names, places and organisations are then left out of ``recall``.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections import Counter
from pathlib import Path

from headwater import PrivacyPolicy, find_pii
from headwater.privacy import nlp_pipeline
from headwater.privacy.engine import load_engine


def speed(folder: Path) -> None:
    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine

    class Tokenizer(SpacyNlpEngine):
        """Presidio's spaCy engine without a trained pipeline."""

        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            doc = self.nlp[language](text)
            return NlpArtifacts([], doc, [token.idx for token in doc], [token.text for token in doc], self, language)

    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.md"))]
    size = sum(len(text.encode()) for text in texts) / 1e6
    policy = PrivacyPolicy()
    engine = load_engine(policy.language, policy.spacy_model)
    entities = engine.choose(policy.entities)
    plain = AnalyzerEngine(nlp_engine=engine.recognition.nlp_engine if engine.has_model else Tokenizer())
    for run in (lambda: find_pii(texts[:1], policy), lambda: plain.analyze(texts[0], "en", entities)):
        run()
    began = time.process_time()
    found = find_pii(texts, policy)
    own = time.process_time() - began
    began = time.process_time()
    for text in texts:
        plain.analyze(text, "en", entities=entities, score_threshold=policy.min_score)
    presidio = time.process_time() - began
    print(f"{size:.1f} MB, {len(texts)} documents; names: {nlp_pipeline(policy)}")
    print(f"headwater {size / own:.2f} MB/s, presidio {size / presidio:.2f} MB/s, ratio {presidio / own:.1f}")
    print("findings", dict(Counter(span.entity for spans in found for span in spans).most_common()))


def recall(file: Path) -> None:
    rows = json.loads(file.read_text(encoding="utf-8"))
    total, covered, named, wrong = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for row, spans in zip(rows, find_pii([row["full_text"] for row in rows]), strict=True):
        for gold in row["spans"]:
            entity, start, end = gold["entity_type"], gold["start_position"], gold["end_position"]
            over = [span for span in spans if span.start <= start and end <= span.end]
            total[entity] += 1
            covered[entity] += bool(over)
            named[entity] += any(span.entity == entity for span in over)
        for span in spans:
            known = any(
                span.start < gold["end_position"] and gold["start_position"] < span.end for gold in row["spans"]
            )
            wrong[span.entity] += not known
    for entity, count in total.most_common():
        print(f"{entity:20} {count:5}  covered {covered[entity] / count:.3f}  same entity {named[entity] / count:.3f}")
    print("findings outside the gold spans:", sum(wrong.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "recall"])
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    (speed if arguments.what == "speed" else recall)(arguments.path)


if __name__ == "__main__":
    main()
