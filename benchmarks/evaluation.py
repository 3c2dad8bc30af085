"""Do intervals hold the truth, and are promised thresholds broken no more often than said? By simulation, seeded.

1. Intervals: how often they hold the truth of the distribution that samples are drawn from, for each metric; for what
   hangs on the prevalence, drawing rows is put beside drawing within each class.
2. Promises: how often a threshold chosen by Learn Then Test breaks its promise on the distribution.
3. On real scores (``--data``, a JSONL file, may be gzipped, with ``messages`` and ``label``; without it the 124 samples
   of the package): thresholds chosen on one half, judged on the other, over 200 splits. Both halves are samples, so a
   promise can look broken where it is not: beside the plain count stands that of halves on which it is broken by more
   than chance lets a kept one be (exact binomial test, level delta). Pairs of halves are also drawn from the rows with
   replacement, where all rows are the distribution and the truth is known.
4. Time: a report on 100,000 labelled rows.

    python benchmarks/evaluation.py [--draws N] [--data FILE] [--rows N] [--save FILE] [--scores FILE]

prints a table and, last, one JSON line. ``--save`` keeps the scores, ``--scores`` reads them again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import warnings
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import guard_magic
from guard_magic.errors import EvaluationError
from guard_magic.evaluation.choosing import choose
from guard_magic.evaluation.intervals import bootstrap, bootstrapped, proportions
from guard_magic.evaluation.metrics import RESAMPLED, Resampled, measure
from guard_magic.evaluation.samples import Sample, flags
from guard_magic.evaluation.thresholds import checked_goal

GOALS: list[dict[str, float]] = [{"fpr": 0.05}, {"fpr": 0.1}, {"recall": 0.8}, {"precision": 0.8}]
N_SPLITS = 200
DELTA = 0.05


def draw(n: int, seed: int, *, share: float = 0.3, apart: float = 2.5) -> Sample:
    rng = np.random.default_rng([seed, n])
    unsafe = (rng.random(n) < share).astype(float)
    scores = 1 / (1 + np.exp(-(rng.normal(size=n) + apart * (unsafe - 0.5))))
    return Sample(unsafe=unsafe, scores=scores, weights=np.ones(n), rows=np.arange(n))


def within_classes(one: Sample, n_bootstrap: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return intervals of what hangs on the prevalence as draws within classes give them."""
    fast = Resampled(one, 0.5)
    classes = tuple(np.flatnonzero(one.unsafe == kind) for kind in (1, 0))
    rng = np.random.default_rng(seed)
    ends = bootstrap(
        classes,
        lambda *drawn: fast.metrics(np.concatenate(drawn, axis=-1)),
        n_resamples=n_bootstrap,
        confidence=0.95,
        rng=rng,
    )
    return {f"{name} within classes": (low, high) for name, (low, high) in zip(RESAMPLED, ends.T, strict=True)}


def coverage(n_draws: int, n: int, share: float) -> dict[str, float]:
    """Return how often each metric's interval holds the truth."""
    truth = measure(draw(2_000_000, 1, share=share), 0.5)
    held: dict[str, list[bool]] = {}
    for seed in range(n_draws):
        one = draw(n, seed + 10, share=share)
        found = bootstrapped(one, 0.5, n_bootstrap=500, seed=seed) | within_classes(one, 500, seed)
        found |= {name: ends for name, (ends, _) in proportions(one, 0.5).items()}
        for name, (low, high) in found.items():
            held.setdefault(name, []).append(low <= truth[name.split(" ")[0]] <= high)
    return {name: round(float(np.mean(values)), 3) for name, values in held.items()}


def error_of(goal: str, sample: Sample, threshold: float) -> tuple[int, int]:
    """Return the rows that break the promise, and those that it is about."""
    flagged, unsafe = flags(sample.scores, threshold), sample.unsafe > 0
    among = {"precision": flagged, "recall": unsafe, "fpr": ~unsafe}[goal]
    wrong = {"precision": ~unsafe, "recall": ~flagged, "fpr": flagged}[goal]
    return int((among & wrong).sum()), int(among.sum())


def broken_promises(n_draws: int, n: int, goal: dict[str, float]) -> dict[str, float]:
    """Return how often a promise is made, and how often one that is made does not hold."""
    truth = draw(2_000_000, 1)
    ((name, level),) = goal.items()
    allowed = level if name == "fpr" else 1 - level
    broken = made = 0
    for seed in range(n_draws):
        try:
            choice = choose(draw(n, seed + 10), checked_goal(**goal, delta=DELTA))  # type: ignore[arg-type]
        except EvaluationError:
            continue
        made += 1
        wrong, among = error_of(name, truth, float(choice))
        broken += wrong / among > allowed
    return {"made": round(made / n_draws, 3), "broken": round(broken / n_draws, 4)}


