"""The definition: the published algorithm, one conversation at a time, no batch, no cache.

Source: discussion 21 of meta-llama/Llama-Guard-3-8B ("Use Llama-Guard-3-8B as a classifier AND get safety
categories"). The engine must give these numbers; it may only be faster.
"""

from __future__ import annotations

from typing import Any

import torch


def prompt_ids(tokenizer: Any, chat: list[dict[str, Any]], *, bos: str = "once") -> list[int]:
    """Render, append the whitespace the model always writes first, tokenize the default way."""
    text = tokenizer.apply_chat_template(chat, tokenize=False) + "\n\n"
    add = bos == "published" or tokenizer.bos_token not in text
    return list(tokenizer(text, add_special_tokens=add)["input_ids"])


@torch.inference_mode()
def next_log_probs(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-softmax over the vocabulary of what follows `ids`."""
    return model(input_ids=torch.tensor([ids])).logits[0, -1].float().log_softmax(-1).double()


def reference(model: Any, tokenizer: Any, chat: list[dict[str, Any]], codes: list[str], **how: str) -> dict[str, float]:
    """Return log P of "unsafe" and "safe", and log P(code | unsafe) of each code."""
    ids = prompt_ids(tokenizer, chat, **how)
    verdict = next_log_probs(model, ids)
    scores = {w: float(verdict[tokenizer.convert_tokens_to_ids(w)]) for w in ("unsafe", "safe")}
    answer = ids + tokenizer("unsafe\nS", add_special_tokens=False)["input_ids"]
    spelled = {code: tokenizer(code[1:], add_special_tokens=False)["input_ids"] for code in codes}
    for code, tokens in spelled.items():
        log_p = sum(float(next_log_probs(model, answer + tokens[:i])[token]) for i, token in enumerate(tokens))
        n = len(tokens)
        longer = {other[n] for other in spelled.values() if len(other) > n and other[:n] == tokens}
        after = next_log_probs(model, answer + tokens)
        scores[code] = log_p + float(torch.log1p(-after[list(longer)].exp().sum())) if longer else log_p
    return scores


@torch.inference_mode()
def reference_text(model: Any, tokenizer: Any, chat: list[dict[str, Any]]) -> str:
    """Return the text the model writes after the forced whitespace, greedily."""
    ids = torch.tensor([prompt_ids(tokenizer, chat)])
    mask = torch.ones_like(ids)
    out = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=50, do_sample=False, pad_token_id=tokenizer.eos_token_id
    )
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()
