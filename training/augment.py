"""Forms that must not change a label: neutral text around a message, and letters in disguise."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PLACES = ("before", "after", "both", "between")
SIZES = (200, 400, 800, 1200, 2400)
WEIGHTS = (3, 3, 3, 2, 1)
GAPS = ("\n\n", "\n\n", "\n", " ", "\n---\n")
LEET = str.maketrans("aeiostAEIOST", "431057431057")
WIDE = {**{code: code + 0xFEE0 for code in range(0x21, 0x7F)}, 0x20: 0x3000}


@dataclass(frozen=True)
class Frame:
    """Neutral text with one gap for a message.

    Attributes
    ----------
    parts : tuple of str or None
        In order; None is where the message goes.
    glue : str
        What stands between the parts.
    """

    parts: tuple[str | None, ...]
    glue: str

    def around(self, span: str) -> str:
        """Put a message into the gap.

        Parameters
        ----------
        span : str
            The message.

        Returns
        -------
        str
            All parts in order.
        """
        return self.glue.join(span if part is None else part for part in self.parts)


def filler(passages: Sequence[str], start: int, size: int) -> str:
    """Join passages and cut them at a space.

    Parameters
    ----------
    passages : sequence of str
        Taken one after another from ``start``, round and round.
    start : int
        Index of the first.
    size : int
        Most characters; at most a word (or, without spaces, nothing) is missing.

    Returns
    -------
    str
        Neutral text.
    """
    text = ""
    while len(text) < size:
        text += ("\n\n" if text else "") + passages[start % len(passages)]
        start += 1
    cut = text[:size]
    at = max(cut.rfind(" "), cut.rfind("\n"))
    return (cut[:at] if at > size - 40 and len(text) > size else cut).strip()


def draw_frame(passages: Sequence[str], decoys: Sequence[str], rng: random.Random) -> Frame:
    """Draw neutral text before, after, or on both sides of a message, or between it and a harmless one.

    Parameters
    ----------
    passages : sequence of str
        Neutral texts.
    decoys : sequence of str
        Harmless messages, for the place "between".
    rng : random.Random
        Source of chance.

    Returns
    -------
    Frame
        200 to 2,400 characters of neutral text.
    """
    place, (size,) = rng.choice(PLACES), rng.choices(SIZES, WEIGHTS)

    def neutral(share: float = 1.0) -> str:
        return filler(rng.sample(passages, min(len(passages), 12)), 0, int(size * share))

    parts: tuple[str | None, ...]
    if place == "before":
        parts = (neutral(), None)
    elif place == "after":
        parts = (None, neutral())
    elif place == "both":
        share = rng.uniform(0.2, 0.8)
        parts = (neutral(share), None, neutral(1 - share))
    else:
        parts = (rng.choice(decoys), neutral(), None)
        parts = parts if rng.random() < 0.5 else parts[::-1]
    return Frame(parts, rng.choice(GAPS))


def leet(text: str) -> str:
    """Write digits for letters that look like them."""
    return text.translate(LEET)


def spaced(text: str) -> str:
    """Set spaces between the letters, three between words."""
    return "   ".join(" ".join(word) for word in text.split())


def wide(text: str) -> str:
    """Write ASCII in its full-width forms."""
    return text.translate(WIDE)


DISGUISES: tuple[Callable[[str], str], ...] = (leet, spaced, wide, str.upper)


def draw_disguise(text: str, rng: random.Random) -> Callable[[str], str]:
    """Choose a disguise that fits a text.

    Parameters
    ----------
    text : str
        The message.
    rng : random.Random
        Source of chance.

    Returns
    -------
    callable
        One of ``DISGUISES``; none but capitals for long texts and for other scripts than Latin, which the others
        leave alone or make too long.
    """
    letters = [letter for letter in text if letter.isalpha()]
    plain = sum(letter.isascii() for letter in letters) >= 0.9 * len(letters)
    return rng.choice(DISGUISES if plain and len(text) <= 300 else (str.upper,))
