"""How many tokens fit into a batch, and what to do when memory runs out."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import torch

__all__ = [
    "CPU_BUDGET",
    "head_rows",
    "is_out_of_memory",
    "token_budget",
    "trim_heap",
]

CPU_BUDGET = 1_024
"""Tokens of a batch on the CPU: larger ones were slower (benchmarks/LOG.md, "Where the engine's time goes")."""

CPU_PACK = 2_048
"""Tokens of a packed batch on the CPU: as many were fastest (benchmarks/LOG.md, "Rows packed end to end")."""

_CPU_OPERATIONS = 4e12
"""Of one packed batch on the CPU: some ten seconds on two cores, after which an interrupt is heard."""

_HEAD_NBYTES = 1 << 30
"""Of float32 logits of one batch on CUDA, a quarter of it elsewhere. A guess: what is left free was not measured."""

_GPU_BUDGET = 65_536
"""Tokens of a batch on CUDA at the most. A guess, not measured yet (benchmarks/LOG.md, "CUDA"): benchmarks/gpu.py tries
4,096 to 65,536."""

_MIN_BUDGET = 512
"""Tokens of a batch at the least. On the CPU level with 1,024 for padded rows (benchmarks/LOG.md, "Where the engine's
time goes"), 6% to 24% slower than 2,048 for packed ones ("Rows packed end to end"); on CUDA a guess."""

_SHARE = 0.5
"""Of the free memory of a CUDA device that a batch may take. A guess: the other half is for what fragments and for
other processes; a batch that does not fit is halved."""


def head_rows(model: Any, n_reads: int) -> int:
    """Return how many rows a batch may hold for the logits at `n_reads` positions of each to stay within bounds."""
    n_vocabulary = int(model.config.get_text_config().vocab_size)
    nbytes = _HEAD_NBYTES if model.device.type == "cuda" else _HEAD_NBYTES // 4
    return max(1, nbytes // (4 * n_vocabulary * max(1, n_reads)))


def token_budget(model: Any, *, is_packed: bool = False) -> int:
    """Return how many tokens a batch may hold on this model's device, padding included.

    On the CPU a fixed number, less for a packed batch of a model so large that it would take long. On CUDA half of
    the free memory, divided by what a token costs where one layer is widest: keys and values are not kept, so
    layers do not add up.
    """
    if model.device.type != "cuda":
        quick = int(_CPU_OPERATIONS / (2 * model.num_parameters()))
        return max(_MIN_BUDGET, min(CPU_PACK, quick)) if is_packed else CPU_BUDGET
    free, _ = torch.cuda.mem_get_info(model.device)
    reserved = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    config = model.config.get_text_config()
    width = 12 * config.hidden_size + 4 * int(getattr(config, "intermediate_size", 4 * config.hidden_size))
    return max(_MIN_BUDGET, min(_GPU_BUDGET, int(_SHARE * (free + reserved) / (width * model.dtype.itemsize))))


def trim_heap() -> None:
    """Give freed memory of the process back to the system, where the C library can (glibc keeps it otherwise)."""
    with suppress(OSError, AttributeError):  # another C library, or another system
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether `error` means that an allocation failed, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
