"""Packed attention against plain attention, and the forms of what is passed to CUDA's kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import small_model

from guard_magic.engine import packed_attention
from guard_magic.engine.packed_attention import NAME, Pack, attend, packed

LENGTHS = (9, 5, 5, 5, 2, 1)
N_PREFIX, N_HEADS, N_KV_HEADS, WIDTH = 7, 6, 2, 16


def states(n_tokens: int, n_heads: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    """As a model's projections give them: (1, n_heads, n_tokens, head_dim), heads innermost in memory."""
    flat = torch.randn(1, n_tokens, n_heads, WIDTH, dtype=torch.float32).to(dtype).to(device)
    return flat.transpose(1, 2)


class OneLayer:
    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.keys, self.values = keys, values


class OneLayerCache:
    """What `Pack` reads of a transformers cache."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.layers = [OneLayer(keys, values)]


class Module(torch.nn.Module):
    layer_idx = 0


def pack(prefix: Any, device: str = "cpu") -> Pack:
    bounds = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32, device=device)
    ends = torch.tensor([[0, sum(LENGTHS)], [0, N_PREFIX]], dtype=torch.int32, device=device)
    return Pack(LENGTHS, prefix, bounds, ends)


def plain(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal attention of one row, its queries at the end: float64, by the formula."""
    n_ahead = keys.shape[2] - query.shape[2]
    wide = [x.double().repeat_interleave(N_HEADS // N_KV_HEADS, dim=1) for x in (keys, values)]
    weights = query.double() @ wide[0].transpose(-1, -2) * scale
    seen = torch.ones(weights.shape[-2:], dtype=torch.bool).tril(n_ahead)
    return (weights.masked_fill(~seen, -torch.inf).softmax(-1) @ wide[1]).transpose(1, 2)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 3e-6), (torch.bfloat16, 2e-2), (torch.float64, 1e-12)])
@pytest.mark.parametrize("has_prefix", [True, False])
@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_it_is_plain_attention(dtype: torch.dtype, limit: float, has_prefix: bool, scale: float) -> None:
    torch.manual_seed(0)
    query = states(sum(LENGTHS), N_HEADS, dtype)
    key, value = (states(sum(LENGTHS), N_KV_HEADS, dtype) for _ in range(2))
    ahead = [states(N_PREFIX if has_prefix else 0, N_KV_HEADS, dtype) for _ in range(2)]
    model = small_model("llama")
    with packed(model, pack(OneLayerCache(*ahead) if has_prefix else None)):
        got, weights = attend(Module(), query, key, value, None, scaling=scale)
    assert weights is None
    assert got.dtype == dtype
    start = 0
    for length in LENGTHS:
        row = slice(start, start + length)
        keys, values = (torch.cat([a, x[:, :, row]], dim=2) for a, x in zip(ahead, (key, value), strict=True))
        wanted = plain(query[:, :, row], keys, values, scale)
        assert (got[:, row].double() - wanted).abs().max() <= limit
        start = row.stop


@pytest.mark.parametrize("scale", [None, 0.3])
def test_what_cuda_is_given_has_the_right_form(scale: float | None) -> None:
    """torch's own shape function of the CUDA kernel, on tensors without numbers: no GPU is needed for that."""
    query = states(sum(LENGTHS), N_HEADS, torch.bfloat16, "meta")
    key, value = (states(sum(LENGTHS), N_KV_HEADS, torch.bfloat16, "meta") for _ in range(2))
    ahead = [states(N_PREFIX, N_KV_HEADS, torch.bfloat16, "meta") for _ in range(2)]
    made = pack(None, "meta")
    assert all(bounds.is_contiguous() for bounds in (made.bounds, *made.ends)), "the kernel wants them so"
    own, own_sum = packed_attention._own_on_cuda(made, query, key, value, scale)
    over, over_sum = packed_attention._over_on_cuda(made, query, *ahead, scale)
    assert own.shape == over.shape == (sum(LENGTHS), N_HEADS, WIDTH)
    assert own_sum.shape == over_sum.shape == (sum(LENGTHS), N_HEADS)
    assert own_sum.dtype == torch.float32
    assert packed_attention._merged(own, own_sum, over, over_sum).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "asked", [{"softcap": 50.0}, {"s_aux": torch.zeros(6)}, {"attention_mask": torch.ones(1, 1, 1, 1)}]
)
def test_what_it_does_not_know_is_refused(asked: dict[str, Any]) -> None:
    query, key = states(sum(LENGTHS), N_HEADS), states(sum(LENGTHS), N_KV_HEADS)
    arguments = {"attention_mask": None, **asked}
    with (
        packed(small_model("llama"), pack(None)),
        pytest.raises(NotImplementedError, match="packed attention knows no"),
    ):
        attend(Module(), query, key, key, **arguments)


def test_without_a_pack_it_is_refused() -> None:
    """A model left with this implementation by mistake must not compute something else."""
    query, key = states(sum(LENGTHS), N_HEADS), states(sum(LENGTHS), N_KV_HEADS)
    with pytest.raises(NotImplementedError):
        attend(Module(), query, key, key, None)
    with packed(small_model("llama"), pack(None)), pytest.raises(NotImplementedError):
        attend(Module(), query[:, :, 1:], key, key, None)


def test_the_configuration_is_put_back_whatever_happens() -> None:
    model = small_model("llama")
    before = model.config._attn_implementation

    def break_off() -> None:
        with packed(model, pack(None)):
            assert model.model.layers[1].self_attn.config._attn_implementation == NAME
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert model.config._attn_implementation == before != NAME
