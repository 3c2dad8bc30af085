"""What goes on while a GPU works: what torch.compile did and said, and where the device's time goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._dynamo.utils import counters
from ways import Row, Way

__all__ = ["compiling", "kernel_times", "n_graphs"]

_N_KERNELS = 25
_N_MESSAGES = 8
_LOGGERS = ("torch._dynamo", "torch._inductor")


class _Kept(logging.Handler):
    """Keeps the first warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < _N_MESSAGES:
            self.lines.append(record.getMessage()[:300])


@contextmanager
def compiling(found: dict[str, Any]) -> Iterator[None]:
    """Note how many graphs are compiled in the block, what breaks them, and what torch warns of.

    Code compiled before is forgotten: a layer's code is cached for all models together, a few variants at the most.
    """
    torch.compiler.reset()
    counters.clear()
    kept = _Kept()
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(kept)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(kept)
        found["n_graphs"] = n_graphs()
        found["frames"] = dict(counters["frames"])
        found["graph_breaks"] = {reason.splitlines()[0][:120]: n for reason, n in counters["graph_break"].items()}
        found["messages"] = kept.lines


def n_graphs() -> int:
    """Return how many graphs were compiled since the last `compiling` began."""
    return int(counters["stats"]["unique_graphs"])


def kernel_times(way: Way, rows: Sequence[Row], device: torch.device) -> dict[str, Any]:
    """Run a way twice, the second time under torch's profiler.

    Returns
    -------
    dict
        Seconds without the profiler, seconds that the device was busy, and the kernels (operators on the CPU) that took
        longest: name, calls, seconds.
    """
    activity = torch.profiler.ProfilerActivity
    on_cuda = device.type == "cuda"
    list(way(rows))
    began = time.perf_counter()
    list(way(rows))
    took = time.perf_counter() - began
    with torch.profiler.profile(activities=[activity.CUDA if on_cuda else activity.CPU]) as profiler:
        list(way(rows))
        if on_cuda:
            torch.cuda.synchronize()
    key = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    events = [event for event in profiler.key_averages() if getattr(event, key) > 0]
    events.sort(key=lambda event: -getattr(event, key))
    kernels = [
        {"name": event.key[:160], "calls": event.count, "s": getattr(event, key) / 1e6} for event in events[:_N_KERNELS]
    ]
    busy = sum(getattr(event, key) for event in events) / 1e6
    return {
        "n_rows": len(rows),
        "wall_s": took,
        "busy_s": busy,
        "n_kernels": sum(event.count for event in events),
        "kernels": kernels,
    }
