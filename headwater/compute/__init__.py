"""Where batches of rows are computed: one seam, on this machine's processes or on a Ray cluster.

Which of the two decides nothing about a row: results and fingerprints are the same, so a corpus can move from one to the
other at any time and nothing is computed anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.compute.contract import BatchMap, Compute, Embedding
from headwater.compute.local import LocalCompute

if TYPE_CHECKING:
    from headwater.policies import CorpusPolicy

LOCAL: Compute = LocalCompute()
"""This machine."""

__all__ = ["LOCAL", "BatchMap", "Compute", "Embedding", "LocalCompute", "open_compute"]


def open_compute(policy: CorpusPolicy) -> Compute:
    """Return where the stages of a corpus run. A cluster is connected to when there is work for it.

    Raises ConfigError when the policy says ``ray`` and Ray is not installed.
    """
    if policy.compute.engine == "local":
        return LOCAL
    from headwater.compute.on_ray import RayCompute

    return RayCompute(policy)
