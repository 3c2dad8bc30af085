"""What a model's answers hang on, and whether it is still as it was.

Nothing of a model is watched while it changes: it is looked at before it is asked. Everything a forward pass reads is
compared with what was there before: which tensors there are, where in memory, in which format, and how often each was
written to (``_version``); modules, hooks and replaced methods by identity; switches (training mode, adapters, scales)
and configurations by value. A look at 32 layers takes less than half a millisecond.

Writing through ``tensor.data`` or a NumPy view is not counted by torch. A few numbers of each tensor, spread over it,
are compared at the beginning of each call: training, merging and loading change them. A write of that kind to a few
places in between is not seen. Nothing is counted for tensors made under ``torch.inference_mode()``: of those, sums over
all numbers are compared at every look, which costs less than the forward pass that reads them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from guard_magic.engine.own_copy import CONFIGS
from guard_magic.errors import ProtocolError

__all__ = ["ModelState"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_CONTAINERS = (list, tuple, set, frozenset, dict)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_IGNORED = ("_compiled_call", "_compiled_call_impl", "_is_full_backward_hook", "_output_capturing_hooks_installed")
_INERT = "transformers.utils.output_capturing"
"""Where the hooks are from that transformers adds at a first ``output_hidden_states=True``: they change nothing."""
_N_SAMPLED = 8
_WHOLE = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}

Stamp = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """Equal to what holds the very same object, and keeps it alive: no other can come to stand in its place."""

    it: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.it is other.it

    def __hash__(self) -> int:
        return id(self.it)


class ModelState:
    """A model as it is at this moment.

    Parameters
    ----------
    model
        A transformers model. What it holds is kept alive, so that nothing new can be taken for something old.

    Raises
    ------
    ProtocolError
        Where a module is in training mode, or a tensor has no numbers (meta).
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._dicts, self._lists, tensors = _parts(model)
        self._names, self._tensors = list(tensors), list(tensors.values())
        self._values = self._current()
        self._description = _described(model)
        self._stamps = _stamps(self._tensors)
        self._storages = [_tried(_storage, tensor) for tensor in self._tensors]
        self._is_counted = not any(tensor.is_inference() for tensor in self._tensors)
        self._check(model)
        self._samples = _Samples(self._tensors)

    def change(self, model: torch.nn.Module | None, *, closely: bool = False) -> str | None:
        """Return what about `model` is not as it was, in words; None where all is.

        Parameters
        ----------
        model
            What is to be the same model.
        closely
            Whether numbers of each tensor are compared too.
        """
        if model is not self._model:
            return "it is another model"
        if not self._is_same():
            description = _described(self._model)
            changed = _first_difference(self._description, description)
            if changed is not None:
                return changed
            self._dicts, self._lists, _ = _parts(self._model)  # other objects that mean the same
            self._values = self._current()
        stamps = _stamps(self._tensors)
        if stamps != self._stamps:
            return next(n for n, a, b in zip(self._names, stamps, self._stamps, strict=True) if a != b)
        if (closely or not self._is_counted) and not self._samples.are_same():
            return "numbers of its weights, which were written past torch's counters"
        return None

    def _current(self) -> list[Any]:
        return [*chain.from_iterable(map(dict.values, self._dicts)), *chain.from_iterable(self._lists)]

    def _is_same(self) -> bool:
        try:
            values = self._current()
        except RuntimeError:  # another thread is adding to one of them
            return False
        return len(values) == len(self._values) and all(map(operator.is_, values, self._values))

    def _check(self, model: torch.nn.Module) -> None:
        training = next((name for name, module in model.named_modules() if module.training), None)
        if training is not None:
            whose = f"{training} of the model" if training else "the model"
            raise ProtocolError(f"{whose} is in training mode, where dropout makes scores random", hint="model.eval()")
        empty = next((n for n, tensor in zip(self._names, self._tensors, strict=True) if tensor.is_meta), None)
        if empty is not None:
            raise ProtocolError(
                f"the model has no numbers in {empty}: it is on the meta device",
                hint="Load its weights onto a device; offloaded weights (device_map) cannot be asked.",
            )


def _parts(model: torch.nn.Module) -> tuple[list[dict[Any, Any]], list[Any], dict[str, torch.Tensor]]:
    """Return the dictionaries and other containers that hold what matters, and all tensors by name."""
    dicts: list[dict[Any, Any]] = []
    lists: list[Any] = []
    tensors: dict[str, torch.Tensor] = {}
    for name, owner in _owners(model):
        dicts.append(vars(owner))
        for key, value in _relevant(owner):
            if isinstance(value, dict):
                dicts.append(value)
            elif isinstance(value, _CONTAINERS):
                lists.append(value)
            for inner_key, inner in _inside(key, value):
                if isinstance(inner, torch.Tensor):
                    tensors |= _tensors_of(f"{name}.{inner_key}".lstrip("."), inner)
    return dicts, lists, tensors


