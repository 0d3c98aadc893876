"""Where a corpus' documents are, when changes are looked for, and who may read what."""

from __future__ import annotations

from pydantic import Field

from headwater.policies.base import Policy


class SourcePolicy(Policy):
    """Where the documents are and which of them belong to the corpus."""

    uri: str = Field(
        min_length=1,
        description="Folder path or bucket URI: ./documents, file:///data, s3://bucket/prefix, gs://, az://.",
    )
    include: list[str] = Field(default=["**"], description="Glob patterns of keys to take; ** crosses folders.")
    exclude: list[str] = Field(
        default=["**/.git/**", "**/.headwater/**", "**/.DS_Store", "**/*.acl.json"],
        description="Glob patterns of keys to leave out; wins over include.",
    )
    max_removed_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A listing that lost more than this share of the known objects stops the run before anything is removed.",
    )
    write_receipts: bool = Field(
        default=False,
        description="Write what became of every object beside the documents, under .headwater/receipts/; needs write access.",
    )


class WatchPolicy(Policy):
    """The sensor that looks for changes in the bucket and asks for a reindex."""

    enabled: bool = Field(default=True, description="Whether the sensor runs once Dagster has loaded the corpus.")
    interval_seconds: int = Field(default=5, ge=1, description="Pause between two looks at the bucket.")
    budget_seconds: float = Field(
        default=20.0,
        gt=0,
        le=40,
        description="Time one look may take; a larger bucket is listed over several looks. Dagster gives a sensor a minute.",
    )
    quiet_seconds: float = Field(
        default=1.0, ge=0, description="A bulk upload is waited out: nothing may have been written for this long."
    )
    max_wait_seconds: float = Field(
        default=60.0, ge=0, description="... but a bucket that never rests is reindexed after this long."
    )
    queue: str | None = Field(
        default=None,
        description="URL of an SQS queue that gets the bucket's event notifications: a faster trigger than listing.",
    )


class AccessRule(Policy):
    """Who may read the keys under a prefix; the longest matching prefix decides.

    Of several rules for one prefix those groups count that all of them name. Accents match however they are composed.
    """

    prefix: str = Field(description="Key prefix, such as hr/; the empty prefix matches all.")
    groups: list[str] = Field(description="Groups that may read; * is everyone; an empty list is nobody.")
