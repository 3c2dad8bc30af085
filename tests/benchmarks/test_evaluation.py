"""The benchmarks of evaluation run, and say what they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "guard_magic" / "samples.jsonl"

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_calibration(tmp_path: Path) -> None:
    samples = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    decided = [one for one in samples if one["expected"] in ("safe", "unsafe")]
    rows = [
        {"messages": one["messages"], "label": int(one["expected"] == "unsafe"), "source": "samples"} for one in decided
    ]
    rows += [
        {
            "messages": [{"role": "user", "content": f"{word} number {i}"}],
            "label": int(word == "kill"),
            "source": "made",
        }
        for i in range(110)
        for word in ("bread", "kill")
    ]
    path, kept = tmp_path / "rows.jsonl", tmp_path / "scores.parquet"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = [str(path), "--deals", "2", "--kept", str(kept)]
    report = run("calibration.py", *asked, folder=tmp_path)
    assert report["sources"]["samples"] == {"n": len(decided), "left_out": "fewer than 200 rows, or one class"}
    found = report["sources"]["made"]
    assert (found["n"], found["n_unsafe"]) == (220, 110)
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    assert sum(found["chosen"].values()) == 2
    assert run("calibration.py", *asked, folder=tmp_path) == report


def test_prediction_powered(tmp_path: Path) -> None:
    report = run("ppi.py", "--draws", "20", "--rows", "800", "--labelled", "150", folder=tmp_path)
    assert len(report["settings"]) == 6
    for found in report["settings"].values():
        assert set(found) == {"prevalence", "precision", "recall"}
        assert all(0.5 <= one["coverage"] <= 1 and one["n_estimates"] > 0 for one in found.values())


def test_intervals_and_promises(tmp_path: Path) -> None:
    rng = [(i % 50) / 50 for i in range(300)]
    scores = tmp_path / "scores.jsonl"
    rows = [{"unsafe_score": score, "label": int(score > 0.6) ^ (i % 11 == 0)} for i, score in enumerate(rng)]
    scores.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = run("evaluation.py", "--draws", "10", "--scores", str(scores), folder=tmp_path)
    assert {"auroc", "recall", "f1", "f1 within classes"} <= set(report["intervals"]["n=100, 30% unsafe"])
    assert all(0 <= one["broken"] <= 0.4 for made in report["promises"].values() for one in made.values())
    assert report["splits"]["of"] == "300 rows of scores.jsonl"
    assert report["seconds_100k"] > 0
