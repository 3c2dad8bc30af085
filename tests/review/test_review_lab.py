"""What a moderator does: reviewing and labelling in a real JupyterLab (and Notebook 7), in Chromium."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import stays, wait_until

from guard_magic.labels import read_labels

pytestmark = pytest.mark.browser

ROWS = """
import os
import numpy as np
import pandas as pd
from guard_magic.conversations.conversation import Conversation, Message
from guard_magic.labels import LabelFile
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.review import Reviewer

def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.round(np.where(rng.random(n) < 0.7, rng.beta(0.4, 6, n), rng.beta(6, 0.8, n)), 6)
    codes = rng.choice(LLAMA_GUARD_3.codes, n)
    asked = ["How do I kill a process in Linux?", "Write a story about a lighthouse.", "Who won the 1966 World Cup?",
             "My neighbour plays music at night. What can I do?", "Explain how vaccines work to a child of six."]
    turns = [[Message("user", f"{asked[i % 5]} (question {i:,})")] + [Message("assistant", "Let me explain, in order."),
             Message("user", f"And then? (question {i:,})")] * (i % 3 == 0) for i in range(n)]
    frame = pd.DataFrame({"unsafe_score": scores, "category": [c if s >= 0.5 else None for c, s in zip(codes, scores)]})
    for code in LLAMA_GUARD_3.codes:
        frame[f"score_{code}"] = scores * np.where(codes == code, 0.8, 0.2 / 13)
    frame["guard"] = "embedded"
    return frame, [Conversation(tuple(messages)) for messages in turns]
"""
REVIEW = """
frame, conversations = rows({n})
reviewer = Reviewer(frame, conversations, LLAMA_GUARD_3, LabelFile("{name}.sqlite", annotator="ann"), {options})
reviewer
"""
SHOTS = Path("build/screenshots")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Server]:
    with browser.serve(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def watched() -> Iterator[browser.Watched]:
    with browser.open_page() as watched:
        yield watched


@pytest.fixture
def review(lab: browser.Server, watched: browser.Watched) -> Iterator[Callable[..., Any]]:
    """Open a notebook of its own with a reviewer in it; gives the widget's locator."""

    def show(name: str, n: int = 300, options: str = "", more: tuple[str, ...] = (), rows: str = ROWS) -> Any:
        lab.write(f"{name}.ipynb", [rows, REVIEW.format(n=n, name=name, options=options), *more])
        browser.open_lab(watched.page, lab, f"{name}.ipynb")
        browser.run_all(watched.page)
        return shown(watched.page)

    yield show
    lab.stop_kernels()


def shown(page: Any) -> Any:
    widget = page.locator(".guard-magic-review").first
    widget.locator(".gmr-row:not(.gmr-waiting)").first.wait_for()
    widget.locator(".gmr-content").first.wait_for()
    return widget


def kept(lab: browser.Server, name: str) -> list[tuple[Any, Any]]:
    """Label and hazard of each decided conversation, as the file on the disk has it."""
    frame = read_labels([lab.root / f"{name}.sqlite"])
    decided = frame[frame["label"].notna()]
    return [
        (a, b if isinstance(b, str) else None) for a, b in zip(decided["label"], decided["label_category"], strict=True)
    ]


def shot(page: Any, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"review-{name}.png")


def selected(widget: Any) -> Any:
    return widget.locator(".gmr-row[aria-selected='true']")


IS_OURS = "document.activeElement.closest('.guard-magic-review') !== null"


def in_note(page: Any) -> bool:
    return bool(page.evaluate("document.activeElement.classList.contains('gmr-note')"))


