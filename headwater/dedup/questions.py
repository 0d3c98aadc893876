"""Documents that contain an evaluation question: answering from them would measure memory, not retrieval.

A document is contaminated when it holds a question word for word or, of a long one, any 13 words in a row: GPT-3's rule
(Brown et al. 2020, appendix C), which FineWeb and datatrove use with 12. Questions of fewer than five words say too
little to be looked for. Words are ``re.findall(r"\\w+", text.lower())``.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headwater.dedup.shingles import ShingleSets, shingle_sets
from headwater.errors import ConfigError
from headwater.text_files import json_lines, read_text

_WORDS = re.compile(r"\w+")
_LEAST_WORDS = 5
"""Words of a shingle: what is shorter can't be looked up by shingles."""


def read_questions(path: Path) -> list[tuple[int, str]]:
    """Return (line, question) of a JSON Lines file whose lines have a ``question`` (golden sets) or ``text`` (BEIR).

    ConfigError names file and line.
    """
    questions = []
    for number, line in json_lines(read_text(path, "the list of questions to exclude")):
        try:
            row = json.loads(line)
            questions.append((number, str(row["question"] if "question" in row else row["text"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}:{number}: not a question; a line is a JSON object with a question ({type(error).__name__})."
            ) from error
    return questions


class QuestionFinder:
    """Finds the documents that contain one of ``questions``, each a (line, text)."""

    def __init__(self, questions: Sequence[tuple[int, str]], ngram: int = 13) -> None:
        phrases: dict[str, int] = {}
        for line, question in questions:
            words = _WORDS.findall(question.lower())
            size = min(len(words), ngram)
            for start in range(len(words) - size + 1 if size >= _LEAST_WORDS else 0):
                phrases.setdefault(" ".join(words[start : start + size]), line)
        self._lines = list(phrases.items())
        sets = shingle_sets([phrase for phrase, _ in self._lines])
        self._shingles = [set(sets.values[a:b].tolist()) for a, b in zip(sets.offsets, sets.offsets[1:], strict=False)]
        self._known = np.unique(sets.values)
        self._by_shingle: dict[int, list[int]] = defaultdict(list)
        for number, shingles in enumerate(self._shingles):
            self._by_shingle[min(shingles)].append(number)

    def suspects(self, documents: ShingleSets) -> list[int]:
        """Return the rows whose shingles are all those of a phrase at least; :meth:`first_in` then reads the text."""
        if not len(self._known) or not len(documents.values):
            return []
        place = np.searchsorted(self._known, documents.values)
        hit = np.flatnonzero(self._known[np.minimum(place, len(self._known) - 1)] == documents.values)
        found = []
        owners = np.searchsorted(documents.offsets, hit, side="right") - 1
        for row in np.unique(owners).tolist():
            held = set(documents.values[hit[owners == row]].tolist())
            phrases = (number for shingle in held for number in self._by_shingle.get(shingle, ()))
            if any(self._shingles[number] <= held for number in phrases):
                found.append(row)
        return found

    def first_in(self, text: str) -> int | None:
        """Return the line of the first question that ``text`` contains, None when it contains none."""
        words = f" {' '.join(_WORDS.findall(text.lower()))} "
        return min((line for phrase, line in self._lines if f" {phrase} " in words), default=None)
