"""Float32 arithmetic over half-precision weights, for rows whose verdict must not hang on rounding.

Within `float32_arithmetic` a bfloat16 or float16 model computes in float32: embeddings are widened as they are looked
up, and each layer's weights for the length of its own product, so no second model is needed. Everything else follows
by type promotion. The result is that of the model with its weights widened, which `model.float()` would give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["float32_arithmetic"]

_HALF = (torch.bfloat16, torch.float16)
_LOOKUPS = (functional.embedding, torch.embedding)
_PRODUCTS = (functional.linear, torch.matmul, torch.bmm, torch.mm, torch.Tensor.matmul, torch.Tensor.__matmul__)


class float32_arithmetic(TorchFunctionMode):
    """Within the block, this thread's models of bfloat16 or float16 weights compute in float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Widen what is looked up, and the operands of products."""
        if func in _PRODUCTS:
            args = [_widened(arg) for arg in args]
            kwargs = {name: _widened(arg) for name, arg in (kwargs or {}).items()}
        out = func(*args, **(kwargs or {}))
        return _widened(out) if func in _LOOKUPS else out


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _HALF else value
