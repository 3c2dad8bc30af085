"""A real kernel: the quickstart runs, its outputs are static and complete."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
THRESHOLD = ROOT / "notebooks" / "03_choose_a_threshold.ipynb"
REVIEW = ROOT / "notebooks" / "02_review_and_label.ipynb"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(ROOT / "notebooks" / "run_demo.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_demo_prints_the_scored_table(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    assert "unsafe_score" in printed
    assert "flagged" in printed
    assert str(folder / "01_quickstart.html") in printed


def test_the_quickstart_gives_verdicts_without_errors(demo: tuple[Path, str]) -> None:
    notebook = nbformat.read(demo[0] / "01_quickstart.ipynb", as_version=4)
    results = outputs(notebook)
    assert not [o for o in results if o.output_type == "error"]
    cards = [o.data for o in results if "text/html" in o.get("data", {}) and "gm-card" in o.data["text/html"]]
    assert len(cards) >= 2
    for card in cards:
        assert card["text/plain"].strip()
        assert "application/vnd.jupyter.widget-view+json" not in card
    page = (demo[0] / "01_quickstart.html").read_text(encoding="utf-8")
    assert "2 turns" in page
    assert "kill a process in Linux" in page


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_stored_notebooks_have_their_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert all(cell.outputs or "import" in cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert not [o for o in outputs(notebook) if o.output_type == "error"]
    assert "widget-view+json" not in path.read_text(encoding="utf-8"), "a widget that is dead in the file"
    assert path.stat().st_size < 100_000


def test_the_notebook_on_thresholds_ends_with_a_defended_one(tmp_path: Path) -> None:
    notebook = nbformat.read(THRESHOLD, as_version=4)
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    results = outputs(notebook)
    assert not [o for o in results if o.output_type == "error"]
    cards = [o.data for o in results if "gm-card" in o.get("data", {}).get("text/html", "")]
    assert ["gm-report" in card["text/html"] for card in cards] == [True, False, False]
    assert len([o for o in results if "image/png" in o.get("data", {})]) == 1
    printed = "".join(o.text for o in results if o.output_type == "stream")
    assert "you need about" in printed
    assert "false positive rate ≤ 0.1 with probability ≥ 0.95" in printed
    assert "chosen for scores of guard embedded@" in printed


def test_the_review_notebook_shows_a_table_and_a_widget(tmp_path: Path) -> None:
    notebook = nbformat.read(REVIEW, as_version=4)
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    results = outputs(notebook)
    assert not [o for o in results if o.output_type == "error"]
    widgets = [o.data for o in results if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    tables = [
        o.data["text/html"] for o in results if "data-guard-magic-review" in o.get("data", {}).get("text/html", "")
    ]
    assert len(widgets) == len(tables) == 3
    assert all("text/html" not in widget for widget in widgets), "where a widget is dead, the table stands alone"
    assert tables[0].count("<tr>") == 21
    assert tables[1].count("<tr>") == 4, "three disagreements"
    assert "<th>score" not in tables[2], "blind"


def test_the_review_notebook_goes_on_after_its_kernel_was_killed(tmp_path: Path) -> None:
    """It is run, three rows are labelled as a browser does it, the kernel is killed, it is run again."""
    cells = [cell.source for cell in nbformat.read(REVIEW, as_version=4).cells if cell.cell_type == "code"]
    place = "view = reviewer.widget.view; print('row', view['selected'], 'comm', reviewer.widget.model_id)"
    count = "print('labelled', reviewer.widget.head['done'], sorted(p.name for p in folder.iterdir()))"
    with a_kernel(tmp_path) as (manager, client):
        for cell in cells:
            assert run(client, cell)[0] == "ok", cell
        comm = run(client, place)[1].split()[-1]
        for row, label in ((5, "safe"), (9, "unsafe"), (3, "unsure")):
            told = {"type": "label", "id": f"q{row}", "rows": [row], "label": label, "seconds": 1.0}
            tell(client, comm, {"method": "custom", "content": told})
        tell(client, comm, {"method": "update", "state": {"view": {"selected": 7, "position": 7}}, "buffer_paths": []})
        before = run(client, count)[1]
        assert before.startswith("labelled 3 ['ann.sqlite', 'bob.sqlite', ")
        manager.signal_kernel(signal.SIGKILL)
    with a_kernel(tmp_path) as (_, client):
        for cell in cells:
            assert run(client, cell)[0] == "ok", cell
        assert run(client, count)[1] == before, "every label is there, and nothing was made twice"
        assert run(client, place)[1].split()[1] == "7", "at the place where it stopped"
        _, printed = run(client, "print(reviewer.labels()['label'].dropna().to_dict())")
        assert printed.strip() == "{3: 'unsure', 5: 'safe', 9: 'unsafe'}"
        steps = "[len(LabelFile(folder / f'{name}.sqlite', annotator=name).history()) for name in ('bob', 'eve')]"
        _, printed = run(client, f"print({steps})")
        assert printed.strip() == "[90, 90]"
    assert not [path.name for path in tmp_path.iterdir() if path.name != "labels"]


def tell(client: BlockingKernelClient, comm: str, data: dict[str, Any]) -> None:
    """Send what a widget in a browser sends."""
    client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": comm, "data": data}))


@contextmanager
def a_kernel(folder: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager, client = start_new_kernel(kernel_name="python3", env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"})
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, code: str) -> tuple[str, str]:
    """Run code; return (status, everything printed)."""
    asked = client.execute(code)
    printed = ""
    while True:
        message = client.get_iopub_msg(timeout=240)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != asked:
            continue
        if kind == "stream":
            printed += content["text"]
        elif kind in ("execute_result", "display_data"):
            printed += content["data"].get("text/plain", "")
        elif kind == "error":
            printed += f"{content['ename']}: {content['evalue']}"
        elif kind == "status" and content["execution_state"] == "idle":
            break
    while (reply := client.get_shell_msg(timeout=30))["parent_header"].get("msg_id") != asked:
        pass
    return reply["content"]["status"], printed


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("df.guard.score", ["recheck: 'float | None' = None", "conversation_id, role, content", "guard_error"]),
        ("df.guard.score_turns", ["overflow: 'Overflow' = 'error'", "one row per message"]),
        ("df.guard.review", ["order: 'str' = 'uncertainty'", "Label files of several annotators"]),
        ("texts.guard.score", ["recheck: 'float | None' = None", "A string is one user message"]),
        ("guard_magic.load", ["quantization: 'str | None' = None", "whole weights"]),
    ],
)
def test_shift_tab_shows_all_of_it(
    code: str, shown: list[str], kernel: tuple[KernelManager, BlockingKernelClient]
) -> None:
    _, client = kernel
    run(client, "import guard_magic, pandas as pd; df = pd.DataFrame({'text': ['hi']}); texts = df['text']")
    found = client.inspect(f"{code}(", len(code) + 1, reply=True, timeout=60)["content"]
    text = re.sub(r"\x1b\[[0-9;]*m", "", found["data"]["text/plain"])
    assert found["found"]
    for words in shown:
        assert words in text, text
    assert "**options" not in text.split("Docstring")[0]


def test_load_ext_in_a_kernel_is_light(kernel: tuple[KernelManager, BlockingKernelClient]) -> None:
    _, client = kernel
    assert run(client, "%load_ext guard_magic")[0] == "ok"
    _, printed = run(client, "import sys; [m for m in ('torch', 'transformers', 'ipywidgets') if m in sys.modules]")
    assert printed.strip() == "[]"
