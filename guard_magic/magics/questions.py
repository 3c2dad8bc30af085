"""``%moderate`` lines that IPython would take for something else.

A line that ends in a question mark asks IPython for help on its last word, before any magic sees it:
``%moderate Is this allowed?`` would look up an object called ``allowed``. Questions are what people moderate.
So a token transformer ahead of IPython's own turns such lines into calls, with their text verbatim.
``%moderate?`` stays a request for help. Lines inside strings are tokens of strings, and are left alone.
"""

from __future__ import annotations

import tokenize
from collections.abc import Callable, Sequence
from typing import Any

from IPython.core.inputtransformer2 import TokenTransformBase

__all__ = ["ModerateLine", "take_questions"]


class ModerateLine(TokenTransformBase):
    """One ``%moderate TEXT`` or ``name = %moderate TEXT``, up to the end of its line."""

    priority = 4  # before HelpEnd, which is 5

    def __init__(self, start: tuple[int, int], percent: tuple[int, int]) -> None:
        super().__init__(start)
        self.column = percent[1]

    @classmethod
    def find(cls, tokens_by_line: Sequence[Sequence[tokenize.TokenInfo]]) -> ModerateLine | None:
        """Return the first such line of the cell, or None."""
        for line in tokens_by_line:
            tokens = [token for token in line if token.type not in (tokenize.INDENT, tokenize.DEDENT)]
            texts = [token.string for token in tokens]
            at = 2 if len(texts) > 2 and texts[1] == "=" and tokens[0].type == tokenize.NAME else 0
            is_ours = texts[at : at + 2] == ["%", "moderate"] and tokens[at].end == tokens[at + 1].start
            if is_ours and texts[at + 2 : at + 3] != ["?"] and tokens[at].start[0] == tokens[0].start[0]:
                return cls(tokens[0].start, tokens[at].start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Return the cell with that line turned into a call."""
        line = lines[self.start_line]
        text = line[self.column :].removeprefix("%moderate").strip()
        call = f"{line[: self.column]}get_ipython().run_line_magic('moderate', {text!r})\n"
        return [*lines[: self.start_line], call, *lines[self.start_line + 1 :]]


def take_questions(shell: Any) -> Callable[[], None]:
    """Put `ModerateLine` ahead of a shell's own transformers; returns what takes it back."""
    transformers = shell.input_transformer_manager.token_transformers
    transformers.append(ModerateLine)

    def restore() -> None:
        if ModerateLine in transformers:
            transformers.remove(ModerateLine)

    return restore
