"""Paths as people pass them, checked before anything is done with them."""

from __future__ import annotations

import os
from pathlib import Path

from guard_magic.errors import LabelError, shorten

__all__ = ["checked_path", "label_path"]


def checked_path(path: object, what: str) -> Path:
    """Return a path made absolute, ``~`` expanded.

    Raises
    ------
    LabelError
        For what is not a path: nothing, another type, text that no file name can hold, or the home of nobody.
    """
    hint = 'Pass a str or Path, such as "labels_ann.sqlite".'
    try:
        told = os.fspath(path)  # type: ignore[call-overload]
        if not isinstance(told, str) or not told.strip() or "\0" in told:
            raise LabelError(f"{shorten(path)} is not a path of {what}", hint=hint)
        os.fsencode(told)
        return Path(os.path.abspath(Path(told).expanduser()))
    except LabelError:
        raise
    except FileNotFoundError:
        raise LabelError(
            f"{shorten(path)} cannot be found: the working directory is gone", hint="Pass an absolute path."
        ) from None
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise LabelError(f"{shorten(path)} is not a path of {what} ({shorten(str(error))})", hint=hint) from None


def label_path(path: object) -> Path:
    """Return the path of a label file, made absolute; what is not one, or is a directory, is a `LabelError`."""
    place = checked_path(path, "a label file")
    if os.path.isdir(place):  # Path.is_dir raises where a name is too long
        raise LabelError(f"{place} is a directory", hint="Name a file in it.")
    return place