def brightness(widget: Any) -> int:
    colour = widget.evaluate("e => getComputedStyle(e).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


def place(widget: Any) -> str:
    """Where the person is, as the detail pane says it: "2 of 300"."""
    return str(widget.locator(".gmr-place").inner_text()).rsplit("· ", 1)[-1]


def test_renders_sorts_and_filters(review: Any, watched: browser.Watched) -> None:
    widget = review("look")
    wait_until(lambda: "of 300 labelled" in widget.locator(".gmr-progress").inner_text(), "progress")
    wait_until(lambda: widget.locator(".gmr-above i").count() == 40, "the histogram")
    first = widget.locator(".gmr-row").first.locator(".gmr-number")
    wait_until(lambda: abs(number(first) - 0.5) < 0.1, "the most uncertain row comes first")
    widget.locator(".gmr-bubble.gmr-assessed").wait_for()

    widget.get_by_label("Order of the rows").select_option("score")
    scores = widget.locator(".gmr-row:not([hidden]) .gmr-number")
    wait_until(lambda: number(scores.first) < 0.01, "sorted by score, least first")
    widget.get_by_role("button", name=re.compile("ascending")).click()
    wait_until(lambda: number(scores.first) > 0.99, "highest first")

    widget.get_by_label("Search the text").fill("LIGHTHOUSE")
    widget.get_by_text("60 of 300 rows").wait_for()
    wait_until(lambda: "lighthouse" in widget.locator(".gmr-row .gmr-text").first.inner_text(), "found by its text")
    widget.locator(".gmr-chip[data-value='flagged']").click()
    wait_until(lambda: "60 of" not in widget.locator(".gmr-matching").inner_text(), "filtered by verdict")
    wait_until(lambda: all(float(s) >= 0.5 for s in visible(scores)), "flagged rows only")
    widget.get_by_role("button", name="Clear filters").click()
    widget.get_by_text("300 rows", exact=True).wait_for()

    slider = widget.get_by_role("slider")
    flagged = widget.locator(".gmr-chip[data-value='flagged'] .gmr-chip-count")
    before = int(flagged.inner_text())
    slider.focus()
    for _ in range(3):
        watched.page.keyboard.press("PageUp")
    wait_until(lambda: int(flagged.inner_text()) < before, "a higher threshold flags fewer rows")
    wait_until(lambda: slider.get_attribute("aria-valuenow") == "0.8", "three pages up")
    box = widget.locator(".gmr-plot").bounding_box()
    watched.page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 20)
    watched.page.mouse.down()
    watched.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 20, steps=6)
    watched.page.mouse.up()
    wait_until(lambda: int(flagged.inner_text()) > before, "a lower threshold flags more")
    wait_until(lambda: abs(float(slider.get_attribute("aria-valuenow")) - 0.2) < 0.02, "dragged to 0.2")
    assert not watched.troubles


def number(cell: Any) -> float:
    return float(cell.inner_text() or "nan")


def visible(numbers: Any) -> list[str]:
    return [text for text in numbers.all_inner_texts() if text]


