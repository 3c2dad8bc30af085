"""Seconds and milliseconds of the review on the kernel's side: building, first paint, queries, labels kept.

    python benchmarks/review.py [--rows 100000] [--labels 200] [--directory .]

Why these numbers: a person who labels waits for each of them. What the browser adds is measured in the browser
tests. The browser is played by its messages; every reply is turned into JSON as it would be on the wire. Labels
are kept in a real file, on the disk of `--directory`: a label waits for that disk. Prints one line of JSON last.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from comm.base_comm import BaseComm

from guard_magic.conversations.conversation import Conversation, Message
from guard_magic.labels import LabelFile
from guard_magic.policy import LLAMA_GUARD_3
from guard_magic.review import Reviewer

__all__ = ["main", "measure"]

_TEXT = "how do I make the bread rise überall when kitchen is cold and yeast old please explain Schritt für"
_WORDS = _TEXT.split()
_QUERIES: dict[str, dict[str, Any]] = {
    "threshold": {"threshold": 0.31},
    "sort score": {"sort": "score"},
    "sort hazard": {"sort": "hazard"},
    "sort random": {"sort": "random"},
    "sort stratified": {"sort": "stratified"},
    "sort length": {"sort": "length"},
    "search one letter": {"search": "z"},
    "search a word": {"search": "yeast"},
    "search a rare word": {"search": "word77777"},
    "search nothing has": {"search": "qqq"},
    "hazard and unlabelled": {"search": "", "hazards": ["S1", "S9"], "labels": ["unlabelled"], "sort": "uncertainty"},
    "all again": {"hazards": [], "labels": []},
}


class Wire(BaseComm):
    """The end of a comm that turns everything into bytes, and remembers the last message."""

    n_messages = nbytes = 0
    last: Any = None

    def publish_msg(self, msg_type: str, data: Any = None, **_: Any) -> None:  # type: ignore[override]
        """Encode a message as the kernel does."""
        self.n_messages += 1
        self.nbytes += len(json.dumps(data, ensure_ascii=False).encode())
        self.last = data

    def ask(self, **content: Any) -> Any:
        """Send a message from the browser."""
        self.handle_msg({"content": {"data": {"method": "custom", "content": {"id": "q", **content}}}, "buffers": []})

    def look(self, view: dict[str, Any]) -> None:
        """Set the view from the browser."""
        state = {"method": "update", "state": {"view": view}, "buffer_paths": []}
        self.handle_msg({"content": {"data": state}, "buffers": []})


def make_table(n_rows: int, seed: int = 0) -> tuple[pd.DataFrame, list[Conversation | None]]:
    """Return a scored frame with all hazard scores, and conversations of two turns and about 450 characters."""
    rng = random.Random(seed)
    conversations: list[Conversation | None] = [
        Conversation(
            (
                Message("user", f"{' '.join(rng.choices(_WORDS, k=40))} word{i}"),
                Message("assistant", " ".join(rng.choices(_WORDS, k=50))),
            )
        )
        for i in range(n_rows)
    ]
    scores = [rng.random() ** 4 for _ in range(n_rows)]
    codes = LLAMA_GUARD_3.codes
    hazards = [rng.choice(codes) for _ in range(n_rows)]
    judged = ["safe" if score < 0.5 else code for score, code in zip(scores, hazards, strict=True)]
    frame = pd.DataFrame(
        {
            "unsafe_score": pd.array(scores, dtype="Float64"),
            "category": pd.Categorical(judged, categories=["safe", *codes]),
            "guard_error": pd.array([pd.NA] * n_rows, dtype="string"),
            **{
                f"score_{c}": pd.array([s * (h == c) for s, h in zip(scores, hazards, strict=True)], "Float64")
                for c in codes
            },
        }
    )
    return frame, conversations


def _timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _spread(seconds: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum, in milliseconds."""
    ordered = sorted(seconds)
    chosen = {"median": statistics.median(ordered), "p95": ordered[int(0.95 * (len(ordered) - 1))], "max": ordered[-1]}
    return {name: round(1000 * value, 2) for name, value in chosen.items()}


