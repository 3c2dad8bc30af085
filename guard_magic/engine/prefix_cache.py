"""Keys and values of the prompt prefix that many rows share, computed once and never copied per row.

A `FrozenLayer` answers each attention layer with the prefix, expanded over the batch, ahead of the new keys
and values, and stores nothing. It cannot drive generation.

The prefix is computed with a plain ``DynamicCache()``: one made with ``config=`` keeps only window-1 tokens
of sliding layers, and freezing those is silently wrong.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from guard_magic.errors import ProtocolError

__all__ = ["FrozenLayer", "PrefixCache", "with_cache"]


def with_cache(module: Any, cache: Cache | None) -> dict[str, Cache | None]:
    """Return the keyword argument by which a model or a layer of one takes keys and values computed before.

    It is ``cache`` from transformers 5.24 on and ``past_key_values`` before; a model that was written for the
    other name would take it among its further keywords, and compute without it.
    """
    inner = getattr(module, "get_base_model", lambda: None)()
    for forward in (module.forward, type(module).forward, getattr(inner, "forward", None)):
        known = inspect.signature(forward).parameters if forward else ()  # a wrapper's own passes on what it is given
        for name in ("cache", "past_key_values"):
            if name in known:
                return {name: cache}
    return {"past_key_values": cache}


class FrozenLayer(DynamicLayer):
    """One layer's prefix: keys and values of shape (1, n_kv_heads, n_prefix, head_dim)."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prefix + new states, (n_rows, n_kv_heads, n_prefix + n_new, head_dim); keep nothing."""
        rows = key_states.shape[0]
        keys = torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2)
        values = torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2)
        return keys, values


class PrefixCache:
    """The last few prefixes of one model, by token ids.

    A prefix that begins a known one is a view of it; one that goes on from a known one is computed from there.
    `n_computed` counts the tokens that were computed.

    Parameters
    ----------
    model
        A transformers causal language model.
    capacity
        How many prefixes are kept; each costs n_prefix x the model's bytes a token.
    """

    def __init__(self, model: Any, capacity: int = 4) -> None:
        self.n_computed = 0
        self._model = model
        self._capacity = capacity
        self._frozen: OrderedDict[tuple[int, ...], Cache] = OrderedDict()

    def __len__(self) -> int:
        return len(self._frozen)

    def get(self, prefix: tuple[int, ...]) -> Cache | None:
        """Return the frozen cache of these token ids, computing it where it is new; None for no tokens."""
        if not prefix:
            return None
        found = self._frozen.get(prefix)
        if found is None:
            longer = next((known for known in self._frozen if known[: len(prefix)] == prefix), None)
            if longer is not None:  # a view of it: nothing to compute, nothing to keep
                self._frozen.move_to_end(longer)
                return _beginning(self._frozen[longer], len(prefix))
            found = self._frozen[prefix] = self._prefill(prefix)
        self._frozen.move_to_end(prefix)
        while len(self._frozen) > self._capacity:
            self._frozen.popitem(last=False)
        return found

    def clear(self) -> None:
        """Give the memory back."""
        self._frozen.clear()

    def _prefill(self, prefix: tuple[int, ...]) -> Cache:
        """Compute a prefix, going on from the longest known one that it begins with."""
        known = max((k for k in self._frozen if prefix[: len(k)] == k), key=len, default=())
        cache = DynamicCache()
        if known:
            self._frozen.move_to_end(known)
            for i, layer in enumerate(self._frozen[known].layers):
                if layer.is_initialized:
                    cache.update(layer.keys, layer.values, i)
        ids = torch.tensor([prefix[len(known) :]], device=self._model.device)
        self.n_computed += len(prefix) - len(known)
        self._model(input_ids=ids, **with_cache(self._model, cache), use_cache=True, logits_to_keep=1)
        n_kept = cache.get_seq_length()
        if n_kept != len(prefix):
            raise ProtocolError(
                f"{type(self._model).__name__} kept {n_kept} of the {len(prefix)} tokens that it was to keep",
                hint="Is its forward() one of transformers' own? It must take `cache` or `past_key_values`.",
            )
        return Cache(layers=[_frozen(layer.keys, layer.values) for layer in cache.layers])


def _frozen(keys: torch.Tensor | None, values: torch.Tensor | None) -> DynamicLayer:
    """Freeze one layer; one that was not used (cross-attention without an image) stays empty."""
    return DynamicLayer() if keys is None or values is None else FrozenLayer(keys, values)


def _beginning(cache: Cache, n_tokens: int) -> Cache:
    """Return the first tokens of a frozen cache, as views."""
    return Cache(
        layers=[
            _frozen(layer.keys[:, :, :n_tokens], layer.values[:, :, :n_tokens])
            if layer.is_initialized
            else DynamicLayer()
            for layer in cache.layers
        ]
    )
