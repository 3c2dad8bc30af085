"""The four ways of `score.py` on CUDA, on a guard of Llama-Guard-3-8B's shape in bfloat16, in under 9 minutes.

    python benchmarks/gpu.py [--rows 512] [--seconds 15] [--out FILE]
    python benchmarks/gpu.py --device cpu --shape tiny --rows 8        (a rehearsal)

First the tests marked `gpu`, then: seconds to the first verdict, rows/s of each way, the engine at several
batch budgets, memory, and the differences that bfloat16 makes. Weights are random and made on the device
(about 16 GB). Whatever happens, the last line is JSON with what was measured until then.

Needs the package's runtime dependencies and `llama-models` (for the tokenizer file), not a hub account.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import math
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from shapes import SHAPES, llama3_tokenizer, random_model
from ways import (
    ROOT,
    Row,
    environment,
    guard_for,
    json_line,
    largest_difference,
    load_rows,
    print_table,
    read_all,
    summarise,
    time_ways,
    ways_of,
    with_engine,
)

from guard_magic.engine.memory import kv_bytes_per_token, token_budget

__all__ = ["main", "spread_answers"]

LIMIT_S = 525.0
"""Wall-clock seconds after which a run is stopped, JSON printed."""

BUDGETS = (1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536)
"""Padded tokens a batch that are tried."""

Part = Callable[[], Any]


class OutOfTime(BaseException):
    """Raised by the alarm where the whole run has taken too long; no `except Exception` may swallow it."""


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block after `seconds`."""

    def ring(signum: int, frame: Any) -> None:
        raise OutOfTime(f"stopped after {seconds:.0f} s")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@torch.inference_mode()
def spread_answers(model: Any, tokenizer: Any, rows: list[Row]) -> None:
    """Make a random model's activations sane and its scores span 0 to 1 over `rows`, in place.

    Projections get the variance that keeps activations near 1 at any width (fresh Llama weights explode at
    8B and vanish when tiny). Then the head's rows of the two verdict tokens are set: both far above the rest
    of the vocabulary, apart from each other along the direction in which the rows' states differ most.
    """
    for name, weight in model.named_parameters():
        if "proj" in name:
            weight.mul_(1.0 / (model.config.initializer_range * math.sqrt(weight.shape[1])))
    states = torch.cat([_verdict_state(model, tokenizer, row) for row in rows])  # (n_rows, hidden)
    mean = states.mean(0)
    along = torch.linalg.svd(states - mean, full_matrices=False).Vh[0]
    along -= mean * (along @ mean) / mean.square().sum()
    steps = states @ along
    lift = mean / mean.square().sum() * (_log_others(model, mean) + 5.0)
    lean = along * (2.0 / steps.std())
    offset = mean / mean.square().sum() * ((states @ lean).mean())
    for word, sign in (("unsafe", 1.0), ("safe", -1.0)):
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(word)] = (lift + sign * (lean - offset)).to(model.dtype)


def _verdict_state(model: Any, tokenizer: Any, row: Row) -> torch.Tensor:
    text = tokenizer.apply_chat_template(row.chat, tokenize=False) + "\n\n"
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to(model.device)
    return model.model(input_ids=ids, use_cache=False).last_hidden_state[:, -1].float()


def _log_others(model: Any, state: torch.Tensor) -> torch.Tensor:
    return (model.lm_head.weight @ state.to(model.dtype)).float().logsumexp(-1)


