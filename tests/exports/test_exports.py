"""Exports: each form read back by what reads it. Label Studio's and Argilla's libraries are asked where they are."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import stat
import subprocess
import unicodedata
import uuid
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.errors import ColumnError, GuardWarning, LabelError
from guard_magic.exports import FORMS, export_labels, label_studio_config, spreadsheet_text
from guard_magic.labels import LABELS, Decision, LabelFile, conversation_key, merge_labels

HOSTILE = [
    '=HYPERLINK("http://x","y")',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "  =1",
    "\r=1",
    "\n=1",
    "＝1",
    "'quoted",
    "'=1",
    "|x",
    'a,"b"\r\nc',
    "</script><script>",
    "\u202eabc\u2028d",
    "é",
    "=" * 3,
]
CODES = ["S1", "S2", "S9"]


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": f"{text} no"}]


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    """Scored rows of hostile texts, labelled by two people and adjudicated; the last row is not scored."""
    rows = [messages(text) for text in HOSTILE]
    n = len(rows)
    keys = [conversation_key(parse_conversation(row)) for row in rows]
    scores = pd.array([i / (n - 1) for i in range(n - 1)] + [None], dtype="Float64")
    scored = pd.DataFrame(
        {
            "messages": rows,
            "topic": HOSTILE,
            "unsafe_score": scores,
            "category": pd.Categorical(
                [None if pd.isna(s) else "safe" if s < 0.5 else CODES[i % 3] for i, s in enumerate(scores)],
                categories=["safe", *CODES],
            ),
            "guard": pd.array(["g@1"] * n, dtype="string"),
        },
        index=[f"row {i}" for i in range(n)],
    )
    said = {
        "ann": {0: "safe", 1: "unsafe S1", 2: "skip", 3: "unsure", 4: "safe"},
        "bob": {0: "safe", 1: "safe", 5: "unsafe S2"},
        "carl": {1: "unsafe S9"},
    }
    paths = []
    for who, labels in said.items():
        paths.append(tmp_path / f"{who}.sqlite")
        with LabelFile(paths[-1], annotator=who, role="adjudicate" if who == "carl" else "label") as file:
            for at, what in labels.items():
                label, _, hazard = what.partition(" ")
                note = HOSTILE[at] if at == 1 else None
                file.record([Decision(keys[at], label, hazard or None, note, score_shown=True, seconds=1.5)], "label")
    return scored.join(merge_labels(pd.Series(keys, index=scored.index), paths))


def same(one: pd.DataFrame, other: pd.DataFrame, columns: list[str]) -> None:
    """Compare values, missing ones alike, whatever the column types."""
    for name in columns:
        left, right = ([None if pd.isna(x) else x for x in frame[name].astype(object)] for frame in (one, other))
        assert left == right, name


FLAT = ["topic", "unsafe_score", "category", "label", "label_category", "note_ann", "adjudicated", "agree", "n_labels"]


# Tables


def test_jsonl_is_read_back_by_pandas_and_json(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = export_labels(frame, tmp_path / "x.jsonl")
    same(pd.read_json(path, lines=True, precise_float=True), frame, [n for n in FLAT if n != "topic"])
    rows = [json.loads(line) for line in path.read_text("ascii").splitlines()]  # one line a row, U+2028 or not
    assert [row["topic"] for row in rows] == HOSTILE
    assert [row["messages"] for row in rows] == list(frame["messages"])
    assert [row["unsafe_score"] for row in rows[:-1]] == list(frame["unsafe_score"][:-1])
    assert rows[-1]["unsafe_score"] is None
    assert rows[0]["labelled_at_ann"] == frame["labelled_at_ann"].iloc[0].isoformat()


def test_csv_is_read_back_and_no_cell_is_a_formula(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame = frame.rename(columns={"agree": "=agree"})
    path = export_labels(frame, tmp_path / "x.csv")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert "'=agree" in rows[0]
    texts = [cell for row in rows for cell in row]
    assert not [cell for cell in texts if cell.lstrip(" ").startswith(tuple("=+-@\t\r\n＝"))]
    assert [row[1].removeprefix("'") for row in rows[1:]] == HOSTILE
    assert [json.loads(row[0]) for row in rows[1:]] == list(frame["messages"])
    again = pd.read_csv(path)
    same(again, frame, ["unsafe_score", "category", "label", "label_category", "adjudicated", "n_labels"])


UNSEEN = "\u200b\ufeff\0\xad\u2066\U000e0020\u3000\u2028\x0b\u3164\u115f\ufe0f\u0301\u2800\xa0\x85\x1b"


@pytest.mark.parametrize("sign", [*"=+-@|%", *"＝＋－＠｜％", *"﹦﹢﹣﹫﹪", "⁼", "₊", "\u2212"])
def test_whatever_a_spreadsheet_drops_first_is_looked_through(sign: str) -> None:
    for hidden in ["", *UNSEEN, UNSEEN, " \u200b \t"]:
        text = f"{hidden}{sign}1+1"
        assert spreadsheet_text(text) == f"'{text}"
    for text in ("1 = 1", "a\u200b=1", "", "\u200b", "#=1"):
        assert spreadsheet_text(text) == text


@given(st.text(st.sampled_from([*"=+-@|%'a \t", *UNSEEN]), max_size=6) | st.text(max_size=10))
@settings(deadline=None, max_examples=300)
def test_no_cell_starts_as_a_formula_and_each_gives_its_text_back(text: str) -> None:
    written = spreadsheet_text(text)
    seen = regex.sub(r"^[\p{Z}\p{Cc}\p{Cf}\p{M}\p{Default_Ignorable_Code_Point}\u2800]+", "", written)
    assert not unicodedata.normalize("NFKC", seen).startswith(tuple("=+-@|%"))
    assert written.removeprefix("'") == text


@pytest.mark.parametrize("text", HOSTILE)
def test_one_apostrophe_less_gives_the_text_back(text: str) -> None:
    assert spreadsheet_text(text).removeprefix("'") == text
    assert spreadsheet_text("1 = 1") == "1 = 1"


def test_negative_numbers_stay_numbers(tmp_path: Path) -> None:
    path = export_labels(pd.DataFrame({"x": [-1.5, -2.0]}), tmp_path / "x.csv")
    assert list(pd.read_csv(path)["x"]) == [-1.5, -2.0]


def test_parquet_is_read_back_by_pandas(frame: pd.DataFrame, tmp_path: Path) -> None:
    again = pd.read_parquet(export_labels(frame, tmp_path / "x.parquet"))
    same(again, frame, FLAT)
    assert [list(row) for row in again["messages"]] == list(frame["messages"])
    assert list(again["label"].cat.categories) == list(LABELS)
    assert again["labelled_at_ann"].dtype == frame["labelled_at_ann"].dtype


def test_datasets_is_read_back_by_datasets(frame: pd.DataFrame, tmp_path: Path) -> None:
    again = datasets.load_from_disk(export_labels(frame, tmp_path / "set", "datasets"))
    same(again.to_pandas(), frame, FLAT)
    assert again["messages"][:] == list(frame["messages"])


def test_conversations_and_empty_frames_are_written(tmp_path: Path) -> None:
    said = pd.DataFrame({"messages": [parse_conversation("a"), None]})
    for form in ("jsonl", "csv", "parquet", "datasets"):
        export_labels(said, tmp_path / f"one.{form}", form)
        export_labels(said.iloc[:0], tmp_path / f"none.{form}", form)
    assert list(pd.read_parquet(tmp_path / "one.parquet")["messages"][0]) == [{"role": "user", "content": "a"}]
    assert (tmp_path / "none.jsonl").read_text() == ""


# Label Studio and Argilla


def task_of(tasks: list[dict[str, Any]], at: int) -> dict[str, Any]:
    key = conversation_key(parse_conversation(messages(HOSTILE[at])))
    return next(task for task in tasks if task.get("data", task).get("key", task.get("id")) == key)


def chosen(results: list[dict[str, Any]]) -> dict[str, str]:
    return {one["from_name"]: next(iter(one["value"].values()))[0] for one in results}


def test_label_studio_keeps_both_verdicts(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = export_labels(frame, tmp_path / "tasks.json", "label_studio", users={"ann": 7})
    tasks = json.loads(path.read_text())
    assert len(tasks) == len(frame)
    agreed, differing, skipped = (task_of(tasks, at) for at in (0, 1, 2))
    assert agreed["data"]["messages"] == messages(HOSTILE[0])
    assert agreed["predictions"][0]["model_version"] == "g@1"
    assert agreed["predictions"][0]["score"] == 1.0  # safe, with unsafe_score 0
    assert agreed["data"]["unsafe_score"] == 0.0
    assert [chosen(one["result"]) for one in agreed["annotations"]] == [{"verdict": "safe"}] * 2
    assert [chosen(one["result"]) for one in differing["annotations"]] == [
        {"verdict": "unsafe", "hazard": "S1", "note": HOSTILE[1]},
        {"verdict": "safe", "note": HOSTILE[1]},
        {"verdict": "unsafe", "hazard": "S9"},
    ]
    assert [one["ground_truth"] for one in differing["annotations"]] == [False, False, True]
    assert [one.get("completed_by") for one in differing["annotations"]] == [7, None, None]
    assert [(one["was_cancelled"], one["result"]) for one in skipped["annotations"]] == [(True, [])]
    flagged = task_of(tasks, 10)["predictions"][0]
    assert chosen(flagged["result"]) == {"verdict": "unsafe", "hazard": frame["category"].iloc[10]}
    assert flagged["score"] == frame["unsafe_score"].iloc[10]
    assert task_of(tasks, len(frame) - 1)["predictions"] == []  # not scored is no prediction


def check_label_studio(tasks: list[dict[str, Any]], config: str) -> None:
    """Check tasks against the documented format: labelstud.io/guide/task_format and guide/predictions."""
    view = ElementTree.fromstring(config)
    controls = {tag.get("name"): tag for tag in view if tag.get("toName")}
    objects = {tag.get("name"): tag for tag in view if tag.get("value")}
    kinds = {"Choices": "choices", "TextArea": "textarea"}
    for task in tasks:
        assert all(str(tag.get("value")).removeprefix("$") in task["data"] for tag in objects.values())
        for answer in [*task["predictions"], *task["annotations"]]:
            for region in answer["result"]:
                control = controls[region["from_name"]]
                assert region["to_name"] == control.get("toName")
                assert region["to_name"] in objects
                assert region["type"] == kinds[control.tag]
                (values,) = region["value"].values()
                if control.tag == "Choices":
                    assert set(values) <= {choice.get("value") for choice in control}
        assert all(0.0 <= one["score"] <= 1.0 for one in task["predictions"])


def test_label_studio_s_documented_format(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = export_labels(frame, tmp_path / "tasks.json", "label_studio")
    check_label_studio(json.loads(path.read_text()), label_studio_config(CODES))
    with pytest.raises(AssertionError):
        check_label_studio(json.loads(path.read_text()), label_studio_config(["S7"]))


IN_LABEL_STUDIO = """
import json, sys, warnings
from label_studio_sdk.label_interface import LabelInterface
config, tasks = open(sys.argv[1]).read(), json.load(open(sys.argv[2]))
interface = LabelInterface(config)
interface.validate()
for task in tasks:
    assert interface.validate_task({"data": task["data"]}), task  # with more it fails by itself (2.0.19)
    for one in task["predictions"]:
        assert not interface.validate_prediction(one, return_errors=True), one
    for one in task["annotations"]:
        assert interface.validate_annotation(one), one
