"""What is cut from a conversation that is too long: what remains fits, and windows cover everything.

Every letter of a test conversation is another one, so a piece of text tells where it stood.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from guard_magic.conversations.conversation import Conversation, Message, Role
from guard_magic.conversations.roles import RoleChanges, adapt_roles
from guard_magic.conversations.windows import MAX_WINDOWS, Fits, Window, plan_windows
from guard_magic.errors import ConversationError

FIRST_LETTER = 0x3400
ROLES: list[Role] = ["user", "assistant"]
OVERHEAD = 3


def said(lengths: list[int], *, roles: list[Role] | None = None, gap: int = 7) -> Conversation:
    """Return messages of these lengths, a blank at every `gap` letters; by default the user begins."""
    letters = map(chr, itertools.count(FIRST_LETTER))
    texts = ["".join(" " if i % gap == gap - 1 else next(letters) for i in range(n)) for n in lengths]
    turns = roles or [ROLES[i % 2] for i in range(len(lengths))]
    return Conversation(tuple(Message(role, text) for role, text in zip(turns, texts, strict=True)))


def cost(conversation: Conversation) -> int:
    return sum(len(message.content) + OVERHEAD for message in conversation.messages)


def budget(most: int) -> Callable[[Conversation], bool]:
    return lambda conversation: cost(conversation) <= most


def letters(messages: tuple[Message, ...]) -> set[str]:
    return {letter for message in messages for letter in message.content} - {" "}


def covered(windows: list[Window]) -> set[str]:
    return set().union(*(letters(window.conversation.messages) for window in windows))


def test_what_fits_is_left_alone() -> None:
    log = said([5, 5, 5])
    for overflow in ("error", "window", "truncate"):
        (window,) = plan_windows(log, budget(100), overflow)  # type: ignore[arg-type]
        assert window.conversation is log
        assert window.left_out == ""


def test_error() -> None:
    with pytest.raises(ConversationError, match=r"too long: 3 messages, 1,500 characters") as caught:
        plan_windows(said([500] * 3), budget(1000), "error")
    assert 'overflow="window"' in caught.value.hint


def test_unknown_overflow() -> None:
    with pytest.raises(ConversationError, match="overflow='cut' is not known"):
        plan_windows(said([5]), budget(1000), "cut")  # type: ignore[arg-type]


@pytest.mark.parametrize("overflow", ["window", "truncate"])
@pytest.mark.parametrize("lengths", [[5], [5, 5], [5] * 9, [5000], [5000, 5000]])
def test_what_never_fits_is_an_error(overflow: Any, lengths: list[int]) -> None:
    with pytest.raises(ConversationError, match=r"the assessed message .* does not fit even alone"):
        plan_windows(said(lengths), lambda _: False, overflow)


def test_an_error_of_the_question_itself_is_passed_on() -> None:
    def refuses(_: Conversation) -> bool:
        raise ConversationError("why")

    with pytest.raises(ConversationError, match="why"):
        plan_windows(said([5]), refuses, "window")


# Truncate


@pytest.mark.parametrize("n", [5, 6, 19, 20])
def test_the_oldest_exchanges_leave_first(n: int) -> None:
    log = said([100] * n)
    for most in range(210, 103 * n, 150):
        (window,) = plan_windows(log, budget(most), "truncate")
        kept = len(window.conversation)
        assert window.conversation.messages == log.messages[-kept:]
        assert window.conversation.roles[0] == "user"
        assert window.left_out == f"the first {n - kept} of {n} messages"
        assert cost(window.conversation) <= most < cost(window.conversation) + 206, "no more than needed"


@pytest.mark.parametrize("most", range(1003, 1010))
def test_the_end_of_the_assessed_message_is_cut_off(most: int) -> None:
    log = said([50, 50, 9000])
    (window,) = plan_windows(log, budget(most), "truncate")
    text = window.conversation.assessed.content
    assert len(window.conversation) == 1
    assert log.assessed.content.startswith(text)
    assert most - 10 <= len(text) + OVERHEAD <= most
    assert log.assessed.content[len(text)] == " ", "between words"
    assert window.left_out == (
        f"the first 2 of 3 messages, the last {9000 - len(text):,} of 9,000 characters of the assessed message"
    )


def test_without_words_the_longest_beginning_is_exact() -> None:
    for most in (4, 5, 103, 1000, 8999):
        (window,) = plan_windows(said([9000], gap=10_000), budget(most), "truncate")
        assert cost(window.conversation) == most


def test_the_question_is_cut_before_the_answer() -> None:
    log = said([5, 5, 2000, 800], gap=10_000)
    (window,) = plan_windows(log, budget(1006), "truncate")
    question, answer = window.conversation.messages
    assert answer == log.assessed
    assert question.content == log.messages[2].content[:200]
    assert window.left_out == "the first 2 of 4 messages, the last 1,800 of 2,000 characters of message 3"


def test_an_answer_that_is_too_long_keeps_the_beginning_of_its_question() -> None:
    log = said([2000, 8000], gap=10_000)
    (window,) = plan_windows(log, budget(1006), "truncate")
    question, answer = window.conversation.messages
    assert (len(question.content), len(answer.content)) == (200, 800)
    assert answer.content == log.assessed.content[:800]
    assert window.left_out == (
        "the last 1,800 of 2,000 characters of message 1, the last 7,200 of 8,000 characters of the assessed message"
    )


def test_blanks_are_no_message() -> None:
    text = " " * 500 + "x" * 100 + " " * 500
    for overflow in ("window", "truncate"):
        for window in plan_windows(Conversation((Message("user", text),)), budget(50), overflow):  # type: ignore[arg-type]
            assert set(window.conversation.assessed.content) == {"x"}


# Window


def test_windows_overlap_by_half_and_are_named() -> None:
    log = said([100] * 21)
    windows = plan_windows(log, budget(9 * 103), "window")
    first, second = windows[:2]
    assert first.left_out == f"window 1 of {len(windows)}: messages 1–8 and 21 of 21"
    assert second.left_out == f"window 2 of {len(windows)}: messages 5–12 and 21 of 21"
    assert windows[-1].left_out == f"window {len(windows)} of {len(windows)}: messages 13–21 of 21"
    assert covered(windows) == letters(log.messages)


def test_a_context_message_that_is_too_long_is_read_in_pieces() -> None:
    log = said([50, 50, 5000, 100, 50])
    windows = plan_windows(log, budget(1000), "window")
    assert covered(windows) == letters(log.messages)
    assert all(window.conversation.assessed == log.assessed for window in windows)
    assert windows[0].left_out.endswith("messages 1–2 and 5 of 5")
    assert "messages 3 (characters 1–" in windows[1].left_out
    assert windows[1].conversation.messages[1] == log.messages[3]


def test_an_assessed_message_that_is_too_long_is_read_in_pieces() -> None:
    log = said([50, 50, 5000])
    windows = plan_windows(log, budget(1000), "window")
    assert covered(windows) == letters(log.messages[2:])
    for n, window in enumerate(windows, start=1):
        assert len(window.conversation) == 1
        assert window.left_out.startswith(f"window {n} of {len(windows)}: characters ")
        assert window.left_out.endswith("of 5,000 of the assessed message; messages 1–2 in no window")
    check_overlap([window.conversation.assessed.content for window in windows], log.assessed.content)


def test_a_long_answer_is_read_in_pieces_with_its_question() -> None:
    log = said([50, 5000])
    windows = plan_windows(log, budget(1000), "window")
    assert all(window.conversation.messages[0] == log.messages[0] for window in windows)
    assert covered(windows) == letters(log.messages)
    assert windows[0].left_out.startswith(f"window 1 of {len(windows)}: messages 1 and 2 (characters 1–")


def test_a_long_question_is_read_in_pieces_and_what_came_before_it_too() -> None:
    log = said([100, 100, 5000, 400])
    windows = plan_windows(log, budget(1000), "window")
    assert covered(windows) == letters(log.messages)
    assert all(window.conversation.assessed == log.assessed for window in windows)
    assert windows[0].left_out == f"window 1 of {len(windows)}: messages 1–2, 3 (characters 1–200 of 5,000) and 4 of 4"
    questions = [window.conversation.messages[0].content for window in windows[1:]]
    check_overlap(questions, log.messages[2].content)
    for question in questions[1:]:
        assert log.messages[2].content[log.messages[2].content.index(question) - 1] == " ", "begins with a word"


def test_blanks_between_words_are_passed_over() -> None:
    text = "x" * 90 + " " * 400 + "y" * 90
    windows = plan_windows(Conversation((Message("user", text),)), budget(100), "window")
    contents = [window.conversation.assessed.content for window in windows]
    assert {letter for content in contents for letter in content} == {"x", "y", " "}
    assert all(content[0] in "xy" for content in contents)


def test_a_context_message_that_is_long_by_its_blanks() -> None:
    log = Conversation((Message("user", "a" + " " * 900), Message("assistant", "b"), Message("user", "c" * 90)))
    (window,) = plan_windows(log, budget(500), "window")
    assert [message.content for message in window.conversation.messages] == ["a", "b", "c" * 90]
    assert window.left_out == "window 1 of 1: messages 1 (characters 1–1 of 901) and 2–3 of 3"


def test_context_without_place_is_said_to_be_left_out() -> None:
    (window,) = plan_windows(said([300, 300, 995]), budget(1000), "window")
    assert window.left_out == "window 1 of 1: message 3 of 3; messages 1–2 in no window"


def test_a_question_without_place_is_cut_and_this_is_said() -> None:
    (window,) = plan_windows(said([300, 960], gap=10_000), budget(1000), "window")
    assert window.left_out == "window 1 of 1: messages 1 (characters 1–34 of 300) and 2 of 2"


def check_overlap(pieces: list[str], text: str) -> None:
    spans = [(text.index(piece), text.index(piece) + len(piece)) for piece in pieces]
    for (start, end), (next_start, _) in itertools.pairwise(spans):
        assert start < next_start <= end - (end - start) * 0.1, "overlaps by a tenth"


def test_the_number_of_windows_is_bounded() -> None:
    with pytest.raises(ConversationError, match=f"more than {MAX_WINDOWS} windows"):
        plan_windows(said([20_000]), budget(60), "window")
    with pytest.raises(ConversationError, match=f"more than {MAX_WINDOWS} windows"):
        plan_windows(said([5] * 2001), budget(40), "window")
    assert len(plan_windows(said([20_000]), budget(110), "window")) <= MAX_WINDOWS


def random_lengths(generator: random.Random) -> list[int]:
    sizes = [(1, 20), (20, 200), (500, 2500)]
    return [generator.randint(*generator.choice(sizes)) for _ in range(generator.randint(1, 14))]


@pytest.mark.parametrize("overflow", ["window", "truncate"])
def test_laws_of_cutting(overflow: Any) -> None:
    """Random alternating conversations: what comes back fits, alternates, holds what is assessed and covers it."""
    generator = random.Random(0)
    n_cut = n_in_pieces = 0
    for _ in range(400):
        log = said(random_lengths(generator), gap=generator.choice([2, 7, 50, 10_000]))
        most = generator.randint(450, 3000)
        asked: list[Conversation] = []

        def fits(part: Conversation, asked: list[Conversation] = asked, most: int = most) -> bool:
            asked.append(part)
            return cost(part) <= most

        windows = plan_windows(log, fits, overflow)
        n_cut += len(windows) > 1 or bool(windows[0].left_out)
        whole = cost(log.__class__(log.messages[-1:])) + (len(log) % 2 == 0) * (OVERHEAD + 1) <= most
        n_in_pieces += not whole
        for window in windows:
            assert cost(window.conversation) <= most
            assert adapt_roles(window.conversation, "strict") == (window.conversation, RoleChanges())
            assert window.conversation.assessed.role == log.assessed.role
            assert letters(window.conversation.messages[-1:]) <= letters(log.messages[-1:])
            if whole:
                assert window.conversation.assessed == log.assessed
            assert (window.left_out == "") == (window.conversation == log)
        assert len(asked) <= 30 + 40 * (overflow == "window") + 12 * len(windows), "few questions"
        if overflow == "window":
            check_covered(log, windows, most)
        else:
            assert len(windows) == 1
    assert n_cut > 200
    assert n_in_pieces > 20


def check_covered(log: Conversation, windows: list[Window], most: int) -> None:
    """Check that all is covered to the last letter, but for exchanges that have no place and are said to have none."""
    seen = covered(windows)
    assert letters(log.messages[-1:]) <= seen
    n_last = 2 - len(log) % 2
    last = Conversation(log.messages[-n_last:])
    for i in range(0, len(log) - n_last, 2):
        exchange = log.messages[i : i + 2]
        if letters(exchange) <= seen:
            continue
        assert not letters(exchange) & seen, "all of it or nothing"
        assert "in no window" in windows[0].left_out
        needed = sum(min(200, len(message.content)) + OVERHEAD for message in exchange)
        assert cost(last) + needed > most, "left out without need"
    if cost(last) <= most:
        assert letters(last.messages) <= seen


@pytest.mark.parametrize("overflow", ["window", "truncate"])
def test_every_order_of_roles(overflow: Any) -> None:
    """Conversations that do not alternate are cut at messages; nothing is lost either."""
    kinds: list[Role] = ["user", "assistant", "system", "tool"]
    for roles in itertools.product(kinds, repeat=5):
        log = said([100, 30, 2000, 30, 50], roles=list(roles))
        windows = plan_windows(log, budget(700), overflow)
        assert all(cost(window.conversation) <= 700 for window in windows)
        assert all(window.conversation.assessed == log.assessed for window in windows)
        if overflow == "window":
            assert covered(windows) == letters(log.messages)


def wavering(conversation: Conversation) -> bool:
    """Fit by a cost that wavers, as tokenizers do where a cut falls into a word."""
    noise = zlib.crc32(str(conversation.to_list()).encode()) % 9
    return cost(conversation) + noise <= 600


def coin(conversation: Conversation) -> bool:
    return zlib.crc32(str(conversation.to_list()).encode()) % 3 == 0


def one_length(conversation: Conversation) -> bool:
    return cost(conversation) % 50 == 3


@pytest.mark.parametrize("overflow", ["window", "truncate"])
@pytest.mark.parametrize("fits", [wavering, coin, one_length])
def test_what_comes_back_fits_however_odd_the_question(overflow: Any, fits: Fits) -> None:
    generator = random.Random(1)
    n_found = 0
    for _ in range(200):
        log = said(random_lengths(generator))
        try:
            windows = plan_windows(log, fits, overflow)
        except ConversationError:
            if fits is wavering:
                raise
            continue
        n_found += 1
        assert all(fits(window.conversation) for window in windows)
        if fits is wavering and overflow == "window":
            assert letters(log.messages[-1:]) <= covered(windows)
    assert n_found > 10


def test_few_questions_for_a_long_text() -> None:
    asked = []

    def fits(part: Conversation) -> bool:
        asked.append(part)
        return cost(part) <= 2_000

    windows = plan_windows(Conversation((Message("user", "abc def " * 10_000),)), fits, "window")
    assert len(asked) < 4 * len(windows) + 25
    asked.clear()
    plan_windows(Conversation((Message("user", "abc def " * 100_000),)), fits, "truncate")
    assert len(asked) < 30
