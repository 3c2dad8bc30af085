"""The call to write for a table whose columns are not found by themselves."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

import pandas as pd

from guard_magic.characters import strip_unseen
from guard_magic.tables.columns import column_of, conversation_columns, places_of, sample_of, texts_of
from guard_magic.tables.said import (
    answer_columns,
    context_columns,
    conversation_valued_columns,
    other_text_columns,
    question_columns,
    says_something,
)
from guard_magic.tables.speakers import as_roles, speaker_columns

__all__ = ["FOUND", "calls_to_write", "close_names"]

FOUND = ("messages", "conversations", "conversation", "prompt", "response", "text")
"""Names of columns that are found by themselves."""
_CONTENTS = ("content", "text", "message", "body", "utterance", "value")


def close_names(name: object, seen: Iterable[object]) -> list[str]:
    """Return the names seen that differ from this one in what a reader hardly sees, else those most like it."""
    texts = [one for one in seen if isinstance(one, str)]
    if not isinstance(name, str):
        return []
    alike = [one for one in texts if _bare(one) == _bare(name)]
    return alike or difflib.get_close_matches(name, texts, n=2, cutoff=0.75)


def _bare(name: str) -> str:
    return unicodedata.normalize("NFKC", strip_unseen(name)).casefold()


def calls_to_write(table: object, seen: list[object]) -> list[str]:
    """Return one or two sentences with the call that would read a table, or nothing where its columns tell nothing."""
    return _separating(seen) or _renaming(seen) or (_calls(table) if isinstance(table, pd.DataFrame) else [])


def _renaming(seen: list[object]) -> list[str]:
    """Return the call for names that would be found but for capitals, spaces or what nobody sees."""
    meant = {one: _bare(one) for one in seen if isinstance(one, str) and _bare(one) in FOUND and one not in FOUND}
    if not meant or len(set(meant.values())) < len(meant):
        return []
    shown = ", ".join(f"{one!a}: {name!r}" for one, name in meant.items())
    return [f"Names are found exactly as they are written: df.rename(columns={{{shown}}}).guard.score()."]


def _separating(seen: list[object]) -> list[str]:
    """Return the call for a file whose columns were not told apart."""
    (name,) = seen if len(seen) == 1 else (None,)
    for separator in (";", "\t", "|"):
        if isinstance(name, str) and separator in name:
            return [f"Is that one column? pd.read_csv(…, sep={separator!r}) reads files with this separator."]
    return []


def _calls(frame: pd.DataFrame) -> list[str]:
    long = _long_call(frame)
    if long:
        return long
    whole = conversation_valued_columns(frame)
    if whole:
        return [f"{_score(messages=whole[0])} reads its conversations{_or_others(whole[1:])}."]
    answers = answer_columns(frame)
    questions = [name for name in question_columns(frame) if name not in answers]
    if questions and answers:
        return [_exchange([*questions, *(name for name in context_columns(frame) if name not in questions)], answers)]
    if questions:
        return [f"{_score(text=questions[0])} reads each as a user message."]
    if len(answers) > 1 or (answers and len(frame.columns) == 1):
        return [f"{_score(text=answers[0])} reads each as a user message; an answer is judged behind its prompt."]
    texts = [name for name in _text_columns(frame) if name not in answers]
    return [f"{_score(text=texts[0])} reads each as a user message."] if len(texts) == 1 else []


def _text_columns(frame: pd.DataFrame) -> list[object]:
    """Return the columns that hold sentences, those called as what somebody said alone where there are any."""
    named = other_text_columns(frame)
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    return list(named) or [one.name for one in columns if texts_of(sample_of(one)) and says_something(one)]


def _score(**names: object) -> str:
    return f"df.guard.score({', '.join(f'{key}={name!r}' for key, name in names.items())})"


def _or_others(names: list[object]) -> str:
    return f"; {' and '.join(map(repr, names[:3]))} likewise" if names else ""


def _exchange(questions: list[str], answers: list[str]) -> str:
    first, second = questions[0], next((name for name in questions[1:2]), None)
    if second is None:
        return (
            f"{_score(prompt=first, response=answers[0])} reads prompts with their answers{_or_others([*answers[1:]])}."
        )
    joined = f'df[{first!r}] + "\\n" + df[{second!r}].fillna("")'
    return (
        f"df.assign(prompt={joined}).guard.score(prompt='prompt', response={answers[0]!r}) reads both as the prompt, "
        f"with the answers{_or_others([*answers[1:]])}."
    )


def _long_call(frame: pd.DataFrame) -> list[str]:
    """Return the call for a table with one message a row: a column of speakers, and one of what they said."""
    found = {name: one for name, one in speaker_columns(frame).items() if one.is_certain}
    contents = [name for name in _CONTENTS if places_of(frame.columns, name) and _is_text(frame, name)]
    if not found or not contents:
        return []
    name, speakers = next(iter(found.items()))
    ids = next(iter(conversation_columns(frame.columns)), None)
    how = f"conversation_id={'…' if ids is None else repr(ids)}, role={name!r}, content={contents[0]!r}"
    table = "df" if speakers.are_names else as_roles(name, speakers.counts, speakers.roles)
    return [f"A table with one message a row: {table}.guard.score({how})."]


def _is_text(frame: pd.DataFrame, name: str) -> bool:
    return len(places_of(frame.columns, name)) == 1 and bool(texts_of(sample_of(column_of(frame, name))))
