"""How the ways of `ways.py` are timed against each other, and how far their scores are apart."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ways import WAYS, Row, Way, encode_rows

from guard_magic.guards.guard import Guard

__all__ = [
    "Timing",
    "count_tokens",
    "differences",
    "largest_difference",
    "latency_ms",
    "print_table",
    "run_way",
    "summarise",
    "time_ways",
]


@dataclass
class Timing:
    """What one way did.

    Attributes
    ----------
    rates
        Rows a second of each run.
    scores
        `unsafe_score` by row number, of the last run.
    peak_bytes
        Most memory allocated on the device in the last run, weights included; None off CUDA.
    """

    rates: list[float] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    peak_bytes: int | None = None

    @property
    def rows_per_s(self) -> float:
        """Median over the runs; nan where there was none."""
        return statistics.median(self.rates) if self.rates else math.nan

    @property
    def spread(self) -> float:
        """(fastest - slowest) / median of the runs: how noisy they were."""
        return (max(self.rates) - min(self.rates)) / self.rows_per_s if self.rates else math.nan


def time_ways(
    ways: dict[str, Way],
    rows: Sequence[Row],
    repeats: int,
    *,
    seconds: float = math.inf,
    go_on: Callable[[], bool] = lambda: True,
) -> dict[str, Timing]:
    """Run all ways in turn, `repeats` times, beginning with another one each time.

    Parameters
    ----------
    seconds
        A run stops after this long; its rate is that of the rows it finished.
    go_on
        Asked before each run; nothing more is run once it says no.
    """
    for way in ways.values():
        if go_on():
            list(way(rows[:2]))  # first calls allocate, compile and render
    timings = {name: Timing() for name in ways}
    names = list(ways)
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            if go_on():
                run_way(ways[name], rows, timings[name], seconds=seconds)
    return timings


def run_way(way: Way, rows: Sequence[Row], timing: Timing, *, seconds: float = math.inf) -> None:
    """Run a way once, for `seconds` at most, and add what it did to `timing`."""
    scores: dict[int, float] = {}
    on_cuda = torch.cuda.is_initialized()
    if on_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    took = math.inf
    for i, score in way(rows):
        scores[i] = score
        took = time.perf_counter() - started
        if took > seconds:
            break
    timing.rates.append(len(scores) / took)
    timing.scores = scores
    timing.peak_bytes = torch.cuda.max_memory_allocated() if on_cuda else None


@contextmanager
def count_tokens(model: Any) -> Iterator[list[int]]:
    """Within the block, the tokens of each forward pass of `model` are added to the list, padding included."""
    passes: list[int] = []

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        passes.append(kwargs["input_ids"].numel())

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield passes
    finally:
        hook.remove()


def latency_ms(guard: Guard, rows: Sequence[Row]) -> dict[str, float]:
    """Return milliseconds from one conversation to its verdict, everything warm: one call a row."""
    guard.score([rows[0].chat])
    times = []
    for row in rows:
        started = time.perf_counter()
        guard.score([row.chat])
        times.append(1e3 * (time.perf_counter() - started))
    return {"median_ms": statistics.median(times), "worst_ms": max(times), "n": len(times)}


def largest_difference(one: Timing, other: Timing) -> float | None:
    """Return max |difference of unsafe_score| over the rows that both scored; nan where a score is missing."""
    both = [abs(one.scores[i] - other.scores[i]) for i in one.scores.keys() & other.scores.keys()]
    if not both:
        return None
    return math.nan if any(map(math.isnan, both)) else max(both)


def differences(one: dict[int, float], other: dict[int, float], threshold: float = 0.5) -> dict[str, Any]:
    """Return how far two sets of scores by row number are apart, over the rows that both have.

    Returns
    -------
    dict
        Number of rows, of missing (nan) scores, max, 99th percentile and mean |difference of unsafe_score|, the rank
        correlation (Spearman), and how many rows stand on the other side of `threshold`.
    """
    rows = sorted(one.keys() & other.keys())
    a, b = (np.array([scores[i] for i in rows], dtype=np.float64) for scores in (one, other))
    there = ~(np.isnan(a) | np.isnan(b))
    found: dict[str, Any] = {"n": len(rows), "n_missing": int((~there).sum())}
    a, b = a[there], b[there]
    if not len(a):
        return found
    off = np.abs(a - b)
    return found | {
        "max": float(off.max()),
        "p99": float(np.quantile(off, 0.99)),
        "mean": float(off.mean()),
        "rank_correlation": _correlation(_ranks(a), _ranks(b)),
        "flips": int(((a >= threshold) != (b >= threshold)).sum()),
        "is_equal": bool((a == b).all()),
    }


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[places]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else math.nan


def summarise(guard: Guard, rows: Sequence[Row], timings: dict[str, Timing]) -> dict[str, Any]:
    """Return the measured numbers of one guard under fixed keys.

    `prefix_ceiling` is (prefix + own) / own in tokens a row: what sharing the prefix could bring if nothing
    but tokens cost time. `prefix_gain` is what it brought, engine over batches. `tokens_per_s` counts own and
    appended tokens, as the engine reads them.
    """
    prompts = [encoded.prompt for encoded in encode_rows(guard, rows)]
    prefix = statistics.fmean(prompt.n_prefix for prompt in prompts)
    own = statistics.fmean(len(prompt.ids) - prompt.n_prefix for prompt in prompts)
    n_continuation = len(guard.questionnaire(None).questions[0].continuation.tokens)
    rates = {name: timing.rows_per_s for name, timing in timings.items()}
    ceiling = (prefix + own) / own
    gain = rates["engine"] / rates["batches"]
    engine = timings["engine"]
    scores = sorted(engine.scores.values())
    return {
        "n_rows": len(rows),
        "n_parameters": sum(weight.numel() for weight in guard.model.parameters()),
        "own_tokens": own,
        "prefix_tokens": prefix,
        "chain_tokens": n_continuation,
        "rows_per_s": rates,
        "tokens_per_s": rates["engine"] * (own + n_continuation),
        "spread": {name: timing.spread for name, timing in timings.items()},
        "ratio_to_tutorial": {name: rate / rates["tutorial"] for name, rate in rates.items()},
        "prefix_ceiling": ceiling,
        "prefix_gain": gain,
        "prefix_share": gain / ceiling,
        "max_delta": {name: largest_difference(timings[name], engine) for name in WAYS if name != "engine"},
        "n_compared": {name: len(timing.scores) for name, timing in timings.items()},
        "peak_bytes": {name: timing.peak_bytes for name, timing in timings.items()},
        "score_range": [scores[0], scores[-1]] if scores else None,
        "published_adds_bos": _adds_bos(guard, rows[0]),
    }


def _adds_bos(guard: Guard, row: Row) -> bool:
    """Say whether the published way of tokenizing puts another BOS before the template's own."""
    text, tokenizer = guard.render(row.chat), guard.tokenizer
    plain = tokenizer(text, add_special_tokens=False)["input_ids"]
    return len(tokenizer(text)["input_ids"]) > len(plain) and tokenizer.bos_token_id in plain


