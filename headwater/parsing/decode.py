"""Bytes to text, whatever they are encoded in."""

from __future__ import annotations

import codecs
import re
import unicodedata

# UTF-32 first: its little-endian mark starts with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)""", re.IGNORECASE)
_SAMPLE = 64 * 1024
_ENOUGH_TO_GUESS = 20  # bytes outside ASCII; with fewer the guess among single-byte encodings is a coin toss
_CONTROLS = {code: None for code in range(32) if chr(code) not in "\t\n"} | {
    0x7F: None,
    0xFEFF: None,
    0x0B: "\n",
    0x0C: "\n",
}
_CONTROLS |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")  # lone surrogates: no Arrow or UTF-8 writer takes them
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufeff\ud800-\udfff]")
_SPACE_BEFORE_BREAK = re.compile(r"[^\S\n]+$", re.MULTILINE)


def looks_binary(data: bytes) -> bool:
    """Whether the bytes are no text: NULs or control characters in more than a twentieth, or NULs outside UTF-8."""
    sample = data[:8192]
    if not sample or any(sample.startswith(mark) for mark, _ in _MARKS) or _wide_encoding(sample):
        return False
    controls = sum(sample.count(bytes([code])) for code in range(32) if code not in (8, 9, 10, 12, 13, 27))
    if controls > len(sample) / 20:  # compressed data has a tenth, text none
        return True
    if b"\0" not in sample:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # incremental: the sample may end inside a character
    except UnicodeDecodeError:
        return True
    return False


def decode(data: bytes) -> tuple[str, str]:
    """Return the text and the name of the encoding it was read as.

    In order: a byte-order mark, UTF-16 or UTF-32 by the place of its zero bytes, valid UTF-8, a declared charset
    (HTML and XML), charset-normalizer's guess where there is enough to go by, and at last Windows-1252 (the HTML standard's default).
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace"), name
    if wide := _wide_encoding(data[:8192]):
        return data.decode(wide, "replace"), wide
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    if declared := _DECLARED.search(data[:2048]):
        try:
            name = codecs.lookup(declared[1].decode("ascii")).name
            if not name.startswith(("utf", "base64", "hex", "zlib", "bz2", "uu", "quopri", "rot")):
                return data.decode(name, "replace"), name
        except (LookupError, ValueError):
            pass
    from charset_normalizer import from_bytes

    if sum(byte > 127 for byte in data[:_SAMPLE]) >= _ENOUGH_TO_GUESS and (best := from_bytes(data[:_SAMPLE]).best()):
        return data.decode(best.encoding, "replace"), best.encoding
    return data.decode("cp1252", "replace"), "cp1252"


def _wide_encoding(sample: bytes) -> str | None:
    """Name UTF-16 or UTF-32 without a mark: mostly Western text has its zero bytes in fixed places."""
    units = len(sample) // 4
    if units < 2 or b"\0" not in sample:
        return None
    zeros = [sample[offset : units * 4 : 4].count(0) / units for offset in range(4)]
    zero, full = 0.6, 0.1  # shares; other scripts have few zeros and need a mark
    if zeros[0] < full and min(zeros[1:]) > zero:
        return "utf-32-le"
    if zeros[3] < full and min(zeros[:3]) > zero:
        return "utf-32-be"
    if max(zeros[0], zeros[2]) < full and min(zeros[1], zeros[3]) > zero:
        return "utf-16-le"
    if max(zeros[1], zeros[3]) < full and min(zeros[0], zeros[2]) > zero:
        return "utf-16-be"
    return None


def normalise(text: str) -> str:
    """Return the text as stages may rely on it: NFC, ``\\n`` line ends, no control characters, no space at line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if _CONTROL.search(text):  # translating takes six times as long as looking
        text = text.translate(_CONTROLS)
    return _SPACE_BEFORE_BREAK.sub("", text).strip()
