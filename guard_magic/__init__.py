"""Guard models as classifiers in a notebook.

Importing registers ``df.guard`` and ``series.guard`` and loads neither torch nor a model.
``%load_ext guard_magic`` adds the magics ``%%moderate``, ``%moderate`` and ``%guard``.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from typing import TYPE_CHECKING, Any

import pandas as pd

from guard_magic import accessor as _frames
from guard_magic.calls import by_name
from guard_magic.conversations.conversation import Conversation, Message
from guard_magic.conversations.roles import Assess, RoleRules
from guard_magic.conversations.windows import Overflow
from guard_magic.errors import (
    ColumnError,
    ConversationError,
    EmbeddedGuardWarning,
    GuardError,
    GuardWarning,
    LabelError,
    LoadError,
    PolicyError,
    ProtocolError,
    ScoreError,
    UnknownGuardError,
)
from guard_magic.exports import export_labels
from guard_magic.labels import adjudication, read_labels
from guard_magic.policy import LLAMA_GUARD_3, Category, Policy
from guard_magic.scoring.interrupts import interruptible
from guard_magic.scoring.session import current_session
from guard_magic.tables.column_plan import MissingResponse
from guard_magic.tables.score import Errors, score_frame, score_frame_turns
from guard_magic.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = [
    "LLAMA_GUARD_3",
    "Category",
    "ColumnError",
    "Conversation",
    "ConversationError",
    "EmbeddedGuardWarning",
    "GuardError",
    "GuardWarning",
    "LabelError",
    "LoadError",
    "Message",
    "Policy",
    "PolicyError",
    "ProtocolError",
    "ScoreError",
    "UnknownGuardError",
    "Verdict",
    "Verdicts",
    "adjudication",
    "export_labels",
    "load",
    "load_ipython_extension",
    "moderate",
    "read_labels",
    "score",
    "score_turns",
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


@by_name
@interruptible
def moderate(
    conversation: object,
    *,
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    generate: bool = False,
    assess: Assess = "last",
    overflow: Overflow = "error",
) -> Verdict:
    """Score one conversation.

    Parameters
    ----------
    conversation
        A string (one user message, verbatim; one that holds a whole conversation is warned of), a list of messages, a
        mapping that holds one under ``messages``, or a `Conversation`. docs/files.md has the forms that are read.
    guard
        A guard, or the name of a resident one; None for the current one (else the embedded guard).
    threshold
        Score from which it is flagged, in [0, 1]; None for the session's (0.5 unless set).
    policy, exclude
        The hazards asked about, and codes to leave out; None for the session's, else the guard's own.
    generate
        Whether to add the text the guard writes (decoded where its verdict is not safe).
    assess
        Whose last message is assessed: ``"user"`` or ``"assistant"``, in the context of what was said before it;
        what comes after is left out. ``"last"``: the last message, whoever's it is.
    overflow
        What to do with a conversation that is too long for the guard. ``"error"``: nothing; it cannot be scored.
        ``"window"``: it is read in overlapping windows that end with the message assessed (or, where that is too
        long itself, with pieces of it), and the verdict is that of the window with the highest score.
        ``"truncate"``: the oldest turns are left out, then, where it is still too long, the end of the message.
        `Verdict.cut` says which part the verdict is about.

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
    request = session.request(
        guard=guard,
        threshold=threshold,
        policy=policy,
        exclude=exclude,
        generate=generate,
        assess=assess,
        overflow=overflow,
    )
    return session.moderate(conversation, request)


