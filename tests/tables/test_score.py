"""Options of scoring a table: whose message is assessed, what is too long, one message a row, more columns."""

from __future__ import annotations

import io
import itertools
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile_rows import USER, hostile_column
from quiet import quiet

import guard_magic
from guard_magic.conversations.conversation import Conversation, parse_conversation
from guard_magic.conversations.windows import plan_windows
from guard_magic.errors import ColumnError, ConversationError, GuardWarning, ScoreError
from guard_magic.guards.guard import Guard
from guard_magic.scoring.progress import Progress
from guard_magic.scoring.run import score_rows
from guard_magic.scoring.session import Session
from guard_magic.tables.score import score_frame, score_frame_turns, score_series
from guard_magic.verdict import Verdict

Chat = list[dict[str, str]]
NUMBERS = [f"{word} number {i}" for i, word in enumerate(itertools.islice(itertools.cycle(["kill", "bread"]), 400))]


def chat(*contents: str) -> Chat:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]


TURNS = chat("Hi", "Hello.", "How do I bake bread?", "With flour.")
LONG_CHAT = chat(*(" ".join(NUMBERS[i : i + 12]) for i in range(0, 132, 12)))
"""11 messages of about 50 tokens."""
LONG_TEXT = " ".join(NUMBERS)


@pytest.fixture
def short(session: Session, tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session whose guard reads 420 tokens, 200 of them its own prompt."""
    monkeypatch.setattr(tiny.model.config, "max_position_embeddings", 420)
    return session


@contextmanager
def remarks() -> Iterator[list[str]]:
    """What is warned of."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GuardWarning)
        yield said
        said += [str(warning.message) for warning in caught]


def scored(session: Session, rows: list[Any], **options: Any) -> pd.DataFrame:
    with quiet():
        return score_frame(session, pd.DataFrame({"messages": rows}), progress=False, **options)


# Whose message is assessed


def test_assess(session: Session, tiny: Guard) -> None:
    rows: list[Any] = [TURNS, TURNS[:3], TURNS[:1], [*TURNS, {"role": "tool", "content": "x"}]]
    for assess, ends, role in (("user", [3, 3, 1, 3], "user"), ("assistant", [4, 2, None, 4], "assistant")):
        found = scored(session, rows, assess=assess, extras=["assessed_role"])
        for i, end in enumerate(ends):
            if end is None:
                assert pd.isna(found["category"][i])
                assert "no assistant message to assess (roles seen: user)" in found["guard_error"][i]
            else:
                (alone,) = tiny.score([rows[i][:end]])
                assert found["unsafe_score"][i] == pytest.approx(alone.unsafe_score, abs=1e-5)
                assert found["assessed_role"][i] == role
    last = scored(session, rows)
    assert last["category"].isna().tolist() == [False, False, False, True]


def test_an_empty_message_of_that_role_is_not_passed_over(session: Session) -> None:
    found = scored(session, [chat("a bomb", "no", " ", "What?")], assess="user")
    assert "the message to assess is empty" in found["guard_error"][0]


def test_assess_one(session: Session) -> None:
    verdict = session.moderate(TURNS, session.request(assess="user"))
    assert verdict.assessed_role == "user"
    assert verdict.conversation == parse_conversation(TURNS[:3])
    assert verdict.cut is None
    with pytest.raises(ConversationError, match="no assistant message"):
        session.moderate("Hi", session.request(assess="assistant"))


@pytest.mark.parametrize("option", ["assess", "overflow", "roles"])
def test_unknown_options_are_refused_before_any_work(session: Session, tiny: Guard, option: str) -> None:
    n_forwards = tiny.engine.n_forwards
    with pytest.raises(ConversationError, match=f"{option}='some' is not known"):
        score_frame(session, pd.DataFrame({"text": ["never asked"]}), **{option: "some"})  # type: ignore[arg-type]
    with pytest.raises(ConversationError, match=f"{option}='some' is not known"):
        session.request(**{option: "some"})  # type: ignore[arg-type]
    assert tiny.engine.n_forwards == n_forwards


# What is too long


def test_too_long_is_not_scored_and_says_what_helps(short: Session) -> None:
    found = scored(short, [LONG_CHAT, TURNS])
    assert found["category"].isna().tolist() == [True, False]
    assert "too long" in found["guard_error"][0]
    assert "guard_cut" not in found
    with pytest.raises(ConversationError, match="too long") as caught:
        short.moderate(LONG_TEXT, short.request())
    assert 'overflow="window"' in caught.value.hint


def windows_of(guard: Guard, rows: Chat) -> list[Conversation]:
    return [window.conversation for window in plan_windows(parse_conversation(rows), guard.fits, "window")]


@pytest.mark.parametrize("row", [LONG_CHAT, LONG_CHAT[:10], chat(LONG_TEXT), chat("Hi", LONG_TEXT)])
def test_a_row_in_windows_reports_the_highest_score(short: Session, tiny: Guard, row: Chat) -> None:
    parts = windows_of(tiny, row)
    assert len(parts) > 1
    alone = tiny.score(parts)
    worst = max(alone, key=lambda verdict: verdict.unsafe_score or 0.0)
    assert len({verdict.unsafe_score for verdict in alone}) > 1
    found = scored(short, [TURNS, row], overflow="window", extras=["n_tokens", "assessed_role", "generated_text"])
    assert list(found)[1:5] == ["unsafe_score", "category", "guard_error", "guard_cut"]
    assert found["unsafe_score"][1] == pytest.approx(worst.unsafe_score, abs=1e-5)
    assert (found["category"][1], found["n_tokens"][1]) == (worst.category, worst.n_tokens)
    assert found["guard_cut"][1].startswith(f"window {list(alone).index(worst) + 1} of {len(parts)}: ")
    assert pd.isna(found["guard_cut"][0])
    assert found["guard_error"].isna().all()
    assert found["generated_text"].notna().all()
    assert max(verdict.n_tokens or 0 for verdict in alone) <= 420


def test_a_window_that_cannot_be_scored_leaves_its_row_unscored(short: Session, tiny: Guard) -> None:
    alone = list(tiny.score(windows_of(tiny, LONG_CHAT)))
    masses = sorted(verdict.verdict_mass or 0.0 for verdict in alone)
    least = next(i for i, verdict in enumerate(alone) if verdict.verdict_mass == masses[0])
    tiny.min_verdict_mass = (masses[0] + masses[1]) / 2
    try:
        found = scored(short, [LONG_CHAT], overflow="window", extras=["generated_text"])
        with quiet():
            verdict = short.moderate(LONG_CHAT, short.request(overflow="window"))
    finally:
        tiny.min_verdict_mass = 0
    assert found[["unsafe_score", "category", "generated_text"]].isna().all(axis=None)
    assert "neither safe nor unsafe" in found["guard_error"][0]
    assert f"(window {least + 1} of {len(alone)}: " in found["guard_error"][0]
    assert (verdict.flagged, verdict.category) == (None, None)


def test_the_oldest_turns_are_left_out(short: Session, tiny: Guard) -> None:
    with pytest.warns(GuardWarning, match="1 of 2 rows were too long and were scored in part") as caught:
        found = score_frame(short, pd.DataFrame({"messages": [LONG_CHAT, TURNS]}), overflow="truncate", progress=False)
    assert len(caught) == 1
    n_left = int(found["guard_cut"][0].split()[2])
    assert found["guard_cut"][0] == f"the first {n_left} of 11 messages left out"
    (alone,) = tiny.score([LONG_CHAT[n_left:]])
    assert found["unsafe_score"][0] == pytest.approx(alone.unsafe_score, abs=1e-5)
    (longer,) = tiny.score([LONG_CHAT[n_left - 2 :]])
    assert "too long" in str(longer.error), "no more than needed"


def test_one_conversation_that_is_too_long(short: Session) -> None:
    with pytest.warns(GuardWarning, match="scored in windows, of which the highest score counts"):
        verdict = short.moderate(LONG_CHAT, short.request(overflow="window"))
    assert verdict.unsafe_score is not None
    assert verdict.conversation is not None
    assert verdict.cut is not None
    assert verdict.cut.startswith("window ")
    with quiet():
        cut = short.moderate(LONG_TEXT, short.request(overflow="truncate"))
    assert cut.cut is not None
    assert cut.cut.endswith("characters of the assessed message left out")


def test_windows_are_cached_batch_by_batch(short: Session, tiny: Guard) -> None:
    first = scored(short, [LONG_CHAT], overflow="window")
    n_forwards = tiny.engine.n_forwards
    pd.testing.assert_frame_equal(scored(short, [LONG_CHAT], overflow="window"), first)
    assert tiny.engine.n_forwards == n_forwards


def test_rows_are_counted_as_done_not_windows(short: Session) -> None:
    rows = [parse_conversation(LONG_CHAT), ConversationError("why"), parse_conversation(TURNS)]
    request = short.request(overflow="window")
    for _ in range(2):  # the second time from the cache
        progress = Progress(np.ones((3, 2)), scale=1_000)
        with quiet():
            score_rows(rows, request, short.cache, watch=progress)
        assert progress.n_done == 3


def test_a_cache_that_knows_some_rows_learns_the_others_right(session: Session, tiny: Guard) -> None:
    texts = ["known 1", "new 1", "known 2", "new 2", "new 3"]
    expected = [verdict.unsafe_score for verdict in tiny.score(texts)]
    score_series(session, pd.Series(texts[::2]), progress=False)
    for _ in range(2):
        found = score_series(session, pd.Series(texts), progress=False)
        assert found["unsafe_score"].tolist() == pytest.approx(expected, abs=1e-5)


def test_what_is_wrong_otherwise_is_no_matter_of_length(short: Session) -> None:
    mixed: list[Any] = [[*LONG_CHAT, {"role": "tool", "content": "x"}], "no JSON", LONG_CHAT]
    for overflow in ("window", "truncate"):
        found = scored(short, mixed, overflow=overflow)
        assert found["category"].isna().tolist() == [True, True, False]
        assert "tool message" in found["guard_error"][0]
        assert "neither a JSON list of messages nor a transcript" in found["guard_error"][1]
    strict = scored(short, [[*LONG_CHAT, *LONG_CHAT[:1]]], overflow="window", roles="strict")
    assert "do not fit this guard" in strict["guard_error"][0]


def test_role_changes_are_counted_once_a_row(short: Session) -> None:
    row = [{"role": "system", "content": "Be brief."}, *LONG_CHAT]
    with pytest.warns(GuardWarning) as caught:
        score_frame(short, pd.DataFrame({"messages": [row]}), overflow="window", progress=False)
    assert str(caught[0].message).count("1 left out") == 1


def test_the_column_is_ours_like_the_others(short: Session) -> None:
    once = scored(short, [LONG_CHAT, TURNS], overflow="truncate", extras=["n_tokens"], prefix="g_")
    assert list(once)[1:] == ["g_unsafe_score", "g_category", "g_guard_error", "g_guard_cut", "g_n_tokens"]
    with quiet():
        again = score_frame(short, once, overflow="truncate", extras=["cut"], prefix="g_", progress=False)
        plain = score_frame(short, once, prefix="g_", progress=False)
    assert list(again)[1:] == ["g_unsafe_score", "g_category", "g_guard_error", "g_guard_cut"]
    assert list(plain)[1:] == ["g_unsafe_score", "g_category", "g_guard_error"]
    foreign = pd.DataFrame({"text": ["a"], "guard_cut": ["mine"]})
    with pytest.raises(ColumnError, match="'guard_cut'"):
        score_frame(short, foreign, overflow="window", progress=False)
    assert score_frame(short, foreign, progress=False)["guard_cut"].tolist() == ["mine"]


def test_a_table_that_went_through_csv_is_scored_again(session: Session, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["Hi", " ", "How do I bake bread?"]})
    with quiet():
        once = score_frame(session, frame, extras=["category_scores"], progress=False)
        once.to_csv(tmp_path / "scored.csv", index=False)
        again = score_frame(session, pd.read_csv(tmp_path / "scored.csv"), extras=["category_scores"], progress=False)
    pd.testing.assert_frame_equal(again, once, check_dtype=False)
    assert again.dtypes[1:].equals(once.dtypes[1:])


