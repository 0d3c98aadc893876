"""What finds names of people, places and organisations: the bundled model, or one that the policy names.

A finder runs before Presidio and beside it: models bring their own batching and parallelism, and Presidio gets what
they found as the findings of one more recogniser. Nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from headwater.policies import PrivacyPolicy
from headwater.privacy.entities import MODELLED, NAMES, chosen_entities
from headwater.privacy.pipeline import find_pipeline, find_transformer
from headwater.types import PiiSpan

Find = Callable[[Sequence[str], float], list[list[PiiSpan]]]
"""Takes texts and the lowest score wanted; gives the names of each text, in order and apart."""


@dataclass(frozen=True, slots=True)
class Finder:
    """``label`` is for people and part of fingerprints; ``in_process`` says that worker processes gain nothing."""

    label: str
    in_process: bool
    load: Callable[[], Find]


def wanted_names(policy: PrivacyPolicy) -> frozenset[str]:
    """Return the names that the policy looks for."""
    if not (policy.enabled and policy.names):
        return frozenset()
    chosen = chosen_entities(policy.entities, policy.countries, policy.own_entities)
    return MODELLED & chosen if NAMES & chosen else frozenset()


def finder_of(policy: PrivacyPolicy) -> Finder | None:
    """Return what finds names for the policy, or None: patterns only.

    Cheap: nothing is imported or loaded. Raises ``ConfigError`` when a model that the policy names is not installed.
    """
    if not wanted_names(policy):
        return None
    if policy.spacy_model is not None:
        pipeline = find_pipeline(policy.spacy_model)
        return Finder(pipeline.label, False, lambda: _spacy(pipeline.name, pipeline.label))
    if policy.transformers_model is not None:
        model = find_transformer(policy.transformers_model)
        return Finder(model.label, True, lambda: _transformer(model.name, model.label))
    from headwater.privacy import names
    from headwater.privacy.names.weights import WEIGHTS

    if policy.language != "en" or not WEIGHTS.is_file():
        return None
    return Finder(f"bundled {names.fingerprint()[:12]}", True, lambda: names.find_names)


def find_names(texts: Sequence[str], policy: PrivacyPolicy) -> list[list[PiiSpan]]:
    """Return the names in each text that the policy looks for, in order of position and without overlaps.

    Loads the model at the first call. Raises ``ConfigError`` when it can't be loaded.
    """
    finder, wanted = finder_of(policy), wanted_names(policy)
    if finder is None or not texts:
        return [[] for _ in texts]
    found = finder.load()(texts, policy.names_min_score)
    return [[span for span in spans if span.entity in wanted] for spans in found]


@lru_cache(maxsize=2)
def _spacy(name: str, label: str) -> Find:
    from headwater.privacy.spacy_names import load

    return load(name)


@lru_cache(maxsize=2)
def _transformer(folder: str, label: str) -> Find:
    from headwater.privacy.transformers_names import load

    return load(folder)
