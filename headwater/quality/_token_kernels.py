"""The compiled tokenizer: the words of ``spacy.blank("en")``, from the tables of ``english``. Import inside functions.

A run of characters that are no white space is cut as spaCy does it: prefixes and suffixes are taken off until a
special case or nothing is left to take; what remains is a special case, a URL, or is split at infixes. At last, tokens
that together spell a special case become that case's tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater._word_kernels import mix64
from headwater.jit import jit
from headwater.quality.english import (
    ALPHA,
    BEFORE_STOP,
    HOST,
    ICON,
    LETTER,
    LOWER,
    PREFIX,
    QUOTE,
    SPACE,
    SUFFIX,
    UPPER,
)

POLYNOMIAL = np.uint64(0x9DDFEA08EB382D69)
LONGEST_SPECIAL = 12
_CUT = 0xFFFF
_PLAIN = 16
_LONGEST_UNIT = 8
_LABEL = 64  # characters of a host name's label, for spaCy
_TOP_LEVEL = 63


@jit
def spelled(codes: Any, start: int, stop: int) -> Any:
    """Return the polynomial hash of ``codes[start:stop]``: that of two strings in a row follows from theirs."""
    state = np.uint64(0)
    for index in range(start, stop):
        state = state * POLYNOMIAL + np.uint64(codes[index]) + np.uint64(1)
    return state


@jit
def lookup(keys: Any, values: Any, key: Any) -> int:
    """Return the value of a hash in an open-addressing map, 0 if it is not there; empty slots hold 0."""
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while keys[slot] != 0:
        if keys[slot] == key:
            return int(values[slot])
        slot = (slot + np.uint64(1)) & mask
    return 0


@jit
def tokenize(codes: Any, start: int, stop: int, table: Any, keys: Any, values: Any, work: Any, tokens: Any) -> int:
    """Write (start, stop) of every word of ``codes[start:stop]`` to ``tokens`` and return how many there are.

    ``keys`` and ``values`` are the map of special cases and units (see ``web._tables``), ``work`` is scratch space
    (4, n) for n characters.
    """
    count = 0
    position = start
    while True:
        while position < stop and table[codes[position]] & SPACE:
            position += 1
        if position == stop:
            return count
        begin = position
        plain = True
        while position < stop:
            code = codes[position]
            if code > 127 or not (97 <= code <= 122 or 65 <= code <= 90):
                if table[code] & SPACE:
                    break
                plain = False
            position += 1
        count = _chunk(codes, begin, position, plain, table, keys, values, work, tokens, count)


@jit
def _special(codes: Any, start: int, stop: int, keys: Any, values: Any) -> int:
    """Return the special case that ``codes[start:stop]`` is, as bits: where its tokens end, and where the other rules'
    would; 0 if it is none."""
    if stop - start > LONGEST_SPECIAL:
        return 0
    return lookup(keys, values, mix64(spelled(codes, start, stop)))


@jit
def _emit(start: int, ends: int, tokens: Any, count: int) -> int:
    """Write the tokens of a special case at ``start``, whose ends are bits."""
    begin = start
    for offset in range(LONGEST_SPECIAL):
        if ends >> offset & 1:
            tokens[count, 0] = begin
            tokens[count, 1] = start + offset + 1
            begin = start + offset + 1
            count += 1
    return count


@jit
def _chunk(
    codes: Any,
    start: int,
    stop: int,
    plain: bool,
    table: Any,
    keys: Any,
    values: Any,
    work: Any,
    tokens: Any,
    count: int,
) -> int:
    """Cut one run of characters that are no white space."""
    special = _special(codes, start, stop, keys, values)
    if special:
        return _emit(start, special & _CUT, tokens, count)
    if plain:
        tokens[count, 0] = start
        tokens[count, 1] = stop
        return count + 1
    first = count
    tails = work[0]
    tail = 0
    while start < stop:
        if _special(codes, start, stop, keys, values):
            break
        prefix = _prefix(codes, start, stop, table)
        if prefix and start + prefix < stop and _special(codes, start + prefix, stop, keys, values):
            tokens[count, 0] = start
            tokens[count, 1] = start + prefix
            count += 1
            start += prefix
            break
        suffix = _suffix(codes, start + prefix, stop, table, keys, values)
        if suffix and stop - suffix > start and _special(codes, start, stop - suffix, keys, values):
            tails[tail] = stop
            tail += 1
            stop -= suffix
            break
        if not prefix and not suffix:
            break
        if prefix:
            tokens[count, 0] = start
            tokens[count, 1] = start + prefix
            count += 1
            start += prefix
        if suffix:
            tails[tail] = stop
            tail += 1
            stop -= suffix
    if start < stop:
        special = _special(codes, start, stop, keys, values)
        if special:
            count = _emit(start, special & _CUT, tokens, count)
        elif _url(codes, start, stop, table):
            tokens[count, 0] = start
            tokens[count, 1] = stop
            count += 1
        else:
            count = _infixes(codes, start, stop, table, tokens, count)
    while tail > 0:
        tail -= 1
        tokens[count, 0] = stop
        tokens[count, 1] = tails[tail]
        stop = tails[tail]
        count += 1
    return _join(codes, first, count, keys, values, work, tokens) if count > first + 1 else count


@jit
def _prefix(codes: Any, start: int, stop: int, table: Any) -> int:
    """Return how many characters are split off the start."""
    code = codes[start]
    if code == 43:  # + is one, unless a digit follows
        return 0 if start + 1 < stop and _digit(codes[start + 1]) else 1
    if code == 46:
        end = start + 1
        while end < stop and codes[end] == 46:
            end += 1
        return end - start if end - start > 1 else 0
    if table[code] & PREFIX:
        return 1
    if (code == 65 or code == 67) and start + 1 < stop and codes[start + 1] == 36:  # A$ C$
        return 2
    if code == 85 and start + 2 < stop and codes[start + 1] == 83 and codes[start + 2] == 36:  # US$
        return 3
    return 0


@jit
def _suffix(codes: Any, start: int, stop: int, table: Any, keys: Any, values: Any) -> int:
    """Return how many characters are split off the end: the longest of what the rules allow."""
    if start >= stop:
        return 0
    code = codes[stop - 1]
    longest = 1 if table[code] & SUFFIX else 0
    if code == 46:
        first = stop - 1
        while first > start and codes[first - 1] == 46:
            first -= 1
        if stop - first > 1:
            return stop - first
        if stop - start > 1 and (
            table[codes[stop - 2]] & BEFORE_STOP
            or (stop - start > 2 and table[codes[stop - 2]] & UPPER and table[codes[stop - 3]] & UPPER)
            or (stop - start > 2 and codes[stop - 3] == 0xB0 and _temperature(codes[stop - 2]))
        ):
            return 1
        return longest
    if stop - start > 1:
        before = codes[stop - 2]
        apostrophe = before == 39 or before == 0x2019
        if ((code == 115 or code == 83) and apostrophe) or (code == 0x2026 and before == 0x2026):
            longest = 2
    if not _digit(code):
        index = stop - 1
        while index > start and stop - index <= _LONGEST_UNIT:
            index -= 1
            if _digit(codes[index]):
                # Units share the map with the special cases; their hashes are those of the unit after a zero byte.
                unit = mix64(~spelled(codes, index + 1, stop))
                if lookup(keys, values, unit):
                    longest = max(longest, stop - index - 1)
                break
    return longest


@jit
def _temperature(code: Any) -> bool:
    return bool(code == 70 or code == 102 or code == 67 or code == 99 or code == 75 or code == 107)


@jit
def _digit(code: Any) -> bool:
    return bool(48 <= code <= 57)


@jit
def _infixes(codes: Any, start: int, stop: int, table: Any, tokens: Any, count: int) -> int:
    """Split at ellipses, symbols, and signs between letters or digits."""
    begin = start
    index = start
    while index < stop:
        end = _infix(codes, start, stop, index, table)
        if end == index:
            index += 1
            continue
        if index > start:  # one at the very start stays with what follows
            if index > begin:
                tokens[count, 0] = begin
                tokens[count, 1] = index
                count += 1
            tokens[count, 0] = index
            tokens[count, 1] = end
            count += 1
            begin = end
        index = end
    if begin < stop:
        tokens[count, 0] = begin
        tokens[count, 1] = stop
        count += 1
    return count


@jit
def _infix(codes: Any, start: int, stop: int, index: int, table: Any) -> int:
    """Return where the infix that begins at ``index`` ends; ``index`` if there is none."""
    code = codes[index]
    kind = table[code]
    if code == 46 and index + 1 < stop and codes[index + 1] == 46:
        end = index + 2
        while end < stop and codes[end] == 46:
            end += 1
        return end
    if kind & ICON:
        return index + 1
    if index == start or index + 1 >= stop or (kind & LETTER):
        return index
    before, after = codes[index - 1], codes[index + 1]
    left, right = table[before], table[after]
    if code == 46:
        return index + 1 if left & (LOWER | QUOTE) and right & (UPPER | QUOTE) else index
    if (code == 43 or code == 45 or code == 42 or code == 94) and _digit(before) and (_digit(after) or after == 45):
        return index + 1
    if code == 44:
        return index + 1 if left & ALPHA and right & ALPHA else index
    if not (left & ALPHA or _digit(before)):
        return index
    if code == 58 or code == 60 or code == 62 or code == 61 or code == 47:  # : < > = /
        return index + 1 if right & ALPHA else index
    if code == 45 or code == 0x2014:  # -, --, ---; one and two em dashes
        most = 3 if code == 45 else 2
        end = index + 1
        while end < stop and codes[end] == code and end - index < most:
            end += 1
        return end if end < stop and table[codes[end]] & ALPHA else index
    if code == 0x2013 or code == 126:
        return index + 1 if right & ALPHA else index
    return index


@jit
def _join(codes: Any, first: int, count: int, keys: Any, values: Any, work: Any, tokens: Any) -> int:
    """Make tokens that together spell a special case that case's tokens; of overlapping ones, the longest, first."""
    found = False
    size = count - first
    seen, spans = work[1], work[2]
    for width in range(min(size, LONGEST_SPECIAL), 1, -1):
        for index in range(size - width + 1):
            start, stop = tokens[first + index, 0], tokens[first + index + width - 1, 1]
            if stop - start > LONGEST_SPECIAL:
                continue
            special = _special(codes, start, stop, keys, values)
            if special == 0:
                continue
            ends = 0
            for token in range(first + index, first + index + width):
                ends |= 1 << (tokens[token, 1] - start - 1)
            if special >> _PLAIN != ends:
                continue
            if not found:
                found = True
                seen[:size] = 0
                spans[:size] = 0
            if not seen[index] and not seen[index + width - 1]:
                spans[index] = width
            seen[index : index + width] = 1
    if not found:
        return count
    old = work[3]
    for index in range(size):
        old[index] = tokens[first + index, 0]
    last = tokens[count - 1, 1]
    count = first
    index = 0
    while index < size:
        start = old[index]
        if spans[index]:
            index += spans[index]
            stop = old[index] if index < size else last
            count = _emit(start, _special(codes, start, stop, keys, values) & _CUT, tokens, count)
        else:
            index += 1
            tokens[count, 0] = start
            tokens[count, 1] = old[index] if index < size else last
            count += 1
    return count