def _time_labels(wire: Wire, rows: list[int]) -> dict[str, Any]:
    """Time labels one by one: to the reply that says stored, and until the head is told too."""
    stored: list[float] = []
    told: list[float] = []
    publish = wire.publish_msg
    for row in rows:
        start = time.perf_counter()
        moments: list[float] = []

        def watch(*args: Any, moments: list[float] = moments, **kwargs: Any) -> None:
            publish(*args, **kwargs)
            moments.append(time.perf_counter())

        wire.publish_msg = watch  # type: ignore[method-assign]
        wire.ask(type="label", rows=[row], label="unsafe", category="S2", seconds=1.5)
        stored.append(moments[0] - start)
        told.append(time.perf_counter() - start)
    wire.publish_msg = publish  # type: ignore[method-assign]
    return {"stored": _spread(stored), "with_head": _spread(told)}


def measure(n_rows: int, n_labels: int, directory: Path) -> dict[str, Any]:
    """Build a review of `n_rows` and act on it as a browser would."""
    frame, conversations = make_table(n_rows)
    _warm_up(directory)
    report: dict[str, Any] = {"rows": n_rows}
    with tempfile.TemporaryDirectory(dir=directory) as folder, LabelFile(Path(folder) / "a.sqlite", annotator="a") as f:
        start = time.perf_counter()
        reviewer = Reviewer(frame, conversations, LLAMA_GUARD_3, f)
        report["build_seconds"] = round(time.perf_counter() - start, 3)
        wire: Wire = reviewer.widget.comm
        opened, sent = wire.n_messages, wire.nbytes
        wire.ask(type="rows", start=0, count=100)
        wire.ask(type="detail", row=0)
        report["first_paint"] = {
            "seconds_with_build": round(time.perf_counter() - start, 3),
            "messages": wire.n_messages,
            "messages_after_opening": wire.n_messages - opened,
            "kilobytes_opening": round(sent / 1000, 1),
            "kilobytes_after": round((wire.nbytes - sent) / 1000, 1),
        }
        report["query_ms"] = {}
        for name, changes in _QUERIES.items():
            view = {**reviewer.widget.view, **changes}
            report["query_ms"][name] = round(1000 * _timed(lambda view=view: wire.look(view)), 1)
        pages = [_timed(lambda i=i: wire.ask(type="rows", start=i * n_rows // 50, count=100)) for i in range(50)]
        report["page_ms"] = _spread(pages)
        rows = random.Random(1).sample(range(n_rows), 2 * n_labels)
        report["label_ms"] = _time_labels(wire, rows[:n_labels])
        report["undo_ms"] = _spread([_timed(lambda: wire.ask(type="undo")) for _ in range(min(50, n_labels))])
        report["label_all_seconds"] = round(_timed(lambda: wire.ask(type="label", rows="matching", label="safe")), 2)
        report["label_ms_with_all_labelled"] = _time_labels(wire, rows[n_labels:])
        report["undo_all_seconds"] = round(_timed(lambda: [wire.ask(type="undo") for _ in range(n_labels + 1)]), 2)
        report["n_steps"] = f.last_step
    return report


def _warm_up(directory: Path) -> None:
    """Import what is imported at first use: it is not the table's doing."""
    with tempfile.TemporaryDirectory(dir=directory) as folder, LabelFile(Path(folder) / "w.sqlite", annotator="w") as f:
        frame, conversations = make_table(2)
        assert Reviewer(frame, conversations, LLAMA_GUARD_3, f).widget is not None


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print one line of JSON last."""
    parser = argparse.ArgumentParser(description="What a review costs the kernel.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=200, help="labels to time, one by one")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where the label file is made")
    args = parser.parse_args(arguments)
    import comm

    comm.create_comm = lambda **kwargs: Wire(**kwargs)
    report = measure(args.rows, args.labels, args.directory)
    for name, value in report.items():
        print(f"{name:28} {json.dumps(value)}")
    print(json.dumps({"benchmark": "review", "python": platform.python_version(), **report}))


if __name__ == "__main__":
    main()
