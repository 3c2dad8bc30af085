"""Guards saved and opened again."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
)

from guard_magic.errors import GuardWarning
from guard_magic.guards import loader
from guard_magic.guards.guard import Guard
from guard_magic.guards.loader import load_guard

EMBEDDED = loader.EMBEDDED


def open_guard(folder: Path, **options: Any) -> Guard:
    is_slow = options.get("quantization") == "fp8"
    with pytest.warns(GuardWarning, match="saves no time on cpu") if is_slow else nullcontext():
        return load_guard(str(folder), name="opened", device="cpu", min_verdict_mass=0, **options)


@pytest.fixture(scope="module")
def small_model() -> Any:
    torch.manual_seed(0)
    vocabulary = len(json.loads((EMBEDDED / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    config = LlamaConfig(
        vocab_size=vocabulary + 64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


def save_small(folder: Path, model: Any) -> Path:
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.gguf", "*.md"))
    model.save_pretrained(folder)
    return folder
