"""One forward pass over a batch of rows: token ids in, float32 logits at the positions read out.

Two ways with the same numbers. *Packed*: the rows stand end to end as one sequence, nothing is padded and the
shared prefix is read in place. *Padded*: one row a line, right-padded, the prefix's keys and values ahead of each.
Right padding needs no attention mask and no position ids: attention is causal, padding stands after every position
that is read, and positions count from the prefix on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from transformers.cache_utils import Cache

from guard_magic.engine.head import read_at
from guard_magic.engine.packed_attention import Pack, packed
from guard_magic.engine.prefix_cache import with_cache
from guard_magic.errors import ProtocolError

__all__ = ["Ids", "fetched", "on_device", "packed_logits", "padded_logits"]

Ids = Sequence[int]


def padded_logits(
    model: Any, rows: Sequence[Ids], reads: Sequence[Sequence[int]], past: Cache | None, *, narrow: bool = True
) -> torch.Tensor:
    """Return the logits of rows that are padded to the longest.

    Parameters
    ----------
    model
        A transformers causal language model.
    rows
        Token ids of each row behind the prefix.
    reads
        For each row the indices into it whose logits are wanted; as many for each.
    past
        Keys and values of the prefix; None where there is none.
    narrow
        Whether the last layer is computed only at `reads`.

    Returns
    -------
    torch.Tensor
        (n_rows, n_reads, n_vocabulary), float32, on the model's device.
    """
    width = max(map(len, rows))
    ids = on_device([[*row, *[0] * (width - len(row))] for row in rows], model)  # (n_rows, width)
    with read_at(model, on_device(reads, model), narrow=narrow):
        logits: torch.Tensor = model(input_ids=ids, **with_cache(model, past), use_cache=past is not None).logits
    return _checked(model, logits, (len(rows), len(reads[0]))).float()


def packed_logits(
    model: Any, rows: Sequence[Ids], reads: Sequence[Sequence[int]], past: Cache | None, n_prefix: int
) -> torch.Tensor:
    """Return the logits of rows that are packed end to end; as `padded_logits`.

    Parameters
    ----------
    n_prefix
        Tokens of the prefix.

    Raises
    ------
    NotImplementedError, RuntimeError
        Where this model or device cannot attend so.
    """
    lengths = [len(row) for row in rows]
    starts = accumulate(lengths[:-1], initial=0)
    at = [start + read for start, of_row in zip(starts, reads, strict=True) for read in of_row]
    tokens = [token for row in rows for token in row]
    counted = [position for length in lengths for position in range(n_prefix, n_prefix + length)]
    ids, positions = on_device([[tokens], [counted]], model)  # (1, n_tokens) each
    bounds = on_device([0, *accumulate(lengths)], model, torch.int32)
    ends = on_device([[0, sum(lengths)], [0, n_prefix]], model, torch.int32)
    pack = Pack(lengths, past, bounds, ends)
    with packed(model, pack), read_at(model, on_device([at], model)):
        logits: torch.Tensor = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    return _checked(model, logits, (1, len(at))).float().view(len(rows), -1, logits.shape[-1])


def _checked(model: Any, logits: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Refuse logits of other positions than were asked for: the head that was narrowed is not the one that ran."""
    if logits.shape[:2] != shape:
        raise ProtocolError(
            f"{type(model).__name__} gave logits at {tuple(logits.shape[:2])} positions and not at {shape}: its "
            "forward() does not call its own output embeddings",
            hint="Was forward() replaced? Wrap the model as transformers made it.",
        )
    return logits


def on_device(values: Any, model: Any, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Return whole numbers as a tensor where the model is; to CUDA without waiting for the device."""
    tensor = torch.tensor(values, dtype=dtype)
    if model.device.type != "cuda":
        return tensor.to(model.device)
    return tensor.pin_memory().to(model.device, non_blocking=True)


def fetched(numbers: torch.Tensor) -> Callable[[], list[list[float]]]:
    """Bring numbers to the host; the function returned waits for them, and nothing else does."""
    if numbers.device.type != "cuda":
        return numbers.tolist
    host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True).copy_(numbers, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()

    def wait() -> list[list[float]]:
        done.synchronize()
        found: list[list[float]] = host.tolist()
        return found

    return wait
