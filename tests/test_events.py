"""Event notifications of a bucket: which messages are understood, and what becomes of them in the queue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from headwater.errors import SourceError
from headwater.events import Change, drain, parse
from headwater.policies import SourcePolicy
from tests.s3 import Aws, aws

__all__ = ["aws"]

WHEN = "2030-01-01T12:00:00.000Z"
MOMENT = datetime(2030, 1, 1, 12, tzinfo=UTC)
POLICY = SourcePolicy(uri="s3://papers/in", exclude=["drafts/**"])


def notification(*keys: str, bucket: str = "papers") -> dict[str, Any]:
    """What S3 sends; keys as it encodes them."""
    return {
        "Records": [
            {
                "eventName": "ObjectCreated:Put",
                "eventTime": WHEN,
                "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 3}},
            }
            for key in keys
        ]
    }


def through_sns(message: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:topic", "Message": json.dumps(message)}


def event_bridge(key: str, kind: str = "Object Created") -> dict[str, Any]:
    detail = {"bucket": {"name": "papers"}, "object": {"key": key, "size": 3}}
    return {"version": "0", "source": "aws.s3", "detail-type": kind, "time": "2030-01-01T12:00:00Z", "detail": detail}


@pytest.mark.parametrize(
    "message",
    [
        notification("in/two+words%C3%BC.txt"),
        through_sns(notification("in/two+words%C3%BC.txt")),
        event_bridge("in/two wordsü.txt"),
        event_bridge("in/two wordsü.txt", "Object Deleted"),
        through_sns(event_bridge("in/two wordsü.txt")),
    ],
    ids=["direct", "sns", "eventbridge", "deleted", "eventbridge through sns"],
)
def test_every_form_of_a_notification_is_understood(message: dict[str, Any]) -> None:
    assert parse(json.dumps(message)) == [Change("papers", "in/two wordsü.txt", MOMENT)]


def test_a_test_message_and_other_kinds_of_events_tell_of_no_change() -> None:
    assert parse(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "papers"})) == []
    assert parse(json.dumps({"source": "aws.s3", "detail-type": "Bucket Made", "detail": {}})) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "[]",
        "3",
        "null",
        '{"Records": 3}',
        '{"Records": [{}]}',
        '{"Records": [{"s3": {"bucket": "x", "object": {}}}]}',
        json.dumps({"Records": [notification("in/a")["Records"][0] | {"eventTime": "soon"}]}),
        json.dumps({"source": "aws.s3", "detail-type": "Object Created", "detail": []}),
        json.dumps({"source": "aws.s3", "detail-type": "Object Created"}),
        json.dumps({"Type": "Notification", "Message": 7}),
        json.dumps(through_sns(through_sns(through_sns(notification("in/a"))))),
        "[" * 100_000,
    ],
    ids=lambda body: body[:40],
)
def test_a_message_of_another_form_is_not_understood(body: str) -> None:
    assert parse(body) is None


def test_a_queue_is_drained_and_only_events_about_the_corpus_count(aws: Aws) -> None:
    queue = aws.queue("changes")
    for number in range(23):
        aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(notification(f"in/{number}.txt")))
    for message in (
        notification("in/drafts/x.txt", "other/x.txt", "inside.txt"),
        notification("in/x.txt", bucket="others"),
        through_sns(event_bridge("in/y.txt")),
        {"hello": "there"},
    ):
        aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(message))
    now = datetime.now(UTC)
    received = drain(queue, POLICY, 30, now)
    assert received.events is not None
    assert (received.events.count, received.events.since, received.events.newest) == (24, now, MOMENT)
    assert (received.ignored, received.unknown) == (4, 1)
    left = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert left["ApproximateNumberOfMessages"] == left["ApproximateNumberOfMessagesNotVisible"] == "0"
    assert drain(queue, POLICY, 30, now).events is None


def test_what_does_not_fit_the_budget_stays_in_the_queue(aws: Aws) -> None:
    queue = aws.queue("changes")
    for number in range(15):
        aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(notification(f"in/{number}.txt")))
    assert drain(queue, POLICY, 0, datetime.now(UTC)).events is None
    received = drain(queue, POLICY, 30, datetime.now(UTC))
    assert received.events is not None and received.events.count == 15


def test_the_sidecar_of_a_document_counts(aws: Aws) -> None:
    queue = aws.queue("changes")
    aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(notification("in/a.txt.acl.json")))
    received = drain(queue, POLICY, 30, datetime.now(UTC))
    assert received.events is not None and received.events.count == 1


def test_a_queue_that_cannot_be_read_is_an_error_in_words(aws: Aws) -> None:
    with pytest.raises(SourceError, match="event queue can't be read"):
        drain(f"{aws.url}/123456789012/nowhere", POLICY, 5, datetime.now(UTC))
