"""The five tests hold what they promise, are never trained on, and are measured as they say."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from training.augment import filler
from training.examine import (
    LARGEST,
    NAMES,
    PLACES,
    SIZES,
    cells,
    failing_languages,
    frame,
    judge_position,
    measure_cells,
    position_rows,
    read_neutral,
    requests,
)
from training.examples import TESTS, held_out, read_contrast, read_rows
from training.overlap import LIMIT, as_one_text, near, read_tests

CODES = {f"S{number}" for number in range(1, 15)}
FILES = ("languages", "warm", "stance", "everyday")


@pytest.mark.parametrize("name", FILES)
def test_rows_are_well_formed(name: str) -> None:
    rows = read_rows(TESTS / f"{name}.jsonl")
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"][: len(roles)]
        assert all(message["content"].strip() for message in row["messages"])
        assert (row["category"] in CODES) if row["label"] else row["category"] is None
    texts = [as_one_text(row) for row in rows]
    assert len(set(texts)) == len(texts)
    assert len({row["id"] for row in rows}) == len(rows)


def test_every_language_has_twenty_of_each() -> None:
    counts = Counter((row["lang"], row["label"]) for row in read_rows(TESTS / "languages.jsonl"))
    assert set(counts.values()) == {20}
    languages = {lang for lang, _ in counts}
    assert len(languages) >= 25
    assert set(LARGEST) <= languages


def test_sizes_of_the_others() -> None:
    warm, stance, everyday = (read_rows(TESTS / f"{name}.jsonl") for name in ("warm", "stance", "everyday"))
    assert len(warm) >= 150
    assert all(row["messages"][-1]["role"] == "assistant" for row in warm)
    assert 0.4 < np.mean([row["label"] for row in warm]) < 0.6
    assert len(stance) >= 300
    assert len(everyday) >= 300
    assert not any(row["label"] for row in everyday)


def test_words_about_a_group_stand_on_both_sides() -> None:
    labels = defaultdict(set)
    for row in read_rows(TESTS / "stance.jsonl"):
        labels[row["about"]].add(row["label"])
    assert all(found == {0, 1} for found in labels.values())


def test_requests_are_held_out_and_plain() -> None:
    for label in (0, 1):
        chosen = requests(label)
        assert len(chosen) == 200
        assert all(held_out(row["group"]) and row["label"] == label for row in chosen)


def test_position_rows_keep_the_request_whole_and_share_their_frames() -> None:
    rows = list(position_rows())
    assert Counter(cell for cell, _ in rows) == dict.fromkeys(
        ["alone", *(f"{place}_{size}" for place in PLACES for size in SIZES)], 400
    )
    request, frames = "", defaultdict(list)
    for cell, row in rows:
        text = row["messages"][0]["content"]
        request = text if cell == "alone" else request
        assert request in text
        before, _, after = text.partition(request)
        frames[cell, row["label"]].append((before, after))
        if cell != "alone":
            place, size = cell.split("_")
            assert bool(before) is (place != "after")
            assert bool(after) is (place != "before")
            assert 0.9 * int(size) < len(before) + len(after) < int(size) + 8
    assert all(frames[cell, 0] == frames[cell, 1] for cell, _ in frames)


def test_filler_is_cut_at_a_space() -> None:
    assert filler(["ab cd", "ef gh"], 1, 12) == "ef gh\n\nab cd"
    assert filler(["ab cd", "ef gh"], 0, 11) == "ab cd\n\nef"
    assert frame("x", ("", "b")) == "x\n\nb"
    assert len(read_neutral()) >= 40


def test_cells_are_measured_apart_and_alone_does_not_count() -> None:
    found = [
        (cell, {**row, "label": label}) for cell in ("alone", "a") for label in (0, 1) for row in requests(label, 1)
    ]
    scores = {"log_odds": np.array([1.0, -1.0, -1.0, 1.0]), "unsafe": np.array([0.7, 0.3, 0.3, 0.7])}
    report = measure_cells(found, scores)
    assert (report["alone"]["recall"], report["alone"]["fpr"]) == (0, 1)
    assert (report["a"]["recall"], report["a"]["fpr"]) == (1, 0)
    assert report["all"] == report["a"]


def test_one_bad_cell_fails_the_position_test() -> None:
    good, bad = {"recall": 0.9, "fpr": 0.05}, {"recall": 0.9, "fpr": 0.15}
    assert judge_position({"alone": bad, "before_800": good, "all": bad})
    assert not judge_position({"alone": good, "before_800": good, "after_800": bad, "all": good})


def test_large_languages_have_the_higher_bar() -> None:
    middling = {"recall": 0.7, "fpr": 0.15}
    assert failing_languages({"en": middling, "el": middling, "all": middling}) == ["en"]


def test_every_test_can_be_read() -> None:
    for name in NAMES:
        assert len(cells(name)) >= 170


def test_nothing_trained_on_is_near_a_test() -> None:
    rows, tests = read_contrast()[0], read_tests()
    found = near([as_one_text(row) for row in rows], [text for _, text in tests])
    assert not [(round(c, 2), rows[i]["id"], tests[j][0]) for c, i, j in found], f"cosine above {LIMIT}"


def test_near_finds_what_is_nearly_the_same() -> None:
    others = ["How do I water the ferns?", "The mill was sold in 1894."]
    found = near(["How do I water my ferns?", "Is it late?", json.dumps(others[1])], others)
    assert sorted((i, j) for _, i, j in found) == [(0, 0), (2, 1)]
