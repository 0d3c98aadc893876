"""Bytes to elements.

:func:`parse` works in a process of its own under the policy's limits, :func:`parse_in_process` and
:func:`parse_batch` in the caller's (a pool's worker). None of them touches the network.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import warnings
from pathlib import PurePosixPath
from typing import Any

from headwater.errors import (
    ConfigError,
    EmptyDocument,
    ParseError,
    ParseLimitExceeded,
    UnsupportedFormat,
)
from headwater.parsing.sentences import install_pipeline, pipeline_name
from headwater.policies import ParsePolicy
from headwater.pool import WorkerFailure, WorkerPool
from headwater.types import ParsedDocument

DEFAULT_POLICY = ParsePolicy()
CODE_VERSION = "3"
"""Part of the stage's fingerprint; raise it when the same bytes would parse to something else."""


def sentence_pipeline(policy: ParsePolicy = DEFAULT_POLICY) -> str:
    """Return which pipeline tells prose from headings under ``policy``: a spaCy package, or ``rules``."""
    return pipeline_name(policy.sentence_model)


def prepare_worker(policy: ParsePolicy = DEFAULT_POLICY) -> None:
    """Import every parser and set the sentence pipeline: what a worker process does before its memory limit is set.

    For processes that do nothing but parse: it silences warnings, logs and the error output, hides torch, and takes
    away the right to write files.

    Raises:
        ConfigError: ``policy.sentence_model`` is not installed.
    """
    if sentence_pipeline(policy) == "rules" and "torch" not in sys.modules:
        # spaCy comes with unstructured and takes torch along when it finds it: a second and 200 MiB for nothing.
        sys.modules["torch"] = None  # type: ignore[assignment]
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # parsers warn about, and sometimes quote, what they read
    install_pipeline(policy.sentence_model)
    import charset_normalizer  # noqa: F401
    import lxml.html  # noqa: F401
    import markdown_it  # noqa: F401
    import olefile  # type: ignore[import-untyped]  # noqa: F401
    import openpyxl  # type: ignore[import-untyped]  # noqa: F401
    import pypdfium2  # noqa: F401
    import trafilatura  # noqa: F401
    import unstructured.partition.text  # noqa: F401
    import xlrd  # type: ignore[import-untyped]  # noqa: F401

    from headwater.parsing import formats  # noqa: F401
    from headwater.parsing.confine import confine_process

    confine_process()


def parse_in_process(data: bytes, name: str, policy: ParsePolicy = DEFAULT_POLICY) -> ParsedDocument:
    """Parse like :func:`parse`, without a process of its own: time and memory are the caller's to limit.

    Raises:
        ParseError: or one of its subclasses, for anything that is wrong with the document.
        ConfigError: ``policy.sentence_model`` is not installed.
    """
    try:
        return _parse(data, name, policy)
    except (ParseError, ConfigError):
        raise
    except RecursionError as error:
        raise ParseLimitExceeded("the document is nested too deeply", "nested_too_deeply") from error
    except MemoryError as error:
        raise ParseLimitExceeded("parsing took more memory than parse.memory_mb allows", "out_of_memory") from error
    except Exception as error:
        # What libraries raise on broken input has no common base; their messages may quote the document.
        raise ParseError(f"the parser failed ({type(error).__name__}); the file may be damaged") from error


def parse_confined(data: bytes, name: str, policy: ParsePolicy = DEFAULT_POLICY) -> ParsedDocument:
    """Parse like :func:`parse_in_process`, without network, writing and other programs; for the workers of a pool.

    A document that uses up ``policy.cpu_seconds`` ends the process.

    Raises:
        ParseError: or one of its subclasses; with the code ``forbidden`` for a document that asked for any of these.
        ConfigError: ``policy.sentence_model`` is not installed.
    """
    from headwater.parsing.confine import one_document

    install_pipeline(policy.sentence_model)
    with one_document(policy):
        return parse_in_process(data, name, policy)
    raise AssertionError  # one_document raises what it swallows


def parse_batch(
    rows: list[tuple[bytes, str]], policy: ParsePolicy = DEFAULT_POLICY
) -> list[ParsedDocument | ParseError]:
    """Parse rows of (bytes, name); an error takes its row's place. For the workers of a pool."""
    results: list[ParsedDocument | ParseError] = []
    for data, name in rows:
        try:
            results.append(parse_confined(data, name, policy))
        except ParseError as error:
            results.append(error.with_traceback(None))
    return results


