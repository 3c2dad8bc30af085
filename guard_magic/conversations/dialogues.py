"""Texts that look like a conversation of several people and are not read as one: found by how their lines begin.

A text is looked at where its first line carries no marker (what has one is read, or refused). Some signs are certain:
times ahead of names, both roles at line starts. Others also occur in prose: there only a warning is due.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from guard_magic.characters import is_blank
from guard_magic.conversations.line_heads import STAMPED_NAME, OddHead, fold_colons, lines_of, read_odd_head
from guard_magic.conversations.role_names import PEOPLE, ROLE_ALIASES
from guard_magic.conversations.speakers import could_be_speaker, is_datum, names_role, split, words_of
from guard_magic.conversations.transcripts import inner_markers

__all__ = ["Dialogue", "find_dialogue"]

_MOST_CHARACTERS = 20_000
"""How much of a text is looked at: a conversation shows within its first turns."""
_LABELS = re.compile(r"(?m)^[^\w\n]{0,10}([^\W\d][^\n:>\uff1a]{0,40})[:>\uff1a]")
_NEAR_ROLE = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(sorted(ROLE_ALIASES, key=len, reverse=True))})[^\w\n]{{0,12}}"
    r"(?:[(\[][^)\]\n]{0,40}[)\]])?[^\w\n]{0,6}(?:[-:>\uff1a\n|;=\t\u2013\u2014]|\Z)",
    re.I,
)
_BOTH = "user|human|customer|prompter|assistant|chatbot|bot|agent|ai|gpt|chatgpt"
_SIGNED = re.compile(rf"(?im)(?:^[ \t]*|[<\[\"'(=])({_BOTH})[\"'>\])]{{0,2}}[ \t]?(?:[=,:>|\])]|(?<=[>\])])[ \t])")
_SHOUTED = re.compile(rf"(?m)^({_BOTH.upper()})\b")
_EXAMPLES = split(
    "text label sentiment review tweet headline premise hypothesis sentence paraphrase word phrase passage english "
    "french german spanish italian portuguese dutch russian chinese japanese korean arabic hindi latin greek turkish "
    "polish englisch deutsch französisch spanisch anglais français allemand espagnol inglés español francés alemán "
)
"""Words ahead of the lines of examples; what may be the answer of a model (output, answer) is not among them."""
_UNLISTED = re.compile(r"[\s@<\[(]*\Z")
_CLOCK = re.compile(r"\d:\d\d")
_CANDIDATE = re.compile(r"[^\n]{0,80}?(?:[:>\t\uff1a]|\s[-–—|]\s|[|;=]\s)|[^\n]{0,30}\Z")
"""A line in whose beginning a speaker could end, or which is short enough to be one."""
_SIGN = re.compile(r"[:>\uff1a\t]|\s[-–—|]\s|\\n|\n[ \t#*_]{0,8}(?:user|assistant|human|bot)\b", re.I)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a text looks like.

    Attributes
    ----------
    what
        In words, for an error: ``"a chat with times ahead of the names"``.
    is_certain
        False where it may well be one person's prose.
    """

    what: str
    is_certain: bool


def find_dialogue(text: str) -> Dialogue | None:
    """Return what kind of conversation a text without markers looks like, or None."""
    text = fold_colons(text[:_MOST_CHARACTERS])
    if not _may_be_dialogue(text):
        return None
    if _CLOCK.search(text) and len(STAMPED_NAME.findall(text)) > 1:
        return Dialogue("a chat with the names and times on lines of their own (Telegram, Discord, Slack)", True)
    heads = _heads(text)
    n_lines = sum(not is_blank(text[start:end]) for start, end in lines_of(text))
    found = _by_times(heads) or _by_roles(heads) or _by_names(heads, n_lines)
    if found is None and "\\n" in text:
        unescaped = re.sub(r"\\[nr]", "\n", text)
        if (inner := _by_roles(_heads(unescaped))) is not None:
            return Dialogue(f"a transcript whose line breaks are written as \\n ({inner.what})", inner.is_certain)
    return found or _by_inner_markers(text) or _by_signs(text)


def _may_be_dialogue(text: str) -> bool:
    """Say at little cost whether a closer look is due: a role next to a sign, a time, or a label that comes again."""
    if _SIGNED.search(text) or _SHOUTED.search(text):
        return True
    if _SIGN.search(text) is None:
        return False
    labels = [label.strip().lower() for label in _LABELS.findall(text)]
    if len({*labels}) < len(labels) or not {"q", "question"}.isdisjoint(labels):
        return True
    if 1 < len(labels) >= text.count("\n") // 2 + 1:
        return True
    if _CLOCK.search(text) or _NEAR_ROLE.search(text):
        return True
    return any(not PEOPLE.isdisjoint(words_of(label)) for label in labels)


