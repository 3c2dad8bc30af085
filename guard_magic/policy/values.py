"""Categories and policies: frozen values, edited by making new ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd

from guard_magic.errors import PolicyError, shorten

__all__ = ["MAX_DESCRIPTION", "MAX_HAZARDS", "MAX_NAME", "Category", "Policy", "listed_codes"]

MAX_HAZARDS = 100
"""Hazards in one policy: some families are asked once for each."""

MAX_NAME = 200
"""Characters in the name of a hazard or policy."""

MAX_DESCRIPTION = 4_000
"""Characters in the description of a hazard."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_VERDICTS = ("safe", "unsafe")
_FORGING = frozenset("<>|")
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
_SHOWN_CODES = 4


@dataclass(frozen=True, slots=True)
class Category:
    r"""One hazard.

    Parameters
    ----------
    code
        An identifier of at most 40 ASCII letters, digits and underscores (``"S1"``, ``"social_bias"``), unique
        in its policy. ``safe`` and ``unsafe`` are verdicts and no codes.
    name
        What it is called, in one line (``"Violent Crimes"``).
    description
        What the guard is told about it, if anything; it may have several lines. Families that are asked hazard
        by hazard (ShieldGemma, Granite Guardian) are asked with this text: it is the definition.
    distressing
        Whether texts of this hazard are hard on whoever reads them (sexual violence, child abuse, self-harm, explicit
        content, or a hazard that includes these): a review hides them until asked for. The guard is not told, so two
        hazards that differ in nothing else are equal.

    Space around name and description is dropped and ``\r\n`` becomes ``\n``.

    Raises
    ------
    PolicyError
        For a code that is no identifier, or a name or description that is not text, is empty (the name), too
        long, or holds ``<``, ``>``, ``|`` or control characters: they could forge parts of the prompt; and for a
        `distressing` that is neither True nor False.
    """

    code: str
    name: str
    description: str = ""
    distressing: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.code, str) or not _CODE.fullmatch(self.code):
            raise PolicyError(
                f"{shorten(self.code)} is not a hazard code",
                hint="A code is a letter and up to 39 letters, digits or underscores, such as S15 or social_bias.",
            )
        if self.code.lower() in _VERDICTS:
            raise PolicyError(
                f"{self.code!r} is not a hazard code: it is a verdict", hint="Give the hazard another code."
            )
        whose = f"hazard {self.code}"
        object.__setattr__(self, "name", _checked_name(self.name, whose))
        object.__setattr__(self, "description", _checked_description(self.description, whose))
        if not isinstance(self.distressing, bool):
            raise PolicyError(
                f"distressing of {whose} is {shorten(self.distressing)}, neither true nor false",
                hint="It says whether a review hides such texts until asked for.",
            )

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


