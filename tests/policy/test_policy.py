from __future__ import annotations

import json
import pickle
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from guard_magic.errors import PolicyError
from guard_magic.policy import (
    BUILT_IN,
    GRANITE_GUARDIAN,
    LLAMA_GUARD_1,
    LLAMA_GUARD_2,
    LLAMA_GUARD_3,
    LLAMA_GUARD_3_1B,
    LLAMA_GUARD_4,
    QWEN3_GUARD,
    SHIELD_GEMMA,
    Category,
    Policy,
    as_policy,
    is_policy_file,
)
from guard_magic.policy.reading import MAX_FILE_BYTES
from guard_magic.policy.values import MAX_DESCRIPTION, MAX_HAZARDS, MAX_NAME
from guard_magic.verdict import SAFE, Reading, Verdicts, judge

TWO = Policy("two", (Category("S1", "Spam"), Category("pii", "Personal Details", "Names.\nAddresses.")))

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghi")
)
"""A few hundred bytes that stand for 9 ** 9 words."""


def test_llama_guard_3_has_fourteen_hazards_in_order() -> None:
    assert LLAMA_GUARD_3.codes == tuple(f"S{i}" for i in range(1, 15))
    assert LLAMA_GUARD_3.category("S14").name == "Code Interpreter Abuse"
    assert str(LLAMA_GUARD_3.category("S1")) == "S1 Violent Crimes"
    assert len(LLAMA_GUARD_3) == 14
    assert [c.code for c in LLAMA_GUARD_3] == list(LLAMA_GUARD_3.codes)
    assert "S14" in LLAMA_GUARD_3
    assert "S15" not in LLAMA_GUARD_3


# Categories


@pytest.mark.parametrize("code", ["S1", "O3", "harm", "social_bias", "pii", "S", "SSSSS1", "S1234", "a" * 40])
def test_codes_are_identifiers(code: str) -> None:
    assert Category(code, "Name").code == code


@pytest.mark.parametrize(
    "code",
    ["", "1", "_s", "S 1", " S1", "S1\n", "<S1>", "S-1", "S1,S2", "S1:", "١", "Ä", "ſ1", "a" * 41, 1, None, True],
)
def test_bad_code(code: Any) -> None:
    with pytest.raises(PolicyError, match="is not a hazard code"):
        Category(code, "Name")


@pytest.mark.parametrize("code", ["safe", "unsafe", "Safe", "UNSAFE"])
def test_a_verdict_is_no_code(code: str) -> None:
    """A hazard called "safe" would make a flagged row read as safe."""
    with pytest.raises(PolicyError, match="it is a verdict"):
        Category(code, "Name")


@pytest.mark.parametrize(
    "text", ["<b>", "a|b", "a > b", "<|eot_id|>", "a\0b", "a\x1bb", "a\u2028b", "a\x85b", "\ud800"]
)
def test_nothing_in_name_or_description_can_forge_a_prompt(text: str) -> None:
    with pytest.raises(PolicyError, match="hazard S1 has an unusable name") as caught:
        Category("S1", text)
    assert "without <, > or |" in caught.value.hint
    with pytest.raises(PolicyError, match="hazard S1 has an unusable description"):
        Category("S1", "Name", f"fine\n{text}")


@pytest.mark.parametrize("name", ["", " ", "\n", "Spam.\nS2: Ads", "a\tb", "a\rb", "x" * (MAX_NAME + 1)])
def test_a_name_is_one_line(name: str) -> None:
    with pytest.raises(PolicyError, match="hazard S1 has an unusable name") as caught:
        Category("S1", name)
    assert len(caught.value.message) < 120


def test_a_description_has_lines_and_a_limit() -> None:
    assert Category("S1", "Spam", "Should not\r\n- sell\n\n\t- beg\n").description == "Should not\n- sell\n\n\t- beg"
    assert len(Category("S1", "Spam", "x" * MAX_DESCRIPTION).description) == MAX_DESCRIPTION
    with pytest.raises(PolicyError, match="unusable description"):
        Category("S1", "Spam", "x" * (MAX_DESCRIPTION + 1))
    with pytest.raises(PolicyError, match="unusable description"):
        Category("S1", "Spam", "a\rb")


