"""Telling people that something failed: to the log, a webhook, a Slack channel.

Where to is the environment's affair: ``HEADWATER_NOTIFY_WEBHOOK`` (gets the notice as JSON) and
``HEADWATER_NOTIFY_SLACK`` (an incoming webhook). Their addresses are secrets and are never logged.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

_logger = logging.getLogger("headwater.notify")

_SECONDS = 5.0
"""A receiver that takes longer to answer is given up."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What failed, and what to do: nothing of it is document text. ``corpus`` and ``step`` are None when unknown."""

    corpus: str | None
    job: str
    run: str
    step: str | None
    message: str
    advice: str

    def text(self) -> str:
        """Return the notice as a few lines of plain text."""
        where = f" in {self.step}" if self.step else ""
        what = f"{self.job} failed{where}" + (f" (corpus {self.corpus})" if self.corpus else "")
        return f"{what}\n{self.message}\n{self.advice}\nRun {self.run}"


class Channel(Protocol):
    """One receiver of notices."""

    name: str

    def send(self, notice: Notice) -> None:
        """Deliver a notice; raises whatever goes wrong."""
        ...


class Log:
    """Writes notices to the log of this process."""

    name = "log"

    def send(self, notice: Notice) -> None:
        """Log the notice as an error."""
        _logger.error(notice.text())


class Webhook:
    """Posts notices as JSON: ``{"event": "run_failed", "corpus": ..., "job": ..., "run": ..., ...}``."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, notice: Notice) -> None:
        """Post the notice."""
        _post(self._url, {"event": "run_failed", **asdict(notice)})


class Slack:
    """Posts notices to a Slack incoming webhook."""

    name = "Slack"

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, notice: Notice) -> None:
        """Post the notice as plain text, in which Slack's three control characters are escaped."""
        text = notice.text().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        _post(self._url, {"text": text})


class Notifier:
    """Sends every notice to all of its channels."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = tuple(channels)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """Return a notifier to the log and whatever the environment names."""
        channels: list[Channel] = [Log()]
        if url := environment.get("HEADWATER_NOTIFY_WEBHOOK"):
            channels.append(Webhook(url))
        if url := environment.get("HEADWATER_NOTIFY_SLACK"):
            channels.append(Slack(url))
        return cls(channels)

    def notify(self, notice: Notice) -> list[str]:
        """Send the notice; return the names of the channels that could not be reached, which are logged, too."""
        failed = []
        for channel in self.channels:
            try:
                channel.send(notice)
            except Exception as error:
                # The message of a network error may quote the address, which is a secret.
                why = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
                _logger.warning("A notice could not be delivered to the %s channel (%s).", channel.name, why)
                failed.append(channel.name)
        return failed


def _post(url: str, document: Mapping[str, Any]) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an HTTP address")
    body = json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=_SECONDS):
        pass
