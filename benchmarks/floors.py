"""What devices can do at most, and the floors that follow for the guards of `lengths.py`; nothing is run.

The floor of a row's time is the larger of operations / rate and bytes / bandwidth, by the counts of `counting.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from counting import Shape, Work, mean_work, prefill_work, row_work
from lengths import EMBEDDED, Lengths, load_lengths
from shapes import model_config
from transformers import AutoConfig

__all__ = [
    "ASK_US",
    "CALL_S",
    "DEVICES",
    "GUARDS",
    "Device",
    "Floor",
    "floor_of",
    "lengths_of",
    "loop_seconds",
    "pass_seconds",
    "prefixes_of",
    "product_seconds",
    "shape_of",
]


@dataclass(frozen=True, slots=True)
class Device:
    """What a device can do at most.

    Attributes
    ----------
    name, loop
        How it is called, and the device that the tutorial's loop is counted on: the same in the guard's own format.
    products
        Operations a second of the layers' products.
    attention
        Operations a second of attention and head.
    plain32
        Operations a second of a plain float32 product.
    bandwidth
        Bytes a second.
    weight, number
        Bytes of a weight, and of a number between products.
    batch
        Own tokens of a batch: the engine's largest budget there.
    """

    name: str
    loop: str
    products: float
    attention: float
    plain32: float
    bandwidth: float
    weight: int
    number: int
    batch: int


GPU_BATCH, CPU_BATCH = 65_536, 2_048
FLOAT32_GPU = 67e12
"""NVIDIA's data sheets of H100 SXM and H200 for float32 outside tensor cores."""
FP8_GAIN = 2.0
"""FP8 over bfloat16 by the same data sheets; the H200's own rate in FP8 has not been measured here."""
CPU_BANDWIDTH = 2 * 7.9e9
"""Twice what one thread read of 256 MB (best of 9, 2026-11-28, beside other work); caches give more."""

DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device("H200 bf16", "H200 bf16", 790e12, 790e12, FLOAT32_GPU, 4.3e12, 2, 2, GPU_BATCH),
        Device("H200 FP8", "H200 bf16", FP8_GAIN * 790e12, 790e12, FLOAT32_GPU, 4.3e12, 1, 2, GPU_BATCH),
        Device("H100 bf16", "H100 bf16", 798e12, 798e12, FLOAT32_GPU, 3.0e12, 2, 2, GPU_BATCH),
        Device("2 CPU cores float32", "2 CPU cores float32", 380e9, 380e9, 380e9, CPU_BANDWIDTH, 4, 4, CPU_BATCH),
        Device("2 CPU cores bf16", "2 CPU cores bf16", 2_700e9, 2_700e9, 380e9, CPU_BANDWIDTH, 2, 2, CPU_BATCH),
    )
}
"""Rates are measured (bfloat16 products on GPUs, products of the embedded guard's sizes on the CPU) unless said. All
are of dense products; attention is given the same rate, which no attention kernel reaches."""

GUARDS: dict[str, str] = {
    "llama-guard-3-8b": "8b",
    "llama-guard-3-1b": "1b",
    "qwen3guard-0.6b": "qwen3guard-0.6b",
    "embedded": "",
}
"""Families of `lengths.py`, and their shapes in `shapes.py`; the embedded guard's is in its file."""

ASK_US = {"llama-guard-3-8b": 118, "llama-guard-3-1b": 119, "qwen3guard-0.6b": 136, "embedded": 125}
"""Microseconds a row of `Guard.encode_all` on one CPU core over rows of these lengths: `python benchmarks/ask.py`,
4,000 rows, 2026-11-28. Before rows were encoded together: 480, 722, 685 and 448."""

CALL_S = 5e-6
"""Seconds that starting one small kernel from Python takes on CUDA: a usual figure, not measured here."""


@cache
def shape_of(guard: str) -> Shape:
    """Return a guard's shape."""
    known = GUARDS[guard]
    return Shape.of(model_config(known) if known else AutoConfig.from_pretrained(EMBEDDED, gguf_file="guard.gguf"))


@cache
def lengths_of(guard: str) -> Lengths:
    """Return the lengths of the dev split for a guard."""
    return load_lengths(guard)