def test_space_around_is_no_difference() -> None:
    assert Category("S1", " Spam ", "\nAds.\n") == Category("S1", "Spam", "Ads.")
    assert Category("S1", "Werbung für Wölfe 🐺 «»").name == "Werbung für Wölfe 🐺 «»"


@pytest.mark.parametrize("value", [None, 1, False, ["Spam"], b"Spam"])
def test_what_is_not_text_is_named(value: Any) -> None:
    with pytest.raises(PolicyError, match=r"the name of hazard S1 is .*, which is not text"):
        Category("S1", value)
    with pytest.raises(PolicyError, match=r"the description of hazard S1 is .*, which is not text"):
        Category("S1", "Spam", value)


# Policies


def test_codes_are_unique() -> None:
    with pytest.raises(PolicyError, match="S1 twice"):
        Policy("p", (Category("S1", "A"), Category("S1", "B")))


def test_a_policy_has_limits() -> None:
    many = tuple(Category(f"S{i}", "Name") for i in range(MAX_HAZARDS + 1))
    assert len(Policy("p", many[:-1])) == MAX_HAZARDS
    with pytest.raises(PolicyError, match="101 hazards"):
        Policy("p", many)
    with pytest.raises(PolicyError, match="no hazards left"):
        Policy("p", ())
    with pytest.raises(PolicyError, match="which is not a Category"):
        Policy("p", ("S1",))  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="the policy has an unusable name"):
        Policy("two\nlines", many[:1])


def test_a_list_of_categories_stays_a_value() -> None:
    categories = [Category("S1", "Spam")]
    policy = Policy("p", categories)  # type: ignore[arg-type]
    categories.append(Category("S2", "Ads"))
    assert policy.codes == ("S1",)
    assert hash(policy) == hash(Policy("p", (Category("S1", "Spam"),)))


def test_policy_is_a_value() -> None:
    assert pickle.loads(pickle.dumps(LLAMA_GUARD_3)) == LLAMA_GUARD_3
    assert len({LLAMA_GUARD_3, pickle.loads(pickle.dumps(LLAMA_GUARD_3))}) == 1


def test_reading_a_policy() -> None:
    assert str(TWO) == "two (2 hazards)\n  S1 Spam\n  pii Personal Details"
    assert repr(TWO) == "<Policy 'two': 2 hazards, S1,pii>"
    assert repr(LLAMA_GUARD_3) == "<Policy 'llama-guard-3': 14 hazards, S1,S2,S3 and 11 more>"
    assert str(TWO.only("S1")).startswith("two only S1 (1 hazard)")


def test_unknown_category() -> None:
    with pytest.raises(PolicyError, match="'S99'"):
        LLAMA_GUARD_3.category("S99")


# Edits


def test_add() -> None:
    more = TWO.add("S15", "Rude Words", "Insults.")
    assert more.name == "two with S15"
    assert more.categories == (*TWO.categories, Category("S15", "Rude Words", "Insults."))
    assert TWO.codes == ("S1", "pii")
    assert more.add("x", "X").name == "two with S15 with x"


def test_add_what_is_there_or_cannot_be() -> None:
    with pytest.raises(PolicyError, match="'two' has S1 already: 'Spam'") as caught:
        TWO.add("S1", "Other")
    assert "rename()" in caught.value.hint
    with pytest.raises(PolicyError, match="is not a hazard code"):
        TWO.add("S 1", "Other")
    with pytest.raises(PolicyError, match="unusable name"):
        TWO.add("S2", "a|b")


def test_without() -> None:
    less = LLAMA_GUARD_3.without(["S6", " S13 "])
    assert less.codes == tuple(c for c in LLAMA_GUARD_3.codes if c not in ("S6", "S13"))
    assert less.name == "llama-guard-3 without S6,S13"
    assert less.category("S7") == LLAMA_GUARD_3.category("S7")
    assert LLAMA_GUARD_3.without("S6").codes == LLAMA_GUARD_3.without(["S6"]).codes
    assert LLAMA_GUARD_3.without([]) is LLAMA_GUARD_3
    assert LLAMA_GUARD_3.without(["S6", "S6"]) == LLAMA_GUARD_3.without(["S6"])
    assert LLAMA_GUARD_3.without(f"S{i}" for i in range(1, 7)).name == "llama-guard-3 without S1,S2,S3 and 3 more"


