"""The published algorithm as its authors wrote it, on any guard: slow, one conversation at a time.

Source: discussion 21 of meta-llama/Llama-Guard-3-8B ("Use Llama-Guard-3-8B as a classifier AND get safety
categories"). `guard_magic.guards.parity` runs it beside the engine on a user's own weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from guard_magic.conversations.conversation import Conversation
from guard_magic.engine.own_copy import text_model
from guard_magic.guards.guard import Guard

__all__ = ["Published", "ask_as_published"]


@dataclass(frozen=True, slots=True)
class Published:
    """What the published snippet gives for one conversation.

    Attributes
    ----------
    unsafe_score
        Softmax over the vocabulary at the first generated token, of ``unsafe``.
    text
        What was generated, decoded without special tokens.
    ids
        The prompt's token ids.
    seconds
        Time taken, rendering and tokenizing included.
    """

    unsafe_score: float
    text: str
    ids: tuple[int, ...]
    seconds: float


@torch.inference_mode()
def ask_as_published(guard: Guard, conversation: Conversation, *, bos: str = "published") -> Published:
    """Run the published steps.

    Parameters
    ----------
    guard
        A loaded guard.
    conversation
        Roles as the guard's template takes them.
    bos
        ``"published"``: tokenized as the snippet does, which writes the begin-of-text token a second time where
        template and tokenizer each write one. ``"once"``: once.
    """
    started = time.perf_counter()
    tokenizer, model = guard.tokenizer, text_model(guard.model)
    prompt = guard.questionnaire(None).first.show(conversation)
    prompt += "\n\n"
    add = bos == "published" or (tokenizer.bos_token or "") not in prompt
    inputs = tokenizer([prompt], return_tensors="pt", add_special_tokens=add).to(model.device)
    output = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        generation_config=guard.model.generation_config,
        max_new_tokens=50,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=tokenizer.eos_token_id,
    )
    n_prompt = inputs["input_ids"].shape[1]
    text = tokenizer.decode(output.sequences[0, n_prompt:], skip_special_tokens=True)
    unsafe = tokenizer.convert_tokens_to_ids("unsafe")
    score = float(torch.softmax(output.logits[0][0].float(), dim=-1)[unsafe])
    return Published(score, str(text).strip(), tuple(inputs["input_ids"][0].tolist()), time.perf_counter() - started)