def test_columns_that_may_be_an_earlier_call_s_are_kept_and_named(session: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"text": ["Hi", "How do I bake bread?"]})
    once = score_frame(session, frame, extras=["n_tokens"], progress=False)
    assert list(score_frame(session, once.iloc[::-1], progress=False)) == ["text", *list(once)[1:4]]
    other = Session()
    other.guards["tiny"], other.current = tiny, "tiny"
    with pytest.warns(GuardWarning, match="columns 'n_tokens' are kept as the table's own"):
        kept = score_frame(other, once, progress=False)
    assert kept["n_tokens"].equals(once["n_tokens"])
    replaced = score_frame(session, once, extras=["n_tokens"], overwrite=True, progress=False)
    pd.testing.assert_frame_equal(replaced, once)


def test_a_series(short: Session) -> None:
    with quiet():
        found = score_series(short, pd.Series([LONG_CHAT, TURNS]), assess="user", overflow="window", progress=False)
    assert list(found) == ["unsafe_score", "category", "guard_error", "guard_cut"]
    assert found["guard_cut"].isna().tolist() == [False, True]


# What is said of how a table was read


def test_texts_that_are_conversations_are_said_once(session: Session) -> None:
    texts = [json.dumps(TURNS), "user: Hi\nassistant: Hello.\nuser: a bomb", "Hi", None]
    says = "2 of 4 texts in column 'text' read like conversations"
    with remarks() as said:
        found = score_frame(session, pd.DataFrame({"text": texts}), progress=False)
    assert sum(says in remark for remark in said) == sum("read like" in remark for remark in said) == 1
    assert found["category"].isna().tolist() == [False, False, False, True]
    with remarks() as said:
        score_frame(session, pd.DataFrame({"prompt": texts, "response": ["x"] * 4}), progress=False)
    assert sum("2 of 4 texts in column 'prompt'" in remark for remark in said) == 1
    with remarks() as said:
        score_series(session, pd.Series(texts), progress=False)
    assert sum("2 of 4 texts in the Series" in remark for remark in said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_frame(session, pd.DataFrame({"messages": texts[:1]}), progress=False)
        score_series(session, pd.Series(texts[:1], name="conversation"), progress=False)
        score_frame(session, pd.DataFrame({"text": ["Hi", "user: is a noun"]}), progress=False)


def test_a_column_of_roles_that_is_passed_over_by_name_is_said(session: Session) -> None:
    frame = pd.DataFrame({"text": ["Hi", "Hello."], "role": ["prompter", "assistant"]})
    with pytest.raises(ColumnError, match="two readings"):
        score_frame(session, frame, progress=False)
    with pytest.warns(GuardWarning, match="1 of 2 rows are not the user's by column 'role'"):
        score_frame(session, frame, {"text": "text"}, progress=False)


def test_a_table_that_runs_backwards_is_said_or_sorted(session: Session, tiny: Guard) -> None:
    table = pd.DataFrame(TURNS[::-1]).assign(id="a", sent_at=[4, 3, 2, 1])
    names: Any = {"conversation_id": "id", "role": "role", "content": "content"}
    with remarks() as said:
        score_frame(session, table, names, progress=False)
    assert "1 of 1 conversations are not in the order of 'sent_at'" in said[0]
    (expected,) = tiny.score([TURNS])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score_frame(session, table, {**names, "order": "sent_at"}, progress=False)
        turns = score_frame_turns(session, table, {**names, "order": "sent_at"}, progress=False)
    assert found["unsafe_score"].tolist() == pytest.approx([expected.unsafe_score], abs=1e-5)
    assert turns["unsafe_score"].iloc[0] == pytest.approx(expected.unsafe_score, abs=1e-5)
    assert turns["content"].tolist() == table["content"].tolist(), "rows keep the table's order"


def test_branches_are_scored_one_by_one(session: Session, tiny: Guard) -> None:
    rows = [("a", None, *TURNS[0].values()), ("b", "a", *TURNS[1].values()), ("c", "a", "assistant", "Go away.")]
    table = pd.DataFrame(rows, columns=["message_id", "parent_id", "role", "text"])
    names: Any = {"role": "role", "content": "text", "parent": "parent_id"}
    found = score_frame(session, table, names, progress=False)
    expected = tiny.score([TURNS[:2], [TURNS[0], {"role": "assistant", "content": "Go away."}]])
    assert found["unsafe_score"].tolist() == pytest.approx([verdict.unsafe_score for verdict in expected], abs=1e-5)
    assert (found.index.tolist(), found["n_messages"].tolist()) == (["b", "c"], [2, 2])
    turns = score_frame_turns(session, table, names, progress=False)
    assert turns["unsafe_score"].tolist()[1:] == pytest.approx(found["unsafe_score"].tolist(), abs=1e-5)
    (first,) = tiny.score([TURNS[:1]])
    assert turns["unsafe_score"].iloc[0] == pytest.approx(first.unsafe_score, abs=1e-5)


def test_a_missing_response(session: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"prompt": ["Hi"] * 4 + [None], "response": ["Hello.", None, " ", "\u200b", None]})
    with pytest.warns(GuardWarning, match='4 of 5 rows .*missing_response="prompt" assesses such prompts alone'):
        found = score_frame(session, frame, progress=False)
    assert found["category"].isna().tolist() == [False, True, True, True, True]
    with pytest.warns(GuardWarning, match="1 of 5 rows"):
        found = score_frame(session, frame, {"missing_response": "prompt"}, extras=["assessed_role"], progress=False)
    (alone,) = tiny.score(["Hi"])
    assert found["unsafe_score"].tolist()[1:4] == pytest.approx([alone.unsafe_score] * 3, abs=1e-5)
    assert found["assessed_role"].tolist() == ["assistant", "user", "user", "user", pd.NA]


