"""Attention over rows packed end to end, each behind a prefix that all of them share.

A packed batch is one sequence: no row is padded, and every linear layer sees just the tokens that count. The
attention of a row has two parts: its tokens among themselves (causal), and its tokens over the shared prefix
(all of it). Each part is computed by a flash kernel that also returns the log-sum-exp of its weights, and the two
are merged by those:

    out = w out_prefix + (1 - w) out_own,   w = sigmoid(lse_prefix - lse_own)

which is the softmax over both, exactly. So the prefix is read in place by one call for all rows and never
copied, and no mask is made. (Hydragen, Juravsky et al. 2024, and cascade inference in FlashInfer do the same.)

It is an attention implementation of transformers', registered under `NAME`, which `packed` chooses for the
length of one forward pass. It has no sliding window, soft cap or sinks: a model that asks for one is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache

__all__ = ["NAME", "Pack", "attend", "packed"]

NAME = "guard_magic_packed"
"""No mask function is registered under it, so transformers makes no mask."""

_UNKNOWN = ("softcap", "s_aux", "position_bias")


@dataclass(frozen=True, slots=True)
class Pack:
    """Where the rows of a packed batch stand, and what stands ahead of them.

    Attributes
    ----------
    lengths
        Tokens of each row, in order; equal ones side by side are computed together on the CPU.
    prefix
        Keys and values of the shared prefix; None where there is none.
    bounds
        Where each row begins, and the end of the last: int32, (n_rows + 1,), on the model's device.
    ends
        Where all rows and where the prefix begin and end: int32, (2, 2).
    """

    lengths: Sequence[int]
    prefix: Cache | None
    bounds: torch.Tensor
    ends: torch.Tensor


Part = tuple[torch.Tensor, torch.Tensor]
"""One part of a softmax: outputs (n_tokens, n_heads, head_dim) and log-sum-exps (n_tokens, n_heads)."""

_current: ContextVar[Pack | None] = ContextVar("guard_magic_pack", default=None)


@contextmanager
def packed(model: Any, pack: Pack) -> Iterator[None]:
    """Within the block, `model` attends as `pack` says; its configuration is put back at the end."""
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    before = [(config, config._attn_implementation_internal) for config in configs.values()]
    token = _current.set(pack)
    try:
        for config, _ in before:
            config._attn_implementation_internal = NAME
        yield
    finally:
        for config, name in before:
            config._attn_implementation_internal = name
        _current.reset(token)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers asks: query (1, n_heads, n_tokens, head_dim) -> (1, n_tokens, n_heads, head_dim)."""
    pack = _current.get()
    unknown = [name for name in _UNKNOWN if options.get(name) is not None]
    if pack is None or unknown or attention_mask is not None or query.shape[2] != sum(pack.lengths):
        raise NotImplementedError(f"packed attention knows no {', '.join(unknown) or 'masks or other batches'}")
    among = _own_on_cuda if query.is_cuda else _own_on_cpu
    own, own_sum = among(pack, query, key, value, scaling)
    if pack.prefix is None:
        return own.unsqueeze(0), None
    layer = pack.prefix.layers[module.layer_idx]
    over = _over_on_cuda if query.is_cuda else _over_on_cpu
    ahead, ahead_sum = over(pack, query, layer.keys, layer.values, scaling)
    return _merged(own, own_sum, ahead, ahead_sum).unsqueeze(0), None


AttentionInterface.register(NAME, attend)


def _merged(own: torch.Tensor, own_sum: torch.Tensor, ahead: torch.Tensor, ahead_sum: torch.Tensor) -> torch.Tensor:
    """Merge two parts of one softmax: outputs (n_tokens, n_heads, head_dim), log-sum-exps (n_tokens, n_heads)."""
    share = torch.sigmoid(ahead_sum - own_sum).unsqueeze(-1)
    return torch.lerp(own, ahead, share.to(own.dtype))


def _own_on_cuda(pack: Pack, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> Part:
    longest = max(pack.lengths)
    states = [state[0].transpose(0, 1) for state in (query, key, value)]
    return _flash_on_cuda(states, (pack.bounds, pack.bounds), (longest, longest), scale, causal=True)


def _over_on_cuda(
    pack: Pack, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float | None
) -> Part:
    states = [state[0].transpose(0, 1) for state in (query, keys, values)]
    longest = (query.shape[2], keys.shape[2])
    return _flash_on_cuda(states, (pack.ends[0], pack.ends[1]), longest, scale, causal=False)


def _flash_on_cuda(
    states: Sequence[torch.Tensor],
    bounds: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    scale: float | None,
    *,
    causal: bool,
) -> Part:
    """Call variable-length flash attention, for bfloat16 and float16, on states (n_tokens, n_heads, head_dim)."""
    out, log_sum, *_ = torch.ops.aten._flash_attention_forward(
        *states, *bounds, *longest, 0.0, causal, False, scale=scale
    )
    if log_sum.shape != out.shape[1::-1]:  # (n_heads, n_tokens)
        raise NotImplementedError(f"log-sum-exp of shape {tuple(log_sum.shape)}: another version of torch")
    return out, log_sum.T


def _own_on_cpu(pack: Pack, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> Part:
    """Call flash attention once for each run of rows of equal length."""
    n_heads, n_tokens, width = query.shape[1:]
    own = query.new_empty(n_tokens, n_heads, width)
    own_sum = query.new_empty(n_tokens, n_heads, dtype=torch.promote_types(query.dtype, torch.float32))
    start = 0
    for length, run in groupby(pack.lengths):
        n_rows = len(list(run))
        stretch = slice(start, start + n_rows * length)
        states = [_as_rows(state[0, :, stretch], n_rows) for state in (query, key, value)]
        out, log_sum = _flash_on_cpu(states, scale, causal=True)
        own[stretch] = out.transpose(1, 2).flatten(0, 1)
        own_sum[stretch] = log_sum.transpose(1, 2).flatten(0, 1)
        start = stretch.stop
    return own, own_sum


def _over_on_cpu(
    pack: Pack, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float | None
) -> Part:
    out, log_sum = _flash_on_cpu((query, keys, values), scale, causal=False)
    return out[0].transpose(0, 1), log_sum[0].T


def _as_rows(states: torch.Tensor, n_rows: int) -> torch.Tensor:
    """Return states (n_heads, n_rows x length, head_dim) as (n_rows, n_heads, length, head_dim)."""
    n_heads, n_tokens, width = states.shape
    return states.reshape(n_heads, n_rows, n_tokens // n_rows, width).transpose(0, 1)


def _flash_on_cpu(states: Sequence[torch.Tensor], scale: float | None, *, causal: bool) -> Part:
    """Return the output (n_rows, n_heads, length, head_dim) and the log-sum-exp (n_rows, n_heads, length)."""
    out, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*states, 0.0, causal, scale=scale)
    return out, log_sum
