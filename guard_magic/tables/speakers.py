"""Columns that say who said each row, known by name and values together.

A name says that its column tells the speaker (``role``, ``sender``, ``is_bot``), that it tells something else of a row
(``label``, ``source``, ``model``), or neither. A speaker's column is believed where one of its words is a role that is
not the user's, in whatever language; a column whose name says neither, where at least half of its words are roles; a
label is never taken for a speaker. What stays open, a speaker's column of few unknown words or a label that names both
sides, is said and blocks nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from guard_magic.characters import is_blank
from guard_magic.conversations.role_names import ROLE_ALIASES, Role
from guard_magic.errors import shorten
from guard_magic.tables.columns import name_words, sample_of

__all__ = ["Speakers", "as_roles", "fold", "role_of", "speaker_columns", "speaker_levels", "unknown_roles"]

_MOST_WORDS = 12
"""More different values than this are people, not roles."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MOST_LOOKED_AT = 5_000
"""Different values of a column that are looked at, the most common ones."""

_SPEAKER = _words(
    "role roles speaker speakers sender author from who participant party actor side direction talker persona rolle "
    "rol ruolo papel absender sprecher verfasser autor auteur autore remitente remetente mittente expediteur hablante "
    "locuteur emisor avsandare afzender роль автор отправитель 角色 役割 发送者 發送者 送信者 역할 발신자"
)
"""Words of names of columns that say who spoke."""
_NO_SPEAKER = _words("gender sex age id ids email mail url uri link time date at count n num score language lang")
_LABEL = _words(
    "label labels source sources origin model models split status state category class target generator dataset "
    "subset topic tag tags group domain task platform channel device engine outcome prediction predicted gold verdict "
    "decision annotator reviewer assignee owner queue team language lang priority "
    "job occupation profession"
)
"""Words of names of columns that say something else of a row."""
_AROUND = _words("is was are from by sent message msg written the a flag has been")
"""Words around a role in the name of a column of truth values: ``is_bot``, ``sent_by_user``."""

_WORDS: dict[Role, str] = {
    "user": "inbound incoming nutzer nutzerin benutzer benutzerin anwender kunde kundin mensch gebruiker klant "
    "utilisateur utilisatrice usager humain usuario usuaria humano cliente utente umano utilizador bruger anvandare "
    "bruker kayttaja asiakas uzytkownik klient uzivatel zakaznik felhasznalo ugyfel utilizator korisnik kullanici "
    "musteri χρηστης пользователь клиент користувач клієнт потребител משתמש مستخدم المستخدم کاربر 用户 用戶 使用者 "
    "客户 顾客 ユーザー ユーザ 利用者 お客様 사용자 고객 उपयोगकर्ता ผู้ใช้ pengguna pelanggan mtumiaji",
    "assistant": "outbound outgoing assistent assistentin assistenten asistente assistente asistent asystent avustaja "
    "asszisztens pomocnik yardimci asistan βοηθος ассистент помощник асистент помічник бот ki ia 助手 助理 机器人 "
    "アシスタント ボット 어시스턴트 봇 상담원 مساعد المساعد دستیار עוזר सहायक ผู้ช่วย asisten msaidizi "
    "berater kundendienst",
    "system": "sistema systeme система 系统 システム 시스템",
}
"""Names of roles in other languages, and of directions seen from the assistant's side."""
_SAID_BY: dict[str, Role] = {
    **dict.fromkeys(_words("question prompt input query request"), "user"),
    **dict.fromkeys(_words("answer response output reply completion"), "assistant"),
}
"""What is said by each side, as values name it (``prompt``, ``response``)."""
_MOST_PARTS = 3
_LOOSE: dict[Role, str] = {
    "user": "client visitor caller guest student patient person me player questioner asker consumer requester seeker "
    "buyer shopper enduser people",
    "assistant": "operator support representative rep advisor adviser llm copilot claude gemini staff employee helper "
    "therapist doctor tutor teacher seller answerer responder machine computer robot ivr csr employer service",
}
"""Words that name a role only where the column's name says that it tells the speaker."""
_SIDES = {"in": "user", "received": "user", "out": "assistant", "sent": "assistant"}
_MODEL = re.compile(r"(chat)?gpt\W.*|(claude|gemini|llama|qwen|mistral)\W.*|.+bot")
_TRUTHS = {"true": True, "yes": True, "1": True, "y": True, "t": True}
_TRUTHS |= {"false": False, "no": False, "0": False, "n": False, "f": False}


