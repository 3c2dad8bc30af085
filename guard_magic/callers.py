"""Warnings of ours, at the user's own line: what is behind it in our code or in a library helps nobody."""

from __future__ import annotations

import os
import sys
import sysconfig
import warnings
from pathlib import Path
from types import FrameType

from guard_magic.errors import GuardWarning

__all__ = ["caller_level", "warn_caller"]

_OURS = f"{Path(__file__).parent}{os.sep}"
_PATHS = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_LIBRARIES = (*(f"{path}{os.sep}" for path in _PATHS), "<frozen ")


def warn_caller(message: str, kind: type[GuardWarning] = GuardWarning) -> None:
    """Warn at the line of the user's that led here; every warning of this package is made by this function."""
    warnings.warn(message, kind, stacklevel=caller_level())


def caller_level() -> int:
    """Return the ``stacklevel``, for `warnings.warn` in the caller, of the nearest line that is the user's.

    That is a line of neither this package nor Python's library nor an installed package (pandas may call us back,
    IPython runs cells). Where there is none, as in a thread of a library's, the nearest line that is not ours.
    """
    level, nearest = 1, None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_OURS):
            if not name.startswith(_LIBRARIES):
                return level
            nearest = nearest or level
        is_counted = not ("importlib" in name and "_bootstrap" in name)  # `warnings` itself passes over these
        frame, level = frame.f_back, level + is_counted
    return nearest or 1