def splits(sample: Sample, goal: dict[str, float]) -> dict[str, float]:
    """Return how often thresholds chosen on one half of the rows do not hold on the other, or on all (redrawn)."""
    ((name, level),) = goal.items()
    allowed = level if name == "fpr" else 1 - level
    counts = dict.fromkeys(("made", "above", "broken", "made_redrawn", "broken_redrawn"), 0)
    for seed in range(N_SPLITS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(sample))
        half = len(sample) // 2
        choice = try_choice(sample.only(order[:half]), goal)
        if choice is not None:
            wrong, among = error_of(name, sample.only(order[half:]), choice)
            counts["made"] += 1
            counts["above"] += wrong > allowed * among
            counts["broken"] += bool(stats.binom.sf(wrong - 1, among, allowed) <= DELTA)
        again = try_choice(sample.only(rng.integers(0, len(sample), half)), goal)
        if again is not None:
            wrong, among = error_of(name, sample, again)
            counts["made_redrawn"] += 1
            counts["broken_redrawn"] += wrong > allowed * among
    return {key: count / N_SPLITS for key, count in counts.items()}


def try_choice(sample: Sample, goal: dict[str, float]) -> float | None:
    try:
        return float(choose(sample, checked_goal(**goal, delta=DELTA)))  # type: ignore[arg-type]
    except EvaluationError:
        return None


def scored(args: argparse.Namespace) -> tuple[Sample, str]:
    """Return labelled rows with the embedded guard's scores, and what they are."""
    if args.scores:
        frame = pd.read_json(args.scores, lines=True)
        return as_sample(frame), f"{len(frame):,} rows of {args.scores.name}"
    if args.data:
        kept = args.data.read_bytes()
        text = (gzip.decompress(kept) if args.data.suffix == ".gz" else kept).decode("utf-8")
        frame = pd.DataFrame([json.loads(line) for line in text.split("\n") if line])[["messages", "label"]]
    else:
        lines = files("guard_magic").joinpath("samples.jsonl").read_text("utf-8").splitlines()
        frame = pd.DataFrame([json.loads(line) for line in lines])[["messages", "expected"]]
        frame = frame[frame["expected"] != "unsure"].assign(label=lambda f: (f["expected"] == "unsafe").astype(int))
    frame = frame.sample(min(args.rows, len(frame)), random_state=0)
    guard_magic.load("embedded", dtype="bfloat16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = frame.guard.score(messages="messages", overflow="truncate", progress=False)
    frame = frame[["unsafe_score", "label"]]
    if args.save:
        frame.to_json(args.save, orient="records", lines=True)
    return as_sample(frame), f"{len(frame):,} rows of {args.data.name if args.data else 'samples.jsonl'}"


def as_sample(frame: pd.DataFrame) -> Sample:
    scores = frame["unsafe_score"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    unsafe = frame["label"].to_numpy(dtype=float)
    return Sample(unsafe=unsafe, scores=scores, weights=np.ones(len(frame)), rows=np.arange(len(frame))).scored


def seconds_of_report(n: int = 100_000) -> float:
    one = draw(n, 5)
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(n)], "score": one.scores, "label": one.unsafe})
    frame["language"] = np.array(["en", "de", "fr", "es"])[np.arange(n) % 4]
    began = time.perf_counter()
    frame.guard.evaluate(score="score", by="language")
    return round(time.perf_counter() - began, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--draws", type=int, default=1000, help="samples of each simulation")
    parser.add_argument("--data", type=Path, help="labelled conversations: messages and label (1 unsafe)")
    parser.add_argument("--rows", type=int, default=7000, help="most rows of it, drawn at random")
    parser.add_argument("--save", type=Path, help="keep the scores in this JSONL file")
    parser.add_argument("--scores", type=Path, help="scores that --save kept")
    args = parser.parse_args()
    found: dict[str, Any] = {"draws": args.draws, "delta": DELTA}
    found["intervals"] = {
        f"n={n}, {share:.0%} unsafe": coverage(args.draws, n, share) for n, share in ((100, 0.3), (400, 0.1))
    }
    found["promises"] = {str(goal): {n: broken_promises(args.draws, n, goal) for n in (150, 1000)} for goal in GOALS}
    sample, what = scored(args)
    sample = replace(sample, rows=np.arange(len(sample)))
    found["splits"] = {"of": what, **{str(goal): splits(sample, goal) for goal in GOALS}}
    found["seconds_100k"] = seconds_of_report()
    for name, part in found.items():
        print(f"{name}: {json.dumps(part, indent=1)}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
