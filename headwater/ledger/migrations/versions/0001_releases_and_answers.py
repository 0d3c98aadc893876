"""Releases with their pointer, and answers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "corpora",
        sa.Column("corpus", sa.String(200), primary_key=True),
        sa.Column("last_release", sa.Integer, nullable=False),
        sa.Column("live", sa.Integer, nullable=True),
    )
    op.create_table(
        "releases",
        sa.Column("corpus", sa.String(200), sa.ForeignKey("corpora.corpus"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("parent", sa.Integer, nullable=True),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("table_versions", sa.JSON, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("checks", sa.JSON, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("corpus", sa.String(200), nullable=False),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("passages", sa.JSON, nullable=False),
        sa.Column("sentences", sa.JSON, nullable=False),
        sa.Column("refused", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_index("answers_by_corpus", "answers", ["corpus", "asked_at"])


def downgrade() -> None:
    """Drop the first tables."""
    op.drop_table("answers")
    op.drop_table("releases")
    op.drop_table("corpora")
