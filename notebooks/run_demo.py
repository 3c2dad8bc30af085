"""The demo: execute the quickstart in a real kernel, print the scored table, say where the results are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

NOTEBOOK = Path(__file__).parent / "01_quickstart.ipynb"


def execute(source: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook's cells in a fresh kernel of this interpreter, in `folder`; a failing cell is an error."""
    notebook = nbformat.read(source, as_version=4)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_bar(output)]
    notebook.metadata.pop("widgets", None)
    return notebook


def _is_bar(output: nbformat.NotebookNode) -> bool:
    """Say whether an output is what a closed progress bar leaves in a saved notebook: its first frame."""
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def printed_tables(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the text of the scored table and of the counts by kind."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    found = [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"]
    return [text for text in found if "unsafe_score" in text or "flagged" in text][:2]


def main() -> None:
    """Execute, print, write."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo")
    folder.mkdir(parents=True, exist_ok=True)
    notebook = execute(NOTEBOOK, folder)
    nbformat.write(notebook, folder / NOTEBOOK.name)
    html, _ = HTMLExporter().from_notebook_node(notebook)
    page = folder / f"{NOTEBOOK.stem}.html"
    page.write_text(html, encoding="utf-8")
    print("\n\n".join(printed_tables(notebook)))
    print(f"\nThe executed notebook: {folder / NOTEBOOK.name}\nThe same as a page:    {page}")


if __name__ == "__main__":
    main()
