"""Weights in 8 or 4 bits: a guard in half or a third of its memory, on every device, with nothing to install.

Only weights are quantized. Each row of a linear layer is cut into groups; a group keeps its smallest value
and a step, each weight the number of steps above it. A forward pass restores one layer's weights at a time
and multiplies as usual. The engine reads whole batches of prompts, so that costs little beside the product.

Activations stay as they are, so a row's score still does not depend on its neighbours. The embeddings and
the output head stay as they are too: verdicts are read from the head in float32.

Packages were tried first. bitsandbytes 0.50 rounds activations in int8 and computes in bfloat16 on the CPU, so
rows depend on their neighbours; torchao 0.18 has no int4 for the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.utils.quantization_config import QuantizationConfigMixin

__all__ = ["BITS", "QuantizedLinear", "bits_per_weight", "quantization_config", "quantize_linears"]

BITS = {"int8": 8, "int4": 4}
"""Bits of a weight, by the name of the quantization."""

_GROUPS = {8: (128, 64, 32, 16), 4: (32, 16)}
"""Weights that share a step: the largest that divides the row."""

_METHOD = "guard_magic"


def group_size(n_in: int, bits: int) -> int | None:
    """Return how many weights of a row of `n_in` share a step; None where no group fits."""
    return next((size for size in _GROUPS[bits] if n_in % size == 0), None)


def bits_per_weight(n_in: int, bits: int) -> float | None:
    """Return the bits that a weight costs with its share of step and smallest value; None: not quantized."""
    size = group_size(n_in, bits)
    return None if size is None else bits + 32 / size


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
        size = group_size(self.in_features, bits) or self.in_features
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
        groups = codes.to(self.compute_dtype).view(self.out_features, self.steps.shape[1], -1)
        return groups.mul_(self.steps).add_(self.lows).flatten(1)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (…, n_out) for states (…, n_in)."""
        return nn.functional.linear(states, self.restored(), self.bias)

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}"


def quantize_linears(model: Any, quantization: str) -> Any:
    """Quantize the linear layers of a loaded model in place; returns it.

    Parameters
    ----------
    model
        A transformers model.
    quantization
        A name in `BITS`.
    """
    bits = BITS[quantization]
    for name, module in list(model.named_modules()):
        if _is_quantizable(model, module, bits):
            _replace(model, name, QuantizedLinear(module.weight, bits, module.bias))
    return model


def quantization_config(quantization: str) -> Any:
    """Return what makes ``from_pretrained`` quantize each weight as it comes off the disk.

    The full weights are never in memory at once.
    """
    return _Config(BITS[quantization])


def _is_quantizable(model: Any, module: nn.Module, bits: int) -> bool:
    if type(module) is not nn.Linear or module is model.get_output_embeddings():
        return False
    return module.weight is not model.get_input_embeddings().weight and group_size(module.in_features, bits) is not None


def _replace(model: Any, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


class _Config(QuantizationConfigMixin):  # type: ignore[misc]
    def __init__(self, bits: int) -> None:
        self.quant_method = _METHOD
        self.bits = bits


class _Quantizer(HfQuantizer):  # type: ignore[misc]
    """What transformers asks while it reads weights."""

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        name, _, kind = param_name.rpartition(".")
        return kind == "weight" and _is_quantizable(model, model.get_submodule(name), self.quantization_config.bits)

    def get_quantize_ops(self) -> Any:
        return _Quantize(self.quantization_config.bits)

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


class _Quantize(ConversionOps):  # type: ignore[misc]
    """One weight off the disk: its layer becomes a `QuantizedLinear`, so nothing is left to load for it."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def convert(self, input_dict: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        model, full_name = kwargs["model"], kwargs["full_layer_name"]
        (weight,) = input_dict.values()
        weight = weight[0] if isinstance(weight, list) else weight
        name = full_name.removesuffix(".weight")
        layer = QuantizedLinear(weight, self.bits, model.get_submodule(name).bias)
        layer._is_hf_initialized = True  # type: ignore[assignment]
        _replace(model, name, layer)
        kwargs["missing_keys"].discard(full_name)
        return {}


AUTO_QUANTIZER_MAPPING.setdefault(_METHOD, _Quantizer)
