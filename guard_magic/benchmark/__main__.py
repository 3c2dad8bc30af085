"""``python -m guard_magic.benchmark SETS --guard ID``: public safety sets from your own copies, scored by a guard."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from guard_magic import api
from guard_magic.benchmark.running import chosen_sets, markdown, registry, run
from guard_magic.checks import checked_share
from guard_magic.errors import EvaluationError, GuardError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 0, or 2 where it could not be run."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.list:
            print(registry(chosen_sets(asked.only)))
            return 0
        _run(asked)
    except GuardError as error:
        print(f"{error.message}\nHint: {error.hint}" if error.hint else error.message, file=sys.stderr)
        return 2
    return 0


def _run(asked: argparse.Namespace) -> None:
    if asked.folder is None:
        raise EvaluationError("no folder of sets was named", hint="python -m guard_magic.benchmark SETS --guard ID")
    threshold = checked_share("threshold", asked.threshold)
    for name in ("limit", "bootstrap"):
        value = getattr(asked, name)
        if value is not None and value < (name == "limit"):
            raise EvaluationError(f"--{name} {value} is too small", hint="Pass a whole number of rows or draws.")
    guard = api.load(asked.guard, device=asked.device, dtype=asked.dtype, revision=asked.revision)
    report = run(
        asked.folder,
        guard,
        sets=chosen_sets(asked.only),
        threshold=threshold,
        limit=asked.limit,
        n_bootstrap=asked.bootstrap,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(markdown(report))
    print(json.dumps(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m guard_magic.benchmark",
        description="Score public safety sets, from your own copies, with a guard. Prints a Markdown table and, last, "
        "one line of JSON. Nothing is downloaded but the guard.",
    )
    parser.add_argument("folder", metavar="SETS", type=Path, nargs="?", help="folder with the sets' files")
    parser.add_argument("--guard", default="embedded", help="as for guard_magic.load: a hub id, a folder, a .gguf file")
    parser.add_argument("--only", nargs="+", metavar="SET", help="names of sets; all by default")
    parser.add_argument("--list", action="store_true", help="say which sets are known and where they are to be had")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--limit", type=int, help="most rows of each set, drawn at random")
    parser.add_argument("--bootstrap", type=int, default=2000, help="draws for intervals, 0 for none")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--revision")
    return parser


if __name__ == "__main__":
    sys.exit(main())
