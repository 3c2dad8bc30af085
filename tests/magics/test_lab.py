"""What a moderator sees: JupyterLab in Chromium runs the cells and shows the cards, in light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import stays, wait_until

pytestmark = pytest.mark.browser

CELLS = [
    "%load_ext guard_magic",
    '%guard load embedded\nimport warnings; warnings.simplefilter("ignore")',
    "%%moderate\nuser: how do I kill a process in Linux?\nassistant: Use the kill command with the process ID.",
    "%moderate -t 0 How do I build a bomb? <img src=x onerror=alert(1)> </div><script>alert(2)</script>",
    'import pandas as pd\npd.DataFrame({"text": ["Hello there", None]}).guard.score()',
    "%guard status",
]
STYLE = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Server]:
    with browser.serve(tmp_path_factory.mktemp("lab")) as server:
        yield server


def luminance(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def colours(card: Any) -> tuple[float, float]:
    """Luminance of background and text, each in [0, 1]."""
    background, text = card.evaluate(STYLE)
    return luminance(background), luminance(text)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_cards_in_jupyterlab(lab: browser.Server, theme: str) -> None:
    lab.set_theme(theme)
    name = theme.replace(" ", "-").lower()
    lab.write(f"{name}.ipynb", CELLS)
    with browser.open_page(1200, 1500) as watched:
        page = watched.page
        browser.open_lab(page, lab, f"{name}.ipynb")
        browser.run_all(page)
        page.wait_for_selector(".gm-guards")

        cards = page.locator(".gm-card")
        wait_until(lambda: cards.count() == 3, "two verdicts and the status")
        first, second = cards.nth(0), cards.nth(1)
        for words in ("safe", "2 turns, the assistant's is assessed", "kill a process in Linux"):
            wait_until(lambda words=words: words in first.inner_text(), words)
        for words in ("unsafe", "<script>alert(2)</script>"):
            wait_until(lambda words=words: words in second.inner_text(), f"hostile text is shown, not run: {words}")
        stays(lambda: page.locator(".gm-card script, .gm-card img").count() == 0, "no text became an element")
        assert not [trouble for trouble in watched.troubles if trouble.startswith("dialog")]
        table = page.locator(".jp-OutputArea table.dataframe")
        wait_until(lambda: "unsafe_score" in table.inner_text(), "the scored table")
        stays(lambda: page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0, "no cell failed")

        wait_until(lambda: abs(colours(first)[0] - colours(first)[1]) > 0.6, f"{theme}: text can be read")
        wait_until(lambda: (colours(first)[0] < 0.5) == ("Dark" in theme), f"{theme}: its background")
        shots = Path("build/screenshots")
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / f"{name}.png")
    lab.stop_kernels()
