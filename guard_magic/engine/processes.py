"""A model does not survive a fork: torch's threads are not there in the child, and its locks may be held for ever."""

from __future__ import annotations

import os

import torch

from guard_magic.errors import ScoreError

__all__ = ["check_process", "note_threads"]

_threads_of: int | None = None
"""The process in which torch's threads, or a GPU, were first used for a guard; a child inherits the number."""


def note_threads(device: torch.device) -> None:
    """Remember that a model runs in this process, where a child could not go on with it."""
    global _threads_of
    if _threads_of is None and (device.type != "cpu" or torch.get_num_threads() > 1):
        _threads_of = os.getpid()


def check_process(home: int | None = None) -> None:
    """Refuse a process that was forked from one in which models ran: torch would wait there for ever.

    Parameters
    ----------
    home
        The process in which the model was loaded; None for one that is only being loaded.

    Raises
    ------
    ScoreError
        Before any lock of the parent's is waited for.
    """
    here = os.getpid()
    if home in (None, here) and _threads_of in (None, here):
        return
    raise ScoreError(
        f"this process ({here}) was forked from one that had a guard loaded ({home or _threads_of}): torch hangs in it",
        hint='Start processes with multiprocessing.get_context("spawn") and load the guard in each of them.',
    )
