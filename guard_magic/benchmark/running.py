"""A guard run over safety sets, and what comes of it: one JSON object and one Markdown table."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from guard_magic import api
from guard_magic.benchmark.files import Found, find_files, read_set
from guard_magic.benchmark.measures import measure
from guard_magic.benchmark.sets import SETS, SafetySet
from guard_magic.errors import EvaluationError, shorten
from guard_magic.evaluation.metrics import NAMES

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = ["chosen_sets", "markdown", "registry", "run"]

_NUMBERS = ("auroc", "average_precision", "precision", "recall", "f1", "fpr", "ece")
_MARKS = {"no": "", "related": " (r)", "chosen": " (c)", "trained": " **(t)**"}


def run(
    folder: Path,
    guard: Guard,
    *,
    sets: Sequence[SafetySet] = SETS,
    threshold: float = 0.5,
    limit: int | None = None,
    n_bootstrap: int = 2000,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Score every set of a folder.

    Parameters
    ----------
    folder
        With the user's own copies of the sets.
    guard
        The guard.
    sets
        Which sets.
    threshold
        From which score a row is flagged.
    limit
        Most rows of each set, drawn at random (seeded); None for all.
    n_bootstrap
        As for `guard_magic.benchmark.measures.measure`.
    say
        Told what is being done, line by line.

    Returns
    -------
    dict
        The guard and how it was run; ``sets``: name -> numbers, and what the set is; ``missing``: sets without a
        file; ``unused``: files of no set. It holds no text of any set.
    """
    paths, unused = find_files(folder, sets)
    read = {one.name: read_set(paths[one.name], one, folder) for one in sets if paths[one.name]}
    if not read:
        raise EvaluationError(
            f"none of the sets is in {shorten(str(folder))}", hint="--list says how their files are called."
        )
    report: dict[str, Any] = {
        "benchmark": "guard_magic.benchmark",
        **_circumstances(guard),
        "threshold": threshold,
        "limit": limit,
        "n_bootstrap": n_bootstrap,
        "sets": {},
        "missing": [one.name for one in sets if one.name not in read],
        "unused": [str(path.relative_to(folder)) for path in unused],
    }
    for one in sets:
        if one.name in read:
            say(f"{one.name}: {len(read[one.name].unsafe):,} rows")
            found = _draw(read[one.name], limit)
            report["sets"][one.name] = _measured(found, one, guard, threshold, n_bootstrap)
    return report


def _draw(found: Found, limit: int | None) -> Found:
    if limit is None or limit >= len(found.unsafe):
        return found
    kept = np.sort(np.random.default_rng(0).permutation(len(found.unsafe))[:limit]).tolist()
    return replace(
        found,
        conversations=[found.conversations[i] for i in kept],
        unsafe=[found.unsafe[i] for i in kept],
    )


def _measured(found: Found, one: SafetySet, guard: Guard, threshold: float, n_bootstrap: int) -> dict[str, Any]:
    """Score one set. Scores of responses are of the answer, in the light of its prompt."""
    if not found.unsafe:
        raise EvaluationError(
            f"{', '.join(found.files)}: none of the rows of {one.name} has a text and a label",
            hint=f"It is had from {one.source}.",
        )
    table = pd.DataFrame({"messages": pd.Series(found.conversations, dtype=object)})
    scored = api.score(table, messages="messages", guard=guard, threshold=threshold, progress=False)
    scores = scored["unsafe_score"].to_numpy(dtype=np.float64, na_value=np.nan)
    unsafe = np.array(found.unsafe, dtype=bool)
    return {
        **measure(unsafe, scores, threshold, n_bootstrap=n_bootstrap),
        "unit": one.unit,
        "unsafe_where": one.rule,
        "n_left_out": found.n_left_out,
        "n_repeated": found.n_repeated,
        "n_contradicting": found.n_contradicting,
        "files": found.files,
        "licence": one.licence,
        "source": one.source,
        "seen": one.seen if guard.is_embedded else None,
        "seen_note": one.note if guard.is_embedded else "",
    }


