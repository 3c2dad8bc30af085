"""Float32 arithmetic over half-precision weights, and rows read alone in it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small_models import ARCHITECTURES, CONTINUATION, WANTED, plain_log_probs, small_model, small_rows

from guard_magic.engine.float32 import float32_arithmetic
from guard_magic.engine.local import LocalEngine, TokenRow

IDS = torch.arange(3, 60).unsqueeze(0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_it_is_the_model_with_its_weights_widened(name: str, dtype: torch.dtype) -> None:
    model = small_model(name).to(dtype)
    wanted = copy.deepcopy(model).float()(input_ids=IDS).logits
    coarse = model(input_ids=IDS).logits
    with float32_arithmetic():
        got = model(input_ids=IDS).logits
    assert got.dtype == torch.float32
    assert (got - wanted).abs().max() <= 1e-6
    assert (coarse - wanted).abs().max() > 1e-4, "rounding shows on this model"
    assert model(input_ids=IDS).logits.dtype == dtype, "nothing is left behind"


def logs_of(engine: LocalEngine, rows: list[TokenRow], **how: Any) -> dict[int, list[float]]:
    found = {}
    for scored in engine.score(rows, CONTINUATION, WANTED, **how):
        assert scored.log_probs is not None
        found.update(zip(scored.positions, scored.log_probs, strict=True))
    return found


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite", "mistral", "qwen3"])
def test_a_row_alone_is_the_definition_in_float32(name: str) -> None:
    """Whatever was asked before and beside it: the same numbers to the last bit."""
    model = small_model(name).to(torch.bfloat16)
    engine = LocalEngine(model)
    rows = small_rows()
    together = logs_of(engine, rows)
    alone = logs_of(engine, rows, alone=True)
    backwards = logs_of(engine, rows[::-1], alone=True)
    assert [alone[i] for i in range(len(rows))] == [backwards[i] for i in reversed(range(len(rows)))]
    assert logs_of(LocalEngine(model), rows[5:6], alone=True)[0] == alone[5]
    wanted = plain_log_probs(copy.deepcopy(model).float(), rows)
    for i, logs in enumerate(wanted):
        assert alone[i] == pytest.approx(list(logs.values()), abs=2e-5)
    off = [abs(a - b) for i in range(len(rows)) for a, b in zip(together[i], alone[i], strict=True)]
    assert max(off) > 1e-3, "bfloat16 moves these rows"


def test_a_row_alone_that_does_not_fit() -> None:
    model = small_model("llama").to(torch.bfloat16)

    def full(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() > 50:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.register_forward_pre_hook(full, with_kwargs=True)
    try:
        scored = list(LocalEngine(model).score(small_rows(), CONTINUATION, WANTED, alone=True))
    finally:
        hook.remove()
    assert [len(one.positions) for one in scored] == [1] * len(small_rows())
    errors = [one.error for one in scored if one.error]
    assert 0 < len(errors) < len(scored)
    assert all("out of memory for one prompt" in error for error in errors)
