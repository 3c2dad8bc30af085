"""What was made of a model as it is, until it changes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from guard_magic.engine.compiled import CompiledLayers
from guard_magic.engine.model_state import ModelState
from guard_magic.engine.own_copy import own_copy
from guard_magic.engine.prefix_cache import PrefixCache

__all__ = ["Snapshot"]

_NUMBERS = itertools.count(1)


@dataclass(slots=True)
class Snapshot:
    """What was made of a model as it is, until it changes.

    Attributes
    ----------
    state
        What the model was like.
    own
        The copy that is run; it shares the model's tensors.
    prefixes
        Keys and values of prompt prefixes.
    compiled
        Compiled layers; None where none are wanted.
    packs
        Whether rows are packed; None where that was not tried yet.
    change
        Empty for the model as it was when the engine was made; else a name that no other state of any model has.
    """

    state: ModelState
    own: Any
    prefixes: PrefixCache
    compiled: CompiledLayers | None
    packs: bool | None = None
    change: str = ""

    @classmethod
    def of(cls, model: Any, *, compiles: bool, change: str = "") -> Snapshot:
        """Make one; `ModelState` says what is refused."""
        state, own = ModelState(model), own_copy(model)
        return cls(state, own, PrefixCache(own), CompiledLayers(own) if compiles else None, None, change)

    @classmethod
    def after_change(cls, model: Any, *, compiles: bool) -> Snapshot:
        """Make one of a model that is not what it was: keys of its rows equal those of no state before."""
        return cls.of(model, compiles=compiles, change=f"~{next(_NUMBERS)}")
