"""What `gpu.py` measures of one guard, part by part; each fills the dictionary it is given as it goes."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from bounds import product_times, products_rows_per_s, rows_floor
from floors import DEVICES
from gpu_bench import Bench, Found, share
from gpu_watch import compiling, kernel_times, n_graphs
from timing import Timing, differences, latency_ms, run_way
from ways import forced_answers, forward_each, guard_for, read_all, tutorial_loop, with_engine

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.engine import generate
from guard_magic.engine.memory import token_budget
from guard_magic.engine.packing_check import can_pack, packing_error
from guard_magic.guards.float8 import float8_obstacle
from guard_magic.guards.quantize import quantize_linears
from guard_magic.scoring.progress import NOTHING, Cost, Watch
from guard_magic.verdict import Reading

__all__ = ["BUDGETS", "PARTS"]

BUDGETS = (4_096, 8_192, 16_384, 32_768, 65_536)
"""Tokens a batch that are tried."""

_OTHER_BUDGET = 16_384
_N_TEXTS = 256
_N_LATENCY = 20
_N_PRODUCTS = 16_384


def packing(bench: Bench, found: Found) -> None:
    """Say whether packing is accepted here and how far it is off, or what stands in its way."""
    found["flash"] = str(torch.ops.aten._flash_attention_forward.default._schema)
    found["float8_obstacle"] = float8_obstacle(torch.device(bench.settings.device))
    try:
        found["packing_error"] = packing_error(bench.guard.model, bench.encoded[0].prompt.ids)
    except Exception as error:  # whatever the kernel says is what is to be known
        found["packing_obstacle"] = f"{type(error).__name__}: {error}"[:500]
    found["packs"] = bench.engine.engine.packs
    if not found["packs"] and "packing_error" in found and not bench.settings.is_padded:
        found["forced"] = True  # the padded way is measured anyway; so much the more is known of the packed one
        bench.use_engine(packs=True)


def products(bench: Bench, found: Found) -> None:
    """Time the layers' products alone at a batch's size: what no engine of transformers' layers can be faster than."""
    device = torch.device(bench.settings.device)
    n_tokens = _N_PRODUCTS if device.type == "cuda" else 256
    fp8 = not float8_obstacle(device)
    times = product_times(bench.shape, n_tokens, device, bench.settings.dtype, fp8=fp8)
    floor = rows_floor(bench.shape, bench.encoded, DEVICES["H200 bf16"])
    found |= {"n_tokens": n_tokens, "times": times}
    for key in ("s", "fp8_s", "fp8_rounding_s"):
        if all(key in of_one for of_one in times.values()):
            found[f"rows_per_s_{key}"] = products_rows_per_s(bench.shape, times, n_tokens, floor, key)


def engine_way(bench: Bench, found: Found) -> None:
    """Time the engine."""
    bench.time_guard(found, "engine", bench.engine)


def whole_way(bench: Bench, found: Found) -> None:
    """Time rows packed end to end, each prompt whole."""
    bench.time_guard(
        found, "batches", with_engine(bench.guard, packs=bench.engine.engine.packs, share_prefix=False), repeats=2
    )


def padded_way(bench: Bench, found: Found) -> None:
    """Time the engine with rows padded instead of packed."""
    bench.time_guard(found, "padded", with_engine(bench.guard, packs=False), repeats=2)


def tutorial_way(bench: Bench, found: Found) -> None:
    """Time the published loop."""
    bench.time_way(found, "tutorial", tutorial_loop(bench.guard))


def forward_way(bench: Bench, found: Found) -> None:
    """Time one forward pass a row."""
    bench.time_way(found, "forward", forward_each(bench.guard))


def compiled_way(bench: Bench, found: Found) -> None:
    """Compile the engine's layers and time it; what compiling took is told apart."""
    _time_compiled(bench, found, "compiled")


def fp8_way(bench: Bench, found: Found) -> None:
    """Quantize this very model to FP8 and time it: nothing in bfloat16 can be measured after."""
    packs = bench.engine.engine.packs
    began = time.perf_counter()
    quantize_linears(bench.guard.model, "fp8")
    bench.guard.engine.prefixes.clear()
    found |= {"quantize_s": time.perf_counter() - began, "weight_bytes": bench.guard.nbytes}
    if packs:
        found["packing_error"] = packing_error(bench.guard.model, bench.encoded[0].prompt.ids)
        found["can_pack"] = can_pack(bench.guard.model, bench.encoded[0].prompt.ids)
    bench.use_engine(packs=packs)
    bench.time_guard(found, "fp8", bench.engine, floor="fp8")
    if packs:
        timing, way = Timing(), read_all(with_engine(bench.guard, packs=False), bench.made)
        run_way(way, bench.rows, timing, seconds=bench.spec.seconds)
        found["padded_rows_per_s"] = timing.rows_per_s
    _repeat(bench, found, "fp8")


