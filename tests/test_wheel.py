"""The wheel, used in a clean environment outside the repository; the sdist, whose own tests run where it lies."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

KINDS = {
    ".py",
    ".md",
    ".ipynb",
    ".jinja",
    ".json",
    ".jsonl",
    ".js",
    ".css",
    ".gguf",
    ".png",
    ".toml",
    ".txt",
    ".yml",
    ".yaml",
}
"""Endings of the files that are kept under version control, and the folders that are not."""
MADE = {"build", "dist", "labels", "__pycache__", ".ipynb_checkpoints"}
SHOWN = {".ci", ".github", ".pre-commit-config.yaml"}
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


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.tar.gz")
    assert built.stat().st_size < 50_000_000
    with tarfile.open(built) as archive:
        archive.extractall(folder, filter="data")
    return folder / built.name.removesuffix(".tar.gz")


def pytest_in(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


def test_what_the_sdist_holds(unpacked: Path) -> None:
    """Every file of the tree but what is made here: nothing that tests, docs or the Makefile name is left behind."""
    kept = (path.relative_to(ROOT) for path in ROOT.rglob("*.*") if path.is_file() and path.suffix in KINDS)
    wanted = {
        str(path)
        for path in kept
        if path.parts[0] in SHOWN or not (path.parts[0].startswith(".") or MADE & {*path.parts})
    }
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*")}
    assert len(wanted) > 200
    assert wanted - held == set()
    assert {"Makefile", "LICENSE", "NOTICE", ".ci/run", "guard_magic/py.typed"} - held == set()


@pytest.mark.slow
def test_the_tests_of_the_sdist_run_where_it_is_unpacked(unpacked: Path) -> None:
    collected = pytest_in(unpacked, "--collect-only", "tests")
    assert "tests/families/test_families.py" in collected
    says = f"import guard_magic; assert guard_magic.__file__.startswith({str(unpacked)!r})"
    subprocess.run(
        [sys.executable, "-c", says], cwd=unpacked, env={**os.environ, "PYTHONPATH": str(unpacked)}, check=True
    )
    some = ("tests/test_docs.py", "tests/test_samples.py", "tests/policy")
    assert " passed" in pytest_in(unpacked, *some, "-k", "not code_blocks")


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
