"""Write temperature and offset of the verdict into the weights, fitted on the contrast test.

Usage: ``python -m training.calibrate build/guard/final.pt --out build/guard/calibrated.pt``.

Platt scaling (Platt, 1999): calibrated log odds = a * log odds + b. Both numbers go into the embeddings of ``safe``
and ``unsafe`` (the head is tied to them): ``a`` draws the two together, ``b`` moves them apart along a vector that
gives nearly 1 on every final state at the verdict. Along the same vector both are lifted, so that no probability is
lost to other words. No code is needed to apply it. The ranking changes only by the vector's small unevenness, which
is reported.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.examples import Row, read_contrast
from training.export import load_checkpoint
from training.scoring import FORCED, score_rows

Platt = tuple[float, float]
LIFT = 2.0
"""Nats by which both verdicts rise above all other words."""


def fit_platt(log_odds: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Platt:
    """Fit slope and offset by maximum likelihood.

    Parameters
    ----------
    log_odds : ndarray
        log p(unsafe) - log p(safe).
    labels : ndarray
        1 for unsafe.
    weights : ndarray
        Weight of each row.

    Returns
    -------
    tuple of float
        Slope and offset.
    """
    model = LogisticRegression(C=1e6).fit(log_odds[:, None], labels, sample_weight=weights)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def apply_platt(platt: Platt, log_odds: np.ndarray) -> np.ndarray:
    """Give calibrated P(unsafe).

    Parameters
    ----------
    platt : tuple of float
        Slope and offset.
    log_odds : ndarray
        Uncalibrated.

    Returns
    -------
    ndarray
        Between 0 and 1.
    """
    return 1 / (1 + np.exp(-(platt[0] * log_odds + platt[1])))


def expected_error(labels: np.ndarray, unsafe: np.ndarray, weights: np.ndarray, n_bins: int = 10) -> float:
    """Give the expected calibration error over equal-width bins (Naeini and others, 2015).

    Parameters
    ----------
    labels : ndarray
        1 for unsafe.
    unsafe : ndarray
        P(unsafe).
    weights : ndarray
        Weight of each row.
    n_bins : int
        Number of bins.

    Returns
    -------
    float
        Mean absolute gap between predicted and observed share, weighted.
    """
    bins = np.minimum((unsafe * n_bins).astype(int), n_bins - 1)
    gaps = [abs(np.sum(weights[bins == b] * (labels[bins == b] - unsafe[bins == b]))) for b in range(n_bins)]
    return float(sum(gaps) / weights.sum())


def cross_fit(rows: list[Row], log_odds: np.ndarray) -> tuple[Platt, dict[str, Any]]:
    """Fit on all rows, and judge by fits on the other half, halves split by group.

    Both labels weigh the same, so that 0.5 is the point where either is as likely when both are as frequent.

    Parameters
    ----------
    rows : list of Row
        Contrast test.
    log_odds : ndarray
        The guard's.

    Returns
    -------
    tuple
        Slope and offset; Brier score and expected calibration error before and after, out of fold.
    """
    labels = np.array([row["label"] for row in rows])
    weights = np.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    half = np.array([hashlib.sha256(row["group"].encode()).digest()[0] % 2 for row in rows])
    after = np.zeros(len(rows))
    folds = []
    for fold in (0, 1):
        platt = fit_platt(log_odds[half != fold], labels[half != fold], weights[half != fold])
        after[half == fold] = apply_platt(platt, log_odds[half == fold])
        folds.append(platt)
    before = apply_platt((1.0, 0.0), log_odds)
    report: dict[str, Any] = {"rows": len(rows), "folds": folds}
    for name, unsafe in (("before", before), ("after", after)):
        report[name] = {
            "brier": float(brier_score_loss(labels, unsafe, sample_weight=weights)),
            "ece": expected_error(labels, unsafe, weights),
        }
    return fit_platt(log_odds, labels, weights), report


@torch.inference_mode()
def verdict_states(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[Row]) -> torch.Tensor:
    """Give the final states at the verdict.

    Parameters
    ----------
    model : LlamaForCausalLM
        The guard.
    tokenizer : PreTrainedTokenizerFast
        Its tokenizer.
    rows : list of Row
        Conversations.

    Returns
    -------
    Tensor
        (rows, hidden size), after the last norm.
    """
    states = []
    for row in rows:
        ids = tokenizer(tokenizer.apply_chat_template(row["messages"], tokenize=False) + FORCED)["input_ids"]
        states.append(model.model(torch.tensor([ids])).last_hidden_state[0, -1])
    return torch.stack(states)


def bake(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, states: torch.Tensor, platt: Platt) -> float:
    """Write slope and offset into the weights, in place.

    Parameters
    ----------
    model : LlamaForCausalLM
        The guard, tied embeddings.
    tokenizer : PreTrainedTokenizerFast
        Its tokenizer.
    states : Tensor
        Final states at the verdict, before baking.
    platt : tuple of float
        Slope and offset.

    Returns
    -------
    float
        Largest deviation from the wanted offset over the states, in log odds.
    """
    slope, offset = platt
    table = model.model.embed_tokens.weight
    safe, unsafe = tokenizer.convert_tokens_to_ids(["safe", "unsafe"])
    ones = torch.ones(len(states), dtype=states.dtype)
    gram = states.T @ states + 0.01 * len(states) * states.pow(2).mean() * torch.eye(states.shape[1])
    even = torch.linalg.solve(gram, states.T @ ones)  # ridge: as close to 1 on every state as a short vector can be
    even = even / (states @ even).mean()
    with torch.no_grad():
        middle, half = (table[unsafe] + table[safe]) / 2, slope * (table[unsafe] - table[safe]) / 2
        table[unsafe] = middle + half + even * (LIFT + offset / 2)
        table[safe] = middle - half + even * (LIFT - offset / 2)
    return float((offset * (states @ even) - offset).abs().max())


def main() -> None:
    """Calibrate a checkpoint and print what it did as one JSON line."""
    parser = argparse.ArgumentParser(description="Calibrate the embedded guard on the contrast test.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/guard/calibrated.pt"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer = load_checkpoint(args.checkpoint)
    train, test = read_contrast()
    scores = score_rows(model, tokenizer, [row["messages"] for row in test])
    platt, report = cross_fit(test, scores["log_odds"])
    unevenness = bake(model, tokenizer, verdict_states(model, tokenizer, train[::8]), platt)
    again = score_rows(model, tokenizer, [row["messages"] for row in test])
    gap = float(np.abs(platt[0] * scores["log_odds"] + platt[1] - again["log_odds"]).max())
    saved = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    torch.save({**saved, "weights": model.state_dict()}, args.out)
    extras = {"offset_unevenness": unevenness, "log_odds_gap": gap}
    for name, found in (("before", scores), ("after", again)):  # "unsafe" is read too, ahead of the hazard code
        right = [
            f"S{int(code)}" == row["category"] for row, code in zip(test, found["code"], strict=True) if row["label"]
        ]
        report[name] |= {"min_mass": float(found["mass"].min()), "code_top1": float(np.mean(right))}
    print(json.dumps({"slope": platt[0], "offset": platt[1], **report, **extras}))


if __name__ == "__main__":
    main()
