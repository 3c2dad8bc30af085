"""Models that change after they were made a guard: no score is of weights that are not there any more."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from changing import HOW, fresh_model
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import engine_log_probs, max_error, plain_log_probs, small_model, small_rows
from small_tokenizers import small_tokenizer
from torch import nn

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.engine.local import LocalEngine
from guard_magic.engine.model_state import ModelState
from guard_magic.engine.own_copy import own_copy
from guard_magic.engine.prefix_cache import with_cache
from guard_magic.errors import ProtocolError, ScoreError
from guard_magic.guards.guard import Guard
from guard_magic.guards.quantize import quantize_linears
from guard_magic.scoring.progress import Cost, Watch
from guard_magic.scoring.run import score_rows
from guard_magic.scoring.session import Session

TEXTS = ["How do I bake bread?", "How do I rob a bank?", "kill"]


def log_odds(guard: Guard) -> list[float]:
    return [verdict.log_odds or math.nan for verdict in guard.score(TEXTS)]


def of_session(session: Session, guard: Guard) -> list[float]:
    return [session.moderate(text, session.request(guard=guard)).log_odds or math.nan for text in TEXTS]


def off(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


# Each way of changing a model


def _train(model: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()


def _one_number(model: Any) -> None:
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[3, 5] += 30.0


def _past_the_counters(model: Any) -> None:
    for weight in model.parameters():
        weight.data.mul_(1.2)


def _from_numpy(model: Any) -> None:
    model.model.layers[1].self_attn.v_proj.weight.detach().numpy()[:] *= 2


def _layer(model: Any) -> None:
    model.model.layers[0].mlp = fresh_model(seed=4).model.layers[0].mlp


def _silent(model: Any) -> None:
    model.model.layers[0].mlp.forward = torch.zeros_like


def _hook(model: Any) -> None:
    model.model.layers[0].register_forward_hook(lambda module, args, out: out * 1.5)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "trained": _train,
    "one number": _one_number,
    "other weights": lambda model: model.load_state_dict(fresh_model(seed=3).state_dict()),
    "other tensors": lambda model: model.load_state_dict(fresh_model(seed=3).state_dict(), assign=True),
    "past the counters": _past_the_counters,
    "through numpy": _from_numpy,
    "a buffer": lambda model: model.model.rotary_emb.inv_freq.mul_(8.0),
    "another buffer": lambda model: model.model.rotary_emb.register_buffer(
        "inv_freq", model.model.rotary_emb.inv_freq * 8
    ),
    "a layer": _layer,
    "quantized": lambda model: quantize_linears(model, "int4"),
    "a scale": lambda model: setattr(model.model.layers[1].self_attn, "scaling", 25.0),
    "a method": _silent,
    "a hook": _hook,
    "bfloat16": lambda model: model.to(torch.bfloat16),
    "a tensor turned": lambda model: setattr(
        model.model.layers[0].self_attn.q_proj.weight, "data", model.model.layers[0].self_attn.q_proj.weight.data.T
    ),
}


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_scores_are_of_the_weights_that_are_there(name: str, packs: bool) -> None:
    session, model = Session(), fresh_model()
    guard = session.wrap(model, small_tokenizer(), name="mine", **HOW)
    guard.engine.packs = packs
    before = of_session(session, guard)
    assert off(before, of_session(session, guard)) == 0
    CHANGES[name](model)
    wanted = log_odds(Guard(copy.deepcopy(model), small_tokenizer(), name="new", **HOW))
    limit = 0.1 if name == "bfloat16" else 1e-3
    assert off(wanted, before) > (0 if name == "bfloat16" else 2 * limit), "the change is one"
    assert off(of_session(session, guard), wanted) <= limit
    assert off(log_odds(guard), wanted) <= limit


def test_weights_made_under_inference_mode_are_watched_too() -> None:
    with torch.inference_mode():
        model = fresh_model()
    guard = Guard(model, small_tokenizer(), name="mine", **HOW)
    assert model.lm_head.weight.is_inference()
    encoded = guard.encode(parse_conversation("kill"))
    key, before = guard.keys([encoded]), log_odds(guard)
    assert guard.keys([encoded]) == key
    with torch.inference_mode():
        _one_number(model)
    assert guard.keys([encoded]) != key
    assert off(log_odds(guard), before) > 1e-3
    with torch.inference_mode():
        swapped = model.lm_head.weight[[1, 0]]
        model.lm_head.weight[:2] = swapped
    assert ModelState(model).change(model) is None


@pytest.fixture(scope="module")
def watched() -> tuple[Any, list[torch.Tensor]]:
    model = fresh_model()
    return model, [*model.parameters(), *model.buffers()]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_counted_write_is_seen(watched: tuple[Any, list[torch.Tensor]], data: st.DataObject) -> None:
    model, tensors = watched
    state = ModelState(model)
    assert state.change(model, closely=True) is None
    tensor = data.draw(st.sampled_from(tensors))
    with torch.no_grad():
        tensor.view(-1)[data.draw(st.integers(0, tensor.numel() - 1))] += 1
    assert state.change(model) is not None


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_switch_is_seen(watched: tuple[Any, list[torch.Tensor]], data: st.DataObject) -> None:
    """Flags, numbers, names and lists of any module or configuration; put back, it is the same model again."""
    model, _ = watched
    owners = [*model.modules(), model.config]
    kinds = bool | int | float | str | list
    switches = [
        (owner, key)
        for owner in owners
        for key, value in vars(owner).items()
        if isinstance(value, kinds) and not (key.startswith("_") and isinstance(owner, nn.Module))
    ]
    owner, key = data.draw(st.sampled_from(switches))
    state, before = ModelState(model), vars(owner)[key]
    vars(owner)[key] = [*before, "more"] if isinstance(before, list) else f"{before} else"
    try:
        assert state.change(model) is not None
    finally:
        vars(owner)[key] = before
    assert state.change(model) is None


# What is no change


def _generate(model: Any) -> None:
    model.generate(input_ids=torch.tensor([[5, 6]]), max_new_tokens=3, pad_token_id=0)


UNCHANGED: dict[str, Callable[[Any], Any]] = {
    "run": lambda model: model(input_ids=torch.tensor([[5, 6, 7]])),
    "run for hidden states": lambda model: model(input_ids=torch.tensor([[5, 6, 7]]), output_hidden_states=True),
    "generated with": _generate,
    "trained and back": lambda model: model.train().eval(),
    "saved": lambda model: model.state_dict(),
    "frozen": lambda model: model.requires_grad_(False),
    "equal values": lambda model: setattr(model.model.layers[0].mlp.act_fn, "note", None),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_no_change_costs_nothing(name: str) -> None:
    session, model = Session(), fresh_model()
    guard = session.wrap(model, small_tokenizer(), name="mine", **HOW)
    before, key = of_session(session, guard), guard.keys([guard.encode(parse_conversation("kill"))])
    n_forwards, n_prefix = guard.engine.n_forwards, guard.engine.prefixes.n_computed
    UNCHANGED[name](model)
    if name == "equal values":
        del model.model.layers[0].mlp.act_fn.note
    assert of_session(session, guard) == before
    assert guard.keys([guard.encode(parse_conversation("kill"))]) == key
    assert guard.engine.n_forwards == n_forwards
    assert guard.engine.prefixes.n_computed == n_prefix


# What is refused


def test_a_model_in_training_mode_is_refused_at_every_call() -> None:
    model = fresh_model()
    guard = Guard(model, small_tokenizer(), name="mine", **HOW)
    before, encoded = log_odds(guard), guard.encode(parse_conversation("kill"))
    for module, whose in ((model, "the model"), (model.model.layers[1].mlp, r"model\.layers\.1\.mlp of the model")):
        module.train()
        with pytest.raises(ProtocolError, match=f"{whose} is in training mode") as caught:
            guard.score(TEXTS)
        assert caught.value.hint == "model.eval()"
        with pytest.raises(ProtocolError, match="in training mode"):
            guard.keys([encoded])
        with pytest.raises(ProtocolError, match="in training mode"):
            Guard(model, small_tokenizer(), name="x", **HOW)
        assert module.training, "it is the user's: nothing puts it back"
        model.eval()
        assert log_odds(guard) == before


def test_a_model_without_numbers_is_refused() -> None:
    model = fresh_model()
    guard = Guard(model, small_tokenizer(), name="mine", **HOW)
    log_odds(guard)
    model.to("meta")
    with pytest.raises(ProtocolError, match=r"has no numbers in .*: it is on the meta device"):
        guard.score(TEXTS)


# While it is being asked


@pytest.mark.parametrize("change", ["trained", "bfloat16", "a layer"])
def test_a_change_between_two_batches_is_an_error(change: str) -> None:
    model = fresh_model()
    guard = Guard(model, small_tokenizer(), name="mine", **HOW)
    guard.engine.budget = 1
    batches = guard.read([guard.encode(parse_conversation(text)) for text in TEXTS])
    assert next(batches)
    CHANGES[change](model)
    with pytest.raises(ScoreError, match="the model was changed while it was being asked") as caught:
        list(batches)
    assert "Score again" in caught.value.hint
    wanted = log_odds(Guard(copy.deepcopy(model), small_tokenizer(), name="new", **HOW))
    assert off(log_odds(guard), wanted) <= (0.1 if change == "bfloat16" else 1e-3)


def test_a_cleared_cache_forgets_prefixes_and_how_rows_are_packed() -> None:
    session, model = Session(), fresh_model()
    guard = session.wrap(model, small_tokenizer(), name="mine", **HOW)
    before = of_session(session, guard)
    known, key = guard.engine.prefixes, guard.keys([guard.encode(parse_conversation("kill"))])
    assert len(known) > 0
    assert guard.engine.packs is True
    session.clear_cache()
    assert len(session.cache) == len(guard.engine.prefixes) == 0
    assert guard.engine.packs is None
    assert guard.keys([guard.encode(parse_conversation("kill"))]) != key
    assert off(of_session(session, guard), before) <= 1e-5
    assert guard.engine.prefixes is not known


# Adapters


@pytest.fixture
def adapted() -> Any:
    peft = importlib.import_module("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(1)
    model = peft.get_peft_model(fresh_model(), config).eval()
    model.add_adapter("other", config)
    return model.eval()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21
def test_adapters_switched_off_and_on(adapted: Any) -> None:
    session = Session()
    guard = session.wrap(adapted, small_tokenizer(), name="mine", **HOW)
    first = of_session(session, guard)
    plain = log_odds(Guard(fresh_model(), small_tokenizer(), name="plain", **HOW))
    assert off(first, plain) > 0.01
    with adapted.disable_adapter():
        assert off(of_session(session, guard), plain) <= 1e-4
    assert off(of_session(session, guard), first) <= 1e-4
    adapted.set_adapter("other")
    adapted.eval()
    other = of_session(session, guard)
    assert off(other, first) > 0.01
    adapted.merge_adapter()
    assert off(of_session(session, guard), other) <= 1e-3, "merged, it says the same"
    adapted.unmerge_adapter()
    adapted.base_model.model.model.layers[0].self_attn.q_proj.scaling["other"] *= 50
    assert off(of_session(session, guard), other) > 0.01


# The copy that is run


def test_the_copy_shares_tensors_and_nothing_else() -> None:
    model = fresh_model()
    made = own_copy(model)
    for (name, one), (other_name, other) in zip(model.named_modules(), made.named_modules(), strict=True):
        assert name == other_name
        assert type(one) is type(other)
        assert one is not other
        shared = [key for key, value in vars(one).items() if isinstance(value, dict) and vars(other)[key] is value]
        assert not shared
        assert getattr(one, "config", None) is None or one.config is not other.config
    tensors = [*itertools.chain(model.parameters(), model.buffers())]
    assert all(a is b for a, b in zip(tensors, itertools.chain(made.parameters(), made.buffers()), strict=True))
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(input_ids=ids).logits, made(input_ids=ids).logits)


def test_methods_in_the_place_of_forward_lead_into_the_copy() -> None:
    """As accelerate hooks modules: the engine's own numbers are still those of the model."""
    hooks = importlib.import_module("accelerate.hooks")
    model = small_model("llama")
    wanted = plain_log_probs(model, small_rows())
    for module in [*model.modules()]:
        hooks.add_hook_to_module(module, hooks.ModelHook(), append=True)
    engine = LocalEngine(model)
    assert max_error(engine_log_probs(engine, small_rows()), wanted) <= 1e-4
    assert engine.packs is True


