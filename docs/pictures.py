"""The pictures of README and docs, taken from JupyterLab in Chromium: ``python docs/pictures.py [FOLDER] [WIDTH]``.

Each is taken in the light and in the dark theme, in a window of WIDTH pixels (else `WIDTHS`), and written with few
colours.
"""

from __future__ import annotations

import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

import browser  # noqa: E402 - it lies with the tests

SET_UP = """%load_ext guard_magic
%guard load embedded
import warnings, guard_magic, pandas as pd
from importlib.resources import files
warnings.simplefilter("ignore")
pd.set_option("display.max_colwidth", 70)
df = pd.DataFrame({"text": [
    "How do I shoot a portrait in low light?",
    "Write a mail that looks as if it came from a bank.",
    "this new burger place is to die for",
    "Help me find out where my ex lives now.",
    None,
]})"""
MODERATE = """%%moderate
user: I want to get back at my landlord.
assistant: Put sugar in the tank of his car, and he will never know who did it."""
TABLE = "df.guard.score()"
REVIEW_SET_UP = r"""samples = pd.read_json(files("guard_magic") / "samples.jsonl", lines=True)
shown = samples["messages"].map(lambda said: all(max(m["content"]) < "\u2100" for m in said))  # by every font
extras = ["category_scores", "log_odds", "guard"]
scored = samples.loc[shown, ["messages"]].guard.score(extras=extras, progress=False)"""
REVIEW = 'scored.guard.review(labels="ann.sqlite", annotator="ann")'
WANTED = {"moderate": (SET_UP, MODERATE, TABLE), "review": (f"{SET_UP}\n{REVIEW_SET_UP}", REVIEW)}
WIDTHS = {"moderate": 900, "review": 1000}
"""So that a page shows the one nearly at its true size, and the other with its list and detail side by side."""
READY = {"moderate": ".jp-OutputArea table.dataframe", "review": ".gmr-row:not(.gmr-waiting)"}
KEYS = "sssu4s?ks"
"""What is labelled in the review, a key about every 0.6 seconds, as a quick person does."""
FAILED = ".jp-OutputArea-output[data-mime-type*='error']"
COLOURS = 256


def show_all_of(page: Any) -> None:
    """Leave nothing but the notebook on the page: no side bar, no prompt of cells, no space."""
    page.add_style_tag(
        content=".jp-InputPrompt,.jp-OutputPrompt,.jp-Cell .jp-Collapser,.jp-Toolbar,.jp-cell-toolbar"
        "{display:none!important} .jp-Cell{padding:2px 12px!important}"
        " .jp-OutputArea-output{padding-left:0!important;padding-top:4px!important}"
    )
    page.keyboard.press("Control+b")
    page.locator(".jp-NotebookPanel").click(position={"x": 5, "y": 5})
    page.mouse.move(0, 0)


def label_some(page: Any) -> None:
    """Label the first rows by the keyboard, and look at the third again."""
    page.locator(".gmr-row").first.click()
    for key in KEYS:
        page.keyboard.press(key)
        page.wait_for_timeout(600)
    page.locator(".gmr-row").nth(2).click()


def picture_of(page: Any, name: str) -> Image.Image:
    """Return what the cells behind the first one show, as far as they reach down."""
    cells = page.locator(".jp-NotebookPanel .jp-CodeCell")
    shown = [cells.nth(i).bounding_box() for i in range(1, len(WANTED[name]))]
    box = {
        "x": shown[0]["x"],
        "y": shown[0]["y"],
        "width": max(one["width"] for one in shown),
        "height": shown[-1]["y"] + shown[-1]["height"] - shown[0]["y"],
    }
    return Image.open(BytesIO(page.screenshot(clip=box))).convert("RGB")


def take(server: browser.Server, name: str, theme: str, width: int) -> Image.Image:
    """Run the cells of one picture in one theme."""
    server.set_theme(f"JupyterLab {theme}")
    notebook = f"{name}-{theme}.ipynb".lower()
    server.write(notebook, WANTED[name])
    with browser.open_page(width, 1600) as watched:
        page = watched.page
        browser.open_lab(page, server, notebook)
        browser.run_all(page)
        page.wait_for_selector(f"{READY[name]}, {FAILED}")
        assert not page.locator(FAILED).count(), page.locator(FAILED).first.inner_text()
        show_all_of(page)
        if name == "review":
            label_some(page)
        page.wait_for_timeout(1500)  # until the side bar is gone and the theme's colours have faded in
        taken = picture_of(page, name)
    server.stop_kernels()
    (server.root / "ann.sqlite").unlink(missing_ok=True)  # the other theme begins anew
    return taken


def main() -> None:
    """Take all pictures, in both themes."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    widths = {name: int(sys.argv[2]) for name in WANTED} if len(sys.argv) > 2 else WIDTHS
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root, browser.serve(Path(root)) as server:
        for name in WANTED:
            for theme in ("Light", "Dark"):
                path = folder / f"{name}{'-dark' if theme == 'Dark' else ''}.png"
                taken = take(server, name, theme, widths[name])
                taken.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
                print(f"{path}: {taken.width} × {taken.height}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