def fp8_compiled_way(bench: Bench, found: Found) -> None:
    """Compile the FP8 layers."""
    _time_compiled(bench, found, "fp8_compiled", floor="fp8")


def _time_compiled(bench: Bench, found: Found, name: str, floor: str = "bf16") -> None:
    """Time the engine with compiled layers, after one run that compiles."""
    if not bench.engine.engine.packs:
        found["skipped"] = "rows are not packed here, and only packed batches are compiled"
        return
    bench.compiled = None
    guard = with_engine(bench.guard, packs=True, compiles=True)
    with compiling(found):
        began = time.perf_counter()
        list(read_all(guard, bench.made)(bench.rows))
        found["first_run_s"] = time.perf_counter() - began
    bench.time_guard(found, name, guard, floor=floor)
    found["n_graphs_after"] = n_graphs()
    found["compile_s"] = found["first_run_s"] - len(bench.rows) / found["rows_per_s"]
    bench.compiled = guard


def alone(bench: Bench, found: Found) -> None:
    """Read rows alone in float32, and hold the engine's bfloat16 scores against them."""
    rows = bench.rows[: bench.spec.n_alone]
    way, timing = read_all(bench.engine, bench.made, alone=True), Timing()
    list(way(rows[:2]))
    run_way(way, rows, timing, seconds=bench.spec.alone_s)
    again = Timing()
    run_way(way, rows[:8][::-1], again)
    bench.scores["alone"] = timing.scores
    found |= {"ms_a_row": 1e3 / timing.rows_per_s, "n": len(timing.scores), "peak_bytes": timing.peak_bytes}
    n = min(8, len(timing.scores))
    found["is_equal_again"] = all(again.scores[len(rows[:8]) - 1 - i] == timing.scores[i] for i in range(n))
    scores = sorted(timing.scores.values())
    found["score_range"], found["median_score"] = [scores[0], scores[-1]], statistics.median(scores)
    for name in ("engine", "tutorial", "forward"):
        if name in bench.scores:
            found[name] = differences(bench.scores[name], timing.scores)


def repeats(bench: Bench, found: Found) -> None:
    """Score the same rows again: the same way, in another order, and in batches of another size."""
    _repeat(bench, found, "engine")


def _repeat(bench: Bench, found: Found, name: str) -> None:
    rows = list(bench.rows)
    before = bench.scores.get(name) or bench.scored(rows)
    order = random.Random(1).sample(range(len(rows)), len(rows))
    found["same_again"] = differences(before, bench.scored(rows))
    moved = bench.scored([rows[i] for i in order])
    found["other_order"] = differences(before, {order[i]: score for i, score in moved.items()})
    found["other_budget"] = differences(before, bench.scored(rows, budget=_OTHER_BUDGET))


def first_verdict(bench: Bench, found: Found) -> None:
    """Time a guard's way to its first verdict in a process where CUDA is warm, then single conversations."""
    chat = bench.rows[0].chat
    began = time.perf_counter()
    guard = guard_for(bench.guard.model, bench.guard.tokenizer)
    wrapped = time.perf_counter()
    guard.score([chat])
    first = time.perf_counter()
    guard.score([chat])
    found |= {"wrap_s": wrapped - began, "first_s": first - wrapped, "second_s": time.perf_counter() - first}
    found["latency"] = latency_ms(guard, bench.rows[:_N_LATENCY])


class _First(Watch):
    """When the first row was done."""

    at = math.nan

    def finish(self, n_rows: int, cost: Cost = NOTHING) -> None:
        if n_rows and math.isnan(self.at):
            self.at = time.perf_counter()


