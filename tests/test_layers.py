"""The module map of the design: each file imports only from those above it, heavy ones only at the seams."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "guard_magic"

LAYERS = [
    "errors",
    "characters",
    "callers",
    "checks",
    "calls",
    "policy",
    "conversations",
    "verdict",
    "engine",
    "prompts",
    "families",
    "guards",
    "scoring",
    "tables",
    "labels",
    "evaluation",
    "display",
    "review",
    "exports",
    "api",
    "accessor",
    "magics",
    "scaleout",
    "__init__",
]
LAZY_SEAMS = {("__init__", "magics"), ("scoring", "guards")}
TYPE_ONLY = {("__init__", "guards"), ("accessor", "guards"), ("scoring", "guards")}
HEAVY = {"torch", "transformers", "IPython", "ipywidgets", "anywidget", "accelerate", "gguf", "tokenizers"}
HOMES = {
    "torch": {"engine", "guards"},
    "transformers": {"engine", "guards"},
    "huggingface_hub": {"guards"},
    "tokenizers": {"prompts"},
    "IPython": {"magics", "review"},
    "anywidget": {"review"},
    "ipywidgets": {"review"},
}


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, str]]:
    """Return (module, where) of each import: "top", "lazy" (in a function) or "types"."""
    found: list[tuple[str, str]] = []

    def visit(node: ast.AST, where: str) -> None:
        for child in ast.iter_child_nodes(node):
            inside = where
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and where != "types":
                inside = "lazy"
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                inside = "types"
            if isinstance(child, ast.Import):
                found.extend((alias.name, where) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path.name}: relative import"
                names = [f"{child.module}.{a.name}" for a in child.names] if child.module == "guard_magic" else []
                found.extend((name, where) for name in names or [str(child.module)])
            visit(child, inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), "top")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_its_place() -> None:
    assert {layer(path) for path in FILES} <= set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upwards_only(path: Path) -> None:
    here = layer(path)
    for module, where in imports(path):
        root, _, rest = module.partition(".")
        if root == "guard_magic":
            there = rest.split(".")[0]
            if there == here:
                continue
            assert LAYERS.index(there) < LAYERS.index(here), f"{path.name} imports {module} from below"
            if (here, there) in LAZY_SEAMS | TYPE_ONLY:
                allowed = {"lazy"} if (here, there) in LAZY_SEAMS else set()
                allowed |= {"types"} if (here, there) in TYPE_ONLY else set()
                assert where in allowed, f"{path.name} must import {module} lazily or for types only"
        elif root in HOMES:
            assert here in HOMES[root], f"{module} belongs into {HOMES[root]}, not {path.name}"


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_is_light() -> None:
    assert not loaded_after("import guard_magic") & HEAVY


def test_load_ext_is_light() -> None:
    shell = (
        "from IPython.core.interactiveshell import InteractiveShell as S; s = S(); s.history_manager.enabled = False"
    )
    loaded = loaded_after(f"{shell}\ns.run_line_magic('load_ext', 'guard_magic')")
    assert "guard_magic" in loaded
    assert not loaded & (HEAVY - {"IPython"})
