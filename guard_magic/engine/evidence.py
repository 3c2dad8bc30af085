"""What a model and its tokenizer show before they are asked: whether they can be used, and signs of their family."""

from __future__ import annotations

from typing import Any

from guard_magic.errors import ProtocolError
from guard_magic.protocols.inquiry import Evidence

__all__ = ["check_parts", "evidence_of"]


def check_parts(model: Any, tokenizer: Any) -> None:
    """Refuse a model in training mode and a tokenizer that is not a fast one, with a `ProtocolError`."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ProtocolError(
            f"{type(tokenizer).__name__} is no fast tokenizer", hint="Load it with AutoTokenizer (use_fast=True)."
        )
    if model.training:
        raise ProtocolError("the model is in training mode, where dropout makes scores random", hint="model.eval()")


def evidence_of(model: Any, tokenizer: Any, name: str) -> Evidence:
    """Return what a model called `name` shows of its family."""
    template = getattr(tokenizer, "chat_template", None)
    return Evidence(
        name=str(getattr(model.config, "_name_or_path", "") or name),
        model_type=str(model.config.model_type),
        architecture=type(model).__name__,
        template=template if isinstance(template, str) else "",
    )