def public(bench: Bench, found: Found) -> None:
    """Score the rows through the public path, rows encoded in its own thread; and what the host has to do."""
    from guard_magic.guards.request import Request
    from guard_magic.scoring.cache import ScoreCache
    from guard_magic.scoring.run import score_rows

    bench.guard.score([bench.rows[0].chat])
    chats = [parse_conversation(row.chat) for row in bench.rows]
    request, rates = Request(bench.guard, bench.guard.policy, 0.5), []
    for _ in range(2):
        cache, watch = ScoreCache(), _First()
        began = time.perf_counter()
        score_rows(chats, request, cache, watch=watch)
        rates.append(len(chats) / (time.perf_counter() - began))
        found |= {"rows_per_s": statistics.median(rates), "rates": rates, "first_verdict_s": watch.at - began}
    found["share_of_floor"] = share(found["rows_per_s"], bench.floors.get("bf16"))
    began = time.perf_counter()
    score_rows(chats, request, cache)
    found["host_us_a_row"] = 1e6 * (time.perf_counter() - began) / len(chats)
    began, used = time.perf_counter(), time.process_time()
    bench.guard.encode_all(chats)
    found["ask_us_a_row"] = 1e6 * (time.perf_counter() - began) / len(chats)
    found["ask_cpu_us_a_row"] = 1e6 * (time.process_time() - used) / len(chats)


def text(bench: Bench, found: Found) -> None:
    """Let the guard write for rows whose verdict is not safe: as many tokens as answers have, and 50.

    Random weights never stop by themselves.
    """
    read: dict[int, Any] = {}
    for batch in bench.engine.read(bench.encoded[: 4 * _N_TEXTS]):
        read.update(batch)
    flagged = [i for i, reading in read.items() if isinstance(reading, Reading) and reading.log_odds >= 0]
    flagged = flagged[: _N_TEXTS if bench.settings.on_cuda else 4]
    whole = generate.MAX_NEW_TOKENS
    try:
        for n_new in (max(map(len, forced_answers(bench.guard).values())), whole):
            generate.MAX_NEW_TOKENS = n_new
            began = time.perf_counter()
            batches = list(bench.guard.write([bench.encoded[i] for i in flagged], [read[i] for i in flagged]))
            took = time.perf_counter() - began
            n_written = sum(text is not None for batch in batches for _, text in batch)
            found[f"{n_new}_tokens"] = {"rows_per_s": n_written / took, "n": n_written, "n_asked": len(flagged)}
    finally:
        generate.MAX_NEW_TOKENS = whole


def sweep(bench: Bench, found: Found) -> None:
    """Time the engine, compiled too where it is, at several batch budgets."""
    guards = {"engine": bench.engine, **({"compiled": bench.compiled} if bench.compiled else {})}
    rows = bench.rows[: bench.spec.n_sweep]
    for budget in BUDGETS if bench.settings.on_cuda else BUDGETS[:2]:
        for name, guard in guards.items():
            timing, before = Timing(), guard.engine.n_forwards
            guard.engine.budget = budget
            try:
                run_way(read_all(guard, bench.made), rows, timing, seconds=bench.spec.seconds)
            finally:
                guard.engine.budget = None
            of_one = {"budget": budget, "rows_per_s": timing.rows_per_s, "peak_bytes": timing.peak_bytes}
            of_one["n_batches"] = guard.engine.n_forwards - before
            found.setdefault(name, []).append(of_one)
    found["n_graphs"] = n_graphs()


def profile(bench: Bench, found: Found) -> None:
    """Say where one full batch of the engine spends the device's time; compiled too where it is."""
    budget = token_budget(bench.guard.model, is_packed=True)
    mean = statistics.fmean(len(encoded.prompt.ids) - encoded.prompt.n_prefix for encoded in bench.encoded)
    rows = bench.rows[: max(2, int(0.9 * budget / mean))]
    for name, guard in {"engine": bench.engine, "compiled": bench.compiled}.items():
        if guard is not None:
            found[name] = kernel_times(read_all(guard, bench.made), rows, torch.device(bench.settings.device))


PARTS: tuple[tuple[str, Callable[[Bench, Found], None], float, float], ...] = (
    ("trial", packing, 15, 0),
    ("ways/engine", engine_way, 40, 0),
    ("ways/tutorial", tutorial_way, 15, 0),
    ("numbers", alone, 40, 0),
    ("ways/compiled", compiled_way, 90, 0),
    ("ways/batches", whole_way, 30, 0),
    ("ways/padded", padded_way, 30, 0),
    ("ways/forward", forward_way, 15, 0),
    ("repeats", repeats, 30, 0),
    ("public", public, 25, 0),
    ("profile", profile, 20, 30),
    ("first_verdict", first_verdict, 10, 30),
    ("products", products, 10, 30),
    ("text", text, 20, 30),
    ("sweep", sweep, 40, 30),
    ("ways/fp8", fp8_way, 45, 0),
    ("ways/fp8_compiled", fp8_compiled_way, 75, 0),
)
"""What is measured of each guard, in order: where it stands in the report, what does it, seconds at most, and seconds
that it must leave to what comes after: FP8 is worth more than the details before it, and can only be last."""
