"""The engine on CUDA: the same numbers, real memory limits, memory given back.

Weights are random (benchmarks/shapes.py), so nothing is downloaded. What does not need the device runs on the CPU
too, so that these tests are themselves tested where there is none.
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

from last_only import LastOnly
from reference import reference
from shapes import answering_model, llama3_tokenizer, random_model

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.engine.head import _float32_product
from guard_magic.engine.local import LocalEngine, TokenRow
from guard_magic.engine.packing_check import can_pack, packing_error
from guard_magic.guards.guard import Guard
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.verdict import Reading

on_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = pytest.param("cuda", marks=on_cuda)

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


@pytest.fixture(scope="module", params=["cpu", CUDA])
def device(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return llama3_tokenizer()


@pytest.fixture(scope="module")
def cpu_model(tokenizer: Any) -> Any:
    return answering_model(tokenizer, "tiny")


@pytest.fixture(scope="module")
def model(cpu_model: Any, device: str) -> Any:
    return copy.deepcopy(cpu_model).to(device)


@pytest.fixture(scope="module")
def half(model: Any) -> Any:
    return copy.deepcopy(model).bfloat16()


@pytest.fixture
def guard(model: Any, tokenizer: Any) -> Guard:
    return Guard(model, tokenizer, name="tiny", min_verdict_mass=0.0)


@pytest.fixture
def half_guard(half: Any, tokenizer: Any) -> Guard:
    return Guard(half, tokenizer, name="tiny-bf16", min_verdict_mass=0.0)


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
    prompts = [guard.encode(parse_conversation(chat)).prompt for chat in chats]
    return [TokenRow(prompt.ids, prompt.n_prefix) for prompt in prompts]


def _many(guard: Guard, n: int) -> list[TokenRow]:
    return _asked(guard, [[{"role": "user", "content": f"Sentence number {i} about a river"}] for i in range(n)])


def _score(
    engine: LocalEngine, guard: Guard, rows: list[TokenRow], *, waits: bool = False, **how: Any
) -> tuple[torch.Tensor, dict[int, str]]:
    """Return log-probabilities (n_rows, n_wanted), nan where there is none, and errors by row."""
    continuation = guard.questionnaire(None).questions[0].continuation
    logs = torch.full((len(rows), len(continuation.reads)), torch.nan, dtype=torch.float64)
    errors: dict[int, str] = {}
    for scored in engine.score(rows, continuation.tokens, continuation.reads, **how):
        if waits and engine.model.device.type == "cuda":
            torch.cuda.synchronize()
        if scored.log_probs is None:
            errors.update(dict.fromkeys(scored.positions, str(scored.error)))
        else:
            logs[scored.positions] = torch.tensor(scored.log_probs, dtype=torch.float64)
    return logs, errors


def _logs(engine: LocalEngine, guard: Guard, rows: list[TokenRow], **how: Any) -> torch.Tensor:
    logs, errors = _score(engine, guard, rows, **how)
    assert not errors
    assert not logs.isnan().any()
    return logs


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the mean |difference of probability|."""
    return float((one.exp() - other.exp()).abs().mean())


@pytest.fixture(scope="module")
def wanted(model: Any, tokenizer: Any, device: str) -> list[dict[str, float]]:
    """What the definition gives, one row at a time, on the same device."""
    with torch.device(device):
        return [reference(LastOnly(model), tokenizer, chat, list(LLAMA_GUARD_3.codes)) for chat in CHATS]


@pytest.mark.parametrize("budget", [None, 1, 700])
def test_float32_is_the_reference(
    guard: Guard, wanted: list[dict[str, float]], budget: int | None, device: str
) -> None:
    """On CUDA the flash kernel refuses float32, so rows are padded there."""
    assert guard.engine.packs == (device == "cpu")
    guard.engine.budget = budget
    encoded = [guard.encode(parse_conversation(chat)) for chat in CHATS]
    readings = dict(pair for batch in guard.read(encoded) for pair in batch)
    codes = LLAMA_GUARD_3.codes
    for i, want in enumerate(wanted):
        got = readings[i]
        assert isinstance(got, Reading)
        assert got.log_unsafe == pytest.approx(want["unsafe"], abs=1e-4)
        assert got.log_safe == pytest.approx(want["safe"], abs=1e-4)
        assert list(got.log_codes) == pytest.approx([want[code] for code in codes], abs=1e-4)
    scores = [math.exp(want["unsafe"]) for want in wanted]
    assert max(scores) - min(scores) > 0.3, "scores that hardly vary would agree at any position"


def test_packing_is_accepted_where_it_is_exact(model: Any, half: Any, device: str) -> None:
    ids = list(range(100, 160))
    assert can_pack(half, ids)
    assert packing_error(half, ids) <= 8 * torch.finfo(torch.bfloat16).eps
    assert can_pack(model, ids) == (device == "cpu")


@pytest.mark.parametrize("shape", ["cpu", "qwen3guard-0.6b"])
@pytest.mark.parametrize("device", [CUDA], scope="module")
def test_packing_at_true_widths(shape: str, device: str) -> None:
    """Heads of 64 and of 128 numbers, with norms of their own in Qwen3."""
    model = random_model(shape, dtype=torch.bfloat16, device=device)
    assert packing_error(model, list(range(100, 160))) <= 8 * torch.finfo(torch.bfloat16).eps


