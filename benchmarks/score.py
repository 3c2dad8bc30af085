"""Rows a second of the tutorial's loop, of its simpler and faster forms, and of the engine, on the CPU.

    python benchmarks/score.py [--rows 96] [--lengths samples|dev] [--longest N] [--dtype float32|bfloat16]
                               [--repeats 5] [--guard cpu|embedded|both] [--threads N]

Why these numbers: the engine's promise is that a table is scored several times faster than by the published
loop with the same scores. `gpu.py` is the same on a GPU. Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bounds import product_times, rows_floor
from counting import Shape
from floors import CPU_BANDWIDTH, Device
from lengths import load_lengths, rows_of_lengths
from shapes import SHAPES, answering_model, llama3_tokenizer
from timing import latency_ms, print_table, summarise, time_ways
from transformers import AutoModelForCausalLM, AutoTokenizer
from ways import ROOT, Row, encode_rows, environment, guard_for, json_line, load_rows, ways_of

from guard_magic.guards.guard import Guard

__all__ = ["main", "measure"]

_EMBEDDED = ROOT / "guard_magic" / "embedded"
_BATCH = 1_024
_N_LATENCY = 20
Parts = tuple[Any, Any, str]
"""Model, tokenizer, and the family in `lengths.py`."""


def measure(parts: Parts, args: argparse.Namespace) -> dict[str, Any]:
    """Time the ways on one guard, one conversation at a time, and the products that bound them."""
    model, tokenizer, family = parts
    if model.dtype != args.dtype:
        model = copy.deepcopy(model).to(args.dtype)
    guard = guard_for(model, tokenizer)
    rows = _rows(guard, family, args)
    result = summarise(guard, rows, time_ways(ways_of(guard), rows, args.repeats))
    result["latency"] = latency_ms(guard, rows[:_N_LATENCY])
    return result | _floor(guard, rows, result["rows_per_s"])


def _rows(guard: Guard, family: str, args: argparse.Namespace) -> list[Row]:
    """Return rows of the package's samples, or of a dev split's lengths."""
    if args.lengths == "dev":
        return rows_of_lengths(guard, load_lengths(family), args.rows)

    def fits(row: Row) -> bool:
        texts = [message["content"] for message in row.chat]
        ids = guard.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return args.longest is None or sum(map(len, ids)) <= args.longest

    return load_rows(args.rows, fits)


def _floor(guard: Guard, rows: list[Row], rates: dict[str, float]) -> dict[str, Any]:
    """Return what the products of this model's own sizes run at here, and each way's part of the floor that follows."""
    shape, dtype = Shape.of(guard.model.config), guard.model.dtype
    times = product_times(shape, _BATCH, torch.device("cpu"), dtype)
    seconds = sum(of_one["n"] * of_one["s"] for of_one in times.values())
    rate = sum(of_one["n"] * of_one["flops"] for of_one in times.values()) / seconds
    size = dtype.itemsize
    device = Device("this CPU", "this CPU", rate, rate, rate, CPU_BANDWIDTH, size, size, _BATCH)
    floor = 1 / rows_floor(shape, encode_rows(guard, rows), device).product_s
    shares = {name: found / floor for name, found in rates.items()}
    return {"product_flops": rate, "floor_rows_per_s": floor, "floor_share": shares}


def _open_shape(shape: str) -> Parts:
    tokenizer = llama3_tokenizer()
    return answering_model(tokenizer, shape), tokenizer, "llama-guard-3-8b"


def _open_embedded() -> Parts | None:
    """Return the embedded guard, or None while its weights are not there."""
    weights = _EMBEDDED / "guard.gguf"
    if not weights.exists():
        return None
    model = AutoModelForCausalLM.from_pretrained(_EMBEDDED, gguf_file=weights.name)
    return model.eval(), AutoTokenizer.from_pretrained(_EMBEDDED), "embedded"


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rows a second of the ways to score conversations.")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--lengths", choices=["samples", "dev"], default="samples", help="where lengths come from")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--longest", type=int, help="tokens of the longest sample; by default any")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way; the median counts")
    parser.add_argument("--guard", choices=["cpu", "embedded", "both"], default="both")
    parser.add_argument("--shape", choices=list(SHAPES), default="cpu", help="of the random-weight guard")
    parser.add_argument("--threads", type=int, help="of torch; by default torch's own choice")
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    args = parser.parse_args(arguments)
    args.dtype = getattr(torch, args.dtype)
    return args


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, and print one line of JSON last."""
    args = _parse(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    openers: dict[str, Callable[[], Parts | None]] = {}
    if args.guard in ("cpu", "both"):
        openers[f"shape {args.shape}"] = lambda: _open_shape(args.shape)
    if args.guard in ("embedded", "both"):
        openers["embedded"] = _open_embedded
    guards: dict[str, Any] = {}
    for name, open_parts in openers.items():
        parts = open_parts()
        if parts is None:
            print(f"{name}: skipped, no weights in this checkout")
            continue
        guards[name] = measure(parts, args)
        print_table(name, guards[name])
    report = {"benchmark": "score", **environment(), "repeats": args.repeats, "longest": args.longest}
    report |= {"dtype": str(args.dtype).removeprefix("torch."), "lengths": args.lengths, "guards": guards}
    line = json_line(report)
    if args.out:
        args.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
