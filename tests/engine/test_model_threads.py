"""One model, many hands: two guards of it, the user's own threads, forks, unloading and copying."""

from __future__ import annotations

import copy
import ctypes
import gc
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from changing import HOW, fresh_model
from small_tokenizers import small_tokenizer

from guard_magic.engine.packed_attention import NAME
from guard_magic.errors import GuardError, UnknownGuardError
from guard_magic.guards.guard import Guard
from guard_magic.guards.loader import free_memory
from guard_magic.scoring.session import Session

TEXTS = [f"question {i} about {'bread ' * (i % 7)}" for i in range(60)]


def made(model: Any, name: str, **engine: Any) -> Guard:
    guard = Guard(model, small_tokenizer(), name=name, **HOW)
    for key, value in {"budget": 300, **engine}.items():
        setattr(guard.engine, key, value)
    return guard


def log_odds(guard: Guard) -> list[float]:
    return [verdict.log_odds or math.nan for verdict in guard.score(TEXTS)]


def in_threads(*works: Callable[[], None]) -> list[BaseException]:
    """Run all at once; returns what they raised."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_two_guards_and_the_users_own_thread_over_one_model() -> None:
    model = fresh_model()
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        own = model(input_ids=ids, output_hidden_states=True)
    guards = [made(model, "packed", packs=True), made(model, "padded", packs=False)]
    wanted = [log_odds(guard) for guard in guards]
    before = model.config._attn_implementation
    seen: set[str] = set()
    done = threading.Event()
    left = [len(guards)]

    def score(guard: Guard, numbers: list[float]) -> None:
        try:
            for _ in range(4):
                guard.engine.prefixes.clear()
                assert max(abs(a - b) for a, b in zip(log_odds(guard), numbers, strict=True)) <= 1e-4
        finally:
            left[0] -= 1
            if not left[0]:
                done.set()

    @torch.no_grad()
    def use() -> None:
        while not done.is_set():
            assert torch.equal(model(input_ids=ids, output_hidden_states=True).logits, own.logits)
            seen.add(model.model.layers[0].self_attn.config._attn_implementation)
            assert not model.lm_head._forward_pre_hooks
            assert all(layer._compiled_call_impl is None for layer in model.model.layers)

    works = [lambda g=guard, w=numbers: score(g, w) for guard, numbers in zip(guards, wanted, strict=True)]
    assert in_threads(*works, use) == []
    assert seen == {before}
    assert before != NAME
    assert torch.equal(model(input_ids=ids).logits, own.logits)


def test_one_guard_in_two_threads() -> None:
    guard = made(fresh_model(), "mine")
    wanted = log_odds(guard)

    def score() -> None:
        for _ in range(4):
            assert max(abs(a - b) for a, b in zip(log_odds(guard), wanted, strict=True)) <= 1e-4

    assert in_threads(score, score) == []


def test_guards_of_one_model_wait_for_each_other() -> None:
    model = fresh_model()
    one, other = made(model, "one"), made(model, "other")
    assert one.engine.lock is other.engine.lock is not made(fresh_model(), "third").engine.lock


def test_unloading_while_another_thread_scores() -> None:
    session = Session()
    guard = session.wrap(fresh_model(), small_tokenizer(), name="mine", **HOW)
    guard.engine.budget = 1
    started = threading.Event()

    def score() -> None:
        asked = guard.read(rows)
        started_at = next(asked)
        assert started_at
        started.set()
        for _ in asked:
            time.sleep(0.01)

    rows = [row for row in map(guard.encode, session_rows()) if row]

    def unload() -> None:
        assert started.wait(30)
        session.unload("mine")

    (error,) = in_threads(score, unload)
    assert isinstance(error, UnknownGuardError)
    assert "unloaded" in str(error)
    assert error.hint
    with pytest.raises(UnknownGuardError, match="unloaded"):
        guard.score(["kill"])


def session_rows() -> list[Any]:
    from guard_magic.conversations.conversation import parse_conversation

    return [parse_conversation(text) for text in TEXTS]


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_a_guard_is_neither_pickled_nor_deeply_copied(copied: Callable[[Any], Any]) -> None:
    guard = made(fresh_model(), "mine")
    for value in (guard, {"guards": [guard]}):
        with pytest.raises(GuardError, match="guard 'mine' cannot be pickled or copied") as caught:
            copied(value)
        assert "guard_magic.load" in caught.value.hint
    assert copied(guard.score(["kill"]))


PATHS = (Path(__file__).parents[1] / "support", Path(__file__).parents[2] / "benchmarks", Path(__file__).parents[2])

FORKS = """
import os, signal, sys, threading, time
import torch
import guard_magic
from guard_magic.errors import GuardError
from changing import HOW, fresh_model
from small_tokenizers import small_tokenizer

torch.set_num_threads(2)
guard = guard_magic.wrap(fresh_model(), small_tokenizer(), name="mine", **HOW)
guard.score(["How do I bake bread?"] * 3 + ["word " * 200])
session = guard_magic.scoring.session.current_session()

def refused(work):
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            work()
        except GuardError as error:
            os._exit(0 if "forked" in str(error) and "spawn" in error.hint else 3)
        except BaseException:
            os._exit(4)
        os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

works = {
    "score": lambda: guard.score(["hi"]),
    "write": lambda: list(guard.write([row], [reading])),
    "moderate": lambda: guard_magic.moderate("hi", guard=guard),
    "load": lambda: guard_magic.load("embedded", name="another"),
    "clear": session.clear_cache,
}
row = guard.encode(guard_magic.conversations.conversation.parse_conversation("How do I rob a bank?"))
(((_, reading),),) = guard.read([row])
found = {name: refused(work) for name, work in works.items()}

busy = threading.Thread(target=lambda: guard.score([f"{i} " + "word " * 300 for i in range(2_000)]), daemon=True)
busy.start()
time.sleep(1.0)
found |= {f"{name} beside a thread": refused(work) for name, work in works.items() if name != "clear"}
assert busy.is_alive(), "it was still scoring"
print(found)
os._exit(0 if not any(found.values()) else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_is_refused_and_does_not_hang() -> None:
    paths = os.pathsep.join([*map(str, PATHS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of other systems gives memory back")
def test_memory_goes_back_to_the_system() -> None:
    """Many tensors below the size from which the C library maps memory of their own, and one behind them that stays."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    free_memory()
    tensors = [torch.ones(8_000) for _ in range(4_000)]  # 128 MB
    last = torch.ones(8_000)
    held = psutil.Process().memory_info().rss
    del tensors
    gc.collect()
    free_memory()
    assert held - psutil.Process().memory_info().rss > 90e6
    assert last.sum() == 8_000
