"""The compiled pass behind the Gopher, C4 and FineWeb rules: every counter of a text, once. Import inside functions.

The counters are those of datatrove 0.10 (Apache-2.0), the reference implementation: its words are spaCy's, its
sentences the sentencizer's, and its n-grams are counted as its filters count them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater._word_kernels import mix64
from headwater.jit import jit
from headwater.quality._token_kernels import POLYNOMIAL, spelled, tokenize
from headwater.quality.english import LETTER, PUNCTUATION, SPACE, STOP, SYMBOL, TERMINAL

COUNTERS = (
    "length",  # characters, white space included
    "tokens",
    "word_tokens",  # not of symbols alone
    "word_token_characters",
    "hashes",
    "ellipses",
    "text_lines",  # str.splitlines
    "bullet_lines",
    "ellipsis_lines",
    "letter_tokens",
    "stop_words",  # different ones
    "blocks",  # between blank lines
    "duplicate_blocks",
    "duplicate_block_characters",
    "runs",  # between runs of newlines
    "duplicate_runs",
    "duplicate_run_characters",
    "top_2_gram",  # characters of the most frequent one, all times
    "top_3_gram",
    "top_4_gram",
    "duplicate_5_grams",  # characters
    "duplicate_6_grams",
    "duplicate_7_grams",
    "duplicate_8_grams",
    "duplicate_9_grams",
    "duplicate_10_grams",
    "sentences",  # of the lines that C4 keeps
    "lorem_lines",
    "bracket_lines",
    "any_sentences",  # the same where lines need no terminal punctuation
    "any_lorem_lines",
    "any_bracket_lines",
    "full_lines",  # not blank, between newlines
    "terminal_lines",
    "short_lines",
    "duplicate_line_characters",
    "newlines",
)
(
    _LENGTH,
    _TOKENS,
    _WORD_TOKENS,
    _WORD_TOKEN_CHARACTERS,
    _HASHES,
    _ELLIPSES,
    _TEXT_LINES,
    _BULLET_LINES,
    _ELLIPSIS_LINES,
    _LETTER_TOKENS,
    _STOP_WORDS,
    _BLOCKS,
    _DUPLICATE_BLOCKS,
    _DUPLICATE_BLOCK_CHARACTERS,
    _RUNS,
    _DUPLICATE_RUNS,
    _DUPLICATE_RUN_CHARACTERS,
    _TOP_GRAMS,
    _,
    _,
    _DUPLICATE_GRAMS,
    _,
    _,
    _,
    _,
    _,
    _SENTENCES,
    _LOREM_LINES,
    _BRACKET_LINES,
    _ANY_SENTENCES,
    _ANY_LOREM_LINES,
    _ANY_BRACKET_LINES,
    _FULL_LINES,
    _TERMINAL_LINES,
    _SHORT_LINES,
    _DUPLICATE_LINE_CHARACTERS,
    _NEWLINES,
) = range(len(COUNTERS))

_TOP_SIZES = (2, 5)
_DUPLICATE_SIZES = (5, 11)
_SHORT_LINE = 30  # FineWeb
_LONGEST_WORD = 1000  # C4
_WORDS_PER_LINE = 3  # C4
_POWERS = 256


@jit
def count(
    narrow: Any, starts: Any, stops: Any, wide: Any, table: Any, keys: Any, values: Any, phrases: Any, stop_words: Any
) -> Any:
    """Return the counters of each text, (n, len(COUNTERS)) int64.

    ``phrases`` are C4's, (n, 1 + longest) with their lengths first; ``stop_words`` the hashes of Gopher's.
    """
    wide_codes = narrow.view(np.uint32)
    longest = 0
    for row in range(len(starts)):
        length = stops[row] - starts[row]
        longest = max(longest, length // 4 if wide[row] else length)
    # Two more than the characters, so that one may look ahead without asking.
    codes = np.empty(longest + 2, np.uint32)
    line = np.empty(longest + 2, np.uint32)
    tokens = np.empty((longest + 2, 2), np.int32)
    others = np.empty((longest + 2, 2), np.int32)
    work = np.empty((4, longest + 2), np.int32)
    # What is counted of words and lines needs the most memory, so it is made for as many as there are.
    room = 0
    hashes, joined, keys_of, lengths, slots, tally = _room(room)
    powers = np.empty(_POWERS, np.uint64)
    powers[0] = 1
    for index in range(1, _POWERS):
        powers[index] = powers[index - 1] * POLYNOMIAL
    result = np.zeros((len(starts), len(COUNTERS)), np.int64)
    for row in range(len(starts)):
        size = stops[row] - starts[row]
        if wide[row]:
            size //= 4
            codes[:size] = wide_codes[starts[row] // 4 : stops[row] // 4]
        else:
            codes[:size] = narrow[starts[row] : stops[row]]
        codes[size] = codes[size + 1] = 0
        counters = result[row]
        counters[_LENGTH] = size
        found = tokenize(codes, 0, size, table, keys, values, work, tokens)
        newlines = 0
        for index in range(size):
            newlines += codes[index] == 10
        if max(found, newlines) > room:
            room = max(found, newlines)
            hashes, joined, keys_of, lengths, slots, tally = _room(room)
        _words(codes, tokens, found, table, stop_words, hashes, lengths, counters)
        _grams(hashes, joined, lengths, found, work[0], keys_of, slots, tally, powers, counters)
        _characters(codes, size, table, slots, counters)
        _lines(codes, size, table, counters)
        _sentences(codes, size, tokens, found, table, keys, values, work, line, others, phrases, counters)
    return result


@jit
def _room(size: int) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Return the arrays for a text of at most ``size`` words and lines."""
    bits = 3
    while 1 << bits < 2 * (size + 1):
        bits += 1
    words = size + 2
    return (
        np.empty(words, np.uint64),
        np.empty(words, np.uint64),
        np.empty(words, np.uint64),
        np.empty(words, np.int32),
        np.empty(1 << bits, np.uint64),
        np.empty((1 << bits, 2), np.int32),
    )


