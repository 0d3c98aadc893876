"""Personal data: found by Presidio's recognisers and a model of names, dealt with before anything is chunked.

In: texts. Out: one list of spans per text (:func:`find_pii`), or the texts as the policy wants them
(:func:`anonymize`). Structured entities are found by patterns and checksums; names of people, places and organisations
by the bundled model, or by the one that the policy names (:func:`nlp_pipeline` says which is in use). Nothing is ever
downloaded.

Values never leave this package: errors and logs hold entity names and counts, and a replacement does not keep what
it replaced. ``encrypt`` writes a token that :func:`reveal` opens for who has the key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from headwater.edits import Edit, apply_edits
from headwater.errors import RowError
from headwater.policies import PrivacyPolicy
from headwater.privacy.actions import TOKEN, Writer, can_reject, key_fingerprint, reveal
from headwater.privacy.allowed import Allowed
from headwater.privacy.cleaned import Cleaned
from headwater.privacy.engine import readable
from headwater.privacy.entities import NAMES, action_for, chosen_entities
from headwater.privacy.finders import find_names, finder_of
from headwater.privacy.spans import drop_cut_links, drop_identifiers, mask_placeholders, resolve
from headwater.types import AnonymizedText, PiiSpan, Replacement

CODE_VERSION = "4"

REASONS: dict[str, tuple[str, str]] = {
    "privacy_failed": (
        "The search for personal data failed on this document, so it was kept out of the index.",
        "See the error for what failed. Change the document, or report the error with the Presidio and spaCy versions.",
    ),
    "personal_data": (
        "The document holds personal data of a kind that this collection does not accept.",
        "Take out what the message names and upload the document again, or ask the people who run this system.",
    ),
}

__all__ = [
    "CODE_VERSION",
    "REASONS",
    "TOKEN",
    "Allowed",
    "Writer",
    "anonymize",
    "can_reject",
    "find_names",
    "find_pii",
    "key_fingerprint",
    "leak_scan",
    "names_left",
    "nlp_pipeline",
    "reveal",
]


def nlp_pipeline(policy: PrivacyPolicy) -> str:
    """Return what finds names, such as ``bundled 3f2a...`` or ``en_core_web_lg 3.8.0``, or ``none: patterns only``.

    Cheap: nothing is imported or loaded. Raises ``ConfigError`` when a model that the policy names is not installed.
    """
    finder = finder_of(policy)
    return finder.label if finder else "none: patterns only"


def find_pii(
    texts: Sequence[str],
    policy: PrivacyPolicy = PrivacyPolicy(),
    *,
    names: Sequence[Sequence[PiiSpan]] | None = None,
) -> list[list[PiiSpan]]:
    """Return the personal data of each text, in order of position and without overlaps, also what the policy keeps.

    Looked for is in the text as cleaning leaves it, so that nothing hides behind what nobody sees. Spans are of the text
    as it was given, with such characters inside them.
    ``names`` are the names of each text where they were found before (:func:`find_names`). Where findings overlap,
    what is kept loses to what is not, then the higher score wins, then the longer span; what a loser covered beyond
    the winner stays a finding of its own, so no character that any recogniser pointed at is lost.

    Long texts are analysed in pieces that overlap, so no entity shorter than ``pieces.MARGIN`` is cut.

    Raises ``ConfigError`` for a language or model that is not available, ``RowError`` (``privacy_failed``) when a
    recogniser fails; its message holds no text.
    """
    cleaned = [Cleaned.of(text) for text in texts]
    return [
        [span for span in text.given(spans) if span.start < span.end]
        for text, spans in zip(cleaned, _find(cleaned, policy, names), strict=True)
    ]


def _find(
    cleaned: Sequence[Cleaned], policy: PrivacyPolicy, names: Sequence[Sequence[PiiSpan]] | None
) -> list[list[PiiSpan]]:
    """Return what :func:`find_pii` does, as spans of the cleaned texts; ``names`` are of those that were given."""
    from headwater.privacy.engine import load_engine

    clean = [text.text for text in cleaned]
    engine = load_engine(policy)
    given: Sequence[Sequence[PiiSpan]] = (
        find_names(clean, policy)
        if names is None
        else [text.inside(spans) for text, spans in zip(cleaned, names, strict=True)]
    )
    try:
        found = [engine.find(text, spans) for text, spans in zip(clean, given, strict=True)]
    except Exception as error:
        # Presidio and spaCy quote the text in their messages, so neither message nor traceback may go on.
        message = f"The personal data search failed with {type(error).__name__}; the text was not changed or stored."
        raise RowError(message, code="privacy_failed") from None
    if policy.keep_identifiers:
        found = [drop_identifiers(text, spans) for text, spans in zip(clean, found, strict=True)]
    kept = _kept(policy)
    return [resolve(text, spans, kept) for text, spans in zip(clean, found, strict=True)]


def _kept(policy: PrivacyPolicy) -> frozenset[str]:
    """Return the entities that the policy leaves in the text."""
    entities = chosen_entities(policy.entities, policy.countries, policy.own_entities)
    chosen = (policy.actions, policy.default_action, policy.profile)
    return frozenset(entity for entity in entities if action_for(entity, *chosen) == "keep")


def anonymize(
    texts: Sequence[str],
    policy: PrivacyPolicy = PrivacyPolicy(),
    *,
    corpus: str = "",
    names: Sequence[Sequence[PiiSpan]] | None = None,
) -> list[AnonymizedText]:
    """Return each text with its personal data dealt with as the policy says.

    ``replacements`` are spans of the original; applying them as edits to the original gives ``text``. ``found`` counts
    the findings by entity, also those that were kept. A text with a finding whose action is ``reject_document`` comes
    back empty, with the entities in ``rejected``. ``corpus`` is whose keys are used. With ``policy.enabled`` False the
    texts come back as they are. Raises what :func:`find_pii` raises, and ``ConfigError`` without a key that is needed.
    """
    if not policy.enabled:
        return [AnonymizedText(text, ()) for text in texts]
    writer = Writer(policy, corpus)
    cleaned = [Cleaned.of(text) for text in texts]
    found = _find(cleaned, policy, names)
    return [_deal_with(*one, writer) for one in zip(texts, cleaned, found, strict=True)]


def _deal_with(text: str, cleaned: Cleaned, spans: Sequence[PiiSpan], writer: Writer) -> AnonymizedText:
    """Deal with findings in a cleaned text: what is written for a value doesn't hang on what was hidden in it."""
    found = dict(sorted(Counter(span.entity for span in spans).items()))
    rejected = tuple(entity for entity in found if writer.action(entity) == "reject_document")
    if rejected:
        return AnonymizedText("", (), found, rejected)
    replacements = tuple(
        Replacement(given.start, given.end, writer.write(cleaned.text[span.start : span.end], span.entity), span.entity)
        for span, given in zip(spans, cleaned.given(spans), strict=True)
        if writer.action(span.entity) != "keep" and given.start < given.end
    )
    edits = [Edit(item.start, item.end, item.text) for item in replacements]
    return AnonymizedText(apply_edits(text, edits), replacements, found)


