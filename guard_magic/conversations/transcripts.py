"""Transcripts: text in which role names at line starts say who speaks.

A marker is a role name and a colon at the start of a line (`user:`, `**User:**`, `### Human:`, `Assistant (gpt-4):`).
The first line with words in it has the first marker and with it settles how all others are written: as deep, with the
same heading and bold marks, in capitals or not. What looks like a marker and is not one of these is an error, for the
words of one speaker would be read as another's:

- a role name written otherwise: in a code block, in the middle of somebody else's turn, behind a time or a picture, in
  brackets, with `>` or a dash behind it, alone on its line;
- a role or a name between other signs, and marks of chat templates;
- a name with a role in it ("Support Agent", "my_bot");
- any other label written as the markers are that could be a name.

A label could be a name unless its words are those of headings and sentences (see `guard_magic.conversations.speakers`).
Nor are names: a label alone on its line, once, where all markers have text behind them; keys and values on lines side
by side; what opens an indented block; labels in code blocks; labels without the blank that all markers have behind them
(`http://`, `12:30`); labels without the blank line that all markers have ahead of them; and labels in transcripts of
Human and Assistant in turn, each behind a blank line: data sets of that form know no third speaker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import regex

from guard_magic.characters import is_blank
from guard_magic.conversations.line_heads import (
    BREAK,
    STAMPED_NAME,
    Label,
    OddHead,
    fold_colons,
    lines_of,
    read_label,
    read_odd_head,
)
from guard_magic.conversations.role_names import PEOPLE, ROLE_ALIASES, ROLE_HINT
from guard_magic.conversations.speaker_signs import find_sign
from guard_magic.conversations.speakers import could_be_speaker, is_common, is_datum, names_role
from guard_magic.errors import ConversationError, shorten

__all__ = ["TRANSCRIPT_HINT", "Turn", "count_turns", "inner_markers", "read_turns"]

Turn = tuple[str, str]
"""Who spoke, by the name in the marker, and what was said, stripped."""

TRANSCRIPT_HINT = (
    "A JSON list of messages says exactly who said what; other names of speakers can be renamed to user: and "
    f"assistant: first. {ROLE_HINT}"
)
_MIDDLE = re.compile(
    rf"(?:(?P<break>\\[nr])|(?<![\w/&'’#$%-]))(?P<name>{'|'.join(sorted(ROLE_ALIASES, key=len, reverse=True))})"
    r"[\])*_>]{0,3}[^\S\n]?[:\uff1a](?P<gap>\s|\Z)?",
    re.I,
)
_BROKEN = regex.compile(r"\\[nr]\s{0,4}(?P<name>[^\W\d_][\w.'’-]*(?:[^\S\n][\w.'’-]+){0,3}):\s")
_MOST_CHARACTERS = 1_000_000
"""Longest turn that is searched for markers: no longer message is read at all."""
_FENCE = re.compile(r"[^\S\n]*(?:```|~~~)")
_OPENING_QUOTES = "\"'“‘«„`‹「『"
_SEPARATORS = ";|/\\.!?。；！？"
_ELEMENTS = frozenset({"br", "hr", "img", "li", "p", "td", "tr", "b", "i", "input", "meta", "link", "div", "span"})
_BEFORE_NOUNS = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "my",
        "your",
        "our",
        "their",
        "his",
        "her",
        "its",
        "each",
        "every",
        "any",
        "some",
        "no",
        "one",
        "new",
        "current",
        "another",
        "as",
        "for",
        "to",
        "of",
        "by",
        "from",
        "with",
        "and",
        "or",
    ]
)
"""Words behind which `user:` is prose and not a marker."""


def read_turns(text: str) -> list[Turn] | None:
    """Read the turns of a transcript, in order.

    Returns
    -------
    list of Turn or None
        At least one; None where the first line with words in it has no marker: then the text is no transcript.

    Raises
    ------
    ConversationError
        For a line that looks like a marker and is not one, with its number.
    """
    said, text = text, fold_colons(text)
    labels = _labels(text)
    first = next(labels, None)
    if first is None:
        return None
    found = [first, *labels]
    markers = [label for label in found if label.is_role and not label.in_code and label.is_like(first)]
    _check_roles(text, found, markers)
    _check_strangers(text, found, markers)
    _check_middles(text, markers)
    _check_odd_heads(text, found, markers)
    _check_signs(text, found)
    ends = [label.start for label in markers[1:]] + [len(text)]
    return [(label.name, said[label.content : end].strip()) for label, end in zip(markers, ends, strict=True)]


def count_turns(text: str, most: int = 2) -> int:
    """Return how many lines of a transcript have a marker, at most `most`; 0 where the text is none."""
    n = 0
    for label in _labels(fold_colons(text)):
        n += label.is_role
        if n == most:
            break
    return n


def _labels(text: str) -> Iterator[Label]:
    """Yield the beginnings of lines that look like labels; none where the first words are no marker."""
    is_first, after_blank = True, True
    code = iter(_code_blocks(text))
    block = next(code, None)
    for start, end in lines_of(text):
        if is_blank(text[start:end]):
            after_blank = True
            continue
        while block is not None and block[1] <= start:
            block = next(code, None)
        label = read_label(text, start, end, after_blank, block is not None and block[0] <= start)
        if is_first and (label is None or not label.is_role or label.is_open):
            return
        is_first, after_blank = False, False
        if label is not None:
            yield label


def _code_blocks(text: str) -> list[tuple[int, int]]:
    """Return where code blocks begin and end; one that is never closed is none."""
    if "```" not in text and "~~~" not in text:
        return []
    fences = [start for start, end in lines_of(text) if _FENCE.match(text, start, end)]
    return list(zip(fences[::2], fences[1::2], strict=False))


def _check_roles(text: str, found: Sequence[Label], markers: Sequence[Label]) -> None:
    """Refuse role names that are written as no other marker is, and names with a role in them."""
    read = {label.start for label in markers}
    for label in found:
        if label.start in read:
            continue
        if label.is_role:
            where = "stands in a code block" if label.in_code else "is not written as the first marker is"
            raise _refusal(text, label.start, f"{where}: {shorten(text[label.start : label.content].strip())}")
        if not label.in_code and label.has_gap and names_role(label.name):
            raise _stranger(text, label.start, label.name)


def _check_strangers(text: str, found: Sequence[Label], markers: Sequence[Label]) -> None:
    """Refuse labels that only differ from markers in that nobody knows their name."""
    if _is_closed_form(markers):
        return
    spaced = all(label.has_gap for label in markers)
    parted = len(markers) > 1 and all(label.after_blank for label in markers[1:])
    filled = all(label.has_text for label in markers)
    times = Counter(label.name for label in found)
    keys = _keys(text, found)
    for label in found:
        if label.is_role or label.start in keys or label.in_code or not _is_beside(label, markers[0]):
            continue
        if (spaced and not label.has_gap) or (parted and not label.after_blank):
            continue
        if filled and not label.has_text and times[label.name] == 1:
            continue
        after = text[label.content : label.end].lstrip()
        if not after.startswith("//") and could_be_speaker(label.name) and not _opens_block(text, label):
            raise _stranger(text, label.start, label.name)


def _is_closed_form(markers: Sequence[Label]) -> bool:
    names = [label.name for label in markers]
    in_turn = all(name == ("Human", "Assistant")[i % 2] for i, name in enumerate(names))
    return in_turn and len(names) > 1 and all(label.after_blank for label in markers)


def _is_beside(label: Label, marker: Label) -> bool:
    """Say whether a label stands where markers do, with the same marks; names are also written small."""
    return (label.indent, label.marks) == (marker.indent, marker.marks)


def _opens_block(text: str, label: Label) -> bool:
    """Say whether nothing but a more deeply indented line follows a label, as in YAML and Python."""
    if label.has_text:
        return False
    following = text[label.end : label.end + 200].lstrip("\r\n")
    return len(following) - len(following.lstrip(" \t")) > len(label.indent)


def _keys(text: str, found: Sequence[Label]) -> set[int]:
    """Return where keys with their values begin.

    They stand on lines side by side, no two of them are the same, and at least every second is a word of headings or
    has a value behind it that nobody says.
    """
    keys: set[int] = set()
    run: list[Label] = []
    for label in [*found, None]:
        if label is not None and not label.is_role and (not run or _is_next(text, run[-1], label)):
            run.append(label)
            continue
        sure = sum(is_common(one.name) or is_datum(text[one.content : one.end]) for one in run)
        if len(run) > 1 and len({one.name for one in run}) == len(run) and 2 * sure >= len(run):
            keys.update(one.start for one in run)
        run = [label] if label is not None and not label.is_role else []
    return keys


def _is_next(text: str, one: Label, other: Label) -> bool:
    beside = not other.after_blank and one.indent == other.indent
    return beside and len(BREAK.findall(text, one.end, other.start)) == 1


def inner_markers(text: str, start: int, end: int) -> Iterator[re.Match[str]]:
    """Yield the role names with a colon that stand in the middle of lines; quoted ones and those of prose do not."""
    for found in _MIDDLE.finditer(text, start, end):
        before = text[max(start, found.start() - 30) : found.start()]
        if before and before[-1] in _OPENING_QUOTES and not before[-2:-1].isalnum():
            continue
        if before[-1:] == "." and found["name"].islower() and not found["break"]:
            continue
        words = before.split()
        if found["break"] or not words or words[-1].lower() not in _BEFORE_NOUNS:
            yield found


def _check_middles(text: str, markers: Sequence[Label]) -> None:
    """Refuse a marker in the middle of a line, where it would end another speaker's turn."""
    used = {label.name.lower() for label in markers}
    spaced = all(label.has_gap for label in markers)
    ends = [label.start for label in markers[1:]] + [len(text)]
    for label, end in zip(markers, ends, strict=True):
        if end - label.content > 2 * _MOST_CHARACTERS and len(text[label.content : end].strip()) > _MOST_CHARACTERS:
            continue
        for found in inner_markers(text, label.content, end):
            name = found["name"]
            if ROLE_ALIASES[name.lower()] == ROLE_ALIASES[label.name.lower()]:
                continue
            before = text[max(label.content, found.start() - 3) : found.start()].rstrip()[-1:]
            is_parted = bool(found["break"]) or (bool(before) and before in _SEPARATORS)
            is_gapped = found["gap"] is not None or not spaced or found.group()[-1] == "\uff1a"
            if is_gapped and (is_parted or name.lower() in PEOPLE | used):
                raise _refusal(text, found.start(), f"has a marker in its middle: {shorten(name)}")
        for broken in _BROKEN.finditer(text, label.content, end):
            if could_be_speaker(broken["name"]):
                raise _refusal(
                    text, broken.start(), f"has a line break written as \\n ahead of {shorten(broken['name'])}"
                )


