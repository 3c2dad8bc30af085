"""Markdown documents of the repository: their code blocks, run in a real kernel, and what they promise to print.

``python tests/support/documents.py README.md docs/*.md`` writes the outputs anew where they differ.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_NUMBER = re.compile(r"(?<![\w.@])[-+−]?\d+\.\d+(?!\w)")
TOLERANCE = 0.002
"""How far a printed number may be from the one shown: other processors round otherwise."""


@dataclass(frozen=True)
class Block:
    """A block of Python in a document, where it begins, what stands below it, and why it is not run."""

    line: int
    code: str
    output: str | None
    not_run: str | None


@dataclass(frozen=True)
class _Fence:
    line: int
    language: str
    text: str
    before: str
    gap: str


def _fences(text: str) -> list[_Fence]:
    """Return every fenced block with the line before it and what stands between it and the last one."""
    found: list[_Fence] = []
    end = 0
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M):
        above = text[: match.start()].rstrip().rsplit("\n", 1)[-1]
        line = text.count("\n", 0, match.start()) + 1
        found.append(_Fence(line, match[1], match[2], above, text[end : match.start()].strip()))
        end = match.end()
    return found


def blocks(path: Path) -> list[Block]:
    """Return the Python blocks of a document, in order; a block of text right behind one is its output."""
    fences = _fences(path.read_text(encoding="utf-8"))
    found = []
    for i, fence in enumerate(fences):
        if fence.language == "python":
            below = fences[i + 1] if i + 1 < len(fences) else None
            output = below.text if below and below.language == "text" and not below.gap else None
            why = NOT_RUN.fullmatch(fence.before)
            found.append(Block(fence.line, fence.text, output, why[1] if why else None))
    return found


def run(sources: Sequence[str], folder: Path) -> list[str]:
    """Run cells in one fresh kernel, in `folder`, and return what each prints and shows as text."""
    cells = [nbformat.v4.new_code_cell(source.rstrip("\n")) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return ["".join(_shown(output) for output in cell.outputs) for cell in notebook.cells]


def _shown(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text) if output.name == "stdout" else ""
    text = output.data.get("text/plain", "")
    return "" if "application/vnd.jupyter.widget-view+json" in output.data else f"{text}\n"


def difference(shown: str, printed: str) -> str:
    """Return "" where a document shows what was printed: words alike, numbers within `TOLERANCE`."""
    if _NUMBER.sub("#", shown).split() == _NUMBER.sub("#", printed).split():
        pairs = zip(_numbers(shown), _numbers(printed), strict=True)
        if all(abs(one - other) <= TOLERANCE for one, other in pairs):
            return ""
    return f"the document shows\n{shown}\nand this was printed\n{printed}"


def _numbers(text: str) -> list[float]:
    return [float(number.replace("−", "-")) for number in _NUMBER.findall(text)]


def renewed(path: Path) -> str:
    """Return a document's text with the outputs that its blocks have now."""
    text = path.read_text(encoding="utf-8")
    todo = [block for block in blocks(path) if block.not_run is None]
    with tempfile.TemporaryDirectory() as folder:
        shows = any(block.output is not None for block in todo)
        printed = run([block.code for block in todo], Path(folder)) if shows else [""] * len(todo)
    for block, now in zip(todo, printed, strict=True):
        if block.output is not None and difference(block.output, now):
            shown = f"```python\n{block.code}```\n\n```text\n"
            text = text.replace(f"{shown}{block.output}```", f"{shown}{now.rstrip()}\n```")
    return text


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(renewed(path), encoding="utf-8")
