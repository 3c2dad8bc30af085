"""The text a guard writes, in batches: greedy decoding after the forced whitespace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from guard_magic.engine.batching import halve, plan_batches
from guard_magic.engine.memory import is_out_of_memory, token_budget

__all__ = ["MAX_NEW_TOKENS", "generate_texts"]

MAX_NEW_TOKENS = 50
"""As the published algorithm generates."""


def generate_texts(
    model: Any, tokenizer: Any, prompts: Sequence[tuple[int, ...]], *, budget: int | None = None
) -> Iterator[tuple[list[int], list[str | None]]]:
    """Continue each prompt greedily and decode what is new, yielding after each batch.

    Parameters
    ----------
    model, tokenizer
        The guard; neither is changed.
    prompts
        Token ids up to the verdict position, one sequence a row.
    budget
        Padded tokens a batch; None to choose by the device.

    Yields
    ------
    tuple
        Positions in `prompts`, each exactly once over all batches, and the texts there, without special tokens,
        stripped; None where memory ran out for the row.
    """
    lengths = [len(prompt) + MAX_NEW_TOKENS for prompt in prompts]
    pending = list(reversed(plan_batches(lengths, budget or token_budget(model))))
    while pending:
        batch = pending.pop()
        new = _try_generate(model, tokenizer, [prompts[i] for i in batch])
        if new is not None:
            yield batch, list(new)
        elif len(batch) > 1:
            pending += reversed(halve(batch))
        else:
            yield batch, [None]


def _try_generate(model: Any, tokenizer: Any, prompts: Sequence[tuple[int, ...]]) -> list[str] | None:
    width = max(map(len, prompts))
    end = _end_ids(model, tokenizer)
    ids = torch.tensor([[*[end[0]] * (width - len(p)), *p] for p in prompts], device=model.device)
    mask = torch.tensor([[*[0] * (width - len(p)), *[1] * len(p)] for p in prompts], device=model.device)
    config = GenerationConfig(
        max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=1, eos_token_id=end, pad_token_id=end[0]
    )
    try:
        with torch.inference_mode():
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return [str(text).strip() for text in tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)]


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return the ids that end an answer: the model's own, else the tokenizer's."""
    ids = getattr(model.generation_config, "eos_token_id", None)
    if ids is None:
        ids = tokenizer.eos_token_id
    return [ids] if isinstance(ids, int) else list(ids)
