"""One picture of what `gpu.py` found: rows a second of each way against the floor, and the batch sizes.

    python benchmarks/plot.py REPORT.json [--out PICTURE.png]

Each guard has a column. Dashed lines are floors by data sheet (bfloat16, FP8), dotted ones those of the rates that were
measured on the very card. Shares in per cent are of the floor in the way's own number format. What a report does not
have is left out, so that a rehearsal's can be drawn too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

__all__ = ["draw", "main"]

_ALONE, _WHOLE, _SHARED, _FP8 = "#9a9a9a", "#74a9cf", "#0b5394", "#d95f02"
_WAYS: dict[str, tuple[str, str]] = {
    "tutorial": ("tutorial's loop", _ALONE),
    "forward": ("one pass a row", _ALONE),
    "batches": ("packed, nothing shared", _WHOLE),
    "padded": ("prefix shared, padded", _WHOLE),
    "engine": ("engine", _SHARED),
    "public": ("score(), end to end", _SHARED),
    "compiled": ("engine, compiled", _SHARED),
    "fp8": ("FP8", _FP8),
    "fp8_compiled": ("FP8, compiled", _FP8),
}
_FLOORS = {
    "bf16": ("floor, bf16", _SHARED, "--"),
    "bf16_measured": ("floor at measured rates, bf16", _SHARED, ":"),
    "fp8": ("floor, FP8", _FP8, "--"),
    "fp8_measured": ("floor at measured rates, FP8", _FP8, ":"),
}
_SWEPT = {"engine": ("engine", _SHARED, "o", "-"), "compiled": ("compiled", _WHOLE, "s", "-")}
_TITLES = {"8b": "Llama Guard 3 8B", "1b": "Llama Guard 3 1B", "qwen3guard-0.6b": "Qwen3Guard-Gen 0.6B"}


def draw(report: dict[str, Any]) -> Figure:
    """Return the picture of a report."""
    matplotlib.rcParams["font.size"] = 9
    shapes = report["shapes"]
    figure = Figure(figsize=(max(6.0, 4.2 * len(shapes)), 6.6), layout="constrained")
    axes = figure.subplots(2, max(1, len(shapes)), squeeze=False, height_ratios=[3, 2])
    names = [name for name in _WAYS if any(_rates(found).get(name) for found in shapes.values())]
    for column, (name, found) in enumerate(shapes.items()):
        _draw_ways(axes[0][column], found, names, is_first=column == 0)
        _draw_sweep(axes[1][column], found)
        axes[0][column].set_title(_TITLES.get(name, name), fontweight="bold")
    handles = {
        handle.get_label(): handle for row in axes for one in row for handle in one.get_legend_handles_labels()[0]
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"Conversations a second, {report['device']}, {report['dtype']}, {report['date']}")
    return figure


def _rates(found: dict[str, Any]) -> dict[str, float]:
    """Return rows a second by way; 0 where a way was not measured."""
    return {name: way.get("rows_per_s") or 0.0 for name, way in _measured(found).items()}


def _measured(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {**found.get("ways", {}), "public": found.get("public", {})}


def _draw_ways(axes: Axes, found: dict[str, Any], names: list[str], *, is_first: bool) -> None:
    rates = _rates(found)
    for place, name in enumerate(names):
        rate = rates.get(name, 0.0)
        axes.barh(place, rate, color=_WAYS[name][1], height=0.72)
        share = _measured(found).get(name, {}).get("share_of_floor")
        text = f"{_number(rate)} ({share:.0%})" if share else _number(rate)
        at = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "zorder": 5}
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        axes.annotate(text if rate else "not measured", (rate, place), fontsize=8, bbox=behind, **at)
    floors = _floors(found)
    for rate, label, color, style in floors:
        axes.axvline(rate, color=color, linestyle=style, linewidth=1.2, label=label)
    most = max([*rates.values(), *(rate for rate, *_ in floors), 1.0])
    axes.set_xlim(0, 1.22 * most)
    axes.set_yticks(range(len(names)), [_WAYS[name][0] if is_first else "" for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("rows a second (share of the floor)")
    _clean(axes)


def _draw_sweep(axes: Axes, found: dict[str, Any]) -> None:
    sweep = found.get("sweep", {})
    budgets: set[int] = set()
    for name, (label, color, mark, style) in _SWEPT.items():
        points = [(one["budget"], one["rows_per_s"]) for one in sweep.get(name, []) if one["rows_per_s"]]
        if points:
            budgets |= {budget for budget, _ in points}
            axes.plot(*zip(*points, strict=True), marker=mark, color=color, linestyle=style, label=f"{label}, by batch")
    for rate, _, color, style in _floors(found)[:1]:
        axes.axhline(rate, color=color, linestyle=style, linewidth=1.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(budgets), [f"{budget:,}" for budget in sorted(budgets)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_xlabel("tokens a batch")
    axes.set_ylabel("rows a second")
    _clean(axes)


def _floors(found: dict[str, Any]) -> list[tuple[float, str, str, str]]:
    """Return rate, label, colour and style of each floor that is known."""
    floors = found.get("build", {}).get("floors", {})
    return [(floors[key], *how) for key, how in _FLOORS.items() if floors.get(key)]


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axis = axes.xaxis if axes.get_xscale() == "linear" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(arguments: list[str] | None = None) -> None:
    """Draw a report."""
    parser = argparse.ArgumentParser(description="One picture of what gpu.py found.")
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, help="by default the report's name, with .png")
    args = parser.parse_args(arguments)
    out = args.out or args.report.with_suffix(".png")
    draw(json.loads(args.report.read_text(encoding="utf-8"))).savefig(out, dpi=160)
    print(out)


if __name__ == "__main__":
    main()