def test_only() -> None:
    some = LLAMA_GUARD_3.only(["S9", "S1"])
    assert some.codes == ("S1", "S9")
    assert some.name == "llama-guard-3 only S9,S1"
    assert LLAMA_GUARD_3.only(LLAMA_GUARD_3.codes) is LLAMA_GUARD_3
    with pytest.raises(PolicyError, match="no hazards left"):
        LLAMA_GUARD_3.only([])


@pytest.mark.parametrize("edit", ["without", "only"])
@pytest.mark.parametrize("codes", [["S15"], ["s1"], ["S1", "violence"], [""], "S1,S2"])
def test_unknown_codes(edit: str, codes: Any) -> None:
    with pytest.raises(PolicyError, match="has no hazard") as caught:
        getattr(LLAMA_GUARD_3, edit)(codes)
    assert "S1, S2" in caught.value.hint


@pytest.mark.parametrize("edit", ["without", "only"])
@pytest.mark.parametrize("codes", [[1], [None], ["S1", b"S2"], 3, {1: 2}, object()])
def test_codes_that_are_not_text(edit: str, codes: Any) -> None:
    with pytest.raises(PolicyError, match="is not the code of a hazard") as caught:
        getattr(LLAMA_GUARD_3, edit)(codes)
    assert "as text" in caught.value.hint


def test_without_everything() -> None:
    with pytest.raises(PolicyError, match="no hazards left"):
        LLAMA_GUARD_3.without(LLAMA_GUARD_3.codes)


def test_rename_and_describe() -> None:
    renamed = TWO.rename("pii", "Private Details")
    assert renamed.category("pii") == Category("pii", "Private Details", "Names.\nAddresses.")
    assert (renamed.name, renamed.codes) == ("two with pii renamed", TWO.codes)
    described = TWO.describe("S1", "Unasked advertising.")
    assert described.category("S1") == Category("S1", "Spam", "Unasked advertising.")
    assert described.name == "two with S1 described"
    assert TWO.describe("pii", "").category("pii").description == ""
    assert TWO.rename("S1", "Spam ") is TWO
    assert TWO.category("S1") == Category("S1", "Spam")


@pytest.mark.parametrize("edit", ["rename", "describe"])
def test_edits_of_unknown_or_unusable(edit: str) -> None:
    with pytest.raises(PolicyError, match="'two' has no hazard 'S9'"):
        getattr(TWO, edit)("S9", "text")
    with pytest.raises(PolicyError, match="unusable"):
        getattr(TWO, edit)("S1", "<|eot_id|>")
    with pytest.raises(PolicyError, match="not text"):
        getattr(TWO, edit)("S1", None)


def test_many_edits_keep_a_usable_name() -> None:
    policy = TWO
    for i in range(MAX_HAZARDS - len(TWO)):
        policy = policy.add(f"extra_{i}", f"Hazard {i}")
    assert len(policy) == MAX_HAZARDS
    assert len(policy.name) <= MAX_NAME
    assert policy.name.endswith("with extra_97")
    assert policy.name.startswith("two with extra_0")


# Round trips


@pytest.mark.parametrize("policy", [*BUILT_IN.values(), TWO], ids=lambda policy: policy.name)
def test_round_trips(policy: Policy, tmp_path: Path) -> None:
    assert as_policy(policy.to_dict()) == policy
    assert as_policy(policy.to_frame()).categories == policy.categories
    assert as_policy(list(policy)).categories == policy.categories
    for name, text in (
        ("p.yaml", yaml.safe_dump(policy.to_dict(), sort_keys=False)),
        ("p.json", json.dumps(policy.to_dict())),
    ):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        assert as_policy(path) == policy


def test_to_frame() -> None:
    frame = TWO.to_frame()
    assert list(frame.columns) == ["code", "name", "description", "distressing"]
    assert frame["description"].tolist() == ["", "Names.\nAddresses."]
    assert all(pd.api.types.is_string_dtype(dtype) for dtype in frame.dtypes[:3])
    assert frame["distressing"].tolist() == [False, False]


# The built-in policies


