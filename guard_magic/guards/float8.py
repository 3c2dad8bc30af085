"""FP8 products: weights and activations in 8-bit floating point, for GPUs whose tensor cores multiply them.

Numbers are float8_e4m3fn: one sign, four exponent and three mantissa bits, at most 448. A row of a weight has
one scale and so has each token, so what a token is rounded to does not depend on its neighbours. Steps are
wide, though, and the noise of the model's own format is enough to go over their edges: in bfloat16, where whole
weights give scores that differ by 0.01 between a row alone and in a batch, FP8 makes 0.07 of it.

On devices without such tensor cores the same rounded numbers are restored and multiplied the plain way: the same
scores, without the speed.

`torch._scaled_mm` is the product because it is there in every torch that is supported. Its public successor,
``torch.nn.functional.scaled_mm``, came with torch 2.10; a test holds them equal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

__all__ = [
    "FLOAT8",
    "Float8Linear",
    "float8_obstacle",
    "move_uncast",
    "plain_product",
    "tensor_core_product",
    "to_float8",
]

FLOAT8 = torch.float8_e4m3fn
_LARGEST = torch.finfo(FLOAT8).max


def to_float8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row to FP8 numbers, its largest to 448.

    A row that holds a NaN or an infinity comes out as NaN wherever it is multiplied: it must not look like a
    number. A row of zeros stays zero.

    Parameters
    ----------
    rows
        (n_rows, n_in), floating point.

    Returns
    -------
    codes, scales
        float8_e4m3fn of the same shape, and float32 (n_rows, 1): a row is about ``codes * scale``.
    """
    largest = torch.linalg.vector_norm(rows, torch.inf, dim=-1, keepdim=True)  # one pass over memory, unlike abs, amax
    factors = (_LARGEST / largest).clamp_(max=torch.finfo(rows.dtype).max)  # a row of zeros has an infinite one
    return (rows * factors).to(FLOAT8), factors.float().reciprocal_()


def plain_product(
    codes: torch.Tensor, scales: torch.Tensor, weights: torch.Tensor, weight_scales: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Restore both sides in `dtype` and multiply: the definition, for any device.

    The product is rounded to bfloat16, as tensor cores give it. Without that, float32's own noise, which does
    depend on a row's neighbours, would be enough to move numbers from one FP8 step to the next in the layers after.

    Parameters
    ----------
    codes, scales
        Of the activations, (n_rows, n_in) and (n_rows, 1).
    weights, weight_scales
        (n_out, n_in) and (n_out, 1).
    dtype
        What is computed in and returned, (n_rows, n_out).
    """
    product = nn.functional.linear(
        codes.to(dtype, copy=True).mul_(scales), weights.to(dtype, copy=True).mul_(weight_scales)
    )
    return product.bfloat16().to(dtype)


def tensor_core_product(
    codes: torch.Tensor, scales: torch.Tensor, weights: torch.Tensor, weight_scales: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Multiply without restoring anything; the parameters are those of `plain_product`.

    bfloat16 is the only output that every supported torch has for scales by the row. `n_in` and `n_out` must be
    multiples of 16. Sums are kept in the tensor cores' own accumulators (``use_fast_accum``), which is what
    others serve models with: its error is small beside that of three bits of mantissa.
    """
    product = torch._scaled_mm(
        codes,
        weights.t(),  # column-major, as the tensor cores want it
        scale_a=scales,
        scale_b=weight_scales.t(),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return product.to(dtype)


class Float8Linear(nn.Module):
    """A linear layer that rounds its weights once and its activations as they come to FP8.

    Parameters
    ----------
    weight
        The weights, (n_out, n_in), floating point, both multiples of 16, on the device where they stay.
    bias
        (n_out,), kept as it is; or None.
    """

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.is_fast = not float8_obstacle(weight.device)
        codes, scales = to_float8(weight.detach().float())
        self.register_buffer("codes", codes)  # (n_out, n_in)
        self.register_buffer("scales", scales)  # (n_out, 1)
        self.bias = bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (…, n_out) for states (…, n_in), in the number format of the states."""
        codes, scales = to_float8(states.reshape(-1, self.in_features))
        multiply = tensor_core_product if self.is_fast else plain_product
        product = multiply(codes, scales, self.codes, self.scales, states.dtype)
        if self.bias is not None:
            product = product.add_(self.bias)
        return product.view(*states.shape[:-1], self.out_features)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Float8Linear:
        """Move what is kept without casting it; another device may multiply in another way."""
        before = self.codes.device
        move_uncast(self, partial(super()._apply, fn, recurse))
        if self.codes.device != before:
            self.is_fast = not float8_obstacle(self.codes.device)
        return self

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, is_fast={self.is_fast}"


def move_uncast(layer: nn.Module, move: Callable[[], object]) -> None:
    """Move or cast a layer by `move`, whose buffers keep their number format: rounded again they mean nothing."""
    kept = dict(layer.named_buffers(recurse=False))
    move()
    for name, buffer in layer.named_buffers(recurse=False):
        if buffer.dtype != kept[name].dtype:
            setattr(layer, name, kept[name].to(buffer.device))


@functools.cache
def float8_obstacle(device: torch.device) -> str:
    """Return why `device` does not multiply FP8 numbers in hardware, in one line; empty where it does.

    It is tried, on small matrices of a few shapes, rather than looked up: what torch has kernels for changes with
    its version and CUDA's, and a kernel that is not made for the device at hand may run and return nonsense.
    """
    if device.type == "cpu":
        return "torch only imitates FP8 products on the CPU"
    try:
        return "" if all(_agrees(device, n_rows) for n_rows in (1, 48, 300, 5_000)) else "its FP8 products are wrong"
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError) as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]


def _agrees(device: torch.device, n_rows: int) -> bool:
    generator = torch.Generator().manual_seed(n_rows)
    rows = torch.randn(n_rows, 256, generator=generator).to(device)
    weight = torch.randn(512, 256, generator=generator).to(device)
    sides = (*to_float8(rows), *to_float8(weight))
    plain = plain_product(*sides, torch.float32)
    off = (tensor_core_product(*sides, torch.float32) - plain).abs().max()
    return bool(off <= 0.02 * plain.abs().max())