def failure_error(failure: WorkerFailure, policy: ParsePolicy = DEFAULT_POLICY) -> ParseError:
    """Return the error of a document whose worker failed: the limit it broke, or the crash."""
    if failure.kind == "timeout":
        return ParseLimitExceeded(
            f"parsing took longer than parse.timeout_seconds ({policy.timeout_seconds:g}) or parse.cpu_seconds"
            f" ({policy.cpu_seconds:g}) allows",
            "timeout",
        )
    if failure.kind == "memory":
        return ParseLimitExceeded("parsing took more memory than parse.memory_mb allows", "out_of_memory")
    if failure.kind == "crashed":
        return ParseError(f"the parser crashed: {failure.message}", "parser_crashed")
    return ParseError(f"the parser failed: {failure.message}")


def parse(data: bytes, name: str, policy: ParsePolicy = DEFAULT_POLICY) -> ParsedDocument:
    """Return the text, elements and metadata of a document.

    ``name`` is the file's name or key; its extension is a hint, the bytes decide. Runs in a worker process under
    the policy's limits, started at the first call and kept for the next ones; calls from several threads take turns.

    Raises:
        UnsupportedFormat: no parser for the content type (the message names it).
        CorruptDocument: the bytes are not a valid file of their type.
        EncryptedDocument: a password is needed.
        EmptyDocument: no bytes or no text.
        ParseLimitExceeded: a limit of the policy was broken.
        ParseError: the base of them all; itself when a parser failed or crashed.
    """
    _check_size(data, policy)
    with _lock:
        [(_, outcome)] = _pool(policy).map([[(data, name)]], policy.timeout_seconds)
    if isinstance(outcome, WorkerFailure):
        raise failure_error(outcome, policy)
    result = outcome[0]
    if isinstance(result, ParseError):
        raise result
    assert isinstance(result, ParsedDocument)
    return result


_lock = threading.Lock()
_kept: tuple[int, ParsePolicy, WorkerPool] | None = None


def _pool(policy: ParsePolicy) -> WorkerPool:
    global _kept
    if _kept is not None and _kept[:2] == (os.getpid(), policy):
        return _kept[2]
    close()
    pool = WorkerPool(
        "headwater.parsing:parse_batch",
        policy,
        workers=1,
        memory_mb=policy.memory_mb,
        prepare="headwater.parsing:prepare_worker",
    )
    _kept = (os.getpid(), policy, pool)
    return pool


def close() -> None:
    """End the process that :func:`parse` keeps; the next call starts another."""
    global _kept
    if _kept is not None and _kept[0] == os.getpid():  # after a fork it is the parent's
        _kept[2].close()
    _kept = None


atexit.register(close)


def _check_size(data: bytes, policy: ParsePolicy) -> None:
    if not data:
        raise EmptyDocument("the file holds no bytes")
    if len(data) > policy.max_bytes:
        raise ParseLimitExceeded(
            f"{len(data)} bytes are more than parse.max_bytes allows ({policy.max_bytes})", "too_large"
        )


def _parse(data: bytes, name: str, policy: ParsePolicy) -> ParsedDocument:
    from headwater.parsing.blocks import build, title_of
    from headwater.parsing.detect import detect
    from headwater.parsing.formats import reader_of
    from headwater.parsing.limits import too_many_pages
    from headwater.parsing.unlock import unlocked

    _check_size(data, policy)
    opened = unlocked(data, policy)
    _check_size(opened, policy)
    found = detect(opened, name)
    reader = reader_of(found.content_type, policy)
    if reader is None:
        raise UnsupportedFormat(f"no parser for {found.content_type}")
    install_pipeline(policy.sentence_model)
    blocks, stated = reader(opened, found.text or "", policy)
    notes = list(dict.fromkeys([*found.notes, *stated.get("notes", [])]))
    if opened is not data:
        notes.append("the file was encrypted")
    metadata: dict[str, Any] = {
        "title": title_of(stated.get("title"), blocks) or PurePosixPath(name).stem or None,
        "content_type": found.content_type,
        "pages": None,
        "parser": f"headwater {CODE_VERSION}",
        **{key: value for key, value in stated.items() if key not in ("title", "notes")},
        "notes": notes,
    }
    document = build(blocks, metadata)
    if not document.elements:
        raise EmptyDocument(f"the file ({found.content_type}) holds no text")
    last_page = max((element.page or 0 for element in document.elements), default=0)
    if last_page > policy.max_pages:
        raise too_many_pages(last_page, policy)
    if document.metadata["pages"] is None and last_page:
        document = ParsedDocument(document.text, document.elements, {**document.metadata, "pages": last_page})
    return document
