"""Interrupts: one line, whatever comes; real signals in real kernels, shells and scripts."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from guard_magic.errors import ScoringInterrupted
from guard_magic.scoring import interrupts
from guard_magic.scoring.interrupts import interruptible, interrupts_held, interrupts_shown

LINE = r"^Interrupted\. (\d[\d,]*) of 3,000 rows are kept: run the cell again to go on$"

SETUP = """
import warnings, torch; warnings.simplefilter("ignore"); torch.set_num_threads(1)
import pandas as pd, guard_magic
from guard_magic.scoring.session import current_session
%load_ext guard_magic
guard = guard_magic.load("embedded")
guard.engine.budget = 64
def rows(name):
    return pd.DataFrame({"text": [f"row number {i} of table {name}, which takes a while" for i in range(3000)]})
def tell(*args):
    tell.n += 1
    if tell.n == 3:
        print("batch", flush=True)
guard.model.register_forward_hook(tell)
"""

Kernel = tuple[KernelManager, BlockingKernelClient]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    manager, client = start_new_kernel(kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=50"])
    assert finish(client, client.execute(SETUP))["status"] == "ok"
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def finish(client: BlockingKernelClient, asked: str, *, until: str | None = None) -> dict[str, Any]:
    """Return what the front end saw of a cell: its status, what was printed, its errors; or stop when `until` is."""
    seen: dict[str, Any] = {"printed": "", "errors": [], "results": 0, "status": None}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            seen["printed"] += content["text"]
        elif kind == "execute_result":
            seen["results"] += 1
        elif kind == "error":
            seen["errors"].append(content)
        if until is not None and until in seen["printed"]:
            return seen
        if kind == "status" and content["execution_state"] == "idle":
            seen["status"] = reply(client, asked)
            return seen
    raise AssertionError(f"the cell never ended: {seen}")


def reply(client: BlockingKernelClient, asked: str) -> str | None:
    """Return the status that the kernel answered with; None where it never did."""
    try:
        while True:
            message = client.get_shell_msg(timeout=5)
            if message["parent_header"].get("msg_id") == asked:
                return str(message["content"]["status"])
    except queue.Empty:
        return None


def interrupted(kernel: Kernel, code: str, pauses: list[float]) -> dict[str, Any]:
    """Run a cell, and interrupt it in its third batch and again after each pause."""
    manager, client = kernel
    asked = client.execute(f"tell.n = 0\n{code}")
    assert finish(client, asked, until="batch")["status"] is None
    for pause in pauses:
        manager.interrupt_kernel()
        time.sleep(pause)
    return finish(client, asked)


def shown(seen: dict[str, Any]) -> str:
    """Return the one line of ours that a cell ended with."""
    assert seen["status"] == "error", "so that Run all stops"
    assert len(seen["errors"]) == 1, seen
    error = seen["errors"][0]
    assert (error["ename"], len(error["traceback"])) == ("ScoringInterrupted", 1), error
    return str(error["traceback"][0])


@pytest.mark.parametrize(
    "code",
    [
        "rows('a').guard.score(progress=False)",
        "rows('b').guard.score()",
        "rows('c')['text'].guard.score()",
        "rows('d').guard.score_turns()",
        "guard_magic.score(rows('e'))",
        "rows('f').guard.review(labels='never_made.sqlite', annotator='ann')",
        "texts = list(rows('g')['text'])\n%moderate -i texts",
        "texts = list(rows('h')['text'])\n%time %moderate -i texts -o kept",
    ],
)
def test_an_interrupt_ends_in_one_line(kernel: Kernel, code: str) -> None:
    before = f"cache = current_session().cache; cache.clear()\n{code}"
    found = re.match(LINE, shown(interrupted(kernel, before, [0.0])))
    assert found
    client = kernel[1]
    seen = finish(client, client.execute("print(len(cache))"))
    assert int(seen["printed"]) == int(found[1].replace(",", "")) > 0, "what the line says is what is kept"


def test_the_cell_run_again_goes_on(kernel: Kernel) -> None:
    code = "n_hits = cache.n_hits; rows('again').guard.score(progress=False)"
    first, second = (
        int(re.match(LINE, shown(interrupted(kernel, f"{setup}{code}", [0.0])))[1]) for setup in ("cache.clear(); ", "")
    )
    seen = finish(kernel[1], kernel[1].execute("print(cache.n_hits - n_hits)"))
    assert second > int(seen["printed"]) == first > 0


def test_every_burst_of_interrupts_ends_in_our_line(kernel: Kernel) -> None:
    """Five within 150 ms, at random distances; before, most such cells showed neither a result nor an error."""
    rng = random.Random(7)
    for i in range(24):
        pauses = [rng.uniform(0, 0.0375) for _ in range(4)] + [0.0]
        code = f"rows('burst {i}').guard.score(progress={i % 2 == 0})" if i % 3 else f"%moderate -i t{i}"
        seen = interrupted(kernel, f"t{i} = list(rows('line {i}')['text'])\n{code}", pauses)
        assert re.match(LINE, shown(seen)), (i, seen)
        assert "KeyboardInterrupt" not in seen["printed"], (i, seen)
    client = kernel[1]
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert finish(client, client.execute(code))["printed"] == "True\n", "the next cell has the kernel's own handler"


def test_run_all_stops(kernel: Kernel) -> None:
    manager, client = kernel
    cells = ["tell.n = 0; rows('all').guard.score(progress=False)", "print('ran')", "print('ran, too')"]
    first, *later = [client.execute(cell) for cell in cells]
    finish(client, first, until="batch")
    manager.interrupt_kernel()
    assert [reply(client, asked) for asked in (first, *later)] == ["error", "aborted", "aborted"]


def test_code_of_the_user_s_is_interrupted_as_ever(kernel: Kernel) -> None:
    manager, client = kernel
    code = "rows('x').head(2).guard.score(progress=False)\nprint('mine', flush=True)\nwhile True: pass"
    asked = client.execute(code)
    finish(client, asked, until="mine")
    manager.interrupt_kernel()
    seen = finish(client, asked)
    assert [error["ename"] for error in seen["errors"]] == ["KeyboardInterrupt"]
    assert seen["status"] == "error"


# In a shell of this process


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    made.history_manager.enabled = False
    yield made
    InteractiveShell.clear_instance()


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@interruptible
def scoring(n_rows: int, n_done: int, presses: int = 1) -> str:
    """A call that is interrupted when `n_done` of its rows are done."""
    with interrupts_held(n_rows) as call:
        for row in range(n_rows):
            if row == n_done:
                for _ in range(presses):
                    press()
            call.finish(1)
    return "done"


def test_a_shell_shows_one_line(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    shell.user_ns.update(scoring=scoring, press=press)
    result = shell.run_cell("scoring(20_000, 97, presses=5)")
    assert isinstance(result.error_in_exec, ScoringInterrupted)
    assert (result.error_in_exec.n_done, result.error_in_exec.n_rows) == (98, 20_000)
    assert capsys.readouterr().out == "Interrupted. 98 of 20,000 rows are kept: run the cell again to go on\n"
    assert signal.getsignal(signal.SIGINT) is before, "given back when the cell has ended"
    assert shell.run_cell("scoring(3, -1)").result == "done"
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupts_while_the_line_is_shown_change_nothing(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = shell.showtraceback

    def pressed(*args: Any, **options: Any) -> None:
        press()
        show(*args, **options)
        press()

    monkeypatch.setattr(shell, "showtraceback", pressed)
    shell.user_ns.update(scoring=scoring)
    shell.run_cell("scoring(8, 5)")
    assert capsys.readouterr().out == "Interrupted. 6 of 8 rows are kept: run the cell again to go on\n"


def test_an_error_is_shown_whatever_is_pressed(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """IPython takes a while for a traceback, and an interrupt within leaves nothing of it."""
    show = shell.showtraceback

    def pressed(*args: Any, **options: Any) -> None:
        press()
        show(*args, **options)

    @interruptible
    def failing() -> None:
        with interrupts_held(9):
            press()
            raise RuntimeError("ours")

    monkeypatch.setattr(shell, "showtraceback", pressed)
    shell.user_ns.update(failing=failing)
    shell.run_cell("failing()")
    assert "RuntimeError" in capsys.readouterr().out


def test_before_rows_are_counted(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns.update(press=interruptible(press), scoring=scoring, held=interrupts_held)
    shell.run_cell("press()")
    shell.run_cell("scoring(0, -1)\nwith held(5) as call:\n    press()\n    call.check()")
    assert capsys.readouterr().out == "Interrupted. nothing is kept yet: run the cell again\n" * 2


# Outside IPython


def test_outside_ipython_it_is_a_plain_one() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"^98 of 20,000 rows are kept: call again to go on$") as caught:
        scoring(20_000, 97)
    assert type(caught.value) is KeyboardInterrupt
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt, match=r"^nothing is kept yet: call again$"), interrupts_shown():
        raise KeyboardInterrupt


def test_a_script_ends_as_scripts_do() -> None:
    code = """
    import os, signal
    from guard_magic.scoring.interrupts import interrupts_held
    with interrupts_held(7) as call:
        call.finish(3)
        os.kill(os.getpid(), signal.SIGINT)
        call.finish(1)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("\nKeyboardInterrupt: 4 of 7 rows are kept: call again to go on\n")
    assert done.returncode == -signal.SIGINT


def test_a_second_one_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_BURST", 0.0)
    reached = []

    def twice() -> None:
        with interrupts_held(5):
            press()
            reached.append("held")
            press()
            reached.append("waited")

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert reached == ["held"]


def test_one_that_was_swallowed_comes_up_at_the_next_batch() -> None:
    @interruptible
    def swallowing() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            press()
        with interrupts_held(5) as call:
            call.finish(2)

    with pytest.raises(KeyboardInterrupt, match="2 of 5 rows"):
        swallowing()


def test_one_that_was_swallowed_is_raised_at_the_end() -> None:
    @interruptible
    def swallowing() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            press()

    with pytest.raises(KeyboardInterrupt, match="nothing is kept yet"):
        swallowing()


def test_other_threads_hold_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[Any] = []

    def work() -> None:
        with interrupts_held(5) as call:
            call.finish(1)
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


def test_where_nobody_listens_nobody_does_within() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert scoring(5, 3) == "done"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(ScoringInterrupted("3 of 4", 3, 4)))
    assert (str(again), again.message, again.n_done, again.n_rows) == ("3 of 4", "3 of 4", 3, 4)
    assert isinstance(again, KeyboardInterrupt)
