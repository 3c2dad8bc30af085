"""Policies: the hazards a guard is asked about, by code.

The built-in taxonomy is the MLCommons one as Llama Guard 3 uses it. The names of the hazards are part of
Meta's prompt and stand under the Llama community licences (see NOTICE).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from guard_magic.errors import PolicyError, shorten

__all__ = ["BUILT_IN", "LLAMA_GUARD_3", "Category", "Policy", "as_policy"]

_CODE = re.compile(r"[A-Za-z][A-Za-z]{0,3}[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Category:
    """One hazard: its code (``"S1"``), its name, and an optional description shown to the guard."""

    code: str
    name: str
    description: str = ""

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise PolicyError(
                f"{shorten(self.code)} is no hazard code", hint="A code is letters and a number, such as S15."
            )
        if not self.name.strip() or any(c in self.name + self.description for c in "<>|\0"):
            raise PolicyError(
                f"hazard {self.code} has an unusable name or description: {shorten(self.name)}",
                hint="Give it plain words, without <, > or |.",
            )

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


@dataclass(frozen=True, slots=True)
class Policy:
    """An ordered set of hazards. The order is the prompt's order and the order of ``category_scores``."""

    name: str
    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        if not self.categories:
            raise PolicyError(f"policy {self.name!r} has no hazards left", hint="Keep at least one.")
        seen: set[str] = set()
        for code in self.codes:
            if code in seen:
                raise PolicyError(f"policy {self.name!r} has {code} twice", hint="Codes must be unique.")
            seen.add(code)

    def __iter__(self) -> Iterator[Category]:
        return iter(self.categories)

    def __len__(self) -> int:
        return len(self.categories)

    def __contains__(self, code: object) -> bool:
        return any(category.code == code for category in self.categories)

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

    def without(self, codes: Iterable[str]) -> Policy:
        """Return the policy less these hazards; the other codes stay what they are."""
        gone = [str(code).strip() for code in ([codes] if isinstance(codes, str) else codes)]
        unknown = [code for code in gone if code not in self]
        if unknown:
            raise self._unknown(unknown)
        if not gone:
            return self
        kept = tuple(category for category in self.categories if category.code not in gone)
        return Policy(f"{self.name} without {','.join(gone)}", kept)

    def _unknown(self, codes: list[str]) -> PolicyError:
        return PolicyError(
            f"policy {self.name!r} has no hazard {', '.join(map(shorten, codes))}",
            hint=f"It has {', '.join(self.codes)}.",
        )


def as_policy(value: object) -> Policy:
    """Read a policy: a `Policy`, the name of a built-in one, or a mapping ``{code: name}``.

    Raises
    ------
    PolicyError
        For an unknown name or any other value.
    """
    if isinstance(value, Policy):
        return value
    if isinstance(value, Mapping):
        return Policy("custom", tuple(Category(str(code), str(name)) for code, name in value.items()))
    if isinstance(value, str) and value in BUILT_IN:
        return BUILT_IN[value]
    raise PolicyError(
        f"no policy {shorten(value)}", hint=f"Built in: {', '.join(BUILT_IN)}. Or pass {{code: name}} or a Policy."
    )


LLAMA_GUARD_3 = Policy(
    "llama-guard-3",
    (
        Category("S1", "Violent Crimes"),
        Category("S2", "Non-Violent Crimes"),
        Category("S3", "Sex Crimes"),
        Category("S4", "Child Exploitation"),
        Category("S5", "Defamation"),
        Category("S6", "Specialized Advice"),
        Category("S7", "Privacy"),
        Category("S8", "Intellectual Property"),
        Category("S9", "Indiscriminate Weapons"),
        Category("S10", "Hate"),
        Category("S11", "Self-Harm"),
        Category("S12", "Sexual Content"),
        Category("S13", "Elections"),
        Category("S14", "Code Interpreter Abuse"),
    ),
)
"""The hazards of Llama-Guard-3-8B (MLCommons S1-S13 and S14)."""

BUILT_IN: Mapping[str, Policy] = {LLAMA_GUARD_3.name: LLAMA_GUARD_3}
