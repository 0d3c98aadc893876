"""Reveals: who opened encrypted personal data, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "reveals",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("corpus", sa.String(200), nullable=False),
        sa.Column("revealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("entities", sa.JSON, nullable=False),
        sa.Column("documents", sa.JSON, nullable=False),
    )
    op.create_index("reveals_by_corpus", "reveals", ["corpus", "revealed_at"])


def downgrade() -> None:
    """Drop what was added."""
    op.drop_table("reveals")
