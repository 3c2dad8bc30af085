"""README and docs: their code runs and prints what they show, their links lead somewhere, and they stay readable."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import documents
import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDERS = ("", "docs", "benchmarks", "training", "guard_magic/embedded", ".github")
PAGES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
RUN = [path for path in PAGES if path.parent.name == "docs" or path.name == "README.md"]
WITH_CODE = [path for path in RUN if path.name != "files.md" and documents.blocks(path)]  # test_formats runs files.md
N_NOT_RUN = 4
"""Blocks that no test runs, each with its reason above it: hub models, a GPU, JupyterLab."""
LONGEST = 120
LOGS = ("LOG.md", "CHANGELOG.md", "files.md")
NO_MACHINE = re.compile(r"(?<![\w.~])/(home|work|root|Users|tmp|mnt|opt)/|\bC:\\")


LAYERS = re.search(r"^LAYERS = (\[.*?^\])", (ROOT / "tests" / "test_layers.py").read_text("utf-8"), re.S | re.M)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def outside_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.S | re.M)


def targets(text: str) -> list[str]:
    """Return what a page links to or shows, in Markdown and in HTML."""
    prose = outside_code(text)
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|srcset|href)="([^"]+)"', prose)


def anchors(text: str) -> set[str]:
    """Return the names that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_code_blocks_run_and_print_what_is_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # what is shown is what a laptop prints
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run = [block for block in documents.blocks(page) if block.not_run is None]
    printed = documents.run([block.code for block in run], tmp_path)
    for block, text in zip(run, printed, strict=True):
        if block.output is not None:
            wrong = documents.difference(block.output, text)
            assert not wrong, f"{name(page)}, line {block.line}: {wrong}"


def test_few_blocks_are_not_run() -> None:
    blocks = [block for page in WITH_CODE for block in documents.blocks(page)]
    assert sum(block.not_run is not None for block in blocks) == N_NOT_RUN
    assert sum(block.not_run is None for block in blocks) > 2 * N_NOT_RUN


def test_the_readme_shows_three_blocks_with_their_outputs_and_is_short() -> None:
    readme = ROOT / "README.md"
    run = [block for block in documents.blocks(readme) if block.not_run is None]
    assert [block.output is not None for block in run] == [True, True, True]
    assert readme.stat().st_size <= 8192


@pytest.mark.parametrize(
    ("shown", "printed", "is_same"),
    [
        ("safe 0.049\n", "safe  0.0495\n\n", True),
        ("safe 0.049", "safe 0.149", False),
        ("safe 0.049", "unsafe 0.049", False),
        ("safe", "safe 0.049", False),
        ("-2.23", "2.23", False),
    ],
)
def test_outputs_are_compared(shown: str, printed: str, is_same: bool) -> None:
    assert (documents.difference(shown, printed) == "") == is_same


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in targets(text):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), f"{name(page)} links to {target}"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{name(page)} links to {target}"


def is_there(path: str) -> bool:
    return (ROOT / path).exists() or (ROOT / "guard_magic" / path).exists()


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in LOGS], ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    """What begins with a folder of ours, in backticks; the package's name may be left out. Logs tell of the past."""
    named = re.findall(
        r"`(?:(?:python|pytest) )?([\w.]+/[\w./]+\.(?:py|md|js|ipynb))", page.read_text(encoding="utf-8")
    )
    ours = [path for path in named if is_there(path.split("/")[0])]
    assert not [path for path in ours if not is_there(path)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets_of_make_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.M))
    asked = re.findall(r"(?:^|`)make ([\w -]+?)(?:`|  |$)", page.read_text(encoding="utf-8"), re.M)
    assert {target for words in asked for target in words.split()} <= targets


def test_the_map_lists_the_wings_in_the_order_in_which_they_may_import() -> None:
    assert LAYERS is not None
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## A walk")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.M)
    listed = [wing for row in rows for wing in re.findall(r"`(\w+)/?`", row)]
    package = ROOT / "guard_magic"
    wings = [wing for wing in ast.literal_eval(LAYERS[1]) if wing != "__init__"]
    assert listed == [wing for wing in wings if (package / wing).is_dir() or (package / f"{wing}.py").exists()]


def test_the_walk_has_at_most_eight_names() -> None:
    walk = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## A walk")[1].split("```")[0]
    names = re.findall(r"^\| (?!what|---)([\w -]+) \|", walk, re.M)
    assert (names[0], names[-1]) == ("row", "column")
    assert len(names) <= 8
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert not [word for word in names if f"| {word} |" not in glossary]


def test_the_glossary_is_in_order_and_says_each_word_once() -> None:
    tables = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split("\n## ")[1:3]
    for table in tables:
        words = re.findall(r"^\| (?!word|---)([^|]+?)(?:\\\*)? \|", table, re.M)
        assert words == sorted(set(words))


def test_the_workflow_runs_what_is_there_and_the_forms_can_be_read() -> None:
    forms = [yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")]
    assert len(forms) == 3
    assert all({"name", "description", "body"} <= set(form) for form in forms)
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    runs = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert runs == {".ci/run", "make test-newest"}
    assert (ROOT / ".ci/run").stat().st_mode & 0o100
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_are_short(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    plain = [line for line in lines if not line.startswith("|") and not re.search(r"\]\([^)]{60,}\)|https://", line)]
    assert not [line for line in plain if len(line) > LONGEST]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_page_names_a_machine(page: Path) -> None:
    assert not [line for line in page.read_text(encoding="utf-8").splitlines() if NO_MACHINE.search(line)]


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.png")), ids=name)
def test_pictures_are_small_and_shown(path: Path) -> None:
    assert path.stat().st_size < 150_000
    assert any(path.name in page.read_text(encoding="utf-8") for page in PAGES)
