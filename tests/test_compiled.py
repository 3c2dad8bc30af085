"""Compiled layers give the same numbers, are compiled once for all batches, and leave the model as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_engine import engine_log_probs, max_error, plain_log_probs, small_model, small_rows
from torch._dynamo.utils import counters

from guard_magic.engine.local import LocalEngine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_compiled_layers(name: str) -> None:
    torch.compiler.reset()
    counters.clear()
    model = small_model(name)
    rows = small_rows()
    wanted = plain_log_probs(model, rows)
    engine = LocalEngine(model, budget=150, compiles=True)
    assert max_error(engine_log_probs(engine, rows), wanted) <= 1e-4
    assert engine.packs
    n_graphs = counters["stats"]["unique_graphs"]
    assert n_graphs > 0, "something was compiled"
    engine.budget = 333
    assert max_error(engine_log_probs(engine, rows), wanted) <= 1e-4
    assert counters["stats"]["unique_graphs"] == n_graphs, "batches of other sizes need no other code"
    assert all(layer._compiled_call_impl is None for layer in model.model.layers)
    engine.close()


def test_a_model_that_is_compiled_already_stays_so() -> None:
    torch.compiler.reset()
    model = small_model("llama")
    own: Any = model.model.layers[0]
    own._compiled_call_impl = own._call_impl
    engine_log_probs(LocalEngine(model, compiles=True), small_rows())
    assert own._compiled_call_impl == own._call_impl
