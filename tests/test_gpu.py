"""The engine on CUDA: the same numbers, real memory limits, memory given back.

Weights are random (benchmarks/shapes.py), so nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("llama_models", reason="the tokenizer file comes with llama-models")

from reference import prompt_ids, reference
from shapes import answering_model, llama3_tokenizer

from guard_magic.conversation import parse_conversation
from guard_magic.engine.guard import Guard
from guard_magic.engine.local import LocalEngine, TokenRow
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.verdict import Reading

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

DEVICE = "cuda"
CHATS = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "How do I bake bread?"}],
    [{"role": "user", "content": "日本語のテキスト 🙂"}],
    [{"role": "user", "content": "A long story. " * 60}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I hate everyone and their bread."}],
    [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Which knife is best for apples?"},
    ],
    *([{"role": "user", "content": f"Sentence number {i} about a river"}] for i in range(6)),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return llama3_tokenizer()


@pytest.fixture(scope="module")
def cpu_model(tokenizer: Any) -> Any:
    return answering_model(tokenizer, "tiny")


@pytest.fixture(scope="module")
def model(cpu_model: Any) -> Any:
    return copy.deepcopy(cpu_model).to(DEVICE)


@pytest.fixture
def guard(model: Any, tokenizer: Any) -> Guard:
    return Guard(model, tokenizer, name="tiny", min_verdict_mass=0.0)


@pytest.fixture
def memory_limit() -> Iterator[Any]:
    """A function that lets this process allocate only so many bytes more; lifted at the end."""
    _, total = torch.cuda.mem_get_info()

    def limit(more: int) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more) / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    torch.cuda.empty_cache()


def _asked(guard: Guard, chats: list[Any]) -> list[TokenRow]:
    prompts = [guard.ask(parse_conversation(chat)).prompt for chat in chats]
    return [TokenRow(prompt.ids, prompt.n_prefix) for prompt in prompts]


def _score(engine: LocalEngine, guard: Guard, rows: list[TokenRow]) -> tuple[torch.Tensor, dict[int, str]]:
    """Return log-probabilities (n_rows, n_wanted), nan where there is none, and errors by row."""
    spine = guard.plan(None).questions[0].spine
    logs = torch.full((len(rows), len(spine.reads)), torch.nan, dtype=torch.float64)
    errors: dict[int, str] = {}
    for scored in engine.score(rows, spine.tokens, spine.reads):
        if scored.log_probs is None:
            errors.update(dict.fromkeys(scored.positions, str(scored.error)))
        else:
            logs[scored.positions] = torch.tensor(scored.log_probs, dtype=torch.float64)
    return logs, errors


@pytest.fixture(scope="module")
def wanted(model: Any, tokenizer: Any) -> list[dict[str, float]]:
    """What the definition gives, one row at a time, on the same device."""
    with torch.device(DEVICE):
        return [reference(model, tokenizer, chat, list(LLAMA_GUARD_3.codes)) for chat in CHATS]


@pytest.mark.parametrize("budget", [None, 1, 700])
def test_float32_is_the_reference(guard: Guard, wanted: list[dict[str, float]], budget: int | None) -> None:
    guard.engine.budget = budget
    asked = [guard.ask(parse_conversation(chat)) for chat in CHATS]
    readings = dict(pair for batch in guard.read(asked) for pair in batch)
    codes = LLAMA_GUARD_3.codes
    for i, want in enumerate(wanted):
        got = readings[i]
        assert isinstance(got, Reading)
        assert got.log_unsafe == pytest.approx(want["unsafe"], abs=1e-4)
        assert got.log_safe == pytest.approx(want["safe"], abs=1e-4)
        assert list(got.log_codes) == pytest.approx([want[code] for code in codes], abs=1e-4)
    scores = [math.exp(want["unsafe"]) for want in wanted]
    assert max(scores) - min(scores) > 0.3, "scores that hardly vary would agree at any position"


@torch.inference_mode()
def test_bfloat16_is_near_one_row_at_a_time(model: Any, tokenizer: Any) -> None:
    """bfloat16 has no exact answer: batched scores stay within 0.05 of those of each prompt alone."""
    low = copy.deepcopy(model).bfloat16()
    guard = Guard(low, tokenizer, name="tiny-bf16", min_verdict_mass=0.0)
    assert guard.dtype == "bfloat16"
    unsafe = tokenizer.convert_tokens_to_ids("unsafe")
    got = [verdict.unsafe_score for verdict in guard.score(CHATS)]
    for chat, score in zip(CHATS, got, strict=True):
        ids = torch.tensor([prompt_ids(tokenizer, chat)], device=DEVICE)
        hidden = low.model(input_ids=ids, use_cache=False).last_hidden_state[0, -1]
        alone = (low.lm_head.weight.float() @ hidden.float()).softmax(-1)[unsafe]
        assert score == pytest.approx(float(alone), abs=5e-2)


def test_memory_is_halved_under_a_real_limit(guard: Guard, model: Any, memory_limit: Any) -> None:
    """2,000 rows at once need gigabytes for the head alone; with 1 GiB the batch is halved and nothing is lost."""
    chats = [[{"role": "user", "content": f"Sentence number {i} about a river"}] for i in range(2_000)]
    rows = _asked(guard, chats)
    small = LocalEngine(model, budget=4_096)
    expected, errors = _score(small, guard, rows)
    assert not errors
    big = LocalEngine(model, budget=10_000_000)
    big.prefixes = small.prefixes
    memory_limit(1 << 30)
    got, errors = _score(big, guard, rows)
    assert not errors
    assert big.n_forwards > 2, "the limit was never met"
    assert (got - expected).abs().max() < 1e-4


def test_a_row_that_alone_does_not_fit_has_an_error(guard: Guard, memory_limit: Any) -> None:
    rows = _asked(guard, CHATS[:2])
    _, errors = _score(guard.engine, guard, rows)  # the prefix is there
    assert not errors
    memory_limit(1 << 26)
    filler = []
    for size in (1 << 24, 1 << 20, 1 << 16, 1 << 12, 1 << 9):
        with contextlib.suppress(torch.OutOfMemoryError):
            while True:
                filler.append(torch.empty(size, dtype=torch.uint8, device=DEVICE))
    logs, errors = _score(guard.engine, guard, rows)
    assert sorted(errors) == [0, 1]
    assert all("out of memory" in error for error in errors.values())
    assert bool(logs.isnan().all())
    filler.clear()
    _, errors = _score(guard.engine, guard, rows)
    assert not errors, "the guard works again once memory is there"


def test_close_gives_the_memory_back(cpu_model: Any, tokenizer: Any, guard: Guard) -> None:
    guard.score(CHATS)  # what the first use of a device keeps (cuBLAS) is not this guard's
    before = torch.cuda.memory_allocated()
    other = Guard(copy.deepcopy(cpu_model).to(DEVICE), tokenizer, name="other", min_verdict_mass=0.0)
    other.score(CHATS)
    weights = other.nbytes
    assert torch.cuda.memory_allocated() - before >= weights
    other.close()
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 0.05 * weights
