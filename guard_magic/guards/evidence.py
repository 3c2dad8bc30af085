"""What a model and its tokenizer show before they are asked: whether they can be used, and signs of their family.

Models loaded elsewhere come in every form. What can be seen is looked at; what can only be seen by running the model
is tried with six tokens. Either way the answer is an error that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from guard_magic.engine.memory import is_out_of_memory
from guard_magic.errors import GuardError, LoadError, ProtocolError, shorten
from guard_magic.families.base import Evidence
from guard_magic.prompts.rendering import template_of

__all__ = ["check_parts", "evidence_of", "try_model", "wrapping"]

_WHOLE = "Load it as AutoModelForCausalLM does: whole, on one device, with the head that writes text."
_TRIED = ((0, 1, 2), (0, 1, 3))
"""Two rows that differ in their last token alone: what stands before it must come out equal."""


def check_parts(model: Any, tokenizer: Any) -> None:
    """Refuse what is not a causal language model in eval mode with its fast tokenizer.

    Raises
    ------
    ProtocolError
        Naming what was passed and what to pass instead.
    """
    if _is_model(tokenizer) and not _is_model(model):
        raise ProtocolError(
            f"model and tokenizer are swapped: {type(model).__name__} is passed as the model",
            hint="The order is wrap(model, tokenizer, name=…).",
        )
    _check_model(model)
    _check_tokenizer(tokenizer)
    _check_vocabulary(model, tokenizer)


def evidence_of(model: Any, tokenizer: Any, name: str) -> Evidence:
    """Return what a model called `name` shows of its family."""
    return Evidence(
        name=str(getattr(model.config, "_name_or_path", "") or name),
        model_type=str(model.config.model_type),
        architecture=type(model).__name__,
        template=template_of(tokenizer),
    )


@torch.inference_mode()
def try_model(model: Any, name: str) -> None:
    """Run a model on a few tokens: it must give logits, and those of a token must not depend on what comes after it.

    Raises
    ------
    LoadError
        Where memory ran out.
    ProtocolError
        Where it cannot be run, gives no logits, or looks ahead.
    """
    with wrapping(name):
        out = model(input_ids=torch.tensor(_TRIED, device=model.device), use_cache=False)
    logits = getattr(out, "logits", None)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 3:
        raise ProtocolError(
            f"{name} ({type(model).__name__}) gives a {type(out).__name__} without logits of each token", hint=_WHOLE
        )
    limit = max(1e-3, 8 * torch.finfo(logits.dtype).eps)
    before = logits[:, :-1].float()
    if (before[0] - before[1]).abs().amax() > limit * before.abs().amax():
        raise ProtocolError(
            f"{name} ({type(model).__name__}) is not causal: what it says of a token depends on the tokens after it",
            hint="A guard writes its verdict word by word; encoders and masked language models do not.",
        )


@contextmanager
def wrapping(name: str) -> Iterator[None]:
    """Turn every failure of a model called `name` into an error of ours with the next step."""
    try:
        yield
    except GuardError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise LoadError(
                f"{name} ran out of memory on a few tokens", hint="Unload other guards, or use a smaller one."
            ) from error
        text = next(iter(str(error).strip().splitlines()), "")
        raise ProtocolError(f"{name} cannot be run: {type(error).__name__}: {text}", hint=_WHOLE) from error


def _is_model(value: Any) -> bool:
    return isinstance(value, torch.nn.Module)


def _check_model(model: Any) -> None:
    kind = type(model).__name__
    if not _is_model(model):
        if _is_model(getattr(model, "model", None)):  # a pipeline
            hint = "Pass its parts: wrap(pipe.model, pipe.tokenizer, name=…)."
        else:
            hint = f"{_WHOLE} Names and folders are opened by guard_magic.load()."
        raise ProtocolError(f"{shorten(model)} ({kind}) is not a model of transformers", hint=hint)
    if not hasattr(model, "config") and hasattr(getattr(model, "module", None), "config"):
        raise ProtocolError(f"the model is inside a {kind}", hint="Pass the model itself: model.module.")
    missing = [name for name in ("config", "device", "dtype", "get_output_embeddings") if not hasattr(model, name)]
    if missing:
        raise ProtocolError(f"{kind} is not a model of transformers: it has no {missing[0]}", hint=_WHOLE)
    if getattr(model.config, "is_encoder_decoder", False):
        raise ProtocolError(f"{kind} has an encoder beside its decoder, and guards here have none", hint=_WHOLE)
    if model.get_output_embeddings() is None or not hasattr(model, "generate"):
        raise ProtocolError(f"{kind} has no head that writes text, and so no verdict", hint=_WHOLE)
    if not isinstance(getattr(model.config.get_text_config(), "max_position_embeddings", None), int):
        raise ProtocolError(
            f"the config of {kind} does not say how many tokens it reads",
            hint="Set model.config.max_position_embeddings.",
        )
    if getattr(model.config, "return_dict", True) is not True:
        raise ProtocolError("the model's config has return_dict=False", hint="Set model.config.return_dict = True.")
    _check_weights(model)
    if model.training:
        raise ProtocolError("the model is in training mode, where dropout makes scores random", hint="model.eval()")


def _check_weights(model: Any) -> None:
    """Refuse weights that are nowhere: PyTorch computes with them without a word, and what comes out is anything."""
    nowhere = [name for name, weight in model.named_parameters() if weight.is_meta]
    if nowhere:
        raise ProtocolError(
            f"{len(nowhere):,} of the model's weights are on no device, such as {nowhere[0]}: they were offloaded, or "
            "never loaded",
            hint="Load it whole (device_map={'': 'cuda'}), or smaller: guard_magic.load(…, quantization='int8').",
        )


def _check_tokenizer(tokenizer: Any) -> None:
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        return
    kind = type(tokenizer).__name__
    inner = getattr(tokenizer, "tokenizer", None)
    if getattr(inner, "backend_tokenizer", None) is not None:
        has_template = bool(getattr(inner, "chat_template", None)) or not getattr(tokenizer, "chat_template", None)
        also = "" if has_template else " Its template too: tokenizer.chat_template = processor.chat_template."
        raise ProtocolError(f"{kind} is a processor", hint=f"Pass its tokenizer: processor.tokenizer.{also}")
    if hasattr(tokenizer, "to_str"):
        hint = "Pass PreTrainedTokenizerFast(tokenizer_object=…) with the guard's chat template."
    else:
        hint = "Load it with AutoTokenizer (use_fast=True)."
    raise ProtocolError(f"{shorten(tokenizer)} ({kind}) is not a fast tokenizer", hint=hint)


def _check_vocabulary(model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that writes ids which the model has no embedding for."""
    n_known = int(model.get_input_embeddings().weight.shape[0])
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if not token.special)
    n_needed = max(tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False), *(1 + i for i in added), 0)
    if n_needed > n_known:
        raise ProtocolError(
            f"the tokenizer has {n_needed:,} words and the model knows {n_known:,}: they are not of one guard",
            hint="Load both from the same place.",
        )
