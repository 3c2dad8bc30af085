"""Encoded rows, through the engine: log-probabilities of each question become one reading a row, or a text is written.

Equal rows are asked once. A row whose guard is asked several questions is done when all of them are answered, and one
that failed leaves it without a reading.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from guard_magic.engine.batching import group_positions
from guard_magic.engine.local import LocalEngine
from guard_magic.errors import ScoreError
from guard_magic.families.base import Questionnaire
from guard_magic.guards.encoded import Encoded, token_rows
from guard_magic.verdict import Reading

__all__ = ["read_rows", "write_rows"]


def read_rows(
    engine: LocalEngine,
    questionnaire: Questionnaire,
    rows: Sequence[Encoded],
    groups: Sequence[Hashable] | None,
    *,
    alone: bool,
) -> Iterator[list[tuple[int, Reading | ScoreError]]]:
    """Read rows, yielding after each batch; parameters and results are those of `Guard.read`.

    Parameters
    ----------
    engine
        Where the model is.
    questionnaire
        What the rows were encoded for.
    """
    equal = list(group_positions([tuple(p.ids for p in row.prompts) for row in rows]).values())
    firsts = [rows[members[0]] for members in equal]
    of_row = range(len(firsts)) if groups is None else [groups[members[0]] for members in equal]
    found: list[dict[int, Any]] = [{} for _ in firsts]
    pairs = [(i, number) for i, row in enumerate(firsts) for number in range(len(row.questions))]
    continuations = group_positions([firsts[i].questions[number].continuation for i, number in pairs])
    for continuation, members in continuations.items():
        prompts, pair_of = token_rows(firsts, of_row, [pairs[member] for member in members])
        for scored in engine.score(prompts, continuation.tokens, continuation.reads, alone=alone):
            done: list[int] = []
            for i, position in enumerate(scored.positions):
                row, number = pair_of[position]
                logs = scored.log_probs
                found[row][number] = (
                    ScoreError(str(scored.error))
                    if logs is None
                    else dict(zip(continuation.reads, logs[i], strict=True))
                )
                if len(found[row]) == len(firsts[row].questions):
                    done.append(row)
            yield [
                (position, result)
                for row in done
                for result in [_reading(questionnaire, firsts[row], found[row])]
                for position in equal[row]
            ]


def write_rows(
    engine: LocalEngine,
    tokenizer: Any,
    questionnaire: Questionnaire,
    rows: Sequence[Encoded],
    readings: Sequence[Reading],
) -> Iterator[list[tuple[int, str | None]]]:
    """Return the text the guard writes for each row, as `Guard.write` says.

    Parameters
    ----------
    engine, tokenizer
        Where the model is, and its tokenizer.
    questionnaire
        What the rows were encoded for.
    rows, readings
        Encoded conversations, and what was read of each.
    """
    known = [questionnaire.written(reading) for reading in readings]
    yield [(i, text) for i, (_, text) in enumerate(known) if text is not None]
    unknown = [i for i, (_, text) in enumerate(known) if text is None]
    encoded = [rows[i].prompts[known[i][0]].ids for i in unknown]
    groups = list(group_positions(encoded).items())
    for positions, written in engine.write(tokenizer, [ids for ids, _ in groups]):
        yield [
            (unknown[i], None if text is None else questionnaire.said(text))
            for position, text in zip(positions, written, strict=True)
            for i in groups[position][1]
        ]


def _reading(questionnaire: Questionnaire, row: Encoded, found: Mapping[int, Any]) -> Reading | ScoreError:
    answers = [found[number] for number in range(len(row.questions))]
    failed = next((answer for answer in answers if isinstance(answer, ScoreError)), None)
    return failed or questionnaire.read(answers, row.n_tokens, row.conversation.assessed.role)
