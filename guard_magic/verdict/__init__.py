"""Readings and verdicts: what a guard answered, and what that means at a threshold.

A `Reading` is what one prompt gave, in logarithms and without a threshold: this is what is cached. A
`Verdict` judges a reading at a threshold. Both are frozen values; nothing here knows models or tables of
the user's, only how verdicts become columns.
"""

from guard_magic.verdict.columns import ANSWERS, COLUMNS, EXTRAS, SAFE, checked_extras, column_names
from guard_magic.verdict.judging import Verdict, bare_reason, judge, reason_of, unscored
from guard_magic.verdict.reading import Reading
from guard_magic.verdict.verdicts import Verdicts

__all__ = [
    "ANSWERS",
    "COLUMNS",
    "EXTRAS",
    "SAFE",
    "Reading",
    "Verdict",
    "Verdicts",
    "bare_reason",
    "checked_extras",
    "column_names",
    "judge",
    "reason_of",
    "unscored",
]

for _public in (Reading, Verdict, Verdicts):  # by this name they are pickled, and displays are registered for them
    _public.__module__ = __name__
