"""The output head, applied only where it is read, in float32, with the model's own final transforms.

Full logits of 64 rows of 300 tokens over 128,256 words are 9.9 GB. Calling ``lm_head`` by hand on the hidden
states that matter avoids that and is wrong for every model that transforms its logits afterwards (Gemma 2
soft-caps them, Granite divides them). So the model runs its own forward pass, and two hooks on its output
embeddings (removed when the block ends) narrow what goes in and sharpen what comes out:

- before: keep only the hidden states at `positions`;
- after: where the weights are not float32, compute these few logits again in float32. In bfloat16 logits
  near 20 move in steps of 0.125.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["head_at"]

_CHUNK = 16_384
"""Words of the vocabulary whose weights are held in float32 at a time."""


@contextmanager
def head_at(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """Within the block, `model` returns logits at `positions` only, in float32.

    Parameters
    ----------
    model
        A transformers causal language model.
    positions
        Integer tensor (n_rows, n_positions): indices into the sequence of each row.
    """
    head = model.get_output_embeddings()

    def gather(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *others = inputs
        index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        return (hidden.gather(1, index), *others)

    def sharpen(module: Any, inputs: tuple[torch.Tensor, ...], logits: torch.Tensor) -> torch.Tensor:
        return logits if logits.dtype == torch.float32 else _float32_logits(module, inputs[0], logits)

    hooks = [head.register_forward_pre_hook(gather), head.register_forward_hook(sharpen)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _float32_logits(head: Any, hidden: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Compute (n_rows, n_positions, n_vocabulary) in float32; heads that are no plain matrix keep theirs."""
    weight = getattr(head, "weight", None)
    if type(head) is not torch.nn.Linear or weight is None or not weight.dtype.is_floating_point:
        return logits.float()
    states = hidden.float()
    parts = [states @ weight[i : i + _CHUNK].float().T for i in range(0, weight.shape[0], _CHUNK)]
    whole = torch.cat(parts, dim=-1)
    return whole if head.bias is None else whole + head.bias.float()
