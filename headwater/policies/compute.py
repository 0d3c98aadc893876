"""Where batches of rows are computed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from headwater.policies.base import Policy


class ComputePolicy(Policy):
    """Where batches of rows are computed: on this machine or on a Ray cluster, see docs/ray.md. Results don't depend on it."""

    engine: Literal["local", "ray"] = Field(
        default="local",
        description="local: processes on the machine of the run; ray: tasks and actors on a Ray cluster.",
    )
    address: str | None = Field(
        default=None,
        pattern=r"^(auto|(ray://)?[^@/?#\s]+:\d{1,5})$",
        description="The cluster: ray://HOST:10001 (from outside), HOST:6379 or auto (on a machine of the cluster); default: RAY_ADDRESS, else a Ray on this machine.",
    )
    cpus_per_task: float = Field(default=1.0, gt=0, description="Processors that one batch of documents reserves.")
    memory_per_task_mb: int | None = Field(
        default=None,
        gt=0,
        description="Memory that one batch reserves, in MiB, so that no node gets more batches than it can hold; default: none.",
    )
    in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Batches that are out at a time, running or waiting; default: twice what the cluster can run.",
    )
    in_flight_mb: int = Field(
        default=512, ge=1, description="Size of the batches that are out at a time, in MiB; one larger batch may be."
    )
    retries: int = Field(
        default=3, ge=0, description="How often a batch is sent again after its node or worker was lost."
    )
    wait_seconds: float = Field(
        default=600.0,
        gt=0,
        description="How long to wait for a node that can take a batch at all (an autoscaler may be starting one) before the run stops.",
    )
    actors: int = Field(
        default=1,
        ge=0,
        description="Copies of the embedding model on the cluster; 0 embeds in the process of the run. With embed.url the endpoint is asked by the run.",
    )
    cpus_per_actor: float = Field(default=1.0, gt=0, description="Processors that one of them reserves and uses.")
    gpus_per_actor: float = Field(
        default=0.0, ge=0, description="GPUs that one of them reserves: 1, or a share such as 0.5; 0 embeds on CPUs."
    )

    @field_validator("cpus_per_task", "cpus_per_actor", "gpus_per_actor")
    @classmethod
    def _ray_takes_shares_of_one_only(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("must be a whole number, or less than 1")
        return value
