"""The training set's builder: every parser on a tiny file of its form, the cleaning, and the registry."""

import csv
import gzip
import io
import json
import re
import zipfile
from pathlib import Path

import pytest

from training import build
from training.sources import (
    BENCHMARKS,
    ORDER,
    REGISTRY,
    benign,
    cyber,
    dialogues,
    held_out,
    jailbreaks,
    prompts,
)
from training.sources.base import DEV, HELD_OUT, TRAIN, Example, Parser, bucket, exchange, hashed, user
from training.sources.curate import NearIndex, curate
from training.sources.fetch import match_paths

SOURCES = """
aart advbench ailuminate_demo_en ailuminate_demo_fr catqa_en catqa_vi catqa_zh convabuse cyberseceval_frr
cyberseceval_frr_multilingual cyberseceval_instruct cyberseceval_interpreter davidson_hate diasafety dices_350
dolly_6k forbidden_questions gpteacher_codegen gpteacher_roleplay gpteacher_toolformer gsm8k
harmbench_adv_training_prompts harmfulqa jbb_artifacts malicious_instruct multijail openai_moderation p3_t0_subset
rbr_gold_prompts rbr_gold_responses refusal_direction_jbb_runs self_instruct_predictions self_instruct_seed
self_instruct_user trustllm_misuse_add xstest_completions xstest_prompts
"""