def test_packed_is_padded_within_rounding(half_guard: Guard, half: Any) -> None:
    """Rounding has no exact answer: packed rows stay as near to float32 arithmetic as padded ones, and to those."""
    rows = _asked(half_guard, CHATS) + _many(half_guard, 40)
    packed = _logs(LocalEngine(half, packs=True), half_guard, rows)
    padded = _logs(LocalEngine(half, packs=False), half_guard, rows)
    alone = _logs(LocalEngine(half), half_guard, rows, alone=True)
    assert _apart(packed, alone) <= 1.5 * _apart(padded, alone)
    assert _apart(packed, padded) <= 2.5 * _apart(padded, alone)
    assert 1e-4 < _apart(packed, alone) < 5e-2, "bfloat16 rounds, and this model makes much of it"


def test_alone_is_float32_whatever_stands_beside(half_guard: Guard, half: Any) -> None:
    rows = _asked(half_guard, CHATS)
    alone = _logs(LocalEngine(half), half_guard, rows, alone=True)
    backwards = _logs(half_guard.engine, half_guard, rows[::-1], alone=True)
    assert torch.equal(alone, backwards.flip(0))
    whole = copy.deepcopy(half).float()
    exact = _logs(LocalEngine(whole, packs=False, share_prefix=False, budget=1), half_guard, rows)
    assert (alone - exact).abs().max() <= 1e-3


def test_the_same_run_twice(half_guard: Guard, half: Any) -> None:
    rows = _many(half_guard, 60)
    assert torch.equal(_logs(LocalEngine(half), half_guard, rows), _logs(LocalEngine(half), half_guard, rows))


def test_the_head_is_multiplied_in_float32(device: str) -> None:
    torch.manual_seed(0)
    states = torch.randn(37, 4096, device=device).bfloat16()
    weight = (torch.randn(4_000, 4096, device=device) / 64).bfloat16()
    exact = states.double() @ weight.double().T
    assert (_float32_product(states, weight).double() - exact).abs().max() <= 1e-3


@pytest.mark.parametrize("packs", [True, False])
def test_results_in_flight_are_their_rows(half_guard: Guard, half: Any, packs: bool) -> None:
    """Many small batches: numbers are fetched while the next batch is computed, and must not be those of another."""
    rows = _many(half_guard, 150)
    flying = LocalEngine(half, packs=packs, budget=300)
    first = _logs(flying, half_guard, rows)
    assert flying.n_forwards > 30
    waiting = LocalEngine(half, packs=packs, budget=300)
    assert torch.equal(first, _logs(waiting, half_guard, rows, waits=True))
    large = _logs(LocalEngine(half, packs=packs, budget=30_000), half_guard, rows)
    assert _apart(first, large) <= 5e-2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("device", [CUDA], scope="module")
def test_compiled_is_plain(half_guard: Guard, half: Any, device: str) -> None:
    rows = _asked(half_guard, CHATS) + _many(half_guard, 40)
    alone = _logs(LocalEngine(half), half_guard, rows, alone=True)
    plain = _logs(LocalEngine(half, packs=True), half_guard, rows)
    compiled = _logs(LocalEngine(half, packs=True, compiles=True), half_guard, rows)
    assert _apart(compiled, alone) <= 1.5 * _apart(plain, alone)
    assert _apart(compiled, plain) <= 2.5 * _apart(plain, alone)


@pytest.mark.parametrize("device", [CUDA], scope="module")
def test_memory_is_halved_under_a_real_limit(guard: Guard, model: Any, memory_limit: Any, device: str) -> None:
    """2,000 rows need gigabytes for the head alone; with 1 GiB the batch is halved and nothing is lost."""
    rows = _many(guard, 2_000)
    small = LocalEngine(model, budget=4_096)
    expected = _logs(small, guard, rows)
    big = LocalEngine(model, budget=10_000_000)
    big.prefixes = small.prefixes
    memory_limit(1 << 30)
    got = _logs(big, guard, rows)
    assert big.n_forwards > 2, "the limit was never met"
    assert (got - expected).abs().max() < 1e-4


@pytest.mark.parametrize("device", [CUDA], scope="module")
def test_a_row_that_alone_does_not_fit_has_an_error(guard: Guard, memory_limit: Any, device: str) -> None:
    rows = _asked(guard, CHATS[:2])
    _logs(guard.engine, guard, rows)  # the prefix is there
    memory_limit(1 << 26)
    filler = []
    for size in (1 << 24, 1 << 20, 1 << 16, 1 << 12, 1 << 9):
        with contextlib.suppress(torch.OutOfMemoryError):
            while True:
                filler.append(torch.empty(size, dtype=torch.uint8, device=device))
    logs, errors = _score(guard.engine, guard, rows)
    assert sorted(errors) == [0, 1]
    assert all("out of memory" in error for error in errors.values())
    assert bool(logs.isnan().all())
    filler.clear()
    _logs(guard.engine, guard, rows)  # the guard works again once memory is there


@pytest.mark.parametrize("device", [CUDA], scope="module")
def test_close_gives_the_memory_back(cpu_model: Any, tokenizer: Any, guard: Guard, device: str) -> None:
    guard.score(CHATS)  # what the first use of a device keeps (cuBLAS) is not this guard's
    before = torch.cuda.memory_allocated()
    other = Guard(copy.deepcopy(cpu_model).to(device), tokenizer, name="other", min_verdict_mass=0.0)
    other.score(CHATS)
    weights = other.nbytes
    assert torch.cuda.memory_allocated() - before >= weights
    other.close()
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 0.05 * weights
