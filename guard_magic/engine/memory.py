"""Memory: how many tokens fit into a batch, and what running out of memory looks like."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["CPU_BUDGET", "is_out_of_memory", "kv_bytes_per_token", "token_budget"]

CPU_BUDGET = 1_024
"""Tokens of a batch on the CPU: larger batches were slower there (benchmarks/LOG.md)."""

_GPU_BUDGET = 65_536
_MIN_BUDGET = 512
_SHARE = 0.5


def kv_bytes_per_token(model: Any) -> int:
    """Return the bytes of keys and values that one token costs across all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize)


def token_budget(model: Any) -> int:
    """Return how many padded tokens a batch may hold on this model's device.

    On the CPU a fixed number. On CUDA half of the free memory, divided by what a token costs at the widest
    place of one layer: keys and values are not kept, so layers do not add up.
    """
    if model.device.type != "cuda":
        return CPU_BUDGET
    free, _ = torch.cuda.mem_get_info(model.device)
    reserved = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    config = model.config.get_text_config()
    width = 12 * config.hidden_size + 4 * int(getattr(config, "intermediate_size", 4 * config.hidden_size))
    return max(_MIN_BUDGET, min(_GPU_BUDGET, int(_SHARE * (free + reserved) / (width * model.dtype.itemsize))))


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether `error` means that an allocation failed, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