@jit
def _url(codes: Any, start: int, stop: int, table: Any) -> bool:
    """Say whether spaCy takes the whole string for a URL: a host name or address, with what may stand around it."""
    dot = start
    while dot < stop and codes[dot] != 46:
        dot += 1
    if dot == stop:
        return False
    if _host(codes, start, stop, table):
        return True
    scheme = start
    while scheme < stop and (
        table[codes[scheme]] & LETTER
        or _digit(codes[scheme])
        or codes[scheme] == 95
        or codes[scheme] == 43
        or codes[scheme] == 45
        or codes[scheme] == 46
    ):
        scheme += 1
    if (
        scheme - start >= 2
        and scheme + 2 < stop
        and codes[scheme] == 58
        and codes[scheme + 1] == 47
        and codes[scheme + 2] == 47
        and _host(codes, scheme + 3, stop, table)
    ):
        return True
    for index in range(start + 1, stop):  # noqa: SIM110 (numba has no any())
        if codes[index] == 64 and _host(codes, index + 1, stop, table):
            return True
    return False


@jit
def _host(codes: Any, start: int, stop: int, table: Any) -> bool:
    """Say whether a host, and perhaps a port and a path, fill ``codes[start:stop]``."""
    if start < stop and _digit(codes[start]) and _address(codes, start, stop):
        return True
    label = start
    while True:
        end = label
        while end < stop and (table[codes[end]] & HOST or codes[end] == 95 or codes[end] == 45):
            end += 1
        if (
            end == label
            or end >= stop
            or codes[end] != 46
            or end - label > _LABEL
            or not table[codes[label]] & HOST
            or not table[codes[end - 1]] & HOST
        ):
            return False
        label = end + 1
        top = label
        while top < stop and table[codes[top]] & LOWER:
            top += 1
        if 2 <= top - label <= _TOP_LEVEL and _after_host(codes, top, stop):
            return True


