"""The review widget: two traits, messages, and the front end that draws them.

Nothing is built: the front end is plain ES modules in ``static/``. anywidget takes one module, so they are joined
when this one is imported. `join_modules` says what they may hold for that to be right.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

__all__ = ["MODULES", "ReviewWidget", "join_modules"]

MODULES = (
    "dom.js",
    "channel.js",
    "keys.js",
    "rows.js",
    "histogram.js",
    "bulk.js",
    "header.js",
    "bubbles.js",
    "list.js",
    "detail.js",
    "details.js",
    "labelling.js",
    "review.js",
)
"""The modules of the front end; each imports only from those before it."""

_STATIC = files("guard_magic.review") / "static"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.M)
_EXPORT = re.compile(r"^export (?!default\b)", re.M)
_NAME = re.compile(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", re.M)


def join_modules(sources: dict[str, str]) -> str:
    """Join ES modules into one.

    Parameters
    ----------
    sources
        File name to source, in the order in which they are joined. A module imports by name from modules before it
        (``import { a, b } from "./dom.js";``, no renaming), and exports where it declares. Names that modules
        declare at their top level share one scope, so that no two may be alike; only the last exports a default.

    Returns
    -------
    str
        The source of one module.

    Raises
    ------
    ValueError
        If a module imports what does not come before it, or two declare the same name.
    """
    owner: dict[str, str] = {}
    parts: list[str] = []
    for name, source in sources.items():
        for imported in _IMPORT.findall(source):
            if imported not in list(sources)[: len(parts)]:
                raise ValueError(f"{name} imports {imported}, which does not come before it. Hint: mend MODULES.")
        for declared in _NAME.findall(source):
            if declared in owner:
                raise ValueError(f"{name} and {owner[declared]} both declare {declared}. Hint: rename one.")
            owner[declared] = name
        parts.append(f"// {name}\n{_EXPORT.sub('', _IMPORT.sub('', source))}")
    return "\n".join(parts)


class ReviewWidget(anywidget.AnyWidget):
    """What the notebook shows of a review: it holds no labels and decides nothing.

    Attributes
    ----------
    head
        What is told: counts, histogram, keys, notices. Set by Python only.
    view
        What is asked for: threshold, search, filters, order, selected row. Set by either side, and shared by all
        views of this model.
    """

    _esm = join_modules({name: (_STATIC / name).read_text("utf-8") for name in MODULES})
    _css = (_STATIC / "review.css").read_text("utf-8")

    head = traitlets.Dict().tag(sync=True)
    view = traitlets.Dict().tag(sync=True)

    def __init__(self, head: dict[str, Any], view: dict[str, Any]) -> None:
        super().__init__(head=head, view=view)
