"""Guard models as classifiers in a notebook.

Importing registers ``df.guard`` and ``series.guard`` and loads neither torch nor a model.
``%load_ext guard_magic`` adds the magics ``%%moderate``, ``%moderate`` and ``%guard``.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from guard_magic import accessor as _accessor
from guard_magic.api import (
    agreement,
    calibrate,
    compare,
    evaluate,
    load,
    moderate,
    score,
    score_turns,
    set_policy,
    set_threshold,
    status,
    unload,
    use,
    wrap,
)
from guard_magic.conversations.conversation import Conversation, Message
from guard_magic.errors import (
    ColumnError,
    ConversationError,
    EmbeddedGuardWarning,
    EvaluationError,
    GuardError,
    GuardWarning,
    LabelError,
    LoadError,
    PolicyError,
    ProtocolError,
    ScoreError,
    UnknownGuardError,
)
from guard_magic.evaluation.calibration import Calibration
from guard_magic.exports import export_labels
from guard_magic.labels import adjudication, read_labels
from guard_magic.policy import LLAMA_GUARD_3, Category, Policy
from guard_magic.verdict import Verdict, Verdicts

__all__ = [
    "LLAMA_GUARD_3",
    "Calibration",
    "Category",
    "ColumnError",
    "Conversation",
    "ConversationError",
    "EmbeddedGuardWarning",
    "EvaluationError",
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
    "agreement",
    "calibrate",
    "compare",
    "evaluate",
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

_accessor.register()


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