@jit
def _address(codes: Any, start: int, stop: int) -> bool:
    """Say the same of a public IPv4 address."""
    first = second = 0
    position = start
    for octet in range(4):
        begin = position
        value = 0
        while position < stop and _digit(codes[position]) and position - begin < 3:
            value = value * 10 + int(codes[position]) - 48
            position += 1
        digits = position - begin
        zero = codes[begin] == 48
        if digits == 0:
            return False
        if octet == 0:
            first = value
            if zero or value > 223:
                return False
        elif octet < 3:
            if octet == 1:
                second = value
            if value > 255 or (digits == 3 and zero):
                return False
        elif zero or value > 254:
            return False
        if octet < 3:
            if position >= stop or codes[position] != 46:
                return False
            position += 1
    private = (
        first == 10
        or first == 127
        or (first == 169 and second == 254)
        or (first == 192 and second == 168)
        or (first == 172 and 16 <= second <= 31)
    )
    return not private and _after_host(codes, position, stop)


@jit
def _after_host(codes: Any, position: int, stop: int) -> bool:
    """Say whether nothing, a port, or a path is left."""
    if position < stop and codes[position] == 58:
        end = position + 1
        while end < stop and _digit(codes[end]):
            end += 1
        if not 2 <= end - position - 1 <= 5:
            return False
        position = end
    return bool(position == stop or codes[position] == 47 or codes[position] == 63 or codes[position] == 35)
