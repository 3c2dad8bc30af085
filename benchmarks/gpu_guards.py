"""The guards that `gpu.py` measures: true shapes, tokenizers and templates, random weights, answers that spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lengths import Lengths, load_lengths, rows_of_lengths
from shapes import TEMPLATE_1B, llama3_tokenizer, qwen3_tokenizer, random_model
from ways import Row, encode_rows, guard_for

from guard_magic.guards.guard import Guard

__all__ = ["SPECS", "Built", "Spec", "build", "spread_answers"]

_LIFT, _SPREAD, _THIRD = 5.0, 2.0, -2.0


@dataclass(frozen=True, slots=True)
class Spec:
    """One guard to measure.

    Attributes
    ----------
    shape
        In `shapes.SHAPES` or `QWEN3_SHAPES`.
    family
        Whose lengths it reads, in `lengths.FAMILIES`.
    n_rows, n_sweep
        Rows of a run, and of a run of the sweep.
    seconds
        Longest run of one way.
    n_alone, alone_s
        Rows read alone in float32 at the most, and seconds of it.
    share
        Of the time of a run of all guards.
    """

    shape: str
    family: str
    n_rows: int
    n_sweep: int
    seconds: float
    n_alone: int
    alone_s: float
    share: float


SPECS: dict[str, Spec] = {
    spec.shape: spec
    for spec in (
        Spec("8b", "llama-guard-3-8b", 768, 384, 8, 192, 16, 0.52),
        Spec("qwen3guard-0.6b", "qwen3guard-0.6b", 2_048, 1_024, 5, 512, 8, 0.27),
        Spec("1b", "llama-guard-3-1b", 2_048, 1_024, 5, 384, 8, 0.21),
        Spec("tiny", "llama-guard-3-8b", 64, 32, 5, 16, 5, 0.5),
        Spec("qwen3guard-tiny", "qwen3guard-0.6b", 64, 32, 5, 16, 5, 0.5),
    )
}
"""By shape, in the order of their worth; the tiny ones are for rehearsals."""

_TOKENIZERS: dict[str, Callable[[], Any]] = {
    "llama-guard-3-8b": llama3_tokenizer,
    "llama-guard-3-1b": partial(llama3_tokenizer, template=TEMPLATE_1B),
    "qwen3guard-0.6b": qwen3_tokenizer,
}


@dataclass(frozen=True, slots=True)
class Built:
    """A guard on its device, with rows of its family's true lengths."""

    guard: Guard
    rows: list[Row]
    lengths: Lengths


def build(spec: Spec, dtype: torch.dtype, device: str, n_rows: int | None = None) -> Built:
    """Make a guard on the device, and its rows: the first `n_rows` of the recorded lengths, `spec.n_rows` if None."""
    model = random_model(spec.shape, dtype=dtype, device=device)
    scale_projections(model)
    guard = guard_for(model, _TOKENIZERS[spec.family]())
    lengths = load_lengths(spec.family)
    rows = rows_of_lengths(guard, lengths, n_rows or spec.n_rows)
    spread_answers(guard, rows[:24])
    return Built(guard, rows, lengths)


@torch.inference_mode()
def scale_projections(model: Any) -> None:
    """Give projections the variance that keeps activations near 1, in place.

    Fresh weights explode at a width of 4,096 and vanish when tiny.
    """
    for name, weight in model.named_parameters():
        if "proj" in name:
            weight.mul_(1.0 / (model.config.initializer_range * math.sqrt(weight.shape[1])))


@torch.inference_mode()
def spread_answers(guard: Guard, rows: Sequence[Row]) -> None:
    """Make a random guard's scores span 0 to 1 over `rows`, in place.

    The head's rows of the verdict tokens are set: both far above the rest of the vocabulary, apart from each other
    along the direction in which the rows' states differ most; a third verdict stands a little below them.
    """
    model = guard.model
    states = torch.cat(
        [_verdict_state(model, encoded.prompt.ids) for encoded in encode_rows(guard, rows)]
    )  # (n, hidden)
    mean = states.mean(0)
    unit = mean / mean.square().sum()  # adds 1 to the logit of the mean state
    along = torch.linalg.svd(states - mean, full_matrices=False).Vh[0]
    along -= unit * (along @ mean)
    lean = along * (_SPREAD / (states @ along).std())
    lean -= unit * (states @ lean).mean()
    lift = unit * (_log_others(model, mean) + _LIFT)
    safe, unsafe, *others = (path.steps[0][-1] for path in guard.questionnaire(None).answers.words)
    weight = model.lm_head.weight
    for token, row in [
        (safe, lift - lean),
        (unsafe, lift + lean),
        *((other, lift + _THIRD * unit) for other in others),
    ]:
        weight[token] = row.to(weight.dtype)
    guard.engine.prefixes.clear()  # where embeddings are tied, prefixes changed


def _verdict_state(model: Any, ids: Sequence[int]) -> torch.Tensor:
    tokens = torch.tensor([ids], device=model.device)
    return model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, -1].float()


def _log_others(model: Any, state: torch.Tensor) -> torch.Tensor:
    return (model.lm_head.weight @ state.to(model.dtype)).float().logsumexp(-1)
