"""Guards that are loaded once for the whole run: random weights, the true Llama 3 tokenizer and template."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reference
import shapes
import torch
from last_only import LastOnly

from guard_magic.guards.guard import Guard
from guard_magic.scoring.session import Session

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a worker of pytest-xdist; a notebook's kernel hears it
    signal.signal(signal.SIGINT, signal.default_int_handler)

EMBEDDED = Path(__file__).parents[1] / "guard_magic" / "embedded"


@pytest.fixture(scope="session")
def llama3() -> Any:
    """The tokenizer of Llama-Guard-3-8B: "14" is one token."""
    return shapes.llama3_tokenizer()


@pytest.fixture(scope="session")
def digits() -> Any:
    """The same with every digit a token of its own: codes are a trie."""
    return shapes.llama3_tokenizer(split_digits=True)


@pytest.fixture(scope="session")
def tiny(llama3: Any) -> Guard:
    return Guard(shapes.answering_model(llama3), llama3, name="tiny", min_verdict_mass=0)


@pytest.fixture
def session(tiny: Guard) -> Session:
    """A session of its own, with the tiny guard."""
    made = Session()
    made.guards["tiny"] = tiny
    made.current = "tiny"
    return made


@pytest.fixture(scope="session")
def tiny_digits(digits: Any) -> Guard:
    return Guard(shapes.answering_model(digits), digits, name="tiny_digits", min_verdict_mass=0)


@pytest.fixture(scope="session")
def tiny_parts() -> Guard:
    """A guard whose template reads typed parts only, as Llama-Guard-3-1B's does."""
    tokenizer = shapes.llama3_tokenizer(template=shapes.TEMPLATE_1B)
    return Guard(shapes.answering_model(tokenizer), tokenizer, name="tiny_parts", min_verdict_mass=0)


@pytest.fixture(scope="session")
def embedded() -> Guard:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, gguf_file="guard.gguf").eval()
    return Guard(model, AutoTokenizer.from_pretrained(EMBEDDED), name="embedded", is_embedded=True)


@pytest.fixture(scope="session")
def define() -> Callable[[Guard, list[dict[str, str]]], dict[str, float]]:
    """The definition's numbers for one chat, remembered over the run."""
    known: dict[tuple[str, str], dict[str, float]] = {}

    def numbers(guard: Guard, chat: list[dict[str, str]]) -> dict[str, float]:
        key = (guard.name, repr(chat))
        if key not in known:
            asked = shapes.as_read(guard.tokenizer, *(message["content"] for message in chat))
            known[key] = reference.reference(LastOnly(guard.model), guard.tokenizer, asked, list(guard.policy.codes))
        return known[key]

    return numbers
