"""Floors for the rows at hand on the device at hand, and what that device was measured to do.

`floors.py` has the same floors for the whole dev split on devices that are known by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from counting import Shape, Work, mean_work, prefill_work
from floors import DEVICES, FP8_GAIN, Device, Floor, pass_seconds, product_seconds

from guard_magic.guards.encoded import Encoded
from guard_magic.guards.float8 import float8_obstacle, tensor_core_product, to_float8

__all__ = [
    "known_device",
    "loop_rows_per_s",
    "measure_device",
    "measured_device",
    "product_times",
    "products_rows_per_s",
    "rows_floor",
    "seconds_of",
]

_SIDE = 8_192
_COPIED = 1 << 30


def known_device(name: str, *, fp8: bool = False) -> Device | None:
    """Return what a GPU of this name can do in bfloat16 or FP8; None where that is not known."""
    for card in ("H200", "H100"):
        if card in name:
            bf16 = DEVICES[f"{card} bf16"]
            return replace(bf16, name=f"{card} FP8", products=FP8_GAIN * bf16.products, weight=1) if fp8 else bf16
    return None


def measured_device(known: Device, rates: dict[str, float | None], *, fp8: bool = False) -> Device | None:
    """Return the same device with the rates that `measure_device` found; None where they are missing."""
    products, half = rates.get("fp8_flops" if fp8 else "bf16_flops"), rates.get("bf16_flops")
    bandwidth = rates.get("bytes_per_s")
    if not products or not half or not bandwidth:
        return None
    return replace(known, products=products, attention=half, bandwidth=bandwidth)


def rows_floor(shape: Shape, encoded: Sequence[Encoded], device: Device, *, shares: bool = True) -> Floor:
    """Return the floor of scoring these rows once, in full batches, as `floors.floor_of` does for the dev split."""
    continuation = encoded[0].questions[0].continuation
    sizes = [(row.prompt.n_prefix, len(row.prompt.ids) - row.prompt.n_prefix) for row in encoded]
    prefixes = {row.prompt.ids[: row.prompt.n_prefix] for row in encoded}
    how: dict[str, Any] = {
        "n_continuation": len(continuation.tokens),
        "offsets": continuation.offsets,
        "itemsize": device.number,
    }
    work = mean_work(shape, sizes, shares=shares, **how)
    n_prefix = fmean(n for n, _ in sizes)
    n_tokens = fmean(n for _, n in sizes) + len(continuation.tokens) + (0 if shares else n_prefix)
    batch_bytes = shape.n_weights * device.weight
    if shares:
        once = sum((prefill_work(shape, len(ids), itemsize=device.number) for ids in prefixes), Work())
        work += once.times(1 / len(encoded))
        batch_bytes += shape.n_layers * shape.kv_width * n_prefix * device.number
    nbytes = work.activations + batch_bytes * n_tokens / device.batch
    return Floor(n_tokens, work, nbytes, product_seconds(work, device), nbytes / device.bandwidth)


def loop_rows_per_s(shape: Shape, encoded: Sequence[Encoded], n_answers: Sequence[int], device: Device) -> float:
    """Return the floor of the tutorial's loop over these rows, in rows a second.

    Parameters
    ----------
    n_answers
        Tokens that are generated for each row, the end included; the last is not passed on.
    """
    seconds = []
    for row, n_answer in zip(encoded, n_answers, strict=True):
        n = len(row.prompt.ids)
        steps = [(0, n), *((known, 1) for known in range(n, n + n_answer - 1))]
        seconds.append(sum(pass_seconds(shape, device, *step) for step in steps))
    return 1 / fmean(seconds)


def seconds_of(work: Callable[[], object], device: torch.device, n: int = 10) -> float:
    """Return the mean seconds of a call, after two that are not counted."""
    for _ in range(2):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(n):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / n


@torch.inference_mode()
def measure_device(device: torch.device, side: int = _SIDE, copied: int = _COPIED) -> dict[str, Any]:
    """Measure matrix products in bfloat16, FP8 and float32, a copy, and the start of a small kernel.

    Returns
    -------
    dict
        Operations a second, bytes a second (read and written), seconds a start; None for FP8 where it is not had.
    """
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    found: dict[str, Any] = {"side": side, "bf16_flops": 2 * side**3 / seconds_of(lambda: left @ right, device)}
    obstacle = float8_obstacle(device)
    found["float8_obstacle"] = obstacle
    found["fp8_flops"] = None
    if not obstacle:
        sides = (*to_float8(left), *to_float8(right))
        product = seconds_of(lambda: tensor_core_product(*sides, torch.bfloat16), device)
        found["fp8_flops"] = 2 * side**3 / product
    wide = [state.float() for state in (left, right)]
    found["float32_flops"] = 2 * side**3 / seconds_of(lambda: wide[0] @ wide[1], device, 3)
    source = torch.empty(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["bytes_per_s"] = 2 * copied / seconds_of(lambda: target.copy_(source), device)
    small = torch.zeros(1, device=device)
    found["launch_s"] = seconds_of(lambda: small.add_(1), device, 1_000)
    return found


@torch.inference_mode()
def product_times(
    shape: Shape, n_tokens: int, device: torch.device, dtype: torch.dtype, *, fp8: bool = False
) -> dict[str, dict[str, float]]:
    """Measure one layer's products at a batch's size: what a perfect engine would be left with.

    Returns
    -------
    dict
        For each matrix how often a layer has it, and seconds in `dtype`; where `fp8`, also of the FP8 product alone
        and with the rounding of its input.
    """
    sizes = {
        "q": (shape.hidden, shape.q_width, 1),
        "kv": (shape.hidden, shape.kv_width // 2, 2),
        "o": (shape.q_width, shape.hidden, 1),
        "gate_up": (shape.hidden, shape.intermediate, 2),
        "down": (shape.intermediate, shape.hidden, 1),
    }
    found = {}
    for name, (n_in, n_out, times) in sizes.items():
        states = torch.randn(n_tokens, n_in, device=device, dtype=dtype)
        weight = torch.randn(n_out, n_in, device=device, dtype=dtype)
        of_one = {"n": times, "flops": 2.0 * n_tokens * n_in * n_out}
        of_one["s"] = seconds_of(lambda s=states, w=weight: torch.nn.functional.linear(s, w), device, 5)
        if fp8:
            sides = (*to_float8(states), *to_float8(weight))
            of_one["fp8_s"] = seconds_of(lambda p=sides: tensor_core_product(*p, dtype), device, 5)
            of_one["fp8_rounding_s"] = seconds_of(lambda s=states: to_float8(s), device, 5)
        found[name] = of_one
    return found


def products_rows_per_s(
    shape: Shape, times: dict[str, dict[str, float]], n_tokens: int, floor: Floor, key: str = "s"
) -> float:
    """Return rows a second if the layers' products took what `product_times` measured and nothing else took time."""
    whole = sum(of_one["n"] * of_one[key] for of_one in times.values()) / n_tokens  # seconds a token in one layer
    keys = 2 * times["kv"][key] / n_tokens
    return 1 / (floor.n_tokens * ((shape.n_layers - 1) * whole + keys))
