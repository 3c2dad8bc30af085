"""Columns that hold what was said, by their names or because their values are conversations.

Answers, what was said or written ahead of a prompt, and whole conversations: a reading that takes the texts of another
column would leave them out.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pandas as pd

from guard_magic.characters import is_blank
from guard_magic.conversations.conversation import looks_like_conversation, parse_messages
from guard_magic.conversations.message_forms import plain
from guard_magic.errors import ConversationError
from guard_magic.tables.columns import column_of, has_word, name_words, places_of, sample_of, texts_of

__all__ = [
    "answer_columns",
    "context_columns",
    "conversation_valued_columns",
    "end_answered",
    "holds_conversations",
    "holds_lists",
    "is_instruction",
    "other_text_columns",
    "prose_columns",
    "question_columns",
    "says_something",
    "start_instructed",
]

_FEW = 40
"""Values that are parsed to know whether a column holds conversations."""
_OF_A_CALL = ("guard_error", "generated_text")
"""How columns of sentences are called that a call writes, behind a prefix."""
_SENTENCE = 4
"""Words from which a text is a sentence rather than a name or a label."""
_START = 500
_A_WORD = 2
"""Characters of a word where a script writes none apart, at least."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")
_ANSWER = re.compile(
    "responses?|completions?|answers?|outputs?|reply|replies|generations?|generated|chosen|rejected|assistant|choices?|"
    "candidates?|options?"
)
_INSTRUCTION = re.compile("system|instructions?|preamble|persona")
_BEFORE = re.compile(
    "history|histories|contexts?|previous|past|background|passages?|documents?|dialogs?|dialogues?|questions?|query|"
    "queries|inputs?"
)
_QUESTION = re.compile("questions?|query|queries|instructions?|inputs?|prompts?|user|human|goal|request")
_SAID = re.compile("messages?|contents?|utterances?|body|prompts?|texts?|users?|human|speech|said|turns?")
_ABOUT = re.compile(
    "ids?|lang|language|models?|name|time|date|at|length|len|tokens?|scores?|rating|labels?|types?|kind|url|source|"
    "format|status|roles?|by|category|error|n|num|count|number|index|idx|hash|version|fingerprint|title|embeddings?|"
    "agreement|refusal|harm|harmful|toxicity|safety|annotation|annotator|judge"
)
"""Words beside those of what was said, with which a column is one about it, and does not hold it."""


def answer_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold answers, by their names and because they hold text or messages."""
    return [name for name in _called(frame, _ANSWER) if _holds_text(column_of(frame, name))]


def context_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold what stood ahead of a prompt: instructions, what was said before, documents."""
    names = [*_called(frame, _INSTRUCTION), *_called(frame, _BEFORE)]
    return [name for name in dict.fromkeys(names) if _holds_text(column_of(frame, name))]


def question_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that may hold what a user asked, by their names and because they hold text."""
    return [name for name in _called(frame, _QUESTION) if texts_of(sample_of(column_of(frame, name)))]


def other_text_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns called as what somebody said is (``message``, ``content``), which hold more than words."""
    return [
        name
        for name in _called(frame, _SAID)
        if texts_of(sample_of(column_of(frame, name))) and says_something(column_of(frame, name))
    ]


def prose_columns(frame: pd.DataFrame) -> list[object]:
    """Return the columns of sentences, mostly different ones, whatever they are called."""
    return [
        name
        for i, name in enumerate(frame.columns)
        if len(places_of(frame.columns, name)) == 1 and not _is_of_a_call(name) and _is_prose(frame.iloc[:, i])
    ]


def _is_of_a_call(name: object) -> bool:
    return isinstance(name, str) and name.endswith(_OF_A_CALL)


def _is_prose(column: pd.Series) -> bool:
    texts = texts_of(sample_of(column))
    long = sum(_n_words(text) >= _SENTENCE for text in texts)
    return bool(texts) and 2 * long >= len(texts) and 2 * len(set(texts)) >= len(texts)


def _n_words(text: str) -> int:
    """Count words, by their characters where a script writes none apart; what has no letters is none."""
    start = text[:_START]
    return len(_UNSPACED.findall(start)) // _A_WORD or sum(any(map(str.isalpha, one)) for one in start.split())


def is_instruction(name: object) -> bool:
    """Say whether a column's name says that it holds what the system is told, not what was said before."""
    return has_word(name, _INSTRUCTION)


def says_something(column: pd.Series) -> bool:
    """Say whether a column holds more than single words (``linux``), which are labels rather than anything said."""
    values = sample_of(column)
    texts = texts_of(values)
    return len(texts) < len(values) or any(len(text.split()) > 1 or len(text) > 30 for text in texts)


def holds_lists(column: pd.Series) -> bool:
    """Say whether there are lists in a column."""
    return any(issubclass(type(value), list | tuple | np.ndarray) for value in sample_of(column))


def conversation_valued_columns(frame: pd.DataFrame) -> list[object]:
    """Return the columns of which at least half of the values are conversations, whatever they are called."""
    return [name for i, name in enumerate(frame.columns) if holds_conversations(frame.iloc[:, i])]


def holds_conversations(column: pd.Series) -> bool:
    """Say whether at least half of a column's values are lists of messages, or text of these."""
    if column.dtype.kind in "biufcmM":
        return False
    values = sample_of(column)[:_FEW]
    return bool(values) and 2 * sum(map(_is_conversation, values)) >= len(values)


def _is_conversation(value: object) -> bool:
    if issubclass(type(value), str):
        return looks_like_conversation(plain(value))  # type: ignore[arg-type]
    if not issubclass(type(value), list | tuple | dict | np.ndarray):
        return False
    try:
        return len(parse_messages(value)) > 0
    except ConversationError:
        return False


def end_answered(column: pd.Series) -> bool:
    """Say whether most conversations of this column end with an answer themselves."""
    return _most(column, -1, "assistant")


def start_instructed(column: pd.Series) -> bool:
    """Say whether most conversations of this column start with a message of the system themselves."""
    return _most(column, 0, "system")


def _most(column: pd.Series, place: int, role: str) -> bool:
    seen: Counter[str] = Counter()
    for value in sample_of(column):
        try:
            seen[parse_messages(value).roles[place]] += 1
        except ConversationError:
            continue
    return seen[role] * 2 > seen.total()


def _called(frame: pd.DataFrame, words: re.Pattern[str]) -> list[str]:
    """Return the names of columns that are there once, with one of these words and none behind that is about it."""
    return [name for name in frame.columns if _is_called(name, words, frame)]


def _is_called(name: object, words: re.Pattern[str], frame: pd.DataFrame) -> bool:
    said = name_words(name)
    if said == ["generated", "text"] and places_of(frame.columns, "unsafe_score"):
        return False  # an extra column of an earlier call
    at = next((i for i, word in enumerate(said) if words.fullmatch(word)), None)
    is_about = at is None or said[0] in ("n", "num", "has", "is") or any(map(_ABOUT.fullmatch, said[at:]))
    return not is_about and len(places_of(frame.columns, name)) == 1


def _holds_text(column: pd.Series) -> bool:
    """Say whether there is text in a column that is not blank, or a list or mapping that is not empty."""
    values = sample_of(column)
    held = [value for value in values if issubclass(type(value), dict | list | tuple | np.ndarray)]
    texts = texts_of(values)
    return any(map(_is_filled, held)) or any(not is_blank(text) and text.strip() not in ("[]", "{}") for text in texts)


def _is_filled(value: object) -> bool:
    try:
        return len(value) > 0  # type: ignore[arg-type]
    except Exception:  # what cannot be counted may hold something
        return True
