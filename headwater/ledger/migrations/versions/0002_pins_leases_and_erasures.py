"""Pins, generations, release settings, leases, and erasures."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and tables; releases that exist have permissions as of the objects they were built from."""
    op.add_column("corpora", sa.Column("generation", sa.Integer, nullable=False, server_default="0"))
    op.add_column("corpora", sa.Column("pinned", sa.Integer, nullable=True))
    op.add_column("corpora", sa.Column("pin_reason", sa.Text, nullable=True))
    op.add_column("corpora", sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("corpora", sa.Column("applied_listing", sa.Text, nullable=True))
    op.add_column("releases", sa.Column("settings", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("releases", sa.Column("readers_version", sa.Integer, nullable=True))
    op.add_column("releases", sa.Column("redacted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "leases",
        sa.Column("corpus", sa.String(200), primary_key=True),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("holder", sa.Text, nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("corpus", sa.String(200), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("doc_id", sa.String(64), nullable=False),
        sa.Column("revision", sa.Text, nullable=True),
        sa.Column("etag", sa.Text, nullable=True),
        sa.Column("size", sa.BigInteger, nullable=True),
        sa.Column("last_modified", sa.DateTime(timezone=True), nullable=True),
        sa.Column("receipt", sa.JSON, nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("erasures_by_corpus", "erasures", ["corpus", "key"])
    _set_readers_versions()


def _set_readers_versions() -> None:
    releases = sa.table(
        "releases",
        sa.column("corpus", sa.String),
        sa.column("number", sa.Integer),
        sa.column("table_versions", sa.JSON),
        sa.column("readers_version", sa.Integer),
    )
    connection = op.get_bind()
    rows = connection.execute(sa.select(releases.c.corpus, releases.c.number, releases.c.table_versions)).all()
    for corpus, number, versions in rows:
        connection.execute(
            releases.update()
            .where(releases.c.corpus == corpus, releases.c.number == number)
            .values(readers_version=versions.get("source_objects"))
        )


def downgrade() -> None:
    """Drop what was added."""
    op.drop_table("erasures")
    op.drop_table("leases")
    for column in ("redacted", "readers_version", "settings"):
        op.drop_column("releases", column)
    for column in ("applied_listing", "pinned_at", "pin_reason", "pinned", "generation"):
        op.drop_column("corpora", column)
