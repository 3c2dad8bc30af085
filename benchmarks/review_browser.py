"""The review as a person waits for it: JupyterLab in Chromium, from the kernel's answer to what is seen.

    python benchmarks/review_browser.py [--rows 100000]

Measured in the page: from the moment the cell's output arrives to the first row drawn; from a key pressed to the count
that shows the label as stored; and the time between frames while the list is scrolled. Needs Chromium (Debian's
``/usr/bin/chromium``) and what the browser tests need. Prints one line of JSON last.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

import browser  # noqa: E402 - the tests' own server and page

MAKE = f"""
import sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
from review import make_table
from guard_magic.labels import LabelFile
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.review import Reviewer
frame, conversations = make_table(N_ROWS)
reviewer = Reviewer(frame, conversations, LLAMA_GUARD_3, LabelFile("ann.sqlite", annotator="ann"), blur=[])
"""
WATCH = """() => {
  const seen = (window.seen = {});
  const look = () => {
    if (!seen.answer && document.querySelector("[data-guard-magic-review]")) seen.answer = performance.now();
    if (!seen.rows && document.querySelector(".gmr-row:not(.gmr-waiting)")) seen.rows = performance.now();
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, attributes: true });
}"""
LABEL = """async wanted => {
  const progress = document.querySelector(".gmr-progress");
  const row = document.querySelector(".gmr-row[aria-selected='true']") || document.querySelector(".gmr-row");
  const start = performance.now();
  row.dispatchEvent(new KeyboardEvent("keydown", { key: "s", bubbles: true, cancelable: true }));
  while (!progress.innerText.replaceAll(",", "").startsWith(`${wanted} of`)) {
    if (performance.now() - start > 5000) throw new Error(progress.innerText);
    await new Promise(requestAnimationFrame);
  }
  return performance.now() - start;
}"""
SCROLL = """async list => {
  const gaps = [];
  list.scrollTop = 0;
  let before = performance.now();
  for (let i = 0; i < 120; i += 1) {
    list.scrollTop += 700;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - before);
    before = now;
  }
  return gaps;
}"""


def measure(n_rows: int, n_labels: int = 20) -> dict[str, Any]:
    """Return milliseconds of first paint, labels and scroll frames."""
    with tempfile.TemporaryDirectory() as folder, browser.serve(Path(folder)) as server, browser.open_page() as watched:
        page = watched.page
        page.set_default_timeout(180_000)
        server.write("review.ipynb", [MAKE.replace("N_ROWS", str(n_rows)), "reviewer"])
        browser.open_lab(page, server, "review.ipynb")
        page.evaluate(WATCH)
        browser.run_all(page)
        page.locator(".gmr-row:not(.gmr-waiting)").first.wait_for()
        page.locator(".gmr-content").first.wait_for()
        page.locator(".gmr-row").first.click()
        seen = page.evaluate("window.seen")
        labels = [page.evaluate(LABEL, i) for i in range(1, n_labels + 1)]
        frames = page.locator(".gmr-list").evaluate(SCROLL)
        assert not watched.troubles, watched.troubles
        server.stop_kernels()
    return {
        "n_rows": n_rows,
        "first_paint_ms": round(seen["rows"] - seen["answer"], 1),
        "label_ms": {"median": round(statistics.median(labels), 1), "max": round(max(labels), 1)},
        "frame_ms": {"median": round(statistics.median(frames), 1), "max": round(max(frames), 1)},
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print one line of JSON last."""
    parser = argparse.ArgumentParser(description="What a review costs whoever waits for it.")
    parser.add_argument("--rows", type=int, default=100_000)
    report = measure(parser.parse_args(arguments).rows)
    print(json.dumps({"benchmark": "review_browser", "python": platform.python_version(), **report}))


if __name__ == "__main__":
    main()
