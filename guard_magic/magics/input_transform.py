"""Lines with ``%moderate`` that IPython would take for something else.

A line that ends in a question mark asks IPython for help on its last word, before any magic sees it:
``%moderate Is this allowed?`` would look up an object called ``allowed``. Questions are what people moderate.
So a token transformer ahead of IPython's own turns such lines into calls, with their text verbatim: lines of ours,
also behind a statement (``x = 1; %moderate …``), and lines of other magics that run ours (``%time %moderate …``).
``%moderate?`` stays a request for help. Lines inside strings are tokens of strings, and are left alone.

A line ends where the editor shows its end: not at the characters that only Python's ``splitlines`` breaks at (form
feed, U+2028 …), and not behind a backslash. Nothing that follows them is run as Python.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import TokenTransformBase

from guard_magic.magics.options import parse_moderate

__all__ = ["ModerateLine", "help_alone", "take_questions", "whole_lines"]

_BEFORE = frozenset({";", ":", "=", "return"})
"""What may stand before a magic within a statement: no Python goes on with a percent sign there."""
_FOREIGN = frozenset("!?,;/")
"""Characters that make a whole line IPython's, none of it Python."""
_OURS = re.compile(r"%moderate(?!\S)")


class ModerateLine(TokenTransformBase):
    """One ``%moderate TEXT``, alone, behind a statement or in a line of another magic, up to the end of its line."""

    priority = 4  # before HelpEnd, which is 5

    def __init__(self, start: tuple[int, int], percent: tuple[int, int]) -> None:
        super().__init__(start)
        self.row, self.column = percent[0] - 1, percent[1]

    @classmethod
    def find(cls, tokens_by_line: Sequence[Sequence[tokenize.TokenInfo]]) -> ModerateLine | None:
        """Return the first such line of the cell, or None."""
        for line in tokens_by_line:
            tokens = [token for token in line if token.type not in (tokenize.INDENT, tokenize.DEDENT)]
            at = _magic_at(tokens)
            if at is not None and _runs_ours(tokens[at:]):
                return cls(tokens[0].start, tokens[at].start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Return the cell with that line turned into a call."""
        line, last = _whole_line(lines, self.row, self.column)
        if _OURS.match(line):
            name, text = "moderate", line.removeprefix("%moderate").strip()
        else:
            name, _, text = line[1:].rstrip().partition(" ")
        before = lines[self.row][: self.column]
        call = f"{before}get_ipython().run_line_magic({name!r}, {text!r})\n"
        return [*lines[: self.row], call, *lines[last + 1 :]]


def _magic_at(tokens: Sequence[tokenize.TokenInfo]) -> int | None:
    """Return where the first magic of a line begins, or None."""
    if not tokens or tokens[0].string in _FOREIGN:
        return None
    depth = 0
    for i, (token, following) in enumerate(pairwise(tokens)):
        depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
        if depth or not (i == 0 or tokens[i - 1].string in _BEFORE):
            continue
        if token.string == "!":
            return None
        if token.string == "%" and following.type == tokenize.NAME and token.end == following.start:
            return i
    return None


def _runs_ours(tokens: Sequence[tokenize.TokenInfo]) -> bool:
    """Say whether ``%moderate`` is among tokens, and not to ask for its help."""
    return any(
        (one.string, two.string) == ("%", "moderate") and one.end == two.start and three.string != "?"
        for one, two, three in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )


def _whole_line(lines: Sequence[str], row: int, column: int) -> tuple[str, int]:
    """Return the line that begins there and the index of its last; backslashes join as they do in IPython."""
    line, last = lines[row][column:], row
    while last + 1 < len(lines) and line.endswith(("\\\n", "\\\r\n")):
        last += 1
        line = f"{line.rstrip()[:-1]} {lines[last]}"
    return line, last


def whole_lines(lines: list[str]) -> list[str]:
    """Join what only Python's ``splitlines`` has parted, in cells of ours."""
    if not any("%moderate" in line for line in lines):
        return lines
    return re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", "".join(lines))


def help_alone(lines: list[str]) -> list[str]:
    """Turn ``%%moderate -h`` without a body into a call; IPython lets no cell magic see an empty body."""
    first = lines[0] if lines else ""
    if not first.startswith("%%moderate ") or any(lines[1:]):
        return lines
    try:
        asks = parse_moderate(first.removeprefix("%%moderate")).help
    except UsageError:
        return lines
    return ["get_ipython().run_line_magic('moderate', '-h')\n"] if asks else lines


def take_questions(shell: Any) -> Callable[[], None]:
    """Put our transformers ahead of a shell's own; returns what takes them back."""
    manager = shell.input_transformer_manager
    manager.token_transformers.append(ModerateLine)
    manager.line_transforms[:0] = [whole_lines, help_alone]

    def restore() -> None:
        for transformers in (manager.token_transformers, manager.line_transforms):
            transformers[:] = [one for one in transformers if one not in (ModerateLine, whole_lines, help_alone)]

    return restore
