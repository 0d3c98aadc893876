"""How the steps of a run are executed: one decision, made by the environment."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import dagster as dg

from headwater.errors import ConfigError, GateError, NotFoundError
from headwater.policies import CorpusPolicy
from resources.pods import GPU_POOL, pod_shape

VARIABLE = "HEADWATER_EXECUTOR"
"""Environment variable: ``in_process`` (the default), ``multiprocess`` or ``k8s``."""

IN_PROCESS, MULTIPROCESS, K8S = "in_process", "multiprocess", "k8s"

LASTING = (ConfigError, NotFoundError, GateError)
"""Errors that a second try would only repeat."""


def chosen() -> str:
    """Return the name of the executor that the environment asks for; ConfigError for one that doesn't exist."""
    name = os.environ.get(VARIABLE) or IN_PROCESS
    if name not in (IN_PROCESS, MULTIPROCESS, K8S):
        raise ConfigError(f"{VARIABLE} is {name!r}; it can be {IN_PROCESS} (the default), {MULTIPROCESS} or {K8S}.")
    return name


def executor() -> dg.ExecutorDefinition:
    """Return the code location's executor.

    In process: a step is a function call that brings its own parallelism; a process per step costs seconds each (see
    docs/kubernetes.md). With ``k8s`` every step is a Kubernetes Job with a pod as its asset needs it, and the instance
    must have Dagster's K8sRunLauncher.

    Raises ConfigError for an unknown choice, and for ``k8s`` without dagster-k8s.
    """
    name = chosen()
    if name == MULTIPROCESS:
        return dg.multiprocess_executor.configured({"max_concurrent": 1})
    if name == IN_PROCESS:
        return dg.in_process_executor
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise ConfigError(f'{VARIABLE} is {K8S}, but dagster-k8s is missing: pip install "headwater[k8s]"') from error
    executor: dg.ExecutorDefinition = k8s_job_executor
    return executor


def pool(corpus: str, policy: CorpusPolicy, asset: str) -> str:
    """Return the concurrency pool of an asset's step: the GPUs' where its pod takes one, else the corpus'."""
    return GPU_POOL if chosen() == K8S and pod_shape(policy, asset).gpus else f"corpus_{corpus}"


def retries(policy: CorpusPolicy) -> dg.RetryPolicy | None:
    """Return how often a step whose pod was lost is started again; None where steps have no pods of their own.

    A pod that is evicted, killed for its memory or lost with its node fails its Job, and dagster-k8s hands that to the
    step's retry policy (checked in tests/test_kubernetes_runs.py).
    """
    if chosen() != K8S or not policy.pods.retries:
        return None
    return dg.RetryPolicy(max_retries=policy.pods.retries, delay=policy.pods.retry_seconds)


def failing_for_good(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function``, whose errors that a second try would repeat fail the step at once."""

    @wraps(function)
    def tried(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except LASTING as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    return tried
