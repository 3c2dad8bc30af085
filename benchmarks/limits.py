"""The most rows a second that a device could score, by counting, as tables; nothing is run.

    python benchmarks/limits.py            (prints the tables, and one line of JSON last)
    python benchmarks/limits.py --write    (puts them into benchmarks/LIMITS.md too, between its marks)

Operations and bytes are counted in `counting.py`, the floors in `floors.py`, over the lengths in `lengths.py`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from counting import elementwise_parts, row_work
from floors import (
    ASK_US,
    CALL_S,
    DEVICES,
    GUARDS,
    Device,
    floor_of,
    lengths_of,
    loop_seconds,
    prefixes_of,
    product_seconds,
    shape_of,
)
from ways import json_line

__all__ = ["BLOCKS", "PUBLISHED", "main", "with_blocks"]

LIMITS = Path(__file__).parent / "LIMITS.md"
_BLOCK = re.compile(r"(?<=<!-- )(?!end\b)(\w+)( -->\n).*?(?=\n<!-- end -->)", re.S)

_SGLANG = "https://github.com/sgl-project/sglang/pull/9748"
_LINKEDIN = (
    "https://www.linkedin.com/blog/engineering/ai/scaling-llm-based-ranking-systems-with-sglang-at-linkedin",
    "https://thevones.com/knowledge/recruiting/scaling-llm-based-prefill-only",
)
PUBLISHED: dict[str, int] = {
    f"SGLang before its scoring path, P99 at most 500 ms ([pull request 9748]({_SGLANG}))": 800,
    "SGLang with it": 1_000,
    f"LinkedIn's ranking with SGLang ([their account]({_LINKEDIN[0]}), read in [a summary]({_LINKEDIN[1]}))": 2_200,
}
"""Items a second on one H100, prefill only. SGLang's are for Qwen3-0.6B and 300 tokens. LinkedIn's are for their own
model and prompts, with the query shared in a batch; the summary gives neither size nor length."""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(seconds: float) -> str:
    unit, size = next(((u, s) for u, s in (("s", 1), ("ms", 1e-3)) if seconds >= s), ("µs", 1e-6))
    return f"{_number(seconds / size)} {unit}"


def _share(part: float) -> str:
    return f"{100 * part:.1f}%" if part < 0.995 else f"{part:.2f} x"


def _everywhere() -> list[tuple[str, Device]]:
    return [(guard, device) for guard in GUARDS for device in DEVICES.values()]


def _counts() -> str:
    head = ["guard", "prefix", "own", "of these the template's", "appended", "positions read"]
    head += ["GFLOP a row", "without sharing", "MB a row"]
    rows = []
    for guard in GUARDS:
        lengths, device = lengths_of(guard), DEVICES["H200 bf16"]
        cells = [
            f"{fmean(row.n_prefix for row in lengths.rows):.1f}",
            f"{fmean(row.n_own for row in lengths.rows):.1f}",
        ]
        cells += [f"{fmean(lengths.n_fixed[row.role] for row in lengths.rows):.1f}"]
        cells += [str(lengths.n_continuation), str(len(lengths.offsets))]
        cells += [_number(floor_of(guard, device, shares=shares).work.operations / 1e9) for shares in (True, False)]
        rows.append([guard, *cells, _number(floor_of(guard, device).nbytes / 1e6)])
    return _table(head, rows)


def _floors() -> str:
    head = [
        "guard",
        "device",
        "tokens a row",
        "GFLOP a row",
        "MB a row",
        "products",
        "bytes",
        "floor, rows/s",
        "binds",
    ]
    rows = []
    for guard, device in _everywhere():
        floor = floor_of(guard, device)
        cells = [f"{floor.n_tokens:.1f}", _number(floor.work.operations / 1e9), _number(floor.nbytes / 1e6)]
        cells += [_time(floor.product_s), _time(floor.byte_s), f"**{_number(floor.rows_per_s)}**", floor.binds]
        rows.append([guard, device.name, *cells])
    return _table(head, rows)


def _loop() -> str:
    head = [
        "guard",
        "device",
        "the tutorial's loop",
        "whole prompts in batches",
        "prefix shared",
        "ratio of the floors",
    ]
    rows = []
    for guard, device in _everywhere():
        rates = [1 / loop_seconds(guard, DEVICES[device.loop])]
        rates += [floor_of(guard, device, shares=shares).rows_per_s for shares in (False, True)]
        rows.append([guard, device.name, *map(_number, rates), f"**{rates[2] / rates[0]:.1f}**"])
    return _table(head, rows)


def _parts() -> str:
    head = [
        "guard",
        "layers' products",
        "attention",
        "head",
        "prefixes",
        "saved by the last layer's cut",
        "appended tokens",
    ]
    rows = []
    for guard in GUARDS:
        shape, lengths, floor = shape_of(guard), lengths_of(guard), floor_of(guard, DEVICES["H200 bf16"])
        saved = (floor.n_tokens - len(lengths.offsets)) * shape.rest_ops
        prefixes = prefixes_of(guard, 2).operations / len(lengths.rows)
        parts = [floor.work.linear, floor.work.attention, floor.work.head, prefixes]
        shares = [part / floor.work.operations for part in parts]
        shares += [saved / (floor.work.operations + saved), lengths.n_continuation / floor.n_tokens]
        rows.append([guard, *map(_share, shares)])
    return _table(head, rows)


def _passes() -> str:
    head = [
        "guard",
        "device",
        "norms",
        "rotary",
        "SwiGLU",
        "residuals",
        "two attentions merged",
        "all, a row",
        "of the products",
    ]
    rows = []
    for guard, device in _everywhere():
        if device.name in ("H200 bf16", "H200 FP8", "H100 bf16"):
            floor, n_read = floor_of(guard, device), len(lengths_of(guard).offsets)
            parts = elementwise_parts(shape_of(guard), round(floor.n_tokens), n_read, device.number)
            whole = floor.work.elementwise + floor.work.merging
            shares = [size / sum(parts.values()) * floor.work.elementwise / whole for size in parts.values()]
            seconds = whole / device.bandwidth
            shares += [floor.work.merging / whole]
            rows.append([guard, device.name, *map(_share, shares), _time(seconds), _share(seconds / floor.product_s)])
    return _table(head, rows)


def _calls() -> str:
    head = [
        "guard",
        "torch calls a pass",
        f"at {_time(CALL_S)} each",
        "as long as",
        "the loop so",
        "ratio to it: prefix shared",
        "in FP8",
    ]
    rows = []
    for guard in GUARDS:
        shape, device = shape_of(guard), DEVICES["H200 bf16"]
        floor, called = floor_of(guard, device), shape.n_calls * CALL_S
        loop = 1 / loop_seconds(guard, device, call_s=CALL_S)
        ratios = [floor_of(guard, DEVICES[name]).rows_per_s / loop for name in ("H200 bf16", "H200 FP8")]
        level = called / (floor.product_s / floor.n_tokens)
        cells = [f"{shape.n_calls:,}", _time(called), f"{_number(level)} tokens", f"{_number(loop)} rows/s"]
        rows.append([guard, *cells, *(f"{ratio:.1f}" for ratio in ratios)])
    return _table(head, rows)


def _choices() -> str:
    head = ["guard", "device", "reading the weights lasts as long as", "prefixes", "1% of the work from"]
    head += ["head in plain float32", "head on tensor cores", "a row at the floor", "cores of `Guard.encode_all`"]
    rows = []
    for guard, device in _everywhere():
        shape, n_read, floor = shape_of(guard), len(lengths_of(guard).offsets), floor_of(guard, device)
        level = shape.n_weights * device.weight / device.bandwidth / (floor.product_s / floor.n_tokens)
        prefixes = product_seconds(prefixes_of(guard, device.number), device)
        heads = [n_read * shape.head_ops / rate / floor.product_s for rate in (device.plain32, device.attention)]
        cells = [f"{_number(level)} tokens", _time(prefixes), f"{_number(100 * prefixes / floor.product_s)} rows"]
        cells += [*map(_share, heads), _time(1 / floor.rows_per_s), f"{ASK_US[guard] * 1e-6 * floor.rows_per_s:.2g}"]
        rows.append([guard, device.name, *cells])
    return _table(head, rows)


def _published() -> str:
    device, shape = DEVICES["H100 bf16"], shape_of("qwen3guard-0.6b")
    most = 1 / product_seconds(row_work(shape, 0, 300), device)
    rows = [[name, f"{rate:,}", _share(rate / most)] for name, rate in PUBLISHED.items()]
    rows.append(["the floor of Qwen3-0.6B, 300 tokens, nothing shared, one position read", _number(most), ""])
    return _table(["prefill only, one H100", "items/s", "of that floor"], rows)


def _inputs() -> str:
    head = [
        "device",
        "products",
        "attention and head",
        "plain float32",
        "bandwidth",
        "bytes a weight",
        "tokens a batch",
    ]
    rows = []
    for device in DEVICES.values():
        rates = [f"{_number(rate / 1e12)} TFLOP/s" for rate in (device.products, device.attention, device.plain32)]
        bandwidth = f"{_number(device.bandwidth / 1e9)} GB/s"
        rows.append([device.name, *rates, bandwidth, str(device.weight), f"{device.batch:,}"])
    return _table(head, rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "counts": _counts,
    "floors": _floors,
    "parts": _parts,
    "passes": _passes,
    "loop": _loop,
    "calls": _calls,
    "choices": _choices,
    "published": _published,
    "inputs": _inputs,
}
"""The tables, by the marks that stand around them in LIMITS.md."""


def with_blocks(text: str) -> str:
    """Return a text with every marked table made anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}{found[2]}{BLOCKS[found[1]]()}", text)


def _report() -> dict[str, Any]:
    found: dict[str, Any] = {"benchmark": "limits", "n_rows": {}, "guards": {guard: {} for guard in GUARDS}}
    for guard, device in _everywhere():
        floor = floor_of(guard, device)
        found["n_rows"][guard] = len(lengths_of(guard).rows)
        found["guards"][guard][device.name] = {
            "tokens": floor.n_tokens,
            "operations": floor.work.operations,
            "bytes": floor.nbytes,
            "rows_per_s": floor.rows_per_s,
            "binds": floor.binds,
            "rows_per_s_unshared": floor_of(guard, device, shares=False).rows_per_s,
            "rows_per_s_tutorial": 1 / loop_seconds(guard, DEVICES[device.loop]),
        }
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print every table, and one line of JSON last."""
    parser = argparse.ArgumentParser(description="Floors of scoring, by counting.")
    parser.add_argument("--write", action="store_true", help="put the tables into LIMITS.md")
    if parser.parse_args(arguments).write:
        LIMITS.write_text(with_blocks(LIMITS.read_text(encoding="utf-8")), encoding="utf-8")
    for name, make in BLOCKS.items():
        print(f"\n{name}\n{make()}")
    print(json_line(_report()))


if __name__ == "__main__":
    main()
