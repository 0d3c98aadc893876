"""Where a model runs: devices, their number formats, copies of the model on them, and how fast they multiply."""

from __future__ import annotations

import atexit
import copy
import gc
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from headwater.errors import ConfigError

_LANES_PER_GPU = 2
# torch's allocator for the CPU, GPU drivers, and oneDNN, which says no more than this of a buffer that it can't have.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "could not create a primitive", "could not create a memory")


@dataclass(frozen=True, slots=True)
class Lane:
    """A device and the model on it; several lanes may share both."""

    device: str
    model: Any

    def free(self) -> None:
        """Give memory that torch keeps for reuse back to the device."""
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()


def before_torch() -> None:
    """Set what torch's libraries read from the environment when they are first used; what is set already stays.

    Idle OpenMP threads that spin fight for the cores with every process beside this one: with one of four cores taken,
    50 queries took 5.5 s instead of 1.0 s. oneDNN keeps code and scratch memory for a thousand shapes of matrices; texts
    come in about as many, and each is soon met again by one of the last few.

    What models' libraries import are half a million objects, which Python would look through several times when the
    process ends: 1.5 s, for nothing.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def make_lanes(model: Any, devices: Sequence[str]) -> list[Lane]:
    """Return the lanes: ``model`` is on the first device, every other one gets a copy of it.

    A single CPU has one lane per thread that torch uses; a GPU two.
    """
    if list(devices) == ["cpu"]:
        return [Lane("cpu", model)] * cpu_threads()
    models = [model, *(copy.deepcopy(model).to(device) for device in devices[1:])]
    lanes = [Lane(device, one) for device, one in zip(devices, models, strict=True)]
    return lanes * _LANES_PER_GPU if devices[0].startswith("cuda") else lanes


@lru_cache(maxsize=1)
def cpu_threads() -> int:
    """Return how many threads torch uses; asked once, because the lanes change it for the threads that they start."""
    import torch

    return torch.get_num_threads()


def limit_threads(threads: int) -> None:
    """Have torch use so many threads for what the calling thread computes."""
    import torch

    torch.set_num_threads(threads)


def resolve_devices(device: str | Sequence[str]) -> list[str]:
    """Return the devices by name; ConfigError for one that is not here."""
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    available = {"cpu": ["cpu"], "cuda": gpus, "mps": ["mps"] if torch.backends.mps.is_available() else []}
    available |= {gpu: [gpu] for gpu in gpus}
    if device == "auto":
        return next(available[name] for name in ("cuda", "mps", "cpu") if available[name])
    found: list[str] = []
    for name in [device] if isinstance(device, str) else device:
        if not available.get(name):
            here = ", ".join(name for name, usable in available.items() if usable)
            raise ConfigError(
                f"embedding device {name!r} is not available here; set embed.device to auto or one of: {here}"
            )
        found += available[name]
    return found


def default_format(device: str) -> str:
    """Return the number format that is fast on ``device`` and exact enough: cosine to float32 above .9999."""
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return "bfloat16" if device == "cpu" and fast else "float32"


def store_weights(model: Any, name: str) -> None:
    """Store the weights of linear layers in the number format ``name``, to which every pass would convert them anew."""
    import torch

    for module in model.modules() if name != "float32" else ():
        if isinstance(module, torch.nn.Linear):
            module.to(getattr(torch, name))


def autocast(device: str, name: str) -> Any:
    """Return the context in which a model computes in the number format ``name``."""
    import torch

    return nullcontext() if name == "float32" else torch.autocast(device.partition(":")[0], getattr(torch, name))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out: of a GPU, or of the machine's own."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    message = str(error)
    return any(words in message for words in _OUT_OF_MEMORY)


@lru_cache(maxsize=8)
def matmul_peak(device: str, name: str) -> float:
    """Return FLOP per second of a large matrix product on ``device`` in the number format ``name``.

    The best of a few products of 2048 (CPU) or 8192 (GPU) rows and columns: a fraction of a second, once per process.
    """
    import torch

    on_gpu = device.startswith("cuda")
    size = 8192 if on_gpu else 2048
    matrix = torch.rand(size, size, device=device, dtype=getattr(torch, name))
    best = float("inf")
    with torch.inference_mode():
        for _ in range(6):
            began = time.perf_counter()
            torch.mm(matrix, matrix)
            if on_gpu:
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best
