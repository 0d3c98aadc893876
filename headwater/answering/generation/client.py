"""Chat completions from any server that speaks OpenAI's protocol, streamed.

``POST <url>/chat/completions`` with ``stream: true``. A server that is busy, away or failing is asked again with growing
pauses, as long as it has written nothing; one that keeps failing is left alone for a while.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from headwater import tracing
from headwater.answering.generation.breaker import Breaker
from headwater.answering.generation.loop import submit
from headwater.answering.generation.sse import data_of
from headwater.errors import GenerationError
from headwater.policies import LlmPolicy

if TYPE_CHECKING:
    import httpx

Message = Mapping[str, str]

_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Answers of HTTP that another attempt may change; 529 is an overloaded proxy."""

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 10.0

_SIDE_SECONDS = 5.0
"""What counting tokens may take: it saves a refusal, and is not worth waiting for."""

_BYTES = 1 << 20
_BYTES_PER_TOKEN = 4096
"""An event of one token is 200 to 400 bytes; ten times that is no stream of tokens any more."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a completion ended: ``stop``, ``length`` (cut at max_tokens) or the server's own word, and its tokens."""

    finish: str
    prompt_tokens: int | None
    completion_tokens: int | None
    first_token_seconds: float


class ChatStream:
    """A completion that is being written: iterate over the pieces of its text as they come; then ``ending`` is set.

    Iterating raises GenerationError: ``unavailable`` (the breaker is open), ``unreachable``, ``busy``, ``failed``,
    ``refused`` (the request or its key), ``timeout``, ``cut_off`` or ``malformed``. :meth:`close`, from any thread, ends
    the request: the connection is closed, and a server such as vLLM stops writing.
    """

    def __init__(self, client: ChatClient, body: Mapping[str, Any]) -> None:
        self.ending: Ending | None = None
        self._client, self._body = client, body
        self._pieces: queue.SimpleQueue[str | Ending | GenerationError] = queue.SimpleQueue()
        self._future = submit(self._run())

    def __iter__(self) -> Iterator[str]:
        while True:
            match self._pieces.get():
                case str() as piece:
                    yield piece
                case Ending() as ending:
                    self.ending = ending
                    return
                case GenerationError() as error:
                    raise error

    def finish(self, seconds: float) -> None:
        """Read on for at most ``seconds`` for the sake of ``ending``, the rest of the text left out; then close."""
        until = time.monotonic() + seconds
        try:
            while self.ending is None:
                item = self._pieces.get(timeout=max(0.0, until - time.monotonic()))
                if isinstance(item, GenerationError):
                    break
                self.ending = item if isinstance(item, Ending) else None
        except queue.Empty:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End the request if it is under way."""
        if not self._future.done() and self._future.cancel():
            self._pieces.put(GenerationError("the request was given up", "cancelled"))

    # --- on the loop ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        policy = self._client.policy
        try:
            async with asyncio.timeout(policy.total_seconds):
                self._pieces.put(await self._attempts())
        except GenerationError as error:
            self._pieces.put(error)
        except TimeoutError:
            self._client.breaker.failed()
            self._pieces.put(self._client.error(f"took longer than {policy.total_seconds:g} s", "timeout"))
        except asyncio.CancelledError:
            self._client.breaker.given_up()
            raise
        except Exception as error:  # an error of our own must not leave the reader waiting for ever
            self._client.breaker.failed()
            self._pieces.put(self._client.error(f"could not be used ({type(error).__name__})", "failed"))

    async def _attempts(self) -> Ending:
        for attempt in range(1, self._client.policy.attempts + 1):
            if not self._client.breaker.allow():
                raise self._client.error("kept failing and is left alone for a while", "unavailable")
            try:
                ending = await self._once()
            except _TryAgain as again:
                self._client.breaker.failed()
                if attempt == self._client.policy.attempts:
                    raise again.error from None
                await asyncio.sleep(again.pause or _pause(attempt))
            except GenerationError as error:
                if error.code == "refused":  # the server is well; it is this request that it does not take
                    self._client.breaker.given_up()
                else:
                    self._client.breaker.failed()
                raise
            else:
                self._client.breaker.succeeded()
                return ending
        raise AssertionError("the last attempt returned or raised")

    async def _once(self) -> Ending:
        """Make the request once, and put the pieces of its text as they come."""
        import httpx

        client, policy = self._client, self._client.policy
        began = time.perf_counter()
        first: float | None = None
        try:
            async with (
                asyncio.timeout(policy.first_token_seconds) as limit,
                client.http().stream(
                    "POST", client.path("chat/completions"), json=self._body, headers=tracing.headers()
                ) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise self._of_status(response)
                finish, usage = "", _NO_USAGE
                async for data in data_of(response.aiter_bytes(), _BYTES + _BYTES_PER_TOKEN * policy.max_tokens):
                    piece, reason, tokens = self._read(data)
                    finish, usage = reason or finish, tokens or usage
                    if piece:
                        if first is None:
                            first = time.perf_counter() - began
                            limit.reschedule(None)
                        self._pieces.put(piece)
                if not finish:
                    raise client.error("closed the connection before the answer was complete", "cut_off")
                return Ending(finish, *usage, first or 0.0)
        except TimeoutError:
            if not limit.expired():  # the time of the whole answer, not of the first token
                raise
            raise client.error(f"wrote nothing for {policy.first_token_seconds:g} s", "timeout") from None
        except httpx.ConnectError as error:
            raise _TryAgain(client.error(f"can't be reached ({type(error).__name__})", "unreachable")) from None
        except httpx.ConnectTimeout:
            raise _TryAgain(client.error("did not take a connection in time", "unreachable")) from None
        except httpx.HTTPError as error:
            cut = client.error(f"broke off ({type(error).__name__})", "cut_off")
            raise (cut if first is not None else _TryAgain(cut)) from None

    def _of_status(self, response: httpx.Response) -> Exception:
        """Return the error of an answer other than 200. Its words may quote the prompt: they are not repeated."""
        client, status = self._client, response.status_code
        if status in _AGAIN:
            code: _Code = "busy" if status in (429, 503, 529) else "failed"
            return _TryAgain(client.error(f"answered HTTP {status}", code), _retry_after(response))
        if status in (401, 403):
            return client.error(f"refuses the key (HTTP {status}); set {client.policy.key_env}", "refused")
        if status in (404, 405):
            what = f"does not serve the model {client.policy.model!r} there (HTTP {status})"
            return client.error(f"{what}; correct answer.llm.url or answer.llm.model", "refused")
        return client.error(f"does not take the request (HTTP {status})", "refused")

    def _read(self, data: bytes) -> tuple[str, str, _Usage | None]:
        """Return text, reason of the end and tokens of one event, each empty where it holds none."""
        try:
            event = json.loads(data)
            if event.get("error"):
                raise self._client.error("reported an error while it wrote", "failed")
            piece, reason = "", ""
            for choice in event["choices"][:1]:
                piece = (choice.get("delta") or {}).get("content") or ""
                reason = choice.get("finish_reason") or ""
            counted = event.get("usage")
            usage = (int(counted["prompt_tokens"]), int(counted["completion_tokens"])) if counted else None
            if not isinstance(piece, str) or not isinstance(reason, str):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._client.error(
                f"sent an event that is not OpenAI's ({type(error).__name__}); correct answer.llm.url", "malformed"
            ) from None
        return piece, reason, usage


class ChatClient:
    """The model that a policy names. Safe to use from several threads; connections are kept and shared."""

    def __init__(self, policy: LlmPolicy) -> None:
        self.policy = policy
        self.breaker = _breaker(policy.url, policy.model, policy.breaker_failures, policy.breaker_seconds)
        self._limit: int | None = None
        self._asked_limit = False
        self._counts = True

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, schema: Mapping[str, Any] | None = None
    ) -> ChatStream:
        """Begin a completion of ``messages``; with ``schema`` (JSON Schema) the server writes only what conforms."""
        policy = self.policy
        body: dict[str, Any] = {
            **policy.extra,
            "model": policy.model,
            "messages": list(messages),
            "temperature": policy.temperature,
            "max_tokens": max_tokens or policy.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if policy.seed is not None:
            body["seed"] = policy.seed
        if schema is not None:
            named = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return ChatStream(self, body)

    def limit(self) -> int | None:
        """Return how many tokens the server takes for prompt and answer together, None where it doesn't say.

        vLLM says it in its list of models, as ``max_model_len``. Asked once.
        """
        if not self._asked_limit:
            found = self._side("GET", self.path("models"), None)
            if found is not None:
                models = found.get("data")
                cards = [card for card in models if isinstance(card, dict)] if isinstance(models, list) else []
                longest = next((c.get("max_model_len") for c in cards if c.get("id") == self.policy.model), None)
                self._limit = longest if isinstance(longest, int) and longest > 0 else None
                self._asked_limit = True
        return self._limit

    def count(self, messages: Sequence[Message]) -> int | None:
        """Return the length of the prompt that ``messages`` become, by the server's own tokenizer.

        None where the server has no ``/tokenize`` (it is vLLM's, beside ``/v1``) or does not answer at once.
        """
        if not self._counts:
            return None
        body = {"model": self.policy.model, "messages": list(messages), "add_generation_prompt": True}
        kwargs = self.policy.extra.get("chat_template_kwargs")
        if kwargs is not None:
            body["chat_template_kwargs"] = kwargs
        found = self._side("POST", f"{self.policy.url.rstrip('/').removesuffix('/v1')}/tokenize", body)
        count = found.get("count") if found is not None else None
        if found is not None and not isinstance(count, int):
            self._counts = False
        return count if isinstance(count, int) else None

    def path(self, name: str) -> str:
        """Return the address of one of the interface's paths."""
        return f"{self.policy.url.rstrip('/')}/{name}"

    def http(self) -> httpx.AsyncClient:
        """Return the connections to the server, with the key that the environment holds now. For use on the loop."""
        key = os.environ.get(self.policy.key_env)
        return _http(self.policy.url, self.policy.connect_seconds, key, os.getpid())

    def error(self, what: str, code: _Code) -> GenerationError:
        """Return an error that names the server and ``what`` it did."""
        return GenerationError(f"the language model at {self.policy.url} {what}", code)

    def _side(self, method: str, url: str, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the JSON object of a side request: empty where the server has no such path, None where it failed."""
        import httpx

        if self.breaker.state == "open":
            return None

        async def ask() -> dict[str, Any] | None:
            async with asyncio.timeout(_SIDE_SECONDS):
                response = await self.http().request(method, url, json=body)
            if response.status_code in (404, 405, 501):
                return {}
            if response.status_code != httpx.codes.OK:
                return None
            found = response.json()
            return found if isinstance(found, dict) else {}

        try:
            return submit(ask()).result()
        except (httpx.HTTPError, TimeoutError, ValueError, CancelledError):
            return None


_Code = Literal["unavailable", "unreachable", "busy", "failed", "refused", "timeout", "cut_off", "malformed"]
_Usage = tuple[int | None, int | None]
_NO_USAGE: _Usage = (None, None)


class _TryAgain(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, error: GenerationError, pause: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.pause = error, pause


_clients_lock = threading.Lock()
_clients: dict[str, ChatClient] = {}


def open_client(policy: LlmPolicy) -> ChatClient:
    """Return the client of a policy; one policy has one client in a process."""
    with _clients_lock:
        return _clients.setdefault(policy.model_dump_json(), ChatClient(policy))


@lru_cache(maxsize=256)
def _breaker(url: str, model: str, failures: int, seconds: float) -> Breaker:
    """Return the breaker of an endpoint, which all corpora that use it share."""
    return Breaker(failures, seconds)


@lru_cache(maxsize=64)
def _http(url: str, connect_seconds: float, key: str | None, process: int) -> httpx.AsyncClient:
    """Return the connections to one server; a forked process has its own."""
    import httpx

    return httpx.AsyncClient(
        # Deadlines are kept by the loop: first token and whole answer, not the pause between two reads.
        timeout=httpx.Timeout(None, connect=connect_seconds),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
    )


def _pause(attempt: int) -> float:
    """Exponential back-off with full jitter (Brooker 2015): attempts of many clients spread out."""
    return random.uniform(0.1, 1.0) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**attempt)


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return min(_LONGEST_PAUSE, float(value)) if value.isdecimal() else None