@jit
def _words(
    codes: Any, tokens: Any, found: int, table: Any, stop_words: Any, hashes: Any, lengths: Any, counters: Any
) -> None:
    """Count words, and write their hashes and the sums of their lengths before them."""
    counters[_TOKENS] = found
    seen = 0
    total = 0
    for token in range(found):
        start, stop = tokens[token, 0], tokens[token, 1]
        word = letter = False
        state = np.uint64(0)
        for index in range(start, stop):
            code = codes[index]
            kind = table[code]
            word = word or not kind & SYMBOL
            letter = letter or kind & LETTER != 0
            state = state * POLYNOMIAL + np.uint64(code) + np.uint64(1)
        hashes[token] = state
        lengths[token] = total
        total += stop - start
        if word:
            counters[_WORD_TOKENS] += 1
            counters[_WORD_TOKEN_CHARACTERS] += stop - start
        counters[_LETTER_TOKENS] += letter
        if stop - start <= 4:
            for index in range(len(stop_words)):
                if stop_words[index] == state:
                    seen |= 1 << index
    lengths[found] = total
    while seen:
        counters[_STOP_WORDS] += seen & 1
        seen >>= 1


@jit
def _power(exponent: int, powers: Any) -> Any:
    """Return the polynomial's base to the power of ``exponent``."""
    if exponent < _POWERS:
        return powers[exponent]
    result = np.uint64(1)
    base = POLYNOMIAL
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


@jit
def _clear(slots: Any, size: int) -> Any:
    """Return the mask of an empty hash table in ``slots`` for ``size`` values."""
    bits = 3
    while 1 << bits < 2 * size:
        bits += 1
    slots[: 1 << bits] = 0
    return np.uint64((1 << bits) - 1)


@jit
def _add(slots: Any, mask: Any, value: Any) -> bool:
    """Add a hash to a table and say whether it is new."""
    value |= np.uint64(1)
    slot = (value >> np.uint64(7)) & mask
    while slots[slot] != 0:
        if slots[slot] == value:
            return False
        slot = (slot + np.uint64(1)) & mask
    slots[slot] = value
    return True


