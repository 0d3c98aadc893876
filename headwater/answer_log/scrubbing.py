"""Questions without personal data: what may be written down of what people type."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from threading import Lock

from cachetools import LRUCache

from headwater.hashing import digest
from headwater.policies import PrivacyPolicy

REMEMBERED = 4096
"""Texts whose scrubbed form is remembered, by digest: people ask the same again, and a batch has retries."""

_WITHHELD = "[withheld: "
FAILED = _WITHHELD + "it could not be searched for personal data]"
"""Stands for a text whose scrubbing failed, whatever the reason: better no record of it than a raw one."""

REJECTED = _WITHHELD + "it holds {entities}]"
"""Stands for a text with something that the corpus accepts in no document."""


def scrubber(policy: PrivacyPolicy, corpus: str = "") -> Callable[[str], str]:
    """Return the function that takes personal data out of a text before it is stored. It is safe to use from threads.

    What is found and what stands for it is the corpus' privacy policy's affair. A policy that is switched off lets
    personal data of *documents* into the index; what people type is scrubbed all the same. The function never raises:
    when the search for personal data fails, it returns :data:`FAILED`, because the raw text must not be stored. The
    first call of a process loads Presidio and the model of names; further ones take about a millisecond, and none for
    a text that was scrubbed lately.
    """
    return _scrubber(policy.model_copy(update={"enabled": True}).model_dump_json(), corpus)


@lru_cache(maxsize=16)
def _scrubber(dumped: str, corpus: str) -> Callable[[str], str]:
    policy = PrivacyPolicy.model_validate_json(dumped)
    # By digest, so that no raw question is held longer than its answer takes.
    known: LRUCache[str, str] = LRUCache(REMEMBERED)
    lock = Lock()

    def scrub(text: str) -> str:
        name = digest(text)
        with lock:
            found = known.get(name)
        if found is None:
            found = _scrubbed(text, policy, corpus)
            if found != FAILED:  # what failed may work the next time
                with lock:
                    known[name] = found
        return found

    return scrub


def is_withheld(text: str) -> bool:
    """Return whether a stored text stands for one that could not be stored."""
    return text.startswith(_WITHHELD)


def _scrubbed(text: str, policy: PrivacyPolicy, corpus: str) -> str:
    from headwater.privacy import anonymize

    if not text.strip():
        return text
    try:
        (done,) = anonymize([text], policy, corpus=corpus)
    except Exception:
        # Recognisers quote the text in their messages, so not even a log line may say more.
        return FAILED
    return REJECTED.format(entities=", ".join(done.rejected)) if done.rejected else done.text
