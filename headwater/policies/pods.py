"""The pods of a reindex' steps on Kubernetes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headwater.policies.base import Policy

_CPU = r"^(\d+(\.\d{1,3})?|\d+m)$"
_BYTES = r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti)$"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def _bytes(quantity: str) -> int:
    return int(float(quantity[:-2]) * _UNITS[quantity[-2:]])


class PodToleration(Policy):
    """A taint of nodes that a pod puts up with, as Kubernetes has it."""

    key: str = Field(description="The taint's key.")
    operator: Literal["Exists", "Equal"] = Field(default="Exists", description="Whether the taint's value counts.")
    value: str | None = Field(default=None, description="The taint's value, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default="NoSchedule", description="The taint's effect; null is any."
    )


class PodShape(Policy):
    """What one step's pod asks for. Requests and limits are the same, so that such pods are evicted last."""

    cpu: str = Field(default="1", pattern=_CPU, description="Processors, such as 4, 0.5 or 500m.")
    memory: str = Field(default="2Gi", pattern=_BYTES, description="Memory, such as 512Mi or 8Gi.")
    scratch: str = Field(
        default="40Gi",
        pattern=_BYTES,
        description="Local disk, such as 10Gi: all new rows of a step wait there for their commit. A pod that needs more is evicted, and so is the next.",
    )
    gpus: int = Field(default=0, ge=0, description="Whole GPUs.")
    gpu_resource: str = Field(
        default="nvidia.com/gpu",
        pattern=r"^[a-z0-9.\-]+/[A-Za-z0-9._\-]+$",
        description="What the cluster calls a GPU.",
    )
    node_selector: dict[str, str] = Field(default={}, description="Labels that a node must have.")
    tolerations: list[PodToleration] = Field(default=[], description="Taints of nodes that the pod puts up with.")

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes."""
        return _bytes(self.memory)

    @property
    def scratch_bytes(self) -> int:
        """The local disk in bytes."""
        return _bytes(self.scratch)


class PodsPolicy(Policy):
    """The pods of a reindex' steps, with HEADWATER_EXECUTOR=k8s; see docs/kubernetes.md. Results don't depend on it."""

    light: PodShape = Field(default=PodShape(scratch="4Gi"), description="Steps that list, compare, switch and report.")
    parse: PodShape = Field(
        default=PodShape(cpu="4", memory="12Gi"),
        description="parsed_documents: one parser per processor, each of up to parse.memory_mb.",
    )
    text: PodShape = Field(
        default=PodShape(cpu="4", memory="8Gi"),
        description="quality_documents, deduplicated_documents, anonymized_documents and chunks.",
    )
    embed: PodShape = Field(
        default=PodShape(
            cpu="4",
            memory="8Gi",
            gpus=1,
            node_selector={"nvidia.com/gpu.present": "true"},
            tolerations=[PodToleration(key="nvidia.com/gpu")],
        ),
        description="embeddings: one GPU on a node that has one. Without GPUs: gpus 0, node_selector {}. With embed.url, where another machine computes, it is as light is, but for its disk.",
    )
    search: PodShape = Field(
        default=PodShape(cpu="2", memory="4Gi"),
        description="index_candidate and retrieval_evaluation.",
    )
    retries: int = Field(
        default=2,
        ge=0,
        description="How often a step is started again whose pod was evicted or killed, or that failed for a reason that may pass.",
    )
    retry_seconds: int = Field(
        default=65,
        ge=0,
        description="Pause before that. A killed pod can't give back the right to write the corpus, which runs out after 60 s.",
    )