@jit
def _grams(
    hashes: Any,
    joined: Any,
    lengths: Any,
    found: int,
    alive: Any,
    keys: Any,
    slots: Any,
    tally: Any,
    powers: Any,
    counters: Any,
) -> None:
    """Count the characters of the most frequent 2- to 4-grams, and of 5- to 10-grams that occurred before.

    An n-gram can only repeat where the one of a word less does, so each size looks at the places that are left.
    """
    joined[0] = 0
    for token in range(found):
        length = lengths[token + 1] - lengths[token]
        joined[token + 1] = joined[token] * _power(length, powers) + hashes[token]
        alive[token] = token
        keys[token] = mix64(hashes[token])
    left = found
    for size in range(_TOP_SIZES[0], _DUPLICATE_SIZES[1]):
        if found < size:
            break
        best, winner, left = _repeated(hashes, found, size, alive, left, keys, slots, tally)
        characters = lengths[winner + size] - lengths[winner]
        if size < _TOP_SIZES[1]:
            counters[_TOP_GRAMS + size - _TOP_SIZES[0]] = best * (characters + size - 1)
        else:
            counters[_DUPLICATE_GRAMS + size - _DUPLICATE_SIZES[0]] = _duplicates(
                joined, lengths, size, alive, left, slots, powers
            )


