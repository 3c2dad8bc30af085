"""Other signs of a speaker within a transcript: a role or a name between signs, and what chat templates leave behind.

They open a turn for whoever wrote them, and no turn here: within a transcript each is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator

import regex

from guard_magic.conversations.line_heads import lines_of
from guard_magic.conversations.role_names import PEOPLE, ROLE_ALIASES
from guard_magic.conversations.speakers import could_be_speaker, is_common

__all__ = ["find_sign"]


def _any_of(names: frozenset[str] | set[str]) -> str:
    return "|".join(sorted(map(re.escape, names), key=lambda name: (-len(name), name)))


_ROLES = _any_of(PEOPLE | {"system"})
_BRACKETED = rf"\[\s*(?:{_any_of({*ROLE_ALIASES})})\s*\](?!\()|<\|\s*(?:{_any_of({*ROLE_ALIASES})})\s*\|>"
_WRAPPED = regex.compile(
    rf"""[^\S\n]*(?:{_BRACKETED}|\(\s*(?:{_ROLES})\s*\)|\{{\s*(?:{_ROLES})\s*\}}|[«‹“「『【〈《]\s*(?:{_ROLES})\s*[»›”」』】〉》]
    |</?(?:{_ROLES})>|(?P<mark>\*{{1,3}}|_{{1,3}}|`{{1,2}}|~~|={{1,6}}|-{{2,6}}|\#{{1,6}})\s?(?:{_ROLES})\s?(?P=mark)
    |[\#@](?:{_ROLES})(?![\w.-]))""",
    regex.X | regex.I,
)
_ALONE = regex.compile(rf"[\s#*_=~`-]*(?:{_any_of(PEOPLE)})[\s#*_=~`-]*", regex.I)
_LEFTOVER = re.compile(r"\[/?INST\]|<</?SYS>>|<\|[a-z][a-z_]{2,30}\|>|<(?:start|end)_of_turn>|</s>")
_STRUCK = re.compile(r"<s>[^<\n]*</s>")
_NAME = r"(?P<name>[^\W\d_][\w .'’-]{1,30})"
_NAMED = regex.compile(rf"[^\S\n]*(?:\[{_NAME}\]|\{{{_NAME}\}}|[«「『【]{_NAME}[»」』】])[^\S\n]+[^\s(]")
_DASHED = regex.compile(r"(?P<name>[^\W\d_][\w.'’]{2,20}(?: [^\W\d_][\w.'’]{1,20})?) [-–—] (?=\S)")


def find_sign(text: str, start: int, labelled: Container[int]) -> tuple[int, str] | None:
    """Return where a sign of a speaker stands in a transcript, and what it is; None where there is none.

    Parameters
    ----------
    text
        The transcript.
    start
        Where the words behind the first marker begin.
    labelled
        Where lines begin that have a label: these are judged by it.
    """
    for found in _LEFTOVER.finditer(text, start):
        before = text.rfind("\n", 0, found.start()) + 1
        if found.group() != "</s>" or not _STRUCK.search(text, before, found.end()):
            return found.start(), f"has a mark of a chat template: {found.group()}"
    lines = [(at, text[at:end]) for at, end in lines_of(text) if at > start and at not in labelled]
    for at, line in lines:
        wrapped = _WRAPPED.match(line)
        if wrapped or (len(line) < 40 and _ALONE.fullmatch(line)):
            role = (wrapped.group() if wrapped else line).strip()
            return at, f"begins with a role that is not written as the first marker is: {role}"
    position = next(_names(lines), None)
    return position and (position[0], f"looks like a marker of an unknown speaker: {position[1]}")


def _names(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield names in brackets, and names with a dash behind them where no list of terms stands."""
    for start, line in lines:
        found = _NAMED.match(line)
        if found and _is_name(found["name"]):
            yield start, found.group()[:-1].strip()
    dashed = [_DASHED.match(line) for _, line in lines]
    times = Counter(found["name"] for found in dashed if found)
    for i, found in enumerate(dashed):
        if found is None or not _is_name(found["name"]):
            continue
        beside = [one["name"] for one in dashed[max(0, i - 1) : i + 2] if one]
        if times[found["name"]] > 1 or len(beside) == 1:
            yield lines[i][0], found["name"]


def _is_name(name: str) -> bool:
    has_capital = name[0].isupper() or name[0].lower() == name[0].upper()
    return has_capital and could_be_speaker(name) and not is_common(name)
