"""What the stages of each run cost."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "stage_costs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("corpus", sa.String(200), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("machine", sa.String(200), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("cpu_seconds", sa.Float, nullable=False),
        sa.Column("gpu_seconds", sa.Float, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("read_bytes", sa.BigInteger, nullable=False),
        sa.Column("written_bytes", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("recomputed", sa.BigInteger, nullable=False),
        sa.Column("removed", sa.BigInteger, nullable=False),
        sa.Column("money", sa.Float, nullable=True),
        sa.Column("currency", sa.String(8), nullable=True),
    )
    op.create_index("stage_costs_by_corpus", "stage_costs", ["corpus", "at"])


def downgrade() -> None:
    """Drop what was added."""
    op.drop_table("stage_costs")
