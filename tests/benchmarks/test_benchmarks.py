"""The benchmarks run and their ways agree. Nothing is asserted about time."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
WAYS = ["tutorial", "forward", "batches", "padded", "engine"]

pytestmark = pytest.mark.slow


def _run(script: str, *arguments: str, folder: Path) -> dict[str, Any]:
    """Run a benchmark elsewhere, as a user would, and return its last line."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--threads", "1", *arguments]
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
    assert result["tokens_per_s"] == pytest.approx(result["rows_per_s"]["engine"] * (own + result["chain_tokens"]))
    assert list(result["floor_share"]) == WAYS
    assert result["product_flops"] > 0
    assert result["latency"]["median_ms"] > 0


def test_score(tmp_path: Path) -> None:
    out = tmp_path / "score.json"
    options = ["--shape", "tiny", "--rows", "12", "--repeats", "1", "--guard", "cpu", "--out", str(out)]
    report = _run("score.py", *options, folder=tmp_path)
    assert report["benchmark"] == "score"
    assert {"torch", "transformers", "python", "device", "n_threads", "dtype", "lengths"} <= report.keys()
    assert list(report["guards"]) == ["shape tiny"]
    _check_ways(report["guards"]["shape tiny"], 12)
    assert json.loads(out.read_text()) == report


def test_score_in_bfloat16_over_true_lengths(tmp_path: Path) -> None:
    options = ["--shape", "tiny", "--rows", "4", "--repeats", "1", "--guard", "cpu"]
    report = _run("score.py", *options, "--dtype", "bfloat16", "--lengths", "dev", folder=tmp_path)
    result = report["guards"]["shape tiny"]
    assert (report["dtype"], report["lengths"], result["n_rows"]) == ("bfloat16", "dev", 4)
    assert 0 < result["max_delta"]["forward"] < 0.3, "bfloat16 rounds"


NO_COMPILER = ["--skip", "ways/compiled", "ways/fp8_compiled"]
"""Compiling takes most of a rehearsal, and tests/engine/test_compiled.py does it."""