def print_table(name: str, result: dict[str, Any]) -> None:
    """Print one guard's result for people."""
    print(f"\n{name}: {result['n_parameters'] / 1e6:,.1f}M parameters, {result['n_rows']} rows")
    print(f"{'way':<10}{'rows/s':>10}{'x tutorial':>12}{'spread':>9}{'max |Δ score|':>15}")
    for way in WAYS:
        delta = result["max_delta"].get(way)
        shown = f"{delta:.1e}" if delta is not None else "-"
        rate, ratio, spread = (result[key][way] for key in ("rows_per_s", "ratio_to_tutorial", "spread"))
        print(f"{way:<10}{rate:>10.2f}{ratio:>12.2f}{spread:>9.0%}{shown:>15}")
    print(
        f"own tokens a row {result['own_tokens']:.1f}, prefix {result['prefix_tokens']:.1f}; sharing it: "
        f"{result['prefix_gain']:.2f}x of at most {result['prefix_ceiling']:.2f}x = {result['prefix_share']:.0%}"
    )
    print(
        f"{result['tokens_per_s']:,.0f} tokens/s; one conversation {result['latency']['median_ms']:.1f} ms; products "
        f"of these sizes run at {result['product_flops'] / 1e9:,.0f} GFLOP/s, and the engine has "
        f"{result['floor_share']['engine']:.0%} of the floor that follows"
    )
    if result["published_adds_bos"]:
        print("the published way of tokenizing writes BOS twice here, the others once: its scores differ for that")
