"""What a reading of a table would pass over: refused with the calls that read it, or said where it may be harmless."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from guard_magic.errors import ColumnError, shorten
from guard_magic.tables.columns import column_of, conversation_columns, parent_columns, places_of
from guard_magic.tables.said import (
    answer_columns,
    context_columns,
    conversation_valued_columns,
    end_answered,
    holds_conversations,
    holds_lists,
    is_instruction,
    other_text_columns,
    prose_columns,
    says_something,
    start_instructed,
)
from guard_magic.tables.speakers import Speakers, as_roles, speaker_columns, speaker_levels

__all__ = ["call_of", "level_remarks", "refuse_passed_over", "remarks_on_columns"]

Columns = tuple[object, ...]

_QUOTES = "'\" "


def refuse_passed_over(frame: pd.DataFrame, kind: str, columns: Columns) -> None:
    """Refuse a reading found by itself where another column says who spoke, or holds what was said.

    Raises
    ------
    ColumnError
        For two readings, with the calls to write for each.
    """
    _refuse_speakers(frame, kind, columns)
    _refuse_levels(frame, kind, columns)
    _refuse_answers(frame, kind, columns)
    _refuse_contexts(frame, kind, columns)
    _refuse_conversations(frame, kind, columns)


def remarks_on_columns(frame: pd.DataFrame, kind: str, columns: Columns, is_named: bool) -> list[str]:
    """Return what is to be said once of columns that a reading passes over, where that may be harmless."""
    said = level_remarks(frame.index) if kind in ("text", "prompt") else []
    for name, found in _speakers(frame, kind, columns).items():
        if found.is_certain:
            said.append(
                f"{found.n_others:,} of {len(frame):,} rows are not the user's by column {name!r}, and are read as "
                "user messages all the same"
            )
        elif not is_named:
            said.append(
                f"column {name!r} may say who said each row ({_counts(found)}), and each row is read as a user "
                f"message: if it does, {_long_call(frame, name, found, columns[0])} reads conversations"
            )
    if not is_named:
        names = [name for name in context_columns(frame) if not places_of(columns, name)]
        said += _not_read(names, "may hold what stood ahead of the text", columns)
        names = [name for name in other_text_columns(frame) if not places_of(columns, name)]
        said += _not_read(names, "may hold what was said too", columns)
        if len(columns) > 1:
            names = [name for name in answer_columns(frame) if not places_of(columns, name)]
            names = [name for name in names if says_something(column_of(frame, name))]
            said += _not_read(names, "may hold other answers", columns)
        told = {*context_columns(frame), *other_text_columns(frame), *answer_columns(frame)}
        prose = [name for name in prose_columns(frame) if name not in told and not places_of(columns, name)]
        said += _not_read(prose, "may hold answers or other text", columns)
    return said


def _not_read(names: Sequence[object], why: str, columns: Columns) -> list[str]:
    shown = ", ".join(shorten(name, 40) for name in names[:4])
    return [f"{shown} {why}, and {'is' if len(names) == 1 else 'are'} not read beside {columns[0]!r}"] if names else []


def _speakers(frame: pd.DataFrame, kind: str, columns: Columns) -> dict[str, Speakers]:
    """Return the columns of speakers that a reading of user messages, or of prompts and responses, ignores."""
    if kind not in ("text", "prompt"):
        return {}
    return {name: found for name, found in speaker_columns(frame).items() if not places_of(columns, name)}


def _counts(found: Speakers) -> str:
    return ", ".join(f"{n:,} × {shorten(value, 30).strip(_QUOTES)}" for value, n in found.counts.most_common(4))


def call_of(kind: str, columns: Columns) -> str:
    """Return the call that reads these columns so, and no others, as Python."""
    names = ("prompt", "response") if kind == "prompt" else (kind,)
    return f"df.guard.score({', '.join(f'{name}={one!r}' for name, one in zip(names, columns, strict=False))})"


def _refuse_speakers(frame: pd.DataFrame, kind: str, columns: Columns) -> None:
    """Refuse where each row would be a user's message and a column says that some are not."""
    for name, found in _speakers(frame, kind, columns).items():
        if found.is_certain:
            said = columns[0]
            raise ColumnError(
                f"two readings: each row of {said!r} is a user message, or {name!r} says who said it "
                f"({_counts(found)})",
                hint=f"{_long_call(frame, name, found, said)} reads conversations; {call_of(kind, columns)} takes each "
                f"{said!r} as a user message.",
            )


def _refuse_levels(frame: pd.DataFrame, kind: str, columns: Columns) -> None:
    """Refuse where the index says that some rows are not the user's: it is not looked at as a column is."""
    for name, found in speaker_levels(frame.index).items() if kind in ("text", "prompt") else ():
        raise ColumnError(
            f"two readings: each row of {columns[0]!r} is a user message, or the index ({name!r}) says who said it "
            f"({_counts(found)})",
            hint="df.reset_index() makes it a column, by which conversations are read; "
            f"{call_of(kind, columns)} takes each {columns[0]!r} as a user message.",
        )


