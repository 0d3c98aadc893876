"""The ledger's tables, as the newest migration leaves them.

A change here needs a migration in ``migrations/versions`` and a new :data:`HEAD`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from headwater.dates import in_utc

HEAD = "0007"
"""The revision of the newest migration; written down so that opening a current ledger needs no Alembic."""


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A timezone-aware UTC time. SQLite has no time zones, so there it is stored naive and read back as UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; convert the others to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("The ledger stores timezone-aware times only; got a naive one.")
        value = in_utc(value)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()

corpora = sa.Table(
    "corpora",
    metadata,
    sa.Column("corpus", sa.String(200), primary_key=True),
    # Only ever grows: the number of a dropped release is never given out again.
    sa.Column("last_release", sa.Integer, nullable=False),
    # The pointer that decides what readers see.
    sa.Column("live", sa.Integer, nullable=True),
    # Counts the times that releases changed in place: whoever holds one open reopens it.
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
    # The release that a rollback went to; while it is set, nothing else goes live by itself.
    sa.Column("pinned", sa.Integer, nullable=True),
    sa.Column("pin_reason", sa.Text, nullable=True),
    sa.Column("pinned_at", UtcDateTime, nullable=True),
    # Digest of the bucket listing that the last finished reindex worked on.
    sa.Column("applied_listing", sa.Text, nullable=True),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("corpus", sa.String(200), sa.ForeignKey("corpora.corpus"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("parent", sa.Integer, nullable=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("published_at", UtcDateTime, nullable=True),
    sa.Column("reason", sa.Text, nullable=True),
    sa.Column("table_versions", sa.JSON, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("checks", sa.JSON, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("readers_version", sa.Integer, nullable=True),
    sa.Column("redacted", sa.Boolean, nullable=False, server_default=sa.false()),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("corpus", sa.String(200), primary_key=True),
    # The fencing token: only ever grows, so a writer that was taken over can be told from its successor.
    sa.Column("token", sa.Integer, nullable=False),
    # None when nobody holds the lease.
    sa.Column("holder", sa.Text, nullable=True),
    sa.Column("expires_at", UtcDateTime, nullable=True),
)

erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("corpus", sa.String(200), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("doc_id", sa.String(64), nullable=False),
    sa.Column("revision", sa.Text, nullable=True),
    # The object as it was listed when it was erased; None where it was not.
    sa.Column("etag", sa.Text, nullable=True),
    sa.Column("size", sa.BigInteger, nullable=True),
    sa.Column("last_modified", UtcDateTime, nullable=True),
    sa.Column("receipt", sa.JSON, nullable=False),
    sa.Column("erased_at", UtcDateTime, nullable=False),
    sa.Column("lifted_at", UtcDateTime, nullable=True),
    sa.Index("erasures_by_corpus", "corpus", "key"),
)

reveals = sa.Table(
    "reveals",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("corpus", sa.String(200), nullable=False),
    sa.Column("revealed_at", UtcDateTime, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    # Number of values by entity; never the values.
    sa.Column("entities", sa.JSON, nullable=False),
    # Ids of the documents that they stand in.
    sa.Column("documents", sa.JSON, nullable=False),
    sa.Index("reveals_by_corpus", "corpus", "revealed_at"),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("corpus", sa.String(200), nullable=False),
    sa.Column("release", sa.Integer, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("passages", sa.JSON, nullable=False),
    sa.Column("sentences", sa.JSON, nullable=False),
    sa.Column("refused", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=True),
    sa.Column("seconds", sa.Float, nullable=False),
    # What was searched for; empty for answers of before this was kept.
    sa.Column("searched", sa.Text, nullable=False, server_default=""),
    sa.Column("prompt", sa.String(200), nullable=True),
    sa.Column("model", sa.Text, nullable=True),
    sa.Column("fallback", sa.Text, nullable=True),
    # Reasons of the sentences that were left out.
    sa.Column("dropped", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=True),
    sa.Column("completion_tokens", sa.BigInteger, nullable=True),
    sa.Column("cost", sa.Float, nullable=True),
    sa.Column("timings", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("conversation", sa.String(200), nullable=True),
    sa.Column("turn", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cached", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("answers_by_corpus", "corpus", "asked_at"),
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    # Feedback goes with its answer, whatever takes that away: retention or an erasure.
    sa.Column("answer_id", sa.String(64), sa.ForeignKey("answers.id", ondelete="CASCADE"), nullable=False),
    sa.Column("corpus", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    # What a caller may say once of an answer: one vote, one correction, one word on each citation.
    sa.Column("slot", sa.String(64), nullable=False),
    sa.Column("sentence", sa.Integer, nullable=True),
    sa.Column("citation", sa.Integer, nullable=True),
    sa.Column("text", sa.Text, nullable=True),
    sa.Column("given_by", sa.String(300), nullable=False),
    sa.Column("given_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reviewed_by", sa.String(300), nullable=True),
    sa.Column("reviewed_at", UtcDateTime, nullable=True),
    sa.Column("note", sa.Text, nullable=True),
    sa.Index("feedback_by_corpus", "corpus", "given_at"),
    sa.Index("feedback_once", "answer_id", "given_by", "slot", unique=True),
)

prompts = sa.Table(
    "prompts",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    # Of the text: the same text is the same version.
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.Column("added_at", UtcDateTime, nullable=False),
    sa.Index("prompts_by_digest", "name", "digest", unique=True),
)

# Rows are only ever added; the newest of a label says what it points to now.
prompt_labels = sa.Table(
    "prompt_labels",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("label", sa.String(100), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # Share of the requests in 0..1; None outside of an A/B test.
    sa.Column("weight", sa.Float, nullable=True),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("prompt_labels_by_name", "name", "id"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    # SHA-256 of the secret, and of the one before it, which works until ``previous_until``.
    sa.Column("secret", sa.String(64), nullable=False),
    sa.Column("previous", sa.String(64), nullable=True),
    sa.Column("previous_until", UtcDateTime, nullable=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
    # None for every corpus.
    sa.Column("corpora", sa.JSON(none_as_null=True), nullable=True),
    sa.Column("limits", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=True),
    sa.Column("revoked_at", UtcDateTime, nullable=True),
    sa.Column("last_used_at", UtcDateTime, nullable=True),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("corpus", sa.String(200), nullable=True),
    sa.Column("release", sa.Integer, nullable=True),
    # Id of what it was done to: a document, an answer, a key; never text.
    sa.Column("target", sa.Text, nullable=True),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("request_id", sa.String(64), nullable=True),
    sa.Index("audit_by_time", "at"),
    sa.Index("audit_by_corpus", "corpus", "at"),
)

stage_costs = sa.Table(
    "stage_costs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("corpus", sa.String(200), nullable=False),
    # All stages of one reindex have the same; in Dagster it is the run's id.
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("stage", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
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
    # By the prices of that time; null where there were none.
    sa.Column("money", sa.Float, nullable=True),
    sa.Column("currency", sa.String(8), nullable=True),
    sa.Index("stage_costs_by_corpus", "corpus", "at"),
)
