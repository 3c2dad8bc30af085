"""How a line begins: with a label (`name:`, as markers of transcripts are written), or with something like one.

A label is a name of up to six words and a colon, perhaps indented, behind heading or bold marks, or with something in
round brackets. *Odd heads* are every other way in which chats say who speaks: a time ahead, a picture ahead, brackets
around the name, `>`, a dash or a tab behind it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import regex

from guard_magic.characters import without_ignorable
from guard_magic.conversations.role_names import ROLE_ALIASES

__all__ = ["BREAK", "STAMPED_NAME", "Label", "OddHead", "fold_colons", "lines_of", "read_label", "read_odd_head"]

BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_COLON = re.compile(r"[:\uff1a\ufe13\ufe55]")
_LIKE_COLON = regex.compile(
    "[\u02f8\u0589\u05c3\u0703\u0704\u1361\u1365\u16ec\u1803\u1809\u17d6\u205a"
    "\u2236\u2982\ua6f4\ua789\ufe30\ufe13\ufe55]"
    "|[\u02d0\ua4fd](?!\\w)"
)
"""What a reader takes for a colon; two of them are letters, and colons where no letter follows."""
_CLOSING_BOLD = re.compile(r"[^\S\n]?(?:\*\*|__)")
# of `regex`, whose \w has the marks that letters of many scripts carry
_WORD = r"(?!\d)[^\W_](?:[^\W_]|[_.'’-](?=[^\W_]))*"
_LABEL = regex.compile(
    rf"""(?P<indent>[^\S\n]*)(?P<heading>\#{{1,6}})?[^\S\n]*(?P<bold>\*\*|__)?[^\S\n]*
    (?P<name>{_WORD}(?:\.?[^\S\n]+[^\W_](?:[^\W_]|[_.'’-](?=[^\W_]))*){{0,5}})
    [^\S\n]*(?P<aside>\([^():]*\))?[^\S\n]*(?P<early>\*\*|__)?[^\S\n]*:[^\S\n]?(?P<late>\*\*|__)?(?P<rest>[^\n]*)""",
    regex.X,
)
_HEAD = 120
"""Characters at a line's start in which a label must be whole."""
_DATE = r"\d{1,4}[./-]\d{1,2}(?:[./-]\d{1,4})?"
_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AaPp]\.?\s?[Mm]\.?)?"
_STAMP = rf"(?:{_DATE}(?:,?\s{{0,2}}|T)?)?{_TIME}(?:Z|\s?[+-]\d\d:?\d\d|\s?UTC)?"
_NAME = r"[^\W\d_](?:[^\W]|[_.'’\-#&/](?=\w))*(?:\.?[^\S\n\t]+(?:\#?[\w&](?:\w|[_.'’-](?=\w))*)){0,3}"
_ODD = regex.compile(
    rf"""[^\S\n]*(?P<stamp>[\[(<]?{_STAMP}[\])>]?\s{{0,2}}(?:[-–—|]\s)?\s*)?
    (?P<before>(?:[^\w\s:]|\d(?=\ufe0f?\u20e3)){{0,10}}[^\S\n]{{0,3}})
    (?P<name>{_NAME})
    (?P<after>[^\w\s:>|=-]{{0,6}}[^\S\n\t]?(?:\([^()\n]*\)|\[[^\[\]\n]*\])?[^\w\s:>|=-]{{0,6}}[^\S\n\t]?)
    (?P<sep>:|>{{1,3}}|[-=]>|[|=;](?=\s)|(?<=\s)[-–—](?=\s)|\t|\Z)(?P<rest>[^\n]*)""",
    regex.X,
)
STAMPED_NAME = re.compile(
    r"(?m)^\s*(?P<name>[^\W\d][^\n,:]{0,40}?)\s*(?:,\s*\[|[—–]\s*(?:Today at\s|Yesterday at\s)?|\s{2,}|\s\[?)"
    r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?\s+)?\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AaPp][Mm])?\]?\s*$"
)
"""Telegram, Discord and Slack, copied: the name and the time on one line, the words below."""
_TIMED = re.compile(_TIME)
_PICTURE = regex.compile(r"\s*(?=[^\w\s:]*[\p{So}\p{Extended_Pictographic}])[^\w\s:]{1,8}\s?:(?=\s|\Z)")
_MARKS = frozenset("#*_[]()<> \t=-")