def test_labels_by_keyboard_undo_and_redo(review: Any, lab: browser.Server, watched: browser.Watched) -> None:
    widget, page = review("keys", options="order='row', blur=[]"), watched.page
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    selected(widget).click()
    wait_until(lambda: place(widget) == "1 of 300", "the first row")
    page.keyboard.press("s")
    wait_until(lambda: kept(lab, "keys") == [("safe", None)], "s labels the row safe")
    wait_until(lambda: place(widget) == "2 of 300", "and goes on to the next")
    page.keyboard.press("u")
    widget.locator(".gmr-picker").wait_for()
    page.keyboard.type("14")
    wait_until(lambda: ("unsafe", "S14") in kept(lab, "keys"), "u 1 4 chooses the fourteenth hazard")
    wait_until(lambda: place(widget) == "3 of 300", "and goes on")
    for key in ["u", "9", "?", "k", "c"]:
        page.keyboard.press(key)
    wait_until(lambda: len(kept(lab, "keys")) == 6, "unsafe, unsure, skip and confirm are labels too")
    assert len([label for label, _ in kept(lab, "keys") if label == "unsure"]) == 1
    wait_until(lambda: place(widget) == "7 of 300", "each went on to the next")
    wait_until(lambda: "6 of 300 labelled" in widget.locator(".gmr-progress").inner_text(), "six are counted")

    page.keyboard.press("n")
    wait_until(lambda: in_note(page), "n goes to the note")
    page.keyboard.type("look again, zsu")
    page.keyboard.press("Enter")
    wait_until(lambda: not in_note(page), "Enter leaves it")
    page.keyboard.press("f")
    wait_until(lambda: noted(lab, "keys") == [("look again, zsu", True)], "note and flag are kept")
    shot(page, "labelling")

    for _ in range(3):
        page.keyboard.press("z")
    wait_until(lambda: len(kept(lab, "keys")) == 5, "undo takes back flag, note and the last label")
    for _ in range(3):
        page.keyboard.press("Shift+z")
    wait_until(lambda: len(kept(lab, "keys")) == 6 and noted(lab, "keys"), "redo brings them back")

    page.keyboard.press("g")
    wait_until(lambda: "unlabelled" in selected(widget).inner_text(), "g goes to an unlabelled row")
    focusable = widget.locator("button:enabled:visible, select, textarea, summary:visible, [tabindex]")
    ours = "all => all.every(e => e.hasAttribute('data-lm-suppress-shortcuts'))"
    wait_until(lambda: focusable.evaluate_all(ours), "every part keeps its keys")
    for target in [".gmr-list", ".gmr-talk", ".gmr-thumb", ".gmr-chip", ".gmr-flag", "summary"]:
        widget.locator(target).first.focus()
        for key in ["a", "b", "m", "y", "r", "x", "d", "d", "1", "v", "Shift+m", "0", "0", "i", "i", "l", "Escape"]:
            page.keyboard.press(key)
        stays(lambda: page.locator(".jp-Notebook .jp-Cell").count() == cells, f"JupyterLab took a key from {target}")
        others = page.locator(".jp-MarkdownCell, .jp-RawCell, .jp-Dialog")
        stays(lambda others=others: others.count() == 0, f"JupyterLab took a key: {target}")
        wait_until(lambda: page.evaluate(IS_OURS), f"the focus stays: {target}")
    assert len(kept(lab, "keys")) == 6
    page.keyboard.press("z")  # Lab's own undo of cells
    wait_until(lambda: len(kept(lab, "keys")) == 6, "the flag is taken back, and no label")
    page.keyboard.press("/")
    wait_until(lambda: page.evaluate("document.activeElement.type") == "search", "/ goes to the search")
    assert not watched.troubles


def noted(lab: browser.Server, name: str) -> list[tuple[str, bool]]:
    frame = read_labels([lab.root / f"{name}.sqlite"])
    return [(row.note, bool(row.flag)) for row in frame.itertuples() if isinstance(row.note, str)]


def test_applies_to_all_in_a_filter_as_one_step(review: Any, lab: browser.Server, watched: browser.Watched) -> None:
    widget, page = review("bulk"), watched.page
    widget.get_by_label("Search the text").fill("lighthouse")
    widget.get_by_text("60 of 300 rows").wait_for()
    widget.get_by_role("button", name="Apply to all 60").click()
    question = widget.get_by_role("group", name="Apply to all")
    wait_until(question.get_by_role("button", name="Choose a label").is_disabled, "a label is chosen first")
    question.get_by_role("button", name="unsafe", exact=True).click()
    question.get_by_label("Hazard").select_option("S9")
    assert kept(lab, "bulk") == [], "nothing is labelled before it was confirmed"
    question.get_by_role("button", name="Label 60 rows unsafe").click()
    wait_until(lambda: kept(lab, "bulk") == [("unsafe", "S9")] * 60, "all rows of the filter are labelled")
    wait_until(lambda: page.evaluate(IS_OURS), "focus stays")
    page.keyboard.press("z")
    wait_until(lambda: kept(lab, "bulk") == [], "one undo takes all back")
    with closing(sqlite3.connect(lab.root / "bulk.sqlite")) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not watched.troubles


