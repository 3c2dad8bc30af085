"""Linear layers in 8 or 4 bits: a guard in half or a third of its memory, with nothing to install.

**int8 and int4** are for memory, on every device. Only weights are quantized. Each row of a linear layer is cut
into groups; a group keeps its smallest value and a step, each weight the number of steps above it. A forward
pass restores one layer's weights at a time and multiplies as usual. The engine reads whole batches of prompts,
so that costs little beside the product. Activations stay as they are.

**fp8** is for speed, on GPUs that multiply FP8 numbers (`engine/float8.py`): activations are rounded too.

None lets a row's quantization depend on its neighbours. The embeddings and the output head stay as they are:
verdicts are read from the head in float32.

Packages were tried first. bitsandbytes 0.50 rounds activations in int8 and computes in bfloat16 on the CPU, so
rows depend on their neighbours; torchao 0.18 has no int4 for the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.utils.quantization_config import QuantizationConfigMixin

from guard_magic.callers import warn_caller
from guard_magic.errors import LoadError
from guard_magic.guards.float8 import FLOAT8, Float8Linear, float8_obstacle, move_uncast

__all__ = [
    "QUANTIZATIONS",
    "QuantizedLinear",
    "bits_per_weight",
    "check_device",
    "quantization_config",
    "quantize_linears",
]

_METHOD = "guard_magic"


class _Way(Protocol):
    """One way of keeping a layer's weights."""

    def bits_per_weight(self, n_out: int, n_in: int) -> float | None: ...

    def layer(self, weight: torch.Tensor, bias: nn.Parameter | None) -> nn.Module: ...


@dataclass(frozen=True, slots=True)
class _Steps:
    """Whole numbers of steps; of `groups`, the largest that divides a row says how many weights share a step."""

    bits: int
    groups: tuple[int, ...]

    def group_size(self, n_in: int) -> int | None:
        return next((size for size in self.groups if n_in % size == 0), None)

    def bits_per_weight(self, n_out: int, n_in: int) -> float | None:
        size = self.group_size(n_in)
        return None if size is None else self.bits + 32 / size

    def layer(self, weight: torch.Tensor, bias: nn.Parameter | None) -> nn.Module:
        return QuantizedLinear(weight, self.bits, bias)


class _Float8:
    """FP8 numbers with a float32 scale a row; the tensor cores take multiples of 16."""

    def bits_per_weight(self, n_out: int, n_in: int) -> float | None:
        return None if n_out % 16 or n_in % 16 else 8 + 32 / n_in

    def layer(self, weight: torch.Tensor, bias: nn.Parameter | None) -> nn.Module:
        return Float8Linear(weight, bias)


_STEPS = {8: _Steps(8, (128, 64, 32, 16)), 4: _Steps(4, (32, 16))}
_WAYS: dict[str, _Way] = {"int8": _STEPS[8], "int4": _STEPS[4], "fp8": _Float8()}

QUANTIZATIONS = tuple(_WAYS)
"""The names that can be asked for."""


def bits_per_weight(n_out: int, n_in: int, quantization: str) -> float | None:
    """Return the bits that a weight of a layer costs with its share of what is kept beside; None: not quantized."""
    return _WAYS[quantization].bits_per_weight(n_out, n_in)


def check_device(quantization: str, device: torch.device) -> None:
    """Warn where `device` brings a quantization none of its advantage: fp8 without FP8 hardware is only slow.

    Raises
    ------
    LoadError
        Where `device` does not even know the numbers.
    """
    if quantization != "fp8":
        return
    obstacle = float8_obstacle(device)
    try:
        torch.zeros(1, device=device).to(FLOAT8)
    except (RuntimeError, TypeError, AssertionError):
        raise LoadError(
            f"quantization='fp8' cannot be used on {device}: {obstacle}",
            hint="Use quantization='int8', which works on every device.",
        ) from None
    if obstacle:
        warn_caller(
            f"quantization='fp8' saves no time on {device} ({obstacle}): it rounds as a GPU with FP8 hardware does and "
            "is slower than whole weights; 'int8' is as small and closer to them"
        )


