"""The review engine and the reviewer: a real widget on a recording comm, a real label file on the disk.

A browser is played by its messages alone, in the form in which JupyterLab sends them.
"""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from comm.base_comm import BaseComm

from guard_magic.conversations.conversation import Conversation, Message
from guard_magic.errors import ColumnError, GuardWarning, LabelError, ScoreError
from guard_magic.labels import LABELS, LabelFile, conversation_key
from guard_magic.policy import BUILT_IN, LLAMA_GUARD_3
from guard_magic.review import Reviewer
from guard_magic.review.records import MAX_CONTENT
from guard_magic.review.requests import ACTIONS, checked_keys
from guard_magic.review.rows import BLIND_ORDERS, ORDERS, Query, Rows

CODES = LLAMA_GUARD_3.codes
HOSTILE = "<script>alert(1)</script>\u202e<img src=x onerror=alert(1)> javascript:alert(1) \ud800"
Scored = tuple[pd.DataFrame, list[Conversation | None]]


class Browser(BaseComm):
    """The other end of a widget's comm: what it was sent is kept, and must be JSON without buffers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.received: list[dict[str, Any]] = []
        self.before: Callable[[], object] = lambda: None  # called ahead of every message from the kernel
        super().__init__(*args, **kwargs)

    def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any) -> None:
        assert not buffers
        self.before()
        json.dumps(data, allow_nan=False, ensure_ascii=False).encode("utf-8")
        self.received.append(data)

    def tell(self, **content: Any) -> None:
        self.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})

    def ask(self, type: str, **content: Any) -> dict[str, Any]:
        """Send a message and return its answer."""
        identity = f"{type}-{len(self.received)}"
        self.tell(type=type, id=identity, **content)
        (answer,) = [
            sent["content"]
            for sent in self.received
            if sent.get("method") == "custom" and sent["content"].get("id") == identity
        ]
        return dict(answer)

    def set(self, **state: Any) -> None:
        """Set traits, as save_changes() does."""
        self.handle_msg({"content": {"data": {"method": "update", "state": state, "buffer_paths": []}}, "buffers": []})

    def updates(self, trait: str) -> list[Any]:
        """Return the values that the kernel has sent of a trait."""
        sent = [message["state"] for message in self.received if message.get("method") in ("update", "echo_update")]
        return [state[trait] for state in sent if trait in state]


@pytest.fixture(autouse=True)
def comms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipywidgets.comm.create_comm", lambda **kwargs: Browser(**kwargs))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ann.sqlite"


@pytest.fixture
def labels(path: Path) -> Iterator[LabelFile]:
    with LabelFile(path, annotator="ann") as file:
        yield file


def said(*texts: str) -> Conversation:
    roles = ("user", "assistant")
    return Conversation(tuple(Message(roles[i % 2], text) for i, text in enumerate(texts)))


def scored(scores: list[float | None], hazards: list[str] | None = None, threshold: float = 0.5) -> Scored:
    """Return a frame as df.guard.score() makes it, with each row's hazard under all of its score."""
    hazards = hazards or ["S1"] * len(scores)
    flagged = [score is not None and score >= threshold for score in scores]
    judged = [None if s is None else h if f else "safe" for s, f, h in zip(scores, flagged, hazards, strict=True)]
    frame = pd.DataFrame(
        {
            "unsafe_score": pd.array(scores, dtype="Float64"),
            "category": pd.Categorical(judged, categories=["safe", *CODES]),
            "guard_error": pd.array([None if s is not None else "too long" for s in scores], dtype="string"),
            **{
                f"score_{code}": pd.array(
                    [None if s is None else s * (h == code) for s, h in zip(scores, hazards, strict=True)],
                    dtype="Float64",
                )
                for code in CODES
            },
        },
        index=[f"r{i}" for i in range(len(scores))],
    )
    return frame, [said(f"Question {i}", f"Answer {i}, {'word ' * i}") for i in range(len(scores))]


SIX = [0.08, 0.9, 0.52, None, 0.45, 0.8]


def begin(labels: LabelFile, table: Scored | None = None, **options: Any) -> tuple[Reviewer, Browser]:
    frame, conversations = table or scored(list(SIX), ["S1", "S3", "S2", "S1", "S1", "S2"])
    reviewer = Reviewer(frame, conversations, LLAMA_GUARD_3, labels, **options)
    browser = reviewer.widget.comm
    assert isinstance(browser, Browser)
    return reviewer, browser


def listed(browser: Browser, start: int = 0, count: int = 100) -> list[int]:
    return [line["row"] for line in browser.ask("rows", start=start, count=count)["rows"]]


def look(reviewer: Reviewer, browser: Browser, **changes: Any) -> None:
    browser.set(view={**reviewer.widget.view, **changes})


# Rows