tasks[0]["predictions"][0]["result"][0]["value"]["choices"] = ["nonsense"]
assert interface.validate_prediction(tasks[0]["predictions"][0], return_errors=True)
print(len(tasks))
"""
IN_ARGILLA = """
import sys
from argilla.records._io import JsonIO
records = JsonIO._records_from_json(sys.argv[1])
first = records[1]
print(len(records), first.suggestions["verdict"].value, *(r.value for r in first.responses["verdict"]))
assert first.fields["conversation"][0]["role"] == "user"
assert first.to_dict()["responses"]["hazard"][0]["value"] == "S1"
"""


def in_library(folder: Path, requirements: list[str], code: str, *paths: Path) -> str:
    """Run code beside another tool's library, in an environment of its own: they bring much that we do not need."""
    venv.create(folder / "tool", with_pip=True)
    python = str(folder / "tool" / "bin" / "python")
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *requirements], capture_output=True, text=True
    )
    if installed.returncode != 0 and not os.environ.get("GUARD_MAGIC_NO_SKIPS"):
        pytest.skip(f"{requirements[0]} cannot be installed here")
    assert installed.returncode == 0, installed.stderr
    ran = subprocess.run([python, "-c", code, *map(str, paths)], capture_output=True, text=True)
    shutil.rmtree(folder / "tool")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.slow
