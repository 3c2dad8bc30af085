"""Seconds until guard_magic can be used: ``%load_ext``, the embedded guard, the first verdict.

    python benchmarks/load.py [--repeats 5]

Why these numbers: an extension that makes every notebook start slower is not installed. Each repeat is a
fresh Python process; pandas and IPython are imported before the clock starts. Prints one line of JSON last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

__all__ = ["main"]

_CODE = """
import json, time, warnings
import pandas, IPython
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(); shell.history_manager.enabled = False
warnings.simplefilter("ignore")
times = [time.perf_counter()]
shell.run_line_magic("load_ext", "guard_magic"); times.append(time.perf_counter())
import torch, transformers; times.append(time.perf_counter())
shell.run_line_magic("guard", "load embedded"); times.append(time.perf_counter())
shell.run_line_magic("moderate", "Hello there"); times.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(times, times[1:])]))
"""
_STEPS = ("load_ext", "import_torch_and_transformers", "load_embedded", "first_verdict")


def main() -> None:
    """Measure in fresh processes and print medians, in seconds."""
    parser = argparse.ArgumentParser(description="Seconds until guard_magic can be used.")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", _CODE]
    runs = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(repeats)
    ]
    seconds = zip(*(json.loads(run.stdout.splitlines()[-1]) for run in runs), strict=True)
    medians = {step: round(statistics.median(values), 3) for step, values in zip(_STEPS, seconds, strict=True)}
    print(json.dumps({"benchmark": "load", "repeats": repeats, "seconds": medians}))


if __name__ == "__main__":
    main()
