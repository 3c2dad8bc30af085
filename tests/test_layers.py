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
    "aside",
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
    "benchmark",
    "__init__",
]
LAZY_SEAMS = {("__init__", "magics"), ("scoring", "guards"), ("api", "evaluation")}
TYPE_ONLY = {
    ("api", "evaluation"),
    ("api", "guards"),
    ("scoring", "guards"),
    ("tables", "guards"),
    ("review", "guards"),
    ("benchmark", "guards"),
}
HEAVY = {
    "torch",
    "transformers",
    "IPython",
    "ipywidgets",
    "anywidget",
    "accelerate",
    "gguf",
    "tokenizers",
    "sklearn",
    "scipy",
    "matplotlib",
}
HOMES = {
    "sklearn": {"evaluation"},
    "scipy": {"evaluation"},
    "matplotlib": {"evaluation"},
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


def test_the_engine_knows_token_ids_only() -> None:
    """It runs where conversations, families, prompts, policies and verdicts cannot even be imported."""
    script = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        wings = ("conversations", "families", "prompts", "policy", "verdict", "guards", "scoring")
        if name.split(".")[:1] == ["guard_magic"] and name.split(".")[1:2] and name.split(".")[1] in wings:
            raise ImportError(name)
import importlib.util, types
package = types.ModuleType("guard_magic")
package.__path__ = [%r]
sys.modules["guard_magic"] = package
sys.meta_path.insert(0, Nothing())
import pkgutil
import guard_magic.engine
for module in pkgutil.iter_modules(guard_magic.engine.__path__):
    importlib.import_module(f"guard_magic.engine.{module.name}")
from transformers import LlamaConfig, LlamaForCausalLM
from guard_magic.engine.local import LocalEngine, TokenRow
sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
model = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
(scored,) = LocalEngine(model).score([TokenRow((1, 2, 3))], [4], [(0, 5), (1, 6)])
print(scored.log_probs)
"""
    done = subprocess.run([sys.executable, "-c", script % str(PACKAGE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ((first, second),) = json.loads(done.stdout.splitlines()[-1])
    assert first < 0
    assert second < 0