def leak_scan(texts: Sequence[str], policy: PrivacyPolicy = PrivacyPolicy()) -> list[list[PiiSpan]]:
    """Return the structured personal data left in chunks of anonymised texts, blind to what stands for findings.

    Names are left out: a model reads a chunk otherwise than its document, so what it finds there is no sure leak. So is
    what the policy keeps. A chunk may begin inside a link that was too long for one, so its first word counts as a
    link if it looks like one.
    """
    found = find_pii([mask_placeholders(text) for text in texts], policy, names=[()] * len(texts))
    if policy.keep_identifiers:
        found = [drop_cut_links(text, spans) for text, spans in zip(texts, found, strict=True)]
    kept = _kept(policy) - (NAMES & policy.own_entities)
    return [[span for span in spans if span.entity not in kept] for spans in found]


def names_left(texts: Sequence[str], policy: PrivacyPolicy = PrivacyPolicy()) -> list[int]:
    """Return how many names of people are left in each text, of those that the policy takes out of it.

    What :func:`leak_scan` leaves out. Raises what :func:`find_names` raises.
    """
    if "PERSON" in _kept(policy):
        return [0] * len(texts)
    allowed = Allowed(policy)
    found = find_names([mask_placeholders(readable(text)) for text in texts], policy)
    return [
        sum(span.entity == "PERSON" and text[span.start : span.end] not in allowed for span in spans)
        for text, spans in zip(texts, found, strict=True)
    ]
