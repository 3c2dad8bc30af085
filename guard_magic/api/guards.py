"""Guards that are resident, and what the session asks of them."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import pandas as pd

from guard_magic.calls import by_name
from guard_magic.scoring.session import current_session

if TYPE_CHECKING:
    from guard_magic.evaluation.thresholds import Choice
    from guard_magic.guards.guard import Guard

__all__ = ["load", "set_policy", "set_threshold", "status", "unload", "use", "wrap"]


@by_name
def load(
    source: str | PathLike[str],
    *,
    name: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    quantization: str | None = None,
    compile: bool = False,
    protocol: str | None = None,
    min_verdict_mass: float = 0.9,
) -> Guard:
    """Load a guard, keep it resident and make it the current one.

    Parameters
    ----------
    source
        ``"embedded"``, a hub id (``"meta-llama/Llama-Guard-3-8B"``), a folder, or a ``.gguf`` file; text or a path.
        Of a folder with several GGUF files name the one that is meant.
    name
        Its name in this session, one word; by default the last part of `source`.
    device, dtype
        None for the best device there is, and float32 on the CPU, bfloat16 elsewhere.
    revision
        Branch, tag or commit of a hub repository.
    quantization
        ``"int8"`` or ``"int4"``: weights in so many bits, for memory; ``"fp8"``: FP8 products, for GPUs that multiply
        them (experimental: no GPU has measured it yet). None for whole weights. Not for GGUF files.
    compile
        Whether layers go through ``torch.compile``, for large tables: what stands between the matrix products is fused,
        after some seconds to a minute of compiling. It needs Triton on CUDA, a C++ compiler on the CPU.
        Experimental: no GPU has measured it yet.
    protocol
        None to recognise the guard family; ``"llama-guard-3"`` forces it.
    min_verdict_mass
        Rows where P(safe) + P(unsafe) is below this are not scored.

    Raises
    ------
    LoadError
        Where it cannot be found, opened, or held in memory.
    ProtocolError
        Where it is no guard that can be asked.
    """
    options = locals()
    return current_session().load(options.pop("source"), **options)


@by_name
def wrap(
    model: Any,
    tokenizer: Any,
    *,
    name: str,
    compile: bool = False,
    protocol: str | None = None,
    min_verdict_mass: float = 0.9,
) -> Guard:
    """Make a guard of a transformers model loaded elsewhere, and make it the current one.

    Parameters
    ----------
    model, tokenizer
        A causal language model in eval mode and its fast tokenizer; neither is changed.
    name
        Its name in this session, one word.
    compile, protocol, min_verdict_mass
        As for `load`.

    Raises
    ------
    LoadError
        For a name or option that cannot be used, or where memory ran out.
    ProtocolError
        Where model or tokenizer cannot be used, saying what to pass instead: a pipeline, a model without the head
        that writes text or with weights on no device, a processor ….
    """
    options = locals()
    return current_session().wrap(options.pop("model"), options.pop("tokenizer"), **options)


@by_name
def use(name: str) -> Guard:
    """Make a resident guard the current one; an unknown name is an `UnknownGuardError`."""
    return current_session().use(name)


@by_name
def unload(name: str | None = None) -> None:
    """Drop a guard (None: the current one) and give its memory back."""
    current_session().unload(name)


@by_name
def status() -> pd.DataFrame:
    """Return the resident guards, one a row, in the order they were loaded."""
    return pd.DataFrame(current_session().status())


@by_name
def set_threshold(threshold: float | Choice) -> None:
    """Set the session's threshold: the score from which a row is flagged.

    Parameters
    ----------
    threshold
        A number in [0, 1]; or a `Choice`, which is kept with guard, revision, family and policy: scores of any other
        are then refused until a number or another choice is set, or the call has a ``threshold=`` of its own.

    Raises
    ------
    ScoreError
        For what is not a number in [0, 1].
    EvaluationError
        For a choice that a session cannot use: one threshold a hazard, or scores whose guard is not known.
    """
    from guard_magic.evaluation.thresholds import Choice

    if isinstance(threshold, Choice):
        current_session().set_threshold(*threshold.for_session())
    else:
        current_session().set_threshold(threshold)


@by_name
def set_policy(policy: object) -> None:
    """Set the session's policy: a `Policy`, a built-in's name, ``{code: name}``, or None for each guard's own.

    Where the current guard cannot be asked about it, a `GuardWarning` says so at once; guards loaded later may take it.
    """
    current_session().set_policy(policy)
