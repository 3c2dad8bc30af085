"""Ctrl-C in a call of ours: it waits for the end of a batch, loses nothing, and ends a cell in one line.

Interrupts come in bursts (a key held down, a second click). The first one counts, and those close behind it are the
same one, up to the end of the cell: a second would break into IPython while that shows what happened, and nothing would
be seen.
"""

from __future__ import annotations

import functools
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from guard_magic.errors import ScoringInterrupted

__all__ = ["Interrupts", "current_shell", "interruptible", "interrupts_held", "interrupts_shown"]

_BURST = 0.5
"""Seconds within which interrupts are one: more than a burst of clicks takes, less than a decision to press again."""
_QUIET = 2.0
"""Seconds for which none is let through after an interrupted call: more than IPython takes to show it."""

P = ParamSpec("P")
R = TypeVar("R")


class Interrupts:
    """How far a call has come, and what SIGINT does to it: this is the handler while it runs.

    Attributes
    ----------
    n_done, n_rows
        Rows finished, of how many; None as long as they are not counted.
    is_held
        Whether an interrupt waits for the next `check`. Else it is raised where it comes.
    """

    def __init__(self, previous: Callable[[int, FrameType | None], Any] | None = None) -> None:
        self.n_done = 0
        self.n_rows: int | None = None
        self.is_held = False
        self._previous = previous
        self._came = False
        self._is_over = False
        self._quiet_until = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT."""
        now = time.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _BURST
        if self._is_over and self._previous is not None:
            self._previous(number, frame)
            return
        is_first, self._came = not self._came, True
        if not (self.is_held and is_first):
            raise self.exception()

    def check(self) -> None:
        """Raise if an interrupt came; to be called between batches."""
        if self._came:
            self._quiet_until = time.monotonic() + _BURST
            raise self.exception()

    def finish(self, n_rows: int) -> None:
        """Count rows whose results are kept, then `check`."""
        self.n_done += n_rows
        self.check()

    def exception(self) -> KeyboardInterrupt:
        """Return what is raised: in IPython one that is shown in one line."""
        in_cell = current_shell() is not None
        again = "run the cell again" if in_cell else "call again"
        if self.n_done and self.n_rows is not None:
            message = f"{self.n_done:,} of {self.n_rows:,} rows are kept: {again} to go on"
        else:
            message = f"nothing is kept yet: {again}"
        if in_cell:
            return ScoringInterrupted(message, self.n_done, self.n_rows)
        return KeyboardInterrupt(message)

    def begin(self) -> None:
        """Become the handler of SIGINT; a shell that is no kernel takes it back when its cell has ended."""
        shell = current_shell()
        if shell is not None and not _is_kernel(shell):

            def at_end() -> None:
                shell.events.unregister("post_execute", at_end)
                self.restore()

            shell.events.register("post_execute", at_end)
        signal.signal(signal.SIGINT, self)

    def end(self, is_interrupted: bool) -> None:
        """Let the interrupts that come now go to whoever had them before, bursts as one; give SIGINT back.

        Where there is a cell, that is when it has ended. What IPython does now, where it was interrupted, is to show
        that, and nothing may break into it.
        """
        if is_interrupted:
            self._quiet_until = time.monotonic() + _QUIET
        self._is_over = True
        if current_shell() is None:
            self.restore()

    def restore(self) -> None:
        """Give the handler back, where it is still this one; a kernel sets its own at the end of each cell."""
        is_ours = signal.getsignal(signal.SIGINT) is self
        if is_ours:
            signal.signal(signal.SIGINT, self._previous)

    @classmethod
    def running(cls) -> Interrupts | None:
        """Return the handler of the call within which this one is made, if any."""
        handler = signal.getsignal(signal.SIGINT)
        return handler if isinstance(handler, cls) and not handler._is_over else None

    @classmethod
    def after(cls) -> Interrupts | None:
        """Return a handler that gives SIGINT back to whoever had it, or None where nobody listens."""
        handler: Any = signal.getsignal(signal.SIGINT)
        previous = handler._previous if isinstance(handler, cls) else handler
        return cls(previous) if callable(previous) else None


@contextmanager
def interrupts_shown() -> Iterator[Interrupts]:
    """Make every interrupt within the block one `ScoringInterrupted` (outside IPython: one `KeyboardInterrupt`).

    Yields what counts rows. Outside the main thread nothing is changed, as signals do not arrive there.
    """
    is_main = threading.current_thread() is threading.main_thread()
    running = Interrupts.running() if is_main else None
    call = Interrupts.after() if is_main and running is None else None
    if call is None:
        yield running or Interrupts()
        return
    is_interrupted = False
    call.begin()
    try:
        yield call
        call.check()
    except KeyboardInterrupt as error:
        is_interrupted = True
        ours = call.exception()
        if error.args and isinstance(error, type(ours)):
            raise
        raise ours from None
    finally:
        call.end(is_interrupted)


@contextmanager
def interrupts_held(n_rows: int) -> Iterator[Interrupts]:
    """Hold SIGINT back within the block, in which `n_rows` rows are scored.

    Yields what is to be told of finished rows, and to be asked between batches whether to stop. A second Ctrl-C does
    not wait.
    """
    with interrupts_shown() as call:
        call.n_done, call.n_rows, call.is_held = 0, n_rows, True
        try:
            yield call
        finally:
            call.is_held = False
        call.check()


def interruptible(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function one that ends, when it is interrupted, as `interrupts_shown` says."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with interrupts_shown():
            return function(*args, **kwargs)

    return call


def current_shell() -> Any:
    """Return the IPython shell that runs this process's cells, or None; IPython is not imported for that."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def _is_kernel(shell: Any) -> bool:
    return getattr(shell, "kernel", None) is not None