def fold(text: str) -> str:
    """Return a word without case, marks and what stands around it."""
    bare = unicodedata.normalize("NFKD", text.strip()[:60]).casefold().replace("ı", "i").replace("ł", "l")
    return "".join(c for c in bare if not unicodedata.combining(c))


_ROLES: dict[str, Role] = {fold(word): role for role, words in _WORDS.items() for word in words.split()}
_ROLES |= {fold(word): role for word, role in ROLE_ALIASES.items()}
_LOOSE_ROLES: dict[str, Role] = {fold(word): role for role, words in _LOOSE.items() for word in words.split()}


def role_of(word: str) -> Role | None:
    """Return the role that a word names in any column, in whatever language, or None."""
    return _ROLES.get(fold(word))


@dataclass(frozen=True, slots=True)
class Speakers:
    """What a column says of who said each row.

    Attributes
    ----------
    counts
        How often each value stands there.
    roles
        The role of each value that names one.
    is_certain
        Whether it says who spoke, and not the user only; else it may say so.
    """

    counts: Counter[object]
    roles: dict[object, Role]
    is_certain: bool

    @property
    def n_others(self) -> int:
        """Rows that are not the user's by this column."""
        return sum(n for value, n in self.counts.items() if self.roles.get(value) != "user")

    @property
    def are_names(self) -> bool:
        """Whether ``role=`` reads the column as it is."""
        return all(map(_is_role, self.counts))


def speaker_levels(index: pd.Index) -> dict[str, Speakers]:
    """Return the levels of an index that say for certain who said each row, by the names that they get as columns."""
    if isinstance(index, pd.RangeIndex):
        return {}
    names = [f"level_{i}" if name is None else name for i, name in enumerate(index.names)]
    levels = pd.DataFrame({i: pd.Series(index.get_level_values(i)) for i in range(index.nlevels)})
    levels.columns = pd.Index(names, dtype=object)
    return {name: found for name, found in speaker_columns(levels).items() if found.is_certain}


def speaker_columns(frame: pd.DataFrame) -> dict[str, Speakers]:
    """Return the columns that say or may say who said each row; what names the user only is left out."""
    found = {}
    for place, name in enumerate(frame.columns):
        if isinstance(name, str) and not name.endswith("assessed_role"):
            speakers = _speakers(name, frame.iloc[:, place])
            if speakers is not None:
                found[name] = speakers
    return found


def as_roles(name: object, values: Iterable[object], roles: dict[object, Role] | None = None) -> str:
    """Return the frame to write in which a column's values are roles, as Python; ``…`` where one's is not known."""
    known, listed = roles or {}, list(values)[:_MOST_WORDS]
    pairs = [(value, known.get(value) or (role_of(value) if isinstance(value, str) else None)) for value in listed]
    shown = ", ".join(f"{value!r}: {role or '…'!r}" for value, role in pairs)
    how = "replace" if all(isinstance(value, str) for value in listed) else "map"
    return f"df.assign(**{{{name!r}: df[{name!r}].{how}({{{shown}}})}})"


def unknown_roles(column: pd.Series) -> list[str]:
    """Return what is to be said once of a column that is read as roles, and of values in it that are none."""
    strange = Counter({value: n for value, n in _count(column).items() if not _is_role(value)})
    if not strange:
        return []
    name, values = column.name, [value for value, _ in strange.most_common(_MOST_WORDS)]
    shown = ", ".join(f"{shorten(value, 30)} ({strange[value]:,} ×)" for value in values[:4])
    return [
        f"column {name!r} holds {len(strange):,} words that are not roles ({shown}), and conversations with them are "
        f"not read: {as_roles(name, values)} makes roles of them"
    ]


