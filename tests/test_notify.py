"""Notices of failures: what each channel gets, and that no channel can do harm."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from headwater.notify import Notice, Notifier

NOTICE = Notice(
    corpus="works",
    job="reindex_works",
    run="1234",
    step="works__live_release",
    message="Release 3 failed the gate: <recall> & more.",
    advice="Look at it.",
)


class Receiver:
    """An HTTP server that keeps what it is sent and answers with ``status``."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                receiver.received.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/secret-token"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


def test_without_settings_a_notice_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "headwater.notify"):
        assert Notifier.from_environment({}).notify(NOTICE) == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    for part in ("reindex_works", "works__live_release", "corpus works", "failed the gate", "Look at it.", "1234"):
        assert part in caplog.text


def test_a_webhook_gets_the_notice_as_json(receiver: Receiver) -> None:
    notifier = Notifier.from_environment({"HEADWATER_NOTIFY_WEBHOOK": receiver.url})
    assert notifier.notify(NOTICE) == []
    assert receiver.received == [
        {
            "event": "run_failed",
            "corpus": "works",
            "job": "reindex_works",
            "run": "1234",
            "step": "works__live_release",
            "message": "Release 3 failed the gate: <recall> & more.",
            "advice": "Look at it.",
        }
    ]


def test_slack_gets_text_that_it_cannot_mistake_for_markup(receiver: Receiver) -> None:
    Notifier.from_environment({"HEADWATER_NOTIFY_SLACK": receiver.url}).notify(NOTICE)
    text = receiver.received[0]["text"]
    assert "&lt;recall&gt; &amp; more" in text and "<" not in text


def test_one_channel_that_fails_costs_itself_only_and_its_address_is_not_logged(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/hook/secret-token"
        environment = {"HEADWATER_NOTIFY_WEBHOOK": nobody, "HEADWATER_NOTIFY_SLACK": receiver.url}
        assert Notifier.from_environment(environment).notify(NOTICE) == ["webhook"]
    assert len(receiver.received) == 1
    assert "URLError" in caplog.text and "secret-token" not in caplog.text and nobody not in caplog.text


@pytest.mark.parametrize(("status", "why"), [(404, "HTTP 404"), (500, "HTTP 500")])
def test_a_refused_notice_is_logged(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int, why: str
) -> None:
    receiver.status = status
    assert Notifier.from_environment({"HEADWATER_NOTIFY_SLACK": receiver.url}).notify(NOTICE) == ["Slack"]
    assert why in caplog.text and "secret-token" not in caplog.text


def test_an_address_that_is_no_http_is_refused() -> None:
    assert Notifier.from_environment({"HEADWATER_NOTIFY_WEBHOOK": "file:///etc/hostname"}).notify(NOTICE) == ["webhook"]
