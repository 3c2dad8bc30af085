"""Transcripts: text in which role names at line starts say who speaks.

A marker is a role name and a colon at the start of a line (`user:`, `**User:**`, `### Human:`, `Assistant (gpt-4):`).
The first line with words in it has the first marker and with it settles how all others are written: as deep, with the
same heading and bold marks, in capitals or not. What looks like a marker and is not one of these is an error, for the
words of one speaker would be read as another's:

- a role name in a marker written otherwise, or inside a code block, or in the middle of a line of somebody else's turn;
- a label that is not a role name (one word, perhaps with something in brackets) where all else is like a marker.

What heads a remark ("Note:", "Step:"), keys and values on lines side by side, the opening of an indented block, labels
in code blocks, labels without the blank that all markers have behind them (`http://`, `12:30`), and labels without the
blank line that all markers have ahead of them are no markers. Nor are labels in transcripts of Human and Assistant in
turn, each behind a blank line: data sets of that form know no third speaker.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guard_magic.characters import is_blank, without_ignorable
from guard_magic.conversations.role_names import ROLE_ALIASES, ROLE_HINT
from guard_magic.errors import ConversationError, shorten

__all__ = ["Turn", "count_turns", "read_turns"]

Turn = tuple[str, str]
"""Who spoke, by the name in the marker, and what was said, stripped."""

_HINT = (
    "A JSON list of messages says exactly who said what; --text in a cell takes all of it as one user message. "
    f"{ROLE_HINT}"
)
_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_COLON = re.compile(r"[:\uff1a\ufe13\ufe55]")
_CLOSING_BOLD = re.compile(r"[^\S\n]?(?:\*\*|__)")
_WORD = r"(?!\d)[^\W_](?:[^\W_]|[_.'’-](?=[^\W_]))*"
_LABEL = re.compile(
    rf"""(?P<indent>[^\S\n]*)(?P<heading>\#{{1,6}})?[^\S\n]*(?P<bold>\*\*|__)?[^\S\n]*
    (?P<name>{_WORD}(?:[^\S\n]+[^\W_](?:[^\W_]|[_.'’-](?=[^\W_]))*){{0,2}})
    [^\S\n]*(?P<aside>\([^():]*\))?[^\S\n]*(?P<early>\*\*|__)?[^\S\n]*:[^\S\n]?(?P<late>\*\*|__)?(?P<rest>[^\n]*)""",
    re.X,
)
_INSIDE = re.compile(
    rf"(?<=[\s>\[(*|<])({'|'.join(sorted(ROLE_ALIASES, key=len, reverse=True))})[\])*>]{{0,3}}[^\S\n]?:(?=\s|\Z)", re.I
)
_FENCE = re.compile(r"[^\S\n]*(?:```|~~~)")
_HEAD = 120
"""Characters at a line's start in which a marker must be whole."""
_SPEAKERS = frozenset({"user", "human", "assistant", "ai", "bot"})
"""Names looked for in the middle of a line whether or not the transcript uses them."""
_BEFORE_NOUNS = frozenset(
    re.findall(
        r"\w+",
        "a an the this that my your our their his her its each every any some no one new current another as for "
        "to of by from with and or ",
    )
)
"""Words behind which `user:` is prose and not a marker."""
_REMARKS = frozenset(
    re.findall(
        r"\w+",
        "note notes nb ps warning caution important attention tip tips hint hints example examples eg ie subject "
        "re date time from to cc title name names summary source sources reference references result results "
        "total step steps task ingredients directions instructions method description location address phone "
        "email website url link edit update tldr todo fixme error exception traceback conclusion introduction "
        "overview background pros cons also remember disclaimer translation definition meaning author chapter "
        "scene option options code usage however finally first second third next then http https ftp mailto file ",
    )
)
"""Words that head a remark within what somebody says."""


@dataclass(frozen=True, slots=True)
class _Label:
    """The beginning of a line that could be a marker; offsets are those of the text."""

    start: int
    end: int
    content: int
    indent: str
    marks: str
    name: str
    has_gap: bool
    is_open: bool
    after_blank: bool
    in_code: bool

    @property
    def is_role(self) -> bool:
        return self.name.lower() in ROLE_ALIASES

    @property
    def is_capital(self) -> bool | None:
        """Whether the first letter is a capital; None where its script has none."""
        first = self.name[0]
        return None if first.lower() == first.upper() else first.isupper()

    def is_like(self, other: _Label) -> bool:
        """Say whether two labels are written alike."""
        cases = {self.is_capital, other.is_capital} - {None}
        return (self.indent, self.marks) == (other.indent, other.marks) and len(cases) < 2


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
    labels = _labels(text)
    first = next(labels, None)
    if first is None:
        return None
    found = [first, *labels]
    markers = [label for label in found if label.is_role and not label.in_code and label.is_like(first)]
    _check_roles(text, found, markers)
    _check_strangers(text, found, markers)
    _check_middles(text, markers)
    ends = [label.start for label in markers[1:]] + [len(text)]
    return [(label.name, text[label.content : end].strip()) for label, end in zip(markers, ends, strict=True)]


def count_turns(text: str, most: int = 2) -> int:
    """Return how many lines of a transcript have a marker, at most `most`; 0 where the text is none."""
    n = 0
    for label in _labels(text):
        n += label.is_role
        if n == most:
            break
    return n


def _labels(text: str) -> Iterator[_Label]:
    """Yield the beginnings of lines that look like labels; none where the first words are no marker."""
    is_first, after_blank = True, True
    code = iter(_code_blocks(text) if "```" in text or "~~~" in text else [])
    block = next(code, None)
    for start, end in _lines(text):
        if is_blank(text[start:end]):
            after_blank = True
            continue
        while block is not None and block[1] <= start:
            block = next(code, None)
        label = _read_label(text, start, end, after_blank, block is not None and block[0] <= start)
        if is_first and (label is None or not label.is_role or label.is_open):
            return
        is_first, after_blank = False, False
        if label is not None:
            yield label


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for found in _BREAK.finditer(text):
        yield start, found.start()
        start = found.end()
    yield start, len(text)


def _code_blocks(text: str) -> list[tuple[int, int]]:
    """Return where code blocks begin and end; one that is never closed is none."""
    fences = [start for start, end in _lines(text) if _FENCE.match(text, start, end)]
    return list(zip(fences[::2], fences[1::2], strict=False))


def _read_label(text: str, start: int, end: int, after_blank: bool, in_code: bool) -> _Label | None:
    head = text[start : min(end, start + _HEAD)]
    colon = _COLON.search(head)
    if colon is None:
        return None
    if not head.isascii():
        head = unicodedata.normalize("NFKC", without_ignorable(head))
    found = _LABEL.match(head)
    if found is None:
        return None
    content = start + colon.end()
    bold = found["bold"] or ""
    closing = _CLOSING_BOLD.match(text, content, end) if found["late"] and not found["early"] and bold else None
    rest = found["rest"]
    return _Label(
        start=start,
        end=end,
        content=closing.end() if closing else content,
        indent=found["indent"].expandtabs(),
        marks=(found["heading"] or "") + bold,
        name=" ".join(found["name"].split()),
        has_gap=colon.group() != ":" or not rest or head[found.start("rest") - 1].isspace() or rest[0].isspace(),
        is_open=bool(bold) and bold not in (found["early"], found["late"]),
        after_blank=after_blank,
        in_code=in_code,
    )


def _check_roles(text: str, found: Sequence[_Label], markers: Sequence[_Label]) -> None:
    """Refuse role names that are written as no other marker is."""
    read = {label.start for label in markers}
    for label in found:
        if label.start in read or not (label.is_role or _ends_in_role(label.name)):
            continue
        if label.is_role and (label.in_code or not label.is_like(markers[0])):
            where = "stands in a code block" if label.in_code else "is not written as the first marker is"
            raise _refusal(text, label.start, f"{where}: {shorten(text[label.start : label.content].strip())}")
        if not label.in_code and label.is_like(markers[0]):
            raise _refusal(text, label.start, f"looks like a marker of an unknown speaker: {shorten(label.name)}")


def _ends_in_role(name: str) -> bool:
    """Say whether several words name a speaker: ``AI assistant``, ``User 2``."""
    words = name.lower().split()
    numbered = len(words) == 2 and words[0] in _SPEAKERS and (words[1].isdigit() or len(words[1]) == 1)
    return len(words) > 1 and not {*words[:-1]} & _BEFORE_NOUNS and (words[-1] in _SPEAKERS or numbered)


def _check_strangers(text: str, found: Sequence[_Label], markers: Sequence[_Label]) -> None:
    """Refuse labels that only differ from markers in that nobody knows their name."""
    if _is_closed_form(markers):
        return
    spaced = all(label.has_gap for label in markers)
    parted = len(markers) > 1 and all(label.after_blank for label in markers[1:])
    keys = _keys(text, found)
    for label in found:
        if label.is_role or label.start in keys or label.in_code or " " in label.name or not label.is_like(markers[0]):
            continue
        if (spaced and not label.has_gap) or (parted and not label.after_blank):
            continue
        after = text[label.content : label.end].lstrip()
        if after.startswith("//") or label.name.lower() in _REMARKS or _opens_block(text, label):
            continue
        raise _refusal(text, label.start, f"looks like a marker of an unknown speaker: {shorten(label.name)}")


def _is_closed_form(markers: Sequence[_Label]) -> bool:
    names = [label.name for label in markers]
    in_turn = all(name == ("Human", "Assistant")[i % 2] for i, name in enumerate(names))
    return in_turn and len(names) > 1 and all(label.after_blank for label in markers)


def _opens_block(text: str, label: _Label) -> bool:
    """Say whether nothing but a more deeply indented line follows a label, as in YAML and Python."""
    if not is_blank(text[label.content : label.end]):
        return False
    following = text[label.end : label.end + 200].lstrip("\r\n")
    return len(following) - len(following.lstrip(" \t")) > len(label.indent)


def _keys(text: str, found: Sequence[_Label]) -> set[int]:
    """Return where labels of lines side by side begin, where no two of these are the same: keys with their values."""
    keys: set[int] = set()
    run: list[_Label] = []
    for label in [*found, None]:
        if label is not None and not label.is_role and (not run or _is_next(text, run[-1], label)):
            run.append(label)
            continue
        if len(run) > 1 and len({one.name for one in run}) == len(run):
            keys.update(one.start for one in run)
        run = [label] if label is not None and not label.is_role else []
    return keys


def _is_next(text: str, one: _Label, other: _Label) -> bool:
    beside = not other.after_blank and one.indent == other.indent
    return beside and len(_BREAK.findall(text, one.end, other.start)) == 1


def _check_middles(text: str, markers: Sequence[_Label]) -> None:
    """Refuse a marker in the middle of a line, where it would end another speaker's turn."""
    used = _SPEAKERS | {label.name.lower() for label in markers}
    ends = [label.start for label in markers[1:]] + [len(text)]
    for label, end in zip(markers, ends, strict=True):
        for found in _INSIDE.finditer(text, label.content, end):
            name = found.group(1)
            same = ROLE_ALIASES[name.lower()] == ROLE_ALIASES[label.name.lower()]
            if same or name.lower() not in used or name[0].isupper() != bool(label.is_capital):
                continue
            before = text[max(label.content, found.start() - 30) : found.start()].split()
            if not before or before[-1].lower() not in _BEFORE_NOUNS:
                raise _refusal(text, found.start(), f"has a marker in its middle: {shorten(name)}")


def _refusal(text: str, position: int, what: str) -> ConversationError:
    n = 1 + len(_BREAK.findall(text, 0, position))
    return ConversationError(f"line {n} {what}", hint=_HINT)