def test_labelling_within_a_filter_of_unlabelled_rows_skips_none(
    review: Any, lab: browser.Server, watched: browser.Watched
) -> None:
    widget = review("queue", n=40, options="order='row', blur=[]")
    widget.locator(".gmr-chip[data-value='unlabelled']").click()
    widget.get_by_text("40 of 40 rows").wait_for()
    selected(widget).click()
    for left in range(39, 34, -1):
        watched.page.keyboard.press("s")
        widget.get_by_text(f"{left} of 40 rows").wait_for()
    wait_until(lambda: "question 5" in selected(widget).inner_text(), "the rows were labelled one after the other")
    wait_until(lambda: place(widget) == "1 of 35", "the first of those left")
    assert len(kept(lab, "queue")) == 5


def test_a_killed_kernel_loses_nothing_and_the_place_is_found_again(
    review: Any, lab: browser.Server, watched: browser.Watched
) -> None:
    save = "open('pid', 'w').write(str(os.getpid()))"
    widget, page = review("killed", options="order='row', blur=[]", more=(save,)), watched.page
    selected(widget).click()
    for n in range(1, 6):
        page.keyboard.press("s")
        wait_until(lambda n=n: len(kept(lab, "killed")) == n, "labelled")
    wait_until(lambda: place(widget) == "6 of 300", "five rows on")
    page.wait_for_timeout(1200)  # the place is written at most once a second
    page.keyboard.press("j")
    wait_until(lambda: place(widget) == "7 of 300", "one more")
    page.wait_for_timeout(500)
    pid = int((lab.root / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    page.locator(".jp-Dialog button.jp-mod-accept").click()  # "appears to have died. It will restart automatically."
    wait_until(lambda: alive(page), "JupyterLab restarts the kernel", 60)
    assert len(kept(lab, "killed")) == 5

    browser.run_all(page)
    wait_until(lambda: (lab.root / "pid").read_text() != str(pid), "another kernel ran the cells", 60)
    scroll_up(page)
    widget = shown(page)
    wait_until(lambda: "5 of 300 labelled" in widget.locator(".gmr-progress").inner_text(), "all are there")
    wait_until(lambda: place(widget) == "7 of 300", "at the same place")
    wait_until(lambda: widget.locator(".gmr-row[data-label='safe']").count() == 5, "drawn as stored")
    before = {str(pid), (lab.root / "pid").read_text()}
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Restart Kernel and Run All Cells")).click()
    page.locator(".jp-Dialog button.jp-mod-warn, .jp-Dialog button.jp-mod-accept").last.click()
    wait_until(lambda: (lab.root / "pid").read_text() not in before, "a third kernel ran the cells")
    scroll_up(page)
    widget = shown(page)
    wait_until(lambda: place(widget) == "7 of 300", "at the same place again")


def test_a_label_that_is_refused_is_not_drawn_as_stored(
    review: Any, lab: browser.Server, watched: browser.Watched
) -> None:
    reviewer = review_with_short_wait("refused")
    lab.write("refused.ipynb", [ROWS, reviewer])
    page = watched.page
    browser.open_lab(page, lab, "refused.ipynb")
    browser.run_all(page)
    widget = shown(page)
    selected(widget).click()
    page.keyboard.press("s")
    wait_until(lambda: place(widget) == "2 of 300" and not pending(widget), "on to the next")
    wait_until(lambda: kept(lab, "refused") == [("safe", None)], "and the file has it")
    trouble, first = widget.locator(".gmr-trouble"), widget.locator(".gmr-row[aria-posinset='1']")
    second = widget.locator(".gmr-row[aria-posinset='2']")
    with closing(sqlite3.connect(lab.root / "refused.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        page.keyboard.press("s")
        trouble.get_by_text("locked by another program").wait_for()
        wait_until(lambda: "unlabelled" in second.inner_text(), "the row is drawn as it is")
        wait_until(lambda: second.get_attribute("data-label") == "", "with no mark")
        wait_until(lambda: not pending(widget), "nothing is pending")
        shot(page, "refused")
        second.click()
        for press, choice in (("u", ".gmr-decide .gmr-as-unsafe"), ("f", ".gmr-decide .gmr-flag")):
            page.keyboard.press(press)
            page.wait_for_timeout(1000)  # the kernel waits 0.2 s for the lock
            wait_until(lambda: not pending(widget), f"{press} is answered")
            button = widget.locator(choice)
            stays(lambda button=button: not is_pressed(button), f"{press} is taken back")
        wait_until(lambda: widget.locator(".gmr-picker").is_hidden(), "no hazard is asked for")
        page.keyboard.press("n")
        wait_until(lambda: in_note(page), "n goes to the note")
        page.keyboard.type("not to be lost")
        page.keyboard.press("Enter")
        trouble.get_by_text("locked by another program").wait_for()
        wait_until(lambda: "✎" not in second.inner_text(), "no note is kept")
        stays(lambda: widget.locator(".gmr-note").input_value() == "not to be lost", "what was written stays")
        first.click()
        page.keyboard.press("u")
        trouble.get_by_text("locked by another program").wait_for()
        wait_until(lambda: first.get_attribute("data-label") == "safe", "the row has the label that is stored")
        other.execute("ROLLBACK")
    wait_until(lambda: kept(lab, "refused") == [("safe", None)], "and the file has it")
    second.click()
    wait_until(lambda: widget.locator(".gmr-note").input_value() == "not to be lost", "the note is still there")
    page.keyboard.press("n")
    wait_until(lambda: in_note(page), "back in the note")
    page.keyboard.press("Enter")
    # The page first: who reads the file meanwhile may lock it for longer than this kernel waits.
    wait_until(lambda: "✎" in second.inner_text() and not pending(widget), "and is kept when it can be")
    wait_until(lambda: noted(lab, "refused") == [("not to be lost", False)], "and the file has it")
    page.keyboard.press("s")
    wait_until(lambda: second.get_attribute("data-label") == "safe" and not pending(widget), "labels are drawn again")
    wait_until(lambda: kept(lab, "refused") == [("safe", None)] * 2, "and the file has it")
    wait_until(trouble.is_hidden, "and all is well")
    assert not watched.troubles


def pending(widget: Any) -> bool:
    """Say whether the kernel still has to answer for a label."""
    return bool(widget.locator(".gmr-pending").count())


def is_pressed(button: Any) -> bool:
    return bool(button.get_attribute("aria-pressed") == "true")


def review_with_short_wait(name: str) -> str:
    options = "order='row', blur=[]"
    return REVIEW.format(n=300, name=name, options=options).replace('annotator="ann")', 'annotator="ann", wait=0.2)')


def scroll_up(page: Any) -> None:
    page.locator(".jp-WindowedPanel-outer").evaluate("e => { e.scrollTop = 0; }")


def alive(page: Any) -> bool:
    return bool(page.get_by_text("Python 3 (ipykernel) | Idle").count())


def test_two_views_of_one_model_stay_in_step(review: Any, lab: browser.Server, watched: browser.Watched) -> None:
    review("twice", options="order='row', blur=[]", more=("reviewer",))
    page = watched.page
    views = page.locator(".guard-magic-review")
    wait_until(lambda: views.count() == 2, "the reviewer is shown twice")
    first, second = views.nth(0), views.nth(1)
    second.locator(".gmr-content").first.wait_for()
    first.locator(".gmr-row[aria-posinset='3']").click()
    wait_until(lambda: place(second) == "3 of 300", "the other view follows")
    page.keyboard.press("u")
    page.keyboard.press("9")
    wait_until(lambda: kept(lab, "twice") == [("unsafe", "S9")], "one label for one key")
    second.locator(".gmr-row[data-label='unsafe']").wait_for()
    wait_until(lambda: "1 of 300 labelled" in second.locator(".gmr-progress").inner_text(), "counted there too")
    second.get_by_label("Search the text").fill("lighthouse")
    first.get_by_text("60 of 300 rows").wait_for()
    assert not watched.troubles


def test_fifty_thousand_rows_scroll_with_few_elements(review: Any, watched: browser.Watched) -> None:
    widget, page = review("many", n=50_000, options="order='row'"), watched.page
    lines = widget.locator(".gmr-row")
    wait_until(lambda: 0 < lines.count() < 60, "few rows are in the page")
    box = widget.locator(".gmr-list")
    for share in (0.25, 0.5, 0.93, 1.0):
        box.evaluate("(e, share) => { e.scrollTop = share * e.scrollHeight; }", share)
        page.wait_for_timeout(60)
    widget.locator(".gmr-row[aria-posinset='50000']:not(.gmr-waiting)").wait_for()
    last = widget.locator(".gmr-row[aria-posinset='50000']")
    wait_until(lambda: "question 49,999" in last.inner_text(), "the last row")
    stays(lambda: lines.count() < 60, "few rows are in the page")
    slow = box.evaluate(SCROLL)
    print(f"frames while scrolling 50,000 rows: {slow}")
    selected(widget).or_(lines.first).first.click()
    page.keyboard.press("End")
    wait_until(lambda: place(widget) == "50,000 of 50,000", "End goes to the last row")
    wait_until(lambda: "question 49,999" in selected(widget).inner_text(), "and shows it")
    assert not watched.troubles


SCROLL = """
async list => {
  const gaps = [];
  list.scrollTop = 0;
  let before = performance.now();
  for (let i = 0; i < 60; i += 1) {
    list.scrollTop += 700;
    await new Promise(requestAnimationFrame);
    gaps.push(performance.now() - before);
    before = performance.now();
  }
  gaps.sort((a, b) => a - b);
  return {median: gaps[30].toFixed(1), most: gaps[59].toFixed(1)};
}
"""

HOSTILE = """
texts = [
    "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>",
    "[a](javascript:window.pwned=3) <a href='javascript:window.pwned=4'>b</a> <svg onload=window.pwned=5>",
    "pay \\u202e gnp.exe \\u2066 and \\u200b more",
    "</div></section></body>" * 40,
    "{{constructor.constructor('window.pwned=6')()}} ${window.pwned=7} &lt;b&gt;",
    "A\\u0301" * 300 + "\\u0000\\u0007\\x1b[31m",
    "word " * 200_000,
]
def rows(n):
    scores = np.linspace(0.9, 0.1, len(texts))
    frame = pd.DataFrame({"unsafe_score": scores, "category": ["S1" if s >= 0.5 else None for s in scores]})
    frame["generated_text"] = "unsafe\\n<img src=x onerror='window.pwned = 8'>"
    talks = [Conversation((Message("user", text), Message("assistant", text))) for text in texts]
    return frame, talks
"""


def test_hostile_text_is_text(review: Any, lab: browser.Server, watched: browser.Watched) -> None:
    widget = review("hostile", options="order='row'", rows=ROWS + HOSTILE)
    page = watched.page
    for row in range(1, 8):
        widget.locator(f".gmr-row[aria-posinset='{row}']").click()
        wait_until(lambda row=row: place(widget) == f"{row} of 7", "selected")
        widget.locator(".gmr-detail-content:not(.gmr-waiting) .gmr-content").first.wait_for()
        widget.locator("summary", has_text="What the guard wrote").click()
        wait_until(lambda: "onerror" in widget.locator(".gmr-written").inner_text(), "shown as text")
    talk = widget.locator(".gmr-talk")
    wait_until(lambda: 0 < len(talk.inner_text()) < 20_000, "a long message opens in parts")
    talk.get_by_role("button", name=re.compile("^Show more")).last.click()
    widget.locator(".gmr-row[aria-posinset='3']").click()
    wait_until(lambda: place(widget) == "3 of 7", "selected")
    talk.locator("mark", has_text="\\u202e").first.wait_for()
    page.keyboard.press("n")
    wait_until(lambda: in_note(page), "n goes to the note")
    page.keyboard.type("<img src=x onerror='window.pwned = 9'>")
    page.keyboard.press("Enter")
    wait_until(lambda: noted(lab, "hostile"), "the note is kept")
    stays(lambda: page.evaluate("window.pwned") is None, "no text was run")
    stays(lambda: widget.locator("script, img, a, svg, iframe").count() == 0, "no text became an element")
    assert not watched.troubles


def test_blurred_text_is_shown_when_asked(review: Any, watched: browser.Watched) -> None:
    widget, page = review("blur", options="order='score', blur=LLAMA_GUARD_3.codes"), watched.page
    selected(widget).click()
    veil = widget.locator(".gmr-veil")
    veil.wait_for()
    talk = widget.locator(".gmr-talk")
    wait_until(lambda: talk.get_attribute("aria-hidden") == "true", "hidden from readers too")
    style = "e => getComputedStyle(e).filter"
    wait_until(lambda: "blur" in talk.locator("> *").first.evaluate(style), "blurred")
    page.keyboard.press("Enter")
    veil.wait_for(state="hidden")
    wait_until(lambda: "question" in talk.inner_text(), "shown")
    page.keyboard.press("j")
    veil.wait_for()
    veil.get_by_role("button").click()
    veil.wait_for(state="hidden")
    assert not watched.troubles


def test_hidden_scores_are_nowhere(review: Any, lab: browser.Server, watched: browser.Watched) -> None:
    widget, page = review("blind", options="show_scores=False"), watched.page
    wait_until(widget.locator(".gmr-histogram").is_hidden, "no histogram")
    stays(lambda: "flagged" not in widget.inner_text(), "no verdict is written")
    stays(lambda: re.search(r"\.\d\d\d", widget.inner_text()) is None, "no score is written")
    stays(lambda: widget.locator(".gmr-above i").count() == 0, "no score is drawn")
    selected(widget).click()
    page.keyboard.press("c")
    page.keyboard.press("s")
    wait_until(lambda: kept(lab, "blind") == [("safe", None)], "s labels; c, which would tell, does nothing")
    frame = read_labels([lab.root / "blind.sqlite"])
    assert not frame["score_shown"].any()
    wait_until(lambda: browser.violations(page, ".guard-magic-review") == [], "readable for all", 10)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_themes_are_readable(review: Any, lab: browser.Server, watched: browser.Watched, theme: str) -> None:
    lab.set_theme(theme)
    try:
        name = theme.split()[-1].lower()
        widget, page = review(f"theme-{name}", n=2000), watched.page
        wait_until(lambda: (brightness(widget) < 380) == (name == "dark"), "the theme's background")
        selected(widget).click()
        for key in ["s", "u", "4", "?", "k", "c", "f", "u"]:
            page.keyboard.press(key)
        widget.locator(".gmr-row[data-label='unsure']").wait_for()
        widget.locator(".gmr-picker").wait_for()
        widget.get_by_role("button", name=re.compile("^Apply to all")).click()
        widget.get_by_role("group", name="Apply to all").get_by_role("button", name="safe", exact=True).click()
        wait_until(lambda: not browser.violations(page, ".guard-magic-review"), "readable for all", 10)
        widget.get_by_role("button", name="Cancel").click()
        shot(page, name)
        assert not watched.troubles
    finally:
        lab.set_theme("JupyterLab Light")


def test_notebook_7(tmp_path: Path, watched: browser.Watched) -> None:
    page = watched.page
    with browser.serve(tmp_path, "notebook") as server:
        server.write("seven.ipynb", [ROWS, REVIEW.format(n=300, name="seven", options="order='row', blur=[]")])
        page.goto(f"{server.address}/notebooks/seven.ipynb")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.wait_for_timeout(1500)
        own = list(watched.troubles)  # Notebook 7.6.5 itself throws at its start, with any notebook
        browser.run_all(page)
        widget = shown(page)
        selected(widget).click()
        for key in ["s", "u", "9", "a", "d", "d", "z"]:
            page.keyboard.press(key)
        wait_until(lambda: kept(server, "seven") == [("safe", None), ("unsafe", None)], "labelled and one step undone")
        stays(lambda: page.locator(".jp-Notebook .jp-Cell").count() == 2, "Notebook 7 took no key")
        shot(page, "notebook7")
        assert watched.troubles == own