@by_name
def score(
    table: pd.DataFrame,
    *,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    conversation_id: str | None = None,
    role: str | None = None,
    content: str | None = None,
    order: str | None = None,
    parent: str | tuple[str, str] | None = None,
    missing_response: MissingResponse = "na",
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    extras: Iterable[str] | None = (),
    roles: RoleRules = "merge",
    assess: Assess = "last",
    overflow: Overflow = "error",
    recheck: float | None = None,
    errors: Errors = "coerce",
    prefix: str = "",
    overwrite: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Score the conversations of a table; the typed twin of ``df.guard.score()``.

    Parameters
    ----------
    table
        A DataFrame, one conversation a row, or one message a row; it is not changed.
    text, prompt, response, messages
        Names of the columns to read; all None to find them: ``messages``, ``conversations`` or ``conversation``, or
        ``prompt`` with an optional ``response``, or ``text``.
    conversation_id, role, content
        Names of the columns of a table with one message a row, all three together. Rows of one id are one
        conversation, wherever they stand, in row order or in that of `order`.
    order
        Name of the column (numbers, times, or text of either) by which the messages of each conversation are sorted.
    parent
        Name of the column with the id of the message that each one answers: every message that nobody answered ends a
        conversation of its own, which is what leads to it, and `conversation_id` may be left out. Where it is not
        clear which column holds the messages' own ids, a pair: ``("message_id", "parent_id")``.
    missing_response
        What happens where a row has no response. ``"na"``: it is not scored. ``"prompt"``: its prompt alone is
        assessed.
    guard, threshold, policy, exclude
        As for `moderate`.
    extras
        More columns: ``"log_odds"``, ``"category_scores"`` (``score_S1`` …), ``"answers"`` (``answer_refusal`` …:
        what else some guards answer in the same pass; no column for the others), ``"generated_text"``,
        ``"verdict_mass"``, ``"n_tokens"``, ``"n_neutralised"`` (pieces of the guard's own structural text found in
        the conversation), ``"assessed_role"``, ``"guard"``, ``"cut"``.
    roles
        ``"merge"`` fits roles to the guard's template and counts what it did; ``"strict"`` makes such rows
        errors.
    assess
        Whose last message is assessed: ``"last"``, ``"user"`` or ``"assistant"``; see `moderate`. A conversation
        without such a message is not scored.
    overflow
        What to do with conversations that are too long for the guard. ``"error"``: they are not scored.
        ``"window"``: each is read in overlapping windows that together cover it, all with the message assessed; a
        row reports the window with the highest score (its category, ``n_tokens`` and all else), and is not scored
        where one of its windows cannot be. ``"truncate"``: the oldest turns are left out. Both add the column
        ``guard_cut``, which says for each row that was cut which part its verdict is about; one warning counts them.
    recheck
        Rows whose `unsafe_score` is within this distance of the threshold are read again, each alone and in float32
        whatever the weights' format, and have that score: then no verdict depends on what else is in its batch, as
        long as the distance is larger than what a batch moves scores by (bfloat16: 0.05 is plenty for the guards
        measured so far). Each such row takes as long as many others do. None for no second look.
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
        (string) behind the table's own columns, then ``guard_cut`` (string) and the extras. NA in ``category``
        means not scored and nothing else (``scored[scored.category != "safe"]`` holds these rows too:
        ``scored.guard.flagged()`` and ``scored.guard.unscored()`` tell them apart). Of a table with one message a row:
        one row a conversation, in order of first sight, the ids as index (by `parent`, those of the last messages),
        with ``n_messages`` ahead of these columns and none of the table's own.

    Raises
    ------
    ColumnError
        Where the columns to read are not clear, or new columns would replace others.
    GuardError
        For a guard, policy, threshold or option that cannot be used.
    KeyboardInterrupt
        After the batch under way; what was scored is cached, and calling again goes on from there.
    """
    return score_frame(
        current_session(),
        _checked_frame(table, "score"),
        {
            "text": text,
            "prompt": prompt,
            "response": response,
            "messages": messages,
            "conversation_id": conversation_id,
            "role": role,
            "content": content,
            "order": order,
            "parent": parent,
            "missing_response": missing_response,
        },
        guard=guard,
        threshold=threshold,
        policy=policy,
        exclude=exclude,
        extras=extras,
        roles=roles,
        assess=assess,
        overflow=overflow,
        recheck=recheck,
        errors=errors,
        prefix=prefix,
        overwrite=overwrite,
        progress=progress,
    )


@by_name
def score_turns(
    table: pd.DataFrame,
    *,
    text: str | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    conversation_id: str | None = None,
    role: str | None = None,
    content: str | None = None,
    order: str | None = None,
    parent: str | tuple[str, str] | None = None,
    missing_response: MissingResponse = "na",
    guard: Guard | str | None = None,
    threshold: float | None = None,
    policy: object = None,
    exclude: Iterable[str] | None = (),
    extras: Iterable[str] | None = (),
    roles: RoleRules = "merge",
    overflow: Overflow = "error",
    recheck: float | None = None,
    errors: Errors = "coerce",
    prefix: str = "",
    overwrite: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Score every message of the conversations of a table; the typed twin of ``df.guard.score_turns()``.

    Each message is assessed in the context of what was said before it: its row is what `score` gives for the
    conversation that ends with it. What the rows of one conversation share is computed once.

    Parameters
    ----------
    table, text, prompt, response, messages, conversation_id, role, content, order, parent, missing_response
        The table and the columns to read, as for `score`.
    guard, threshold, policy, exclude, extras, roles, overflow, recheck, errors, prefix, progress
        As for `score`, for each message.
    overwrite
        As for `score`; only where the table has one message a row, as else none of its columns are in the result.

    Returns
    -------
    DataFrame
        A new frame, one row per message, in order, with an index of its own: ``conversation`` (Int64, the position
        of its table row, from 0), ``turn`` (Int64, from 0), ``role`` and ``content`` (string), then the columns
        that `score` adds. Messages that the guard does not assess (of the system, of tools) have NA and the reason
        in ``guard_error``. A conversation that cannot be read is one row without turn, role and content.

        Of a table with one message a row: the same rows, order and index, with the verdicts' columns behind the
        table's own. All rows of a conversation with an unreadable message are errors; by `parent` those of it and
        of what follows it.

    Raises
    ------
    ColumnError, GuardError, KeyboardInterrupt
        As for `score`.
    """
    return score_frame_turns(
        current_session(),
        _checked_frame(table, "score_turns"),
        {
            "text": text,
            "prompt": prompt,
            "response": response,
            "messages": messages,
            "conversation_id": conversation_id,
            "role": role,
            "content": content,
            "order": order,
            "parent": parent,
            "missing_response": missing_response,
        },
        guard=guard,
        threshold=threshold,
        policy=policy,
        exclude=exclude,
        extras=extras,
        roles=roles,
        overflow=overflow,
        recheck=recheck,
        errors=errors,
        prefix=prefix,
        overwrite=overwrite,
        progress=progress,
    )


def _checked_frame(table: object, function: str) -> pd.DataFrame:
    if not isinstance(table, pd.DataFrame):
        raise ColumnError(
            f"expected a DataFrame, got {type(table).__name__}", hint=f"For a Series: series.guard.{function}()."
        )
    return table


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
        them. None for whole weights. Not for GGUF files.
    compile
        Whether layers go through ``torch.compile``, for large tables: what stands between the matrix products is fused,
        after some seconds to a minute of compiling. It needs Triton on CUDA, a C++ compiler on the CPU.
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
        "compile": compile,
        "protocol": protocol,
        "min_verdict_mass": min_verdict_mass,
    }
    return current_session().load(source, name=name, **options)


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
    options = {"compile": compile, "protocol": protocol, "min_verdict_mass": min_verdict_mass}
    return current_session().wrap(model, tokenizer, name=name, **options)


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


def __dir__() -> list[str]:
    return [*__all__, "__all__", "__doc__", "__version__"]
