"""Parse files with unstructured's own partitioners.

Task: ``files`` (list of [partitioner, path]). Result: ``texts`` (the elements' texts, a line each; null where it failed),
``seconds`` of processor time per file, and ``errors``. unstructured downloads a spaCy model at the first use; a blank pipeline with
sentence ends takes its place here. That makes it faster (no tagger runs), and changes the labels of elements, not texts.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

for name in ("DO_NOT_TRACK", "SCARF_NO_ANALYTICS", "UNSTRUCTURED_DISABLE_NOTICE"):
    os.environ[name] = "1"
logging.disable(logging.CRITICAL)

import spacy  # noqa: E402
from unstructured.nlp import tokenize  # noqa: E402


def main(task: dict[str, Any]) -> dict[str, Any]:
    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer")
    tokenize._get_nlp = lambda: pipeline
    texts: list[str | None] = []
    seconds: list[float] = []
    errors: dict[str, str] = {}
    for kind in {kind for kind, _ in task["files"]}:
        import_module(f"unstructured.partition.{kind}")
    for kind, path in task["files"]:
        partition = getattr(import_module(f"unstructured.partition.{kind}"), f"partition_{kind}")
        Path(path).read_bytes()
        began = time.process_time()
        try:
            elements = partition(filename=path, languages=[""])
            texts.append("\n".join(element.text for element in elements if element.text))
        except Exception as error:
            texts.append(None)
            errors[path] = type(error).__name__
        seconds.append(time.process_time() - began)
    return {"texts": texts, "seconds": seconds, "errors": errors}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
