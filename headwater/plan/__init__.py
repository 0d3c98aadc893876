"""What a reindex would do, before it is done: rows by stage, hours, bytes and money.

The bucket is really listed and compared; nothing is written, no lease is taken and no model is loaded. Rows that follow
from fingerprints, parameters and stored verdicts are exact. What hangs on texts that nobody has read yet (is a new
document worth keeping, a duplicate, how many chunks does it give) is estimated from the corpus' own ratios.
"""

from headwater.plan.planning import Plan, StagePlan, plan_reindex

__all__ = ["Plan", "StagePlan", "plan_reindex"]