def _owners(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the model, its modules and their configurations, each once and with its name."""
    seen: set[int] = set()
    pending: list[tuple[str, Any]] = [("", model)]
    while pending:
        name, owner = pending.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        yield name, owner
        for key, value in list(vars(owner).items()):
            pending += [
                (f"{name}.{inner_key}".lstrip("."), inner)
                for inner_key, inner in _inside(key, value)
                if isinstance(inner, (torch.nn.Module, *CONFIGS))
            ]


def _inside(key: str, value: Any) -> list[tuple[str, Any]]:
    """Return what stands under a key, of a container what it holds; registered things go by their own names."""
    if not isinstance(value, _CONTAINERS):
        return [(key, value)]
    label = "" if key in ("_parameters", "_buffers", "_modules") else f"{key}."
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    return [(f"{label}{inner_key}", inner) for inner_key, inner in inside]


def _relevant(owner: Any) -> list[tuple[str, Any]]:
    """Return what a forward pass may read of a module or configuration: not its backward and saving hooks."""
    return [
        (key, value)
        for key, value in list(vars(owner).items())
        if key not in _IGNORED and (key in _HOOKS or not (key.endswith("_hooks") and key.startswith("_")))
    ]


def _tensors_of(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a tensor by its name; of one that is made of others, those too."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    found = {name: tensor}
    for inner in flatten()[0] if flatten else ():
        found |= _tensors_of(f"{name}.{inner}", getattr(tensor, inner))
    return found


def _stamps(tensors: Iterable[torch.Tensor]) -> list[Stamp]:
    """Return for each tensor what differs after it was written to, moved, converted or replaced."""
    tensors = list(tensors)
    try:
        return [(t._version, t.data_ptr(), t.dtype, t.stride(), t.untyped_storage()._cdata) for t in tensors]
    except (RuntimeError, NotImplementedError):  # made under inference mode, or of other tensors
        return [tuple(_tried(part, tensor) for part in _PARTS) for tensor in tensors]


_PARTS: tuple[Callable[[Any], Hashable], ...] = (
    lambda tensor: tensor._version,
    lambda tensor: tensor.data_ptr(),
    lambda tensor: tensor.dtype,
    lambda tensor: tensor.stride(),
    lambda tensor: tensor.untyped_storage()._cdata,
)


def _storage(tensor: torch.Tensor) -> StorageWeakRef:
    """Return what keeps the identity of a tensor's memory from being given to another's, without keeping the memory."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _tried(part: Callable[[Any], Any], tensor: torch.Tensor) -> Any:
    try:
        return part(tensor)
    except (RuntimeError, NotImplementedError):
        return None


class _Samples:
    """Bytes that stand for the numbers of tensors, taken again and again while their places in memory are the same.

    Of a counted tensor that is a few numbers, of one that is not, sums over all of them.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        held = [tensor for tensor in tensors if tensor.numel() and tensor.layout is torch.strided]
        self._whole = [tensor for tensor in held if tensor.is_inference()]
        self._groups: dict[Hashable, list[tuple[torch.Tensor, tuple[Any, ...]]]] = {}
        for tensor in held:
            if not tensor.is_inference() and tensor.is_contiguous() and _tried(_storage, tensor) is not None:
                n = min(_N_SAMPLED, tensor.numel())
                where = ((n,), (tensor.numel() // n,), tensor.storage_offset())
                self._groups.setdefault((tensor.device, tensor.dtype), []).append((tensor, where))
        self._first = self._taken()

    def are_same(self) -> bool:
        """Say whether the numbers are those of the beginning."""
        return all(map(torch.equal, self._first, self._taken()))

    @torch.inference_mode()
    def _taken(self) -> list[torch.Tensor]:
        few = [_as_bytes([t.as_strided(*where) for t, where in group]) for group in self._groups.values()]
        return [*few, *map(_sums, self._whole)]


def _sums(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of each row's bits, read as the widest whole numbers that fit."""
    rows = tensor.contiguous().flatten(1) if tensor.dim() > 1 else tensor.contiguous().reshape(1, -1)
    nbytes = rows.shape[-1] * rows.element_size()
    width = next(width for width in _WHOLE if nbytes % width == 0)
    return rows.view(_WHOLE[width]).sum(-1)


def _as_bytes(parts: list[torch.Tensor]) -> torch.Tensor:
    if parts[0].dtype.itemsize == 1:  # not every format of 8 bits can be joined
        parts = [part.view(torch.uint8) for part in parts]
    return torch.cat(parts).view(torch.uint8)


def _described(model: torch.nn.Module) -> dict[str, Hashable]:
    """Return everything that matters by its name: values by what they are, objects by identity."""
    found: dict[str, Hashable] = {}
    for name, owner in _owners(model):
        found[f"{name}."] = _Same(owner)
        for key, value in _relevant(owner):
            stamp = _stamp_of(value, 3)
            if stamp is not None:
                found[f"{name}.{key}"] = stamp
    return found


def _stamp_of(value: Any, depth: int) -> Hashable:
    """Return what stands for a value; None for what says nothing about answers."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, torch.Tensor | torch.nn.Module):
        return _Same(value)
    if isinstance(value, _CONTAINERS) and depth:
        inside = list(value.items()) if isinstance(value, dict) else [("", inner) for inner in list(value)]
        return tuple((repr(k), stamp) for k, inner in inside for stamp in [_stamp_of(inner, depth - 1)] if stamp)
    if callable(value) and getattr(value, "__module__", None) != _INERT:
        return _Same(value)
    return None


def _first_difference(before: dict[str, Hashable], after: dict[str, Hashable]) -> str | None:
    if before == after:
        return None
    names = (name for name in {**before, **after} if before.get(name) != after.get(name))
    return next(names).strip(".") or "its structure"