def test_label_studio_s_own_library_takes_the_tasks(frame: pd.DataFrame, tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    config.write_text(label_studio_config(CODES))
    path = export_labels(frame, tmp_path / "tasks.json", "label_studio")
    assert in_library(tmp_path, ["label-studio-sdk==2.0.19"], IN_LABEL_STUDIO, config, path) == str(len(frame))


def test_argilla_keeps_both_verdicts(frame: pd.DataFrame, tmp_path: Path) -> None:
    ann = uuid.uuid4()
    path = export_labels(frame, tmp_path / "records.json", "argilla", users={"ann": ann})
    records = json.loads(path.read_text())
    assert len({record["id"] for record in records}) == len(records) == len(frame)
    agreed, differing, skipped = (task_of(records, at) for at in (0, 1, 2))
    assert agreed["suggestions"] == {"verdict": {"value": "safe", "score": 1.0, "agent": "g@1"}}
    assert agreed["fields"] == {"conversation": messages(HOSTILE[0])}
    assert [one["value"] for one in differing["responses"]["verdict"]] == ["unsafe", "safe", "unsafe"]
    assert [one["value"] for one in differing["responses"]["hazard"]] == ["S1", "S9"]
    users = [one["user_id"] for one in differing["responses"]["verdict"]]
    assert users[0] == str(ann)
    assert len({uuid.UUID(user) for user in users}) == 3
    assert skipped["responses"] == {}
    assert differing["metadata"]["annotators"] == "ann, bob, adjudicated"
    assert set(records[0]) == {"id", "fields", "metadata", "suggestions", "responses", "vectors"}
    assert task_of(records, len(frame) - 1)["suggestions"] == {}
    for record in records:  # an Argilla server takes one response a question and user
        for answers in record["responses"].values():
            assert len({one["user_id"] for one in answers}) == len(answers)


@pytest.mark.slow
def test_argilla_s_own_library_takes_the_records(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = export_labels(frame, tmp_path / "records.json", "argilla")
    assert (
        in_library(tmp_path, ["argilla==2.8.0", "requests"], IN_ARGILLA, path)
        == f"{len(frame)} safe unsafe safe unsafe"
    )


@pytest.mark.parametrize("form", ["label_studio", "argilla"])
def test_the_labels_of_one_person_and_rows_without_any(tmp_path: Path, form: str) -> None:
    one = pd.DataFrame({"text": ["a", "b", "b", None], "label": ["safe", None, "unsafe", "safe"], "annotator": "ann"})
    with pytest.warns(GuardWarning, match="1 of 4 rows hold no readable conversation"):
        tasks = json.loads(export_labels(one, tmp_path / "x.json", form).read_text())
    assert len(tasks) == 2  # equal content is one task, and its label is kept
    given = [task.get("annotations") or task.get("responses", {}).get("verdict") for task in tasks]
    assert [len(labels) for labels in given] == [1, 1]
    bare = json.loads(export_labels(one[["text"]].iloc[:2], tmp_path / "y.json", form).read_text())
    assert not any(task.get("annotations") or task.get("responses") for task in bare)


def test_people_of_one_column_are_people_and_one_person_says_one_thing(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"text": ["a", "b", "a"], "annotator": ["ann", "ann", "bob"], "label": ["safe", None, "unsafe"]}
    )
    tasks = json.loads(export_labels(rows, tmp_path / "x.json", "label_studio").read_text())
    assert [chosen(one["result"])["verdict"] for one in tasks[0]["annotations"]] == ["safe", "unsafe"]
    export_labels(rows, tmp_path / "x.csv")
    for more in (
        {"annotator": "ann"},
        {"annotator": ["ann", "ann", "ann"], "label": "unsafe", "label_category": ["S1", "S2", "S2"]},
    ):
        for form in FORMS:
            with pytest.raises(LabelError, match="rows 0 and 2 are one conversation with two labels") as caught:
                export_labels(rows.assign(**more), tmp_path / "y", form)
            assert "df.guard.labels(reviewer)" in caught.value.hint
    assert not (tmp_path / "y").exists()


# What is refused


def test_what_is_refused_leaves_nothing(frame: pd.DataFrame, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    for path, form, says in [
        ("x.txt", None, "the suffix '.txt' says no form"),
        ("x.csv", "excel", "no form 'excel'"),
        ("no/x.csv", None, "cannot be written"),
        (".", "csv", "is there already"),
    ]:
        with pytest.raises(LabelError, match=says):
            export_labels(frame, tmp_path / path, form)
    mixed = pd.DataFrame({"x": [1, "a", {"b": 2}]})
    with pytest.raises(LabelError, match="could not be written"):
        export_labels(mixed, tmp_path / "x.parquet")
    with pytest.raises(LabelError, match="two columns 'x'"):
        export_labels(pd.concat([mixed, mixed], axis=1), tmp_path / "x.csv")
    alike = pd.DataFrame({1: ["one"], "1": ["other"], "text": ["a"]})
    for form in ("jsonl", "csv", "parquet", "datasets", "label_studio", "argilla"):
        with pytest.raises(LabelError, match="two columns 1 and '1', which are written alike") as caught:
            export_labels(alike, tmp_path / "x", form)
        assert caught.value.hint
    for cell in ({1: "one", "1": "other"}, [{"a": {None: 1, "None": 2}}]):
        with pytest.raises(LabelError, match="one value would be lost"):
            export_labels(pd.DataFrame({"text": ["a"], "meta": [cell]}), tmp_path / "x.jsonl")
    with pytest.raises(LabelError, match="no label 'fine'"):
        export_labels(pd.DataFrame({"text": ["a"], "label": ["fine"]}), tmp_path / "x.json", "argilla")
    with pytest.raises(ColumnError):
        export_labels(mixed, tmp_path / "x.json", "label_studio")
    assert sorted(tmp_path.iterdir()) == before


def test_an_older_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mine")
    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(LabelError, match="is there already") as caught:
        export_labels(frame, path)
    assert "overwrite=True" in caught.value.hint
    assert path.read_text() == "mine"
    export_labels(frame, path, overwrite=True)
    assert path.read_text("utf-8-sig") == "x\n1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = export_labels(frame, tmp_path / "set", "datasets")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_the_digest_of_a_key_is_the_task_s(tmp_path: Path) -> None:
    path = export_labels(pd.DataFrame({"text": ["a"]}), tmp_path / "x.json", "argilla")
    assert json.loads(path.read_text())[0]["id"] == hashlib.sha256(b'[["user","a"]]').hexdigest()


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("columns", [{"comment": ["a", "b"]}, {"text": ["a", "a"], "prompt": ["b", "b"]}], ids=str)
def test_labels_that_could_not_be_checked_are_said(columns: dict[str, list[str]], form: str, tmp_path: Path) -> None:
    """No column of conversations, or several: the file is written, and what was not looked at is said."""
    labelled = pd.DataFrame({**columns, "label": pd.Categorical(["safe", "unsafe"], categories=list(LABELS))})
    with pytest.warns(GuardWarning, match="it was not checked that no conversation has two labels of one person"):
        path = export_labels(labelled, tmp_path / f"x.{form}")
    assert path.exists()
    named = {"text": next(iter(columns))}
    if "text" in columns:
        with pytest.raises(LabelError, match="rows 0 and 1 are one conversation with two labels"):
            export_labels(labelled, tmp_path / f"y.{form}", **named)
    else:
        export_labels(labelled, tmp_path / f"y.{form}", **named)