def _check_odd_heads(text: str, found: Sequence[Label], markers: Sequence[Label]) -> None:
    """Refuse lines that begin with a speaker in another way than the markers."""
    labelled = {label.start for label in found}
    blocks = iter(_code_blocks(text))
    block = next(blocks, None)
    for start, end in lines_of(text):
        while block is not None and block[1] <= start:
            block = next(blocks, None)
        if start in labelled or start == end or (block is not None and block[0] <= start):
            continue
        head = read_odd_head(text[start:end])
        is_speaker = head is not None and _is_odd_speaker(text, head, markers)
        if is_speaker or STAMPED_NAME.fullmatch(text, start, end):
            raise _stranger(text, start, text[start : start + 40].strip())


def _check_signs(text: str, found: Sequence[Label]) -> None:
    """Refuse roles and names between signs, and what chat templates leave behind, anywhere below the first marker."""
    sign = find_sign(text, found[0].content, {label.start for label in found})
    if sign is not None:
        raise _refusal(text, *sign)


def _is_odd_speaker(text: str, head: OddHead, markers: Sequence[Label]) -> bool:
    if head.sep == ">" and (f"</{head.name}" in text or head.name in _ELEMENTS):
        return False
    first = head.name[0]
    if head.is_role:
        alike = first.lower() == first.upper() or first.isupper() == bool(markers[0].is_capital)
        if head.sep == "":
            return alike and head.name.lower() in PEOPLE and head.is_alone
        if head.sep in ("|", ";", "=") or head.sep in "-–—":
            return alike and head.name.lower() in PEOPLE and "|" not in head.rest
        return True
    if head.sep == ">" and head.is_wrapped and head.rest[:1].isspace():
        return could_be_speaker(head.name)
    if head.sep != ":" or not (not head.rest or head.rest[0].isspace() or not markers[0].has_gap):
        return False
    if head.has_time or head.is_wrapped or not head.before.strip():
        return could_be_speaker(head.name) or head.before == "@"
    return names_role(head.name) and not head.before.strip().startswith(("-", "*", "•", "+", ">"))


def _stranger(text: str, position: int, name: str) -> ConversationError:
    return _refusal(text, position, f"looks like a marker of an unknown speaker: {shorten(name)}")


def _refusal(text: str, position: int, what: str) -> ConversationError:
    n = 1 + len(BREAK.findall(text, 0, position))
    return ConversationError(f"line {n} {what}", hint=TRANSCRIPT_HINT)