@cache
def _work(guard: str, number: int, shares: bool = True) -> Work:
    lengths = lengths_of(guard)
    rows = [(row.n_prefix, row.n_own) for row in lengths.rows]
    settings: dict[str, Any] = {
        "n_continuation": lengths.n_continuation,
        "offsets": lengths.offsets,
        "itemsize": number,
    }
    return mean_work(shape_of(guard), rows, shares=shares, **settings)


@cache
def prefixes_of(guard: str, number: int) -> Work:
    """Return the work of all prefixes, once."""
    once = {(row.role, row.n_prefix) for row in lengths_of(guard).rows}
    return sum((prefill_work(shape_of(guard), n, itemsize=number) for _, n in once), Work())


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor of one guard on one device.

    Attributes
    ----------
    n_tokens
        Mean tokens a row that go through the model, the appended ones included.
    work
        Mean work of a row, its share of the prefixes included.
    nbytes
        Mean bytes of a row, its share of a batch's weights and prefixes included.
    product_s, byte_s
        Seconds a row of each.
    """

    n_tokens: float
    work: Work
    nbytes: float
    product_s: float
    byte_s: float

    @property
    def rows_per_s(self) -> float:
        """Rows a second at most."""
        return 1 / max(self.product_s, self.byte_s)

    @property
    def binds(self) -> str:
        """Which of the two is larger."""
        return "products" if self.product_s >= self.byte_s else "memory"


def floor_of(guard: str, device: Device, *, shares: bool = True) -> Floor:
    """Return the floor of scoring the whole dev split once, in full batches."""
    shape, lengths = shape_of(guard), lengths_of(guard)
    n_prefix = fmean(row.n_prefix for row in lengths.rows)
    n_tokens = fmean(row.n_own for row in lengths.rows) + lengths.n_continuation + (0 if shares else n_prefix)
    work = _work(guard, device.number, shares)
    if shares:
        work += prefixes_of(guard, device.number).times(1 / len(lengths.rows))
    batch_bytes = shape.n_weights * device.weight
    batch_bytes += shape.n_layers * shape.kv_width * n_prefix * device.number if shares else 0
    nbytes = work.activations + batch_bytes * n_tokens / device.batch
    return Floor(n_tokens, work, nbytes, product_seconds(work, device), nbytes / device.bandwidth)


def product_seconds(work: Work, device: Device) -> float:
    """Return how long a device computes."""
    return work.linear / device.products + (work.attention + work.head) / device.attention


def loop_seconds(guard: str, device: Device, *, call_s: float = 0.0) -> float:
    """Return the mean floor of a row of the tutorial's loop.

    One conversation at a time: a pass over the whole prompt, which gives the first token, and one more pass for each
    further token of the answer; the last, its end, is not passed on. Each pass reads all weights.

    Parameters
    ----------
    call_s
        Seconds that each torch operator takes at least.
    """
    shape, lengths = shape_of(guard), lengths_of(guard)
    rows = [(row.n_prefix + row.n_own, lengths.n_answer[row.is_unsafe]) for row in lengths.rows]
    seconds = {row: _answer_seconds(shape, device, *row, call_s) for row in set(rows)}
    return fmean(seconds[row] for row in rows)


def _answer_seconds(shape: Shape, device: Device, n_prompt: int, n_answer: int, call_s: float) -> float:
    steps = [(known, 1) for known in range(n_prompt, n_prompt + n_answer - 1)]
    called = shape.n_calls * call_s
    return sum(max(called, pass_seconds(shape, device, known, n)) for known, n in [(0, n_prompt), *steps])


def pass_seconds(shape: Shape, device: Device, n_known: int, n: int) -> float:
    """Return the floor of one pass at batch 1, its last layer whole, the head at one position."""
    work = row_work(shape, n_known, n, itemsize=device.number)
    whole = Work(linear=(n - 1) * shape.rest_ops)
    known = shape.n_layers * shape.kv_width * n_known * device.number
    nbytes = shape.n_weights * device.weight + work.activations + known
    return max(product_seconds(work + whole, device), nbytes / device.bandwidth)