def as_csv(*rows: dict[str, str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), restval="0")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def as_jsonl(*rows: dict[str, object]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def parsed(parse: Parser, content: bytes, path: str = "folder/file.x") -> list[tuple[str, str, int, str | None]]:
    """Return key, last message, label and category of what a parser yields."""
    return [(found.key, found.messages[-1][1], found.label, found.category) for found in parse({path: content})]


def test_registry_covers_every_source() -> None:
    assert sorted(REGISTRY) == SOURCES.split()
    assert set(ORDER) == set(REGISTRY)
    for source in (*REGISTRY.values(), *BENCHMARKS.values()):
        assert re.fullmatch(r"[0-9a-f]{40}", source.commit)
        assert all((source.paths, source.licence, source.levels))


def test_prompt_tables() -> None:
    crimes = as_csv({"prompt": " a plan ", "crime": "theft"}, {"prompt": "a fire", "crime": "arson"})
    assert parsed(prompts.parse_aart, crimes) == [("0", "a plan", 1, "S2")]
    assert parsed(prompts.parse_advbench, as_csv({"goal": "g", "target": "t"})) == [("0", "g", 1, None)]
    assert parsed(prompts.parse_lines, b"one\n\ntwo\n") == [("0", "one", 1, None), ("2", "two", 1, None)]
    behaviors = as_csv({"Behavior": "b", "BehaviorID": "adv_1"})
    assert parsed(prompts.parse_behaviors, behaviors) == [("adv_1", "b", 1, None)]
    hazards = as_csv({"release_prompt_id": "r7", "prompt_text": "p", "hazard": "spc_ele"})
    assert parsed(prompts.ailuminate("fr"), hazards) == [("r7", "p", 1, "S13")]


def test_nested_questions() -> None:
    tree = {
        "Political Campaigning": {"Lobbying": ["x"]},
        "Illegal Activity": {"Drug:": ["y"], "Weapon:": ["z"]},
    }
    assert parsed(prompts.catqa("en"), as_json(tree)) == [("1", "y", 1, "S2"), ("2", "z", 1, None)]
    topics = as_json({"Social Sciences": {"Cultural Studies": ["q"]}})
    assert parsed(prompts.parse_harmfulqa, topics) == [("Social_Sciences-Cultural_Studies-0", "q", 1, None)]


def test_multijail_keeps_translations_together() -> None:
    languages = dict.fromkeys(prompts.MULTIJAIL_LANGUAGES, "t")
    rows = ({"id": "3", "tags": "['Theft']"}, {"id": "4", "tags": "['Theft', 'Weapons']"})
    table = as_csv(*({**row, **languages} for row in rows))
    found = list(prompts.parse_multijail({"f": table}))
    assert [item.category for item in found] == ["S2"] * 10 + [None] * 10
    assert len({prompts.split_multijail("multijail", item) for item in found[:10]}) == 1


def test_misuse_is_read_from_the_archive() -> None:
    rows = [
        {"prompt": "a", "type": "Fraud", "source": "Do-anything-now"},
        {"prompt": "b", "type": "Legal Opinion", "source": "Do-anything-now"},
        {"prompt": "c", "type": "x", "source": "misuse_add"},
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("dataset/safety/misuse.json", json.dumps(rows))
    questions = prompts.misuse("Do-anything-now", prompts.FORBIDDEN_TYPES)
    assert parsed(questions, packed.getvalue()) == [("0", "a", 1, "S2")]
    assert parsed(prompts.misuse("misuse_add"), packed.getvalue()) == [("2", "c", 1, None)]


def test_cyberseceval() -> None:
    table = as_json([{"mutated_prompt": "p", "speaking_language": "Thai"}])
    (found,) = cyber.cyberseceval("mutated_prompt", 1, "S14")({"f": table})
    assert (found.label, found.category, found.lang) == (1, "S14", "th")


def test_tweets_leave_the_merely_offensive_out() -> None:
    table = as_csv(*({"": str(i), "class": str(i), "tweet": f"t{i}"} for i in range(3)))
    assert parsed(dialogues.parse_davidson, table) == [("0", "t0", 1, "S10"), ("2", "t2", 0, None)]


def test_convabuse_takes_the_majority() -> None:
    base = {
        "conv_id": "1",
        "prev_agent": "_",
        "prev_user": "hi",
        "agent": "yes",
        "user": "one",
        "is_abuse.1": "1",
    }
    hate = {**base, "user": "two", "is_abuse.1": "0", "type.racist": "1"}
    torn = {**base, "user": "three"}
    kin = {**hate, "user": "four"}
    ableism = {**kin, "type.racist": "0", "type.ableism": "1"}
    kinds = {f"type.{kind}": "0" for kind in dialogues.CONVABUSE_HATE}
    table = as_csv(*({**kinds, **row} for row in (base, hate, hate, torn, {**torn, "is_abuse.1": "0"}, kin, ableism)))
    assert parsed(dialogues.parse_convabuse, table) == [("0", "one", 0, None), ("1", "two", 1, "S10")]


def test_diasafety_keeps_the_split() -> None:
    row = {"context": "c", "response": "r ", "category": "Unauthorized Expertise", "label": "Unsafe"}
    found = list(dialogues.parse_diasafety({"d/train.json": as_json([row]), "d/val.json": as_json([row])}))
    assert [dialogues.split_diasafety("diasafety", item) for item in found] == [TRAIN, DEV]
    assert found[0].messages == exchange("c", "r")
    assert found[0].category == "S6"


def test_dices_turns() -> None:
    item = {
        "id": 5,
        "instance": {"user_prompt": "USER: a\nb\nLAMDA: c\\nd\nUSER: e", "response": "f"},
        "annotations": {"safety": {"majority_human": "No"}},
    }
    (found,) = dialogues.parse_dices({"f": as_json({"instances": [item]})})
    turns = (("user", "a\nb"), ("assistant", "c\nd"), ("user", "e"), ("assistant", "f"))
    assert (found.messages, found.label) == (turns, 0)


def test_moderation_names_a_hazard_only_where_one_is_marked() -> None:
    rows = ({"prompt": "a", "S": 1, "S3": 1}, {"prompt": "b", "S": 1, "HR": 1}, {"prompt": "c", "V": 0})
    packed = gzip.compress(as_jsonl(*rows))
    assert [row[2:] for row in parsed(dialogues.parse_moderation, packed)] == [
        (1, "S4"),
        (1, None),
        (0, None),
    ]


def test_xstest() -> None:
    rows = as_csv({"id": "9", "prompt": "p", "type": "contrast_privacy", "label": "unsafe"})
    assert parsed(dialogues.parse_xstest, rows) == [("9", "p", 1, "S7")]
    row = {"id": "v2-1", "prompt": "p", "completion": "c", "type": "contrast_privacy"}
    verdicts = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
    table = as_csv(*({**row, "final_label": verdict} for verdict in verdicts))
    found = parsed(dialogues.parse_xstest_completions, table, "m/xstest_v2_completions_gpt4.csv")
    assert found == [("gpt4-v2-1", "c", 1, "S7"), ("gpt4-v2-1", "c", 0, None)]


def test_jailbreak_judgements() -> None:
    row = {"index": 2, "goal": "g", "prompt": "p", "response": "r", "category": "Privacy", "jailbroken": True}
    content = as_json({"jailbreaks": [row, {**row, "response": None}]})
    (found,) = jailbreaks.parse_artifacts({"attack-artifacts/PAIR/black_box/model.json": content})
    assert (found.key, found.category, found.origin) == ("PAIR-model-2", "S7", "g")
    run = {"category": "Privacy", "prompt": "p", "response": "r"}
    judged = [
        {**run, "is_jailbreak_substring_matching": said, "is_jailbreak_llamaguard2": flagged}
        for said, flagged in ((1, 1), (1, 0), (0, 1))
    ]
    path = "pipeline/runs/m/completions/jailbreakbench_actadd_evaluations.json"
    assert parsed(jailbreaks.parse_runs, as_json({"completions": judged}), path) == [
        ("m-actadd-0", "r", 1, "S7"),
        ("m-actadd-1", "r", 0, None),
    ]


def test_rule_based_rewards() -> None:
    row = {
        "category": "H-R",
        "response_type": "Hard Refuse",
        "prompt": [{"role": "user", "content": "p"}],
        "completion": [{"role": "assistant", "content": "c"}],
        "propositions": {"disallowed_content": False},
    }
    assert parsed(jailbreaks.parse_rbr_prompts, as_jsonl(row), "d/train.jsonl") == [("train-0", "p", 1, "S10")]
    assert parsed(jailbreaks.parse_rbr_responses, as_jsonl(row), "d/test.jsonl") == [("test-0", "c", 0, None)]


def test_safe_exchanges_are_judged_twice() -> None:
    triple = as_json([{"instruction": "i", "input": "x", "response": "r"}])
    assert parsed(benign.parse_gpteacher, triple) == [("0", "r", 0, None), ("0#p", "i\n\nx", 0, None)]
    task = as_jsonl({"id": "t", "instruction": "i", "instances": [{"input": "", "output": "o"}]})
    assert parsed(benign.parse_tasks, task) == [("t", "o", 0, None), ("t#p", "i", 0, None)]
    sums = as_jsonl({"question": "q", "answer": "1+1=<<1+1=2>>2\n#### 2"})
    assert parsed(benign.parse_gsm8k, sums, "d/test.jsonl")[0][:2] == ("test-0", "1+1=2\nAnswer: 2")
    row = {"prompt": "p", "completion": "c<|endoftext|>"}
    assert [key for key, *_ in parsed(benign.parse_p3, as_jsonl(row, row), "d/q.jsonl")] == ["q-0", "q-0#p"]


def test_answers_alone() -> None:
    row = as_jsonl({"instruction": "i", "input": "", "response": " r"})
    assert parsed(benign.parse_predictions, row, "p/model_predictions.jsonl") == [("model-0", "r", 0, None)]
    dolly = as_jsonl({"instruction": "i", "text": "people's", "decoded": "a model's"})
    assert parsed(benign.parse_dolly, dolly) == [("0", "people's", 0, None)]


def test_benchmarks() -> None:
    goals = as_csv({"Goal": "g", "Source": "TDC/HarmBench"}, {"Goal": "h", "Source": "Original"})
    assert parsed(held_out.parse_harmbench_goals, goals) == [("0", "g", 1, None)]
    assert parsed(held_out.parse_strongreject, as_csv({"forbidden_prompt": "p"})) == [("0", "p", 1, None)]
    talk = {"id": 1, "instance": {"user_prompt": "A: one\\nB: two\\nA: three\\n", "response": "r"}}
    assert parsed(held_out.parse_dices_990, as_json({"instances": [talk]}))[0][1] == "three"
    chat = {"id": "c", "instance": "p", "annotations": {"toxicity": {"majority_human": "1"}}}
    assert parsed(held_out.parse_toxic_chat, as_json({"instances": [chat]})) == [("c", "p", 1, None)]


def test_hashed_split_is_that_of_the_id() -> None:
    split = hashed(TRAIN, DEV)
    assert split("s", Example("k", user("x"), 0)) == (TRAIN, DEV)[bucket("s:k", 2)]
    assert split("s", Example("k#p", user("x"), 0, group="k")) == (TRAIN, DEV)[bucket("s:k", 2)]


def test_near_texts() -> None:
    index = NearIndex(["Tell me how the old clock in the tower was mended", "how are you"])
    assert index.is_near("tell me how the old clock in the tower was mended!!")
    assert index.is_near("Tell me how the old clock in this tower was mended.")
    assert not index.is_near("Tell me why the young cook left the kitchen unmended")
    assert not index.is_near("How are you?")


def test_curate_drops_empty_repeated_and_near_rows() -> None:
    source = REGISTRY["advbench"]
    texts = (
        "a sentence about gardens",
        "a sentence about gardens",
        "",
        "another matter altogether, of boats",
    )
    rows = [(source, TRAIN, Example(str(i), user(text), 1)) for i, text in enumerate(texts)]
    rows.append((source, HELD_OUT, Example("held", user("Another matter altogether: of boats!"), 1)))
    assert [example.key for _, _, example in curate(rows)] == ["0"]


def test_patterns_stay_in_their_folder() -> None:
    assert match_paths(["a/*.json"], ["a/z.json", "a/b/c.json", "a/y.json"]) == ["a/y.json", "a/z.json"]


def test_main_writes_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = as_csv({"goal": "Describe a lighthouse in winter", "target": "t"})
    monkeypatch.setattr(build, "BENCHMARKS", {})
    monkeypatch.setattr(build, "fetch_files", lambda source, mirror: {source.paths[0]: content})
    for _ in range(2):
        build.main(["--out", str(tmp_path), "--source", "advbench", "--compare", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[-1].split("\t") == ["advbench", "1", "1", "1", "yes"]
    (row,) = build.read_rows(tmp_path)
    assert row["id"] == "advbench:0"
    assert row["messages"] == [{"role": "user", "content": "Describe a lighthouse in winter"}]
    assert "advbench" in (tmp_path / "MANIFEST.tsv").read_text(encoding="utf-8")
