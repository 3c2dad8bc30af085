"""The benchmarks run and their ways agree. Nothing is asserted about time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
WAYS = ["tutorial", "forward", "batches", "engine"]

pytestmark = pytest.mark.slow


def _run(script: str, *arguments: str, folder: Path) -> dict[str, Any]:
    """Run a benchmark elsewhere, as a user would, and return its last line."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--shape", "tiny", "--threads", "1", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def _check_ways(result: dict[str, Any], n_rows: int) -> None:
    assert result["n_rows"] == n_rows
    assert list(result["rows_per_s"]) == WAYS
    assert list(result["ratio_to_tutorial"]) == WAYS
    assert result["ratio_to_tutorial"]["tutorial"] == 1.0
    assert all(rate > 0 for rate in result["rows_per_s"].values())
    assert set(result["n_compared"].values()) == {n_rows}
    assert list(result["max_delta"]) == WAYS[:-1]
    assert result["published_adds_bos"], "the tutorial's snippet writes a second BOS, as the real tokenizer does"
    deltas = dict(result["max_delta"])
    assert deltas.pop("tutorial") >= 0, "which changes scores: reported, not asserted"
    assert max(deltas.values()) < 1e-4
    low, high = result["score_range"]
    assert high - low > 0.3, "scores that hardly vary would agree at any position"
    prefix, own = result["prefix_tokens"], result["own_tokens"]
    assert prefix > 100
    assert result["prefix_ceiling"] == pytest.approx((prefix + own) / own)
    assert result["prefix_share"] == pytest.approx(result["prefix_gain"] / result["prefix_ceiling"])


def test_score(tmp_path: Path) -> None:
    out = tmp_path / "score.json"
    report = _run("score.py", "--rows", "12", "--repeats", "1", "--guard", "cpu", "--out", str(out), folder=tmp_path)
    assert report["benchmark"] == "score"
    assert {"torch", "transformers", "python", "device", "n_threads"} <= report.keys()
    assert list(report["guards"]) == ["shape tiny"]
    _check_ways(report["guards"]["shape tiny"], 12)
    assert json.loads(out.read_text()) == report


def test_gpu_rehearsal(tmp_path: Path) -> None:
    report = _run("gpu.py", "--device", "cpu", "--rows", "8", "--repeats", "1", folder=tmp_path)
    assert report["benchmark"] == "gpu"
    assert report["complete"]
    assert "skipped" in report["tests"]
    assert report["build"]["weight_bytes"] > 0
    assert report["first_verdict"]["first_s"] > 0
    _check_ways(report["ways"], 8)
    assert [found["budget"] for found in report["sweep"]] == [1024, 2048]
    assert max(found["max_delta"] for found in report["sweep"]) < 1e-4
    assert set(report["seconds"]) == {"tests", "build", "first_verdict", "ways", "sweep", "close"}


def test_gpu_stops_at_its_limit(tmp_path: Path) -> None:
    report = _run("gpu.py", "--device", "cpu", "--rows", "8", "--limit", "0.2", folder=tmp_path)
    assert not report["complete"]
    assert report["tests"] == {"skipped": "no CUDA device asked for"}
    assert "sweep" not in report


def test_rows_differ_and_keep_their_order() -> None:
    from ways import load_rows

    many = load_rows(300)
    assert load_rows(96) == many[:96]
    assert len({json.dumps(row.chat) for row in many}) == 300
    assert {row.is_unsafe for row in many[:12]} == {True, False}


def test_what_was_not_measured_is_null() -> None:
    from ways import json_line

    assert json_line({"a": [float("nan"), 1.0], "b": {"c": float("inf")}}) == '{"a": [null, 1.0], "b": {"c": null}}'


def test_review(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "review.py"), "--rows", "300", "--labels", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["rows"] == 300
    assert report["n_steps"] >= 5
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


@pytest.mark.browser
def test_review_in_a_browser(tmp_path: Path) -> None:
    if not Path("/usr/bin/chromium").exists() and not os.environ.get("GUARD_MAGIC_NO_SKIPS"):
        pytest.skip("/usr/bin/chromium is not installed")
    command = [sys.executable, str(ROOT / "benchmarks" / "review_browser.py"), "--rows", "300"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["n_rows"] == 300
    assert report["first_paint_ms"] > 0