@dataclass(frozen=True, slots=True)
class Label:
    """The beginning of a line that could be a marker; offsets are those of the text."""

    start: int
    end: int
    content: int
    indent: str
    marks: str
    name: str
    has_gap: bool
    has_text: bool
    is_open: bool
    after_blank: bool
    in_code: bool

    @property
    def is_role(self) -> bool:
        """Whether messages may carry this name as their role."""
        return self.name.lower() in ROLE_ALIASES

    @property
    def is_capital(self) -> bool | None:
        """Whether the first letter is a capital; None where its script has none."""
        first = self.name[0]
        return None if first.lower() == first.upper() else first.isupper()

    def is_like(self, other: Label) -> bool:
        """Say whether two labels are written alike."""
        cases = {self.is_capital, other.is_capital} - {None}
        return (self.indent, self.marks) == (other.indent, other.marks) and len(cases) < 2


@dataclass(frozen=True, slots=True)
class OddHead:
    """A line that may begin with a speaker, in whatever way.

    Attributes
    ----------
    stamp
        The time ahead of it, or ``""``.
    before
        Signs ahead of the name: a picture, brackets, a bullet.
    name
        The name as it stands, or a part of it.
    after
        Signs behind the name, ahead of what ends it; also a remark in brackets.
    sep
        What ends it: a colon, ``>``, a dash between blanks, a tab …, or ``""`` where the line ends.
    rest
        What stands behind.
    """

    stamp: str
    before: str
    name: str
    after: str
    sep: str
    rest: str

    @property
    def is_role(self) -> bool:
        """Whether messages may carry this name as their role."""
        return self.name.lower() in ROLE_ALIASES

    @property
    def has_time(self) -> bool:
        """Whether a time stands ahead of the name or behind it."""
        return bool(self.stamp or _TIMED.search(self.after))

    @property
    def is_alone(self) -> bool:
        """Whether the name is all of the line, but for marks of headings and bold."""
        return not self.sep and _MARKS.issuperset(self.before + self.after) and not self.stamp

    @property
    def is_wrapped(self) -> bool:
        """Whether brackets or an at-sign show that the name is one."""
        pairs = (self.before.strip()[-1:], self.after.strip()[:1])
        return pairs in (("[", "]"), ("(", ")")) or (pairs[0], self.sep[:1]) == ("<", ">") or pairs[0] in ("@", "~")


def fold_colons(text: str) -> str:
    """Return `text`, as long as it is, with full-width colons where characters look like colons."""
    return text if text.isascii() else str(_LIKE_COLON.sub("\uff1a", text))


def lines_of(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each line begins and ends."""
    start = 0
    for found in BREAK.finditer(text):
        yield start, found.start()
        start = found.end()
    yield start, len(text)


def read_label(text: str, start: int, end: int, after_blank: bool, in_code: bool) -> Label | None:
    """Return the label at the beginning of a line, or None."""
    head = text[start : min(end, start + _HEAD)]
    colon = _COLON.search(head)
    if colon is None:
        return None
    found = _LABEL.match(_plain(head))
    if found is None:
        return None
    content = start + colon.end()
    bold = found["bold"] or ""
    closing = _CLOSING_BOLD.match(text, content, end) if found["late"] and not found["early"] and bold else None
    content, rest = closing.end() if closing else content, found["rest"]
    before_rest = _plain(head)[found.start("rest") - 1]
    return Label(
        start=start,
        end=end,
        content=content,
        indent=found["indent"].expandtabs(),
        marks=(found["heading"] or "") + bold,
        name=" ".join(found["name"].split()),
        has_gap=colon.group() != ":" or not rest or before_rest.isspace() or rest[0].isspace(),
        has_text=not text[content:end].isspace() and content < end,
        is_open=bool(bold) and bold not in (found["early"], found["late"]),
        after_blank=after_blank,
        in_code=in_code,
    )


def read_odd_head(line: str) -> OddHead | None:
    """Return how a line begins that has no label, where that could say who speaks."""
    head = _plain(line[:_HEAD])
    found = _ODD.match(head)
    if found is None:
        picture = _PICTURE.match(head)
        return picture and OddHead("", "@", picture.group().strip(": \t"), "", ":", head[picture.end() :])
    stamp, before, name, after, sep, rest = (found[key] or "" for key in _ODD_KEYS)
    if len(line) > _HEAD:
        rest += line[_HEAD:]
    return OddHead(stamp.strip(), before, " ".join(name.split()), after, sep, rest)


_ODD_KEYS = ("stamp", "before", "name", "after", "sep", "rest")


def _plain(head: str) -> str:
    return head if head.isascii() else unicodedata.normalize("NFKC", without_ignorable(head))