def some_rows(n: int = 400, seed: int = 3) -> tuple[Rows, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    scores = rng.random(n).round(2)
    scores[rng.random(n) < 0.1] = np.nan
    words = ["alpha", "Bravo", "STRASSE", "straße", "Überall", "delta"]
    texts = [" ".join(rng.choice(words, int(rng.integers(1, 9)))) for _ in range(n)]
    keys = [None if rng.random() < 0.05 else conversation_key(said(f"{i}")) for i in range(n)]
    decided = rng.integers(-1, len(LABELS), n).astype(np.int8)
    return Rows(scores, rng.integers(-1, len(CODES), n), CODES, texts, keys, seed=seed), decided, texts


def slow_matching(rows: Rows, decided: np.ndarray, texts: list[str], query: Query) -> set[int]:
    """What matches, by the definition, row by row."""
    found = set()
    for row, text in enumerate(texts):
        score = rows.scores[row]
        flagged = not math.isnan(score) and score >= query.threshold
        label = "unlabelled" if decided[row] < 0 else LABELS[decided[row]]
        model = "unscored" if math.isnan(score) else "flagged" if flagged else "safe"
        hazard = CODES[rows.hazards[row]] if flagged and rows.hazards[row] >= 0 else None
        if (
            query.search.casefold() in text.casefold()
            and (not query.hazards or hazard in query.hazards)
            and (not query.labels or label in query.labels)
            and query.model in (None, model)
        ):
            found.add(row)
    return found


FILTERS = [
    {},
    {"search": "strasse"},
    {"search": "BRAVO alpha"},
    {"search": "nowhere"},
    {"hazards": ("S2", "S14")},
    {"labels": ("unlabelled", "skip")},
    {"model": "flagged"},
    {"model": "safe", "threshold": 0.2},
    {"model": "unscored"},
    {"search": "a", "labels": ("unsafe",), "model": "flagged", "hazards": CODES},
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_what_matches_is_what_the_definition_says_in_every_order(filters: dict[str, Any]) -> None:
    rows, decided, texts = some_rows()
    for sort in ORDERS:
        for descending in (False, True):
            query = Query(**filters, sort=sort, descending=descending)
            found = rows.matching(query, decided).tolist()
            assert len(found) == len(set(found))
            assert set(found) == slow_matching(rows, decided, texts, query)


def test_orders_are_what_their_names_say() -> None:
    rows, decided, texts = some_rows()
    scored_rows = [row for row in range(len(rows)) if not math.isnan(rows.scores[row])]

    def order(sort: str, descending: bool = False, threshold: float = 0.3) -> list[int]:
        return rows.matching(Query(sort=sort, descending=descending, threshold=threshold), decided).tolist()

    near = [abs(rows.scores[row] - 0.3) for row in order("uncertainty")[: len(scored_rows)]]
    assert near == sorted(near)
    assert [rows.scores[r] for r in order("score", True)[: len(scored_rows)]] == sorted(
        (rows.scores[r] for r in scored_rows), reverse=True
    )
    for sort in ("score", "uncertainty"):
        for descending in (False, True):  # what was not scored comes last either way
            assert set(order(sort, descending)[: len(scored_rows)]) == set(scored_rows)
    assert [len(texts[row]) for row in order("length")] == sorted(map(len, texts))
    assert order("row", True) == list(range(len(rows)))[::-1]
    hazards = [int(rows.hazards[row]) for row in order("hazard")]
    flagged = [row for row in order("hazard") if rows.scores[row] >= 0.3 and rows.hazards[row] >= 0]
    assert order("hazard")[: len(flagged)] == flagged
    assert hazards[: len(flagged)] == sorted(hazards[: len(flagged)])
    assert [decided[row] for row in order("label") if decided[row] >= 0] == sorted(decided[decided >= 0].tolist())
    assert all(decided[row] < 0 for row in order("label")[int((decided >= 0).sum()) :])


def test_typing_on_finds_what_a_fresh_search_finds() -> None:
    rows, decided, texts = some_rows()
    for search in ("s", "st", "str", "stra", "str", "x", "", "b", "bravo d", "Bravo", "ß"):
        query = Query(search=search)
        assert set(rows.matching(query, decided).tolist()) == slow_matching(rows, decided, texts, query), search


def test_random_orders_go_by_content_and_seed() -> None:
    texts = [f"text {i}" for i in range(200)]
    keys = [conversation_key(said(text)) for text in texts]

    def order(which: list[int], seed: int, sort: str = "random") -> list[int]:
        rows = Rows(np.linspace(0, 1, 200)[which], [-1] * len(which), CODES, texts, [keys[i] for i in which], seed=seed)
        return [which[row] for row in rows.matching(Query(sort=sort), np.full(len(which), -1, np.int8)).tolist()]

    everything = list(range(200))
    first = order(everything, 0)
    assert sorted(first) == everything
    assert first != everything
    assert order(everything[::-1], 0) == first  # a frame sorted anew
    assert order(everything[:150], 0) == [row for row in first if row < 150]  # an enlarged one, looked at backwards
    assert order(everything, 1) != first
    assert abs(np.corrcoef(first, everything)[0, 1]) < 0.3


def test_stratified_takes_a_row_of_each_tenth_in_turn() -> None:
    scores = np.concatenate([np.full(50, 0.01), np.full(5, 0.35), np.full(3, 1.0), [np.nan]])
    keys = [conversation_key(said(str(i))) for i in range(len(scores))]
    rows = Rows(scores, [-1] * len(scores), CODES, [""] * len(scores), keys)
    found = scores[rows.matching(Query(sort="stratified"), np.full(len(scores), -1, np.int8))]
    for turn in range(3):
        assert sorted(found[3 * turn : 3 * turn + 3]) == [0.01, 0.35, 1.0]
    assert math.isnan(found[-1])


def test_the_place_in_a_stratified_round_says_nothing_of_the_score() -> None:
    scores = np.repeat([0.05, 0.55, 0.95], [600, 60, 60])
    keys = [conversation_key(said(str(i))) for i in range(len(scores))]
    rows = Rows(scores, [-1] * len(scores), CODES, [""] * len(scores), keys)
    found = scores[rows.matching(Query(sort="stratified"), np.full(len(scores), -1, np.int8))][:180].reshape(60, 3)
    for place in range(3):
        counts = [int((found[:, place] == score).sum()) for score in (0.05, 0.55, 0.95)]
        assert min(counts) >= 8, counts  # 20 each are expected


def test_half_a_verdict_is_none(labels: LabelFile) -> None:
    frame, conversations = scored([0.9, 0.2])
    frame["guard_error"] = pd.array(["mass 0.3", None], dtype="string")
    reviewer, browser = begin(labels, (frame, conversations), order="row")
    line = browser.ask("rows", start=0, count=1)["rows"][0]
    assert (line["score"], line["category"], line["error"]) == (None, None, "mass 0.3")
    assert reviewer.widget.head["model"] == {"flagged": 0, "safe": 1, "unscored": 1}


def test_counts_and_histogram_add_up() -> None:
    rows, decided, _ = some_rows()
    n_scored = int((~np.isnan(rows.scores)).sum())
    assert sum(rows.histogram()) == n_scored
    assert len(rows.histogram()) == 40
    assert sum(rows.count_labels(decided).values()) == len(rows)
    for threshold in (0.0, 0.3, 1.0):
        model = rows.count_model(threshold)
        assert model["flagged"] == int((rows.scores >= threshold).sum())
        assert sum(model.values()) == len(rows)
        known = (rows.scores >= threshold) & (rows.hazards >= 0)
        assert sum(rows.count_hazards(threshold).values()) == int(known.sum())


def test_scores_on_the_threshold_are_flagged_as_verdicts_are() -> None:
    rows = Rows([0.5, 0.49999], [0, 0], CODES, ["", ""], [None, None])
    assert rows.flagged(0.5).tolist() == [True, False]
    assert [rows.category(row, 0.5) for row in (0, 1)] == ["S1", "safe"]


# The list and the details


def test_the_head_says_how_many_of_each(labels: LabelFile) -> None:
    reviewer, _ = begin(labels)
    head = reviewer.widget.head
    assert head["n_rows"] == head["n_matching"] == head["total"] == 6
    assert head["counts"] == {"safe": 0, "unsafe": 0, "unsure": 0, "skip": 0, "unlabelled": 6}
    assert head["model"] == {"flagged": 3, "safe": 2, "unscored": 1}
    assert {h["code"]: h["count"] for h in head["hazards"] if h["count"]} == {"S2": 2, "S3": 1}
    assert sum(head["hist"]) == 5
    assert (head["annotator"], head["sort"], head["done"]) == ("ann", "uncertainty", 0)
    assert head["error"] is None


def test_rows_come_in_the_order_asked_for_and_in_pages(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    assert listed(browser) == [2, 4, 5, 1, 0, 3]
    assert listed(browser, 1, 2) == [4, 5]
    assert listed(browser, 6) == []
    look(reviewer, browser, sort="score", descending=True)
    assert listed(browser) == [1, 5, 2, 4, 0, 3]


def test_the_threshold_moves_what_is_flagged_and_names_its_hazard(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    version = reviewer.widget.head["version"]
    look(reviewer, browser, threshold=0.05, sort="row")
    head = reviewer.widget.head
    assert head["version"] > version
    assert head["model"] == {"flagged": 5, "safe": 0, "unscored": 1}
    assert [line["category"] for line in browser.ask("rows", start=0, count=9)["rows"]] == [
        "S1", "S3", "S2", None, "S1", "S2",
    ]  # fmt: skip
    assert reviewer.threshold == 0.05


def test_without_hazard_scores_a_hazard_is_told_only_where_the_frame_has_it(labels: LabelFile) -> None:
    frame, conversations = scored(list(SIX))
    reviewer, browser = begin(labels, (frame[["unsafe_score", "category", "guard_error"]], conversations), order="row")
    look(reviewer, browser, threshold=0.05)
    lines = browser.ask("rows", start=0, count=9)["rows"]
    assert [line["category"] for line in lines] == [None, "S1", "S1", None, None, "S1"]
    assert lines[0]["score"] == 0.08  # flagged, with no hazard known; not unscored


def test_moving_the_selection_is_no_new_head_and_no_echo(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    version, n_views = reviewer.widget.head["version"], len(browser.updates("view"))
    look(reviewer, browser, selected=4, position=1)
    assert reviewer.widget.head["version"] == version
    assert len(browser.updates("head")) == 0
    echoes = browser.updates("view")[n_views:]
    assert all(view == reviewer.widget.view for view in echoes)
    look(reviewer, browser, search="nothing has this")
    assert reviewer.widget.head["version"] > version
    assert reviewer.widget.head["n_matching"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": "high"},
        {"threshold": float("nan")},
        {"threshold": 7},
        {"threshold": True},
        {"search": 3},
        {"hazards": ["S99"]},
        {"hazards": "S1"},
        {"labels": ["maybe"]},
        {"labels": [["safe"]]},
        {"model": "evil"},
        {"model": {}},
        {"sort": "; drop table"},
        {"sort": None},
        {"descending": 1},
        {"selected": 6},
        {"selected": -1},
        {"selected": 1.5},
        {"position": "0"},
    ],
    ids=str,
)
def test_a_view_that_cannot_be_is_put_back(labels: LabelFile, changes: dict[str, Any]) -> None:
    reviewer, browser = begin(labels)
    before = reviewer.widget.view
    look(reviewer, browser, **changes)
    assert reviewer.widget.view == before
    assert listed(browser) == [2, 4, 5, 1, 0, 3]


def test_details_have_everything_and_generated_text_only_on_request(labels: LabelFile) -> None:
    frame, conversations = scored(list(SIX), ["S1", "S3", "S2", "S1", "S1", "S2"])
    frame["log_odds"], frame["generated_text"] = 1.25, "unsafe\nS3"
    _, browser = begin(labels, (frame, conversations))
    detail = browser.ask("detail", row=1)
    assert [message["assessed"] for message in detail["messages"]] == [False, True]
    assert detail["messages"][1]["content"].startswith("Answer 1")
    assert (detail["score"], detail["category"], detail["log_odds"]) == (0.9, "S3", 1.25)
    assert detail["hazards"][0] == {"code": "S3", "name": LLAMA_GUARD_3.category("S3").name, "score": 0.9}
    assert detail["generated_text"] is None
    assert browser.ask("detail", row=1, generate=True)["generated_text"] == "unsafe\nS3"
    assert browser.ask("detail", row=3)["error"] == "too long"


def test_long_and_hostile_text_arrives_cut_and_as_text(labels: LabelFile) -> None:
    frame, conversations = scored([0.5, 0.5])
    conversations[0] = said("short", "x" * 1_000_000)
    conversations[1] = Conversation((Message("user", HOSTILE),))
    _, browser = begin(labels, (frame, conversations), order="row")
    lines = browser.ask("rows", start=0, count=2)["rows"]
    assert len(lines[0]["text"]) <= 200
    assert "<script>alert(1)</script>" in lines[1]["text"]
    long = browser.ask("detail", row=0)["messages"][1]["content"]
    assert long.startswith("x" * MAX_CONTENT)
    assert long.endswith("800,000 more characters are not shown here")


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_hard_to_read_is_hidden_whatever_its_family_calls_it(labels: LabelFile, name: str) -> None:
    policy = BUILT_IN[name]
    frame = pd.DataFrame({"unsafe_score": [0.9] * len(policy), "category": list(policy.codes)})
    talks: list[Conversation | None] = [said(f"About {code}") for code in policy.codes]
    reviewer = Reviewer(frame, talks, policy, labels, order="row")
    hidden = [policy.codes[line["row"]] for line in reviewer._review.first(len(policy)) if line["blurred"]]
    assert hidden == list(policy.distressing)
    assert hidden, "every family has hazards that are hard to read"
    shown = Reviewer(frame, talks, policy, labels, order="row", blur=[])
    assert not any(line["blurred"] for line in shown._review.first(len(policy)))
    blind = Reviewer(frame, talks, policy, labels, order="row", show_scores=False)
    assert all(line["blurred"] for line in blind._review.first(len(policy)))


def test_the_list_blurs_the_hazards_that_were_asked_for(labels: LabelFile, tmp_path: Path) -> None:
    _, browser = begin(labels, order="row")
    assert [line["blurred"] for line in browser.ask("rows", start=0, count=9)["rows"]] == [i == 1 for i in range(6)]
    with LabelFile(tmp_path / "bob.sqlite", annotator="bob") as other:
        _, browser = begin(other, order="row", blur=["S2"])
        assert [r["row"] for r in browser.ask("rows", start=0, count=9)["rows"] if r["blurred"]] == [2, 5]


# Labels


def test_a_label_is_in_the_file_when_it_is_called_stored(labels: LabelFile, path: Path) -> None:
    reviewer, browser = begin(labels)
    kept: list[int] = []

    def count() -> None:
        with closing(sqlite3.connect(path)) as other:
            kept.append(other.execute("SELECT count(*) FROM decisions").fetchone()[0])

    browser.before = count
    answer = browser.ask("label", rows=[1], label="unsafe", category="S3", seconds=2.5)
    assert answer == {"type": "stored", "id": answer["id"], "ok": True, "n": 1, "step": 1, "error": None}
    assert kept[0] == 1  # the first message after the action was the answer
    (decision,) = labels.current().values()
    assert (decision.label, decision.category, decision.seconds) == ("unsafe", "S3", 2.5)
    assert (decision.unsafe_score, decision.model_category, decision.threshold) == (0.9, "S3", 0.5)
    assert (decision.order, decision.score_shown) == ("uncertainty", True)
    head = reviewer.widget.head
    assert head["counts"]["unsafe"] == head["done"] == 1
    assert head["can_undo"]
    assert browser.updates("head")[-1] == head


def test_a_note_and_a_flag_leave_the_label_and_a_new_label_leaves_them(labels: LabelFile) -> None:
    _, browser = begin(labels, order="row")

    def line() -> tuple[Any, ...]:
        record = browser.ask("rows", start=1, count=1)["rows"][0]
        return record["label"], record["label_category"], record["flag"], record["noted"]

    browser.ask("label", rows=[1], flag=True)
    assert line() == (None, None, True, False)
    browser.ask("label", rows=[1], label="unsafe")
    browser.ask("label", rows=[1], label="unsafe", category="S3")
    browser.ask("label", rows=[1], note="look again")
    assert line() == ("unsafe", "S3", True, True)
    browser.ask("label", rows=[1], label="unsafe", category=None)
    assert line() == ("unsafe", None, True, True)
    browser.ask("label", rows=[1], category="S4")
    browser.ask("label", rows=[1], label="safe")
    assert line() == ("safe", None, True, True)
    assert browser.ask("detail", row=1)["note"] == "look again"
    browser.ask("label", rows=[1], label=None, flag=False, note=None)
    assert line() == (None, None, False, False)


def test_undo_and_redo_go_back_and_forth_over_all_steps(labels: LabelFile) -> None:
    reviewer, browser = begin(labels, order="row")

    def state() -> list[tuple[Any, ...]]:
        return [
            (r["label"], r["label_category"], r["flag"], r["noted"])
            for r in browser.ask("rows", start=0, count=9)["rows"]
        ]

    steps = [
        {"rows": [0], "label": "safe"},
        {"rows": [1], "label": "unsafe", "category": "S3"},
        {"rows": [0], "label": "unsure", "note": "hm"},
        {"rows": "matching", "label": "skip"},
        {"rows": [5], "flag": True},
    ]
    states = [state()]
    for step in steps:
        assert browser.ask("label", **step)["ok"]
        states.append(state())
    for expected in states[-2::-1]:
        assert browser.ask("undo")["ok"]
        assert state() == expected
    assert browser.ask("undo") | {"id": ""} == {
        "type": "stored", "id": "", "ok": False, "n": 0, "step": None, "error": "nothing to undo",
    }  # fmt: skip
    for expected in states[1:]:
        assert browser.ask("redo")["ok"]
        assert state() == expected
    assert not reviewer.widget.head["can_redo"]


def test_undo_goes_to_the_row_it_changed(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    browser.ask("label", rows=[5], label="safe")
    look(reviewer, browser, selected=0, position=4)
    browser.ask("undo")
    assert (reviewer.widget.view["selected"], reviewer.widget.view["position"]) == (5, 2)
    assert "undone" in reviewer.widget.head["notice"]


def test_all_in_the_filter_is_one_step(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    browser.ask("label", rows=[2], label="unsure")
    look(reviewer, browser, model="flagged")
    answer = browser.ask("label", rows="matching", label="unsafe", version=reviewer.widget.head["version"])
    assert (answer["ok"], answer["n"], answer["step"]) == (True, 3, 2)
    assert reviewer.widget.head["counts"] == {"safe": 0, "unsafe": 3, "unsure": 0, "skip": 0, "unlabelled": 3}
    browser.ask("undo")
    assert reviewer.widget.head["counts"] == {"safe": 0, "unsafe": 0, "unsure": 1, "skip": 0, "unlabelled": 5}


def test_all_in_the_filter_is_refused_when_the_filter_is_another_than_was_seen(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    seen = reviewer.widget.head["version"]
    look(reviewer, browser, search="Answer")
    answer = browser.ask("label", rows="matching", label="safe", version=seen)
    assert not answer["ok"]
    assert "changed" in answer["error"]
    assert labels.current() == {}


def test_a_filter_by_label_follows_the_labels(labels: LabelFile) -> None:
    reviewer, browser = begin(labels, order="row")
    look(reviewer, browser, labels=["unlabelled"])
    browser.ask("label", rows=[0, 3], label="safe")
    assert listed(browser) == [1, 2, 4, 5]
    assert reviewer.widget.head["n_matching"] == 4
    browser.ask("undo")
    assert listed(browser) == [0, 1, 2, 3, 4, 5]


def test_rows_of_equal_content_share_their_label(labels: LabelFile) -> None:
    frame, conversations = scored([0.2, 0.7, 0.4])
    conversations[2] = conversations[0]
    reviewer, browser = begin(labels, (frame, conversations), order="row")
    assert browser.ask("label", rows=[2], label="safe")["ok"]
    assert reviewer.widget.head["done"] == 2
    assert [line["label"] for line in browser.ask("rows", start=0, count=3)["rows"]] == ["safe", None, "safe"]
    assert reviewer.labels()["label"].astype(object).where(reviewer.labels()["label"].notna(), None).tolist() == [
        "safe", None, "safe",
    ]  # fmt: skip
    assert browser.ask("label", rows="matching", label="unsure")["ok"]
    browser.ask("undo")
    browser.ask("undo")
    assert reviewer.widget.head["done"] == 0


def test_rows_without_a_conversation_are_never_labelled(labels: LabelFile) -> None:
    frame, conversations = scored([None, 0.7])
    conversations[0] = None
    reviewer, browser = begin(labels, (frame, conversations), order="row")
    line = browser.ask("rows", start=0, count=1)["rows"][0]
    assert (line["text"], line["error"], line["n_turns"]) == ("", "too long", 0)
    assert browser.ask("detail", row=0)["messages"] == []
    answer = browser.ask("label", rows=[0], label="safe")
    assert not answer["ok"]
    assert "row 0 has no conversation" in answer["error"]
    assert browser.ask("label", rows="matching", label="safe")["n"] == 1
    assert reviewer.widget.head["done"] == reviewer.widget.head["total"] == 1


def test_the_next_row_is_unlabelled_or_most_uncertain(labels: LabelFile) -> None:
    reviewer, browser = begin(labels, order="row")

    def following(kind: str, **content: Any) -> tuple[Any, Any]:
        answer = browser.ask("next", kind=kind, **content)
        return answer["row"], answer["position"]

    browser.ask("label", rows=[2, 3], label="safe")
    assert following("unlabelled", **{"from": 1}) == (4, 4)
    assert following("unlabelled", **{"from": 5}) == (0, 0)
    assert following("uncertain", **{"from": 0}) == (4, 4)
    assert following("uncertain", **{"from": 4}) == (5, 5)
    look(reviewer, browser, labels=["unlabelled"], selected=4, position=2)
    browser.ask("label", rows=[4], label="safe")  # it leaves the filter; the next one takes its place
    assert following("unlabelled", **{"from": 4}) == (5, 2)
    browser.ask("label", rows="matching", label="skip")
    assert following("unlabelled", **{"from": 4}) == (None, None)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "launch"},
        {"type": None},
        {"type": ["rows"]},
        {},
        {"type": "rows"},
        {"type": "rows", "start": -1, "count": 5},
        {"type": "rows", "start": 0, "count": "5"},
        {"type": "rows", "start": True, "count": 5},
        {"type": "detail", "row": 6},
        {"type": "detail", "row": 1.0},
        {"type": "label", "rows": [1]},
        {"type": "label", "rows": [], "label": "safe"},
        {"type": "label", "rows": "all", "label": "safe"},
        {"type": "label", "rows": [1, 99], "label": "safe"},
        {"type": "label", "rows": [1], "label": "evil"},
        {"type": "label", "rows": [1], "label": ["safe"]},
        {"type": "label", "rows": [1], "label": "safe", "category": "S1"},
        {"type": "label", "rows": [1], "label": "unsafe", "category": "S99"},
        {"type": "label", "rows": [1], "label": "unsafe", "category": ["S1"]},
        {"type": "label", "rows": [1], "flag": "yes"},
        {"type": "next", "kind": "best", "from": 0},
        {"type": "next", "kind": "unlabelled", "from": 6},
        {"type": "next", "kind": "unlabelled", "from": [1, 2]},
    ],
    ids=str,
)
def test_a_message_that_makes_no_sense_is_answered_with_an_error(labels: LabelFile, content: dict[str, Any]) -> None:
    _, browser = begin(labels)
    browser.tell(**content, id="q")
    (answer,) = [sent["content"] for sent in browser.received if sent.get("method") == "custom"]
    assert (answer["type"], answer["id"]) == ("error", "q")
    assert answer["error"]
    assert labels.current() == {}
    assert listed(browser) == [2, 4, 5, 1, 0, 3]


@pytest.mark.parametrize("note", ["x" * 20_000, 7, "nul\0", "half\ud800"])
def test_a_note_that_cannot_be_kept_is_refused_and_said(labels: LabelFile, note: object) -> None:
    reviewer, browser = begin(labels)
    answer = browser.ask("label", rows=[1], label="safe", note=note)
    assert not answer["ok"]
    assert "note" in answer["error"]
    assert labels.current() == {}
    assert reviewer.widget.head["error"]
    assert browser.ask("label", rows=[1], label="safe")["ok"]
    assert reviewer.widget.head["error"] is None


def test_a_label_that_cannot_be_written_is_refused_and_nothing_changes(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    labels.close()
    answer = browser.ask("label", rows=[1], label="safe")
    assert (answer["type"], answer["ok"]) == ("stored", False)
    assert "closed" in answer["error"]
    assert "closed" in reviewer.widget.head["error"]
    assert [line["label"] for line in browser.ask("rows", start=0, count=9)["rows"]] == [None] * 6


def test_what_another_process_labels_is_taken_over_with_the_next_action(labels: LabelFile, path: Path) -> None:
    reviewer, browser = begin(labels, order="row")
    with LabelFile(path, annotator="ann") as other:
        second, second_browser = begin(other, order="row")
        second_browser.ask("label", rows=[0], label="unsafe")
        browser.ask("label", rows=[1], label="safe")
        assert [r["label"] for r in browser.ask("rows", start=0, count=3)["rows"]] == ["unsafe", "safe", None]
        assert reviewer.widget.head["done"] == 2
        assert second.widget.head["done"] == 1


def test_labels_from_many_threads_are_all_kept(labels: LabelFile) -> None:
    table = scored([i / 100 for i in range(60)])
    reviewer, browser = begin(labels, table)

    def label(rows: range) -> None:
        for row in rows:
            browser.tell(type="label", id=f"t{row}", rows=[row], label="safe")
            browser.set(view={**reviewer.widget.view, "threshold": row / 100})

    threads = [threading.Thread(target=label, args=(range(start, 60, 4),)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [sent["content"] for sent in browser.received if sent.get("method") == "custom"]
    assert sorted(answer["step"] for answer in answers) == list(range(1, 61))
    assert reviewer.widget.head["counts"]["safe"] == 60
    assert labels.n_labelled == 60


def test_a_message_waits_for_what_another_thread_is_doing(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    n_received = len(browser.received)
    asking = threading.Thread(target=browser.tell, kwargs={"type": "label", "id": "q", "rows": [1], "label": "safe"})
    with reviewer._lock:
        asking.start()
        asking.join(0.2)
        assert asking.is_alive()
        assert len(browser.received) == n_received
    asking.join()
    assert reviewer.widget.head["done"] == 1


# Reopening


def test_reopening_goes_on_at_the_same_place_with_a_sorted_and_enlarged_frame(path: Path) -> None:
    frame, conversations = scored(list(SIX), ["S1", "S3", "S2", "S1", "S1", "S2"])
    with LabelFile(path, annotator="ann") as labels:
        _, browser = begin(labels, (frame, conversations))
        browser.ask("label", rows=[5], label="unsafe", category="S2", note="n")
    more, others = scored([0.5, 0.3])
    others = [said("new", "one"), said("new", "two")]
    shuffled = [3, 5, 1, 0, 4, 2]
    frame = pd.concat([more, frame.iloc[shuffled]])
    frame["category"] = pd.Categorical(frame["category"], categories=["safe", *CODES])
    conversations = [*others, *(conversations[i] for i in shuffled)]
    with LabelFile(path, annotator="ann") as labels:
        reviewer, browser = begin(labels, (frame, conversations))
        view = reviewer.widget.view
        assert view["selected"] == 3
        assert listed(browser)[view["position"]] == 3
        with pytest.warns(GuardWarning, match="index repeats"):
            found = reviewer.labels()
        assert found.index.tolist() == frame.index.tolist()
        assert found["label"].dropna().to_dict() == {"r5": "unsafe"}
        assert browser.ask("undo")["ok"]
        with pytest.warns(GuardWarning, match="index repeats"):
            assert reviewer.labels()["label"].isna().all()


def test_a_label_that_is_kept_is_said_to_be_kept_though_the_file_cannot_be_read_then(path: Path) -> None:
    with LabelFile(path, annotator="ann", wait=0.05) as labels, closing(sqlite3.connect(path)) as other:
        reviewer, browser = begin(labels)
        record = labels.record

        def lock_after(*args: Any, **kwargs: Any) -> int:
            step = record(*args, **kwargs)
            other.execute("BEGIN EXCLUSIVE")
            return step

        labels.record = lock_after  # type: ignore[method-assign]
        assert browser.ask("label", rows=[1], label="safe")["ok"]
        assert not (refused := browser.ask("label", rows=[2], label="safe"))["ok"]
        assert "locked by another program" in refused["error"]
        other.rollback()
        labels.record = record  # type: ignore[method-assign]
        assert browser.ask("label", rows=[4], label="unsafe")["ok"]
        assert reviewer.labels()["label"].dropna().to_dict() == {"r1": "safe", "r4": "unsafe"}
        assert reviewer.widget.head["done"] == 2
        assert reviewer.widget.head["error"] is None


def test_the_place_is_where_the_person_looked_last(path: Path) -> None:
    with LabelFile(path, annotator="ann") as labels:
        reviewer, browser = begin(labels)
        look(reviewer, browser, selected=1, position=3)
        browser.ask("detail", row=0)  # asked for ahead: no visit
    with LabelFile(path, annotator="ann") as labels:
        reviewer, _ = begin(labels)
        assert (reviewer.widget.view["selected"], reviewer.widget.view["position"]) == (1, 3)


def test_labels_are_a_frame_with_the_frames_index_and_fixed_types(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    empty = reviewer.labels()
    browser.ask("label", rows=[1], label="unsafe", category="S3", note="n", flag=True)
    found = reviewer.labels()
    assert found.dtypes.to_dict() == empty.dtypes.to_dict()
    assert list(found.columns) == [
        "label", "label_category", "note", "flag", "annotator", "labelled_at", "order", "score_shown",
    ]  # fmt: skip
    assert found.index.tolist() == [f"r{i}" for i in range(6)]
    row = found.loc["r1"]
    assert (row["label"], row["label_category"], row["note"], row["annotator"]) == ("unsafe", "S3", "n", "ann")
    assert str(row["labelled_at"].tz) == "UTC"
    assert found.drop("r1").isna().all(axis=None)


# Blind


def test_hidden_scores_are_nowhere(labels: LabelFile) -> None:
    frame, conversations = scored([0.123456, 0.987654, 0.555555, None], ["S1", "S3", "S2", "S1"])
    frame["log_odds"], frame["generated_text"], frame["guard"] = 3.25, "unsafe S3", "lg3"
    reviewer, browser = begin(labels, (frame, conversations), show_scores=False)
    head = reviewer.widget.head
    assert (head["sort"], head["orders"]) == ("random", list(BLIND_ORDERS))
    assert "random" in head["notice"]
    assert (head["model"], head["hist"]) == (None, None)
    assert {hazard["count"] for hazard in head["hazards"]} == {None}
    lines = browser.ask("rows", start=0, count=9)["rows"]
    assert len({line["blurred"] for line in lines}) == 1
    assert {(line["score"], line["category"], line["error"]) for line in lines} == {(None, None, None)}
    for row in range(4):
        browser.ask("detail", row=row, generate=True)
    browser.ask("label", rows=[1], label="safe")
    sent = json.dumps(browser.received[:]) + repr(reviewer.static()) + reviewer.static()._repr_html_()
    for told in ("0.123", "0.987", "0.555", "3.25", "unsafe S3", "too long", "flagged at"):
        assert told not in sent
    assert "not scored" not in repr(reviewer.static())
    assert "<th>score" not in reviewer.static()._repr_html_()
    assert "score" not in {key for line in [head] for key in line["counts"]}
    (kept,) = labels.current().values()
    assert (kept.score_shown, kept.order) == (False, "random")
    assert (kept.unsafe_score, kept.model_category) == (0.987654, "S3")  # both verdicts are kept


def test_hidden_scores_cannot_be_asked_for(labels: LabelFile) -> None:
    reviewer, browser = begin(labels, show_scores=False)
    before = listed(browser)
    for changes in (
        {"sort": "score"},
        {"sort": "uncertainty"},
        {"sort": "hazard"},
        {"model": "flagged"},
        {"hazards": ["S3"]},
    ):
        look(reviewer, browser, **changes)
        assert listed(browser) == before
    look(reviewer, browser, threshold=0.85)
    assert listed(browser) == before
    assert browser.ask("next", kind="uncertain", **{"from": 0})["type"] == "error"


def test_no_order_of_hidden_scores_depends_on_them(tmp_path: Path) -> None:
    orders = []
    for name, scores in (("a", [0.1, 0.9, 0.5, 0.3]), ("b", [0.15, 0.95, 0.55, 0.35])):
        table = scored(list(scores))
        with LabelFile(tmp_path / f"{name}.sqlite", annotator="ann") as labels:
            reviewer, browser = begin(labels, table, show_scores=False)
            found = []
            for sort in BLIND_ORDERS:
                look(reviewer, browser, sort=sort)
                found.append(listed(browser))
            orders.append(found)
    assert orders[0] == orders[1]


# What is shown without a kernel


class Tags(HTMLParser):
    """Every tag and attribute that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_the_static_view_is_a_table_of_twenty_rows_without_script(labels: LabelFile) -> None:
    table = scored([i / 30 for i in range(30)])
    table[1][0] = Conversation((Message("user", HOSTILE),))
    reviewer, browser = begin(labels, table, order="row")
    browser.ask("label", rows=[0], label="unsafe", category="S9", note="n")
    page = reviewer.static()._repr_html_()
    seen = Tags(page)
    assert seen.tags <= {"div", "style", "p", "bdi", "table", "thead", "tbody", "tr", "th", "td", "span", "mark",
                         "details", "summary", "small"}  # fmt: skip
    assert seen.attributes <= {"class", "role", "aria-label", "data-guard-magic-review"}
    assert page.count("<tr>") == 21
    assert "\u202e" not in page
    assert "unsafe S9 ✎" in page
    assert "█" in page
    assert "… and 10 more" in page
    page.encode("utf-8")
    text = repr(reviewer.static())
    assert max(map(len, text.splitlines())) <= 120
    assert "30 rows: 1 unsafe, 29 unlabelled" in text


def test_the_static_view_keeps_blurred_text_behind_a_click_and_out_of_the_terminal(labels: LabelFile) -> None:
    reviewer, _ = begin(labels, order="row")
    page, text = reviewer.static()._repr_html_(), repr(reviewer.static())
    assert "<summary>hidden; show</summary><bdi>Answer 1" in page
    assert "Answer 1" not in text
    assert "Answer 2" in text


def test_the_display_is_the_widget_alone(labels: LabelFile) -> None:
    reviewer, browser = begin(labels)
    browser.ask("label", rows=[1], label="safe")
    bundle = reviewer._repr_mimebundle_()
    shown = bundle[0] if isinstance(bundle, tuple) else bundle
    assert set(shown) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    assert shown["text/plain"] == repr(reviewer) == "<Reviewer: 1 of 6 labelled by ann>"
    assert isinstance(reviewer.widget, ipywidgets.DOMWidget)


# Arguments


def test_frames_that_cannot_be_reviewed_say_why(labels: LabelFile) -> None:
    frame, conversations = scored([0.1, 0.2])
    for table, reason in (
        ((frame.drop(columns="category"), conversations), "category"),
        ((frame, conversations[:1]), "2 scored rows and 1"),
        ((frame, ["text", *conversations[1:]]), "row 0 is a str"),
        ((frame.assign(unsafe_score=[0.1, 1.5]), conversations), "1.5 in row 1"),
        ((frame.assign(unsafe_score=["a", "b"]), conversations), "not a number"),
        ((frame.assign(score_S1=["a", "b"]), conversations), "score_S1 holds"),
        ((pd.concat([frame, frame[["category"]]], axis=1), conversations), "2 columns"),
    ):
        with pytest.raises(ColumnError, match=reason):
            begin(labels, table)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"order": "best"}, LabelError),
        ({"blur": "S3"}, LabelError),
        ({"threshold": 1.5}, ScoreError),
        ({"threshold": "x"}, ScoreError),
        ({"keys": {"safe": "Escape"}}, LabelError),
        ({"keys": {"safe": "1"}}, LabelError),
        ({"keys": {"safe": ""}}, LabelError),
        ({"keys": {"save": "x"}}, LabelError),
        ({"keys": {"safe": "x", "unsafe": ["y", "x"]}}, LabelError),
    ],
    ids=str,
)
def test_options_that_cannot_be_say_so(labels: LabelFile, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        begin(labels, **options)
    assert getattr(caught.value, "hint", "")


def test_keys_reach_the_browser(labels: LabelFile) -> None:
    reviewer, _ = begin(labels, keys={"safe": "a", "next": ["l", "ArrowDown"]})
    assert reviewer.widget.head["keys"] == {"safe": ["a"], "next": ["l", "ArrowDown"]}


def test_the_actions_are_those_of_the_browsers_side() -> None:
    script = (Path(__file__).parents[2] / "guard_magic" / "review" / "static" / "keys.js").read_text(encoding="utf-8")
    block = script[script.index("DEFAULT_KEYS = {") : script.index("};")]
    assert [line.split(":")[0].strip() for line in block.splitlines()[1:] if ":" in line] == list(ACTIONS)
    assert checked_keys({action: f"Shift+{chr(97 + i)}" for i, action in enumerate(ACTIONS)}).keys() == set(ACTIONS)


def test_an_empty_table_is_reviewed_without_complaint(labels: LabelFile) -> None:
    reviewer, browser = begin(labels, scored([]))
    assert reviewer.widget.head["n_rows"] == 0
    assert listed(browser) == []
    look(reviewer, browser, selected=0, search="x")
    assert reviewer.widget.view["selected"] is None
    assert reviewer.widget.head["error"] is None
    assert not browser.ask("label", rows="matching", label="safe")["ok"]
    assert browser.ask("next", kind="unlabelled")["row"] is None
    assert len(reviewer.labels()) == 0
    assert "0 rows" in repr(reviewer.static())


# Size


def test_opening_costs_the_same_whatever_the_number_of_rows(tmp_path: Path) -> None:
    sizes = []
    for n in (10, 2_000):
        with LabelFile(tmp_path / f"{n}.sqlite", annotator="ann") as labels:
            _, browser = begin(labels, scored([i / n for i in range(n)]))
            assert len(browser.received) == 1
            sizes.append(len(json.dumps(browser.received)))
            assert len(browser.ask("rows", start=0, count=10**6)["rows"]) == min(n, 500)
    assert sizes[1] < 1.01 * sizes[0]


@pytest.mark.slow
def test_the_benchmark_runs_and_reports(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "review.py"
    command = [sys.executable, str(script), "--rows", "300", "--labels", "5", "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["benchmark"], report["rows"]) == ("review", 300)
    assert report["first_paint"]["messages"] == 3
    assert report["n_steps"] == 2 * 5 + 1 + 5 + 6
    assert list(tmp_path.iterdir()) == []


def test_a_cell_shows_a_picture_and_the_widget_as_two_outputs(
    labels: LabelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real IPython shell publishes: first HTML without a widget, then the widget without HTML."""
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    publisher = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", publisher)
    reviewer, _ = begin(labels, scored([0.1, 0.9]))
    try:
        reviewer._ipython_display_()
    finally:
        InteractiveShell.clear_instance()
    picture, widget = (output["data"] for output in publisher.outputs)
    assert "application/vnd.jupyter.widget-view+json" not in picture
    assert reviewer.widget.head["mark"] in picture["text/html"]
    assert "text/html" not in widget
    assert "application/vnd.jupyter.widget-view+json" in widget or "Reviewer" in widget["text/plain"]
