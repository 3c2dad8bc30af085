"""Rows made ready together and ahead of time: the same as one by one, and no thread is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import families
import hostile
import pandas as pd
import pytest

from guard_magic.conversations.conversation import Conversation, Message, parse_conversation
from guard_magic.conversations.roles import PromptRoles, adapt_roles
from guard_magic.conversations.rows import Row
from guard_magic.errors import ConversationError, GuardWarning
from guard_magic.guards.encoded import Encoded
from guard_magic.guards.encoder import runs
from guard_magic.guards.guard import Guard
from guard_magic.guards.request import EncodedRow, encode_row, encode_rows
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.scoring import preparing
from guard_magic.scoring.preparing import Chunk, chunks_ahead
from guard_magic.scoring.progress import NOTHING, Cost, Watch
from guard_magic.scoring.run import score_rows
from guard_magic.scoring.session import Session
from guard_magic.tables.score import score_frame

SAMPLES = Path(preparing.__file__).parents[1] / "samples.jsonl"
LESS = LLAMA_GUARD_3.without(["S6", "S13"])


def hostile_rows() -> list[Conversation]:
    texts = [text for name, text in hostile.ATTACKS.items() if name not in hostile.UNREADABLE]
    return [Conversation((Message("user", text),)) for text in texts] + [
        Conversation((Message("user", text), Message("assistant", texts[-1 - i]))) for i, text in enumerate(texts[::4])
    ]


def sample_rows() -> list[Conversation]:
    lines = SAMPLES.read_text(encoding="utf-8").splitlines()
    return [parse_conversation(json.loads(line)["messages"]) for line in lines]


def odd_rows() -> list[Conversation]:
    """Rows that are refused, changed or too long, among others."""
    roles: list[Any] = ["user", "assistant", "system", "tool"]
    rng = random.Random(3)
    made = [
        Conversation(tuple(Message(rng.choice(roles), f"word {i}.{j} ") for j in range(rng.randint(1, 5))))
        for i in range(60)
    ]
    return [*made, parse_conversation("word " * 30_000), parse_conversation("last")]


def alone(guard: Guard, row: Conversation, **options: Any) -> Encoded | str:
    try:
        return guard.encode(row, **options)
    except ConversationError as error:
        return f"{error} {error.hint}"


def shown(found: Encoded | ConversationError) -> Encoded | str:
    return f"{found} {found.hint}" if isinstance(found, ConversationError) else found


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("FIRST_CHUNK", 4), ("CHUNK", 16), ("_TOGETHER", 5)):
        monkeypatch.setattr(preparing, name, size)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("guard_magic")]


def conversations(n: int) -> list[Conversation]:
    return [parse_conversation(f"prepared row number {i}") for i in range(n)]


# Together is what one by one is


@pytest.mark.parametrize("name", ["tiny", "tiny_digits", "tiny_parts", "embedded"])
@pytest.mark.parametrize("rows", [hostile_rows, sample_rows, odd_rows])
def test_asked_together(request: pytest.FixtureRequest, name: str, rows: Callable[[], list[Conversation]]) -> None:
    guard: Guard = request.getfixturevalue(name)
    made = rows()
    assert list(map(shown, guard.encode_all(made))) == [alone(guard, row) for row in made]


@pytest.mark.parametrize("family", ["shieldgemma", "wildguard", "qwen3guard", "granite-guardian-3.3"])
def test_asked_together_by_other_families(family: str) -> None:
    guard = families.guard(family)
    made = [*sample_rows()[:30], *odd_rows()[:30], *hostile_rows()[::9]]
    assert list(map(shown, guard.encode_all(made))) == [alone(guard, row) for row in made]


def test_asked_together_with_options(tiny: Guard) -> None:
    made = [*odd_rows(), *sample_rows()[:9]]
    options: Any = {"policy": LESS, "roles": "strict"}
    found = list(map(shown, tiny.encode_all(made, **options)))
    assert found == [alone(tiny, row, **options) for row in made]
    assert sum(isinstance(row, str) for row in found) > 9
    assert tiny.encode_all([]) == []


@pytest.mark.parametrize("lengths", [[], [1], [999_999, 2, 5], [2_000_000, 1], [400_000] * 7])
def test_runs_hold_every_row_once(lengths: list[int]) -> None:
    rows = [Conversation((Message("user", "x" * n),)) for n in lengths]
    found = list(runs(rows))
    assert [row for run in found for row in run] == rows
    assert all(run and sum(len(row.messages[0].content) for row in run[:-1]) <= 1_000_000 for run in found)


def test_roles_that_fit_are_those_that_change_nothing() -> None:
    places = [PromptRoles(), PromptRoles(alternate=False), PromptRoles(exchange_only=True)]
    places.append(PromptRoles(frozenset({"user", "assistant", "system"}), alternate=True))
    for row in odd_rows():
        for place in places:
            try:
                adapted, changes = adapt_roles(row, "merge", place)
            except ConversationError:
                continue
            assert (adapted is row) is not bool(changes)


def test_keys(tiny: Guard, tiny_digits: Guard) -> None:
    rows = [row for row in tiny.encode_all(sample_rows()) if isinstance(row, Encoded)]
    keys = tiny.keys(rows)
    assert keys == [tiny.keys([row])[0] for row in rows]
    assert len(set(keys)) == len({row.prompt.ids for row in rows})
    others = [row for row in tiny.encode_all(sample_rows(), policy=LESS) if isinstance(row, Encoded)]
    assert not set(keys) & set(tiny.keys(others))
    assert not set(keys) & set(tiny_digits.keys(rows)), "another identity"
    before, tiny.family = tiny.family, families.guard("llama-guard-4").family
    try:
        assert not set(keys) & set(tiny.keys(rows)), "another protocol"
    finally:
        tiny.family = before


# A chunk ahead


def taken(rows: Sequence[Row | EncodedRow], session: Session, groups: Sequence[int] | None = None) -> list[Chunk]:
    with chunks_ahead(rows, groups or range(len(rows)), session.request(), int) as chunks:
        return list(chunks)


@pytest.mark.usefixtures("small_chunks")
def test_chunks_grow_and_hold_every_row_in_order(session: Session, tiny: Guard) -> None:
    rows: list[Any] = [*conversations(50), ConversationError("why"), *conversations(3)]
    rows[7] = encode_row(rows[7], session.request())
    chunks = taken(rows, session)
    assert [len(chunk.rows) for chunk in chunks] == [4, 8, 16, 16, 10]
    assert [chunk.is_last for chunk in chunks] == [False] * 4 + [True]
    for row, found in zip(rows, [row for chunk in chunks for row in chunk.rows], strict=True):
        assert found is row if not isinstance(row, Conversation) else found == encode_row(row, session.request())
    encoded = [row.windows[0] for chunk in chunks for row in chunk.rows if isinstance(row, EncodedRow)]
    assert [key for chunk in chunks for key in chunk.keys] == [tiny.keys([row])[0] for row in encoded]
    assert taken([], session) == []


@pytest.mark.usefixtures("small_chunks")
def test_no_conversation_is_in_two_chunks(session: Session) -> None:
    groups = [i for i in range(12) for _ in range(i)]
    chunks = taken(conversations(len(groups)), session, groups)
    assert [group for chunk in chunks for group in chunk.groups] == groups
    owners = [set(chunk.groups) for chunk in chunks]
    assert not any(one & other for i, one in enumerate(owners) for other in owners[:i])


class Counted(Sequence[Conversation]):
    """Rows that count what was taken of them, and end in an error after `n_good`."""

    def __init__(self, rows: Sequence[Conversation], n_good: int) -> None:
        self.rows, self.n_good, self.n_taken = rows, n_good, 0
        self.names: set[str] = set()

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Conversation]: ...
    def __getitem__(self, index: int | slice) -> Conversation | Sequence[Conversation]:
        assert isinstance(index, slice)
        if index.stop > self.n_good:
            raise ZeroDivisionError("no more rows")
        self.n_taken = index.stop
        self.names.add(threading.current_thread().name)
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)


@pytest.mark.usefixtures("small_chunks")
def test_at_most_one_chunk_is_ready_ahead(session: Session) -> None:
    rows = Counted(conversations(200), 200)
    with chunks_ahead(rows, range(200), session.request(), int) as chunks:
        n_seen = 0
        for chunk in chunks:
            n_seen += len(chunk.rows)
            for thread in threads():
                thread.join(0.05)  # as a slow engine would give it time
            assert rows.n_taken <= n_seen + 16 + 5
    assert n_seen == 200
    assert len(rows.names) == 2
    assert not threads()


def test_a_small_table_needs_no_thread(session: Session) -> None:
    rows = Counted(conversations(40), 512)
    assert len(score_rows(rows, session.request(), session.cache)) == 40
    assert rows.names == {threading.current_thread().name}


@pytest.mark.usefixtures("small_chunks")
def test_no_thread_goes_ahead_where_text_is_decoded(session: Session) -> None:
    rows = Counted(conversations(20), 40)
    request = session.request(generate=True)
    with chunks_ahead(rows, range(20), request, int) as chunks:
        assert sum(len(chunk.rows) for chunk in chunks) == 20
    assert rows.names == {threading.current_thread().name}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("n_good", [0, 5, 20, 60])
def test_an_error_in_the_thread_comes_up_in_the_caller(session: Session, n_good: int) -> None:
    rows = Counted(conversations(80), n_good)
    with pytest.raises(ZeroDivisionError, match="no more rows"):
        score_rows(rows, session.request(), session.cache)
    assert not threads()
    assert (len(session.cache) > 0) is (n_good >= 5), "what was ready before it is scored and kept"


@pytest.mark.usefixtures("small_chunks")
def test_an_error_in_the_caller_leaves_no_thread(session: Session) -> None:
    class Failing(Watch):
        def finish(self, n_rows: int, cost: Cost = NOTHING) -> None:
            if n_rows:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score_rows(conversations(80), session.request(), session.cache, watch=Failing())
    assert not threads()
    with chunks_ahead(conversations(80), range(80), session.request(), int) as chunks:
        next(chunks)
        next(chunks)
    assert not threads(), "left after two chunks"


@pytest.mark.usefixtures("small_chunks")
def test_an_interrupt_in_the_thread_comes_up_and_loses_nothing(session: Session) -> None:
    rows = conversations(80)
    seen: list[str] = []

    def check() -> None:
        seen.append(threading.current_thread().name)
        if len(set(seen)) == 2:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        chunks_ahead(rows, range(80), session.request(), check) as chunks,
    ):
        assert len(list(chunks)) < 6
    assert not threads()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("n_batches", [1, 2, 3])
def test_ctrl_c_at_any_batch(session: Session, tiny: Guard, n_batches: int) -> None:
    frame = pd.DataFrame({"text": [f"interrupted at batch {n_batches}, row {i}" for i in range(90)]})
    n_before = tiny.engine.n_forwards

    def interrupt(*args: object) -> None:
        if tiny.engine.n_forwards == n_before + n_batches:
            os.kill(os.getpid(), signal.SIGINT)

    hook = tiny.model.register_forward_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            score_frame(session, frame, progress=False)
        n_cached = len(session.cache)
        assert 0 < n_cached < 90
        assert not threads()
        scored = score_frame(session, frame, progress=False)
    finally:
        hook.remove()
    assert scored["category"].notna().all()
    assert session.cache.n_hits == n_cached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def mixed_frame() -> pd.DataFrame:
    chats: list[Any] = [row.to_list() for row in (*sample_rows()[:40], *odd_rows()[:40], *hostile_rows()[::9])]
    return pd.DataFrame({"messages": [*chats, None, "no JSON", [], *chats[:20]]})


def heard(score: Callable[[], pd.DataFrame]) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = score()
    return found, [(str(w.message), w.filename) for w in caught if issubclass(w.category, GuardWarning)]


@pytest.mark.parametrize("options", [{}, {"overflow": "window"}, {"assess": "user", "overflow": "truncate"}])
def test_chunks_change_no_result_and_no_warning(
    session: Session, tiny: Guard, monkeypatch: pytest.MonkeyPatch, options: Any
) -> None:
    monkeypatch.setattr(tiny.model.config, "max_position_embeddings", 420)
    frame = mixed_frame()
    extras = ["n_tokens", "n_neutralised", "assessed_role", "category_scores"]

    def score() -> pd.DataFrame:
        session.cache.clear()
        return score_frame(session, frame, extras=extras, progress=False, **options)

    whole, said = heard(score)
    for name, size in (("FIRST_CHUNK", 4), ("CHUNK", 16), ("_TOGETHER", 5)):
        monkeypatch.setattr(preparing, name, size)
    cut, said_again = heard(score)
    pd.testing.assert_frame_equal(cut, whole, atol=1e-5, rtol=0)
    assert said_again == said
    assert len(said) >= 2
    assert {name for _, name in said} == {__file__}


@pytest.mark.usefixtures("small_chunks")
def test_the_warm_path(session: Session, tiny: Guard) -> None:
    frame = mixed_frame()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        first = score_frame(session, frame, progress=False)
        n_forwards, n_misses = tiny.engine.n_forwards, session.cache.n_misses
        again = score_frame(session, frame, progress=False)
    pd.testing.assert_frame_equal(again, first)
    assert (tiny.engine.n_forwards, session.cache.n_misses) == (n_forwards, n_misses)


@pytest.mark.usefixtures("small_chunks")
def test_two_tables_at_once(session: Session, tiny: Guard) -> None:
    """Two threads of the caller's own, each with its thread ahead, share the guard and its layouts."""
    tables = [[row for row in sample_rows() for _ in range(2)], list(reversed(sample_rows()))]
    tiny.questionnaire(None).first._layouts.clear()
    found: dict[int, list[float | None]] = {}

    def score(i: int) -> None:
        verdicts = score_rows(tables[i], session.request(), Session().cache)
        found[i] = [verdict.unsafe_score for verdict in verdicts]

    callers = [threading.Thread(target=score, args=(i,)) for i in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        expected = [tiny.score(list(table)) for table in tables]
    for i, verdicts in enumerate(expected):
        assert found[i] == pytest.approx([verdict.unsafe_score for verdict in verdicts], abs=1e-5)
    assert not threads()


def test_windows_are_made_when_their_row_is_taken(session: Session, tiny: Guard) -> None:
    def stream() -> Iterator[EncodedRow | ConversationError]:
        request = session.request(overflow="window")
        return encode_rows([parse_conversation("word " * 30_000), *conversations(2)], request)

    first, *others = stream()
    assert isinstance(first, EncodedRow)
    assert len(first.windows) > 1
    assert all(isinstance(row, EncodedRow) and len(row.windows) == 1 for row in others)
