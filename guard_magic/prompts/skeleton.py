"""The skeleton of a prompt: the template's own text, with slots where messages go.

The chat template is rendered once per sequence of roles, with an alphanumeric sentinel for each message.
Each sentinel must come out exactly once; what lies between them is the template's own. A conversation's
prompt is then the skeleton with its contents in the slots: control tokens come from the skeleton alone.

A `Segment` is either one control token or a stretch of text with slots; a stretch is tokenized whole, so
that ordinary contents give exactly the tokens that plain tokenization of the whole prompt gives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from guard_magic.conversations.conversation import Role
from guard_magic.errors import ProtocolError

__all__ = ["Segment", "Skeleton", "build_skeleton", "common_prefix", "split_segments"]

_SENTINEL = re.compile(r"zq\d{5,}sentinel")

RenderMessages = Callable[[list[dict[str, str]]], str]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The template's own text around the messages of one sequence of roles.

    Attributes
    ----------
    roles
        The roles it was rendered for.
    texts
        ``len(roles) + 1`` of them: before, between and after the messages.
    """

    roles: tuple[Role, ...]
    texts: tuple[str, ...]

    def fill(self, contents: Sequence[str]) -> str:
        """Return the prompt's text with `contents` (one a role) in the slots."""
        parts = [self.texts[0]]
        for content, text in zip(contents, self.texts[1:], strict=True):
            parts += (content, text)
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Segment:
    """A control token (`token_id`), or text in which slots are integers (`parts`)."""

    token_id: int | None
    parts: tuple[str | int, ...] = ()

    @property
    def has_slots(self) -> bool:
        """Whether any message goes here."""
        return any(isinstance(part, int) for part in self.parts)

    def text(self, contents: Sequence[str]) -> str:
        """Return the stretch with the contents in its slots."""
        return "".join(part if isinstance(part, str) else contents[part] for part in self.parts)


def build_skeleton(render: RenderMessages, roles: Sequence[Role]) -> Skeleton:
    """Render the template for `roles` and cut it at the sentinels.

    Parameters
    ----------
    render
        Messages -> the template's text.
    roles
        Role of each message, in order.

    Raises
    ------
    ProtocolError
        Where the template refuses these roles, or does not render each message exactly once, in order: a
        guard that does not see a message would answer "safe" for it.
    """
    sentinels = [f"zq{i:05d}sentinel" for i in range(len(roles))]
    messages = [{"role": role, "content": text} for role, text in zip(roles, sentinels, strict=True)]
    try:
        text = render(messages)
    except Exception as error:  # whatever a template raises
        raise ProtocolError(
            f"the chat template refuses the roles {' '.join(roles)}: {error}", hint="Is it the guard's own template?"
        ) from error
    found = list(_SENTINEL.finditer(text))
    seen = Counter(match[0] for match in found)
    counts = [seen[sentinel] for sentinel in sentinels]
    if counts != [1] * len(sentinels):
        raise ProtocolError(
            f"the chat template renders {roles[-1]} messages {counts[-1]} times (the last: {counts[-8:]}), not exactly "
            "once",
            hint="Its prompt would not hold what is to be assessed. Is it the guard's own template?",
        )
    if [match[0] for match in found] != sentinels:
        raise ProtocolError("the chat template changes the order of the messages", hint="It cannot be used.")
    bounds = [(0, 0), *(match.span() for match in found), (len(text), len(text))]
    return Skeleton(tuple(roles), tuple(text[left[1] : right[0]] for left, right in pairwise(bounds)))


def split_segments(texts: Sequence[str], control: dict[str, int]) -> tuple[Segment, ...]:
    """Split a skeleton's texts at its control tokens.

    Parameters
    ----------
    texts
        What stands before, between and after the slots.
    control
        Text -> id of the control tokens.
    """
    names = sorted(control, key=len, reverse=True)
    pattern = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
    segments: list[Segment] = []
    stretch: list[str | int] = []
    for slot, whole in enumerate(texts):
        if slot:
            stretch.append(slot - 1)
        for i, text in enumerate(pattern.split(whole) if pattern else [whole]):
            if i % 2 == 0:
                stretch += [text] if text else []
                continue
            if stretch:
                segments.append(Segment(None, tuple(stretch)))
            stretch = []
            segments.append(Segment(control[text]))
    return (*segments, Segment(None, tuple(stretch))) if stretch else tuple(segments)


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Return the length of the longest prefix that all `sequences` share."""
    shortest = min(len(sequence) for sequence in sequences)
    first = sequences[0]
    return next(
        (i for i in range(shortest) if any(sequence[i] != first[i] for sequence in sequences)),
        shortest,
    )
