"""The wheel: built, installed into a clean environment outside the repository, and used there."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

USE = """
import importlib.util, pathlib
import guard_magic, pandas as pd
assert "site-packages" in guard_magic.__file__, guard_magic.__file__
assert guard_magic.__version__ != "0+unknown"
samples = pd.read_json(pathlib.Path(guard_magic.__file__).parent / "samples.jsonl", lines=True)
scored = samples[["messages"]].guard.score(progress=False)
assert scored["category"].notna().all(), scored["guard_error"].dropna()
print("scored", len(scored), scored["unsafe_score"].min() < 0.2, scored["unsafe_score"].max() > 0.5)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_what_the_wheel_holds(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("guard.gguf", "tokenizer.json", "tokenizer_config.json", "MODEL_CARD.md"):
        assert f"guard_magic/embedded/{name}" in names
    for name in ("review.js", "review.css", "dom.js"):
        assert f"guard_magic/review/static/{name}" in names
    assert "guard_magic/samples.jsonl" in names
    assert "guard_magic/py.typed" in names
    assert [name for name in names if name.endswith("licenses/NOTICE")]
    assert not [name for name in names if name.startswith(("tests", "training", "benchmarks", "notebooks"))]
    assert wheel.stat().st_size < 45_000_000


@pytest.mark.slow
def test_a_clean_environment_can_use_it(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    pinned = ["-c", str(ROOT / "constraints.txt")]
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    for wanted in ([torch], [str(wheel)]):
        command = [str(python), "-m", "pip", "install", "--quiet", *pinned, *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", USE],
        cwd=tmp_path,
        env={"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["scored", "124", "True", "True"]
