"""Rows made ready, through the engine: log-probabilities of each question become one reading a row.

Equal rows are asked once. A row whose guard is asked several questions is done when all of them are answered, and one
that failed leaves it without a reading.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from guard_magic.engine.batching import group_positions
from guard_magic.engine.local import LocalEngine
from guard_magic.errors import ScoreError
from guard_magic.families.base import Inquiry
from guard_magic.guards.encoded import Asked, token_rows
from guard_magic.verdict import Reading

__all__ = ["read_rows"]


def read_rows(
    engine: LocalEngine,
    inquiry: Inquiry,
    rows: Sequence[Asked],
    together: Sequence[Hashable] | None,
    *,
    alone: bool,
) -> Iterator[list[tuple[int, Reading | ScoreError]]]:
    """Read rows, yielding after each batch; parameters and results are those of `Guard.read`.

    Parameters
    ----------
    engine
        Where the model is.
    inquiry
        What the rows were made ready for.
    """
    groups = list(group_positions([tuple(p.ids for p in row.prompts) for row in rows]).values())
    firsts = [rows[group[0]] for group in groups]
    marks = range(len(firsts)) if together is None else [together[group[0]] for group in groups]
    found: list[dict[int, Any]] = [{} for _ in firsts]
    places = [(i, number) for i, row in enumerate(firsts) for number in range(len(row.questions))]
    spines = group_positions([firsts[i].questions[number].spine for i, number in places])
    for spine, members in spines.items():
        prompts, asked = token_rows(firsts, marks, [places[member] for member in members])
        for scored in engine.score(prompts, spine.tokens, spine.reads, alone=alone):
            done: list[int] = []
            for i, position in enumerate(scored.positions):
                row, number = asked[position]
                logs = scored.log_probs
                found[row][number] = (
                    ScoreError(str(scored.error)) if logs is None else dict(zip(spine.reads, logs[i], strict=True))
                )
                if len(found[row]) == len(firsts[row].questions):
                    done.append(row)
            yield [
                (position, result)
                for row in done
                for result in [_reading(inquiry, firsts[row], found[row])]
                for position in groups[row]
            ]


def _reading(inquiry: Inquiry, row: Asked, found: Mapping[int, Any]) -> Reading | ScoreError:
    answers = [found[number] for number in range(len(row.questions))]
    failed = next((answer for answer in answers if isinstance(answer, ScoreError)), None)
    return failed or inquiry.read(answers, row.n_tokens, row.conversation.assessed.role)