class QuantizedLinear(nn.Module):
    """A linear layer whose weights are whole numbers of steps.

    Parameters
    ----------
    weight
        The weights, (n_out, n_in), floating point. `n_in` has a group size.
    bits
        8 or 4.
    bias
        (n_out,), kept as it is; or None.
    """

    codes: torch.Tensor
    steps: torch.Tensor
    lows: torch.Tensor

    def __init__(self, weight: torch.Tensor, bits: int, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bits = bits
        self.compute_dtype = weight.dtype
        kept = torch.bfloat16 if weight.dtype == torch.bfloat16 else torch.float16
        size = _STEPS[bits].group_size(self.in_features) or self.in_features
        groups = weight.detach().float().view(self.out_features, -1, size)
        lows = groups.amin(-1, keepdim=True).to(kept)
        steps = ((groups.amax(-1, keepdim=True) - lows.float()) / (2**bits - 1)).to(kept)
        steps = steps.clamp(min=torch.finfo(kept).smallest_normal)
        codes = ((groups - lows.float()) / steps.float()).round_().clamp_(0, 2**bits - 1).to(torch.uint8).flatten(1)
        if bits == 4:
            half = self.in_features // 2
            codes = codes[:, :half] | (codes[:, half:] << 4)
        self.register_buffer("codes", codes.contiguous())  # (n_out, n_in) or (n_out, n_in / 2)
        self.register_buffer("steps", steps)  # (n_out, n_groups, 1)
        self.register_buffer("lows", lows)  # (n_out, n_groups, 1)
        self.bias = bias

    def restored(self) -> torch.Tensor:
        """Return the weights that the layer multiplies with, (n_out, n_in)."""
        codes = self.codes if self.bits == 8 else torch.cat([self.codes & 15, self.codes >> 4], dim=1)
        groups = codes.to(self.compute_dtype, copy=True).view(self.out_features, self.steps.shape[1], -1)
        return groups.mul_(self.steps).add_(self.lows).flatten(1)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (…, n_out) for states (…, n_in)."""
        bias = None if self.bias is None else self.bias.to(states.dtype)
        return nn.functional.linear(states, self.restored().to(states.dtype), bias)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> QuantizedLinear:
        """Move what is kept without casting it; a cast says what is computed in."""
        self.compute_dtype = fn(torch.empty(0, dtype=self.compute_dtype, device=self.codes.device)).dtype
        move_uncast(self, partial(super()._apply, fn, recurse))
        return self

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}"


def quantize_linears(model: Any, quantization: str) -> Any:
    """Quantize the linear layers of a loaded model in place; returns it.

    Parameters
    ----------
    model
        A transformers model, on the device where it stays.
    quantization
        A name in `QUANTIZATIONS`.
    """
    for name, module in list(model.named_modules()):
        if _is_quantizable(model, module, quantization):
            _replace(model, name, _WAYS[quantization].layer(module.weight, module.bias))
    return model


def quantization_config(quantization: str) -> Any:
    """Return what makes ``from_pretrained`` quantize each weight as it comes off the disk.

    The full weights are never in memory at once.
    """
    return _Config(quantization)


def _is_quantizable(model: Any, module: nn.Module, quantization: str) -> bool:
    if type(module) is not nn.Linear or module is model.get_output_embeddings():
        return False
    if module.weight is model.get_input_embeddings().weight:
        return False
    return bits_per_weight(module.out_features, module.in_features, quantization) is not None


def _replace(model: Any, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module.train(model.training))


class _Config(QuantizationConfigMixin):  # type: ignore[misc]
    def __init__(self, quantization: str) -> None:
        self.quant_method = _METHOD
        self.quantization = quantization


class _Quantizer(HfQuantizer):  # type: ignore[misc]
    """What transformers asks while it reads weights."""

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        name, _, kind = param_name.rpartition(".")
        quantization = self.quantization_config.quantization
        return kind == "weight" and _is_quantizable(model, model.get_submodule(name), quantization)

    def get_quantize_ops(self) -> Any:
        return _Quantize(self.quantization_config.quantization)

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


class _Quantize(ConversionOps):  # type: ignore[misc]
    """One weight off the disk: its layer is replaced by a quantized one, so nothing is left to load for it."""

    def __init__(self, quantization: str) -> None:
        self.quantization = quantization

    def convert(self, input_dict: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        model, full_name = kwargs["model"], kwargs["full_layer_name"]
        (weight,) = input_dict.values()
        weight = weight[0] if isinstance(weight, list) else weight
        name = full_name.removesuffix(".weight")
        layer = _WAYS[self.quantization].layer(weight, model.get_submodule(name).bias)
        layer._is_hf_initialized = True  # type: ignore[assignment]
        _replace(model, name, layer)
        kwargs["missing_keys"].discard(full_name)
        return {}


AUTO_QUANTIZER_MAPPING.setdefault(_METHOD, _Quantizer)
