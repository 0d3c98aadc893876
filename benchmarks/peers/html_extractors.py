"""Main content of web pages by trafilatura and resiliparse.

Task: ``files`` (paths of gzipped pages). Result: by extractor, ``texts`` and ``seconds`` of processor time for all pages.
"""

from __future__ import annotations

import gzip
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

logging.disable(logging.CRITICAL)

import trafilatura  # noqa: E402
from resiliparse.extract.html2text import extract_plain_text  # noqa: E402

EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    "trafilatura": lambda page: trafilatura.extract(page),
    "trafilatura, precision": lambda page: trafilatura.extract(page, include_comments=False, favor_precision=True),
    "resiliparse": lambda page: extract_plain_text(page, main_content=True, alt_texts=False),
}


def main(task: dict[str, Any]) -> dict[str, Any]:
    pages = [gzip.decompress(Path(path).read_bytes()).decode("utf-8", "replace") for path in task["files"]]
    result = {}
    for name, extract in EXTRACTORS.items():
        extract(pages[0])
        began = time.process_time()
        texts = []
        for page in pages:
            try:
                texts.append(extract(page) or "")
            except Exception:
                texts.append("")
        result[name] = {"texts": texts, "seconds": time.process_time() - began}
    return result


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
