"""A threshold chosen on labelled rows, for one goal: one for all rows, or one a hazard."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard_magic.errors import EvaluationError
from guard_magic.evaluation.learn_then_test import GRID, count_errors, n_needed, passing
from guard_magic.evaluation.samples import Sample, flags
from guard_magic.evaluation.thresholds import Choice, Goal, by_number
from guard_magic.scoring.scored_by import ScoredBy
from guard_magic.verdict import COLUMNS

__all__ = ["choose", "choose_by_hazard", "equal_chances"]

_ABOUT = {"precision": "flagged", "recall": "unsafe", "fpr": "safe"}
_WRONG = {"precision": "are safe", "recall": "are not flagged", "fpr": "are flagged"}
_HINT = "Label more rows in random order, promise less, or accept a larger delta."


def equal_chances(sample: Sample, seed: int = 0) -> tuple[Sample, list[str]]:
    """Return rows that an exact test can count: scored, distinct, each as likely to be among them.

    Of rows that stand for different numbers of rows each is kept with the chance of its weight over the largest.
    """
    one, remarks = sample.scored, []
    if len(one) < len(sample):
        remarks.append(
            f"{len(sample) - len(one):,} labelled rows were not scored: the promise is about rows that are, and what "
            "is not scored goes to people."
        )
    n_contradicted = int(one.contradicted.sum())
    settled = one.distinct()
    if n_contradicted:
        remarks.append(f"{n_contradicted:,} rows whose conversation is labelled both ways are left out: settle them.")
    if len(settled) < len(one) - n_contradicted:
        remarks.append("Conversations that stand there more than once count once.")
    if not settled.is_weighted:
        return settled, remarks
    chance = settled.weights / settled.weights.max()
    kept = settled.only(np.random.default_rng(seed).random(len(settled)) < chance)
    remarks.append(
        f"Labels were drawn with unequal chances: {len(kept):,} of {len(settled):,} are kept, each with the chance "
        "that makes them equal. Labels in random order are worth more here."
    )
    return kept, remarks


def choose(
    sample: Sample, goal: Goal, *, column: str = COLUMNS[0], scored_by: ScoredBy | None = None, seed: int = 0
) -> Choice:
    """Return one threshold for all rows.

    Raises
    ------
    EvaluationError
        Where these labels carry none, with about how many more it takes.
    """
    if not goal.is_promise:
        return _cheapest(sample, goal, column, scored_by)
    counted, remarks = equal_chances(sample, seed)
    threshold, why = _promised(counted, goal, goal.delta)
    if threshold is None:
        raise EvaluationError(f"{goal} with probability ≥ {1 - goal.delta:g} is {why}", hint=_HINT)
    return Choice(
        threshold=threshold,
        promise=_promise(goal, column),
        rests_on=_rests_on(counted, goal, threshold),
        goal=goal,
        column=column,
        scored_by=scored_by,
        remarks=tuple(remarks),
    )


def choose_by_hazard(
    sample: Sample, goal: Goal, *, column: str = COLUMNS[0], scored_by: ScoredBy | None = None, seed: int = 0
) -> Choice:
    """Return one threshold for each of the guard's most probable hazards; all promises hold together.

    Raises
    ------
    EvaluationError
        Where the hazards are not known, or no hazard has a threshold.
    """
    if sample.hazards is None:
        raise EvaluationError(
            "which hazard is the most probable is not known below the threshold",
            hint='Score with extras=["category_scores"].',
        )
    if not goal.is_promise:
        raise EvaluationError(f"{goal} is chosen for all rows together", hint="Leave by= out, or promise something.")
    counted, remarks = equal_chances(sample, seed)
    codes = by_number({str(code) for code in counted.hazards.tolist() if code is not None})  # type: ignore[union-attr]
    found: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for code in codes:
        of_code = counted.only(counted.hazards == code)  # type: ignore[arg-type]
        found[code], reasons[code] = _promised(of_code, goal, goal.delta / len(codes))
    if all(threshold is None for threshold in found.values()):
        shown = "; ".join(f"{code} {reasons[code]}" for code in codes[:4])
        raise EvaluationError(f"{goal} is not possible for any hazard with these labels ({shown})", hint=_HINT)
    kept = {code: why for code, why in reasons.items() if found[code] is None}
    return Choice(
        threshold=None,
        promise=f"one threshold a hazard: {_promise(goal, column)}; all of them together",
        rests_on=f"{len(counted):,} labelled conversations ({int(counted.unsafe.sum()):,} unsafe)",
        goal=goal,
        column=column,
        scored_by=scored_by,
        by=found,
        reasons=kept,
        remarks=tuple(remarks),
    )


def _promised(counted: Sample, goal: Goal, delta: float) -> tuple[float | None, str]:
    """Return the threshold that flags most (for recall: least) of those that pass, or why there is none."""
    errors = count_errors(goal.name, goal.level, counted.unsafe, counted.scores)
    found = np.flatnonzero(passing(goal.name, errors, delta))
    if found.size:
        return float(GRID[found[-1] if goal.name == "recall" else found[0]]), ""
    if not errors.among.any():
        return None, f"not possible: none of these {len(counted):,} labelled rows is {_ABOUT[goal.name]}"
    needed = n_needed(goal.name, errors, delta, len(counted))
    if needed is None:
        least = 1 - errors.rates if goal.name != "fpr" else errors.rates
        seen = f"the best seen is {(least.max() if goal.name != 'fpr' else least.min()):.3f}"
        return None, f"not possible with these {len(counted):,} labels, nor with more like them: {seen}"
    more = max(1, needed - len(counted))
    return None, f"not possible with these {len(counted):,} labels: you need about {_rounded(more):,} more"


def _rounded(n: int) -> int:
    """Round up to two digits: it is an estimate."""
    step: int = 10 ** max(0, len(str(n)) - 2)
    return -(-n // step) * step


def _promise(goal: Goal, column: str) -> str:
    return (
        f"{goal} with probability ≥ {1 - goal.delta:g}, for conversations that come as the labelled ones did "
        f"({column} from it on is flagged)"
    )


def _rests_on(counted: Sample, goal: Goal, threshold: float) -> str:
    flagged = flags(counted.scores, threshold)
    unsafe = counted.unsafe > 0
    among = {"precision": flagged, "recall": unsafe, "fpr": ~unsafe}[goal.name]
    wrong = {"precision": ~unsafe, "recall": ~flagged, "fpr": flagged}[goal.name]
    others = ~unsafe if goal.name == "recall" else unsafe
    return (
        f"{len(counted):,} labelled conversations ({int(unsafe.sum()):,} unsafe): {int((among & wrong).sum()):,} of "
        f"{int(among.sum()):,} {_ABOUT[goal.name]} ones {_WRONG[goal.name]}; "
        f"it flags {int((flagged & others).sum()):,} of {int(others.sum()):,} "
        f"{'safe' if goal.name == 'recall' else 'unsafe'} ones"
    )


def _cheapest(sample: Sample, goal: Goal, column: str, scored_by: ScoredBy | None) -> Choice:
    """Return the middle of the widest stretch of thresholds with the least cost, or the best F1."""
    one = sample.scored
    _check_both(one)
    order = np.argsort(one.scores, kind="stable")
    s, w, y = one.scores[order], one.weights[order], one.unsafe[order]
    candidates = np.unique(np.concatenate([GRID, s]))
    below = np.searchsorted(s, candidates, side="left")
    unsafe, safe = (np.concatenate([[0.0], np.cumsum(w * of)]) for of in (y, 1 - y))
    missed, false = unsafe[below], safe[-1] - safe[below]
    hits = unsafe[-1] - missed
    value = (
        -2 * hits / (2 * hits + missed + false) if goal.name == "f1" else goal.cost_fp * false + goal.cost_fn * missed
    )
    threshold = float(candidates[_middle_of_widest(value <= value.min() + 1e-9 * abs(value.min()))])
    said = f"F1 {-value.min():.3f}" if goal.name == "f1" else f"cost {value.min() / w.sum():.3g} a row"
    return Choice(
        threshold=threshold,
        promise=f"{goal} on these labels, {said}; it promises nothing of others ({column} from it on is flagged)",
        rests_on=f"{len(one):,} labelled rows ({int(one.unsafe.sum()):,} unsafe), the same that it was chosen on",
        goal=goal,
        column=column,
        scored_by=scored_by,
    )


def _check_both(sample: Sample) -> None:
    if not sample.unsafe.any() or sample.unsafe.all():
        raise EvaluationError("all labels are alike: no threshold is better than another", hint="Label more rows.")


def _middle_of_widest(best: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], best.astype(np.int64), [0]])))
    runs = [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
    first, end = max(runs, key=lambda run: run[1] - run[0])
    return (first + end - 1) // 2
