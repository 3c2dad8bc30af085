"""The time left is told from the work left: within a factor of two once a fiftieth of the work is done.

Work is counted, no clock is looked at: the engine moves a clock of the test's own.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from guard_magic.conversations.roles import turns
from guard_magic.engine.local import Scored, TokenRow
from guard_magic.errors import ConversationError, GuardWarning
from guard_magic.guards.guard import Guard
from guard_magic.scoring import preparing
from guard_magic.scoring.notices import progress_words
from guard_magic.scoring.progress import NOTHING, Cost, Progress, Watch, measure_rows
from guard_magic.scoring.run import score_rows
from guard_magic.scoring.session import Session
from guard_magic.tables.by_conversation import read_frame, read_series
from guard_magic.tables.column_plan import plan_columns
from guard_magic.tables.score import score_frame

WORDS = ["bread", "kill", "a process", "how do I", "the weather", "is it", "日本語", "x = y + 1;", "mañana", "safe"]


def text(rng: random.Random, n_words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(n_words))


def long_tailed(n: int) -> list[Any]:
    rng = random.Random(n)
    return [text(rng, min(int(rng.lognormvariate(2.5, 1.0)) + 1, 400)) for _ in range(n)]


class Slow:
    """A clock, and an engine that moves it: so much a token, and more the longer the prompt is."""

    def __init__(self, guard: Guard, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.scale, self._score = 0.0, scale, guard.engine.score
        monkeypatch.setattr(guard.engine, "score", self.score)
        monkeypatch.setattr(guard.engine, "write", self.write)
        monkeypatch.setattr(Guard, "n_even", scale)

    def score(
        self, rows: Sequence[TokenRow], continuation: Sequence[int], *args: Any, alone: bool = False
    ) -> Iterator[Scored]:
        for scored in self._score(rows, continuation, *args, alone=alone):
            for row in (rows[i] for i in scored.positions):
                n_read, pace = len(row.ids) - (0 if alone else row.n_prefix) + len(continuation), 0.1 if alone else 0.01
                self.now += pace * n_read * (1 + len(row.ids) / self.scale)
            yield scored

    def write(self, tokenizer: Any, prompts: Sequence[tuple[int, ...]]) -> Iterator[Any]:
        """A prompt is read again; then each token takes as long, however many rows of a batch wait for it."""
        for i, prompt in enumerate(prompts):
            self.now += 0.01 * len(prompt) * (1 + len(prompt) / self.scale) + 0.05 * 50
            yield [i], ["unsafe"]

    def clock(self) -> float:
        return self.now


def told(rows: Any, session: Session, slow: Slow, groups: Any = None, **options: Any) -> list[tuple[float, ...]]:
    """Score rows; return (clock, part that is done, seconds left, rows done) whenever something was told."""
    guard, request = session.guard(), session.request(**options)
    seen: list[tuple[float, ...]] = []
    sizes = measure_rows(rows, groups, guard.room(), request.overflow)

    kinds = [*(["again"] if request.recheck is not None else []), *(["written"] if request.generate else [])]

    def show(progress: Progress) -> None:
        left = progress.seconds_left
        seen.append((slow.now, progress.share, np.nan if left is None else left, progress.n_done))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)
        watch = Progress(sizes, guard.n_even, guard.n_context - guard.room(), kinds=kinds, show=show, clock=slow.clock)
        score_rows(rows, request, session.cache, groups=groups, watch=watch)
    return seen


def errors_of(seen: list[tuple[float, ...]]) -> list[float]:
    """By which factor each estimate was wrong, from a fiftieth of the work on and until a fiftieth is left."""
    begin, end = seen[0][0], seen[-1][0]
    work = end - begin
    assert work > 0
    factors = []
    for now, _, left, _ in seen:
        if begin + work / 50 <= now <= end - work / 50:
            factors.append(max(left / (end - now), (end - now) / left))
    assert len(factors) > 5
    return factors


def unreadable(n: int) -> list[Any]:
    return ["{no JSON " + "x" * 200] * n


def chats(texts: list[str]) -> list[Any]:
    return [[{"role": "user", "content": said}, {"role": "assistant", "content": "Yes. " + said}] for said in texts]


TABLES: dict[str, Callable[[], list[Any]]] = {
    "any order": lambda: long_tailed(200),
    "longest first": lambda: sorted(long_tailed(200), key=len, reverse=True),
    "shortest first": lambda: sorted(long_tailed(200), key=len),
    "nothing to score first": lambda: [None, "", " \n"] * 30 + long_tailed(160),
    "each row three times": lambda: [row for row in long_tailed(70) for _ in range(3)],
    "far too long rows": lambda: long_tailed(160) + ["word " * 200_000] * 3 + long_tailed(40)[:35],
}


@pytest.fixture
def slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tiny: Guard) -> Iterator[Slow]:
    """Chunks and batches scaled down as the table is: 200 rows stand for 40,000."""
    for name, size in (("FIRST_CHUNK", 8), ("CHUNK", 64), ("_TOGETHER", 8)):
        monkeypatch.setattr(preparing, name, size)
    tiny.engine.budget = 512
    yield Slow(tiny, getattr(request, "param", 384), monkeypatch)
    tiny.engine.budget = None


@pytest.mark.parametrize(
    ("name", "slow"),
    [*((name, 384) for name in TABLES), ("longest first", 1e9), ("shortest first", 40)],
    indirect=["slow"],
)
def test_time_left_is_within_a_factor_of_two(name: str, session: Session, slow: Slow) -> None:
    rows = read_series(pd.Series(TABLES[name](), dtype=object))
    assert max(errors_of(told(rows, session, slow))) < 2


WRITTEN: dict[str, Any] = {"generate": True}
AGAIN: dict[str, Any] = {"recheck": 0.2}
ORDERS = ("any order", "longest first", "shortest first", "each row three times")
MORE = [("any order", AGAIN), *((name, how) for name in ORDERS for how in (WRITTEN, {**WRITTEN, "recheck": 0.1}))]


@pytest.mark.parametrize(("name", "options"), MORE)
def test_rows_that_are_written_for_or_read_again(
    name: str, options: dict[str, Any], session: Session, slow: Slow
) -> None:
    """Where scores go with length, how many of a sorted table's rows are near the threshold shows at its end alone."""
    session.threshold = 0.2
    seen = told(read_series(pd.Series(TABLES[name](), dtype=object)), session, slow, **options)
    known = [row for row in seen if not np.isnan(row[2])]
    assert max(errors_of([(0.0, 0.0, 1.0, 0), *known])) < 2
    assert known[0][0] < 0.1 * seen[-1][0], "soon"
    assert all(0 <= share <= 1 for _, share, _, _ in seen)
    assert seen[-1][1:3] == (1.0, 0.0)
    assert all(left > 0 for now, _, left, _ in known if now < seen[-1][0]), "it is not over yet"