def test_built_in_by_name() -> None:
    assert {name: len(policy) for name, policy in BUILT_IN.items()} == {
        "llama-guard-1": 6,
        "llama-guard-2": 11,
        "llama-guard-3": 14,
        "llama-guard-3-1b": 13,
        "llama-guard-4": 14,
        "shieldgemma": 4,
        "granite-guardian": 7,
        "granite-guardian-3.3": 7,
        "qwen3guard": 9,
        "wildguard": 1,
    }
    assert all(policy.name == name for name, policy in BUILT_IN.items())


def test_llama_guards() -> None:
    assert LLAMA_GUARD_1.codes == ("O1", "O2", "O3", "O4", "O5", "O6")
    assert all(c.description.startswith("Should not\n- ") and "\nCan\n- " in c.description for c in LLAMA_GUARD_1)
    assert LLAMA_GUARD_2.codes == tuple(f"S{i}" for i in range(1, 12))
    renumbered = [c.name for c in LLAMA_GUARD_3.without(["S5", "S13", "S14"])]
    assert [c.name for c in LLAMA_GUARD_2] == renumbered
    assert LLAMA_GUARD_3_1B.categories == LLAMA_GUARD_3.without("S14").categories
    assert LLAMA_GUARD_4.categories == LLAMA_GUARD_3.categories
    assert not any(c.description for p in (LLAMA_GUARD_2, LLAMA_GUARD_3, LLAMA_GUARD_4) for c in p)


def test_guards_asked_hazard_by_hazard_have_definitions() -> None:
    assert SHIELD_GEMMA.codes == ("dangerous", "harassment", "hate", "sexual")
    prefix = "The prompt shall not contain or seek generation of content that "
    assert all(c.description.startswith(prefix) and c.description.endswith(".") for c in SHIELD_GEMMA)
    assert SHIELD_GEMMA.category("hate").name == "Hate Speech"
    assert GRANITE_GUARDIAN.codes == (
        "harm",
        "social_bias",
        "jailbreak",
        "violence",
        "profanity",
        "unethical_behavior",
        "sexual_content",
    )
    assert all(c.description.startswith("The 'User' message ") for c in GRANITE_GUARDIAN)
    assert GRANITE_GUARDIAN.category("harm").description == "The 'User' message is harmful by common-sense."


def test_qwen3guard_is_named_as_it_writes() -> None:
    assert {c.code: c.name for c in QWEN3_GUARD} == {
        "violent": "Violent",
        "non_violent_illegal_acts": "Non-violent Illegal Acts",
        "sexual": "Sexual Content or Sexual Acts",
        "pii": "PII",
        "suicide_self_harm": "Suicide & Self-Harm",
        "unethical_acts": "Unethical Acts",
        "politically_sensitive": "Politically Sensitive Topics",
        "copyright": "Copyright Violation",
        "jailbreak": "Jailbreak",
    }


@pytest.mark.parametrize("policy", BUILT_IN.values(), ids=list(BUILT_IN))
def test_built_in_codes_make_columns(policy: Policy) -> None:
    n = len(policy)
    reading = Reading(-0.1, -2.0, tuple(-float(n - i) for i in range(n)), 9)
    verdict = judge(reading, policy, threshold=0.5, guard="g", assessed_role="user", min_verdict_mass=0)
    frame = Verdicts([verdict], policy).to_frame(["category_scores"])
    assert frame["category"].tolist() == [policy.codes[-1]]
    assert list(frame["category"].cat.categories) == [SAFE, *policy.codes]
    assert [c for c in frame if c.startswith("score_")] == [f"score_{code}" for code in policy.codes]


# Reading values


def test_as_policy() -> None:
    assert as_policy(LLAMA_GUARD_3) is LLAMA_GUARD_3
    assert as_policy("llama-guard-3") is BUILT_IN["llama-guard-3"]
    assert as_policy({"S1": "Spam", "S2": "Ads"}).categories == (Category("S1", "Spam"), Category("S2", "Ads"))
    assert as_policy({"S1": "Spam"}).name == "custom"
    assert as_policy((Category("S1", "Spam"),)) == Policy("custom", (Category("S1", "Spam"),))