@jit
def _repeated(
    hashes: Any, found: int, size: int, alive: Any, left: int, keys: Any, slots: Any, tally: Any
) -> tuple[int, int, int]:
    """Count the n-grams at the places ``alive`` and keep the places of those that occur twice.

    Returns how often the most frequent one occurs, its first place (of equals, the first), and how many places are
    left. ``keys`` are the hashes of the (n-1)-grams, by place; those of the n-grams afterwards.
    """
    mask = _clear(slots, left)
    best, winner = 1, 0
    kept = 0
    for index in range(left):
        token = alive[index]
        if token + size > found:
            continue
        key = mix64(keys[token] * POLYNOMIAL ^ hashes[token + size - 1]) | np.uint64(1)
        keys[token] = key
        alive[kept] = token
        kept += 1
        slot = (key >> np.uint64(7)) & mask
        while slots[slot] != 0 and slots[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            slots[slot] = key
            tally[slot, 0] = 0
            tally[slot, 1] = token
        tally[slot, 0] += 1
        times, first = tally[slot, 0], tally[slot, 1]
        if times > best or (times == best and first < winner):
            best, winner = times, first
    left = 0
    for index in range(kept):
        token = alive[index]
        slot = (keys[token] >> np.uint64(7)) & mask
        while slots[slot] != keys[token]:
            slot = (slot + np.uint64(1)) & mask
        if tally[slot, 0] > 1:
            alive[left] = token
            left += 1
    return best, winner, left


@jit
def _duplicates(joined: Any, lengths: Any, size: int, alive: Any, left: int, slots: Any, powers: Any) -> int:
    """Return the characters of n-grams that occurred before; after one, counting goes on behind it."""
    mask = _clear(slots, left)
    total = free = 0
    for index in range(left):
        token = alive[index]
        if token < free:
            continue
        length = lengths[token + size] - lengths[token]
        # The reference joins the words without a space between them.
        value = joined[token + size] - joined[token] * _power(length, powers)
        if not _add(slots, mask, mix64(value)):
            total += length
            free = token + size
    return int(total)


@jit
def _characters(codes: Any, size: int, table: Any, slots: Any, counters: Any) -> None:
    """Count hash signs, ellipses, newlines, and what lies between newlines and between blank lines."""
    dots = 0
    for index in range(size):
        code = codes[index]
        counters[_HASHES] += code == 35
        counters[_NEWLINES] += code == 10
        dots = dots + 1 if code == 46 else 0
        if dots == 3:
            counters[_ELLIPSES] += 1
            dots = 0
        counters[_ELLIPSES] += code == 0x2026
    mask = _clear(slots, counters[_NEWLINES] + 1)
    begin = 0
    for index in range(size + 1):
        if index < size and codes[index] != 10:
            continue
        first, last = begin, index
        begin = index + 1
        if first == last:
            continue
        counters[_RUNS] += 1
        new = _add(slots, mask, mix64(spelled(codes, first, last)))
        if not new:
            counters[_DUPLICATE_RUNS] += 1
            counters[_DUPLICATE_RUN_CHARACTERS] += last - first
        blank = True
        for position in range(first, last):
            if not table[codes[position]] & SPACE:
                blank = False
                break
        if blank:
            continue
        counters[_FULL_LINES] += 1
        counters[_TERMINAL_LINES] += table[codes[last - 1]] & TERMINAL != 0
        counters[_SHORT_LINES] += last - first <= _SHORT_LINE
        if not new:
            counters[_DUPLICATE_LINE_CHARACTERS] += last - first
    if size:  # splitting leaves an empty string before a newline that starts the text, and after one that ends it
        edges = int(codes[0] == 10) + int(codes[size - 1] == 10)
        counters[_RUNS] += edges
        counters[_DUPLICATE_RUNS] += edges == 2
    _blocks(codes, size, table, slots, counters)


@jit
def _blocks(codes: Any, size: int, table: Any, slots: Any, counters: Any) -> None:
    """Count what lies between two and more newlines of the text without the white space around it."""
    first, last = 0, size
    while first < last and table[codes[first]] & SPACE:
        first += 1
    while last > first and table[codes[last - 1]] & SPACE:
        last -= 1
    mask = _clear(slots, counters[_NEWLINES] + 1)
    begin = index = first
    while index <= last:
        if index < last and not (codes[index] == 10 and codes[index + 1] == 10):
            index += 1
            continue
        counters[_BLOCKS] += 1
        if not _add(slots, mask, mix64(spelled(codes, begin, index))):
            counters[_DUPLICATE_BLOCKS] += 1
            counters[_DUPLICATE_BLOCK_CHARACTERS] += index - begin
        if index == last:
            break
        while codes[index] == 10:
            index += 1
        begin = index


@jit
def _break(code: Any) -> bool:
    """Say whether str.splitlines ends a line here."""
    return bool(10 <= code <= 13 or 28 <= code <= 30 or code == 0x85 or code == 0x2028 or code == 0x2029)


@jit
def _lines(codes: Any, size: int, table: Any, counters: Any) -> None:
    """Count lines that start with a bullet or end in an ellipsis."""
    index = 0
    while index < size:
        first = index
        while index < size and not _break(codes[index]):
            index += 1
        last = index
        index += 2 if index + 1 < size and codes[index] == 13 and codes[index + 1] == 10 else 1
        counters[_TEXT_LINES] += 1
        while first < last and table[codes[first]] & SPACE:
            first += 1
        while last > first and table[codes[last - 1]] & SPACE:
            last -= 1
        if first == last:
            continue
        counters[_BULLET_LINES] += codes[first] == 45 or codes[first] == 0x2022
        counters[_ELLIPSIS_LINES] += codes[last - 1] == 0x2026 or _dots(codes, first, last)


@jit
def _dots(codes: Any, first: int, last: int) -> bool:
    """Say whether three dots end ``codes[first:last]``."""
    return bool(last - first >= 3 and codes[last - 1] == 46 and codes[last - 2] == 46 and codes[last - 3] == 46)


@jit
def _sentences(
    codes: Any,
    size: int,
    tokens: Any,
    found: int,
    table: Any,
    keys: Any,
    values: Any,
    work: Any,
    line: Any,
    others: Any,
    phrases: Any,
    counters: Any,
) -> None:
    """Apply C4's rules for lines, and count the sentences of what they keep."""
    index = token = 0
    while index < size:
        first = index
        while index < size and not _break(codes[index]):
            index += 1
        last = index
        index += 2 if index + 1 < size and codes[index] == 13 and codes[index + 1] == 10 else 1
        while token < found and tokens[token, 1] <= first:
            token += 1
        begin = token
        while token < found and tokens[token, 0] < last:
            token += 1
        while first < last and table[codes[first]] & SPACE:
            first += 1
        while last > first and table[codes[last - 1]] & SPACE:
            last -= 1
        if not _enough_words(codes, first, last, table):
            continue
        length = _without_citations(codes, first, last, line)
        if length == last - first:
            ended = _ended(codes, first, last)
            lorem, dropped, bracket = _phrases(codes, first, last, phrases)
        else:
            ended = _ended(line, 0, length)
            lorem, dropped, bracket = _phrases(line, 0, length, phrases)
        # The order of the reference: a page is dropped at the first line with lorem ipsum, or with a bracket where
        # there is no word of Javascript.
        if lorem or bracket:
            counters[_ANY_LOREM_LINES] += lorem
            counters[_ANY_BRACKET_LINES] += not lorem
            counters[_LOREM_LINES] += lorem and ended
            counters[_BRACKET_LINES] += ended and not lorem
            continue
        if dropped:
            continue
        if length == last - first:
            here = _sentences_of(codes, first, last, tokens, begin, token, table)
        else:
            cut = tokenize(line, 0, length, table, keys, values, work, others)
            here = _sentences_of(line, 0, length, others, 0, cut, table)
        counters[_ANY_SENTENCES] += here
        if ended:
            counters[_SENTENCES] += here


@jit
def _enough_words(codes: Any, first: int, last: int, table: Any) -> bool:
    """Say whether a line has three words and none of more than a thousand characters."""
    words = 0
    index = first
    while index < last:
        begin = index
        while index < last and not table[codes[index]] & SPACE:
            index += 1
        words += index > begin
        if index - begin > _LONGEST_WORD:
            return False
        while index < last and table[codes[index]] & SPACE:
            index += 1
    return words >= _WORDS_PER_LINE


@jit
def _ended(codes: Any, first: int, last: int) -> bool:
    """Say whether a line ends in terminal punctuation, as C4 has it."""
    if first >= last:
        return False
    code = codes[last - 1]
    mark = code == 46 or code == 63 or code == 33 or code == 34 or code == 39
    return bool(mark and not _dots(codes, first, last))


@jit
def _without_citations(codes: Any, first: int, last: int, line: Any) -> int:
    """Copy a line without [1], [edit] and [citation needed], and return how long the copy is."""
    length = 0
    index = first
    while index < last:
        if codes[index] == 91:
            end = index + 1
            while end < last and 48 <= codes[end] <= 57:
                end += 1
            if end < last and codes[end] == 93:
                index = end + 1
                continue
            if _reads(codes, index + 1, last, "edit]"):
                index += 6
                continue
            if _reads(codes, index + 1, last, "citation needed]"):
                index += 17
                continue
        line[length] = codes[index]
        length += 1
        index += 1
    line[length] = line[length + 1] = 0
    return length


@jit
def _reads(codes: Any, first: int, last: int, text: str) -> bool:
    """Say whether ``text`` stands at ``first``."""
    if first + len(text) > last:
        return False
    for offset in range(len(text)):  # noqa: SIM110 (numba has no all())
        if codes[first + offset] != ord(text[offset]):
            return False
    return True


@jit
def _phrases(codes: Any, first: int, last: int, phrases: Any) -> tuple[bool, bool, bool]:
    """Say whether a line has lorem ipsum; a phrase it is dropped for; a curly bracket that is seen before that.

    The first phrase is lorem ipsum, the second Javascript; the others are those of policies.
    """
    lorem = script = policy = bracket = False
    firsts = 0
    for number in range(len(phrases)):
        firsts |= 1 << int(phrases[number, 1] - 97)
    for index in range(first, last):
        code = _lower(codes[index])
        if code == 123:
            bracket = True
            continue
        if not 97 <= code <= 122 or not firsts >> int(code - 97) & 1:
            continue
        for number in range(len(phrases)):
            length = phrases[number, 0]
            if code != phrases[number, 1] or index + length > last:
                continue
            offset = 1
            while offset < length and _lower(codes[index + offset]) == phrases[number, 1 + offset]:
                offset += 1
            if offset == length:
                lorem = lorem or number == 0
                script = script or number == 1
                policy = policy or number > 1
    return lorem, script or policy, bracket and not script


@jit
def _lower(code: Any) -> Any:
    """Return str.lower of a code point, as far as ASCII is what it gives."""
    if 65 <= code <= 90:
        return code + np.uint32(32)
    return np.uint32(107) if code == 0x212A else code


@jit
def _sentences_of(codes: Any, first: int, last: int, tokens: Any, begin: int, end: int, table: Any) -> int:
    """Return how many sentences spaCy's sentencizer finds in a line.

    A sentence starts at what follows a full stop and is no punctuation. Of white space, what is more than one space
    is a token, too.
    """
    sentences = 1
    stopped = False
    position = first
    for token in range(begin, end):
        start, stop = tokens[token, 0], tokens[token, 1]
        gap = start - position
        if stopped and (gap > 1 or (gap == 1 and codes[position] != 32)):
            sentences += 1
            stopped = False
        position = stop
        mark = stop - start == 1 and table[codes[start]] & STOP != 0
        if mark:
            stopped = True
        elif stopped:
            punctuation = True
            for index in range(start, stop):
                punctuation = punctuation and table[codes[index]] & PUNCTUATION != 0
            if not punctuation:
                sentences += 1
                stopped = False
    gap = last - position
    if stopped and (gap > 1 or (gap == 1 and codes[position] != 32)):
        sentences += 1
    return sentences
