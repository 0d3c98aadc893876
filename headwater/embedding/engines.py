"""Which engine a policy names, and what identifies its model across runs and releases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from headwater.apart import works_apart
from headwater.embedding.apart import EmbedderApart
from headwater.embedding.contract import EmbeddingModel
from headwater.embedding.embedder import Embedder
from headwater.embedding.endpoint import SAME_MODEL_COSINE, EndpointEmbedder
from headwater.embedding.model import Prompts, model_fingerprint, model_prompts
from headwater.policies import EmbedPolicy


def open_embedder(policy: EmbedPolicy) -> EmbeddingModel:
    """Return the engine of ``policy``, one per process for all policies that mean the same.

    Raises ConfigError for an unknown model, a missing device, or an endpoint that does not serve the model,
    EmbeddingError for one that can't be reached.
    """
    if policy.url is None:
        return _local(policy.model, policy.device, policy.tokens_per_batch, prompts_of(policy))
    return _remote(
        policy.url,
        policy.model or "",
        policy.document_prompt,
        policy.query_prompt,
        policy.texts_per_request,
        policy.requests,
        policy.timeout_seconds,
    )


@lru_cache(maxsize=4)
def _local(model: str | None, device: str, tokens_per_batch: int | None, prompts: Prompts) -> Embedder | EmbedderApart:
    kind = EmbedderApart if works_apart() else Embedder
    return kind(model, device=device, tokens_per_batch=tokens_per_batch, prompts=prompts)


@lru_cache(maxsize=4)
def _remote(
    url: str, model: str, document_prompt: str, query_prompt: str, texts: int, requests: int, timeout: float
) -> EndpointEmbedder:
    return EndpointEmbedder(
        url,
        model,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
        texts_per_request=texts,
        requests=requests,
        timeout=timeout,
    )


def tokenizer_source(policy: EmbedPolicy) -> str | None:
    """Return the model whose tokenizer counts for ``policy``, as :func:`load_tokenizer` takes it."""
    return policy.tokenizer or policy.model


def prompts_of(policy: EmbedPolicy) -> Prompts:
    """Return what is put before documents and queries: what ``policy`` says, or else what a local model's files do."""
    own = model_prompts(policy.model) if policy.url is None else Prompts()
    return Prompts(policy.document_prompt or own.document, policy.query_prompt or own.query)


def fingerprint_of(policy: EmbedPolicy, known: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return the fingerprint of the model that ``policy`` names.

    Of a model in this process it is that of its files, and nothing is loaded. Of an endpoint it is the one of
    the settings in ``known`` (those of releases, newest first) whose canary is the one that the endpoint gives
    now; a new one when another model answers.
    """
    if policy.url is None:
        return model_fingerprint(policy.model, prompts_of(policy))
    here = open_embedder(policy)
    return next((settings["model"] for settings in known if is_same_model(here, settings)), here.fingerprint)


def settings_of(policy: EmbedPolicy, fingerprint: str) -> dict[str, Any]:
    """Return what a release keeps of its model: enough to find it again, and to notice that it is another."""
    settings: dict[str, Any] = {"embed": policy.model_dump(mode="json"), "model": fingerprint}
    if policy.url is not None:
        here = open_embedder(policy)
        assert isinstance(here, EndpointEmbedder)
        settings |= {"identity": here.identity, "canary": [round(float(value), 6) for value in here.canary]}
    return settings


def is_same_model(embedder: EmbeddingModel, settings: Mapping[str, Any]) -> bool:
    """Return whether an engine is the model of a release, by the release's settings."""
    if isinstance(embedder, EndpointEmbedder):
        canary = settings.get("canary")
        if settings.get("identity") != embedder.identity or canary is None or len(canary) != embedder.dimensions:
            return False
        return float(np.dot(embedder.canary, np.array(canary, dtype=np.float32))) >= SAME_MODEL_COSINE
    return settings.get("model") in (None, embedder.fingerprint)


def embedder_of_release(settings: Mapping[str, Any], here: EmbedPolicy) -> EmbeddingModel:
    """Return the engine that a release's ``settings`` name, on the device (or at the address) of today's policy."""
    made = EmbedPolicy.model_validate(settings["embed"]) if settings.get("embed") else here
    update: dict[str, Any] = {"device": here.device, "tokens_per_batch": here.tokens_per_batch}
    if made.url is not None and here.url is not None and here.model == made.model:
        update["url"] = here.url  # the same model at another address
    return open_embedder(made.model_copy(update=update))
