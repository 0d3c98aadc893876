"""Listing an S3 bucket that holds keys which obstore has no form for: ``a//b``, ``../x``, control characters.

Such a key gives an entry with a problem, instead of ending the listing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from headwater import aws
from headwater.errors import ConfigError, SourceError
from headwater.source.folder import RENAME
from headwater.source.listed import Listed

_NO_PATH = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|[\x00-\x1f\x7f]")
"""Keys that obstore refuses: an empty part or one of dots, control characters."""


def list_s3(uri: str, after: str | None) -> Iterator[Listed]:
    """Yield all objects below ``uri`` whose key is greater than ``after``, in order of key, as obstore would.

    Raises SourceError when the listing fails or boto3 is not installed.
    """
    parts = urlsplit(uri)
    prefix = unquote(parts.path).strip("/")
    prefix = f"{prefix}/" if prefix else ""
    try:
        pages = aws.client("s3", f"A key in {uri} can't be read here. To pass over it, Headwater").get_paginator(
            "list_objects_v2"
        )
        start = {"StartAfter": prefix + after} if after is not None else {}
        for page in pages.paginate(Bucket=parts.netloc, Prefix=prefix, **start):
            for entry in page.get("Contents", ()):
                # Like obstore, which takes the last slash of a folder's marker away.
                key = entry["Key"].removeprefix(prefix).removesuffix("/")
                problem = RENAME if key and _NO_PATH.search(key) else None
                yield Listed(key, entry["Size"], entry.get("ETag", ""), entry["LastModified"], problem=problem)
    except ConfigError as error:
        raise SourceError(f"{error} Or rename the key.") from error
    except Exception as error:
        raise SourceError(
            f"The source {uri} could not be listed, so nothing was changed "
            f"({type(error).__name__}). {aws.explain(error) or ''}".rstrip()
        ) from error
