"""What is done to training rows changes no label, hides no message and treats harmful and harmless rows alike."""

import random
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import training.train as loop
from training.augment import DISGUISES, draw_disguise, draw_frame, filler, leet, spaced, wide
from training.examples import FRAMED, Row, draw_epoch, framed_pairs, read_contrast
from training.train import WHOLE, stream

EMBEDDED = Path(__file__).parents[2] / "guard_magic" / "embedded"


@pytest.fixture(scope="module")
def drawn() -> list[Row]:
    return draw_epoch(read_contrast()[0], random.Random(5))


@pytest.fixture(scope="module")
def framed() -> list[Row]:
    return framed_pairs(read_contrast()[0], FRAMED, random.Random(5))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_a_frame_holds_the_message_whole_and_enough_around_it(seed: int) -> None:
    passages = [f"passage {number} about {'gardens and trains ' * 12}" for number in range(20)]
    frame = draw_frame(passages, ["a decoy"], random.Random(seed))
    text = frame.around("THE MESSAGE")
    assert text.count("THE MESSAGE") == 1
    assert frame.parts.count(None) == 1
    assert 150 < len(text) < 2500
    before, after = frame.around("|").split("|")
    assert text == f"{before}THE MESSAGE{after}"


def test_every_place_is_drawn() -> None:
    rng = random.Random(0)
    shapes = Counter(
        tuple(part is None for part in draw_frame(["neutral " * 60], ["decoy"], rng).parts) for _ in range(400)
    )
    wanted = {(False, True), (True, False), (False, True, False), (False, False, True), (True, False, False)}
    assert set(shapes) == wanted
    assert min(shapes.values()) > 20


def test_frames_come_in_pairs_of_both_labels(framed: list[Row]) -> None:
    assert len(framed) == 3000
    assert Counter(row["label"] for row in framed) == {0: 1500, 1: 1500}
    assert all((row["category"] is not None) <= bool(row["label"]) for row in framed)


def shared(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_the_same_text_stands_around_both() -> None:
    rows = framed_pairs(read_contrast()[0], 200, random.Random(2))
    for harmless, harmful in zip(rows[::2], rows[1::2], strict=True):
        assert (harmless["label"], harmful["label"]) == (0, 1)
        assert harmless["group"] == harmful["group"]
        one, other = (row["messages"][-1]["content"] for row in (harmless, harmful))
        assert shared(one, other) + shared(one[::-1], other[::-1]) > 150


def test_nothing_held_out_is_drawn_as_filler(drawn: list[Row]) -> None:
    held = {row["messages"][-1]["content"][:60] for row in read_contrast()[1] if row["kind"] == "neutral"}
    assert held
    joined = "\n".join(row["messages"][-1]["content"] for row in drawn)
    assert not [text for text in held if text in joined]


def test_answers_written_here_are_drawn_whole(drawn: list[Row]) -> None:
    answers = [row for row in drawn if row.get("kind") == "harm_warm" and row["messages"][-1]["role"] == "assistant"]
    assert max(len(row["messages"][-1]["content"]) for row in answers) > 1200
    assert all(row.get("whole") for row in answers)
    assert sum(row.get("whole", False) for row in drawn) > len(answers) + 2 * FRAMED


def test_framed_rows_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    lengths = []
    encode = loop.encode

    def spy(row: Row, tokenizer: object, limit: int) -> object:
        lengths.append((row.get("whole", False), limit))
        return encode(row, tokenizer, limit)

    monkeypatch.setattr(loop, "encode", spy)
    some = [row for row in read_contrast()[0] if row["lang"] == "en"][::8]
    next(stream(some, tokenizer, Namespace(seed=1, max_tokens=320, batch_tokens=2560)))
    assert {limit for whole, limit in lengths if whole} == {WHOLE}
    assert {limit for whole, limit in lengths if not whole} <= {160, 320, 960}


def test_disguises_by_hand() -> None:
    assert leet("Test it") == "7357 17"
    assert spaced("do it") == "d o   i t"
    assert wide("a b!") == "ａ\u3000ｂ！"
    assert filler(["one two", "three"], 0, 9) == "one two"


def test_other_scripts_get_capitals_only() -> None:
    rng = random.Random(1)
    assert {draw_disguise("как дела", rng) for _ in range(20)} == {str.upper}
    assert {draw_disguise("word " * 100, rng) for _ in range(20)} == {str.upper}
    assert {draw_disguise("how are you", rng) for _ in range(200)} == set(DISGUISES)


def test_disguise_does_not_tell_the_label(drawn: list[Row]) -> None:
    def looks_wide(row: Row) -> bool:
        return sum("！" <= letter <= "～" for letter in row["messages"][-1]["content"]) > 5

    rates = []
    for label in (0, 1):
        rows = [row for row in drawn if row["label"] == label and row["lang"] == "en"]
        rates.append(sum(map(looks_wide, rows)) / len(rows))
    assert all(0.002 < rate < 0.03 for rate in rates)