@dataclass(frozen=True, slots=True, repr=False)
class Policy:
    """An ordered set of hazards. The order is the prompt's order and the order of ``category_scores``.

    Zero-shot hazards (ones that a guard was not trained on, or that are renamed or described anew) work less
    well than those it was trained on: Meta says so of Llama Guard. Measure them on labels of your own before
    you rely on them.

    Parameters
    ----------
    name
        What it is called, in one line; edits make one that says what was edited.
    categories
        The hazards, at least one and at most 100, each code once.

    Raises
    ------
    PolicyError
        For no hazards or too many, a code that stands twice, or an unusable name.
    """

    name: str
    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _checked_name(self.name, "the policy"))
        object.__setattr__(self, "categories", tuple(self.categories))
        if not self.categories:
            raise PolicyError(f"policy {self.name!r} has no hazards left", hint="Keep at least one.")
        if len(self.categories) > MAX_HAZARDS:
            raise PolicyError(
                f"policy {self.name!r} has {len(self.categories):,} hazards",
                hint=f"At most {MAX_HAZARDS} can be asked.",
            )
        seen: set[str] = set()
        for category in self.categories:
            if not isinstance(category, Category):
                raise PolicyError(
                    f"policy {self.name!r} has {shorten(category)}, which is not a Category",
                    hint='Category("S1", "Violent Crimes") makes one.',
                )
            if category.code in seen:
                raise PolicyError(f"policy {self.name!r} has {category.code} twice", hint="Codes must be unique.")
            seen.add(category.code)

    def __iter__(self) -> Iterator[Category]:
        return iter(self.categories)

    def __len__(self) -> int:
        return len(self.categories)

    def __contains__(self, code: object) -> bool:
        return any(category.code == code for category in self.categories)

    def __repr__(self) -> str:
        return f"<Policy {self.name!r}: {_counted(len(self))}, {_listed(self.codes)}>"

    def __str__(self) -> str:
        return "\n".join([f"{self.name} ({_counted(len(self))})", *(f"  {category}" for category in self.categories)])

    @property
    def distressing(self) -> tuple[str, ...]:
        """The codes of the hazards whose texts are hard to read, in the policy's order."""
        return tuple(category.code for category in self.categories if category.distressing)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes, in the policy's order."""
        return tuple(category.code for category in self.categories)

    def category(self, code: str) -> Category:
        """Return the hazard of that code; an unknown code is a `PolicyError`."""
        for category in self.categories:
            if category.code == code:
                return category
        raise self._unknown([code])

    def add(self, code: str, name: str, description: str = "", *, distressing: bool = False) -> Policy:
        """Return the policy with one more hazard, at the end.

        Zero-shot hazards work less well than those a guard was trained on.

        Raises
        ------
        PolicyError
            Where the code is taken, or code, name or description is unusable.
        """
        added = Category(code, name, description, distressing)
        if code in self:
            raise PolicyError(
                f"policy {self.name!r} has {code} already: {self.category(code).name!r}",
                hint="rename() or describe() changes it; or choose another code.",
            )
        return self._edited(f"with {code}", (*self.categories, added))

    def without(self, codes: Iterable[str] | None) -> Policy:
        """Return the policy less these hazards; the other codes stay what they are.

        Raises
        ------
        PolicyError
            For a code it does not have, or where no hazard would be left.
        """
        gone = self._known(codes)
        if not gone:
            return self
        kept = tuple(category for category in self.categories if category.code not in gone)
        return self._edited(f"without {_listed(gone)}", kept)

    def only(self, codes: Iterable[str]) -> Policy:
        """Return the policy with these hazards alone, in its own order.

        Raises
        ------
        PolicyError
            For a code it does not have, or for no codes at all.
        """
        wanted = self._known(codes)
        kept = tuple(category for category in self.categories if category.code in wanted)
        return self if len(kept) == len(self) else self._edited(f"only {_listed(wanted)}", kept)

    def rename(self, code: str, name: str) -> Policy:
        """Return the policy with another name for one hazard; its description stays.

        Raises
        ------
        PolicyError
            For a code it does not have, or an unusable name.
        """
        return self._changed(replace(self.category(code), name=name), "renamed")

    def describe(self, code: str, description: str) -> Policy:
        """Return the policy with another description for one hazard; ``""`` takes it away.

        Raises
        ------
        PolicyError
            For a code it does not have, or an unusable description.
        """
        return self._changed(replace(self.category(code), description=description), "described")

    def to_frame(self) -> pd.DataFrame:
        """Return one row a hazard, in order: ``code``, ``name``, ``description`` (``""`` for none), ``distressing``."""
        rows = [(category.code, category.name, category.description) for category in self.categories]
        frame = pd.DataFrame(rows, columns=["code", "name", "description"], dtype="str")
        return frame.assign(distressing=[category.distressing for category in self.categories])

    def to_dict(self) -> dict[str, object]:
        """Return ``{"name": …, "hazards": {code: {"name": …, "description": …}}}``, which `as_policy` reads back.

        Hazards that are `distressing` say so: ``"distressing": True``.
        """
        hazards: dict[str, dict[str, object]] = {
            c.code: {"name": c.name, "description": c.description} | ({"distressing": True} if c.distressing else {})
            for c in self.categories
        }
        return {"name": self.name, "hazards": hazards}

    def _changed(self, category: Category, how: str) -> Policy:
        if category == self.category(category.code):
            return self
        categories = tuple(category if c.code == category.code else c for c in self.categories)
        return self._edited(f"with {category.code} {how}", categories)

    def _edited(self, how: str, categories: tuple[Category, ...]) -> Policy:
        room = MAX_NAME - len(how) - 1
        base = self.name if len(self.name) <= room else f"{self.name[: room - 1]}…"
        return Policy(f"{base} {how}", categories)

    def _known(self, codes: Iterable[str] | None) -> list[str]:
        """Return these codes without repeats; a string is one code."""
        known = list(dict.fromkeys(str(code).strip() for code in listed_codes(codes)))
        unknown = [code for code in known if code not in self]
        if unknown:
            raise self._unknown(unknown)
        return known

    def _unknown(self, codes: list[str]) -> PolicyError:
        return PolicyError(
            f"policy {self.name!r} has no hazard {', '.join(map(shorten, codes))}",
            hint=f"It has {', '.join(self.codes)}.",
        )


def listed_codes(codes: Iterable[str] | None) -> list[str]:
    """Return hazard codes as a list: None is none of them, and text is one code.

    Raises
    ------
    PolicyError
        For what holds no text.
    """
    try:
        found = [codes] if isinstance(codes, str) else list(() if codes is None else codes)
    except TypeError:
        found = [codes]  # type: ignore[list-item]
    wrong = [code for code in found if not isinstance(code, str)]
    if wrong:
        raise PolicyError(f"{shorten(wrong[0])} is not the code of a hazard", hint="Pass codes as text: ['S6', 'S13'].")
    return found


def _listed(codes: Iterable[str]) -> str:
    """Return ``"S1,S2"``; of many codes the first, and how many more."""
    every = list(codes)
    if len(every) <= _SHOWN_CODES:
        return ",".join(every)
    return f"{','.join(every[: _SHOWN_CODES - 1])} and {len(every) - _SHOWN_CODES + 1} more"


def _counted(n_hazards: int) -> str:
    return f"{n_hazards} hazard" + ("" if n_hazards == 1 else "s")


def _checked_name(name: object, whose: str) -> str:
    if not isinstance(name, str):
        raise PolicyError(f"the name of {whose} is {shorten(name)}, which is not text", hint="Put it in quotes.")
    text = name.strip()
    if not text or len(text) > MAX_NAME or _is_forging(text):
        raise PolicyError(
            f"{whose} has an unusable name: {shorten(name)}",
            hint=f"Give it plain words in one line, at most {MAX_NAME} characters, without <, > or |.",
        )
    return text


def _checked_description(description: object, whose: str) -> str:
    if not isinstance(description, str):
        raise PolicyError(
            f"the description of {whose} is {shorten(description)}, which is not text", hint="Put it in quotes."
        )
    text = description.strip().replace("\r\n", "\n")
    if len(text) > MAX_DESCRIPTION or _is_forging(text.replace("\n", "").replace("\t", "")):
        raise PolicyError(
            f"{whose} has an unusable description: {shorten(description)}",
            hint=f"Give it plain words, at most {MAX_DESCRIPTION:,} characters, without <, > or |.",
        )
    return text


def _is_forging(text: str) -> bool:
    """Say whether text holds what could end a line or open a control token inside a prompt."""
    return any(c in _FORGING or unicodedata.category(c) in _CONTROLS for c in text)
