"""Dense vectors: sentence-transformers loads and runs the model, we schedule the batches.

Texts are sorted by token length and packed so that rows times longest row stays within a token budget: little
padding, even memory, and on a CPU about one and a half times the speed of fixed batches of 32.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headwater.embedding.model import load_tokenizer, locate_model, model_fingerprint
from headwater.errors import ConfigError, HeadwaterError

if TYPE_CHECKING:
    import torch

CPU_TOKENS_PER_BATCH = 2048
"""Measured fastest on four cores (MiniLM, 20 to 256 tokens): 79 chunks/s, 62 with 8192, 51 with fixed batches of 32."""

GPU_TOKENS_PER_BATCH = 32_768
"""Enough rows to fill a GPU at any length; not measured."""

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # the names sentence-transformers' encode_document tries
_TOKENIZE_ROWS = 1024  # bounds the memory of the token counts
_UNIT_TOLERANCE = 1e-3


class Embedder:
    """A loaded embedding model. Safe to use from several threads.

    ``fingerprint`` identifies the model's files, ``dimensions`` is the vector width, ``max_tokens`` the longest
    input that the model sees (longer texts are truncated by it). ``tokens_per_batch`` is the budget of one forward
    pass, padding included; None leaves it to the device. The forward pass runs in bfloat16 where GPU or CPU
    has it (float16 on older GPUs), else in float32. Raises ConfigError for an unknown model or a missing device.
    """

    def __init__(self, model: str | None = None, *, device: str = "auto", tokens_per_batch: int | None = None) -> None:
        # Read by OpenMP when torch is first imported. Idle threads that spin fight for the cores with every process
        # beside this one: with one of four cores taken, 50 queries took 5.5 s instead of 1.0 s.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        folder = locate_model(model)
        self.fingerprint = model_fingerprint(model)
        self.device = _resolve_device(device)
        self._model = SentenceTransformer(str(folder), device=self.device, local_files_only=True)
        self._model.eval()
        self._tokenizer = load_tokenizer(model)
        self._preprocess_lock = threading.Lock()  # a fast tokenizer can't be reconfigured while another thread uses it
        self.tokens_per_batch = tokens_per_batch or (
            CPU_TOKENS_PER_BATCH if self.device == "cpu" else GPU_TOKENS_PER_BATCH
        )
        self.dimensions = len(self._model.encode("", show_progress_bar=False))
        self.max_tokens = int(self._model.max_seq_length or 512)

    def encode_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the document prompt is applied."""
        prompts = self._model.prompts
        name = next((name for name in _DOCUMENT_PROMPTS if name in prompts), None)
        return self._encode(texts, name, "document")

    def encode_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the query prompt is applied."""
        return self._encode(texts, "query" if "query" in self._model.prompts else None, "query")

    def _encode(self, texts: Sequence[str], prompt_name: str | None, task: str) -> npt.NDArray[np.float32]:
        import torch

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        prompt = self._model._resolve_prompt(None, prompt_name)
        lengths = self._token_lengths(texts, prompt or "")
        with torch.inference_mode(), self._precision():
            for rows in _batches(lengths, self.tokens_per_batch):
                with self._preprocess_lock:
                    features = self._model.preprocess([texts[row] for row in rows], prompt=prompt, task=task)
                features = {
                    name: value.to(self.device) if isinstance(value, torch.Tensor) else value
                    for name, value in features.items()
                }
                output: torch.Tensor = self._model(features, task=task)["sentence_embedding"]
                vectors[rows] = torch.nn.functional.normalize(output.float(), p=2, dim=1).cpu().numpy()
        _check(vectors, self.device)
        return vectors

    def _token_lengths(self, texts: Sequence[str], prompt: str) -> npt.NDArray[np.int64]:
        lengths = np.empty(len(texts), dtype=np.int64)
        for start in range(0, len(texts), _TOKENIZE_ROWS):
            part = [prompt + text for text in texts[start : start + _TOKENIZE_ROWS]]
            lengths[start : start + len(part)] = [len(encoded) for encoded in self._tokenizer.encode_batch_fast(part)]
        return np.minimum(lengths, self.max_tokens)

    def _precision(self) -> Any:
        import torch

        if self.device == "cuda":
            return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
        if self.device == "cpu" and _cpu_has_bfloat16():
            return torch.autocast("cpu", torch.bfloat16)
        return nullcontext()


def _cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware: about three times as fast, cosine to float32 above .9999."""
    import torch

    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _batches(lengths: npt.NDArray[np.int64], budget: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield row numbers, longest first: rows times the longest stays within ``budget``, one row at least."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def _resolve_device(device: str) -> str:
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(device, False):
        here = ", ".join(name for name, usable in available.items() if usable)
        raise ConfigError(
            f"embedding device {device!r} is not available here; set embed.device to auto or one of: {here}"
        )
    return device


def _check(vectors: npt.NDArray[np.float32], device: str) -> None:
    wrong = int((~(np.abs(np.linalg.norm(vectors, axis=1) - 1.0) < _UNIT_TOLERANCE)).sum())
    if wrong:
        raise HeadwaterError(
            f"the embedding model gave {wrong} of {len(vectors)} vectors that are not finite and of unit length on "
            f"{device}; set embed.device to cpu, or choose another model (embed.model)"
        )
