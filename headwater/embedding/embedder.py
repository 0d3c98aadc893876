"""Dense vectors from a model in this process: sentence-transformers loads and runs it, we schedule the batches.

Texts are sorted by token length and put together so that rows times longest row stays within a token budget: little
padding, even memory. A few queries, which are too short for that, are packed into one row instead. The batches go to
lanes that work side by side: one per core on a CPU, where cores that share one batch wait for each other at every layer;
two per GPU, so that one is prepared while the other is computed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headwater.embedding.contract import (
    BAD_VECTOR,
    OUT_OF_MEMORY,
    TokenIds,
    Vectors,
    Work,
    all_or_error,
    rates,
    unusable,
)
from headwater.embedding.devices import (
    Lane,
    autocast,
    before_torch,
    cpu_threads,
    default_format,
    is_out_of_memory,
    limit_threads,
    make_lanes,
    matmul_peak,
    resolve_devices,
    store_weights,
)
from headwater.embedding.inputs import Inputs
from headwater.embedding.model import Prompts, load_tokenizer, locate_model, model_fingerprint, model_prompts
from headwater.embedding.packing import PACK_TOKENS, Layout, sentence_embeddings

if TYPE_CHECKING:
    import torch

CPU_TOKENS_PER_BATCH = 1024
"""Measured on four cores, one batch per core (MiniLM, 20 to 256 tokens): 512, 1024 and 2048 differ by 3 %."""

GPU_TOKENS_PER_BATCH = 32_768
"""Enough rows to fill a GPU at any length; not measured."""

_PACKED_TEXTS = 64
"""Queries of one call that are packed; more of them fill batches without much padding, of the device's own size."""

