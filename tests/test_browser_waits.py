"""Tests in a browser wait for what they assert: on a busy machine a page answers late."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest
from browser import stays, wait_until

TESTS = Path(__file__).parent
FILES = sorted(
    path for path in TESTS.rglob("test_*.py") if "mark.browser" in path.read_text("utf-8") and path != Path(__file__)
)
LOOKS = {
    *("all_inner_texts", "bounding_box", "count", "evaluate", "evaluate_all", "get_attribute", "inner_html"),
    *("inner_text", "input_value", "is_checked", "is_disabled", "is_enabled", "is_hidden", "is_visible"),
    *(
        "query_selector",
        "text_content",
        "violations",
        "place",
        "number",
        "visible",
        "brightness",
        "colours",
        "in_note",
        "is_pressed",
    ),
}
"""What reads a page as it is at this moment."""


def looks(node: ast.AST) -> set[str]:
    """Return the ways in which an expression looks at a page."""
    called = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
    names = {
        f.attr if isinstance(f, ast.Attribute) else f.id for f in called if isinstance(f, ast.Attribute | ast.Name)
    }
    return names & LOOKS


def hasty(source: str) -> list[str]:
    """Return the assertions that look at a page without waiting, or at a variable that was read from one."""
    found = []
    for function in [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]:
        read = {
            name.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and looks(node.value)
            for target in node.targets
            for name in ast.walk(target)
            if isinstance(name, ast.Name)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Assert):
                used = {name.id for name in ast.walk(node.test) if isinstance(name, ast.Name)}
                if looks(node.test) or used & read:
                    found.append(f"line {node.lineno}: {ast.unparse(node.test)}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_assertion_about_a_page_waits(path: Path) -> None:
    assert hasty(path.read_text("utf-8")) == []


def test_hasty_assertions_are_seen() -> None:
    source = "def test(page):\n    page.press('/')\n    assert page.evaluate('x') == 1\n"
    assert hasty(source) == ["line 3: page.evaluate('x') == 1"]
    assert hasty("def test(w):\n    words = w.inner_text()\n    assert 'a' in words\n") == ["line 3: 'a' in words"]
    assert hasty("def test(w):\n    wait_until(lambda: 'a' in w.inner_text(), 'a')\n    assert kept()\n") == []


def test_waiting_ends_with_its_words() -> None:
    start = time.monotonic()
    wait_until(lambda: time.monotonic() > start + 0.1, "soon")
    with pytest.raises(AssertionError, match="never"):
        wait_until(lambda: False, "never", 0.1)
    with pytest.raises(AssertionError, match="moved"):
        stays(lambda: time.monotonic() < start + 0.2, "moved", 60)
