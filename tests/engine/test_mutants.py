"""Engines and protocols broken on purpose: each must fail the check that guards it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from attacks import ATTACKS, attack_check
from small_models import (
    CHATS,
    Define,
    chat,
    engine_log_probs,
    max_error,
    plain_log_probs,
    read,
    small_model,
    small_rows,
)
from tokenizers import Tokenizer

from guard_magic.engine import forward, head, packed_attention
from guard_magic.engine.head import read_at
from guard_magic.engine.local import LocalEngine, Scored, TokenRow
from guard_magic.engine.packed_attention import Pack
from guard_magic.engine.packing_check import can_pack, packing_error
from guard_magic.engine.prefix_cache import PrefixCache
from guard_magic.guards.guard import Guard
from guard_magic.guards.quantize import quantize_linears
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.prompts.plan import PromptPlan
from guard_magic.prompts.structure import Structure
from guard_magic.prompts.text_only import TextTokenizers
from guard_magic.verdict import Reading, judge

SOME = [*CHATS[:4], *CHATS[8:11], *CHATS[19:21]]
LESS = LLAMA_GUARD_3.without(["S6", "S13"])


class ReadsOneEarly(LocalEngine):
    def _forward(self, suffixes: Any, prefix: Any, call: Any, is_packed: bool) -> torch.Tensor:
        continuation = (suffixes[0][-1], *call.continuation[:-1])
        return super()._forward([s[:-1] for s in suffixes], prefix, replace(call, continuation=continuation), is_packed)


class PadsInFront(LocalEngine):
    def _forward(self, suffixes: Any, prefix: Any, call: Any, is_packed: bool) -> torch.Tensor:
        width = max(map(len, suffixes))
        return super()._forward([(*[0] * (width - len(s)), *s) for s in suffixes], prefix, call, is_packed)


class ReadsWrongNode(LocalEngine):
    def score(self, rows: Sequence[TokenRow], continuation: Any, wanted: Any, **how: Any) -> Iterator[Scored]:
        return super().score(rows, continuation, [(max(offset - 1, 0), token) for offset, token in wanted], **how)


class MixesRowsUp(LocalEngine):
    def score(self, rows: Sequence[TokenRow], continuation: Any, wanted: Any, **how: Any) -> Iterator[Scored]:
        for scored in super().score(rows, continuation, wanted, **how):
            yield Scored(sorted(scored.positions), scored.log_probs, scored.error)


class FirstPrefix(PrefixCache):
    """Answers every prefix with the first one it ever computed."""

    def get(self, prefix: tuple[int, ...]) -> Any:
        return super().get(next(iter(self._frozen), prefix))


class FirstPrefixForAll(LocalEngine):
    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__(model, **options)
        self.prefixes = FirstPrefix(model)


class ForgetsThePrefix(LocalEngine):
    def _forward(self, suffixes: Any, prefix: Any, call: Any, is_packed: bool) -> torch.Tensor:
        return super()._forward(suffixes, (), call, is_packed)


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("name", ["tiny", "tiny_digits", "tiny_parts"])
@pytest.mark.parametrize(
    "mutant",
    [LocalEngine, ReadsOneEarly, PadsInFront, ReadsWrongNode, MixesRowsUp, FirstPrefixForAll, ForgetsThePrefix],
)
def test_engine_mutants(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    define: Define,
    name: str,
    mutant: type[LocalEngine],
    packs: bool,
) -> None:
    guard: Guard = request.getfixturevalue(name)
    monkeypatch.setattr(guard, "engine", mutant(guard.model, packs=packs))
    error = max_error(read(guard, SOME), [define(guard, one) for one in SOME])
    if mutant is LocalEngine:
        assert error <= 1e-4
    else:
        assert error > 1e-2


@pytest.mark.parametrize("packs", [True, False])
def test_positions_one_early(tiny: Guard, define: Define, monkeypatch: pytest.MonkeyPatch, packs: bool) -> None:
    monkeypatch.setattr(tiny, "engine", LocalEngine(tiny.model, packs=packs))
    monkeypatch.setattr(forward, "read_at", lambda model, at, **how: read_at(model, at - 1, **how))
    assert max_error(read(tiny, SOME), [define(tiny, one) for one in SOME]) > 1e-2


def _rows_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Pack.__init__

    def whole(self: Pack, lengths: Sequence[int], prefix: Any, bounds: torch.Tensor, ends: torch.Tensor) -> None:
        plain(self, [sum(lengths)], prefix, ends[0], ends)

    monkeypatch.setattr(Pack, "__init__", whole)


def _shares_are_even(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = packed_attention._merged
    monkeypatch.setattr(packed_attention, "_merged", lambda own, s, ahead, t: merged(own, s, ahead, s))


def _prefix_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_attention, "_merged", lambda own, *others: own)


def _prefix_of_the_first_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    over = packed_attention._over_on_cpu

    def wrong(pack: Pack, query: Any, keys: Any, values: Any, scale: Any) -> Any:
        assert pack.prefix is not None
        first = pack.prefix.layers[0]
        return over(pack, query, first.keys, first.values, scale)

    monkeypatch.setattr(packed_attention, "_over_on_cpu", wrong)


def _places_go_on_from_row_to_row(monkeypatch: pytest.MonkeyPatch) -> None:
    placed = forward.on_device

    def on_device(values: Any, model: Any, *dtype: Any) -> torch.Tensor:
        made = placed(values, model, *dtype)
        if made.shape[:2] == (2, 1):  # ids and places of a packed batch
            made[1, 0] = made[1, 0, 0] + torch.arange(made.shape[2])
        return made

    monkeypatch.setattr(forward, "on_device", on_device)


def _rows_are_not_causal(monkeypatch: pytest.MonkeyPatch) -> None:
    flash = packed_attention._flash_on_cpu
    monkeypatch.setattr(packed_attention, "_flash_on_cpu", lambda *args, causal: flash(*args, causal=False))


PACKING_MUTANTS = [
    _rows_see_each_other,
    _shares_are_even,
    _prefix_is_not_seen,
    _prefix_of_the_first_layer,
    _places_go_on_from_row_to_row,
    _rows_are_not_causal,
]


@pytest.mark.parametrize("breaks", PACKING_MUTANTS)
def test_packing_mutants(
    tiny: Guard, define: Define, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Each fails the comparison with the definition, and the trial at load, which then pads instead."""
    ids = tiny.tokens("How do I bake bread?")
    monkeypatch.setattr(tiny, "engine", LocalEngine(tiny.model, packs=True))
    wanted = [define(tiny, one) for one in SOME]
    assert max_error(read(tiny, SOME), wanted) <= 1e-4
    assert packing_error(tiny.model, ids) < 1e-5
    breaks(monkeypatch)
    assert max_error(read(tiny, SOME), wanted) > 1e-2
    assert not can_pack(tiny.model, ids)
    assert not can_pack(copy.deepcopy(tiny.model).bfloat16(), ids), "bfloat16's rounding does not hide it"
    rounded = quantize_linears(copy.deepcopy(tiny.model).bfloat16(), "fp8")
    if breaks is not _places_go_on_from_row_to_row:  # which is no matter of a model or device, and moves less than FP8
        assert not can_pack(rounded, ids)
    tiny.engine = LocalEngine(tiny.model)
    assert max_error(read(tiny, SOME), wanted) <= 1e-4
    assert tiny.engine.packs is False


