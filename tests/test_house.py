"""The sizes that CONTRIBUTING promises, held by looking at the source: modules, functions, signatures, lines, names.

What is still over while others work on it stands in `WAITING`, with the day it was put there. An entry that is not
needed any more fails too: the list only shrinks.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "guard_magic"
MODULE_LINES, FUNCTION_LINES, MEDIAN_LINES, LINE_CHARACTERS, PARAMETERS = 350, 45, 8, 120, 12

WAITING: dict[str, str] = {}
"""What is over, or is named and not there yet: a file, ``file::function`` or a layer, and since when."""

_FOR_TOOLS = re.compile(r"\s+# (type: ignore|noqa)\b.*")
"""What a line says to a checker; its length is not counted, here as by ruff."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
CODE = [
    path
    for folder in ("guard_magic", "tests", "benchmarks", "training", "notebooks")
    for kind in ("*.py", "*.js", "*.css")
    for path in sorted((ROOT / folder).rglob(kind))
]


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(TREES[path]) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Lines from ``def`` to the end; those of the docstring are not counted, nor decorators."""
    n_lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        n_lines -= (first.end_lineno or 0) - first.lineno + 1
    return n_lines


def holds_constants_only(tree: ast.Module) -> bool:
    """Whether a module is a table, such as the published taxonomies: nothing in it can be called."""
    return not any(isinstance(node, Function | ast.ClassDef | ast.Lambda) for node in ast.walk(tree))


def parameters(function: Function) -> tuple[str, ...]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return tuple(one.arg for one in every if one.arg not in ("self", "cls"))


def check(over: dict[str, int], kind: str) -> None:
    """Fail for what is over and not waited for; `kind` says what the numbers are."""
    new = {name: n for name, n in over.items() if name not in WAITING}
    assert not new, f"{kind}: split by what changes together: {new}"


def long_modules() -> dict[str, int]:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in TREES}
    return {
        name_of(path): n for path, n in lengths.items() if n > MODULE_LINES and not holds_constants_only(TREES[path])
    }


def long_functions() -> dict[str, int]:
    found = ((f"{name_of(path)}::{one.name}", body_lines(one)) for path in TREES for one in functions(path))
    return {name: n for name, n in found if n > FUNCTION_LINES}


def layers_without_a_module() -> dict[str, int]:
    return {name: 0 for name in set(tables()["LAYERS"]) if not is_of_ours(name)}


def tables() -> dict[str, object]:
    """The tables of `test_layers`, read and not imported."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:  # computed
                continue
    return found


def is_of_ours(layer: str) -> bool:
    return (PACKAGE / f"{layer}.py").is_file() or (PACKAGE / layer / "__init__.py").is_file()


def test_modules_are_short() -> None:
    check(long_modules(), f"modules over {MODULE_LINES} lines")


def test_functions_are_short() -> None:
    check(long_functions(), f"functions over {FUNCTION_LINES} lines")
    assert statistics.median(body_lines(one) for path in TREES for one in functions(path)) <= MEDIAN_LINES


def test_a_long_signature_stands_once() -> None:
    given = (frozenset(parameters(one)) for path in TREES for one in functions(path))
    long = Counter(names for names in given if len(names) > PARAMETERS)
    assert long, "the signatures of guard_magic.api are seen"
    assert [sorted(names) for names, n in long.items() if n > 1] == []


def test_lines_fit_a_screen() -> None:
    long = [
        f"{name_of(path)}:{n}"
        for path in CODE
        for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if len(_FOR_TOOLS.sub("", line)) > LINE_CHARACTERS
    ]
    assert long == []


def test_the_map_names_what_exists() -> None:
    known = tables()
    assert {"LAYERS", "LAZY_SEAMS", "TYPE_ONLY", "HEAVY", "HOMES"} <= set(known)
    check(layers_without_a_module(), "layers without a module")
    in_tables = {name for pair in (*known["LAZY_SEAMS"], *known["TYPE_ONLY"]) for name in pair}
    in_tables |= {name for homes in known["HOMES"].values() for name in homes}
    assert in_tables <= set(known["LAYERS"])
    assert [name for name in (*known["HEAVY"], *known["HOMES"]) if importlib.util.find_spec(name) is None] == []


def test_what_is_waited_for_is_still_needed() -> None:
    still = {**long_modules(), **long_functions(), **layers_without_a_module()}
    assert [name for name in WAITING if name not in still] == [], "take it off WAITING: it is done"


def test_the_measures_see_what_they_are_for() -> None:
    one, two = ast.parse('def f(a):\n    """Say\n\n    it."""\n    return a\n\n\nasync def g():\n    pass\n').body
    assert isinstance(one, Function)
    assert isinstance(two, Function)
    assert (body_lines(one), body_lines(two)) == (2, 2)
    assert holds_constants_only(ast.parse("A = (1, {2: 3})"))
    assert not holds_constants_only(ast.parse("A = [lambda: 1]"))
