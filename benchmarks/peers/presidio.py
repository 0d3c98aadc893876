"""Plain Presidio: AnalyzerEngine with its default recognisers and a blank spaCy pipeline, one text after another.

Task: ``texts`` (the name of a JSON file with a list of lists of strings), ``entities``, ``min_score``, ``language``.
Result: ``seconds`` of CPU time and ``findings`` (start, end, entity, score) per text, for each list.
"""

import json
import logging
import sys
import time
from pathlib import Path

import spacy
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine


class Tokenizer(SpacyNlpEngine):
    """Presidio's spaCy engine without a trained pipeline; words stand for lemmas."""

    def load(self) -> None:
        """Make the tokenizer."""
        self.nlp = {"en": spacy.blank("en")}

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """Return the words of a text."""
        doc = self.nlp[language](text)
        return NlpArtifacts([], doc, [token.idx for token in doc], [token.text for token in doc], self, language)


def main() -> None:
    for name in ("presidio-analyzer", "tldextract"):  # which asks the network for a list, and says so when it can't
        logging.getLogger(name).setLevel(logging.CRITICAL)
    task = json.loads(Path(sys.argv[1]).read_text())
    engine = AnalyzerEngine(nlp_engine=Tokenizer())
    options = {"language": "en", "entities": task["entities"], "score_threshold": task["min_score"]}
    engine.analyze("Any text, 4111 1111 1111 1111, loads everything.", **options)
    seconds, findings = [], []
    for texts in json.loads(Path(task["texts"]).read_text()):
        began = time.process_time()
        results = [engine.analyze(text, **options) for text in texts]
        seconds.append(time.process_time() - began)
        findings.append([[(r.start, r.end, r.entity_type, r.score) for r in found] for found in results])
    print(json.dumps({"seconds": seconds, "findings": findings}))


main()
