"""Weights laid out for the CPU: the same products, in layers of torch's own kind only."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

from headwater.embedding import Embedder, locate_model
from headwater.embedding.embedder import _PROBES
from headwater.embedding.linear import PrepackedLinear, prepack


def prepackable() -> bool:
    try:
        PrepackedLinear(nn.Linear(4, 4, dtype=torch.bfloat16))
    except (RuntimeError, TypeError, AttributeError):
        return False
    return True


needs_kernels = pytest.mark.skipif(not prepackable(), reason="this CPU has no kernels for prepacked bfloat16 weights")


@needs_kernels
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 33), (3, 1, 16), (0,)])
def test_a_prepacked_layer_computes_the_same(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(1)
    linear = nn.Linear(48, 20, bias=bias, dtype=torch.bfloat16)
    with torch.inference_mode():
        packed, values = PrepackedLinear(linear), torch.randn(*shape, 48)
        found = packed(values)
        assert found.dtype == torch.bfloat16 and found.shape == (*shape, 20)
        torch.testing.assert_close(found, linear(values.bfloat16()), rtol=0.02, atol=0.02)
    assert (packed.weight.shape, packed.weight.dtype) == (linear.weight.shape, torch.bfloat16)


class OwnLayer(nn.Linear):
    """A layer of a library's own."""


@needs_kernels
def test_only_bfloat16_layers_of_torchs_own_class_are_exchanged_and_come_back() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).bfloat16(), OwnLayer(4, 4).bfloat16())
    before = list(model)
    undo = prepack(model)
    assert [type(layer) for layer in model] == [nn.Linear, PrepackedLinear, OwnLayer]
    undo()
    assert list(model) == before


@needs_kernels
def test_a_layer_of_two_names_is_exchanged_under_both_and_one_that_is_listened_to_stays() -> None:
    model = nn.Module()
    model.one = model.other = nn.Linear(4, 4).bfloat16()
    model.watched = nn.Linear(4, 4).bfloat16()
    model.watched.register_forward_hook(lambda *_: None)
    prepack(model)
    assert isinstance(model.one, PrepackedLinear) and model.other is model.one
    assert type(model.watched) is nn.Linear


@pytest.mark.parametrize("method", ["__init__", "forward"])
def test_nothing_is_exchanged_where_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("mkldnn: no bfloat16 on this CPU")

    monkeypatch.setattr(PrepackedLinear, method, missing)
    model = nn.Sequential(nn.Linear(4, 4).bfloat16())
    prepack(model)()
    assert type(model[0]) is nn.Linear


@needs_kernels
def test_the_bundled_model_is_prepacked_and_says_the_same() -> None:
    reference = SentenceTransformer(str(locate_model(None)), device="cpu").encode(
        list(_PROBES), normalize_embeddings=True
    )
    embedder = Embedder(device="cpu", number_format="bfloat16")
    assert any(isinstance(module, PrepackedLinear) for module in embedder._model.modules())
    assert (embedder.encode_documents(_PROBES) * reference).sum(axis=1).min() >= 0.9999
    whole = Embedder(device="cpu", number_format="float32")
    assert not any(isinstance(module, PrepackedLinear) for module in whole._model.modules())


@needs_kernels
def test_a_model_that_uses_weights_itself_keeps_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.bert.modeling_bert import BertIntermediate

    def forward(self: BertIntermediate, values: Tensor) -> Tensor:
        return functional.gelu(functional.linear(values, self.dense.weight, self.dense.bias))

    monkeypatch.setattr(BertIntermediate, "forward", forward)
    embedder = Embedder(device="cpu", number_format="bfloat16")
    assert not any(isinstance(module, PrepackedLinear) for module in embedder._model.modules())
    assert embedder.encode_queries(["who checks the valve?"]).shape == (1, 384)
