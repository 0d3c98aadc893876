"""What a receipt's reason code means in plain words, and what its reader can do about it."""

from __future__ import annotations

_REPORT = "Report this to the people who run this system."

_COMMON: dict[str, tuple[str, str]] = {
    "ok": ("The document can be searched.", ""),
    "not_processed": ("A reindex has not finished with this file yet.", "Wait for the next reindex to finish."),
    "requeued": (
        "The file was asked to be processed again, and a reindex has not finished with it yet.",
        "Wait for the next reindex to finish.",
    ),
    "failed": ("The file made a processing step fail.", _REPORT),
    "no_output": ("The file made a processing step fail.", _REPORT),
    "timeout": ("The file took longer to process than is allowed.", "Split it, or save it anew in a simpler format."),
    "out_of_memory": ("The file needs more memory than is allowed.", "Split it, or save it anew in a simpler format."),
    "block_pattern_timeout": ("A pattern of this corpus' block list takes too long on this file.", _REPORT),
    "worker_crashed": ("The file made the parser crash.", "Save it anew with another program, and upload it again."),
}


def explain(code: str) -> tuple[str, str]:
    """Return what a reason code means in plain words, and what to do about it."""
    from headwater import chunking, dedup, embedding, injection, privacy, quality, source
    from headwater.parsing import reasons as parsing

    for reasons in (
        _COMMON,
        source.REASONS,
        parsing.REASONS,
        quality.REASONS,
        injection.REASONS,
        dedup.REASONS,
        privacy.REASONS,
        chunking.REASONS,
        embedding.REASONS,
    ):
        if code in reasons:
            return reasons[code]
    return (f"Processing stopped with the code {code}.", _REPORT)


def explain_copy(code: str, stop: str, error: str | None) -> tuple[str, str]:
    """Return the same as :func:`explain` for a copy whose survivor ended with the code ``stop`` and ``error`` itself."""
    same = "exactly the same text as" if code == "exact_duplicate" else "nearly the same text as"
    why = " ".join(sentence(part) for part in (explain(stop)[0], error) if part)
    return (
        f"This document has {same} another one, which was kept in its place but can't be searched either: {why}",
        "Mend what keeps the other one out, or remove it: the next reindex then decides again which of them is kept.",
    )


def sentence(text: str) -> str:
    """Return ``text`` with a capital first letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