class Run:
    """One run: what it works on, and what it has found so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device(args.device)
        self.started = time.monotonic()
        self.report: dict[str, Any] = {"benchmark": "gpu", "shape": args.shape, **environment(args.device)}
        self.guard: Any = None
        self.failed: list[str] = []
        self.is_over = False

    @property
    def seconds_left(self) -> float:
        """Wall-clock seconds until the run must stop."""
        return self.args.limit - (time.monotonic() - self.started)

    def part(self, name: str, work: Part) -> None:
        """Do one part and note its result, its seconds and its peak memory; a failure is noted too."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began = time.monotonic()
        try:
            self.report[name] = work()
        except Exception as error:
            traceback.print_exc()
            self.failed.append(name)
            self.report[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
        took = time.monotonic() - began
        self.report.setdefault("seconds", {})[name] = round(took, 2)
        self.report.setdefault("peak_bytes", {})[name] = self.peak_bytes()
        print(f"[{time.monotonic() - self.started:5.0f} s] {name}: {took:.1f} s", flush=True)

    def peak_bytes(self) -> int | None:
        """Return the peak of allocated device memory in this part; None off CUDA."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None

    def test(self) -> dict[str, Any]:
        """Run the tests marked `gpu`."""
        if self.device.type != "cuda":
            return {"skipped": "no CUDA device asked for"}
        if importlib.util.find_spec("pytest") is None:
            return {"skipped": "pytest is not installed"}
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--continue-on-collection-errors"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
        print(done.stdout[-3_000:], done.stderr[-1_000:])
        return {"exit_code": done.returncode, "summary": done.stdout.strip().splitlines()[-1:]}

    def build(self) -> dict[str, Any]:
        """Make the guard on the device."""
        tokenizer = llama3_tokenizer()
        dtype = torch.bfloat16 if self.args.dtype == "bfloat16" else torch.float32
        model = random_model(self.args.shape, dtype=dtype, device=self.args.device)
        spread_answers(model, tokenizer, load_rows(24))
        self.guard = guard_for(model, tokenizer)
        return {
            "dtype": self.args.dtype,
            "weight_bytes": self.guard.nbytes,
            "kv_bytes_per_token": kv_bytes_per_token(model),
            "chosen_budget": token_budget(model),
        }

    def first_verdict(self) -> dict[str, float]:
        """Return seconds to one verdict: of a guard just wrapped, and once its plans and prefix are there."""
        chat = load_rows(1)[0].chat
        began = time.perf_counter()
        guard = guard_for(self.guard.model, self.guard.tokenizer)
        wrapped = time.perf_counter()
        guard.score([chat])
        first = time.perf_counter()
        guard.score([chat])
        return {"wrap_s": wrapped - began, "first_s": first - wrapped, "second_s": time.perf_counter() - first}

    def compare(self) -> dict[str, Any]:
        """Time the four ways; each run ends after `--seconds`."""
        rows = load_rows(self.args.rows)
        timings = time_ways(
            ways_of(self.guard),
            rows,
            self.args.repeats,
            seconds=self.args.seconds,
            go_on=lambda: self.seconds_left > 120,
        )
        result = summarise(self.guard, rows, timings)
        print_table(f"shape {self.args.shape}, {self.args.dtype}, {self.report['device']}", result)
        return result

    def sweep(self) -> list[dict[str, Any]]:
        """Time the engine at several batch budgets, with its peak memory and what it changes in the scores."""
        rows = load_rows(2 * self.args.rows)
        found: list[dict[str, Any]] = []
        first = None
        for budget in BUDGETS if self.device.type == "cuda" else BUDGETS[:2]:
            if self.seconds_left < 60:
                break
            way = {"engine": read_all(with_engine(self.guard, budget=budget))}
            timing = time_ways(way, rows, self.args.repeats, seconds=self.args.seconds)["engine"]
            first = first or timing
            found.append(
                {
                    "budget": budget,
                    "rows_per_s": timing.rows_per_s,
                    "peak_bytes": timing.peak_bytes,
                    "max_delta": largest_difference(timing, first),
                }
            )
            print(
                f"  budget {budget:>6}: {timing.rows_per_s:8.1f} rows/s, peak {timing.peak_bytes or 0:,} B", flush=True
            )
        return found

    def close(self) -> dict[str, int] | None:
        """Drop the model and say what stays allocated."""
        self.guard.close()
        self.guard = None
        gc.collect()
        if self.device.type != "cuda":
            return None
        torch.cuda.empty_cache()
        return {"allocated_bytes": torch.cuda.memory_allocated(), "reserved_bytes": torch.cuda.memory_reserved()}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The four ways of score.py on CUDA.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", choices=list(SHAPES), default="8b")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="by default bfloat16 on CUDA")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=13.0, help="longest run of one way")
    parser.add_argument("--threads", type=int, help="of torch; by default torch's own choice")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="longest run of everything")
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    args = parser.parse_args(arguments)
    args.dtype = args.dtype or ("float32" if args.device == "cpu" else "bfloat16")
    return args


def _check_needs(device: str) -> None:
    if importlib.util.find_spec("llama_models") is None:
        sys.exit("The tokenizer file is missing: pip install --no-deps llama-models tiktoken")
    if device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("No CUDA device. A rehearsal: python benchmarks/gpu.py --device cpu --shape tiny --rows 8")


def _parts(run: Run) -> None:
    run.part("tests", run.test)
    run.part("build", run.build)
    if run.guard is None:
        return
    run.part("first_verdict", run.first_verdict)
    run.part("ways", run.compare)
    run.part("sweep", run.sweep)
    run.part("close", run.close)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and print one line of JSON last."""
    args = _parse(arguments)
    _check_needs(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    run = Run(args)
    with suppress(OutOfTime), _alarm(args.limit):
        _parts(run)
        run.is_over = True
    run.report["complete"] = run.is_over and not run.failed
    run.report["wall_s"] = round(time.monotonic() - run.started, 1)
    line = json_line(run.report)
    if args.out:
        args.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