def level_remarks(index: pd.Index) -> list[str]:
    """Return what is to be said where the index says who spoke and each row is read as a user message all the same."""
    return [
        f"{found.n_others:,} of {len(index):,} rows are not the user's by the index ({name!r}: {_counts(found)}), and "
        "are read as user messages all the same: reset_index() makes it a column"
        for name, found in speaker_levels(index).items()
    ]


def _long_call(frame: pd.DataFrame, name: str, found: Speakers, said: object) -> str:
    ids = next(iter(conversation_columns(frame.columns)), None)
    named = [
        f"conversation_id={'…' if ids is None else repr(ids)}",
        f"role={name!r}",
        f"content={said!r}",
        *(f"parent={one!r}" for one in parent_columns(frame.columns)[:1]),
    ]
    if found.are_names:
        return f"df.guard.score({', '.join(named)})"
    return f"{as_roles(name, found.counts, found.roles)}.guard.score({', '.join(named)})"


def _refuse_answers(frame: pd.DataFrame, kind: str, columns: Columns) -> None:
    """Refuse where what the user said would be read, and an answer to it stands in a column under another name."""
    if len(columns) > 1:
        return
    answers = [name for name in answer_columns(frame) if not places_of(columns, name)]
    if not answers or (kind == "messages" and end_answered(column_of(frame, columns[0]))):
        return
    said = columns[0]
    if kind == "messages":
        answered = f'[[*c, {{"role": "assistant", "content": a}}] for c, a in zip(df[{said!r}], df[{answers[0]!r}])]'
        hint = (
            f"{call_of(kind, columns)} assesses what is there without the answers; with them (where they are text and "
        )
        hint += f"the conversations lists): df.assign(messages={answered}).guard.score(messages='messages')."
    else:
        each = f".explode({answers[0]!r})" if holds_lists(column_of(frame, answers[0])) else ""
        hint = f"df{each}.guard.score(prompt={said!r}, response={answers[0]!r}) assesses the answers; "
        hint += f"{call_of(kind, columns)} assesses {said!r} alone."
    shown = " or ".join(map(repr, answers[:4]))
    raise ColumnError(f"two readings: {said!r} alone, or with the answers in {shown}", hint=hint)


def _refuse_contexts(frame: pd.DataFrame, kind: str, columns: Columns) -> None:
    """Refuse where a column holds what stood ahead of the texts that would be read."""
    names = [
        name
        for name in context_columns(frame)
        if not places_of(columns, name) and says_something(column_of(frame, name))
    ]
    if kind == "messages" and names and start_instructed(column_of(frame, columns[0])):
        names = [name for name in names if not is_instruction(name)]
    if names:
        said = columns[0]
        raise ColumnError(
            f"two readings: {said!r} alone, or behind what stands in {' and '.join(map(repr, names[:4]))}",
            hint=f"{_with_context(frame, kind, columns, names[0])} reads both; {call_of(kind, columns)} leaves it out.",
        )


def _with_context(frame: pd.DataFrame, kind: str, columns: Columns, name: str) -> str:
    said = [f"df[{one!r}]" for one in columns]
    if holds_conversations(column_of(frame, name)):
        ahead = "*c"
    elif is_instruction(name):
        ahead = '{"role": "system", "content": c}'
    elif kind == "messages":
        ahead = '{"role": "user", "content": c}'
    else:
        joined = f'df[{name!r}].fillna("") + "\\n\\n" + {said[0]}'
        return f"df.assign(**{{{columns[0]!r}: {joined}}}).guard.score({call_of(kind, columns).split('(')[1]}"
    if kind == "messages":
        made = f"[[{ahead}, *m] for c, m in zip(df[{name!r}], {said[0]})]"
    else:
        roles = ("user", "assistant")
        parts = [f'{{"role": "{role}", "content": {one}}}' for role, one in zip(roles, "pr"[: len(said)], strict=False)]
        each = ", ".join(["c", *"pr"[: len(said)]])
        made = f"[[{ahead}, {', '.join(parts)}] for {each} in zip(df[{name!r}], {', '.join(said)})]"
    return f"df.assign(messages={made}).guard.score(messages='messages')"


def _refuse_conversations(frame: pd.DataFrame, kind: str, columns: Columns) -> None:
    """Refuse where another column holds whole conversations, whatever it is called."""
    names = [name for name in conversation_valued_columns(frame) if not places_of(columns, name)]
    if names:
        raise ColumnError(
            f"two readings: {columns[0]!r}, or the conversations in {' or '.join(map(repr, names[:4]))}",
            hint=f"{call_of('messages', (names[0],))} reads these; {call_of(kind, columns)} reads {columns[0]!r}.",
        )
