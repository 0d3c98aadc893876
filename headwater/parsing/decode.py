"""Bytes to text, whatever they are encoded in."""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

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
_VALID_PER_BAD = 10
_ENOUGH_TO_GUESS = 20  # bytes outside ASCII; with fewer the guess among single-byte encodings is a coin toss
# Not texts in a charset of their own: transforms of bytes or of names, some of which take quadratic time.
_NO_CHARSETS = (
    *("base64", "hex", "zlib", "bz2", "uu", "quopri", "rot"),
    *("idna", "punycode", "unicode", "raw", "undefined", "mbcs", "oem"),
)
_LARGER = {
    **dict.fromkeys(("iso8859-1", "ascii"), "cp1252"),
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
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
    return not _is_utf8_so_far(sample)


class Decoded(NamedTuple):
    """A text, the name of the encoding it was read as, and how many bytes could not be read as that."""

    text: str
    encoding: str
    unread: int = 0


def decode(data: bytes, label: str | None = None) -> Decoded:
    """Return the bytes as text; ``label`` is the charset that is stated for them elsewhere (a mail's).

    In order: a byte-order mark, UTF-16 or UTF-32 by the place of its zero bytes, UTF-8 (valid, or with few bytes that are
    not, see :func:`_damaged_utf8`), a declared charset (HTML, XML), charset-normalizer's guess where there is enough
    to go by, and at last Windows-1252 (the HTML standard's default).
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return (
                _utf8(data[len(mark) :])
                if name == "utf-8"
                else Decoded(data[len(mark) :].decode(name, "replace"), name)
            )
    if wide := _wide_encoding(data[:8192]):
        return Decoded(data.decode(wide, "replace"), wide)
    if label is None and (declared := _DECLARED.search(data[:2048])):
        label = declared[1].decode("ascii")
    charset = codec_of(label)
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        if damaged := _damaged_utf8(data, declared=charset == "utf-8"):
            return damaged
    if charset is not None and not charset.startswith("utf"):
        return Decoded(data.decode(charset, "replace"), charset)
    from charset_normalizer import from_bytes

    if sum(byte > 127 for byte in data[:_SAMPLE]) >= _ENOUGH_TO_GUESS and (best := from_bytes(data[:_SAMPLE]).best()):
        charset = codec_of(best.encoding) or "cp1252"
        return Decoded(data.decode(charset, "replace"), charset)
    return Decoded(data.decode("cp1252", "replace"), "cp1252")


def codec_of(label: str | None) -> str | None:
    """Return the codec for a declared charset, None for one that is unknown or no charset.

    As browsers do (Encoding Standard, 4.2), some labels stand for the larger set that programs write under them:
    ``iso-8859-1`` and ``us-ascii`` for Windows-1252, with its euro sign and its quotes.
    """
    try:
        name = codecs.lookup(label or "").name
    except (LookupError, ValueError):
        return None
    return None if name.startswith(_NO_CHARSETS) else _LARGER.get(name, name)


def unread_note(count: int) -> str:
    """Return the note on a document some of whose bytes could not be read."""
    return f"{count} {'byte is' if count == 1 else 'bytes are'} no valid UTF-8 and could not be read"


def _utf8(data: bytes) -> Decoded:
    text = data.decode("utf-8", "replace")
    # Each replaced sequence became the three bytes of U+FFFD.
    replaced = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    return Decoded(text, "utf-8", len(data) - len(text.encode()) + 3 * replaced)


def _damaged_utf8(data: bytes, declared: bool) -> Decoded | None:
    """Return UTF-8 that a cut or a bad byte made invalid, None for what is more likely another encoding.

    Other encodings have next to no sequences that are valid UTF-8; so ten of them for each bad one are proof, one is
    enough where all that is wrong is that the text ends within a character, and as many as bad ones where UTF-8 is declared.
    """
    decoded = _utf8(data)
    bad = decoded.text.count("\ufffd")
    valid = len(decoded.text) - len(decoded.text.encode("ascii", "ignore")) - bad
    if valid >= _VALID_PER_BAD * bad or (declared and valid >= bad) or (valid and _is_utf8_so_far(data)):
        return decoded
    return None


def _is_utf8_so_far(data: bytes) -> bool:
    """Whether it is UTF-8 that may end inside a character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


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
