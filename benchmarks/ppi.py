"""Do prediction-powered intervals hold, and how much narrower are they than labels alone? By simulation, seeded.

Tables of rows are drawn, some of them labelled, and prevalence, precision and recall estimated with the scores of all
rows and by labels alone: how often the interval holds the truth of the distribution, and how wide it is. Scores are
good, fair and worthless in turn; labels are drawn at random, and stratified by score.

    python benchmarks/ppi.py [--draws N]

prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from guard_magic.errors import EvaluationError
from guard_magic.evaluation.powered_rates import powered_precision, powered_prevalence, powered_recall
from guard_magic.evaluation.prediction_powered import Estimate
from guard_magic.evaluation.sampling import N_STRATA, strata_of

THRESHOLD = 0.5
PREVALENCE = 0.25
SETTINGS = [("good scores", 0.5), ("fair scores", 1.2), ("worthless scores", 30.0)]


def draw(rng: np.random.Generator, n: int, n_labelled: int, *, noise: float) -> tuple[Any, Any, Any]:
    """Return whether each row is unsafe, the labels of those drawn at random (NaN elsewhere), and scores in (0, 1)."""
    truth = rng.random(n) < PREVALENCE
    scores = 1 / (1 + np.exp(-(2 * truth - 1 + noise * rng.normal(size=n)) * 2 / max(1.0, noise)))
    known = np.full(n, np.nan)
    chosen = rng.choice(n, n_labelled, replace=False)
    known[chosen] = truth[chosen]
    return truth, known, scores


def stratify(rng: np.random.Generator, truth: Any, scores: Any, n_labelled: int) -> tuple[Any, Any]:
    """Return labels drawn as the review's stratified order draws them, and what each stands for."""
    strata = strata_of(scores)
    order = rng.permutation(len(truth))
    turn = np.empty(len(truth))
    for k in range(N_STRATA):
        rows = order[strata[order] == k]
        turn[rows] = np.arange(len(rows)) + rng.random(len(rows))
    chosen = np.argsort(turn)[:n_labelled]
    known, weights = np.full(len(truth), np.nan), np.zeros(len(truth))
    known[chosen] = truth[chosen]
    counts, drawn = (np.bincount(strata[rows], minlength=N_STRATA) for rows in (order, chosen))
    weights[chosen] = (counts / np.maximum(drawn, 1))[strata[chosen]]
    return known, weights


def simulate(
    *, n_draws: int, n: int, n_labelled: int, noise: float, seed: int, stratified: bool = False
) -> dict[str, dict[str, float]]:
    """Return coverage and mean width of 95% intervals, with scores and by labels alone, for each quantity."""
    rng = np.random.default_rng(seed)
    truth, _, scores = draw(rng, 400_000, 10, noise=noise)
    flagged = scores >= THRESHOLD
    aims = {"prevalence": truth.mean(), "precision": truth[flagged].mean(), "recall": flagged[truth].mean()}
    found: dict[str, list[tuple[Estimate, Estimate]]] = {what: [] for what in aims}
    for _ in range(n_draws):
        truth, known, scores = draw(rng, n, n_labelled, noise=noise)
        weights = None
        if stratified:
            known, weights = stratify(rng, truth, scores, n_labelled)
        ways: dict[str, Callable[[float | None], Estimate]] = {
            "prevalence": lambda s, a=(known, scores), w=weights: powered_prevalence(*a, weights=w, share=s),
            "precision": lambda s, a=(known, scores), w=weights: powered_precision(
                *a, threshold=THRESHOLD, weights=w, share=s
            ),
            "recall": lambda s, a=(known, scores), w=weights: powered_recall(
                *a, threshold=THRESHOLD, weights=w, share=s
            ),
        }
        for what, estimate in ways.items():
            try:
                found[what].append((estimate(None), estimate(0.0)))
            except EvaluationError:
                continue  # fewer than ten rows that tell: no estimate is given
    return {what: _summary(pairs, aims[what]) for what, pairs in found.items()}


def _summary(pairs: list[tuple[Estimate, Estimate]], aim: float) -> dict[str, float]:
    powered, plain = zip(*pairs, strict=True)
    width, plain_width = (float(np.mean([one.width for one in which])) for which in (powered, plain))
    return {
        "coverage": float(np.mean([one.low <= aim <= one.high for one in powered])),
        "plain_coverage": float(np.mean([one.low <= aim <= one.high for one in plain])),
        "width": width,
        "plain_width": plain_width,
        "width_ratio": width / plain_width,
        "share": float(np.mean([one.share for one in powered])),
        "n_estimates": len(pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--labelled", type=int, default=200)
    asked = parser.parse_args()
    report: dict[str, Any] = {"benchmark": "ppi", **vars(asked), "settings": {}}
    for way in ("random", "stratified"):
        for name, noise in SETTINGS:
            found = simulate(
                n_draws=asked.draws,
                n=asked.rows,
                n_labelled=asked.labelled,
                noise=noise,
                seed=0,
                stratified=way == "stratified",
            )
            report["settings"][f"{way}, {name}"] = found
            for what, numbers in found.items():
                said = ", ".join(f"{key} {value:.3f}" for key, value in numbers.items())
                print(f"{way}, {name}: {what}: {said}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