def test_mappings() -> None:
    mixed = {
        "S1": "Spam",
        "S2": {"name": "Ads", "description": "Paid.\nTwice."},
        "S3": {"name": "X", "description": None},
    }
    expected = (Category("S1", "Spam"), Category("S2", "Ads", "Paid.\nTwice."), Category("S3", "X"))
    assert as_policy(mixed) == Policy("custom", expected)
    assert as_policy({"name": "mine", "hazards": mixed}) == Policy("mine", expected)
    assert as_policy({"hazards": mixed}) == Policy("custom", expected)
    assert as_policy({"hazards": {"name": "Naming"}}).codes == ("name",)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "no hazards left"),
        ({"hazards": {}}, "no hazards left"),
        ({"hazards": None}, "the hazards of a policy are None"),
        ({"hazards": [Category("S1", "Spam")]}, "which is not a mapping"),
        ({"name": "mine", "S1": "Spam"}, "there is a name, 'mine', and no hazards"),
        ({"name": "mine", "hazards": {"S1": "Spam"}, "S2": "Ads"}, "a policy has an unknown key 'S2'"),
        ({"name": 3, "hazards": {"S1": "Spam"}}, "the name of the policy is 3 (int), which is not text"),
        ({"name": "", "hazards": {"S1": "Spam"}}, "the policy has an unusable name"),
        ({"S1": False}, "the name of hazard 'S1' is False (bool), which is not text"),
        ({"S1": None}, "the name of hazard 'S1' is None"),
        ({"S1": 3.5}, "the name of hazard 'S1' is 3.5"),
        ({"S1": ["Spam"]}, "the name of hazard 'S1' is ['Spam'] (list)"),
        ({1: "Spam"}, "a hazard code is 1 (int), which is not text"),
        ({None: "Spam"}, "a hazard code is None"),
        ({" S1": "Spam"}, "' S1' is not a hazard code"),
        ({"S1": {"nam": "Spam"}}, "hazard 'S1' has an unknown key 'nam'"),
        ({"S1": {"name": "Spam", "desc": "x"}}, "hazard 'S1' has an unknown key 'desc'"),
        ({"S1": {}}, "hazard 'S1' has no name"),
        ({"S1": {"description": "x"}}, "hazard 'S1' has no name"),
        ({"S1": {"name": True}}, "the name of hazard 'S1' is True"),
        ({"S1": {"name": "Spam", "description": 5}}, "the description of hazard 'S1' is 5"),
        ({"S1": "a|b"}, "hazard S1 has an unusable name"),
        ({"safe": "Fine"}, "it is a verdict"),
    ],
)
def test_mappings_that_are_no_policy(value: Any, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        as_policy(value)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "value", ["llama-guard-9", None, 3, ["S1"], [LLAMA_GUARD_3], "x" * 10_000, b"p.yaml", Path("p.txt")]
)
def test_as_policy_of_anything_else(value: object) -> None:
    with pytest.raises(PolicyError, match="no policy") as caught:
        as_policy(value)
    assert len(caught.value.message) < 100
    assert "llama-guard-3" in caught.value.hint
    assert "qwen3guard" in caught.value.hint


