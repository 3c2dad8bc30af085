"""Guard models as classifiers in a notebook.

Importing registers ``df.guard`` and ``series.guard`` and loads neither torch nor a model.
``%load_ext guard_magic`` adds the magics ``%%moderate``, ``%moderate`` and ``%guard``.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import pandas as pd

from guard_magic import frames as _frames
from guard_magic.conversation import Conversation, Message, RoleRules
from guard_magic.errors import (
    ColumnError,
    ConversationError,
    EmbeddedGuardWarning,
    GuardError,
    GuardWarning,
    LoadError,
    PolicyError,
    ProtocolError,
    ScoreError,
    UnknownGuardError,
)
from guard_magic.policy import LLAMA_GUARD_3, Category, Policy
from guard_magic.session import Errors, current_session
from guard_magic.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from guard_magic.engine.guard import Guard

__all__ = [
    "LLAMA_GUARD_3",
    "Category",
    "ColumnError",
    "Conversation",
    "ConversationError",
    "EmbeddedGuardWarning",
    "GuardError",
    "GuardWarning",
    "LoadError",
    "Message",
    "Policy",
    "PolicyError",
    "ProtocolError",
    "ScoreError",
    "UnknownGuardError",
    "Verdict",
    "Verdicts",
    "load",
    "load_ipython_extension",
    "moderate",
    "score",
    "set_policy",
    "set_threshold",
    "status",
    "unload",
    "unload_ipython_extension",
    "use",
    "wrap",
]

try:
    __version__ = version("guard-magic")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_frames.register()


def moderate(
    conversation: object,
    *,
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] = (),
    generate: bool = False,
) -> Verdict:
    """Score one conversation.

    Parameters
    ----------
    conversation
        A string (one user message, verbatim), a list of messages, or a `Conversation`.
    guard
        A guard, or the name of a resident one; None for the current one (else the embedded guard).
    threshold
        Score from which it is flagged, in [0, 1]; None for the session's (0.5 unless set).
    policy, exclude
        The hazards asked about, and codes to leave out; None for the session's, else the guard's own.
    generate
        Whether to add the text the guard writes (decoded where its verdict is not safe).

    Returns
    -------
    Verdict
        With `error` set and no score where the guard gave no readable answer.

    Raises
    ------
    ConversationError
        Where the conversation cannot be read or asked about.
    GuardError
        For a guard, policy or threshold that cannot be used.
    """
    session = current_session()
    request = session.request(guard=guard, threshold=threshold, policy=policy, exclude=exclude, generate=generate)
    return session.moderate(conversation, request)


def score(
    table: pd.DataFrame,
    *,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] = (),
    extras: Iterable[str] = (),
    roles: RoleRules = "merge",
    errors: Errors = "coerce",
    prefix: str = "",
    overwrite: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Score the conversations of a table; the typed twin of ``df.guard.score()``.

    Parameters
    ----------
    table
        A DataFrame, one conversation a row; it is not changed.
    text, prompt, response, messages
        Names of the columns to read; all None to find them: ``messages`` or ``conversations``, else
        ``prompt`` with an optional ``response``, else ``text``.
    guard, threshold, policy, exclude
        As for `moderate`.
    extras
        More columns: ``"log_odds"``, ``"category_scores"``, ``"generated_text"``, ``"verdict_mass"``,
        ``"n_tokens"``, ``"assessed_role"``, ``"guard"``.
    roles
        ``"merge"`` fits roles to the guard's template and counts what it did; ``"strict"`` makes such rows
        errors.
    errors
        ``"coerce"``: rows that cannot be scored are NA with their reason. ``"raise"``: raise `ScoreError`
        after the others are scored and cached.
    prefix
        Put before the new columns' names.
    overwrite
        Replace columns of these names that are not from an earlier call.
    progress
        Whether to show a progress bar.

    Returns
    -------
    DataFrame
        A new frame: same rows, order and index; ``unsafe_score`` (Float64, in [0, 1]), ``category``
        (categorical: ``safe`` below the threshold, else the most probable hazard code) and ``guard_error``
        (string) behind the table's own columns. NA in ``category`` means not scored and nothing else.

    Raises
    ------
    ColumnError
        Where the columns to read are not clear, or new columns would replace others.
    GuardError
        For a guard, policy or threshold that cannot be used.
    KeyboardInterrupt
        After the batch under way; what was scored is cached, and calling again goes on from there.
    """
    if not isinstance(table, pd.DataFrame):
        raise ColumnError(
            f"expected a DataFrame, got {type(table).__name__}", hint="For a Series: series.guard.score()."
        )
    return current_session().score_frame(
        table,
        text=text,
        prompt=prompt,
        response=response,
        messages=messages,
        guard=guard,
        threshold=threshold,
        policy=policy,
        exclude=exclude,
        extras=extras,
        roles=roles,
        errors=errors,
        prefix=prefix,
        overwrite=overwrite,
        progress=progress,
    )


def load(
    source: str,
    *,
    name: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    quantization: str | None = None,
    protocol: str | None = None,
    min_verdict_mass: float = 0.9,
) -> Guard:
    """Load a guard, keep it resident and make it the current one.

    Parameters
    ----------
    source
        ``"embedded"``, a hub id (``"meta-llama/Llama-Guard-3-8B"``), a folder, or a ``.gguf`` file.
    name
        Its name in this session; by default the last part of `source`.
    device, dtype
        None for the best device there is, and float32 on the CPU, bfloat16 elsewhere.
    revision
        Branch, tag or commit of a hub repository.
    quantization
        Not supported yet.
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
    options = {
        "device": device,
        "dtype": dtype,
        "revision": revision,
        "quantization": quantization,
        "protocol": protocol,
        "min_verdict_mass": min_verdict_mass,
    }
    return current_session().load(source, name=name, **options)


def wrap(model: Any, tokenizer: Any, *, name: str, protocol: str | None = None, min_verdict_mass: float = 0.9) -> Guard:
    """Make a guard of a transformers model loaded elsewhere, and make it the current one.

    Parameters
    ----------
    model, tokenizer
        A causal language model in eval mode and its fast tokenizer; neither is changed.
    name
        Its name in this session.
    protocol, min_verdict_mass
        As for `load`.
    """
    return current_session().wrap(model, tokenizer, name=name, protocol=protocol, min_verdict_mass=min_verdict_mass)


def use(name: str) -> Guard:
    """Make a resident guard the current one; an unknown name is an `UnknownGuardError`."""
    return current_session().use(name)


def unload(name: str | None = None) -> None:
    """Drop a guard (None: the current one) and give its memory back."""
    current_session().unload(name)


def status() -> pd.DataFrame:
    """Return the resident guards, one a row, in the order they were loaded."""
    return pd.DataFrame(current_session().status())


def set_threshold(threshold: float) -> None:
    """Set the session's threshold: the score in [0, 1] from which a row is flagged."""
    current_session().set_threshold(threshold)


def set_policy(policy: object) -> None:
    """Set the session's policy: a `Policy`, a built-in's name, ``{code: name}``, or None for each guard's own."""
    current_session().set_policy(policy)


def load_ipython_extension(shell: Any) -> None:
    """Register the magics; called by ``%load_ext guard_magic``."""
    from guard_magic.magics import register

    register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Remove everything that `load_ipython_extension` added; called by ``%unload_ext guard_magic``."""
    from guard_magic.magics import unregister

    unregister(shell)
