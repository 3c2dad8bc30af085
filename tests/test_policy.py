from __future__ import annotations

import pickle

import pytest

from guard_magic.errors import PolicyError
from guard_magic.policy import BUILT_IN, LLAMA_GUARD_3, Category, Policy, as_policy


def test_llama_guard_3_has_fourteen_hazards_in_order() -> None:
    assert LLAMA_GUARD_3.codes == tuple(f"S{i}" for i in range(1, 15))
    assert LLAMA_GUARD_3.category("S14").name == "Code Interpreter Abuse"
    assert str(LLAMA_GUARD_3.category("S1")) == "S1 Violent Crimes"
    assert len(LLAMA_GUARD_3) == 14
    assert [c.code for c in LLAMA_GUARD_3] == list(LLAMA_GUARD_3.codes)
    assert "S14" in LLAMA_GUARD_3
    assert "S15" not in LLAMA_GUARD_3


def test_without() -> None:
    less = LLAMA_GUARD_3.without(["S6", " S13 "])
    assert less.codes == tuple(c for c in LLAMA_GUARD_3.codes if c not in ("S6", "S13"))
    assert less.category("S7") == LLAMA_GUARD_3.category("S7")
    assert LLAMA_GUARD_3.without("S6").codes == LLAMA_GUARD_3.without(["S6"]).codes
    assert LLAMA_GUARD_3.without([]) is LLAMA_GUARD_3
    assert LLAMA_GUARD_3.without(["S6", "S6"]).codes == LLAMA_GUARD_3.without(["S6"]).codes


@pytest.mark.parametrize("codes", [["S15"], [1], [None], ["s1"], ["S1", "violence"], [""], "S1,S2"])
def test_without_unknown_code(codes: list[str]) -> None:
    with pytest.raises(PolicyError, match="has no hazard") as caught:
        LLAMA_GUARD_3.without(codes)
    assert "S1, S2" in caught.value.hint


def test_without_everything() -> None:
    with pytest.raises(PolicyError, match="no hazards left"):
        LLAMA_GUARD_3.without(LLAMA_GUARD_3.codes)


def test_unknown_category() -> None:
    with pytest.raises(PolicyError, match="'S99'"):
        LLAMA_GUARD_3.category("S99")


@pytest.mark.parametrize("code", ["", "1", "S", "S 1", "S1\n", "<S1>", "SSSSS1", "S1234", "١"])
def test_bad_code(code: str) -> None:
    with pytest.raises(PolicyError, match="is no hazard code"):
        Category(code, "Name")


@pytest.mark.parametrize(("name", "description"), [("", ""), (" ", ""), ("<b>", ""), ("a|b", ""), ("a", "<|x|>")])
def test_bad_name(name: str, description: str) -> None:
    with pytest.raises(PolicyError, match="unusable name or description"):
        Category("S1", name, description)


def test_codes_are_unique() -> None:
    with pytest.raises(PolicyError, match="S1 twice"):
        Policy("p", (Category("S1", "A"), Category("S1", "B")))


def test_as_policy() -> None:
    assert as_policy(LLAMA_GUARD_3) is LLAMA_GUARD_3
    assert as_policy("llama-guard-3") is BUILT_IN["llama-guard-3"]
    assert as_policy({"S1": "Spam", "S2": "Ads"}).categories == (Category("S1", "Spam"), Category("S2", "Ads"))


@pytest.mark.parametrize("value", ["llama-guard-9", None, 3, ["S1"], "x" * 10_000])
def test_as_policy_of_anything_else(value: object) -> None:
    with pytest.raises(PolicyError, match="no policy") as caught:
        as_policy(value)
    assert len(caught.value.message) < 100
    assert "llama-guard-3" in caught.value.hint


def test_policy_is_a_value() -> None:
    assert pickle.loads(pickle.dumps(LLAMA_GUARD_3)) == LLAMA_GUARD_3
    assert len({LLAMA_GUARD_3, pickle.loads(pickle.dumps(LLAMA_GUARD_3))}) == 1