# Tables


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, ""])
@pytest.mark.parametrize("dtype", ["object", "str", "string"])
def test_frames(missing: object, dtype: str) -> None:
    frame = pd.DataFrame({"code": ["S1", "pii"], "name": ["Spam", "Personal Details"]}, index=[7, 7])
    assert as_policy(frame).codes == ("S1", "pii")
    described = frame.assign(description=pd.array(["Ads.", missing], dtype=dtype))
    assert as_policy(described).categories == (Category("S1", "Spam", "Ads."), Category("pii", "Personal Details"))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"code": ["S1"]}, "a table with the columns ['code'] is not a policy"),
        ({"code": ["S1"], "name": ["Spam"], "Description": ["lost?"]}, "'Description'] is not a policy"),
        ({"code": [], "name": []}, "no hazards left"),
        ({"code": ["S1", "S1"], "name": ["Spam", "Ads"]}, "S1 twice"),
        ({"code": ["S1", None], "name": ["Spam", "Ads"]}, "the code in row 1 of the table is"),
        ({"code": ["S1", "S2"], "name": ["Spam", None]}, "the name in row 1 of the table is"),
        ({"code": [1], "name": ["Spam"]}, "the code in row 0 of the table is 1"),
        ({"code": ["S1"], "name": ["Spam"], "description": [4]}, "the description of hazard 'S1' is 4"),
    ],
)
def test_frames_that_are_no_policy(columns: dict[str, list[object]], says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        as_policy(pd.DataFrame(columns))
    assert says in caught.value.message


def test_a_column_that_stands_twice() -> None:
    frame = pd.DataFrame([["S1", "Spam", "Ads"]], columns=["code", "name", "name"])
    with pytest.raises(PolicyError, match="is not a policy"):
        as_policy(frame)


# Files


YAML = """\
# a comment
name: my policy
hazards:
  S1: Spam
  "S2":
    name: Ads
    description: >
      Paid
      content.
  "no": 'no'
  S4:
    name: Trade
    description: |
      Should not
      - sell
"""


@pytest.mark.parametrize("name", ["p.yaml", "p.yml", "P.YAML"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_yaml(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_text(YAML, encoding=encoding)
    expected = Policy(
        "my policy",
        (
            Category("S1", "Spam"),
            Category("S2", "Ads", "Paid content."),
            Category("no", "no"),
            Category("S4", "Trade", "Should not\n- sell"),
        ),
    )
    assert as_policy(path) == as_policy(str(path)) == expected


def test_a_file_gives_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "house rules.json").write_text('{"S1": "Wörter"}', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert as_policy("house rules.json") == Policy("house rules", (Category("S1", "Wörter"),))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_policy("~/house rules.json").codes == ("S1",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("S1: Spam\nS2: Ads\nS1: Scams\n", "it has 'S1' twice"),
        ('S1: Spam\n"S1": Scams\n', "it has 'S1' twice"),
        ("hazards:\n  S1: Spam\n  S1: Ads\n", "it has 'S1' twice"),
        ("hazards: {S1: Spam}\nhazards: {S2: Ads}\n", "it has 'hazards' twice"),
        ("S1:\n  name: Spam\n  name: Ads\n", "it has 'name' twice"),
        ("S1: &a\n  name: Spam\nS2:\n  <<: *a\n  name: Ads\n", "alias '*a', which is not read"),
        ("S1: {<<: {name: Spam}, name: Ads}\n", "merge key"),
        ("S1: &a\n  name: Spam\nS2: *a\n", "alias '*a'"),
        ("a: &a [*a]\n", "alias '*a'"),
        (BOMB, "alias '*a'"),
        ("S1: no\n", "the name of hazard 'S1' is False (bool), which is not text"),
        ("S1: 1\n", "the name of hazard 'S1' is 1 (int)"),
        ("S1: 1.5\n", "the name of hazard 'S1' is 1.5 (float)"),
        ("S1: 2024-05-01\n", "(date), which is not text"),
        ("S1:\n", "the name of hazard 'S1' is None"),
        ("S1: ~\n", "the name of hazard 'S1' is None"),
        ("no: Spam\n", "a hazard code is False (bool)"),
        ("1: Spam\n", "a hazard code is 1 (int)"),
        ("S1: [Spam]\n", "the name of hazard 'S1' is ['Spam'] (list)"),
        ("name: mine\nS1: Spam\n", "there is a name, 'mine', and no hazards"),
        ("", "it holds None, which is not a mapping"),
        ("- S1\n- S2\n", "it holds ['S1', 'S2'], which is not a mapping"),
        ("just text", "it holds 'just text', which is not a mapping"),
        ("S1: Spam: Ads\n", "it is not YAML: mapping values are not allowed here, line 1"),
        ("S1: Spam\n\tS2: Ads\n", "line 2"),
        ("S1: 'Spam\n", "it is not YAML"),
        ("S1: Spam\n---\nS2: Ads\n", "it is not YAML: but found another document"),
        ("S1: !!python/object/apply:os.system [ls]\n", "it is not YAML: could not determine a constructor"),
        ("? {a: b}\n: Spam\n", "it is not YAML"),
        ("S1: 2024-99-99\n", "it is not YAML"),
        ("S1: \x01\n", "it is not YAML"),
        ("[" * 5_000, "it is nested too deeply"),
        ("a: &a {hazards: *a}\n", "alias '*a'"),
    ],
)
def test_yaml_that_is_no_policy(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        as_policy(path)
    assert says in caught.value.message
    assert caught.value.message.startswith("policy file '")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"S1": "Spam", "S1": "Ads"}', "it has 'S1' twice"),
        ('{"hazards": {"S1": "Spam", "S1": "Ads"}}', "it has 'S1' twice"),
        ('{"S1": false}', "the name of hazard 'S1' is False"),
        ('{"S1": NaN}', "the name of hazard 'S1' is nan"),
        ('{"S1": "Spam"', "it is not JSON: Expecting ',' delimiter: line 1"),
        ("", "it is not JSON"),
        ("[]", "it holds [], which is not a mapping"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_json_that_is_no_policy(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        as_policy(str(path))
    assert says in caught.value.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="it cannot be read: No such file or directory"):
        as_policy(tmp_path / "none.yaml")
    (tmp_path / "folder.yml").mkdir()
    with pytest.raises(PolicyError, match="it cannot be read: Is a directory"):
        as_policy(tmp_path / "folder.yml")
    with pytest.raises(PolicyError, match="it cannot be read: embedded null"):
        as_policy("a\0b.yaml")
    with pytest.raises(PolicyError, match="it cannot be read: "):
        as_policy("~nobody-of-this-name/p.yaml")
    (tmp_path / "latin.yaml").write_bytes("S1: Wörter".encode("latin-1"))
    with pytest.raises(PolicyError, match="it is not UTF-8 text"):
        as_policy(tmp_path / "latin.yaml")
    (tmp_path / "long.yaml").write_text("S1: Spam\n#" + "x" * MAX_FILE_BYTES, encoding="utf-8")
    with pytest.raises(PolicyError, match="it is longer than 262,144 bytes"):
        as_policy(tmp_path / "long.yaml")


@pytest.mark.parametrize(
    ("value", "is_file"),
    [
        ("p.yaml", True),
        ("a/b.YML", True),
        (Path("p.json"), True),
        ("yaml", False),
        ("p.yaml.txt", False),
        ("llama-guard-3", False),
        (None, False),
    ],
)
def test_is_policy_file(value: object, is_file: bool) -> None:
    assert is_policy_file(value) is is_file


# What is hard to read

HARD = {
    **dict.fromkeys(("llama-guard-3", "llama-guard-3-1b", "llama-guard-4"), ("S3", "S4", "S11", "S12")),
    "llama-guard-1": ("O2", "O6"),
    "llama-guard-2": ("S3", "S4", "S10", "S11"),
    "shieldgemma": ("dangerous", "sexual"),
    "granite-guardian": ("harm", "violence", "sexual_content"),
    "granite-guardian-3.3": ("harm", "violence", "sexual_content"),
    "qwen3guard": ("sexual", "suicide_self_harm"),
    "wildguard": ("harm",),
}


def test_every_taxonomy_says_which_hazards_are_hard_to_read() -> None:
    assert {name: policy.distressing for name, policy in BUILT_IN.items()} == HARD
    words = re.compile(r"sex|suicid|self-harm|child|harming oneself", re.I)
    for policy in BUILT_IN.values():
        for category in policy:
            if words.search(category.name):
                assert category.distressing, category


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_hard_to_read_comes_through_every_form_and_edit(tmp_path: Path, name: str) -> None:
    policy = BUILT_IN[name]
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(policy.to_dict()), encoding="utf-8")
    code = policy.distressing[0]
    more = policy.add("gore", "Gore", distressing=True).rename(code, "Another Name").describe(code, "In other words.")
    for read in (policy.to_dict(), policy.to_frame(), path):
        assert set(as_policy(read).distressing) == set(policy.distressing)
    assert more.distressing == (*policy.distressing, "gore")
    assert as_policy(more.to_frame()).distressing == more.distressing


def test_what_is_hard_to_read_is_not_told_to_the_guard() -> None:
    assert Category("S1", "Spam", distressing=True) == Category("S1", "Spam")
    assert as_policy({"S1": {"name": "Spam", "distressing": True}}).distressing == ("S1",)
    assert as_policy({"S1": {"name": "Spam", "distressing": None}}).distressing == ()
    for value in ("yes", 1, [True]):
        with pytest.raises(PolicyError, match="neither true nor false") as caught:
            as_policy({"S1": {"name": "Spam", "distressing": value}})
        assert caught.value.hint
