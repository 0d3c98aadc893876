"""Sentences as the name model reads them: word pieces, words with their character offsets, and how words are written.

The bundled encoder is uncased, so what case and glue tell is counted apart, one *shape* per word and one *case*
per sentence, and given to the model beside the word pieces. Everything here is a function of one sentence alone:
the names found in it don't depend on what stands around it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headwater.embedding.model import load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHAPES = 10  # see _shapes
SHAPE_CODES = SHAPES * 8  # times glued to the left, glued to the right, first word of the sentence
CASE_CODES = 6  # see _sentence_cases
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"'`\\)\]}|]+|(?<=\]\()[^\s()]+(?=\))", re.IGNORECASE)
_LINK_WORD = "http"

_UPPER, _LOWER, _DIGIT, _LETTER, _SPACE, _OTHER = range(6)
_BASIC_PLANE = 0x10000

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several sentences, one after the other.

    Sentence ``i`` has the words ``borders[i]`` to ``borders[i + 1]``, and the case ``cases[i]``. Word ``w`` stands at
    the characters ``starts[w]`` to ``ends[w]`` of its sentence, has the shape ``shapes[w]`` and the pieces
    ``pieces[firsts[w]:firsts[w + 1]]``.
    """

    borders: Ints
    cases: Ints
    starts: Ints
    ends: Ints
    shapes: Ints
    firsts: Ints
    pieces: Ints


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    """Return the tokenizer of the bundled encoder, shared within the process."""
    return load_tokenizer()


def read_words(sentences: Sequence[str]) -> Words:
    """Return the words of the sentences; offsets are into the sentences as given.

    A link counts as one word: what it is made of names no one, and would take a fifth of the time of Markdown.
    """
    short = [_shorten_links(sentence) for sentence in sentences]
    encodings = tokenizer().encode_batch([text for text, _ in short], add_special_tokens=False)
    counts = np.array([len(encoding) for encoding in encodings], np.int64)
    pieces = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int64, int(counts.sum()))
    numbers = np.fromiter(chain.from_iterable(e.word_ids for e in encodings), np.int64, len(pieces))
    offsets = np.array(list(chain.from_iterable(e.offsets for e in encodings)), np.int64).reshape(-1, 2)
    sentence = np.repeat(np.arange(len(sentences)), counts)
    begins = np.ones(len(pieces), bool)
    begins[1:] = (sentence[1:] != sentence[:-1]) | (numbers[1:] != numbers[:-1])
    firsts = np.append(np.flatnonzero(begins), len(pieces))
    starts, ends = offsets[firsts[:-1], 0], offsets[firsts[1:] - 1, 1]
    sentence = sentence[firsts[:-1]]
    borders = np.searchsorted(sentence, np.arange(len(sentences) + 1))
    for row, (_, cuts) in enumerate(short):
        if cuts:
            here = slice(borders[row], borders[row + 1])
            after, shift = np.array(cuts).T
            shift = np.concatenate(([0], shift))
            starts[here] += shift[np.searchsorted(after, starts[here], side="right")]
            ends[here] += shift[np.searchsorted(after, ends[here], side="right")]
    shapes, cases = _features(sentences, sentence, borders, starts, ends)
    return Words(borders, cases, starts, ends, shapes, firsts, pieces)


def _shorten_links(sentence: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the sentence with one word for each link, and where those words end, with what to add from there on."""
    if "/" not in sentence and "](" not in sentence and "www." not in sentence:
        return sentence, []
    parts: list[str] = []
    cuts: list[tuple[int, int]] = []
    position = length = 0
    for match in _LINK.finditer(sentence):
        parts += [sentence[position : match.start()], _LINK_WORD]
        length += match.start() - position + len(_LINK_WORD)
        position = match.end()
        cuts.append((length, position - length))
    return "".join([*parts, sentence[position:]]), cuts


@lru_cache(maxsize=1)
def _classes() -> npt.NDArray[np.uint8]:
    """Return what each character of the basic plane is, as one of the six kinds."""
    table = np.full(_BASIC_PLANE, _OTHER, np.uint8)
    for code in range(_BASIC_PLANE):
        character = chr(code)
        if character.isupper() or character.istitle():
            table[code] = _UPPER
        elif character.islower():
            table[code] = _LOWER
        elif character.isdecimal():
            table[code] = _DIGIT
        elif character.isalpha():
            table[code] = _LETTER
        elif character.isspace():
            table[code] = _SPACE
    return table


def _features(sentences: Sequence[str], sentence: Ints, borders: Ints, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    # One text with a space before, between and after the sentences, so that every word has neighbours.
    codes = np.frombuffer(f" {' '.join(sentences)} ".encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = np.where(codes < _BASIC_PLANE, _classes()[np.minimum(codes, _BASIC_PLANE - 1)], np.uint8(_OTHER))
    lengths = np.array([len(text) + 1 for text in sentences], np.int64)
    origin = 1 + np.concatenate(([0], np.cumsum(lengths)))[sentence]
    low, high = origin + starts, origin + ends

    def count(kind: int) -> Ints:
        total = np.concatenate(([0], np.cumsum(kinds == kind, dtype=np.int64)))
        counted: Ints = total[high] - total[low]
        return counted

    upper, lower, letter = count(_UPPER), count(_LOWER), count(_LETTER)
    shapes = _shapes(upper, lower, count(_DIGIT), letter, kinds[low] == _UPPER)
    cased = np.flatnonzero(upper + lower + letter)
    first = np.zeros(len(starts), bool)
    first[cased[np.unique(sentence[cased], return_index=True)[1]]] = True
    glued = (kinds[low - 1] != _SPACE) * 4 + (kinds[high] != _SPACE) * 2
    return shapes * 8 + glued + first, _sentence_cases(shapes, sentence, ~first, len(sentences))


def _shapes(upper: Ints, lower: Ints, digit: Ints, letter: Ints, initial: npt.NDArray[np.bool_]) -> Ints:
    letters = upper + lower + letter
    return np.select(
        [
            (letters > 0) & (digit > 0),
            digit > 0,
            letters == 0,
            letter > 0,  # of a script without case
            upper == 0,
            (upper == 1) & (lower == 0),
            lower == 0,
            initial & (upper == 1),
            initial,
        ],
        [1, 2, 3, 4, 5, 6, 7, 8, 9],
        default=0,  # capitals inside only
    ).astype(np.int64)


def _sentence_cases(shapes: Ints, sentence: Ints, counted: npt.NDArray[np.bool_], sentences: int) -> Ints:
    """Return how the words but the first are written: 0 no words, 1 small, 2 mixed, 3 titled, 4 mostly capitals, 5 all."""

    def count(*chosen: int) -> Ints:
        return np.bincount(sentence[counted & np.isin(shapes, chosen)], minlength=sentences)

    small, titled, capitals = count(5), count(0, 6, 8, 9), count(7)
    return np.select(
        [
            small + titled + capitals == 0,
            titled + capitals == 0,
            (capitals > 0) & (small + titled == 0),
            capitals > titled + small,
            titled + capitals >= small,
        ],
        [0, 1, 5, 4, 3],
        default=2,
    ).astype(np.int64)