def _circumstances(guard: Guard) -> dict[str, Any]:
    return {
        "guard": guard.label,
        "family": guard.protocol,
        "policy": list(guard.policy.codes),
        "device": guard.device,
        "dtype": guard.dtype,
        "versions": {name: version(name) for name in ("guard-magic", "torch", "transformers")},
        "python": platform.python_version(),
    }


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as one Markdown table, with what is to be said of it below."""
    lines = [
        f"| {report['guard']} | rows | unsafe | {' | '.join(NAMES[name] for name in _NUMBERS)} | not scored |",
        f"|---|---|---|{'---|' * len(_NUMBERS)}---|",
    ]
    for name, numbers in report["sets"].items():
        mark = _MARKS[numbers["seen"] or "no"]
        cells = [f"{name}{mark}", f"{numbers['n']:,}", f"{numbers['n_unsafe']:,}"]
        cells += [_cell(numbers[which]) for which in _NUMBERS]
        lines.append(f"| {' | '.join([*cells, format(numbers['n_unscored'], ',')])} |")
    lines += ["", *_remarks(report)]
    return "\n".join(lines)


def _cell(interval: Sequence[float] | None) -> str:
    if interval is None:
        return ""
    value, *ends = interval
    return f"{value:.3f} ({ends[0]:.3f}–{ends[1]:.3f})" if ends else f"{value:.3f}"


def _remarks(report: Mapping[str, Any]) -> list[str]:
    said = f"At threshold {report['threshold']:g}; in brackets 95% intervals (Wilson's for shares"
    said += f"; BCa bootstrap, {report['n_bootstrap']:,} draws, for the others" if report["n_bootstrap"] else ""
    lines = [f"{said}). {report['dtype']} on {report['device']}."]
    known = [(name, one) for name, one in report["sets"].items() if one["seen_note"]]
    lines += [f"Seen by this guard: {name}: {one['seen_note']}." for name, one in known]
    if not any(one["seen"] for one in report["sets"].values()):
        lines.append("What this guard was trained on is not known here: its makers' card may say.")
    for name, one in report["sets"].items():
        if one["n_unscored"]:
            bounds = [f"{which} {_range(one[f'{which}_bounds'])}" for which in ("recall", "fpr")]
            lines.append(
                f"{name}: {one['n_unscored']:,} rows were not scored; had none or all been flagged: "
                f"{', '.join(bounds)}."
            )
        if one["n_contradicting"]:
            lines.append(f"{name}: {one['n_contradicting']:,} rows stand there with the other label too; both count.")
    if report["limit"] is not None:
        lines.append(f"At most {report['limit']:,} rows of each set, drawn at random.")
    if report["missing"]:
        lines.append(f"Not there: {', '.join(report['missing'])}.")
    return [line for pair in zip(lines, [""] * len(lines), strict=True) for line in pair]


def _range(bounds: Sequence[float] | None) -> str:
    return "is not defined" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def registry(sets: Sequence[SafetySet] = SETS) -> str:
    """Return the registry as a Markdown table: what each set is, its licence and where it is to be had."""
    lines = [
        "| set | unit | unsafe where | licence | files | source | seen by the embedded guard |",
        "|---|" + "---|" * 6,
    ]
    for one in sets:
        files = " or ".join([*one.files, f"{one.folder}*/…"])
        cells = (one.name, one.unit, one.rule, one.licence, files, one.source, one.note or one.seen)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def chosen_sets(names: Sequence[str] | None) -> list[SafetySet]:
    """Return the sets of these names, in the registry's order; None for all."""
    known = {one.name: one for one in SETS}
    for name in names or ():
        if name not in known:
            raise EvaluationError(f"no set {shorten(name)}", hint=f"Sets: {', '.join(known)}.")
    return [one for one in SETS if names is None or one.name in names]
