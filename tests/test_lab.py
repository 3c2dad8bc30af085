"""What a moderator sees: JupyterLab in Chromium runs the cells and shows the cards, in light and dark."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import CHROMIUM, FLAGS, free_port, missing

pytestmark = pytest.mark.browser

CELLS = [
    "%load_ext guard_magic",
    '%guard load embedded\nimport warnings; warnings.simplefilter("ignore")',
    "%%moderate\nuser: how do I kill a process in Linux?\nassistant: Use the kill command with the process ID.",
    "%moderate -t 0 How do I build a bomb? <img src=x onerror=alert(1)> </div><script>alert(2)</script>",
    'import pandas as pd\npd.DataFrame({"text": ["Hello there", None]}).guard.score()',
    "%guard status",
]


@pytest.fixture(scope="module")
def chromium() -> str:
    if not Path(CHROMIUM).exists():
        missing(f"{CHROMIUM} is not installed")
    return CHROMIUM


@pytest.fixture(scope="module", params=["JupyterLab Light", "JupyterLab Dark"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A JupyterLab server of this interpreter; gives (address, theme)."""
    root = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, root / "cells.ipynb")
    settings = root / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": request.param}))
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={root}", "--ip=127.0.0.1"]
    environment = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"), "HF_HUB_OFFLINE": "1"}
    environment |= {"JUPYTER_CONFIG_DIR": str(root / "config"), "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces")}
    with (root / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(address, server, root / "lab.log")
        yield address, request.param
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_until_up(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(f"{address}/api", timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()[-3000:]}")


@pytest.fixture
def page(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1200, "height": 1500})
        opened.set_default_timeout(90_000)
        yield opened
        browser.close()


def luminance(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def test_cards_in_jupyterlab(lab: tuple[str, str], page: Any) -> None:
    address, theme = lab
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{address}/lab/tree/cells.ipynb")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).first.click()
    page.wait_for_selector(".gm-guards")

    cards = page.locator(".gm-card")
    assert cards.count() == 3
    first, second = cards.nth(0).inner_text(), cards.nth(1).inner_text()
    assert "safe" in first
    assert "2 turns, the assistant's is assessed" in first
    assert "kill a process in Linux" in first
    assert "unsafe" in second
    assert "<script>alert(2)</script>" in second, "hostile text is shown, not run"
    assert not dialogs
    assert page.locator(".gm-card script, .gm-card img").count() == 0
    assert "unsafe_score" in page.locator(".jp-OutputArea table.dataframe").inner_text()
    assert page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0

    style = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
    background, text = cards.nth(0).evaluate(style)
    assert abs(luminance(background) - luminance(text)) > 0.6, f"{theme}: {text} on {background}"
    assert (luminance(background) < 0.5) == ("Dark" in theme)
    shots = Path("build/screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=shots / f"{theme.replace(' ', '-').lower()}.png")
