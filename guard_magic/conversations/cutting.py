"""Which parts of a conversation fit a guard's context.

This layer knows no tokens: whether something fits is a question it asks (`Fits`), and each answer may cost a
tokenization, so it asks few times. What it returns has been asked about and fits.

A conversation is cut at exchanges (a user message with the assistant's answer right behind it), so that windows
of an alternating conversation alternate too and begin with the user. Where one message alone is too long, its
text is cut.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from guard_magic.conversations.conversation import Conversation, Message
from guard_magic.errors import ConversationError

__all__ = ["MAX_WINDOWS", "Cutter", "Fits", "Part", "Parts", "amount", "cut"]

Fits = Callable[[Conversation], bool]

MAX_WINDOWS = 256
"""Most windows of one conversation."""

_WORD = re.compile(r"\S")
_MIN_PIECE = 200
"""Least characters worth reading of a message that is cut, where the message has as many."""


class Part(NamedTuple):
    """Characters `start` to `end` of message `i` (0-based)."""

    i: int
    start: int
    end: int


Parts = tuple[Part, ...]


class Cutter:
    """Finds parts of one conversation, known not to fit whole, that fit.

    Everything it returns was asked about. Nothing is asked twice.
    """

    def __init__(self, conversation: Conversation, fits: Fits) -> None:
        self.conversation = conversation
        self.exchanges = _exchanges(conversation)
        self.last = self._whole(self.exchanges[-1:])
        self._ask = fits
        self._answers: dict[Parts, bool] = {self._whole(self.exchanges): False}
        self._found: list[Parts] = []

    def truncated(self) -> Parts:
        """Return the newest exchanges that fit, or as much of the last one as does."""
        n = _longest(len(self.exchanges) - 1, lambda n: self._fits(self._whole(self.exchanges[-n:])))
        if n:
            return self._whole(self.exchanges[-n:])
        *asked, assessed = self.last
        if asked:
            piece = self._beginning(asked[0].i, (), (assessed,))
            if piece is not None:
                return (piece, assessed)
            asked = [self._question()]
        piece = self._beginning(assessed.i, tuple(asked), ())
        if piece is None:
            raise self._too_long(assessed.i)
        return (*asked, piece)

    def windows(self) -> list[Parts]:
        """Return windows that cover every message, or every piece of an assessed message that is too long."""
        *asked, assessed = self.last
        earlier = self.exchanges[:-1]
        if self._fits(self.last):
            self._runs(earlier, self.last)
            if not self._found:
                self._add(self.last)
            return self._found
        if asked:
            piece = self._beginning(asked[0].i, (), (assessed,))
            if piece is not None:
                self._around(piece, assessed, earlier)
                return self._found
            asked = [self._question()]
        self._pieces(assessed.i, tuple(asked), ())
        return self._found

    def _around(self, asked: Part, assessed: Part, earlier: Sequence[tuple[int, ...]]) -> None:
        """Add windows for an answer that fits whole, and its question only in pieces: the first is `asked`."""
        begun = self._first(asked.i, min(asked.end - asked.start, _MIN_PIECE))
        if self._fits((begun, assessed)):
            self._runs(earlier, (begun, assessed))
        if asked.end - asked.start < _MIN_PIECE:
            self._add((asked, assessed))
        else:
            self._pieces(asked.i, (), (assessed,), asked.end - asked.start)

    def _question(self) -> Part:
        """Return a beginning of the user message that leaves at least as much room to the answer assessed."""
        asked, assessed = self.last
        n = _longest(
            max(asked.end, assessed.end),
            lambda n: self._fits((self._first(asked.i, n), self._first(assessed.i, n))),
        )
        if not n:
            raise self._too_long(assessed.i)
        return self._first(asked.i, min(n, _MIN_PIECE))

    def _runs(self, exchanges: Sequence[tuple[int, ...]], base: Parts) -> None:
        """Add windows of consecutive exchanges, each as many as fit ahead of `base`, overlapping by half."""
        start, size = 0, 1
        while start < len(exchanges):
            size = self._run(exchanges[start:], base, size)
            end = start + size
            if not size:
                self._split(exchanges[start], base)
                start += 1
                continue
            self._add(self._whole(exchanges[start:end]) + base)
            if end == len(exchanges):
                return
            # the next window holds the exchange that did not fit here, and up to half of this one ahead of it
            start = end - self._overlap(exchanges[: end + 1], base, size // 2)

    def _run(self, exchanges: Sequence[tuple[int, ...]], base: Parts, guess: int) -> int:
        return _longest(len(exchanges), lambda n: self._fits(self._whole(exchanges[:n]) + base), guess)

    def _overlap(self, exchanges: Sequence[tuple[int, ...]], base: Parts, most: int) -> int:
        return _longest(most, lambda n: self._fits(self._whole(exchanges[-n - 1 :]) + base), most)

    def _split(self, exchange: tuple[int, ...], base: Parts) -> None:
        """Add windows that cover an exchange which is too long next to `base`, message by message.

        In each of them one message is a piece and the other its beginning. Nothing is added where there is no
        room for pieces worth reading.
        """
        most = max(part.end for part in self._whole([exchange]))
        n = _longest(most, lambda n: self._fits((*(self._first(i, n) for i in exchange), *base)), most // 2)
        if n < min(_MIN_PIECE, most):
            return
        firsts = tuple(self._first(i, n) for i in exchange)
        cut = [k for k, part in enumerate(firsts) if part.end < self._end(part.i)]
        for k in cut:
            self._pieces(exchange[k], firsts[:k], firsts[k + 1 :] + base, n)
        if not cut:
            self._add(firsts + base)

    def _pieces(self, i: int, before: Parts, after: Parts, guess: int = 0) -> None:
        """Add windows over the text of message `i` that overlap by an eighth and cover it."""
        text = self.conversation.messages[i].content
        start = self._start(i)
        while True:
            piece = self._beginning(i, before, after, start=start, guess=guess, slack=16)
            if piece is None:
                raise self._too_long(i)
            self._add((*before, piece, *after))
            if piece.end >= self._end(i):
                return
            guess = piece.end - start
            overlap = min(-(-guess // 8), guess - 1)
            start = _word_start(text, piece.end - overlap, max(start + 1, piece.end - 2 * overlap))

    def _beginning(
        self, i: int, before: Parts, after: Parts, *, start: int | None = None, guess: int = 0, slack: int = 0
    ) -> Part | None:
        """Return the longest piece of message `i` from `start` that fits, ending between words where that is near.

        None where not one character fits. `guess` and `slack` are those of `_longest`, in characters.
        """
        text = self.conversation.messages[i].content
        begin = self._start(i) if start is None else start
        most = self._end(i) - begin

        def fit(n: int) -> bool:
            return self._fits((*before, Part(i, begin, begin + n), *after))

        n = _longest(most, fit, guess or most // 2, slack)
        if not n:
            return None
        between = _word_end(text, begin, begin + n) - begin
        return Part(i, begin, begin + (between if between < n < most and fit(between) else n))

    def _add(self, parts: Parts) -> None:
        if len(self._found) == MAX_WINDOWS:
            raise ConversationError(
                f"the conversation is too long: more than {MAX_WINDOWS} windows ({amount(self.conversation)})",
                hint='Score a part of it; overflow="truncate" leaves the oldest turns out.',
            )
        self._found.append(parts)

    def _fits(self, parts: Parts) -> bool:
        if parts not in self._answers:
            self._answers[parts] = self._ask(cut(self.conversation, parts))
        return self._answers[parts]

    def _whole(self, exchanges: Sequence[tuple[int, ...]]) -> Parts:
        messages = self.conversation.messages
        return tuple(Part(i, 0, len(messages[i].content)) for i in itertools.chain(*exchanges))

    def _start(self, i: int) -> int:
        text = self.conversation.messages[i].content
        return len(text) - len(text.lstrip())

    def _end(self, i: int) -> int:
        return len(self.conversation.messages[i].content.rstrip())

    def _first(self, i: int, n: int) -> Part:
        """Return the first `n` characters of message `i`, blanks ahead of them not counted."""
        start, end = self._start(i), self._end(i)
        return Part(i, start, min(start + n, end)) if start < end else Part(i, 0, 0)

    def _too_long(self, i: int) -> ConversationError:
        n = len(self.conversation.messages[i].content)
        which = "the assessed message" if i == len(self.conversation) - 1 else f"message {i + 1}"
        return ConversationError(
            f"{which} ({n:,} characters) does not fit even alone and cut short",
            hint="The guard's own prompt leaves no room: use a shorter policy, or a guard with a longer context.",
        )


def cut(conversation: Conversation, parts: Parts) -> Conversation:
    """Return the conversation of these parts alone."""
    return Conversation(tuple(_cut_message(conversation.messages[part.i], part) for part in parts))


def amount(conversation: Conversation) -> str:
    """Say how long a conversation is, for people."""
    n = sum(len(message.content) for message in conversation.messages)
    return f"{len(conversation)} messages, {n:,} characters"


def _exchanges(conversation: Conversation) -> list[tuple[int, ...]]:
    """Return the positions of messages that stay together: a user's with the answer right behind it, else alone."""
    found: list[tuple[int, ...]] = []
    said = conversation.roles
    for i, role in enumerate(said):
        if role == "assistant" and i and said[i - 1] == "user":
            found[-1] = (i - 1, i)
        else:
            found.append((i,))
    return found


