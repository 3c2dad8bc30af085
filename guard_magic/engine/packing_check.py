"""Whether a model can read packed batches: tried on the model itself, with a few tokens, before it is relied on.

Packed attention knows no sliding window, soft cap or sinks, and its kernels differ by device and version. Nothing is
assumed of a model by its name: four short rows behind a short prefix are read both ways, and packing is used
where the two agree and for rows that no window of the model cuts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from guard_magic.engine.float32 import float32_arithmetic
from guard_magic.engine.forward import packed_logits, padded_logits
from guard_magic.engine.memory import is_out_of_memory
from guard_magic.engine.prefix_cache import PrefixCache

__all__ = ["can_pack", "longest_packed", "packing_error", "rounding_error"]

_log = logging.getLogger(__name__)

_LIMIT = 1e-3
_ROUNDINGS = 8
_TIMES = 2
_N_PREFIX = 16
_WINDOWS = ("sliding_window", "attention_chunk_size")


def longest_packed(model: Any) -> int | None:
    """Return the most tokens, prefix included, of a row that no attention window of the model cuts; None: any."""
    config = model.config.get_text_config()
    sizes = [size for name in _WINDOWS if isinstance(size := getattr(config, name, None), int)]
    return min(sizes, default=None)


def can_pack(model: Any, ids: Sequence[int]) -> bool:
    """Say whether packed batches give this model's own numbers on its device, within its own rounding.

    What that rounding is is told by the number format and, where more is seen (FP8 products, whose steps are wide), by
    how far padded batches are from float32 arithmetic over the same weights.

    Parameters
    ----------
    model
        A transformers causal language model in eval mode.
    ids
        Token ids of any prompt, to try it with.
    """
    limit = max(_LIMIT, _ROUNDINGS * torch.finfo(model.dtype).eps)
    try:
        error = packing_error(model, ids)
        if not error <= limit:
            limit = max(limit, _TIMES * rounding_error(model, ids))
    except Exception as reason:  # kernels and models refuse in many ways; the padded way is always there
        if not is_out_of_memory(reason):
            _log.info("rows are padded, not packed: %s: %s", type(reason).__name__, reason)
        return False
    if not error <= limit:
        _log.info("rows are padded, not packed: packing is off by %.2g here, at most %.2g is rounding", error, limit)
    return error <= limit


@torch.inference_mode()
def packing_error(model: Any, ids: Sequence[int]) -> float:
    """Return how far packed logits are from padded ones: the largest ||difference|| / ||logits|| of any position.

    Raises
    ------
    Exception
        Whatever this model or device raises where it cannot attend so.
    """
    prefix, rows, reads = _rows(ids)
    past = PrefixCache(model).get(prefix)
    wanted = padded_logits(model, rows, reads, past, narrow=False)
    return _largest(packed_logits(model, rows, reads, past, len(prefix)), wanted)


@torch.inference_mode()
def rounding_error(model: Any, ids: Sequence[int]) -> float:
    """Return how far the padded logits are from those of float32 arithmetic, as `packing_error` does."""
    prefix, rows, reads = _rows(ids)
    got = padded_logits(model, rows, reads, PrefixCache(model).get(prefix), narrow=False)
    with float32_arithmetic():
        wanted = padded_logits(model, rows, reads, PrefixCache(model).get(prefix), narrow=False)
    return _largest(got, wanted)


def _rows(ids: Sequence[int]) -> tuple[tuple[int, ...], list[list[int]], list[list[int]]]:
    """Return a prefix, four rows behind it of which two are equally long, and where each is read."""
    ids = [*ids] * (1 + 48 // len(ids))
    own = ids[_N_PREFIX:]
    rows = [own[:24], own[12::-1], own[20:27], own[6::-1]]
    return tuple(ids[:_N_PREFIX]), rows, [[len(row) // 2, len(row) - 1] for row in rows]


def _largest(got: torch.Tensor, wanted: torch.Tensor) -> float:
    wanted = wanted - wanted.mean(-1, keepdim=True)
    got = got - got.mean(-1, keepdim=True)
    return float(((got - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())
