"""The review's front end as it is shipped: one module, joined of several, that writes text only."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from playwright._impl._driver import compute_driver_executable

from guard_magic.review.review_widget import MODULES, ReviewWidget, join_modules

STATIC = Path(__file__).parents[2] / "guard_magic" / "review" / "static"


def test_every_module_is_joined() -> None:
    assert sorted(MODULES) == sorted(path.name for path in STATIC.glob("*.js"))


def test_the_joined_module_stands_alone() -> None:
    source = ReviewWidget._esm
    assert re.search(r"^import ", source, re.M) is None
    assert re.findall(r"^export .*", source, re.M) == ["export default { render };"]
    assert re.search(r"https?://", source + ReviewWidget._css) is None, "nothing is fetched from elsewhere"
    assert "@import" not in ReviewWidget._css


def test_the_joined_module_parses(tmp_path: Path) -> None:
    joined = tmp_path / "joined.mjs"
    joined.write_text(ReviewWidget._esm, "utf-8")
    node = compute_driver_executable()[0]  # playwright brings one
    checked = subprocess.run([node, "--check", str(joined)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", MODULES)
def test_no_module_writes_markup(name: str) -> None:
    source = (STATIC / name).read_text("utf-8")
    found = re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|\beval\b|new Function", source)
    assert found == []


def test_the_join_refuses_what_it_would_break() -> None:
    first = "export const a = 1;\n"
    assert join_modules({"a.js": first, "b.js": 'import { a } from "./a.js";\nexport const b = a;\n'}) == (
        "// a.js\nconst a = 1;\n\n// b.js\nconst b = a;\n"
    )
    with pytest.raises(ValueError, match=r"b\.js imports a\.js, which does not come before it"):
        join_modules({"b.js": 'import { a } from "./a.js";\n', "a.js": first})
    with pytest.raises(ValueError, match=r"b\.js and a\.js both declare a\b"):
        join_modules({"a.js": first, "b.js": "function a() {}\n"})
