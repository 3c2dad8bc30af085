"""One documented signature each of what guard_magic does; every other surface carries these.

A function here says what is passed and hands all of it on: an option is added to its signature, to the options
(`guard_magic.tables.score`, `guard_magic.review.frames`) and where it is used, and nowhere else.
"""

from guard_magic.api.calibrating import calibrate
from guard_magic.api.evaluating import agreement, compare, evaluate
from guard_magic.api.guards import load, set_policy, set_threshold, status, unload, use, wrap
from guard_magic.api.labelling import labels, review
from guard_magic.api.scoring import moderate, score, score_turns

__all__ = [
    "agreement",
    "calibrate",
    "compare",
    "evaluate",
    "labels",
    "load",
    "moderate",
    "review",
    "score",
    "score_turns",
    "set_policy",
    "set_threshold",
    "status",
    "unload",
    "use",
    "wrap",
]