def test_a_closure_in_the_place_of_forward_leads_into_the_copy() -> None:
    model = small_model("llama")
    wanted, calls = plain_log_probs(model, small_rows()), []
    plain = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return plain(*args, **kwargs)

    model.forward = forward
    engine = LocalEngine(model, packs=True)
    assert max_error(engine_log_probs(engine, small_rows()), wanted) <= 1e-4
    assert calls, "what the closure shares with others it still shares"


def test_a_forward_that_runs_another_head_is_refused() -> None:
    model = small_model("llama")
    held = [model.forward]
    model.forward = lambda **kwargs: held[0](**kwargs)
    with pytest.raises(ProtocolError, match="does not call its own output embeddings"):
        engine_log_probs(LocalEngine(model, packs=False), small_rows())


# Names of the argument for keys and values


class _Named(nn.Module):
    def forward(self, input_ids: Any, cache: Any = None, **kwargs: Any) -> None: ...


class _NamedBefore(nn.Module):
    def forward(self, input_ids: Any, past_key_values: Any = None, **kwargs: Any) -> None: ...


class _Wrapper(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def get_base_model(self) -> nn.Module:
        return self.inner

    def forward(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(("kind", "name"), [(_Named, "cache"), (_NamedBefore, "past_key_values")])
def test_keys_and_values_go_by_the_name_that_the_model_knows(kind: type[nn.Module], name: str) -> None:
    assert with_cache(kind(), None) == {name: None}
    assert with_cache(_Wrapper(kind()), None) == {name: None}


class _Before(transformers.LlamaForCausalLM):  # type: ignore[misc]
    """A model as transformers before 5.24 has it."""

    def forward(self, input_ids: Any = None, past_key_values: Any = None, **kwargs: Any) -> Any:
        assert "cache" not in kwargs
        known = inspect.signature(transformers.LlamaForCausalLM.forward).parameters
        kwargs["cache" if "cache" in known else "past_key_values"] = past_key_values
        return super().forward(input_ids=input_ids, **kwargs)


def test_a_model_of_the_other_name_gives_the_same_numbers() -> None:
    model = small_model("llama")
    wanted = plain_log_probs(model, small_rows())
    before = _Before(model.config).eval()
    before.load_state_dict(model.state_dict())
    for packs in (True, False):
        engine = LocalEngine(before, packs=packs)
        assert max_error(engine_log_probs(engine, small_rows()), wanted) <= 1e-4
        assert len(engine.prefixes) > 0


def test_a_change_between_two_chunks_of_a_table_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are made a chunk ahead: no table is of two models, and nothing of the new one is kept under an old key."""

    class Change(Watch):
        n_done = 0

        def finish(self, n_rows: int, cost: Cost = Cost()) -> None:  # noqa: B008 - it is a value
            before, self.n_done = self.n_done, self.n_done + n_rows
            if before < 4 <= self.n_done:
                with torch.no_grad():
                    model.lm_head.weight.mul_(-1)

    monkeypatch.setattr("guard_magic.scoring.preparing.FIRST_CHUNK", 4)
    session, model = Session(), fresh_model()
    guard = session.wrap(model, small_tokenizer(), name="mine", **HOW)
    rows = [parse_conversation(f"kill {i}") for i in range(20)]
    with pytest.raises(ScoreError, match="the model was changed while it was being asked"):
        score_rows(rows, session.request(guard=guard), session.cache, watch=Change())
    found = score_rows(rows, session.request(guard=guard), session.cache)
    new = Guard(copy.deepcopy(model), small_tokenizer(), name="new", **HOW).score(rows)
    assert off([v.log_odds or math.nan for v in found], [v.log_odds or math.nan for v in new]) <= 1e-3
