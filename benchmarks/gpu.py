"""Guards of the true shapes on one GPU, against the floor: every way to score, every number format, in under 9 minutes.

    python benchmarks/gpu.py --out gpu.json            (then: python benchmarks/plot.py gpu.json)
    python benchmarks/gpu.py --device cpu --shape tiny qwen3guard-tiny --rows 8       (a rehearsal)

Llama-Guard-3-8B, Qwen3Guard-Gen-0.6B and Llama-Guard-3-1B, in this order, with their true tokenizers and templates over
rows of a public dev split's lengths; weights are random and made on the device. For each guard: whether packing is
accepted, the engine and the ways that lead to it, scores against float32 read alone, compiled layers, FP8, the public
path, text, batch sizes, time to the first verdict, and where one batch's time goes. Then the tests marked `gpu`.

A part that fails or takes too long is noted and the rest goes on; the report is written after every part and is
the last line printed. Needs the package's runtime dependencies, and `llama-models` and `dashscope` for the tokenizer
files, not a hub account. What each number means is in README.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import subprocess
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bounds import measure_device
from gpu_bench import Bench, Settings
from gpu_guards import SPECS
from gpu_parts import PARTS
from gpu_run import Run
from ways import ROOT, environment

from guard_magic.engine import local

__all__ = ["main"]

LIMIT_S = 500.0
"""Wall-clock seconds after which a run is stopped, JSON printed; imports come before."""

_BUILD_S, _CLOSE_S, _TESTS_S, _DEVICE_S = 90, 10, 150, 20


def measure_guard(run: Run, bench: Bench, until: float, skip: Collection[str]) -> None:
    """Do all parts of one guard but `skip`, while more seconds of the run than `until` are left."""
    where = f"shapes/{bench.spec.shape}"
    if run.part(f"{where}/build", bench.build, _BUILD_S, until=until, again=True):
        for name, work, seconds, kept in PARTS:
            if name not in skip:
                run.part(f"{where}/{name}", partial(work, bench), seconds, until=until + min(kept, run.limit / 20))
    run.part(f"{where}/close", bench.close, _CLOSE_S, again=True)


def measure_all(run: Run, args: argparse.Namespace) -> None:
    """Measure the device, then each guard in its part of the time, then run the tests."""
    is_padded = args.padded or run.report["n_restarts"] > 1
    settings = Settings(args.device, args.dtype, args.rows, args.repeats, is_padded)
    if is_padded:
        run.report["is_padded"] = True
        local.can_pack = lambda model, ids: False
    run.part("rates", lambda found: found.update(_rates(args.device)), _DEVICE_S)
    whole = sum(SPECS[shape].share for shape in args.shape)
    left = reserved = 0.0
    for shape in args.shape:
        left += SPECS[shape].share / whole
        reserved = run.limit * (1 - left)
        measure_guard(run, Bench(SPECS[shape], settings, run.report.get("rates", {})), reserved, args.skip)
    if args.tests:
        run.part("tests", lambda found: found.update(_test(run)), _TESTS_S)


def _rates(device: str) -> dict[str, Any]:
    small = {"side": 256, "copied": 1 << 20}
    return measure_device(torch.device(device), **({} if device.startswith("cuda") else small))


def _test(run: Run) -> dict[str, Any]:
    """Run the tests marked `gpu`."""
    if not run.on_cuda:
        return {"skipped": "no CUDA device asked for"}
    if importlib.util.find_spec("pytest") is None:
        return {"skipped": "pytest is not installed"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-q",
        "-W",
        "default",
        "tests/test_gpu.py",
        "tests/guards/test_quantize.py",
    ]
    seconds = max(5.0, min(run.seconds_left, _TESTS_S) - 5)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    print(done.stdout[-3_000:], done.stderr[-1_000:])
    return {"exit_code": done.returncode, "summary": done.stdout.strip().splitlines()[-12:]}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Guards of the true shapes on one GPU, against the floor.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", nargs="+", choices=list(SPECS), default=list(SPECS)[:3])
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="by default bfloat16 on CUDA")
    parser.add_argument("--rows", type=int, help="of a run; by default as many as keep a GPU busy for seconds")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way through the engine; the median counts")
    parser.add_argument("--threads", type=int, help="of torch; by default torch's own choice")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="longest run of everything")
    parser.add_argument("--tests", action=argparse.BooleanOptionalAction, default=True, help="run the tests last")
    parser.add_argument(
        "--skip", nargs="+", default=[], choices=[name for name, *_ in PARTS], help="parts to leave out"
    )
    parser.add_argument("--padded", action="store_true", help="pack nothing, as after the device was lost twice")
    parser.add_argument("--out", type=Path, help="write the JSON here, after every part")
    parser.add_argument("--resume", type=Path, help="go on with the report of a run that lost its device")
    args = parser.parse_args(arguments)
    args.dtype = getattr(torch, args.dtype or ("float32" if args.device == "cpu" else "bfloat16"))
    return args


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and print one line of JSON last."""
    args = _parse(arguments)
    on_cuda = args.device.startswith("cuda")
    if on_cuda and not torch.cuda.is_available():
        sys.exit("No CUDA device. A rehearsal: python benchmarks/gpu.py --device cpu --shape tiny --rows 8")
    if args.threads:
        torch.set_num_threads(args.threads)
    about = {
        "benchmark": "gpu",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "dtype": str(args.dtype).removeprefix("torch."),
        **environment(args.device),
    }
    again = [str(Path(__file__).resolve()), *(sys.argv[1:] if arguments is None else arguments)]
    run = Run(about, args.limit, on_cuda=on_cuda, out=args.out, again=again)
    if args.resume:
        run.resume(args.resume)
    with run.watched():
        measure_all(run, args)
    run.report["complete"] = not run.report["failed"] and not run.report["skipped"]
    print(run.save())


if __name__ == "__main__":
    main()
