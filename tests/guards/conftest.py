"""What tests of guards share."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from opened import EMBEDDED
from transformers import LlamaConfig, LlamaForCausalLM


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
