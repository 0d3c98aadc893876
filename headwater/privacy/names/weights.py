"""The weights: the bundled encoder's own for the layers below, and what was trained, from this package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.embedding.model import locate_model

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).with_name("names.safetensors")

_PARTS = {
    "mix": "attention.output.dense",
    "norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "last_norm": "output.LayerNorm",
}


def encoder_weights(layers: int) -> dict[str, Tensor]:
    """Return the bundled encoder's embeddings and lowest ``layers`` layers, named as the tagger names them."""
    import torch
    from safetensors import safe_open

    result: dict[str, Tensor] = {}
    with safe_open(locate_model(None) / "model.safetensors", framework="pt") as file:
        get = file.get_tensor
        result["embeddings.pieces.weight"] = get("embeddings.word_embeddings.weight")
        result["embeddings.positions.weight"] = (
            get("embeddings.position_embeddings.weight") + get("embeddings.token_type_embeddings.weight")[0]
        )
        for kind in ("weight", "bias"):
            result[f"embeddings.norm.{kind}"] = get(f"embeddings.LayerNorm.{kind}")
            for number in range(layers):
                theirs, ours = f"encoder.layer.{number}.", f"layers.{number}."
                result[f"{ours}attend.{kind}"] = torch.cat(
                    [get(f"{theirs}attention.self.{part}.{kind}") for part in ("query", "key", "value")]
                )
                for part, name in _PARTS.items():
                    result[f"{ours}{part}.{kind}"] = get(f"{theirs}{name}.{kind}")
    return result


def load_weights() -> tuple[dict[str, Tensor], int]:
    """Return all weights of the tagger as float32, and how many layers are the bundled encoder's own."""
    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="pt") as file:
        frozen = int(file.metadata()["frozen"])
        trained = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    return encoder_weights(frozen) | trained, frozen


def save_weights(tensors: Mapping[str, Tensor], frozen: int, path: Path = WEIGHTS) -> None:
    """Write what was trained, as float16: everything but embeddings and the ``frozen`` lowest layers."""
    import torch
    from safetensors.torch import save_file

    kept = tuple(f"layers.{number}." for number in range(frozen))
    trained = {
        name: tensor.to(torch.float16).contiguous()
        for name, tensor in tensors.items()
        if not name.startswith(("embeddings.", *kept))
    }
    save_file(trained, path, {"frozen": str(frozen)})
