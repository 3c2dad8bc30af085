"""Calibration judged on rows it was not fitted on: calibration error before and after, source by source.

Reads a JSON Lines file (``messages``, ``label`` 0 or 1, ``source``), scores it with a guard, and for each source with
at least 200 rows and both classes compares, on held-out folds, the guard's own score and what calibration makes of
it: method chosen within the other folds, equal conversations on one side, mean over several deals of the folds.
Contextual calibration needs no labels, so it is applied to all rows.

    python benchmarks/calibration.py ROWS.jsonl.gz [--guard embedded] [--dtype bfloat16] [--deals 10] [--kept FILE]

`--kept` names a Parquet file for scores: written where it is not there, else read. Prints a table and, last, one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import guard_magic
from guard_magic.conversations.conversation import parse_messages
from guard_magic.errors import GuardWarning
from guard_magic.evaluation import calibrators
from guard_magic.labels import conversation_key

MIN_ROWS = 200


def read_scored(path: Path, kept: Path | None, guard: str, dtype: str) -> pd.DataFrame:
    """Return source, label, unsafe_score, log_odds, assessed_role and key of each row that was scored."""
    if kept is not None and kept.exists():
        return pd.read_parquet(kept)
    rows = pd.read_json(path, lines=True)
    loaded = guard_magic.load(guard, dtype=dtype)
    scored = rows[["messages"]].guard.score(guard=loaded, extras=["log_odds", "assessed_role"])
    found = scored[["unsafe_score", "log_odds", "assessed_role"]].assign(
        source=rows["source"],
        label=rows["label"],
        key=[conversation_key(parse_messages(chat)) for chat in rows["messages"]],
    )
    free = {role: content_free(rows[scored["assessed_role"] == role], loaded) for role in ("user", "assistant")}
    found["content_free"] = found["assessed_role"].map(free).astype(float)
    found = found[found["unsafe_score"].notna()].reset_index(drop=True)
    if kept is not None:
        found.to_parquet(kept)
    return found


def content_free(rows: pd.DataFrame, loaded: Any) -> float:
    """Return the mean log-odds of prompts without content, in the shape of these rows."""
    found = rows.head(5).guard.calibrate(method="contextual", messages="messages", guard=loaded)
    return float(found.parameters["content_free_log_odds"])


def measure(rows: pd.DataFrame, n_deals: int) -> dict[str, Any]:
    """Return the numbers of one source."""
    x, p = rows["log_odds"].to_numpy(float), rows["unsafe_score"].to_numpy(float)
    y, groups = rows["label"].to_numpy(float), pd.factorize(rows["key"])[0].astype(np.int64)
    x, y = calibrators.checked_pairs(x, y, groups)
    how = [{"n_folds": 5, "seed": seed} for seed in range(n_deals)]
    deals = [calibrators.held_out(calibrators.FITTED, x, y, groups, **one) for one in how]
    after = [calibrators.judge_probabilities(found, y) for found in deals]
    chosen = [calibrators.choose(calibrators.FITTED, x, y, groups, **one)[0] for one in how]
    shifted = calibrators.sigmoid(x - rows["content_free"].to_numpy(float))
    before = calibrators.judge_probabilities(p, y)
    return {
        "n": len(y),
        "n_unsafe": int(y.sum()),
        "before": before,
        "after": {name: float(np.mean([one[name] for one in after])) for name in before},
        "worst_ece": max(one["ece"] for one in after),
        "n_lower": sum(one["ece"] < before["ece"] for one in after),
        "chosen": {name: chosen.count(name) for name in calibrators.FITTED if name in chosen},
        "contextual": calibrators.judge_probabilities(shifted, y),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--guard", default="embedded")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--deals", type=int, default=10)
    parser.add_argument("--kept", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore", GuardWarning)
    scored = read_scored(asked.rows, asked.kept, asked.guard, asked.dtype)
    report: dict[str, Any] = {"benchmark": "calibration", "guard": asked.guard, "dtype": asked.dtype, "sources": {}}
    print("| source | rows | unsafe | ECE | held out | worst deal | Brier | held out | contextual ECE | method |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for source, rows in scored.groupby("source"):
        if len(rows) < MIN_ROWS or rows["label"].nunique() < 2:
            report["sources"][source] = {"n": len(rows), "left_out": "fewer than 200 rows, or one class"}
            continue
        found = report["sources"][source] = measure(rows, asked.deals)
        numbers = [found["before"]["ece"], found["after"]["ece"], found["worst_ece"]]
        numbers += [found["before"]["brier"], found["after"]["brier"], found["contextual"]["ece"]]
        said = " | ".join(f"{number:.3f}" for number in numbers)
        print(f"| {source} | {found['n']} | {found['n_unsafe']} | {said} | {found['chosen']} |")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
