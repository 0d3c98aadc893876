"""The pod of each asset's step on Kubernetes, from the ``pods`` section of the corpus' configuration.

dagster-k8s reads the tag when it starts a step as a Job of its own (see :mod:`resources.executor`); everything else
ignores it. It is plain data here: neither dagster-k8s nor Kubernetes' client is imported.
"""

import math
from typing import Any

from headwater.policies import CorpusPolicy, PodShape

POD_TAG = "dagster-k8s/config"

GPU_POOL = "gpu"
"""Dagster's concurrency pool of steps that take a GPU; its limit is the number of such steps at once, of all corpora."""

SHAPES = {
    "parsed_documents": "parse",
    "quality_documents": "text",
    "deduplicated_documents": "text",
    "anonymized_documents": "text",
    "chunks": "text",
    "embeddings": "embed",
    "index_candidate": "search",
    "retrieval_evaluation": "search",
}
"""Which field of ``PodsPolicy`` says what an asset's pod is like; ``light`` for those that are not here."""

RAY = ("parsed_documents", "quality_documents", "anonymized_documents", "chunks")
"""Assets whose batches a Ray cluster computes; embeddings are another, where ``compute.actors`` has the model."""

THREADS = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Libraries that start a thread per processor of the node, whatever the pod's limit, unless told otherwise."""


def pod_shape(policy: CorpusPolicy, asset: str) -> PodShape:
    """Return what the pod of one asset's step asks for."""
    shape: PodShape = getattr(policy.pods, SHAPES.get(asset, "light"))
    return _elsewhere(policy, shape) if _computed_elsewhere(policy, asset) else shape


def _computed_elsewhere(policy: CorpusPolicy, asset: str) -> bool:
    if asset == "embeddings":
        return policy.embed.url is not None or (policy.compute.engine == "ray" and policy.compute.actors > 0)
    return policy.compute.engine == "ray" and asset in RAY


def _elsewhere(policy: CorpusPolicy, shape: PodShape) -> PodShape:
    """Return the pod of a step that another machine computes for: light, but with all the rows on its disk as before."""
    light = policy.pods.light
    return light.model_copy(update={"scratch": max(shape, light, key=lambda each: each.scratch_bytes).scratch})


def pod_tags(corpus: str, policy: CorpusPolicy, asset: str) -> dict[str, Any]:
    """Return the op tags that carry the pod of one asset's step, in the form that dagster-k8s takes."""
    shape = pod_shape(policy, asset)
    amounts: dict[str, str] = {"cpu": shape.cpu, "memory": shape.memory, "ephemeral-storage": shape.scratch}
    if shape.gpus:
        amounts[shape.gpu_resource] = str(shape.gpus)
    threads = str(max(1, math.ceil(_processors(shape.cpu))))
    pod: dict[str, Any] = {}
    if shape.node_selector:
        pod["node_selector"] = shape.node_selector
    if shape.tolerations:
        pod["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in shape.tolerations]
    config: dict[str, Any] = {
        "container_config": {
            "resources": {"requests": amounts, "limits": amounts},
            "env": [{"name": name, "value": threads} for name in THREADS],
        },
        "pod_template_spec_metadata": {
            # A label's value ends with a letter or a digit; a corpus' name may end with an underscore.
            "labels": {"headwater/corpus": corpus.rstrip("_"), "headwater/asset": asset},
            # A cluster's autoscaler may drain nodes that are little used; a step in full swing should not be moved.
            "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        },
        # Kubernetes must not start a lost pod again: Dagster takes what that pod does for a second run of the step, and
        # waits for ever for the first. The step's own retries make a new Job.
        "job_spec_config": {"backoff_limit": 0, "ttl_seconds_after_finished": 86_400},
    }
    if pod:
        config["pod_spec_config"] = pod
    return {POD_TAG: config}


def _processors(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