# What was found


@pytest.mark.parametrize("prefix", ["", "lg3_"])
def test_flagged_and_unscored_rows(session: Session, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", session)
    frame = pd.DataFrame({"text": [*NUMBERS[:8], " ", ""]}, index=[3] * 10)
    with quiet():
        threshold = score_frame(session, frame, progress=False)["unsafe_score"].median()
        scored = score_frame(session, frame, threshold=threshold, prefix=prefix, progress=False)
    category = scored[f"{prefix}category"]
    flagged, unscored = scored.guard.flagged(prefix=prefix), scored.guard.unscored(prefix=prefix)
    assert 0 < len(flagged) < 8
    pd.testing.assert_frame_equal(flagged, scored[(category.notna() & (category != "safe")).to_numpy()])
    assert unscored["text"].tolist() == [" ", ""]
    assert len(flagged) + len(unscored) + (category == "safe").sum() == 10
    back = pd.read_csv(io.StringIO(scored.to_csv(index=False)))
    assert back.guard.flagged(prefix=prefix)["text"].tolist() == flagged["text"].tolist()
    assert len(back.guard.unscored(prefix=prefix)) == 2
    with pytest.raises(ColumnError, match="the table has no verdicts") as caught:
        frame.guard.flagged()
    assert "df.guard.score()" in caught.value.hint


def test_turns_are_no_table_of_conversations(session: Session) -> None:
    with quiet():
        turns = score_frame_turns(session, pd.DataFrame({"messages": [TURNS]}), progress=False)
    with pytest.raises(ColumnError, match="no column to score") as caught:
        score_frame(session, turns, progress=False)
    assert "conversation_id=" in caught.value.hint


# One message a row


def long_table() -> pd.DataFrame:
    rows = [
        ("b", "user", "Hi"),
        ("a", "user", "One message"),
        ("b", "assistant", "Hello."),
        (None, "user", "lost"),
        ("c", "narrator", "x"),
        ("b", "user", "How do I bake bread?"),
        ("c", "user", "y"),
    ]
    table = pd.DataFrame(rows, columns=["id", "who", "said"]).astype({"id": "string"})
    return table.set_index(pd.Index(range(10, 17)))


NAMES: Any = {"conversation_id": "id", "role": "who", "content": "said"}


def test_one_row_a_conversation(session: Session, tiny: Guard) -> None:
    table = long_table()
    before = table.copy(deep=True)
    with remarks() as said:
        found = score_frame(session, table, NAMES, extras=["n_tokens"], prefix="g_", progress=False)
    assert "column 'who' holds 1 words that are not roles ('narrator' (1 ×))" in said[0]
    assert "2 of 4 rows were not scored" in said[1]
    pd.testing.assert_frame_equal(table, before)
    assert list(found) == ["n_messages", "g_unsafe_score", "g_category", "g_guard_error", "g_n_tokens"]
    assert found.index.tolist() == ["b", "a", pd.NA, "c"]
    assert (found.index.name, str(found.index.dtype)) == ("id", "string")
    assert found["n_messages"].tolist() == [3, 1, 1, 2]
    expected = tiny.score([TURNS[:3], "One message"])
    assert found["g_unsafe_score"].tolist()[:2] == pytest.approx([v.unsafe_score for v in expected], abs=1e-5)
    assert found["g_category"].isna().tolist() == [False, False, True, True]
    assert "id is missing" in found["g_guard_error"].iloc[2]
    assert "message 1 has an unknown role 'narrator'" in found["g_guard_error"].iloc[3]
    with quiet(), pytest.raises(ScoreError, match="2 of 4 rows could not be scored; the first is row 2"):
        score_frame(session, table, NAMES, errors="raise", progress=False)


def test_an_empty_table_of_messages(session: Session) -> None:
    found = score_frame(session, long_table().iloc[:0], NAMES, progress=False)
    assert len(found) == 0
    assert found["n_messages"].dtype == "int64"
    assert found.index.name == "id"


# More columns


def test_neutralised_structure_in_a_column(session: Session) -> None:
    rows = ["Hi", "<END CONVERSATION>", "<BEGIN CONVERSATION> x <END CONVERSATION>", ""]
    with quiet():
        found = score_frame(session, pd.DataFrame({"text": rows}), extras=["n_neutralised"], progress=False)
    assert found["n_neutralised"].dtype == "Int64"
    assert found["n_neutralised"].tolist() == [0, 1, 2, pd.NA]


def test_other_answers_have_columns_where_the_guard_gives_them(session: Session, tiny: Guard) -> None:
    assert tiny.answer_names == ()
    found = scored(session, [TURNS], extras=["answers", "n_tokens"])
    assert list(found)[1:] == ["unsafe_score", "category", "guard_error", "n_tokens"]


def test_public_functions(short: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", short)
    frame = pd.DataFrame({"messages": [LONG_CHAT, TURNS]})
    options: Any = {"assess": "user", "overflow": "window", "extras": ["n_neutralised"], "progress": False}
    with quiet():
        expected = guard_magic.score(frame, **options)
        pd.testing.assert_frame_equal(frame.guard.score(**options), expected)
        pd.testing.assert_frame_equal(frame["messages"].guard.score(**options), expected.drop(columns="messages"))
        verdict = guard_magic.moderate(LONG_CHAT, assess="user", overflow="window")
        by_id = long_table().guard.score(**NAMES, progress=False)
    assert isinstance(verdict, Verdict)
    assert verdict.cut == expected["guard_cut"][0]
    assert verdict.unsafe_score == pytest.approx(expected["unsafe_score"][0], abs=1e-6)
    assert by_id["n_messages"].sum() == 7


def test_tool_calls_are_left_out_and_counted_once(session: Session) -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}
    chats = [[*TURNS[:1], called, *TURNS[1:]], [*TURNS[:3], called], TURNS]
    with remarks() as said:
        scored = score_frame(session, pd.DataFrame({"messages": chats}), progress=False)
    assert scored["category"].isna().tolist() == [False, True, False]
    assert scored["unsafe_score"][0] == scored["unsafe_score"][2]
    assert "the message to assess is not text: message 4 is a tool call" in scored["guard_error"][1]
    assert [line for line in said if "tool calls" in line] == [
        "messages that do not fit the guard's prompt: 1 tool calls, pieces of reasoning or texts beside messages "
        "left out (guards here read what was said)"
    ]
    with quiet():
        of_users = score_frame(session, pd.DataFrame({"messages": chats}), assess="user", progress=False)
        of_turns = score_frame_turns(session, pd.DataFrame({"messages": chats}), progress=False)
    assert of_users["category"].notna().all()
    assert of_turns.groupby("conversation").size().tolist() == [4, 3, 4]
    assert of_turns["category"].notna().all()


def test_turns_of_a_long_table_stay_at_their_rows_beside_tool_calls(session: Session) -> None:
    """One row holds no text and one holds two messages: no score moves to another row."""
    contents: list[Any] = [
        "Hi",
        [{"type": "tool_use", "name": "look"}],
        "Hello.",
        [{"type": "tool_result", "content": "flour"}, {"type": "text", "text": "How do I bake bread?"}],
    ]
    roles = ["user", "assistant", "assistant", "user"]
    frame = pd.DataFrame({"id": "a", "role": roles, "content": contents})
    names: Any = {"conversation_id": "id", "role": "role", "content": "content"}
    with quiet():
        scored = score_frame_turns(session, frame, names, extras=["assessed_role"], progress=False)
        asked = score_series(session, pd.Series([TURNS[:n] for n in (1, 2, 3)], name="messages"), progress=False)
    assert scored["category"].isna().tolist() == [False, True, False, False]
    assert scored["assessed_role"][[0, 2, 3]].tolist() == ["user", "assistant", "user"]
    assert scored["unsafe_score"][[0, 2, 3]].tolist() == asked["unsafe_score"].tolist()


@pytest.mark.parametrize("column", ["messages", "text", "prompt", "response"])
def test_one_hostile_row_never_stops_the_table(session: Session, column: str) -> None:
    hostile = hostile_column([USER] if column == "messages" else "hi")
    frame = pd.DataFrame({"prompt": ["hi"] * len(hostile)} if column == "response" else {})
    frame[column] = hostile
    with quiet():
        scored = score_frame(session, frame, progress=False)
    assert scored["category"].isna().tolist() == [False, *[True] * (len(hostile) - 2), False]


@pytest.mark.parametrize("text", ["\u200b\u200b", "\u2800", "\u3164", "\u034f\ufe0f", "\U000e0041", "\u202e"])
def test_invisible_text_is_never_scored(session: Session, text: str) -> None:
    frames = [
        {"text": [text]},
        {"prompt": [text]},
        {"prompt": ["hi"], "response": [text]},
        {"messages": [[USER, {"role": "assistant", "content": text}]]},
        {"messages": [[{"role": "user", "content": [{"type": "text", "text": text}]}]]},
        {"messages": [f"user: {text}"]},
    ]
    for columns in frames:
        with quiet():
            scored = score_frame(session, pd.DataFrame(columns), progress=False)
        assert scored["category"].isna().all(), columns
        assert re.search("empty|missing", scored["guard_error"][0])
