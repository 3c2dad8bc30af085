"""Score conversations with a guard: P(unsafe) over the whole vocabulary after the forced whitespace."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from transformers import PreTrainedModel, PreTrainedTokenizerFast

FORCED = "\n\n"
Messages = list[dict[str, str]]


def score_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Messages],
    max_tokens: int = 4096,
) -> dict[str, np.ndarray]:
    """Score conversations in batches of similar length.

    Parameters
    ----------
    model : PreTrainedModel
        The guard.
    tokenizer : PreTrainedTokenizerFast
        Its tokenizer, with the chat template.
    conversations : sequence of list of dict
        Messages with ``role`` and ``content``.
    max_tokens : int
        Padded tokens in a batch.

    Returns
    -------
    dict of str to ndarray
        ``unsafe``, ``mass``, ``log_odds`` and ``code`` (the index of the most probable hazard, from 1).
    """
    prompts = [tokenizer.apply_chat_template(c, tokenize=False) + FORCED for c in conversations]
    limit = model.config.max_position_embeddings - 8
    ids = [i[:16] + i[-(limit - 16) :] if len(i) > limit else i for i in tokenizer(prompts, verbose=False)["input_ids"]]
    continuation = tokenizer("unsafe\nS1")["input_ids"]
    words = tokenizer.convert_tokens_to_ids(["safe", "unsafe"])
    out = {name: np.zeros(len(ids)) for name in ("unsafe", "mass", "log_odds", "code")}
    for batch in _batches([len(i) for i in ids], max_tokens):
        verdict, first, second = _distributions(model, [ids[b] for b in batch], continuation)
        safe, unsafe = verdict[:, words[0]], verdict[:, words[1]]
        out["unsafe"][batch] = unsafe.exp().numpy()
        out["mass"][batch] = (safe.exp() + unsafe.exp()).numpy()
        out["log_odds"][batch] = (unsafe - safe).numpy()
        out["code"][batch] = _codes(tokenizer, first.exp(), second.exp()).argmax(dim=1).numpy() + 1
    return out


def _batches(lengths: list[int], max_tokens: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in np.argsort(lengths, kind="stable").tolist():
        if not batches or (len(batches[-1]) + 1) * (lengths[index] + 4) > max_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


@torch.inference_mode()
def _distributions(model: PreTrainedModel, ids: list[list[int]], continuation: list[int]) -> tuple[torch.Tensor, ...]:
    rows = [i + continuation for i in ids]
    width = max(map(len, rows))
    padded = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    ends = torch.tensor([len(i) - 1 for i in ids])
    # read after "\n\n", after "unsafe\nS" and after "unsafe\nS1"
    positions = torch.stack([ends, ends + len(continuation) - 1, ends + len(continuation)], dim=1)
    logits = model(input_ids=padded, logits_to_keep=positions, use_cache=False).logits
    return logits.float().log_softmax(dim=-1).unbind(dim=1)


def _codes(tokenizer: PreTrainedTokenizerFast, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    digits = tokenizer.convert_tokens_to_ids(list("0123456789"))
    one = first[:, digits[1]]
    tens = second[:, digits[:5]] * one[:, None]
    only_one = (one - tens.sum(dim=1))[:, None]
    return torch.cat([only_one, first[:, digits[2:]], tens], dim=1)


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Give the area under the ROC curve, or NaN where one class is missing.

    Parameters
    ----------
    labels : ndarray
        1 for unsafe.
    scores : ndarray
        Higher means unsafe.

    Returns
    -------
    float
        AUC.
    """
    return float(roc_auc_score(labels, scores)) if 0 < labels.mean() < 1 else float("nan")
