"""Microseconds a row to make conversations ready, over the lengths of a public dev split, on one CPU core.

    python benchmarks/ask.py [--rows 4000] [--family llama-guard-3-8b …]

CPU time of `Guard.encode_all`, all threads together, in parts of 500 rows; the median counts. Models are tiny: what is
measured is tokenizer and template, which are the families' own. Prints one line of JSON last.
"""

from __future__ import annotations

import argparse
import statistics
import time

from lengths import FAMILIES, load_lengths, rows_of_lengths
from ways import environment, json_line

from guard_magic.conversations.conversation import parse_conversation

__all__ = ["main", "measure"]

_PART = 500


def measure(family: str, n_rows: int) -> float:
    """Return the median microseconds a row of one family."""
    guard = FAMILIES[family]()
    rows = [parse_conversation(row.chat) for row in rows_of_lengths(guard, load_lengths(family), n_rows)]
    guard.encode_all(rows[:_PART])  # layouts are made once
    found = []
    for start in range(0, n_rows, _PART):
        part = rows[start : start + _PART]
        began = time.process_time()
        guard.encode_all(part)
        found.append(1e6 * (time.process_time() - began) / len(part))
    return statistics.median(found)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and print one line of JSON last."""
    parser = argparse.ArgumentParser(description="Microseconds a row to make conversations ready.")
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--family", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    args = parser.parse_args(arguments)
    found = {family: measure(family, args.rows) for family in args.family}
    for family, us in found.items():
        print(f"{family}: {us:.0f} µs a row")
    print(json_line({"benchmark": "ask", **environment(), "n_rows": args.rows, "us_a_row": found}))


if __name__ == "__main__":
    main()