def _longest(most: int, fit: Callable[[int], bool], guess: int = 1, slack: int = 0) -> int:
    """Return the largest n in 1 … `most` for which ``fit(n)`` holds, 0 where none was found.

    It steps away from `guess` in doubling steps, then halves what lies between. With `slack` it stops early,
    within ``n / slack`` of the largest.
    """
    low, high = 0, most + 1
    n = min(max(guess, 1), most)
    step = max(n // (slack or 2), 1)
    while low < n < high:
        if fit(n):
            low, n = n, min(n + step, high - 1) if high == most + 1 else (n + high) // 2
        else:
            high, n = n, max(n - step, 1) if low == 0 else (n + low) // 2
        step *= 2
        if slack and low and high - low <= max(low // slack, 1):
            break
    return low


def _word_end(text: str, start: int, end: int) -> int:
    """Return where the last word that is whole ends, if that is in the last tenth of the text from start to end."""
    if text[end : end + 1].isspace():
        return end
    for i in range(end - 1, max(start, end - max((end - start) // 10, 1)), -1):
        if text[i].isspace():
            return i
    return end


def _word_start(text: str, start: int, least: int) -> int:
    """Return the beginning of the word at `start`, not before `least`, or of the one behind blanks there."""
    found = _WORD.search(text, start)
    if found is not None and found.start() > start:
        return found.start()
    for i in range(start, least, -1):
        if text[i - 1].isspace():
            return i
    return start


def _cut_message(message: Message, part: Part) -> Message:
    whole = part.start == 0 and part.end == len(message.content)
    return message if whole else replace(message, content=message.content[part.start : part.end])