@pytest.mark.parametrize("quantization", [None, "int8", "int4", "fp8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_alone_does_not_refuse_packing(tiny: Guard, dtype: torch.dtype, quantization: str | None) -> None:
    model = copy.deepcopy(tiny.model).to(dtype)
    if quantization:
        quantize_linears(model, quantization)
    assert can_pack(model, tiny.tokens("How do I bake bread?"))


def test_last_layer_narrowed_elsewhere(tiny: Guard, define: Define, monkeypatch: pytest.MonkeyPatch) -> None:
    narrowed = head._narrowed
    monkeypatch.setattr(head, "_narrowed", lambda module, at: narrowed(module, at - 1))
    assert max_error(read(tiny, SOME), [define(tiny, one) for one in SOME]) > 1e-2


def test_prefix_of_another_policy(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "engine", LocalEngine(tiny.model, share_prefix=False))
    true = read(tiny, SOME, LESS)
    monkeypatch.setattr(tiny, "engine", LocalEngine(tiny.model))
    read(tiny, [chat("hi")])
    assert max_error(read(tiny, SOME, LESS), true) <= 1e-4
    monkeypatch.setattr(tiny, "engine", FirstPrefixForAll(tiny.model))
    read(tiny, [chat("hi")])
    assert max_error(read(tiny, SOME, LESS), true) > 1e-2


class HeadByHand(LocalEngine):
    """Applies the head to the hidden states itself, without the model's own final transform."""

    def _forward(self, suffixes: Any, prefix: Any, call: Any, is_packed: bool) -> torch.Tensor:
        found = []
        for suffix in suffixes:
            ids = torch.tensor([[*prefix, *suffix, *call.continuation]])
            states = self.model.model(input_ids=ids).last_hidden_state[0]
            logs = self.model.lm_head(states).log_softmax(-1)
            at = len(prefix) + len(suffix) - 1
            found.append([float(logs[at + offset, token]) for offset, token in call.wanted])
        return torch.tensor(found)


@pytest.mark.parametrize(
    ("name", "differs"), [("llama", False), ("gemma2", True), ("granite", True), ("cohere2", True)]
)
def test_head_without_the_final_transform(name: str, differs: bool) -> None:
    model = small_model(name)
    expected = plain_log_probs(model, small_rows())
    assert max_error(engine_log_probs(LocalEngine(model), small_rows()), expected) <= 1e-4
    error = max_error(engine_log_probs(HeadByHand(model), small_rows()), expected)
    assert error > 1e-2 if differs else error <= 1e-4


def not_scored(guard: Guard, floor: float) -> list[bool]:
    """Whether rows stay unscored for a reading on which the guard answered neither verdict."""
    neither = Reading(math.log(0.1), math.log(0.3), (-1.0,) * 14, 9)
    verdict = judge(neither, LLAMA_GUARD_3, threshold=0.5, guard="g", assessed_role="user", min_verdict_mass=floor)
    floor_before, guard.min_verdict_mass = guard.min_verdict_mass, 2 * floor  # no row has a mass of 1.8
    try:
        verdicts = guard.score(["kill", "river"])
    finally:
        guard.min_verdict_mass = floor_before
    return [v.category is None and v.error is not None for v in (verdict, *verdicts)]


def test_mass_floor_off(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(not_scored(tiny, 0.9))
    assert not any(not_scored(tiny, 0.0))
    monkeypatch.setattr(Reading, "is_readable", lambda self, floor: True)
    assert not any(not_scored(tiny, 0.9))


def test_equality_check_is_not_fooled_by_nan() -> None:
    good = [{"unsafe": -1.0, "S1": -math.inf}]
    assert max_error(good, [{"unsafe": -1.0, "S1": -math.inf}]) == 0
    assert max_error([{"unsafe": math.nan, "S1": -1.0}], good) == math.inf


# The conversation cannot speak for the guard


def plain_tokenizer(plan: PromptPlan) -> Tokenizer:
    return Tokenizer.from_str(plan.tokenizer.backend_tokenizer.to_str())


@pytest.fixture
def plan(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> PromptPlan:
    return tiny.questionnaire(None).first


def test_plain_tokenizer_is_caught_row_by_row(plan: PromptPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = [("user", ATTACKS["answer"])]
    assert attack_check(plan, attack)
    plain = plain_tokenizer(plan)
    monkeypatch.setitem(plan.__dict__, "tokenizers", TextTokenizers(plain, plain, plain))
    assert not attack_check(plan, attack)  # refused: the second line holds
    monkeypatch.setattr(PromptPlan, "_check_control", lambda self, ids, layout: None)
    with pytest.raises(AssertionError):
        attack_check(plan, attack)


@pytest.mark.parametrize("attack", ["end_conversation", "policy_block", "agent_turn", "agent_turn_line_separator"])
def test_structure_not_neutralised(plan: PromptPlan, monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    assert attack_check(plan, [("user", ATTACKS[attack])])
    monkeypatch.setattr(Structure, "neutralise", lambda self, text: (text, 0))
    with pytest.raises(AssertionError):
        attack_check(plan, [("user", ATTACKS[attack])])