def _is_role(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in ROLE_ALIASES


def _speakers(name: str, column: pd.Series) -> Speakers | None:
    words = set(name_words(name)) | {fold(name)}
    is_speaker = not words.isdisjoint(_SPEAKER) and words.isdisjoint(_NO_SPEAKER)
    is_label = not is_speaker and not words.isdisjoint(_LABEL)
    flag = None if is_label else _flag_of(name)
    sample = [value for value in map(_plain, sample_of(column)) if value is not None]
    may_tell = is_speaker or flag or _paired(sample) or _share(_known(sample, loosely=False), Counter(sample)) >= 0.5
    if not sample or not may_tell:
        return None
    values = _count(column)
    if flag is not None and len(values) <= 2 and all(_truth(value) is not None for value in values):
        roles = {value: _side(flag, bool(_truth(value))) for value in values}
        return Speakers(values, roles, True) if {*roles.values()} != {"user"} else None
    common = [value for value, _ in values.most_common(_MOST_LOOKED_AT)]  # names of roles are said again and again
    roles = _paired(values) | _known(common, loosely=is_speaker, sided="direction" in words)
    if is_label:
        return Speakers(values, roles, False) if {"user", "assistant"} <= {*roles.values()} else None
    others = any(role != "user" for role in roles.values())
    if others and (is_speaker or _share(roles, values) >= 0.5):
        return Speakers(values, roles, True)
    is_open = is_speaker and not words & {"direction", "side"} and len(roles) < len(values) <= _MOST_WORDS
    return Speakers(values, roles, False) if is_open else None


def _paired(values: Iterable[object]) -> dict[object, Role]:
    """Return the roles of words that are made with those of both sides (``HumanMessage``), or of question and answer.

    Empty unless every value is one of them and both sides are there: one alone may be anything.
    """
    found: dict[object, Role] = {}
    for value in values:
        words = name_words(value)
        roles = {role for word in words if (role := _ROLES.get(word) or _SAID_BY.get(word)) is not None}
        if not 1 <= len(words) <= _MOST_PARTS or len(roles) != 1:
            return {}
        found[value] = roles.pop()
    return found if {"user", "assistant"} <= {*found.values()} else {}


def _count(column: pd.Series) -> Counter[object]:
    """Count the values of a column as `_plain` gives them; by pandas where its type says that they are harmless."""
    if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype):
        return Counter(value for value in map(_plain, column.tolist()) if value is not None)
    counts: Counter[object] = Counter()
    for value, n in column.value_counts().items():
        plain = _plain(value.item() if isinstance(value, np.generic) else value)
        if plain is not None:
            counts[plain] += int(n)
    return counts


def _plain(value: object) -> object:
    """Return a value that can be counted, or None: only classes are looked at, for values may be hostile."""
    if issubclass(type(value), str):
        text = str.__str__(value)[:60]
        return None if is_blank(text) else text
    is_small = type(value) in (int, float, bool) and abs(value) < 1e9  # type: ignore[arg-type]
    return value if is_small else None


def _flag_of(name: str) -> Role | None:
    """Return the role that a column of truth values is about by its name: ``is_bot`` about the assistant."""
    said = name_words(name)
    if len(said) == 2 and said[0] == "is" and said[1] in _SAID_BY:
        return _SAID_BY[said[1]]
    core = [word for word in name_words(name) if word not in _AROUND]
    roles = {_ROLES.get(word) or _LOOSE_ROLES.get(word) for word in core}
    return roles.pop() if roles in ({"user"}, {"assistant"}) else None


def _side(role: Role, holds: bool) -> Role:
    return role if holds else "user" if role != "user" else "assistant"


def _truth(value: object) -> bool | None:
    return _TRUTHS.get(fold(str(int(value) if isinstance(value, float) and value in (0, 1) else value)))


def _share(roles: dict[object, Role], counts: Counter[object]) -> float:
    return sum(counts[value] for value in roles) / max(1, counts.total())


def _known(values: Iterable[object], *, loosely: bool, sided: bool = False) -> dict[object, Role]:
    """Return the roles of the values that name one."""
    found: dict[object, Role] = {}
    for value in set(values):
        word = fold(value) if isinstance(value, str) else ""
        role = _ROLES.get(word) or (_loose_role(word, sided) if loosely and word else None)
        if role is not None:
            found[value] = role
    return found


def _loose_role(word: str, sided: bool) -> Role | None:
    if sided and word in _SIDES:
        return "user" if _SIDES[word] == "user" else "assistant"
    if word in _LOOSE_ROLES or _MODEL.fullmatch(word):
        return _LOOSE_ROLES.get(word, "assistant")
    parts = re.findall(r"\w+", word)
    named = [role for part in parts if (role := _ROLES.get(part) or _LOOSE_ROLES.get(part)) is not None]
    return named[-1] if 1 < len(parts) <= 3 and named else None
