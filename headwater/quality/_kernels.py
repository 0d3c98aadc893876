"""The compiled pass that counts every signal of a text once. Import inside functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater._word_kernels import (
    FNV_OFFSET,
    FNV_PRIME,
    WORDS_PER_SHINGLE,
    mix64,
    shingle,
    sort_distinct,
    word_hashes,
)
from headwater.codepoints import IDEOGRAPH, LETTER, SPACE, WORD
from headwater.jit import jit

# Columns of the result, in order.
COUNTERS = (
    "characters",  # not white space
    "words",  # \w+; an ideograph is a word
    "word_characters",
    "letters",
    "alpha_words",  # words with a letter
    "mixed_words",  # words with a letter and a digit
    "symbols",  # runs of hash signs, ellipses
    "unknown_characters",  # U+FFFD
    "ascii_letters",
    "vowels",  # a e i o u among them
    "consonant_run_letters",  # ASCII letters in runs of five and more consonants (y is none)
    "tokens",  # \w+, unspaced scripts included
    "top_tokens",  # the most frequent one
    "placeholder_tokens",  # of the lorem ipsum vocabulary
    "shingles",
    "distinct_shingles",
    "lines",  # not blank
    "table_lines",  # with as many separators as the line before
    "duplicate_line_characters",
    "log_line_characters",
    "code_lines",  # that read like program code
)
(
    _CHARACTERS,
    _WORDS,
    _WORD_CHARACTERS,
    _LETTERS,
    _ALPHA_WORDS,
    _MIXED_WORDS,
    _SYMBOLS,
    _UNKNOWN,
    _ASCII_LETTERS,
    _VOWELS,
    _CONSONANT_RUNS,
    _TOKENS,
    _TOP_TOKENS,
    _PLACEHOLDERS,
    _SHINGLES,
    _DISTINCT_SHINGLES,
    _LINES,
    _TABLE_LINES,
    _DUPLICATE_LINES,
    _LOG_LINES,
    _CODE_LINES,
) = range(len(COUNTERS))

_CONSONANT_RUN = 5
# Shorter lines (a cell, a brace, "Yes") repeat in good documents.
_LINE_CHARACTERS = 20
# A log line shows its time within its first characters.
_STAMP_CHARACTERS = 40
_LEVEL_TOKENS = 4
# A template of fewer words is a row of numbers, not a message.
_TEMPLATE_TOKENS = 2


@jit
def count(narrow: Any, starts: Any, stops: Any, wide: Any, table: Any, placeholders: Any, levels: Any) -> Any:
    """Return the counters of each lower-cased text, (n, len(COUNTERS)) int64.

    ``placeholders`` and ``levels`` are sets of word hashes made by :func:`vocabulary`.
    """
    codes = narrow.view(np.uint32)
    longest = 0
    for row in range(len(starts)):
        length = stops[row] - starts[row]
        longest = max(longest, length // 4 if wide[row] else length)
    words = np.empty(longest // 2 + 1, np.uint64)
    values = np.empty(longest // 2 + 1, np.uint64)
    scratch = np.empty(longest // 2 + 1, np.uint64)
    buckets = np.empty(longest + 5, np.int64)
    result = np.zeros((len(starts), len(COUNTERS)), np.int64)
    for row in range(len(starts)):
        counters = result[row]
        if wide[row]:
            start, stop = starts[row] // 4, stops[row] // 4
            _characters(codes, start, stop, table, counters)
            _lines(codes, start, stop, table, levels, counters)
            tokens = word_hashes(codes, start, stop, table, words)
        else:
            start, stop = starts[row], stops[row]
            _characters(narrow, start, stop, table, counters)
            _lines(narrow, start, stop, table, levels, counters)
            tokens = word_hashes(narrow, start, stop, table, words)
        _words(words, tokens, values, scratch, buckets, placeholders, counters)
    return result


@jit
def _vowel(code: Any) -> bool:
    return bool(code == 97 or code == 101 or code == 105 or code == 111 or code == 117)


@jit
def _characters(codes: Any, start: int, stop: int, table: Any, counters: Any) -> None:
    """Count characters, words, symbols and vowels."""
    inside = alpha = digit = False
    run = dots = 0
    previous = np.uint32(0)
    for position in range(start, stop):
        code = np.uint32(codes[position])
        kind = table[code]
        if 97 <= code <= 122:
            counters[_ASCII_LETTERS] += 1
            counters[_VOWELS] += _vowel(code)
            run = 0 if _vowel(code) or code == 121 else run + 1
            if run == _CONSONANT_RUN:
                counters[_CONSONANT_RUNS] += _CONSONANT_RUN
            elif run > _CONSONANT_RUN:
                counters[_CONSONANT_RUNS] += 1
        else:
            run = 0
        dots = dots + 1 if code == 46 else 0
        if (code == 35 and previous != 35) or code == 0x2026 or dots == 3:
            counters[_SYMBOLS] += 1
        counters[_UNKNOWN] += code == 0xFFFD
        previous = code
        counters[_CHARACTERS] += kind & SPACE == 0
        if kind & WORD and not kind & IDEOGRAPH:
            if not inside:
                counters[_WORDS] += 1
                inside = True
            counters[_WORD_CHARACTERS] += 1
            counters[_LETTERS] += kind & LETTER != 0
            alpha = alpha or kind & LETTER != 0
            digit = digit or _digit(code)
            continue
        if inside:
            counters[_ALPHA_WORDS] += alpha
            counters[_MIXED_WORDS] += alpha and digit
            inside = alpha = digit = False
        if kind & IDEOGRAPH:
            counters[_WORDS] += 1
            counters[_WORD_CHARACTERS] += 1
            counters[_LETTERS] += 1
            counters[_ALPHA_WORDS] += 1
    if inside:
        counters[_ALPHA_WORDS] += alpha
        counters[_MIXED_WORDS] += alpha and digit


@jit
def _words(words: Any, tokens: int, values: Any, scratch: Any, buckets: Any, placeholders: Any, counters: Any) -> None:
    """Count tokens, the most frequent one, placeholder words, and 5-shingles; leaves ``words`` sorted."""
    counters[_TOKENS] = tokens
    if tokens == 0:
        return
    if tokens >= WORDS_PER_SHINGLE:
        shingles = tokens - WORDS_PER_SHINGLE + 1
        for index in range(shingles):
            values[index] = shingle(words, index, WORDS_PER_SHINGLE)
        counters[_SHINGLES] = shingles
        counters[_DISTINCT_SHINGLES] = sort_distinct(values[:shingles], scratch, buckets)
    for index in range(tokens):
        if _member(placeholders, words[index]):
            counters[_PLACEHOLDERS] += 1
    ordered = words[:tokens]
    ordered.sort()
    run = 0
    for index in range(tokens):
        run = run + 1 if index > 0 and ordered[index] == ordered[index - 1] else 1
        counters[_TOP_TOKENS] = max(counters[_TOP_TOKENS], run)


@jit
def _member(vocabulary: Any, value: Any) -> bool:
    """Look a hash up in an open-addressing set whose size is a power of two; empty slots hold 0."""
    mask = np.uint64(len(vocabulary) - 1)
    slot = value & mask
    while vocabulary[slot] != 0:
        if vocabulary[slot] == value:
            return True
        slot = (slot + np.uint64(1)) & mask
    return False


@jit
def vocabulary(hashes: Any, bits: int) -> Any:
    """Return the open-addressing set of the hashes, of 2**bits slots."""
    result = np.zeros(1 << bits, np.uint64)
    for value in hashes:
        add(result, bits, value)
    return result


@jit
def _lines(codes: Any, start: int, stop: int, table: Any, levels: Any, counters: Any) -> None:
    """Count lines: all, those of tables, repeated ones, and log lines that repeat but for their numbers."""
    lines = 1
    for position in range(start, stop):
        if codes[position] == 10:
            lines += 1
    bits = 2
    while 1 << bits < 4 * lines:
        bits += 1
    seen = np.zeros(1 << bits, np.uint64)
    separators = 0
    begin = start
    for position in range(start, stop + 1):
        if position < stop and codes[position] != 10:
            continue
        first, last = begin, position
        begin = position + 1
        while first < last and table[codes[first]] & SPACE:
            first += 1
        while last > first and table[codes[last - 1]] & SPACE:
            last -= 1
        if first == last:
            continue
        counters[_LINES] += 1
        here = _separators(codes, first, last)
        if here > 0 and here == separators:
            counters[_TABLE_LINES] += 1
        separators = here
        counters[_CODE_LINES] += _code_line(codes, first, last, table)
        if last - first < _LINE_CHARACTERS:
            continue
        size = 0
        state = np.uint64(last - first)
        for index in range(first, last):
            state = (state ^ np.uint64(codes[index])) * FNV_PRIME
            if not table[codes[index]] & SPACE:
                size += 1
        if not add(seen, bits, mix64(state)):
            counters[_DUPLICATE_LINES] += size
        template = _log_template(codes, first, last, table, levels)
        if template != 0 and not add(seen, bits, template):
            counters[_LOG_LINES] += size


@jit
def _separators(codes: Any, first: int, last: int) -> int:
    """Return how many cell separators a line holds, as a number that also tells which; 0 if it is no table row."""
    pipes = tabs = commas = semicolons = 0
    for index in range(first, last):
        code = codes[index]
        if code == 124:
            pipes += 1
        elif code == 9:
            tabs += 1
        elif code == 44:
            commas += 1
        elif code == 59:
            semicolons += 1
    if pipes >= 2:
        return pipes * 4
    if tabs >= 1:
        return tabs * 4 + 1
    if semicolons >= 2:
        return semicolons * 4 + 2
    if commas >= 2:
        return commas * 4 + 3
    return 0


@jit
def _code_line(codes: Any, first: int, last: int, table: Any) -> bool:
    """Say whether a line reads like program code.

    It ends in a bracket or semicolon, has an operator that prose has not, or calls something and ends there.
    """
    end = codes[last - 1]
    if end == 123 or end == 125 or end == 59:  # { } ;
        return True
    call = False
    for index in range(first, last - 1):
        code, after = codes[index], codes[index + 1]
        if code == 61 and (after == 61 or after == 62):  # == =>
            return True
        if after == 61 and (code == 33 or code == 43 or code == 45 or code == 58):  # != += -= :=
            return True
        if (code == 45 and after == 62) or (code == 58 and after == 58):  # -> ::
            return True
        if code == 61 and index > first and index + 2 < last and codes[index - 1] == 32 and after == 32:
            return True
        call = call or (after == 40 and table[code] & WORD != 0)
    return call and bool(end == 41 or end == 58 or end == 44 or end == 40)  # ) : , (


@jit
def _log_template(codes: Any, first: int, last: int, table: Any, levels: Any) -> Any:
    """Return the hash of a log line's words without those that hold a digit; 0 if it is no log line.

    A log line shows a time (hh:mm:ss) or a level (info, error ...) near its start.
    """
    stamped = False
    for index in range(first, min(last - 7, first + _STAMP_CHARACTERS)):
        if (
            codes[index + 2] == 58
            and codes[index + 5] == 58
            and _digit(codes[index])
            and _digit(codes[index + 1])
            and _digit(codes[index + 3])
            and _digit(codes[index + 4])
            and _digit(codes[index + 6])
            and _digit(codes[index + 7])
        ):
            stamped = True
            break
    template = np.uint64(1)
    kept = seen = 0
    index = first
    while index < last:
        while index < last and not table[codes[index]] & WORD:
            index += 1
        begin = index
        number = False
        state = FNV_OFFSET
        while index < last and table[codes[index]] & WORD:
            state = (state ^ np.uint64(codes[index])) * FNV_PRIME
            number = number or _digit(codes[index])
            index += 1
        if index == begin or number:
            continue
        word = mix64(state)
        seen += 1
        if seen <= _LEVEL_TOKENS and _member(levels, word):
            stamped = True
        if seen >= _LEVEL_TOKENS and not stamped:
            return np.uint64(0)
        template = mix64(template ^ word)
        kept += 1
    return template if stamped and kept >= _TEMPLATE_TOKENS else np.uint64(0)


@jit
def _digit(code: Any) -> bool:
    return bool(48 <= code <= 57)


@jit
def add(seen: Any, bits: int, value: Any) -> bool:
    """Add a hash (not 0) to an open-addressing set and say whether it is new."""
    mask = np.uint64((1 << bits) - 1)
    slot = value & mask
    while seen[slot] != 0:
        if seen[slot] == value:
            return False
        slot = (slot + np.uint64(1)) & mask
    seen[slot] = value
    return True
