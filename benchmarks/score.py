"""Rows a second of the tutorial's loop, of its simpler and faster forms, and of the engine, on the CPU.

    python benchmarks/score.py [--rows 96] [--longest N] [--repeats 5] [--guard cpu|embedded|both] [--threads N]

Why these numbers: the engine's promise is that a table is scored several times faster than by the published
loop with the same scores. Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from shapes import SHAPES, answering_model, llama3_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer
from ways import ROOT, Row, environment, guard_for, json_line, load_rows, print_table, summarise, time_ways, ways_of

__all__ = ["main", "measure"]

_EMBEDDED = ROOT / "guard_magic" / "embedded"
Parts = tuple[Any, Any]


def measure(model: Any, tokenizer: Any, n_rows: int, repeats: int, longest: int | None = None) -> dict[str, Any]:
    """Time the four ways on one guard; `longest` leaves out conversations of more tokens than that."""

    def fits(row: Row) -> bool:
        texts = [message["content"] for message in row.chat]
        return longest is None or sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])) <= longest

    rows = load_rows(n_rows, fits)
    guard = guard_for(model, tokenizer)
    return summarise(guard, rows, time_ways(ways_of(guard), rows, repeats))


def _open_shape(shape: str) -> Parts:
    tokenizer = llama3_tokenizer()
    return answering_model(tokenizer, shape), tokenizer


def _open_embedded() -> Parts | None:
    """Return the embedded guard, or None while its weights are not there."""
    weights = _EMBEDDED / "guard.gguf"
    if not weights.exists():
        return None
    model = AutoModelForCausalLM.from_pretrained(_EMBEDDED, gguf_file=weights.name)
    return model.eval(), AutoTokenizer.from_pretrained(_EMBEDDED)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rows a second of four ways to score conversations.")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--longest", type=int, help="tokens of the longest conversation; by default any")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way; the median counts")
    parser.add_argument("--guard", choices=["cpu", "embedded", "both"], default="both")
    parser.add_argument("--shape", choices=list(SHAPES), default="cpu", help="of the random-weight guard")
    parser.add_argument("--threads", type=int, help="of torch; by default torch's own choice")
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    return parser.parse_args(arguments)


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
        guards[name] = measure(*parts, args.rows, args.repeats, args.longest)
        print_table(name, guards[name])
    report = {"benchmark": "score", **environment(), "repeats": args.repeats, "longest": args.longest, "guards": guards}
    line = json_line(report)
    if args.out:
        args.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