def _heads(text: str) -> list[OddHead]:
    """Return how the lines begin that may have a speaker."""
    lines = (text[start:end] for start, end in lines_of(text))
    heads = (read_odd_head(line) for line in lines if _CANDIDATE.match(line))
    return [head for head in heads if head is not None and (head.sep or (head.is_role and head.is_alone))]


def _by_times(heads: list[OddHead]) -> Dialogue | None:
    timed = [head for head in heads if head.has_time and head.sep in (":", ">") and could_be_speaker(head.name)]
    if len(timed) > 1 or any(head.is_role for head in timed):
        return Dialogue("a chat with times ahead of the names (WhatsApp, a log)", True)
    return Dialogue("a message with time and name", False) if timed else None


def _by_roles(heads: list[OddHead]) -> Dialogue | None:
    roles = {ROLE_ALIASES[head.name.lower()] for head in heads if head.is_role and head.sep in _SURE}
    if {"user", "assistant"} <= roles:
        return Dialogue("a transcript whose first words are no marker, or whose markers are written otherwise", True)
    named = [head for head in heads if _names_role(head)]
    others = {head.name.lower() for head in heads if head.sep == ":" and could_be_speaker(head.name)}
    sides = {head.name.lower() for head in named}
    if named and len(others | sides) > 1 and not (len(sides) == 1 and _are_settings(heads)):
        return Dialogue("a transcript with speakers of other names", False)
    first = heads[0] if heads else None
    if first is None or first not in named:
        return None
    if not first.is_role:
        return Dialogue(f"a turn of {first.name}", False)
    is_assistants = ROLE_ALIASES[first.name.lower()] != "user" and first.sep in (":", ">")
    return Dialogue(f"a turn of {first.name}, written as no marker is", True) if is_assistants else None


def _are_settings(heads: list[OddHead]) -> bool:
    """Say whether these are keys with values, as in YAML: written small, and behind each at most one word."""
    labels = [head for head in heads if head.sep == ":"]
    return len(labels) > 2 and all(head.name.islower() and len(head.rest.split()) < 2 for head in labels)


_SURE = (":", ">", ">>", ">>>", "\t", "->", "=>", "")


def _names_role(head: OddHead) -> bool:
    is_listed = head.before.strip().startswith(("-", "*", "•", "+")) and not head.before.strip().startswith("**")
    return (head.is_role and not is_listed) or (head.sep == ":" and not is_listed and names_role(head.name))


def _by_names(heads: list[OddHead], n_lines: int) -> Dialogue | None:
    """Look for two names, of which one comes again or which begin all lines; or a question with its answer."""
    signs = [head for head in heads if head.sep == ":" or (head.sep == ">" and head.is_wrapped)]
    names = {head.name.lower() for head in signs}
    if {"q", "a"} <= names or {"question", "answer"} <= names:
        return Dialogue("a question with its answer", False)
    spoken = [head for head in signs if could_be_speaker(head.name) and not is_blank(head.rest)]
    spoken = [head for head in spoken if head.name.lower() not in _EXAMPLES]
    if _are_options([head.name.lower() for head in spoken]):
        return None
    times = Counter(head.name for head in spoken if not is_datum(head.rest))
    n_listed = sum(not _UNLISTED.match(head.before) for head in spoken)
    if len(times) > 1 and (max(times.values()) > 1 or (times.total() == n_lines and not n_listed)):
        return Dialogue("a conversation of several people", False)
    return None


def _are_options(names: list[str]) -> bool:
    """Say whether labels are the letters of a multiple choice: a, b, c, each once."""
    return len(names) > 1 and names == list("abcdefghij"[: len(names)])


def _by_inner_markers(text: str) -> Dialogue | None:
    names = [found["name"].lower() for found in inner_markers(text, 0, len(text)) if found["gap"] is not None]
    if {"user", "assistant"} <= {ROLE_ALIASES[name] for name in names}:
        return Dialogue("several speakers on a line", False)
    return None


def _by_signs(text: str) -> Dialogue | None:
    """Look for both roles between signs (``<user>``, ``"user":``, ``user,``) or in capitals, at line starts or not."""
    for form in (_SIGNED, _SHOUTED):
        if {"user", "assistant"} <= {ROLE_ALIASES[name.lower()] for name in form.findall(text)}:
            return Dialogue("a conversation with its roles between signs", False)
    return None
