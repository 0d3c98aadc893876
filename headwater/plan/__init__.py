"""What a reindex would do, before it is done: rows by stage, hours, bytes and money.

The bucket is really listed and compared; nothing is written and no lease is taken. No model is loaded but
an embedding model that is new to the corpus, which is timed for some seconds. Rows that follow
from fingerprints, parameters and stored verdicts are exact. What hangs on texts that nobody has read yet (is a new
document worth keeping, a duplicate, how many chunks does it give) is estimated from the corpus' own ratios.
"""

from headwater.plan.costing import Plan, StagePlan
from headwater.plan.planning import plan_reindex

__all__ = ["Plan", "StagePlan", "plan_reindex"]
