"""Where an object's receipt stands beside the bucket: one path per key, inside one folder, whatever the key is."""

from __future__ import annotations

import regex  # type: ignore[import-untyped]

from headwater.hashing import digest

FOLDER = ".headwater/receipts"
SUMMARY = f"{FOLDER}/summary.json"

_ENDING = ".json"
_MAX_SEGMENT = 200
"""Bytes of a path's part, below the 255 that file systems take, with room for the ending and a suffix of a writer."""

_MAX_PATH = 900
"""Bytes of a path, below the 1,024 of an S3 key, with room for the prefix of a bucket's URI."""

_ESCAPED = regex.compile(r"[^\p{L}\p{M}\p{N}_ .,;!@&+()'\-]")


def receipt_path(key: str) -> str:
    """Return the path of the receipt of ``key``, relative to the bucket: ``FOLDER/key.json`` for plain keys.

    Different keys get different paths. A character that is neither a letter, a digit nor common punctuation is
    written as ``=`` and the hexadecimal bytes of its UTF-8 form, as in quoted-printable (RFC 2045); so are the dots of
    ``.``, ``..`` and of a folder named like a receipt. What would be too long ends in a digest.
    """
    *folders, name = key.split("/")
    parts = [*(_segment(part, folder=True) for part in folders), _segment(name, folder=False)]
    if parts == ["summary"]:  # the name of the summary
        parts = ["=73ummary"]
    path = f"{FOLDER}/{'/'.join(parts)}{_ENDING}"
    return path if len(path.encode()) <= _MAX_PATH else f"{FOLDER}/=/{digest(key)}{_ENDING}"


def _segment(part: str, *, folder: bool) -> str:
    if not part:
        return "=="
    escaped = str(_ESCAPED.sub(_escape, part))
    if not escaped.strip("."):
        escaped = escaped.replace(".", "=2E")
    elif folder and escaped.endswith(_ENDING):
        # Otherwise the folder a.json of the key a.json/b would be in the way of the receipt of the key a.
        escaped = f"{escaped[: -len(_ENDING)]}=2Ejson"
    if len(escaped.encode()) <= _MAX_SEGMENT:
        return escaped
    head = escaped.encode()[: _MAX_SEGMENT - 40].decode(errors="ignore")
    return f"{head}=={digest(part)}"


def _escape(match: regex.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
