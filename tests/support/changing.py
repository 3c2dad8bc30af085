"""Ways in which a model changes under its guard."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from small_models import TINY
from small_tokenizers import small_tokenizer

HOW: dict[str, Any] = {"min_verdict_mass": 0, "protocol": "llama-guard-3"}


def fresh_model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    sizes = {**TINY, "vocab_size": len(small_tokenizer())}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(3.0 if "proj" in name or "head" in name else 1.0)
    return model
