"""The end of the model, computed only where it is read, and its head in float32.

Full logits of 64 rows of 300 tokens over 128,256 words are 9.9 GB. Calling ``lm_head`` by hand on the hidden
states that matter avoids that and is wrong for every model that transforms its logits afterwards (Gemma 2
soft-caps them, Granite divides them). So the model runs its own forward pass, and hooks (removed when the block
ends) narrow what goes in and sharpen what comes out:

- the last layer: of the tokens that are not read only keys and values matter there, so its query and output
  projections and its MLP take the others alone and give zeros for the rest;
- ahead of the head: keep only the hidden states at `positions`;
- behind it: where the weights are not float32, compute these few logits again in float32. In bfloat16 logits
  near 20 move in steps of 0.125.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

__all__ = ["read_at"]

_CHUNK = 16_384
"""Words of the vocabulary whose weights are held in float32 at a time."""

_POINTWISE = ("self_attn.q_proj", "self_attn.o_proj", "mlp")
"""What works on each token by itself in the last layer and matters only where it is read."""


@contextmanager
def read_at(model: Any, positions: torch.Tensor, *, narrow: bool = True) -> Iterator[None]:
    """Within the block, `model` returns logits at `positions` only, in float32.

    Parameters
    ----------
    model
        A transformers causal language model.
    positions
        Integer tensor (n_rows, n_positions): indices into the sequence of each row.
    narrow
        Whether the last layer is computed only there too.
    """
    head = model.get_output_embeddings()

    def gather(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *others = inputs
        return (_at(hidden, positions), *others)

    def sharpen(module: Any, inputs: tuple[torch.Tensor, ...], logits: torch.Tensor) -> torch.Tensor:
        return logits if logits.dtype == torch.float32 else _float32_logits(module, inputs[0], logits)

    hooks = [head.register_forward_pre_hook(gather), head.register_forward_hook(sharpen)]
    for module in _last_pointwise(model) if narrow else ():
        hooks += _narrowed(module, positions)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _at(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the states (n_rows, n_positions, width) at `positions` of states (n_rows, n_tokens, width)."""
    return states.gather(1, positions.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


def _last_pointwise(model: Any) -> list[torch.nn.Module]:
    """Return the modules of the last layer that may be narrowed; none where the layer is built another way."""
    layers = getattr(model.get_decoder(), "layers", None)
    if not layers:
        return []
    modules = dict(layers[-1].named_modules())
    return [modules[name] for name in _POINTWISE if name in modules]


def _narrowed(module: torch.nn.Module, positions: torch.Tensor) -> list[Any]:
    """Make `module` take the states at `positions` alone and give zeros elsewhere; returns the hooks."""
    n_tokens = 0

    def gather(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        nonlocal n_tokens
        states, *others = inputs
        n_tokens = states.shape[1]
        return (_at(states, positions), *others)

    def scatter(module: Any, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        whole = out.new_zeros(out.shape[0], n_tokens, out.shape[-1])
        return whole.scatter_(1, positions.unsqueeze(-1).expand(-1, -1, out.shape[-1]), out)

    return [module.register_forward_pre_hook(gather), module.register_forward_hook(scatter)]


def _float32_logits(head: Any, hidden: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Compute (n_rows, n_positions, n_vocabulary) in float32; heads that are no plain matrix keep theirs."""
    weight = getattr(head, "weight", None)
    if type(head) is not torch.nn.Linear or weight is None or not weight.dtype.is_floating_point:
        return logits.float()
    whole = _float32_product(hidden.flatten(0, 1), weight).view(*hidden.shape[:2], -1)
    return whole if head.bias is None else whole + head.bias.float()


def _float32_product(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return states x weight.T in float32; products of two halves are exact there, so only their sum is rounded."""
    if weight.is_cuda and states.dtype == weight.dtype:
        with suppress(TypeError, NotImplementedError):  # torch before 2.8 widens the weights instead
            return torch.mm(states, weight.T, out_dtype=torch.float32)
    wide = states.float()
    return torch.cat([wide @ part.float().T for part in torch.split(weight, _CHUNK)], dim=-1)