def test_text_that_was_written_is_kept_when_it_is_interrupted(
    session: Session, tiny: Guard, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_series(pd.Series(long_tailed(30)))
    asked: list[int] = []

    class Stop(Watch):
        n_seen = 0

        def finish_more(self, kind: str, cost: Cost) -> None:
            self.n_seen += 1
            if self.n_seen == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_rows(rows, session.request(generate=True), session.cache, watch=Stop())
    monkeypatch.setattr(
        tiny.engine, "write", lambda t, prompts: asked.extend(map(len, prompts)) or slow.write(t, prompts)
    )
    verdicts = score_rows(rows, session.request(generate=True), session.cache)
    assert {verdict.generated_text for verdict in verdicts} == {"safe", "unsafe"}
    assert len(asked) == sum(verdict.generated_text == "unsafe" for verdict in verdicts) - 5


def test_broken_rows_first(session: Session, slow: Slow) -> None:
    rows = read_series(pd.Series([*unreadable(80), *chats(long_tailed(120))], name="messages"))
    seen = told(rows, session, slow)
    assert max(errors_of(seen)) < 2
    assert {share for _, share, _, n_done in seen if n_done <= 56} == {0}, "no part of the work"


def test_half_of_it_known_from_an_earlier_call(session: Session, slow: Slow) -> None:
    texts = long_tailed(200)
    score_frame(session, pd.DataFrame({"text": texts[:100]}), progress=False)
    seen = told(read_series(pd.Series(texts)), session, slow)
    assert max(errors_of(seen)) < 2
    assert seen[-1][1:] == (1.0, 0.0, 200)
    again = told(read_series(pd.Series(texts)), session, slow)
    assert again[-1][1:] == (1.0, 0.0, 200)
    assert all(np.isnan(left) for _, _, left, n_done in again if n_done < 200), "nothing was read: nothing is claimed"


def test_beginnings_of_conversations(session: Session, slow: Slow) -> None:
    rng = random.Random(5)
    rows, groups = [], []
    for group in range(20):
        said = [("user", "assistant")[i % 2] for i in range(rng.randint(1, 14))]
        chat = [{"role": role, "content": text(rng, rng.randint(1, 30))} for role in said]
        (row,) = read_series(pd.Series([chat]))
        assert not isinstance(row, ConversationError)
        cuts = turns(row)
        rows += cuts
        groups += [group] * len(cuts)
    assert max(errors_of(told(rows, session, slow, groups))) < 2


@pytest.mark.parametrize("overflow", ["window", "truncate"])
def test_rows_that_are_cut(
    overflow: str, session: Session, tiny: Guard, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.model.config, "max_position_embeddings", 420)
    rng = random.Random(1)
    texts = [text(rng, rng.choice([5, 20, 200, 800])) for _ in range(70)]
    assert max(errors_of(told(read_series(pd.Series(texts)), session, slow, overflow=overflow))) < 2


def test_it_only_grows_and_ends_whole(session: Session, slow: Slow) -> None:
    seen = told(read_series(pd.Series(long_tailed(150))), session, slow)
    assert [row[3] for row in seen] == sorted(row[3] for row in seen)
    assert all(0 <= share <= 1 for _, share, _, _ in seen)
    assert all(after[1] > before[1] - 0.1 for before, after in pairwise(seen))
    assert seen[-1][1:] == (1.0, 0.0, 150)


def test_a_large_table_is_measured_by_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard_magic.scoring.progress._MOST_MEASURED", 50)
    rows = read_series(pd.Series(["x" * (i % 7 + 1) for i in range(1_003)]))
    sizes = measure_rows(rows, None, 8_192, "error")
    assert sizes.shape == (1_003, 2)
    assert sizes[:, 0].mean() == pytest.approx(104, rel=0.02)


def test_measuring_opens_nothing_it_does_not_know() -> None:
    class Hostile(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            raise ZeroDivisionError

    deep: list[Any] = []
    deep.append(deep)
    frame = pd.DataFrame({"messages": [Hostile([1]), deep, (x for x in "ab"), None, 3.5, {"a": "four"}]})
    rows = read_frame(frame, plan_columns(frame.columns))
    assert rows.sizes() == [0, 0, 0, 0, 0, 4]


def test_words_of_the_bar() -> None:
    now = [0.0]
    progress = Progress(np.full((20, 2), 100.0), scale=1_000, clock=lambda: now[0])
    assert progress_words(progress) == "0/20 rows [00:00<?]"
    progress.expect([Cost(50, 50.0)] * 10, NOTHING)
    now[0] = 30.0
    progress.finish(5, Cost(250, 250.0))
    assert progress_words(progress) == "5/20 rows [00:30<01:30, 8 tokens/s]"
    progress.expect([None] * 10, NOTHING)
    progress.finish(5, Cost(250, 250.0))
    now[0] = 4_000.0
    progress.finish(10)
    assert progress_words(progress) == "20/20 rows [1:06:40<00:00, 0 tokens/s]"


def test_nobody_listens_at_no_cost(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard_magic.scoring.run.cost_of", None)
    assert not Watch.listens
    score_frame(session, pd.DataFrame({"text": ["unheard"]}), progress=False)
