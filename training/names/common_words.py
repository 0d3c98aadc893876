"""Write the list of words by which headwater.privacy.names skips sentences.

python -m training.names.common_words DATA
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from headwater.privacy.names.candidates import COMMON_WORDS
from training.names.data import Sentence, load

_WORD = re.compile(r"[^\W\d_]+")
EDITED = {"wikigold", "sec_filings", "generated"}  # social media writes names small
SEEN = 2  # times written small outside names in edited text, at least
RATIO = 20  # times more often outside names than inside


def common_words(sentences: Iterable[Sentence]) -> set[str]:
    """Return the lower-case words that are hardly ever part of a name."""
    outside, inside = Counter[str](), Counter[str]()
    for item in sentences:
        for match in _WORD.finditer(item.text):
            if any(start < match.end() and match.start() < end for start, end, _ in item.spans):
                inside[match[0].lower()] += 1
            elif match[0].islower() and item.source in EDITED:
                outside[match[0]] += 1
    return {word for word, count in outside.items() if count >= SEEN and count >= RATIO * inside[word]}


def main() -> None:
    """Write the list beside the code that reads it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with wikigold, wnut17, sec_filings and generated_large.json")
    words = sorted(common_words(load(parser.parse_args().data)))
    COMMON_WORDS.write_text("\n".join(words) + "\n", encoding="utf-8")
    print(f"{len(words)} words")


if __name__ == "__main__":
    main()
