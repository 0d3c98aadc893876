"""Linear layers on a CPU whose weights lie in memory as its kernels read them.

torch hands weights to oneDNN as they are, which rearranges them in every pass. Measured with the bundled model on one core:
a quarter of a pass over one query, a seventh of one over seven, a twentieth of batches of documents.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn


class PrepackedLinear(nn.Module):
    """Computes what ``linear`` does, whose weights are bfloat16, in bfloat16.

    ``weight`` has the shape and format of the weights, which some models ask for, and no values. The weights can't be
    saved, copied or sent from here. Raises RuntimeError, TypeError or AttributeError where this torch or this CPU has no
    such kernels, which is found out by using them once.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = torch.empty_like(linear.weight, device="meta")
        self.bias = None if linear.bias is None else linear.bias.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self._product = torch.ops.mkldnn._linear_pointwise
        self(torch.zeros(1, self.in_features, dtype=torch.bfloat16))

    def forward(self, values: Tensor) -> Tensor:
        """Return the product, of shape (..., out_features)."""
        found: Tensor = self._product(values.to(torch.bfloat16), self._packed, self.bias, "none", [], "")
        return found


def _can_be_prepacked(layer: nn.Module | None) -> TypeGuard[nn.Linear]:
    """Return whether a layer is of torch's own class, whose use of its weights is known, and nobody listens to it."""
    return (
        type(layer) is nn.Linear
        and layer.weight.dtype == torch.bfloat16
        and layer.weight.device.type == "cpu"
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )


def prepack(model: nn.Module) -> Callable[[], None]:
    """Exchange the linear layers of ``model`` that are bfloat16 on the CPU for prepacked ones; return what undoes it.

    Where there are no kernels for that, nothing is exchanged. A model that uses weights of its layers itself can't go on:
    see whether it says the same as before.
    """
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent._modules.items()  # named_children leaves out a child's second name
        if _can_be_prepacked(child)
    ]
    exchanged: list[tuple[nn.Module, str, Any]] = []
    with suppress(RuntimeError, TypeError, AttributeError):
        packed = {id(child): PrepackedLinear(child) for _, _, child in places}
        for parent, name, child in places:
            setattr(parent, name, packed[id(child)])
            exchanged.append((parent, name, child))

    def undo() -> None:
        for parent, name, child in exchanged:
            setattr(parent, name, child)

    return undo
