"""Every exception the library raises on purpose.

Each message says what was wrong, where (file, key, line) and what to do. A :class:`RowError` costs one
row: the stage driver quarantines the row under ``code`` and goes on. Everything else stops the run.
"""

from __future__ import annotations


class HeadwaterError(Exception):
    """Base of all errors raised by Headwater."""


class ConfigError(HeadwaterError):
    """Configuration that can't be used: names the file, the line and the field."""


class LedgerError(HeadwaterError):
    """The ledger's database can't be reached, is none, or failed; says none of the values that it was about."""


class LakeError(HeadwaterError):
    """A stage table is missing, unreadable or was changed by another writer."""


class LeaseError(LakeError):
    """Another writer holds the corpus, or took it over: nothing more may be written."""


class SourceError(HeadwaterError):
    """The bucket could not be listed or read. Nothing was removed because of it."""


class ReleaseError(HeadwaterError):
    """A release of the index could not be staged, sealed, opened or searched."""


class StaleReleaseError(ReleaseError):
    """A searcher's release was changed in place or built anew; it has to be opened again."""


class FilterError(ReleaseError):
    """A filter of a search that can't be understood. The message says where, and what would be right."""


class GateError(HeadwaterError):
    """A candidate failed a blocking check; the live release was left as it was."""


class EmbeddingError(HeadwaterError):
    """An embedding model or endpoint gave no usable vectors. ``code`` is a stable, lower-case reason."""

    def __init__(self, message: str, code: str = "embedding_failed") -> None:
        super().__init__(message)
        self.code = code


class GenerationError(HeadwaterError):
    """A language model wrote no usable answer. ``code`` is a stable, lower-case reason; the message holds no text."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class NotFoundError(HeadwaterError):
    """A corpus, release, document or object that does not exist (or that the caller may not see)."""


class BackupError(HeadwaterError):
    """A backup that can't be made, or one that is incomplete, damaged, or of a newer version."""


class RowError(HeadwaterError):
    """One row can't be processed. ``code`` is a stable, lower-case reason; the message never holds document text."""

    code = "failed"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ParseError(RowError):
    """The bytes can't be parsed. Base of everything :func:`headwater.parse` raises."""

    code = "parse_failed"


class UnsupportedFormat(ParseError):
    """No parser for this content type."""

    code = "unsupported_format"


class CorruptDocument(ParseError):
    """The bytes are not a valid file of their type."""

    code = "corrupt"


class EncryptedDocument(ParseError):
    """The document needs a password that was not configured."""

    code = "encrypted"


class EmptyDocument(ParseError):
    """There are no bytes, or no text in them."""

    code = "empty"


class ParseLimitExceeded(ParseError):
    """Parsing broke a limit of the policy: size, memory, time or pages."""

    code = "limit_exceeded"
