"""A copy of a model of which only the structure is its own: the tensors are the model's.

The engine narrows a forward pass by hooks, switches the attention implementation and swaps in compiled layers. On the
user's model every other thread that runs it would see that, and a second guard of it would undo it. So all of this is
done to a copy: new modules and configurations that hold the same parameters and buffers. It costs next to no memory.

What a module keeps besides its children is copied by reference, except what leads back into the model (bound methods
and partials, such as those that accelerate puts in the place of ``forward``): they lead into the copy. Where some way
back remains, the copy runs a module of the original: with the same weights, and `forward` notices if it is the head.
"""

from __future__ import annotations

import copy
import functools
import types
import weakref
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig

__all__ = ["CONFIGS", "own_copy", "text_model"]

CONFIGS = (PreTrainedConfig, GenerationConfig)

_CONTAINERS = (list, tuple, set, dict)
_READ_IMAGES = ("Llama4ForConditionalGeneration",)
"""Without an image they only pass on to ``language_model``, a whole causal model; in transformers 5.24 they fail."""
_NEVER = ("_compiled_call",)
"""Made of the original by ``generate``, and made again where it is needed."""


def own_copy(model: Any) -> Any:
    """Return a model with modules and configurations of its own, and the very tensors of `model`.

    Parameters
    ----------
    model
        A transformers model. Of one that went through ``torch.compile`` the model inside is copied, and of one that
        reads images around a causal language model, that.
    """
    made: Any = _Copier().module(getattr(model, "_orig_mod", model))
    inner = text_model(made)
    if inner is not made:  # what ends an answer is said of the whole model
        inner.generation_config = made.generation_config
    return inner


def text_model(model: Any) -> Any:
    """Return the causal language model inside a reader of images that has one; of other models the model itself."""
    return model.language_model if type(model).__name__ in _READ_IMAGES else model


class _Copier:
    """What was copied, by the id of the original, which this keeps alive."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}

    def module(self, original: torch.nn.Module) -> torch.nn.Module:
        """Copy a module and all below it."""
        made: torch.nn.Module = self._begin(original)
        if not made.__dict__:
            made.__dict__["_modules"] = {}  # so that a way back that is met before is already one into the copy
            found = {name: self._kept(name, value) for name, value in list(vars(original).items())}
            made.__dict__ |= {name: value for name, value in found.items() if name not in _NEVER}
            made.__dict__["_compiled_call_impl"] = None
        return made

    def _config(self, original: Any) -> Any:
        made = self._begin(original)
        if not made.__dict__:
            made.__dict__ |= {name: self._kept(name, value) for name, value in list(vars(original).items())}
        return made

    def _begin(self, original: Any) -> Any:
        _, made = self._made.setdefault(id(original), (original, object.__new__(type(original))))
        return made

    def _kept(self, name: str, value: Any) -> Any:
        if name in ("_parameters", "_buffers"):
            return copy.copy(value)
        return self._rebound(value)

    def _rebound(self, value: Any) -> Any:
        """Return `value`, leading into the copy where it led into the model; containers are made anew."""
        if isinstance(value, torch.nn.Module):
            return self.module(value)
        if isinstance(value, CONFIGS):
            return self._config(value)
        if type(value) is weakref.ReferenceType and isinstance(value(), torch.nn.Module):
            return weakref.ref(self.module(value()))  # type: ignore[arg-type]
        if isinstance(value, _CONTAINERS) and not hasattr(value, "_fields"):
            return self._container(value)
        return self._function(value)

    def _container(self, value: Any) -> Any:
        if isinstance(value, dict):
            made = copy.copy(value)  # of its own kind: hooks are removed from an OrderedDict only
            for name, inner in list(made.items()):
                made[name] = self._rebound(inner)
            return made
        if type(value) in _CONTAINERS:
            return type(value)(self._rebound(inner) for inner in list(value))
        return copy.copy(value)

    def _function(self, value: Any) -> Any:
        if id(value) in self._made:
            return self._made[id(value)][1]
        if isinstance(value, types.MethodType):
            return types.MethodType(self._function(value.__func__), self._leading(value.__self__))
        if isinstance(value, functools.partial):
            made = functools.partial(
                self._function(value.func),
                *map(self._leading, value.args),
                **{name: self._leading(inner) for name, inner in value.keywords.items()},
            )
            made.__dict__ |= vars(value)
            return made
        if isinstance(value, types.FunctionType) and value.__closure__:
            return self._closure(value, value.__closure__)
        return value

    def _closure(self, function: types.FunctionType, cells: tuple[types.CellType, ...]) -> types.FunctionType:
        """Return a function whose closure leads into the copy; what it shares with others besides, it still shares."""
        self._made[id(function)] = (function, function)  # one that holds itself
        new = tuple(map(self._cell, cells))
        if all(one is other for one, other in zip(new, cells, strict=True)):
            return function
        made = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, new)
        made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
        made.__dict__ |= vars(function)
        self._made[id(function)] = (function, made)
        return made

    def _cell(self, cell: types.CellType) -> types.CellType:
        try:
            held = cell.cell_contents
        except ValueError:  # empty
            return cell
        leading = self._leading(held)
        return cell if leading is held else types.CellType(leading)

    def _leading(self, value: Any) -> Any:
        """As `_rebound`, for what is only passed on: what is not the model's stays the same object."""
        is_ours = isinstance(value, torch.nn.Module | types.MethodType | functools.partial | types.FunctionType)
        return self._rebound(value) if is_ours else value
