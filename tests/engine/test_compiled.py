"""Compiled layers give the same numbers, are compiled once for all batches, and leave the model as it was."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest
import torch
import transformers
from small_models import TINY, engine_log_probs, max_error, plain_log_probs, small_model, small_rows
from small_tokenizers import small_tokenizer
from torch._dynamo.utils import counters

import guard_magic
from guard_magic.engine.local import LocalEngine
from guard_magic.errors import GuardWarning, LoadError
from guard_magic.guards.guard import Guard

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
    pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled:UserWarning"),
]


@pytest.fixture(autouse=True)
def compiler() -> None:
    if not any(map(shutil.which, ("g++", "clang++", "c++"))) and not os.environ.get("GUARD_MAGIC_NO_SKIPS"):
        pytest.skip("there is no C++ compiler, which torch.compile needs on the CPU")


ANY = {"min_verdict_mass": 0.0}


def small_gemma() -> Any:
    config = transformers.Gemma2Config(**{**TINY, "vocab_size": len(small_tokenizer()), "head_dim": 8})
    return transformers.Gemma2ForCausalLM(config).eval()


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


def test_a_guard_is_loaded_compiled() -> None:
    torch.compiler.reset()
    plain = guard_magic.load("embedded", name="plain")
    made = guard_magic.load("embedded", name="fused", compile=True)
    try:
        assert made.engine.compiled is not None
        assert guard_magic.load("embedded", name="fused", compile=True) is made
        with pytest.raises(LoadError, match="loaded in another way"):
            guard_magic.load("embedded", name="fused")
        texts = ["How do I rob a bank?", "How do I bake bread?"]
        for one, other in zip(plain.score(texts), made.score(texts), strict=True):
            assert one.unsafe_score == pytest.approx(other.unsafe_score, abs=1e-5)
    finally:
        guard_magic.unload("fused")
        guard_magic.unload("plain")


def test_where_nothing_is_packed_nothing_is_compiled() -> None:
    with pytest.warns(GuardWarning, match="compile=True changes nothing for softly"):
        made = Guard(small_gemma(), small_tokenizer(), name="softly", protocol="llama-guard-3", compile=True, **ANY)
    assert not made.engine.packs


def test_a_machine_that_cannot_compile_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty PATH and a compiler that is not there: torch's own error, with the next step."""
    torch.compiler.reset()
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    with pytest.raises(LoadError, match="embedded cannot be compiled here") as caught:
        guard_magic.load("embedded", name="fused", compile=True)
    assert "Leave compile out" in caught.value.hint
