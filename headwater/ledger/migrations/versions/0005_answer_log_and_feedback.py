"""More of every answer: how it was written, what was left out, what it cost; and what people said of it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ADDED = ("searched", "prompt", "model", "fallback", "dropped", "prompt_tokens", "completion_tokens", "cost", "timings")
MORE = ("conversation", "turn", "cached")


def upgrade() -> None:
    """Add the columns, for answers that exist as if nothing was known of them; add the table of feedback."""
    op.add_column("answers", sa.Column("searched", sa.Text, nullable=False, server_default=""))
    op.add_column("answers", sa.Column("prompt", sa.String(200), nullable=True))
    op.add_column("answers", sa.Column("model", sa.Text, nullable=True))
    op.add_column("answers", sa.Column("fallback", sa.Text, nullable=True))
    op.add_column("answers", sa.Column("dropped", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("answers", sa.Column("prompt_tokens", sa.BigInteger, nullable=True))
    op.add_column("answers", sa.Column("completion_tokens", sa.BigInteger, nullable=True))
    op.add_column("answers", sa.Column("cost", sa.Float, nullable=True))
    op.add_column("answers", sa.Column("timings", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("answers", sa.Column("conversation", sa.String(200), nullable=True))
    op.add_column("answers", sa.Column("turn", sa.Integer, nullable=False, server_default="0"))
    op.add_column("answers", sa.Column("cached", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("answer_id", sa.String(64), sa.ForeignKey("answers.id", ondelete="CASCADE"), nullable=False),
        sa.Column("corpus", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("slot", sa.String(64), nullable=False),
        sa.Column("sentence", sa.Integer, nullable=True),
        sa.Column("citation", sa.Integer, nullable=True),
        sa.Column("text", sa.Text, nullable=True),
        sa.Column("given_by", sa.String(300), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reviewed_by", sa.String(300), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text, nullable=True),
    )
    op.create_index("feedback_by_corpus", "feedback", ["corpus", "given_at"])
    op.create_index("feedback_once", "feedback", ["answer_id", "given_by", "slot"], unique=True)


def downgrade() -> None:
    """Drop what was added."""
    op.drop_table("feedback")
    for column in (*ADDED, *MORE):
        op.drop_column("answers", column)
