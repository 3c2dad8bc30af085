"""The pandas accessors ``df.guard`` and ``series.guard``: signatures and docstrings, one call each.

They hold no state (pandas makes a new one at every access) and check nothing when made: raising there would
hide ``df.guard`` from completion.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from guard_magic.roles import Assess, RoleRules
from guard_magic.session import current_session
from guard_magic.table_scoring import Errors, score_frame, score_frame_turns, score_series, score_series_turns
from guard_magic.windows import Overflow

if TYPE_CHECKING:
    from guard_magic.engine.guard import Guard

__all__ = ["FrameGuard", "SeriesGuard", "register"]


class FrameGuard:
    """Score the conversations of a DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def score(
        self,
        *,
        text: str | None = None,
        prompt: str | None = None,
        response: str | None = None,
        messages: str | None = None,
        conversation_id: str | None = None,
        role: str | None = None,
        content: str | None = None,
        guard: Guard | str | None = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] = (),
        extras: Iterable[str] = (),
        roles: RoleRules = "merge",
        assess: Assess = "last",
        overflow: Overflow = "error",
        errors: Errors = "coerce",
        prefix: str = "",
        overwrite: bool = False,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return a new frame with ``unsafe_score``, ``category`` and ``guard_error``.

        See `guard_magic.score` for parameters, columns and errors.
        """
        return score_frame(
            current_session(),
            self._frame,
            {
                "text": text,
                "prompt": prompt,
                "response": response,
                "messages": messages,
                "conversation_id": conversation_id,
                "role": role,
                "content": content,
            },
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            extras=extras,
            roles=roles,
            assess=assess,
            overflow=overflow,
            errors=errors,
            prefix=prefix,
            overwrite=overwrite,
            progress=progress,
        )

    def score_turns(
        self,
        *,
        text: str | None = None,
        prompt: str | None = None,
        response: str | None = None,
        messages: str | None = None,
        conversation_id: str | None = None,
        role: str | None = None,
        content: str | None = None,
        guard: Guard | str | None = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] = (),
        extras: Iterable[str] = (),
        roles: RoleRules = "merge",
        overflow: Overflow = "error",
        errors: Errors = "coerce",
        prefix: str = "",
        overwrite: bool = False,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return one row per message, each assessed in the context of what was said before it.

        See `guard_magic.score_turns` for parameters, columns and errors.
        """
        return score_frame_turns(
            current_session(),
            self._frame,
            {
                "text": text,
                "prompt": prompt,
                "response": response,
                "messages": messages,
                "conversation_id": conversation_id,
                "role": role,
                "content": content,
            },
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            extras=extras,
            roles=roles,
            overflow=overflow,
            errors=errors,
            prefix=prefix,
            overwrite=overwrite,
            progress=progress,
        )


class SeriesGuard:
    """Score the conversations of a Series."""

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    def score(
        self,
        *,
        guard: Guard | str | None = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] = (),
        extras: Iterable[str] = (),
        roles: RoleRules = "merge",
        assess: Assess = "last",
        overflow: Overflow = "error",
        errors: Errors = "coerce",
        prefix: str = "",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return the verdict columns of a Series of strings or of message lists, with its index.

        A string is one user message, verbatim; in a Series called ``messages`` or ``conversations`` it is the
        JSON of a message list. See `guard_magic.score` for the other parameters, columns and errors.
        """
        return score_series(
            current_session(),
            self._series,
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            extras=extras,
            roles=roles,
            assess=assess,
            overflow=overflow,
            errors=errors,
            prefix=prefix,
            progress=progress,
        )

    def score_turns(
        self,
        *,
        guard: Guard | str | None = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] = (),
        extras: Iterable[str] = (),
        roles: RoleRules = "merge",
        overflow: Overflow = "error",
        errors: Errors = "coerce",
        prefix: str = "",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return one row per message, each assessed in the context of what was said before it.

        The Series is read as for `score`. See `guard_magic.score_turns` for parameters, columns and errors.
        """
        return score_series_turns(
            current_session(),
            self._series,
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            extras=extras,
            roles=roles,
            overflow=overflow,
            errors=errors,
            prefix=prefix,
            progress=progress,
        )


def register() -> None:
    """Register the accessors; doing it again (a reload) replaces them silently."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "registration of accessor", UserWarning)
        pd.api.extensions.register_dataframe_accessor("guard")(FrameGuard)
        pd.api.extensions.register_series_accessor("guard")(SeriesGuard)
