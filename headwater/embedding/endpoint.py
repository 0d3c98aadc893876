"""Dense vectors from a server that speaks OpenAI's embeddings protocol: vLLM, Text Embeddings Inference, and others.

``POST <url>/embeddings`` with ``{"model": ..., "input": [...]}``, several requests at once. A server that is busy, away
or failing is asked again with growing pauses; a batch that it refuses is cut until the text at fault stands alone.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headwater.embedding.contract import BAD_VECTOR, REFUSED, TokenIds, Vectors, Work, all_or_error, rates, unusable
from headwater.errors import ConfigError, EmbeddingError
from headwater.hashing import digest

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "EMBEDDINGS_API_KEY"

CANARY = "A canary was taken down the mine to tell the miners of a change that they could not see."
"""Embedded at the start: its vector says which model answers, whatever the server calls it."""

SAME_MODEL_COSINE = 0.999
"""One model gives the canary the same vector but for rounding (bfloat16 against float32: .9999); another a different
one, and a fine-tuned copy of the same mostly less than .99."""

_LOOK_EVERY = 60.0
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
_ATTEMPTS = 7
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
_ENCODING = "endpoint-unit-float32-1"


class EndpointEmbedder:
    """A model behind an OpenAI-compatible endpoint. Safe to use from several threads.

    Args:
        url: base of the interface, such as ``http://vllm:8000/v1``; the key is read from ``EMBEDDINGS_API_KEY``.
        model: the model's name as the server knows it.
        document_prompt: put before every document; ``query_prompt`` before every query.
        texts_per_request: the most texts of one request (Text Embeddings Inference takes 32 by default).
        requests: how many requests are under way at once.
        timeout: seconds that the server may take for one request.

    ``fingerprint`` is made of name, prompts and the canary's vector, not of the URL. Raises ConfigError when the
    server does not know the model or the key, EmbeddingError when it can't be reached.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        document_prompt: str = "",
        query_prompt: str = "",
        texts_per_request: int = 32,
        requests: int = 4,
        timeout: float = 60.0,
    ) -> None:
        import httpx

        key = os.environ.get(KEY_VARIABLE)
        self.url = url.rstrip("/")
        self.model = model
        self._document_prompt, self._query_prompt = document_prompt, query_prompt
        self._rows, self._requests = texts_per_request, requests
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=requests),
        )
        self.dimensions = 0
        self.max_tokens = 2**20  # the server's business: it refuses what is too long
        self._looked = time.monotonic()
        self.canary = self._canary()
        self.dimensions = len(self.canary)
        self.fingerprint = digest(_ENCODING, self.identity, *(f"{value:.2f}" for value in self.canary))

    @property
    def identity(self) -> str:
        """Digest of what the server is asked for: two engines with the same one and a like canary are one model."""
        return digest(_ENCODING, self.model, self._document_prompt, self._query_prompt)

    def encode_documents(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the document prompt is put first.

        ``ids`` are not used: the server tokenises. Raises EmbeddingError when a text has no usable vector.
        """
        return all_or_error(self.try_documents(texts, ids), self.url)

    def encode_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the query prompt is put first."""
        return all_or_error(self._encode([self._query_prompt + text for text in texts]), self.url)

    def try_documents(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> Vectors:
        """Return what :meth:`encode_documents` does, but note the texts that have no usable vector instead of raising."""
        result = self._encode([self._document_prompt + text for text in texts])
        result.work.tokens = sum(map(len, ids)) if ids is not None else 0
        return result

    def describe(self, work: Work) -> dict[str, Any]:
        """Return the endpoint and the rates of ``work``."""
        return {"device": "endpoint", "model": self.model, "requests": self._requests, **rates(work)}

    def _encode(self, texts: Sequence[str]) -> Vectors:
        self._look_again()
        began = time.perf_counter()
        vectors = np.full((len(texts), self.dimensions), np.nan, dtype=np.float32)
        failed: dict[int, str] = {}
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        batches = [order[start : start + self._rows] for start in range(0, len(order), self._rows)]

        def work(rows: Sequence[int]) -> None:
            try:
                vectors[list(rows)] = self._post([texts[row] for row in rows])
            except _Refused:
                if len(rows) == 1:
                    failed[rows[0]] = REFUSED
                    return
                half = len(rows) // 2
                work(rows[:half])
                work(rows[half:])

        if len(batches) == 1:
            work(batches[0])
        elif batches:
            with ThreadPoolExecutor(min(self._requests, len(batches)), "headwater-embed") as pool:
                pending = [pool.submit(work, rows) for rows in batches]
                try:
                    for done in pending:
                        done.result()
                finally:
                    for one in pending:
                        one.cancel()
        failed |= {row: BAD_VECTOR for row in unusable(vectors) if row not in failed}
        seconds = time.perf_counter() - began
        return Vectors(vectors, dict(sorted(failed.items())), Work(rows=len(texts), seconds=seconds))

    def _look_again(self) -> None:
        """Notice, within a minute, that another model answers than at the start."""
        if time.monotonic() - self._looked < _LOOK_EVERY:
            return
        if float(np.dot(self._canary(), self.canary)) < SAME_MODEL_COSINE:
            raise _another_model(self.url)
        self._looked = time.monotonic()

    def _canary(self) -> npt.NDArray[np.float32]:
        try:
            vector: npt.NDArray[np.float32] = self._post([CANARY])[0]
        except _Refused as error:
            raise ConfigError(
                f"the embedding endpoint {self.url} refuses a plain sentence for the model {self.model!r} ({error}); "
                "correct embed.model"
            ) from error
        if unusable(vector[None]):
            raise EmbeddingError(f"the embedding endpoint {self.url} gave a vector without a length", BAD_VECTOR)
        return vector

    def _post(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors in the order of ``texts`` by one request, tried several times."""
        import httpx

        for attempt in range(_ATTEMPTS):
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.75, 1.25)
            try:
                response = self._client.post(
                    f"{self.url}/embeddings",
                    json={"model": self.model, "input": list(texts), "encoding_format": "float"},
                )
            except httpx.TransportError as error:
                why = type(error).__name__
            else:
                if response.status_code == httpx.codes.OK:
                    return self._read(response, len(texts))
                if response.status_code not in _AGAIN:
                    raise self._final(response)
                why = f"HTTP {response.status_code}"
                pause = _retry_after(response) or pause
            if attempt + 1 < _ATTEMPTS:
                time.sleep(pause)
        raise EmbeddingError(
            f"the embedding endpoint {self.url} did not answer in {_ATTEMPTS} attempts ({why}); start it, or correct "
            "embed.url. What was embedded so far is kept",
            "endpoint_unreachable",
        )

    def _read(self, response: httpx.Response, count: int) -> npt.NDArray[np.float32]:
        try:
            rows = sorted(response.json()["data"], key=lambda row: row["index"])
            if [row["index"] for row in rows] != list(range(count)):
                raise ValueError(f"{len(rows)} vectors, not numbered 0 to {count - 1}, for {count} texts")
            vectors = np.array([row["embedding"] for row in rows], dtype=np.float32).reshape(count, -1)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EmbeddingError(
                f"the embedding endpoint {self.url} gave an answer that is not OpenAI's ({type(error).__name__}); "
                "correct embed.url",
                "endpoint_answer",
            ) from error
        if self.dimensions and vectors.shape[1] != self.dimensions:
            raise _another_model(self.url)
        with np.errstate(divide="ignore", invalid="ignore"):
            unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _final(self, response: httpx.Response) -> Exception:
        """Return the error of an answer that asking again won't change; the server's words may quote a text."""
        status = response.status_code
        if status in (401, 403):
            return ConfigError(f"the embedding endpoint {self.url} refuses the key (HTTP {status}); set {KEY_VARIABLE}")
        if status in (404, 405):
            return ConfigError(
                f"the embedding endpoint {self.url} does not serve the model {self.model!r} at /embeddings (HTTP "
                f"{status}); correct embed.url or embed.model"
            )
        return _Refused(f"HTTP {status}")


def _another_model(url: str) -> EmbeddingError:
    return EmbeddingError(
        f"the embedding endpoint {url} answers with another model than before; put the old one back, or start again "
        "and reindex",
        "endpoint_model",
    )


class _Refused(Exception):
    """The server does not take these texts."""


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return min(_LONGEST_PAUSE, float(value)) if value.isdecimal() else None
