"""A real JupyterLab or Notebook 7 in Chromium, for tests: server, pages, cells, axe-core."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
THEMES = "@jupyterlab/apputils-extension:themes"


def missing(reason: str) -> None:
    """Skip, or fail where nothing may be skipped."""
    if os.environ.get("GUARD_MAGIC_NO_SKIPS"):
        pytest.fail(reason)
    pytest.skip(reason)


def wait_until(is_so: Callable[[], object], words: str, seconds: float = 60) -> None:
    """Wait for what is asserted: a page answers when it can, and on a busy machine that is late."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, words
        time.sleep(0.05)


def stays(is_so: Callable[[], object], words: str, seconds: float = 0.3) -> None:
    """Assert that nothing happens: it is so now, and stays so for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert is_so(), words
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class Server:
    """A Jupyter server of this interpreter, and the folder that it serves."""

    address: str
    root: Path

    def write(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook of code cells."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.root / name)

    def set_theme(self, theme: str) -> None:
        """Choose "JupyterLab Light" or "JupyterLab Dark", as a person does in the settings."""
        body = json.dumps({"raw": json.dumps({"theme": theme})}).encode()
        asked = urllib.request.Request(f"{self.address}/lab/api/settings/{THEMES}", data=body, method="PUT")
        urllib.request.urlopen(asked, timeout=10).close()

    def stop_kernels(self) -> None:
        """End every kernel of this server."""
        with urllib.request.urlopen(f"{self.address}/api/kernels", timeout=10) as answer:
            kernels = json.load(answer)
        for kernel in kernels:
            asked = urllib.request.Request(f"{self.address}/api/kernels/{kernel['id']}", method="DELETE")
            urllib.request.urlopen(asked, timeout=30).close()


@contextmanager
def serve(root: Path, app: str = "jupyterlab") -> Iterator[Server]:
    """Run a server of `app` ("jupyterlab" or "notebook") over `root`."""
    settings = root / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    port = free_port()
    command = [sys.executable, "-m", app, "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += ["--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={root}"]
    command += ["--ServerApp.disable_check_xsrf=True"]
    environment = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"), "HF_HUB_OFFLINE": "1"}
    environment |= {"JUPYTER_CONFIG_DIR": str(root / "config"), "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces")}
    with (root / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        server = Server(f"http://127.0.0.1:{port}", root)
        _wait_until_up(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_up(server: Server, process: subprocess.Popen[bytes]) -> None:
    log = server.root / "server.log"
    for _ in range(240):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(f"{server.address}/api", timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the server did not start: {log.read_text()[-3000:]}")


@dataclass
class Watched:
    """A page, and whatever went wrong in it: console errors, exceptions, dialogs."""

    page: Any
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))
        self.page.on("dialog", self._on_dialog)

    def _on_console(self, message: Any) -> None:
        # JupyterLab's own requests that find nothing (a workspace, a checkpoint) are no errors of ours.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.troubles.append(f"console: {message.text}")

    def _on_dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def open_page(width: int = 1240, height: int = 1250) -> Iterator[Watched]:
    """Open an empty page in Chromium."""
    if not Path(CHROMIUM).exists():
        missing(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(90_000)
        yield Watched(page)
        browser.close()


def open_lab(page: Any, server: Server, name: str) -> None:
    """Open a notebook in JupyterLab, in a workspace of its own, and wait for its kernel."""
    page.goto(f"{server.address}/lab/workspaces/{name.removesuffix('.ipynb')}/tree/{name}")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()


def run_all(page: Any) -> None:
    """Run all cells by the menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).first.click()


@cache
def axe_source() -> str:
    """Return axe-core, as a package on PyPI carries it."""
    listed = importlib.metadata.files("axe-playwright-python") or []
    return Path(str(next(file for file in listed if file.name == "axe.min.js").locate())).read_text("utf-8")


def violations(page: Any, selector: str) -> list[str]:
    """Return axe-core's serious and critical findings below `selector`, a line for each."""
    page.evaluate(axe_source())
    found = page.evaluate("selector => axe.run(selector, {resultTypes: ['violations']})", selector)["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
