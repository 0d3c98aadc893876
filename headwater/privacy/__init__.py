"""Personal data: found by Presidio's recognisers, replaced before anything is chunked.

In: texts. Out: one list of spans per text (:func:`find_pii`), or the texts with those spans replaced
(:func:`anonymize`). Patterns with checksums need no model; names and places are found only where a trained spaCy
pipeline is installed (:func:`nlp_pipeline` says which one is in use). Nothing is ever downloaded.

Values never leave this package: errors and logs hold entity names and counts, and a replacement does not keep what
it replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from headwater.edits import Edit, apply_edits
from headwater.errors import RowError
from headwater.policies import PrivacyPolicy
from headwater.privacy.pieces import MODEL_PIECE, PATTERN_PIECE, Piece, split
from headwater.privacy.pipeline import find_pipeline
from headwater.privacy.spans import drop_cut_links, drop_identifiers, mask_placeholders, resolve
from headwater.types import AnonymizedText, PiiSpan, Replacement

CODE_VERSION = "1"

REASONS: dict[str, tuple[str, str]] = {
    "privacy_failed": (
        "The search for personal data failed on this document, so it was kept out of the index.",
        "See the error for what failed. Change the document, or report the error with the Presidio and spaCy versions.",
    ),
}

_SURROGATES = re.compile("[\ud800-\udfff]")

__all__ = ["CODE_VERSION", "REASONS", "anonymize", "find_pii", "leak_scan", "nlp_pipeline"]


def nlp_pipeline(policy: PrivacyPolicy) -> str:
    """Return what finds names and places, such as ``en_core_web_lg 3.8.0``, or ``none: patterns only``.

    Cheap: nothing is imported or loaded. Raises ``ConfigError`` when ``policy.spacy_model`` is not installed.
    """
    pipeline = find_pipeline(policy.language, policy.spacy_model)
    return pipeline.label if pipeline else "none: patterns only"


def find_pii(texts: Sequence[str], policy: PrivacyPolicy = PrivacyPolicy()) -> list[list[PiiSpan]]:
    """Return the personal data of each text, in order of position and without overlaps.

    Where findings overlap, the higher score wins, then the longer span; what a loser covered beyond the winner stays
    a finding of its own, so no character that any recogniser pointed at is lost.

    Long texts are analysed in pieces that overlap, so no entity shorter than ``pieces.MARGIN`` is cut.

    Raises ``ConfigError`` for an entity, language or spaCy pipeline that is not available, ``RowError``
    (``privacy_failed``) when a recogniser fails; its message holds no text.
    """
    from headwater.privacy.engine import load_engine, nothing_in

    engine = load_engine(policy.language, policy.spacy_model)
    entities = engine.choose(policy.entities)
    found: list[list[PiiSpan]] = [[] for _ in texts]
    if not entities:
        return found
    may_skip = engine.may_skip(entities)
    # Lone surrogates are not text to spaCy; a replacement character keeps all offsets.
    readable = [_SURROGATES.sub("\ufffd", text) for text in texts]
    work: list[tuple[int, Piece]] = []
    for row, text in enumerate(readable):
        for piece in split(text, MODEL_PIECE if engine.has_model else PATTERN_PIECE):
            if not (may_skip and nothing_in(text, piece.core_start, piece.end)):
                work.append((row, piece))
    try:
        results = engine.analyze([readable[row][piece.start : piece.end] for row, piece in work], entities, policy)
        for (row, piece), spans in zip(work, results, strict=True):
            for span in spans:
                start = span.start + piece.start
                if piece.core_start <= start < piece.core_end:
                    found[row].append(PiiSpan(start, span.end + piece.start, span.entity, span.score))
    except Exception as error:
        # Presidio and spaCy quote the text in their messages, so neither message nor traceback may go on.
        message = f"The personal data search failed with {type(error).__name__}; the text was not changed or stored."
        raise RowError(message, code="privacy_failed") from None
    if policy.keep_identifiers:
        found = [drop_identifiers(text, spans) for text, spans in zip(readable, found, strict=True)]
    return [resolve(text, spans) for text, spans in zip(readable, found, strict=True)]


def anonymize(texts: Sequence[str], policy: PrivacyPolicy = PrivacyPolicy()) -> list[AnonymizedText]:
    """Return each text with its personal data replaced by Presidio's ``replace`` or ``mask`` operator.

    ``replacements`` are spans of the original; applying them as edits to the original gives ``text``. With
    ``policy.enabled`` False the texts come back as they are. Raises what :func:`find_pii` raises.
    """
    if not policy.enabled:
        return [AnonymizedText(text, ()) for text in texts]
    from headwater.privacy.engine import operate

    result = []
    for text, spans in zip(texts, find_pii(texts, policy), strict=True):
        edits = [
            Edit(span.start, span.end, operate(policy.action, text[span.start : span.end], span.entity))
            for span in spans
        ]
        replacements = tuple(
            Replacement(edit.start, edit.end, edit.replacement, span.entity)
            for edit, span in zip(edits, spans, strict=True)
        )
        result.append(AnonymizedText(apply_edits(text, edits), replacements))
    return result


def leak_scan(texts: Sequence[str], policy: PrivacyPolicy = PrivacyPolicy()) -> list[list[PiiSpan]]:
    """Return the personal data left in chunks of anonymised texts: :func:`find_pii` blind to placeholders.

    A chunk may begin inside a link that was too long for one, so its first word counts as a link if it looks like one.
    """
    found = find_pii([mask_placeholders(text) for text in texts], policy)
    if policy.keep_identifiers:
        found = [drop_cut_links(text, spans) for text, spans in zip(texts, found, strict=True)]
    return found
