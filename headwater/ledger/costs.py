"""What the stages of past runs cost."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from headwater.costs import StageCost
from headwater.ledger.base import LedgerPart
from headwater.ledger.engine import write
from headwater.ledger.schema import stage_costs

KEPT = timedelta(days=400)
"""How long costs are kept: a year can be compared with the one before."""

_FIELDS = tuple(field.name for field in fields(StageCost))


class Costs(LedgerPart):
    """The cost ledger of all corpora."""

    def record_costs(self, costs: Collection[StageCost]) -> None:
        """Store what stages cost, all of it or nothing; what is older than :data:`KEPT` goes."""
        if not costs:
            return
        rows = [{name: getattr(cost, name) for name in _FIELDS} for cost in costs]
        old = datetime.now(UTC) - KEPT
        with write(self._engine) as connection:
            for corpus in {cost.corpus for cost in costs}:
                connection.execute(stage_costs.delete().where(stage_costs.c.corpus == corpus, stage_costs.c.at < old))
            connection.execute(stage_costs.insert(), rows)

    def costs(self, corpus: str, *, runs: int | None = None, run: str | None = None) -> list[StageCost]:
        """Return the costs of a corpus' newest ``runs`` runs, or of one, newest run first, stages in their order."""
        table = stage_costs
        began = sa.func.min(table.c.at).label("began")
        # The id settles a tie: two runs can't begin at once, but a clock can stand still.
        newest = sa.select(table.c.run, began, sa.func.max(table.c.id).label("last")).where(table.c.corpus == corpus)
        if run is not None:
            newest = newest.where(table.c.run == run)
        chosen = newest.group_by(table.c.run).order_by(sa.desc("began"), sa.desc("last")).limit(runs).subquery()
        columns = [table.c[name] for name in _FIELDS]
        query = (
            sa.select(*columns)
            .join(chosen, table.c.run == chosen.c.run)
            .where(table.c.corpus == corpus)
            .order_by(chosen.c.began.desc(), chosen.c.last.desc(), table.c.id)
        )
        with self._engine.connect() as connection:
            return [StageCost(**row) for row in connection.execute(query).mappings()]