def test_gpu_rehearsal(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    options = ["--device", "cpu", "--shape", "qwen3guard-tiny", "--rows", "8", "--repeats", "2", "--out", str(out)]
    report = _run("gpu.py", *options, *NO_COMPILER, folder=tmp_path)
    assert report["benchmark"] == "gpu"
    assert report["complete"], report["failed"]
    assert "skipped" in report["tests"]
    found = report["shapes"]["qwen3guard-tiny"]
    assert found["build"]["answer_tokens"] == [6, 7], "as dev_lengths.json has them"
    assert found["trial"]["packs"]
    assert list(found["ways"]) == ["engine", "tutorial", "batches", "padded", "forward", "fp8"]
    assert all(way["rows_per_s"] > 0 and way["n_scored"] == 8 for way in found["ways"].values())
    assert all(found["ways"][way]["against_engine"]["max"] < 1e-4 for way in WAYS[:-1])
    assert found["ways"]["padded"]["padding"] > found["ways"]["engine"]["padding"] == 0
    assert found["numbers"]["is_equal_again"]
    assert found["numbers"]["engine"]["max"] < 1e-4
    low, high = found["numbers"]["score_range"]
    assert high - low > 0.3, "scores that hardly vary would agree at any position"
    assert found["repeats"]["same_again"]["is_equal"]
    assert found["repeats"]["other_order"]["max"] < 1e-4
    assert found["public"]["host_us_a_row"] > 0
    assert found["text"]["50_tokens"]["n"] == found["text"]["7_tokens"]["n"] > 0
    assert len(found["profile"]["engine"]["kernels"]) == 25
    assert [one["budget"] for one in found["sweep"]["engine"]] == [4096, 8192]
    assert json.loads(out.read_text()) == report
    _check_plot(out)


def _check_plot(report: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture is drawn with it")
    import plot

    plot.main([str(report)])
    assert report.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_gpu_stops_at_its_limit(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--shape", "tiny", "--rows", "8", "--limit", "0.5"]
    report = _run("gpu.py", *options, folder=tmp_path)
    assert not report["complete"]
    assert report["rates"]["bf16_flops"] > 0
    assert report["failed"] == ["shapes/tiny/build"]
    assert report["shapes"]["tiny"]["build"]["error"] == "TooLong: stopped after 0 s"
    assert "tests" in report["skipped"]


def _start(out: Path, limit: float = 60.0) -> Any:
    from gpu_run import Run

    return Run({"benchmark": "gpu"}, limit, on_cuda=False, out=out)


def test_a_part_that_fails_or_takes_too_long_loses_nothing(tmp_path: Path) -> None:
    run = _start(tmp_path / "run.json")

    def fails(found: dict[str, Any]) -> None:
        found["half"] = 1
        raise ValueError("no such kernel")

    def hangs(found: dict[str, Any]) -> None:
        found["half"] = 2
        time.sleep(30)

    assert not run.part("a/fails", fails, 5)
    assert not run.part("a/hangs", hangs, 0.1)
    assert run.part("a/works", lambda found: found.update(n=3), 5)
    assert not run.part("late", fails, 5, until=100)
    kept = json.loads(run.out.read_text())
    assert kept["a"]["fails"]["half"] == 1
    assert kept["a"]["fails"]["error"] == "ValueError: no such kernel"
    assert kept["a"]["hangs"] == {"half": 2, "error": "TooLong: stopped after 0 s"} | {
        "where": kept["a"]["hangs"]["where"]
    }
    assert kept["a"]["works"] == {"n": 3}
    assert (run.report["failed"], run.report["skipped"]) == (["a/fails", "a/hangs"], ["late"])


def test_a_run_goes_on_where_it_lost_its_device(tmp_path: Path) -> None:
    first = _start(tmp_path / "run.json")
    first.part("build", lambda found: found.update(n=1), 5)
    first.part("way", lambda found: found.update(n=1), 5)
    first.save()
    second = _start(tmp_path / "run.json")
    second.resume(first.out)
    assert second.part("build", lambda found: found.update(n=2), 5, again=True)
    assert second.part("way", lambda found: found.update(n=2), 5)
    assert (second.report["build"], second.report["way"], second.report["n_restarts"]) == ({"n": 2}, {"n": 1}, 1)


def test_floors_of_rows_are_those_of_the_split() -> None:
    """Of the same lengths, by the same counts: only the sample and the share of the prefixes differ."""
    from bounds import known_device, loop_rows_per_s, measured_device, rows_floor
    from floors import DEVICES, floor_of, loop_seconds, shape_of
    from lengths import FAMILIES, load_lengths, rows_of_lengths
    from ways import encode_rows, forced_answers

    family = "llama-guard-3-8b"
    guard, lengths, shape = FAMILIES[family](), load_lengths(family), shape_of(family)
    rows = rows_of_lengths(guard, lengths, 1_000)
    encoded, device = encode_rows(guard, rows), known_device("NVIDIA H200")
    assert device is not None
    for shares in (True, False):
        found = rows_floor(shape, encoded, device, shares=shares)
        assert found.rows_per_s == pytest.approx(floor_of(family, device, shares=shares).rows_per_s, rel=0.1)
    answers = forced_answers(guard)
    assert [len(ids) for ids in answers.values()] == list(lengths.n_answer)
    loop = loop_rows_per_s(shape, encoded, [len(answers[row.is_unsafe]) for row in rows], device)
    assert loop == pytest.approx(1 / loop_seconds(family, device), rel=0.1)
    fp8 = known_device("NVIDIA H100 80GB HBM3", fp8=True)
    assert fp8 is not None
    assert fp8.products == 2 * DEVICES["H100 bf16"].products
    rates = {"bf16_flops": 1e12, "fp8_flops": None, "bytes_per_s": 1e12}
    assert measured_device(fp8, rates, fp8=True) is None
    slower = measured_device(device, rates)
    assert slower is not None
    assert rows_floor(shape, encoded, slower).rows_per_s < 1
    assert known_device("another card") is None


def test_the_loop_reads_what_typed_parts_say() -> None:
    """A template of typed parts renders plain strings as an empty conversation: every score would be the same."""
    from shapes import TEMPLATE_1B, answering_model, llama3_tokenizer
    from timing import differences
    from ways import encode_rows, forward_each, guard_for, load_rows, read_all

    tokenizer = llama3_tokenizer(template=TEMPLATE_1B)
    guard, rows = guard_for(answering_model(tokenizer), tokenizer), load_rows(6)
    assert encode_rows(guard, rows)[0].prompt.n_prefix > 100
    found = differences(dict(forward_each(guard)(rows)), dict(read_all(guard)(rows)))
    assert found["n"] == 6
    assert found["max"] < 1e-4


def test_differences_of_scores() -> None:
    from timing import differences

    one = {0: 0.1, 1: 0.6, 2: 0.4, 3: math.nan, 4: 0.9}
    other = {0: 0.1, 1: 0.4, 2: 0.45, 3: 0.5, 9: 0.0}
    found = differences(one, other)
    assert (found["n"], found["n_missing"], found["flips"], found["is_equal"]) == (4, 1, 1, False)
    assert found["max"] == pytest.approx(0.2)
    assert found["rank_correlation"] == pytest.approx(0.5)
    assert differences(one, {}) == {"n": 0, "n_missing": 0}


def test_spread_answers_span_the_scores() -> None:
    from gpu_guards import SPECS, build
    from ways import read_all

    built = build(SPECS["tiny"], torch.bfloat16, "cpu", 24)
    scores = sorted(score for _, score in read_all(built.guard)(built.rows))
    assert scores[0] < 0.35
    assert scores[-1] > 0.65


def test_ask(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "ask.py"), "--rows", "40", "--family", "embedded"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert list(report["us_a_row"]) == ["embedded"]
    assert report["us_a_row"]["embedded"] > 0


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
