"""Layers compiled by torch.compile, so that what stands between the matrix products is fused.

Unfused, transformers' norms, rotary embeddings, gates and residuals cost a GPU a quarter of the time of an 8B guard's
products and more than those of a 0.6B one's (benchmarks/LIMITS.md). One decoder layer is compiled, for any number of
tokens, and its code serves all layers but the last, which is narrowed anew for each batch. Compiling takes up to a
minute, once a session, and needs what torch.compile needs: Triton on CUDA, a C++ compiler on the CPU (where it was
measured to bring nothing: benchmarks/LOG.md).

A model is compiled for packed batches only: padded ones keep the model's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface

from guard_magic.engine.packed_attention import NAME, attend

__all__ = ["CompiledLayers"]


class CompiledLayers:
    """The decoder layers of a model, all but the last, compiled when they are first used.

    Parameters
    ----------
    model
        A transformers causal language model; outside `used` it runs as it is.
    """

    def __init__(self, model: Any) -> None:
        layers = list(getattr(model.get_decoder(), "layers", None) or [])[:-1]
        AttentionInterface.register(NAME, torch.compiler.disable(attend))  # type: ignore[no-untyped-call]
        self._compiled: list[tuple[torch.nn.Module, Callable[..., Any]]] = [
            (layer, torch.compile(layer._call_impl, dynamic=True)) for layer in layers
        ]

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within the block, the model's layers run compiled."""
        before = [layer._compiled_call_impl for layer, _ in self._compiled]
        try:
            for layer, compiled in self._compiled:
                layer._compiled_call_impl = compiled
            yield
        finally:
            for (layer, _), previous in zip(self._compiled, before, strict=True):
                layer._compiled_call_impl = previous