_PROBES = (
    "Who checks the valve?",
    "valve",
    " ".join(f"Is valve {number} of pump {number * 7 % 31} checked?" for number in range(PACK_TOKENS // 9)),
)
"""The last is as long as a row: a model that sees part of a text only (a sliding window) would see all of it."""

_SAME = 0.9999
"""Cosine of what both of two ways make of a probe: both are of the same arithmetic, in another order (the bundled model in
bfloat16: .9999998; models of random weights that lost their sliding window .9996 and less)."""

_PEAK_SECONDS = 5.0
"""Less work than this is not held against the device's peak: start-up would count for too much of it."""


class Embedder:
    """A loaded embedding model. Safe to use from several threads.

    ``fingerprint`` identifies the model's files, ``dimensions`` is the vector width, ``max_tokens`` the longest
    input that the model sees (longer texts are truncated). ``device`` is ``auto`` (all GPUs, else the CPU), ``cpu``,
    ``mps``, ``cuda`` (all of them), ``cuda:1``, or several of these, each of which gets a copy of the model.
    ``tokens_per_batch`` is the budget of one forward pass, padding included; None leaves it to the device, and a
    device that runs out of memory halves it. ``number_format`` is that of the forward pass: None takes bfloat16 where
    GPU or CPU has it (float16 on older GPUs), else float32. ``prompts`` are put before documents and queries; None takes
    those that the model's files name. Raises ConfigError for an unknown model or a missing
    device.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        device: str | Sequence[str] = "auto",
        tokens_per_batch: int | None = None,
        number_format: str | None = None,
        prompts: Prompts | None = None,
    ) -> None:
        before_torch()
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        folder = locate_model(model)
        self.fingerprint = model_fingerprint(model, prompts)
        self.devices = resolve_devices(device)
        self.device = self.devices[0]
        self.number_format = number_format or default_format(self.device)
        self._model = SentenceTransformer(str(folder), device=self.device, local_files_only=True)
        self._model.eval()
        self.dimensions = len(self._model.encode("", show_progress_bar=False))
        store_weights(self._model, self.number_format)
        self._flops_per_token, self._flops_per_pair = _arithmetic(self._model)
        self._lanes = make_lanes(self._model, self.devices)
        self.tokens_per_batch = tokens_per_batch or (
            CPU_TOKENS_PER_BATCH if self.device == "cpu" else GPU_TOKENS_PER_BATCH
        )
        self.max_tokens = int(min(self._model.max_seq_length or 512, 2**20))
        prompts, tokenizer = prompts or model_prompts(model), load_tokenizer(model)
        self._documents = Inputs(self._model, tokenizer, prompts.document, "document", self.max_tokens)
        self._queries = Inputs(self._model, tokenizer, prompts.query, "query", self.max_tokens)
        self._packing = threading.Lock()
        self._probed = False
        if self.devices == ["cpu"] and self.number_format == "bfloat16":
            self._prepack()

    def encode_documents(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the document prompt is applied.

        ``ids`` are the texts' token ids where the caller has them (:attr:`headwater.Chunk.ids`): prompt and special
        tokens included. Raises EmbeddingError when a text has no usable vector.
        """
        return all_or_error(self.try_documents(texts, ids), self.device)

    def encode_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 vectors of unit length, shape (n, dimensions), in input order; the query prompt is applied."""
        packs = 1 < len(texts) <= _PACKED_TEXTS
        if packs:
            with self._packing:
                if not self._probed:
                    self._queries.packs_from, self._probed = self._packs_from(), True
            packs = self._queries.packs_from is not None
        return all_or_error(self._encode(texts, None, self._queries, packs=packs), self.device)

    def try_documents(self, texts: Sequence[str], ids: Sequence[TokenIds] | None = None) -> Vectors:
        """Return what :meth:`encode_documents` does, but note the texts that have no usable vector instead of raising."""
        return self._encode(texts, ids, self._documents)

    def describe(self, work: Work) -> dict[str, Any]:
        """Return device, number format and rates of ``work``; of enough work also the share of the device's peak.

        The peak is that of a large matrix product in the same number format, measured once per process.
        """
        found: dict[str, Any] = {"device": ", ".join(self.devices), "number_format": self.number_format, **rates(work)}
        if work.padded:
            found["padding_share"] = round(1 - work.tokens / work.padded, 3)
        if work.seconds >= _PEAK_SECONDS:
            peak = matmul_peak(self.device, self.number_format) * len(self.devices)
            found["peak_tflops"] = round(peak / 1e12, 2)
            found["peak_share"] = round(work.flops / work.seconds / peak, 3)
        return found

    def _encode(
        self, texts: Sequence[str], ids: Sequence[TokenIds] | None, inputs: Inputs, *, packs: bool = False
    ) -> Vectors:
        began = time.perf_counter()
        vectors = np.full((len(texts), self.dimensions), np.nan, dtype=np.float32)
        failed: dict[int, str] = {}
        work = Work(rows=len(texts))
        tokens = inputs.tokens(texts, ids)
        lengths = np.array([len(one) for one in tokens], dtype=np.int64)
        widths = lengths if packs else np.array([inputs.width(len(one)) for one in tokens], dtype=np.int64)
        budget = min(self.tokens_per_batch, PACK_TOKENS) if packs else self.tokens_per_batch
        batches = _Batches(widths, budget, packs=packs)
        lanes = self._lanes[: max(1, min(len(self._lanes), batches.expected))]

        def fits(lane: Lane, rows: npt.NDArray[np.int64]) -> bool:
            own = [tokens[row] for row in rows]
            features, layout = inputs.features([texts[row] for row in rows], own, packs=packs and len(own) > 1)
            try:
                vectors[rows] = self._forward(lane, features, layout, inputs.task)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                return False
            return True

        alone: list[npt.NDArray[np.int64]] = []

        def drain(lane: Lane) -> None:
            while (rows := batches.take()) is not None:
                if fits(lane, rows):
                    continue
                lane.free()
                if len(rows) > 1:
                    fitting = batches.halve(rows)
                    self.tokens_per_batch = self.tokens_per_batch if packs else fitting
                else:
                    alone.append(rows)

        if len(lanes) == 1:
            drain(lanes[0])
        else:
            threads = max(1, cpu_threads() // len(lanes)) if self.device == "cpu" else 1
            with ThreadPoolExecutor(
                len(lanes), "headwater-embed", initializer=limit_threads, initargs=(threads,)
            ) as pool:
                for done in [pool.submit(drain, lane) for lane in lanes]:
                    done.result()
        # One text was too much beside what the other lanes hold: once more, with the device to itself.
        failed |= {int(rows[0]): OUT_OF_MEMORY for rows in alone if not fits(lanes[0], rows)}
        failed |= {row: BAD_VECTOR for row in unusable(vectors) if row not in failed}
        work.tokens, work.padded = int(lengths.sum()), batches.padded
        work.flops = self._flops_per_token * work.tokens + self._flops_per_pair * float((lengths**2).sum())
        work.seconds = time.perf_counter() - began
        return Vectors(vectors, dict(sorted(failed.items())), work)

    def _forward(
        self, lane: Lane, features: Mapping[str, Any], layout: Layout | None, task: str
    ) -> npt.NDArray[np.float32]:
        import torch

        with torch.inference_mode(), autocast(lane.device, self.number_format):
            there = {
                name: value.to(lane.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
                for name, value in features.items()
            }
            output: torch.Tensor
            if layout is None:
                output = lane.model(there, task=task)["sentence_embedding"]
            else:
                output = sentence_embeddings(lane.model, there, layout)
            vectors: npt.NDArray[np.float32] = torch.nn.functional.normalize(output.float(), p=2, dim=1).cpu().numpy()
            return vectors

    def _packs_from(self) -> int | None:
        """Return the position of a packed text's first token; None where packed queries come out otherwise than padded."""
        for first in self._queries.first_positions(_setting(self._model, "max_position_embeddings")):
            self._queries.packs_from = first
            with suppress(Exception):  # whatever a model says about input of this form: it doesn't take it
                if _are_the_same(self._probe(self._queries, packs=True), self._probe(self._queries)):
                    return first
        return None

    def _prepack(self) -> None:
        """Have the weights laid out for the CPU, if queries and documents then come out the same."""
        from headwater.embedding.linear import prepack

        def vectors() -> npt.NDArray[np.float32]:
            return np.concatenate([self._probe(inputs, _PROBES[:2]) for inputs in (self._queries, self._documents)])

        undo = None
        with suppress(Exception):  # a model that computes with its layers' weights itself
            before = vectors()
            undo = prepack(self._model)
            if _are_the_same(before, vectors()):
                return
        if undo is not None:
            undo()

    def _probe(self, inputs: Inputs, texts: Sequence[str] = _PROBES, *, packs: bool = False) -> npt.NDArray[np.float32]:
        tokens = inputs.tokens(texts)
        features, layout = inputs.features(texts, tokens, packs=packs)
        return self._forward(self._lanes[0], features, layout, inputs.task)


def _are_the_same(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> bool:
    return float((ours * theirs).sum(axis=1).min()) > _SAME


class _Batches:
    """Rows for the lanes to take, longest first: rows times the widest stays within ``budget``, or the sum of what is
    packed; one row at least.
    """

    def __init__(self, widths: npt.NDArray[np.int64], budget: int, *, packs: bool) -> None:
        self._widths = widths
        self._budget = budget
        self._packs = packs
        self._lock = threading.Lock()
        self._order = np.argsort(-widths, kind="stable")
        self._next = 0
        self._again: list[npt.NDArray[np.int64]] = []
        self.padded = 0
        self.expected = -(-int(widths.sum()) // budget)

    def take(self) -> npt.NDArray[np.int64] | None:
        with self._lock:
            if self._again:
                return self._again.pop()
            if self._next >= len(self._order):
                return None
            widest = max(1, int(self._widths[self._order[self._next]]))
            count = self._budget // widest
            if self._packs:
                sums = np.cumsum(self._widths[self._order[self._next :]])
                count = int(np.searchsorted(sums, self._budget, side="right"))
            rows = self._order[self._next : self._next + max(1, count)]
            self._next += len(rows)
            self.padded += int(self._widths[rows].sum()) if self._packs else widest * len(rows)
            return rows

    def halve(self, rows: npt.NDArray[np.int64]) -> int:
        """Put a batch back in two parts, and give no larger ones from now on; return the new budget."""
        with self._lock:
            half = (len(rows) + 1) // 2
            self._again += [rows[half:], rows[:half]]
            self._budget = min(self._budget, max(1, half * int(self._widths[rows[0]])))
            return self._budget


def _arithmetic(model: Any) -> tuple[float, float]:
    """Return FLOP per token (its matrix products with weights) and per pair of tokens (attention) of a forward pass."""
    import torch

    weights = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    )
    layers, width = _setting(model, "num_hidden_layers"), _setting(model, "hidden_size")
    return 2.0 * weights, 4.0 * layers * width


def _setting(model: Any, name: str) -> int:
    """Return a number of the configuration of a sentence-transformers model; 0 where it has none of that name."""
    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    return int(getattr(config, name, 0) or 0)
