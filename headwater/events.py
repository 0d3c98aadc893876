"""A bucket's event notifications, from an SQS queue.

Events are a faster trigger than listing, nothing more: they say that a key changed, and the next reindex finds out how.
Understood are S3's own notifications, the same through an SNS topic, and EventBridge's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

from headwater import aws
from headwater.errors import SourceError
from headwater.policies import SourcePolicy
from headwater.source import KeyFilter
from headwater.watch import Events, join_events

_BATCH = 10
"""Messages per request: the most that SQS gives."""

_DEPTH = 3
"""An S3 notification inside an SNS envelope inside another one is as deep as it gets."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a queue held: the events about this corpus, how many others, and how many messages were not understood."""

    events: Events | None
    ignored: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Change:
    """One object that was written or removed."""

    bucket: str
    key: str
    when: datetime | None


def drain(queue: str, policy: SourcePolicy, budget: float, now: datetime) -> Received:
    """Take messages from the queue until it is empty or ``budget`` seconds have passed.

    A message is deleted once it is counted here. Raises SourceError when the queue can't be reached, ConfigError when
    boto3 is not installed.
    """
    keep = KeyFilter(policy.include, policy.exclude)
    events: Events | None = None
    ignored = unknown = 0
    deadline = time.monotonic() + budget
    try:
        sqs = aws.client("sqs", "An event queue (watch.queue)")
        while time.monotonic() < deadline:
            messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=0).get(
                "Messages", []
            )
            if not messages:
                break
            for message in messages:
                changes = parse(message.get("Body", ""))
                if changes is None:
                    unknown += 1
                    continue
                mine = [change for change in changes if _belongs(change, policy.uri, keep)]
                ignored += len(changes) - len(mine)
                for change in mine:
                    events = join_events(events, Events(count=1, since=now, newest=change.when or now))
            handles = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
            sqs.delete_message_batch(QueueUrl=queue, Entries=handles)
    except SourceError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("headwater."):
            raise
        raise SourceError(
            f"The event queue can't be read ({type(error).__name__}); the bucket is listed instead."
        ) from error
    return Received(events, ignored, unknown)


def parse(body: str) -> list[Change] | None:
    """Return the changes that a message tells of (none for S3's test message), None when it is not understood."""
    document: Any = body
    for _ in range(_DEPTH):
        if isinstance(document, str):
            try:
                document = json.loads(document)
            except (ValueError, RecursionError):
                return None
        if not isinstance(document, dict):
            return None
        if document.get("Type") == "Notification" and "Message" in document:
            document = document["Message"]
            continue
        break
    if not isinstance(document, dict):
        return None
    if document.get("Event") == "s3:TestEvent":
        return []
    try:
        if document.get("source") == "aws.s3":
            return list(_event_bridge(document))
        return [_record(record) for record in document["Records"]]
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _record(record: Mapping[str, Any]) -> Change:
    s3 = record["s3"]
    # Keys in S3's own notifications are encoded as in a form; EventBridge's are plain.
    return Change(str(s3["bucket"]["name"]), unquote_plus(s3["object"]["key"]), _time(record.get("eventTime")))


def _event_bridge(document: Mapping[str, Any]) -> Iterator[Change]:
    if not str(document.get("detail-type", "")).startswith("Object "):
        return
    detail = document["detail"]
    yield Change(str(detail["bucket"]["name"]), str(detail["object"]["key"]), _time(document.get("time")))


def _time(text: str | None) -> datetime | None:
    when = datetime.fromisoformat(text) if text else None
    return when.replace(tzinfo=UTC) if when is not None and when.tzinfo is None else when


def _belongs(change: Change, uri: str, keep: KeyFilter) -> bool:
    parts = urlsplit(uri)
    prefix = unquote(parts.path).strip("/")
    prefix = f"{prefix}/" if prefix else ""
    return (
        change.bucket == parts.netloc
        and change.key.startswith(prefix)
        and keep.lists(change.key.removeprefix(prefix).removesuffix("/"))
    )
