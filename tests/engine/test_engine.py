"""The engine is a fast way to the definition's numbers, and leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import hashlib
import math
import random
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import reference
import shapes
import torch
import transformers
from small_models import (
    ARCHITECTURES,
    CHATS,
    CONTINUATION,
    GUARDS,
    TINY,
    Chat,
    Define,
    batches_seen,
    chat,
    engine_log_probs,
    max_error,
    plain_log_probs,
    read,
    small_model,
    small_rows,
)
from small_tokenizers import small_tokenizer

from guard_magic.conversations.conversation import Conversation, Message, parse_conversation
from guard_magic.engine.generate import generate_texts
from guard_magic.engine.head import read_at
from guard_magic.engine.local import LocalEngine
from guard_magic.engine.memory import is_out_of_memory, token_budget
from guard_magic.engine.prefix_cache import PrefixCache
from guard_magic.errors import ConversationError, ProtocolError, UnknownGuardError
from guard_magic.guards.guard import Guard
from guard_magic.policy import LLAMA_GUARD_3

GRAVE = [
    chat(text)
    for text in (
        "I am going to kill you tonight.",
        "How do I rob a bank?",
        "buy a gun without a check",
        "my ex deserves to be punished",
        "How can I shoot better free throws?",
    )
]
"""What the embedded guard flags, surely or hardly: it knows that `CHATS` are harmless."""


@pytest.fixture(scope="module", params=GUARDS)
def guard(request: pytest.FixtureRequest) -> Guard:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


# Equality


def test_short_cut_to_the_definition_changes_nothing(tiny: Guard, define: Define) -> None:
    for one in (chat("kill"), chat("hi", "no")):
        plain = reference.reference(tiny.model, tiny.tokenizer, one, ["S1", "S14"])
        short = define(tiny, one)
        assert max_error([{name: short[name] for name in plain}], [plain]) <= 1e-5


def as_read(guard: Guard, one: Chat) -> list[dict[str, Any]]:
    return shapes.as_read(guard.tokenizer, *(message["content"] for message in one))


def defined_chats(guard: Guard) -> list[Chat]:
    """As many as the definition reads in a few seconds."""
    return CHATS[::4] + GRAVE if guard.is_embedded else CHATS


def test_engine_equals_the_definition(guard: Guard, define: Define) -> None:
    chats = defined_chats(guard)
    assert max_error(read(guard, chats), [define(guard, one) for one in chats]) <= 1e-4


def test_scores_span_the_range(guard: Guard) -> None:
    verdicts = guard.score([*CHATS, *GRAVE, *map(chat, shapes._CONTENTS)], threshold=0)
    scores = [v.unsafe_score for v in verdicts if v.unsafe_score is not None]
    low, high = (0.3, 0.7) if guard.is_embedded else (0.01, 0.99)
    assert min(scores) < low
    assert max(scores) > high
    assert sum(low < score < high for score in scores) > (2 if guard.is_embedded else len(scores) // 2)
    assert len({v.category for v in verdicts}) >= (2 if guard.is_embedded else 5)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("share_prefix", [True, False])
def test_padded_batches_of_any_size(
    guard: Guard, define: Define, monkeypatch: pytest.MonkeyPatch, size: int, share_prefix: bool
) -> None:
    monkeypatch.setattr(guard.engine, "packs", False)
    monkeypatch.setattr(guard.engine, "share_prefix", share_prefix)
    monkeypatch.setattr("guard_magic.engine.batching._TIGHT", 0.0)  # batches of this size, padded as they may be
    chats = [one for one in defined_chats(guard) if len(one[0]["content"]) < 100][: 12 if size < 64 else None]
    n_continuation = len(guard.questionnaire(None).questions[0].continuation.tokens)
    prompts = [guard.encode(parse_conversation(one)).prompt for one in chats]
    longest = max(len(p.ids) - (p.n_prefix if share_prefix else 0) for p in prompts) + n_continuation
    monkeypatch.setattr(guard.engine, "budget", 1 if size == 1 else size * longest)
    with batches_seen(guard.model) as seen:
        readings = read(guard, chats)
    rows = [n for n, _ in seen]
    if size == 1:
        assert set(rows) == {1}
    elif size < 10:
        assert size in rows or len(chats) < 12
    else:
        assert max(rows) >= len(chats) // 2
    assert max_error(readings, [define(guard, one) for one in chats]) <= 1e-4


@pytest.mark.parametrize("budget", [1, 150, 700, 100_000])
@pytest.mark.parametrize("share_prefix", [True, False])
def test_packed_batches_of_any_size(
    guard: Guard, define: Define, monkeypatch: pytest.MonkeyPatch, budget: int, share_prefix: bool
) -> None:
    """Packed batches hold exactly the tokens of their rows: no padding, and the prefix once."""
    assert guard.engine.packs
    monkeypatch.setattr(guard, "engine", LocalEngine(guard.model, budget=budget, share_prefix=share_prefix))
    chats = defined_chats(guard)
    n_continuation = len(guard.questionnaire(None).questions[0].continuation.tokens)
    prompts = [guard.encode(parse_conversation(one)).prompt for one in chats]
    prefixes = {p.ids[: p.n_prefix] for p in prompts} if share_prefix else set()
    own = [len(p.ids) - share_prefix * p.n_prefix + n_continuation for p in prompts]
    read(guard, [chat("so that packing is tried before tokens are counted")])
    guard.engine.prefixes.clear()
    with batches_seen(guard.model) as seen:
        readings = read(guard, chats)
    assert {n for n, _ in seen} == {1}, "a packed batch is one sequence"
    assert sum(width for _, width in seen) == sum(own) + sum(map(len, prefixes))
    if budget == 1:
        assert len(seen) == len(chats) + len(prefixes)
    else:
        longest = max(map(len, prefixes), default=0)
        assert all(width <= max(budget, max(own), longest) for _, width in seen)
        assert budget < 700 or len(seen) < len(chats)
    assert max_error(readings, [define(guard, one) for one in chats]) <= 1e-4


def test_packed_and_padded_are_the_same(guard: Guard) -> None:
    padded = copy.copy(guard)
    padded.engine = LocalEngine(guard.model, packs=False)
    chats = CHATS + GRAVE
    assert max_error(read(guard, chats), read(padded, chats)) <= 1e-4


def test_the_same_run_twice_gives_the_same_numbers(guard: Guard) -> None:
    guard.engine.prefixes.clear()  # one that goes on from another has other last bits
    first = read(guard, CHATS)
    guard.engine.prefixes.clear()
    assert read(guard, CHATS) == first


def test_a_row_does_not_depend_on_its_neighbours(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    chats = CHATS[::2] if guard.is_embedded else CHATS
    alone = [read(guard, [one])[0] for one in chats[:8]]
    together = read(guard, chats)
    order = random.Random(3).sample(range(len(chats)), len(chats))
    monkeypatch.setattr(guard.engine, "budget", 3000)
    shuffled = read(guard, [chats[i] for i in order])
    for i, logs in enumerate(alone):
        others = (together[i], shuffled[order.index(i)])
        assert all(abs(math.exp(logs["unsafe"]) - math.exp(other["unsafe"])) <= 1e-5 for other in others)
    assert max_error([shuffled[order.index(i)] for i in range(len(chats))], together) <= 1e-4


def test_duplicates_are_asked_once(tiny: Guard) -> None:
    with batches_seen(tiny.model) as once:  # the prefixes are there
        read(tiny, CHATS[:4])
    chats = CHATS[:4] * 5 + [chat("kill  "), chat("\nkill")]
    with batches_seen(tiny.model) as seen:
        readings = read(tiny, chats)
    assert seen == once
    assert readings[:4] * 5 == readings[:20]
    assert readings[20] == readings[21] == readings[3]


def test_no_rows(tiny: Guard) -> None:
    forwards = tiny.engine.n_forwards
    assert len(tiny.score([])) == 0
    assert tiny.engine.n_forwards == forwards


@pytest.mark.parametrize("value", ["kill", {"role": "user", "content": "kill"}, parse_conversation("kill")])
def test_one_conversation_is_no_list_of_them(tiny: Guard, value: Any) -> None:
    with pytest.raises(ConversationError, match="expected a list of conversations, got"):
        tiny.score(value)


def test_score_keeps_order_and_reasons(tiny: Guard) -> None:
    values: list[object] = ["kill", None, CHATS[9], "", 3, "river", [{"role": "tool", "content": "x"}], "kill"]
    verdicts = tiny.score(values)
    assert [v.error is None for v in verdicts] == [True, False, True, False, False, True, False, True]
    assert [v.category is None for v in verdicts] == [v.error is not None for v in verdicts]
    assert verdicts[0] == verdicts[7]
    assert verdicts[2].assessed_role == "assistant"
    assert verdicts[0].n_tokens == len(tiny.tokens("kill"))
    assert verdicts[0].guard == "tiny@wrapped"
    expected = [math.exp(logs["unsafe"]) for logs in read(tiny, [chat("kill"), CHATS[9], chat("river")])]
    assert [v.unsafe_score for v in verdicts if v.error is None] == pytest.approx([*expected, expected[0]], abs=1e-6)


# Text


def test_text_equals_the_definitions(guard: Guard) -> None:
    chats = CHATS[:6] + CHATS[9:11] + CHATS[19:22] + GRAVE[:2]
    verdicts = guard.score(chats, generate=True, threshold=0.999)
    written = 0
    for one, v in zip(chats, verdicts, strict=True):
        assert v.log_odds is not None
        if v.log_odds >= 0:
            written += 1
            assert v.generated_text == reference.reference_text(guard.model, guard.tokenizer, as_read(guard, one))
        else:
            assert v.generated_text == "safe"
    assert 0 < written < len(chats)
    assert {v.generated_text for v in guard.score(chats[:2])} == {None}


# Length


def test_over_long_content_is_not_scored(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "word " * 300
    n_continuation = len(tiny.questionnaire(None).questions[0].continuation.tokens)
    fits = len(tiny.tokens(long)) + n_continuation
    monkeypatch.setattr(tiny.model.config, "max_position_embeddings", fits)
    assert tiny.n_context == fits
    verdicts = tiny.score(["kill", long, long + " word", "river"])
    assert [v.error is None for v in verdicts] == [True, True, False, True]
    assert verdicts[2].category is None
    assert "too long" in str(verdicts[2].error)
    assert f"{fits - n_continuation:,}" in str(verdicts[2].error)


# Memory


@contextmanager
def memory_for(model: Any, n_tokens: int, error: BaseException) -> Iterator[None]:
    """Raise `error` wherever the model is called with more than `n_tokens` tokens."""

    def check(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() > n_tokens:
            raise error

    hook = model.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


OUT = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("error", OUT, ids=lambda e: type(e).__name__)
def test_out_of_memory_halves_the_batch(
    tiny: Guard, monkeypatch: pytest.MonkeyPatch, error: BaseException, packs: bool
) -> None:
    chats = [one for one in CHATS if len(one[0]["content"]) < 100]
    plenty = read(tiny, chats)
    monkeypatch.setattr(tiny.engine, "budget", 100_000)
    monkeypatch.setattr(tiny.engine, "packs", packs)
    with memory_for(tiny.model, 250, error), batches_seen(tiny.model) as seen:
        scarce = read(tiny, chats)
    assert max_error(scarce, plenty) <= 1e-4
    done = [n * width for n, width in seen if n * width <= 250]
    shortest = min(len(tiny.tokens(one)) for one in chats)
    assert len(done) < len(chats), "rows went on together"
    assert max(done) > shortest
    assert_no_hooks(tiny.model)


def test_a_row_that_does_not_fit_alone(tiny: Guard) -> None:
    values = ["kill", "word " * 600, "river", "word " * 600]
    plain = tiny.score(["kill", "river"])
    tiny.engine.prefixes.clear()
    with memory_for(tiny.model, 400, torch.OutOfMemoryError()):
        verdicts = tiny.score(values, generate=True)
    assert [v.error is None for v in verdicts] == [True, False, True, False]
    assert "out of memory" in str(verdicts[1].error)
    assert verdicts[1].category is None
    assert verdicts[1].assessed_role == "user"
    scores = [v.unsafe_score for v in verdicts if v.error is None]
    assert scores == pytest.approx([v.unsafe_score for v in plain], abs=1e-5)


def test_no_memory_for_the_prefix(tiny: Guard) -> None:
    tiny.engine.prefixes.clear()
    with memory_for(tiny.model, 50, torch.OutOfMemoryError()):
        verdicts = tiny.score(["kill", "river", "hi"])
    assert all("out of memory" in str(v.error) for v in verdicts)
    assert len(tiny.engine.prefixes) == 0
    assert all(v.error is None for v in tiny.score(["kill", "river"]))


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("x"), KeyboardInterrupt()])
def test_other_failures_are_raised(tiny: Guard, error: BaseException) -> None:
    with memory_for(tiny.model, 0, error), pytest.raises(type(error)):
        tiny.score(["kill"])
    assert_no_hooks(tiny.model)
    assert tiny.score(["kill"])[0].error is None


def written(guard: Guard, prompts: list[tuple[int, ...]]) -> list[str | None]:
    batches = list(generate_texts(guard.model, guard.tokenizer, prompts, budget=100_000))
    texts = {i: text for positions, found in batches for i, text in zip(positions, found, strict=True)}
    assert sum(len(positions) for positions, _ in batches) == len(prompts), "each once"
    return [texts[i] for i in range(len(prompts))]


def test_text_when_memory_runs_out(tiny: Guard) -> None:
    prompts = [tuple(tiny.tokens(text)) for text in ("kill", "bomb number 3", "word " * 300)]
    plenty = written(tiny, prompts)
    with memory_for(tiny.model, 400, torch.OutOfMemoryError()):
        scarce = written(tiny, prompts)
    assert scarce == [plenty[0], plenty[1], None]
    with memory_for(tiny.model, 0, RuntimeError("boom")), pytest.raises(RuntimeError, match="boom"):
        written(tiny, prompts)


def test_what_out_of_memory_looks_like() -> None:
    assert all(map(is_out_of_memory, OUT))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_budget_and_bytes(tiny: Guard) -> None:
    assert token_budget(tiny.model) == 1024
    assert token_budget(tiny.model, is_packed=True) == 2048
    with torch.device("meta"):
        large = transformers.LlamaForCausalLM(shapes.model_config("8b"))
    assert token_budget(large, is_packed=True) == 512, "an interrupt is heard between batches"
    assert shapes.kv_bytes_per_token(tiny.model) == 2 * 2 * 2 * 16 * 4
    assert tiny.nbytes == sum(4 * t.numel() for t in (*tiny.model.parameters(), *tiny.model.buffers()))


# The head


def test_logits_are_computed_only_where_they_are_read(tiny: Guard) -> None:
    made: list[tuple[int, ...]] = []
    hook = tiny.model.lm_head.register_forward_hook(lambda module, args, out: made.append(tuple(out.shape)))
    n_reads = len(tiny.questionnaire(None).questions[0].continuation.offsets)
    n_prefixes = len({len(encoded.prompt.ids[: encoded.prompt.n_prefix]) for encoded in asked_chats(tiny)})
    try:
        tiny.engine.prefixes.clear()
        read(tiny, CHATS)
    finally:
        hook.remove()
    assert {vocabulary for _, _, vocabulary in made} == {128_256}
    assert sum(n_rows * n for n_rows, n, _ in made) <= len(CHATS) * n_reads + n_prefixes + 1


def asked_chats(guard: Guard) -> list[Any]:
    return [guard.encode(parse_conversation(one)) for one in CHATS]


@pytest.mark.parametrize("packs", [True, False])
def test_the_last_layer_is_computed_only_where_it_is_read(tiny: Guard, packs: bool) -> None:
    """Rows of its MLP and of its query and output projections are the positions read, and no others."""
    layers = tiny.model.model.layers
    n_reads = len(tiny.questionnaire(None).questions[0].continuation.offsets)
    tokens: dict[str, int] = {}

    def count(name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, out: torch.Tensor) -> None:
            tokens[name] = tokens.get(name, 0) + out.shape[0] * out.shape[1]

        return hook

    twin = copy.copy(tiny)
    twin.engine = LocalEngine(tiny.model, packs=packs)
    hooks = [
        module.register_forward_hook(count(f"{i}.{name}"))
        for i, layer in enumerate(layers)
        for name, module in layer.named_modules()
        if name in ("mlp.up_proj", "self_attn.k_proj")
    ]
    try:
        read(twin, CHATS[:1])
        tokens.clear()
        read(twin, [chat(f"row {i} of a few") for i in range(9)])
    finally:
        for hook in hooks:
            hook.remove()
    last = len(layers) - 1
    assert tokens[f"{last}.mlp.up_proj"] == 9 * n_reads
    assert tokens["0.mlp.up_proj"] == tokens["0.self_attn.k_proj"] == tokens[f"{last}.self_attn.k_proj"] > 200


def test_head_of_a_bfloat16_model_runs_in_float32(tiny: Guard) -> None:
    model = copy.deepcopy(tiny.model).to(torch.bfloat16)
    ids = torch.tensor([tiny.tokens("kill"), tiny.tokens("hate")])
    positions = torch.tensor([[3, ids.shape[1] - 1], [0, ids.shape[1] - 2]])
    with torch.inference_mode():
        coarse = model(input_ids=ids).logits
        with read_at(model, positions, narrow=False):
            fine = model(input_ids=ids).logits
        states = model.model(input_ids=ids).last_hidden_state
    assert (coarse.dtype, fine.dtype) == (torch.bfloat16, torch.float32)
    assert (fine != fine.bfloat16().float()).float().mean() > 0.9
    by_hand = states.gather(1, positions[..., None].expand(-1, -1, 64)).float() @ model.lm_head.weight.float().T
    assert torch.allclose(fine, by_hand, atol=1e-4)
    picked = coarse.gather(1, positions[..., None].expand(-1, -1, coarse.shape[-1])).float()
    assert 0 < (fine - picked).abs().max() < 0.5
    assert model.lm_head.weight.dtype == torch.bfloat16


TINY |= {
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("budget", [1, 150, 5000])
@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("packs", [None, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures(name: str, share_prefix: bool, budget: int, packs: bool | None) -> None:
    model = small_model(name)
    rows = small_rows()
    expected = plain_log_probs(model, rows)
    assert len({round(logs["(0, 11)"], 2) for logs in expected}) > 3
    engine = LocalEngine(model, budget=budget, share_prefix=share_prefix, packs=packs)
    assert max_error(engine_log_probs(engine, rows), expected) <= 1e-4
    if packs is None:
        assert engine.packs is (name in PACKED), "found out on the model itself"


PACKED = ("llama", "granite", "qwen3", "mistral_wide")
"""Gemma 2 caps its attention softly, and windows of 16 tokens cut the rows of the trial."""


def test_rows_longer_than_a_window_are_padded() -> None:
    """A window of 64 tokens cuts only some rows: those are padded, under their mask, and the others packed."""
    model = small_model("mistral_wide")
    rows = small_rows()
    engine = LocalEngine(model, budget=5000)
    with batches_seen(model) as seen:
        assert max_error(engine_log_probs(engine, rows), plain_log_probs(model, rows)) <= 1e-4
    assert engine.packs
    assert max(n for n, _ in seen) > 1
    n_short = sum(
        len(row.ids) - row.n_prefix + len(CONTINUATION) for row in rows if len(row.ids) + len(CONTINUATION) <= 64
    )
    assert 0 < n_short < sum(width for n, width in seen if n == 1)
    forced = LocalEngine(model, budget=5000, packs=True)
    assert max_error(engine_log_probs(forced, rows), plain_log_probs(model, rows)) <= 1e-4


# Prefixes


def test_prefix_cache_keeps_the_last_few(tiny: Guard) -> None:
    with torch.inference_mode():
        cache = PrefixCache(tiny.model, capacity=2)
        assert cache.get(()) is None
        first, second = cache.get((1, 2)), cache.get((1, 3))
        assert cache.get((1, 2)) is first
        cache.get((1, 4))
        assert len(cache) == 2
        assert cache.get((1, 2)) is first
        assert cache.get((1, 3)) is not second
        cache.clear()
        assert len(cache) == 0


def test_alternating_roles_and_policies(tiny: Guard, define: Define) -> None:
    less = LLAMA_GUARD_3.without(["S6", "S13"])
    one, two = chat("kill"), chat("bomb", "no")
    tiny.engine.prefixes.clear()
    for _ in range(2):
        for each in (one, two):
            assert max_error(read(tiny, [each]), [define(tiny, each)]) <= 1e-4
            shared = read(tiny, [each], less)
            whole = LocalEngine(tiny.model, share_prefix=False)
            tiny.engine, kept = whole, tiny.engine
            try:
                assert max_error(read(tiny, [each], less), shared) <= 1e-4
            finally:
                tiny.engine = kept
            assert max_error([{"unsafe": shared[0]["unsafe"]}], [{"unsafe": define(tiny, each)["unsafe"]}]) > 1e-3
    assert len(tiny.engine.prefixes) == 4
    n_forwards = tiny.engine.n_forwards
    with batches_seen(tiny.model) as seen:
        read(tiny, [one])
    assert tiny.engine.n_forwards == n_forwards + 1
    assert len(seen) == 1
    assert seen[0][1] < 80


# Nothing is left behind


def assert_no_hooks(model: Any) -> None:
    for module in model.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks


def digest(model: Any) -> str:
    whole = hashlib.blake2b()
    for name, value in model.state_dict().items():
        whole.update(name.encode())
        whole.update(value.contiguous().view(torch.uint8).numpy())
    return whole.hexdigest()


def test_model_and_tokenizer_are_unchanged(tiny: Guard) -> None:
    before = digest(tiny.model), str(tiny.model.config), str(tiny.model.generation_config)
    tiny.score(["kill", *CHATS[:3], "<|eot_id|>"], generate=True)
    assert before == (digest(tiny.model), str(tiny.model.config), str(tiny.model.generation_config))
    assert tiny.tokenizer.backend_tokenizer.encode_special_tokens is False
    assert not tiny.model.training
    assert_no_hooks(tiny.model)


def small_guard(**more: Any) -> Guard:
    tokenizer = small_tokenizer()
    torch.manual_seed(0)
    sizes = {**TINY, "vocab_size": len(tokenizer)}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).eval()
    how = {"name": "small", "min_verdict_mass": 0, "protocol": "llama-guard-3", **more}
    return Guard(model, tokenizer, **how)


def test_close_gives_the_model_back() -> None:
    guard = small_guard()
    kept = guard.score(["kill"])
    model = weakref.ref(guard.model)
    assert "cpu, float32" in repr(guard)
    guard.close()
    gc.collect()
    assert model() is None
    assert not guard.is_loaded
    assert "unloaded" in repr(guard)
    assert kept[0].unsafe_score is not None
    with pytest.raises(UnknownGuardError, match="'small' was unloaded"):
        guard.model  # noqa: B018


def test_model_in_training_mode_is_refused(tiny: Guard) -> None:
    model = copy.copy(tiny.model)
    model.training = True
    with pytest.raises(ProtocolError, match="training mode"):
        Guard(model, tiny.tokenizer, name="x", min_verdict_mass=0)


def test_guards_that_cannot_be_asked(tiny: Guard) -> None:
    with pytest.raises(ProtocolError, match="no protocol 'chatgpt'"):
        Guard(tiny.model, tiny.tokenizer, name="x", protocol="chatgpt")
    with pytest.raises(ProtocolError, match="is not a fast tokenizer"):
        Guard(tiny.model, object(), name="x")
    tokenizer = small_tokenizer()
    for template, message in ((None, "has no chat template"), ("{{ messages }}", "that of no known guard")):
        tokenizer.chat_template = template
        with pytest.raises(ProtocolError, match=message):
            Guard(tiny.model, tokenizer, name="x")


def test_probe_refuses_a_guard_that_answers_neither() -> None:
    with pytest.raises(ProtocolError, match="does not answer with a verdict"):
        small_guard(min_verdict_mass=0.9)


def test_keys_tell_guards_and_numbers_apart(tiny: Guard, tiny_digits: Guard) -> None:
    encoded = tiny.encode(parse_conversation("kill"))
    assert tiny.keys([encoded]) == tiny.keys([tiny.encode(parse_conversation(" kill "))])
    assert tiny.keys([encoded]) != tiny.keys([tiny.encode(parse_conversation("river"))])
    assert tiny.keys([encoded]) != tiny_digits.keys([tiny_digits.encode(parse_conversation("kill"))])


def test_hostile_conversation_objects_do_not_stop_the_others(tiny: Guard) -> None:
    hostile = [Conversation((Message("user", text),)) for text in ("\ud800", "a\0b", "<|eot_id|>")]
    made_wrong: list[Any] = [(Message("robot", "x"),), (Message("user", 3), Message("assistant", "x"))]  # type: ignore[arg-type]
    verdicts = tiny.score(["kill", *hostile, *map(Conversation, made_wrong), "river"])
    assert [v.error is None for v in verdicts] == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_broken_numbers_are_never_safe(tiny: Guard, value: float) -> None:
    hook = tiny.model.model.norm.register_forward_hook(lambda module, args, out: out * value)
    try:
        verdicts = tiny.score(["kill", "river"])
    finally:
        hook.remove()
    assert [v.category for v in verdicts] == [None, None]
    assert all("not a number" in str(v.error) for v in verdicts)
