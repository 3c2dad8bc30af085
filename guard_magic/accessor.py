"""The pandas accessors ``df.guard`` and ``series.guard``: the functions of `guard_magic.api`, attached.

They hold no state (pandas makes a new one at every access) and check nothing when made: raising there would
hide ``df.guard`` from completion.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import pandas as pd

from guard_magic import api
from guard_magic.api.scoring import with_calibration
from guard_magic.calls import by_name, carrying
from guard_magic.review.frames import LabelOptions, Paths, ReviewOptions
from guard_magic.scoring.session import current_session
from guard_magic.tables.attach import rows_with
from guard_magic.tables.score import (
    ColumnNames,
    ScoreOptions,
    SeriesOptions,
    SeriesTurnOptions,
    TurnOptions,
    score_series,
    score_series_turns,
)

if TYPE_CHECKING:
    from guard_magic.evaluation.agreeing import AgreementOptions
    from guard_magic.evaluation.agreement import Agreement
    from guard_magic.evaluation.calibrating import CalibrateOptions
    from guard_magic.evaluation.calibration import Calibration
    from guard_magic.evaluation.comparing import CompareOptions, Comparison
    from guard_magic.evaluation.evaluating import EvaluateOptions
    from guard_magic.evaluation.report import Report
    from guard_magic.guards.guard import Guard
    from guard_magic.review import Reviewer

__all__ = ["FrameGuard", "SeriesGuard", "register"]

_OF_FRAMES = (*ColumnNames.__annotations__, "overwrite")
"""The options that a Series has no use for."""


class FrameGuard:
    """Score, review and label the conversations of a DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @by_name
    @carrying(api.score)
    def score(self, **options: Unpack[ScoreOptions]) -> pd.DataFrame:  # noqa: D102 - it carries the other's
        return api.score(self._frame, **options)

    @by_name
    @carrying(api.score_turns)
    def score_turns(self, **options: Unpack[TurnOptions]) -> pd.DataFrame:  # noqa: D102
        return api.score_turns(self._frame, **options)

    @by_name
    def flagged(self, *, prefix: str = "") -> pd.DataFrame:
        """Return the rows of a scored frame that were flagged: with a hazard in ``category``.

        Rows that were not scored are none of them; ``scored[scored["category"] != "safe"]`` would hold them too.

        Parameters
        ----------
        prefix
            What `score` was told to put before its columns' names.

        Raises
        ------
        ColumnError
            Where the frame has no verdicts of that prefix.
        """
        return rows_with(self._frame, "flagged", prefix)

    @by_name
    def unscored(self, *, prefix: str = "") -> pd.DataFrame:
        """Return the rows of a scored frame that were not scored; ``guard_error`` says why.

        Parameters
        ----------
        prefix
            What `score` was told to put before its columns' names.

        Raises
        ------
        ColumnError
            Where the frame has no verdicts of that prefix.
        """
        return rows_with(self._frame, "unscored", prefix)

    @by_name
    @carrying(api.review)
    def review(self, **options: Unpack[ReviewOptions]) -> Reviewer:  # noqa: D102
        return api.review(self._frame, **options)

    @by_name
    @carrying(api.labels)
    def labels(self, files: Paths | Reviewer, **options: Unpack[LabelOptions]) -> pd.DataFrame:  # noqa: D102
        return api.labels(self._frame, files, **options)

    @by_name
    @carrying(api.calibrate)
    def calibrate(self, **options: Unpack[CalibrateOptions]) -> Calibration:  # noqa: D102
        return api.calibrate(self._frame, **options)

    @by_name
    @carrying(api.evaluate)
    def evaluate(self, **options: Unpack[EvaluateOptions]) -> Report:  # noqa: D102
        return api.evaluate(self._frame, **options)

    @by_name
    @carrying(api.compare)
    def compare(self, guards: Sequence[Guard | str], **options: Unpack[CompareOptions]) -> Comparison:  # noqa: D102
        return api.compare(self._frame, guards, **options)

    @by_name
    @carrying(api.agreement)
    def agreement(self, **options: Unpack[AgreementOptions]) -> Agreement:  # noqa: D102
        return api.agreement(self._frame, **options)


class SeriesGuard:
    """Score the conversations of a Series.

    A string is one user message, verbatim; in a Series called ``messages``, ``conversations`` or ``conversation`` it
    is the JSON of a message list.
    """

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    @by_name
    @carrying(api.score, without=_OF_FRAMES)
    def score(self, **options: Unpack[SeriesOptions]) -> pd.DataFrame:
        """Score the conversations of a Series of strings or of message lists.

        A string is one user message, verbatim; in a Series called ``messages``, ``conversations`` or
        ``conversation`` it is the JSON of a message list. The new columns come back alone, with the Series' index.
        """
        return score_series(current_session(), self._series, **with_calibration(options))

    @by_name
    @carrying(api.score_turns, without=_OF_FRAMES)
    def score_turns(self, **options: Unpack[SeriesTurnOptions]) -> pd.DataFrame:
        """Score every message of the conversations of a Series, read as for `score`.

        Each message is assessed in the context of what was said before it.
        """
        return score_series_turns(current_session(), self._series, **with_calibration(options))


def register() -> None:
    """Register the accessors; doing it again (a reload) replaces them silently."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "registration of accessor", UserWarning)
        pd.api.extensions.register_dataframe_accessor("guard")(FrameGuard)
        pd.api.extensions.register_series_accessor("guard")(SeriesGuard)
