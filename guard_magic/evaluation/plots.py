"""A report in pictures: precision and recall, reliability, and the scores of either label.

Figures are matplotlib's own, without pyplot: no state of the notebook's changes, and nothing is left open.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guard_magic.evaluation.metrics import calibration_bins
from guard_magic.evaluation.samples import Sample, flags

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from guard_magic.evaluation.report import Report

__all__ = ["report_figure"]


@dataclass(frozen=True, slots=True)
class _Colors:
    ground: str
    ink: str
    faint: str
    safe: str
    unsafe: str
    line: str


_LIGHT = _Colors("#ffffff", "#1f2328", "#c9ced4", "#2e7d32", "#c62828", "#1f5fa8")
_DARK = _Colors("#15181c", "#e3e6ea", "#4a525b", "#6cbf71", "#ef6b66", "#79b0ec")
_N_BARS = 25


def report_figure(report: Report, *, dark: bool = False) -> Figure:
    """Return the report's three plots side by side; see `Report.plot`."""
    colors = _DARK if dark else _LIGHT
    figure = _figure_class()(figsize=(13, 4), dpi=110, facecolor=colors.ground, layout="constrained")
    axes = figure.subplots(1, 3)
    for ax in axes:
        _dress(ax, colors)
    sample = report.sample.scored
    _precision_recall(axes[0], sample, report.flagged_from, colors)
    _reliability(axes[1], sample, colors)
    _distributions(axes[2], sample, report.flagged_from, colors)
    said = " · these labels only, not the table" if report.refused else ""
    figure.suptitle(f"{_plain(report.title)}{said}", color=colors.ink, fontsize=10)
    return figure  # type: ignore[no-any-return]


@functools.cache
def _figure_class() -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    class ReportFigure(Figure):
        """A figure that notebooks show without pyplot."""

        def _repr_png_(self) -> bytes:
            FigureCanvasAgg(self)
            kept = io.BytesIO()
            self.savefig(kept, format="png", facecolor=self.get_facecolor())
            few_colors, small = Image.open(kept).convert("RGB").quantize(64), io.BytesIO()
            few_colors.save(small, format="png", optimize=True)  # a third of the size, in every saved notebook
            return small.getvalue()

    return ReportFigure


def _plain(text: str) -> str:
    return text.replace("$", r"\$")


def _dress(ax: Any, colors: _Colors) -> None:
    ax.set_facecolor(colors.ground)
    ax.tick_params(colors=colors.ink, labelsize=9)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colors.faint)
    ax.grid(color=colors.faint, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)


def _name(ax: Any, title: str, across: str, up: str, colors: _Colors) -> None:
    ax.set_title(title, color=colors.ink, fontsize=11, loc="left")
    ax.set_xlabel(across, color=colors.ink, fontsize=9)
    ax.set_ylabel(up, color=colors.ink, fontsize=9)


def _legend(ax: Any, colors: _Colors, where: str) -> None:
    ax.legend(loc=where, fontsize=8, frameon=True, facecolor=colors.ground, edgecolor="none", labelcolor=colors.ink)


def _precision_recall(ax: Any, sample: Sample, threshold: float, colors: _Colors) -> None:
    _name(ax, "Precision and recall", "recall", "precision", colors)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.05)
    if not sample.unsafe.any():
        ax.text(0.5, 0.5, "no row is labelled unsafe", color=colors.ink, ha="center", fontsize=9)
        return
    from sklearn import metrics

    precision, recall, _ = metrics.precision_recall_curve(sample.unsafe, sample.scores, sample_weight=sample.weights)
    ax.step(recall, precision, where="post", color=colors.line, linewidth=1.8)
    share = float(np.average(sample.unsafe, weights=sample.weights))
    ax.axhline(share, color=colors.ink, linewidth=1, linestyle=":", label=f"flag everything ({share:.2f})")
    flagged = flags(sample.scores, threshold)
    w, unsafe = sample.weights, sample.unsafe > 0
    if flagged.any():
        hits = w[flagged & unsafe].sum()
        at = (hits / w[unsafe].sum(), hits / w[flagged].sum())
        ax.plot(*at, "o", color=colors.unsafe, markersize=8, label=f"threshold {threshold:.3g}", zorder=4)
    _legend(ax, colors, "lower left")


def _reliability(ax: Any, sample: Sample, colors: _Colors) -> None:
    _name(ax, "Reliability", "score (mean of a tenth of the rows)", "share that is unsafe", colors)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.05)
    ax.plot([0, 1], [0, 1], color=colors.ink, linewidth=1, linestyle=":", label="scores that come true")
    if len(sample):
        from guard_magic.evaluation.intervals import wilson

        bins = calibration_bins(sample.scores, sample.weights)
        for k in np.unique(bins):
            part = sample.only(bins == k)
            at, share = (float(np.average(of, weights=part.weights)) for of in (part.scores, part.unsafe))
            n = part.weights.sum() ** 2 / (part.weights**2).sum()
            low, high = wilson(share * n, n)
            ax.plot([at, at], [low, high], color=colors.line, linewidth=1, alpha=0.8)
            ax.plot(at, share, "o", color=colors.line, markersize=5)
    _legend(ax, colors, "upper left")


def _distributions(ax: Any, sample: Sample, threshold: float, colors: _Colors) -> None:
    _name(ax, "Scores by label", "score", "share of the rows with that label", colors)
    edges = np.linspace(0, 1, _N_BARS + 1)
    for kind, color, hatch, word in ((0, colors.safe, "", "safe"), (1, colors.unsafe, "//", "unsafe")):
        of = sample.only(sample.unsafe == kind)
        if len(of):
            weights = of.weights / of.weights.sum()
            counts, _ = np.histogram(of.scores, edges, weights=weights)
            label = f"{word} ({len(of):,})"
            ax.stairs(counts, edges, fill=True, color=color, alpha=0.35)
            ax.stairs(counts, edges, color=color, linewidth=1.5, hatch=hatch, label=label)
    ax.axvline(threshold, color=colors.ink, linewidth=1.2, linestyle="--", label=f"threshold {threshold:.3g}")
    ax.set_xlim(0, 1)
    ax.set_ylim(bottom=0)
    _legend(ax, colors, "upper center")
