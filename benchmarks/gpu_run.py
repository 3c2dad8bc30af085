"""A run of many parts that loses nothing: each is noted as it goes, may fail or take too long, and the rest goes on.

The report is written after every part. Where the CUDA context is lost, the script starts itself again and goes on
behind the part that lost it; where the device does not answer at all, the report is printed all the same.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ways import json_line

__all__ = ["Run", "TooLong", "alarm"]

_GRACE_S = 20.0
_BORROWED_S = 15.0
_MOST_RESTARTS = 3

Found = dict[str, Any]
Part = Callable[[Found], None]


class TooLong(BaseException):
    """Raised by the alarm; no `except Exception` may swallow it."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the block after `seconds`."""

    def ring(signum: int, frame: Any) -> None:
        raise TooLong(f"stopped after {seconds:.0f} s")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 5.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _told(error: BaseException) -> Found:
    """Return what an error says, and the innermost places that it came through."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    places = [f"{frame.name} {Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    return {"error": f"{type(error).__name__}: {error}"[:500], "where": places}


class Run:
    """What has been found so far, and how much time is left.

    Parameters
    ----------
    about
        What the report begins with.
    limit
        Wall-clock seconds of the whole run.
    on_cuda
        Whether a CUDA device is measured.
    out
        Where the report is written after every part; None for a temporary file.
    again
        The command that starts this run again.
    """

    def __init__(
        self, about: Found, limit: float, *, on_cuda: bool, out: Path | None = None, again: list[str] | None = None
    ) -> None:
        self.limit = limit
        self.on_cuda = on_cuda
        self.out = out or Path(tempfile.gettempdir()) / f"guard_magic_gpu_{os.getpid()}.json"
        self.again = again or []
        self.started = time.monotonic()
        self.report: Found = {**about, "shapes": {}, "seconds": {}, "peak_bytes": {}, "failed": [], "skipped": []}
        self.report["n_restarts"] = 0
        self._line = ""

    @property
    def seconds_left(self) -> float:
        """Wall-clock seconds until the run must stop."""
        return self.limit - (time.monotonic() - self.started)

    def resume(self, path: Path) -> None:
        """Go on with the report that a run before left."""
        self.report = json.loads(path.read_text(encoding="utf-8"))
        self.report["n_restarts"] += 1
        self.started -= self.report["wall_s"]

    def part(self, name: str, work: Part, seconds: float, *, until: float = 0.0, again: bool = False) -> bool:
        """Do one part and note what it finds, its seconds and its peak memory; says whether it went well.

        Parameters
        ----------
        name
            Where it stands in the report: keys, with slashes between.
        work
            Fills the dictionary that it is given, as it goes.
        seconds
            It is stopped after this long.
        until
            Seconds of the run that are others': it is left out where no more are left, and takes little of them.
        again
            Whether it is done though it was done before a restart.
        """
        if name in self.report["seconds"] and not again:
            return name not in self.report["failed"]
        if self.seconds_left <= until:
            self.report["skipped"].append(name)
            return False
        found = self._place(name)
        if self.on_cuda:
            torch.cuda.reset_peak_memory_stats()
        began = time.monotonic()
        try:
            with alarm(min(seconds, self.seconds_left - until + _BORROWED_S, self.seconds_left)):
                work(found)
        except (Exception, TooLong) as error:
            traceback.print_exc()
            self.report["failed"].append(name)
            found |= _told(error)
        self._note(name, time.monotonic() - began)
        if "error" in found:
            self._check_context()
        return "error" not in found

    def save(self) -> str:
        """Write the report; returns its line."""
        self.report["wall_s"] = round(time.monotonic() - self.started, 1)
        self._line = json_line(self.report)
        fresh = self.out.with_suffix(".tmp")
        fresh.write_text(self._line + "\n", encoding="utf-8")
        fresh.replace(self.out)
        return self._line

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block, a run that hangs in the driver ends a little after its limit, with its report printed."""

        def give_up() -> None:
            print(self._line, flush=True)
            os._exit(3)

        watch = threading.Timer(self.seconds_left + _GRACE_S, give_up)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _place(self, name: str) -> Found:
        """Return the dictionary at `name`, empty."""
        *path, last = name.split("/")
        inner = self.report
        for key in path:
            inner = inner.setdefault(key, {})
        found: Found = {}
        inner[last] = found
        return found

    def _note(self, name: str, took: float) -> None:
        self.report["seconds"][name] = round(took, 2)
        self.report["peak_bytes"][name] = torch.cuda.max_memory_allocated() if self.on_cuda else None
        self.save()
        print(f"[{time.monotonic() - self.started:5.0f} s] {name}: {took:.1f} s", flush=True)

    def _check_context(self) -> None:
        """Start again where a failed kernel has left CUDA unusable in this process."""
        gc.collect()
        if not self.on_cuda:
            return
        try:
            torch.cuda.empty_cache()
            torch.cuda.synchronize()
            torch.zeros(1, device="cuda").add_(1).item()
        except RuntimeError as error:
            print(f"CUDA is lost: {error}", flush=True)
            if self.again and self.report["n_restarts"] < _MOST_RESTARTS:
                self.save()
                os.execv(sys.executable, [sys.executable, *self.again, "--resume", str(self.out)])
