"""The published snippet and the engine side by side, on a user's own weights.

    python -m guard_magic.guards.parity meta-llama/Llama-Guard-3-8B --out parity.json

Runs the published snippet as written (with its second begin-of-text token), the same with one, and the engine over the
package's samples; prints the scores side by side, times both ways, and writes a JSON file that can be shared: it holds
ids of samples and numbers, no text but what the guard wrote. In a notebook: `compare(guard_magic.load("..."))`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from guard_magic.conversations.conversation import Conversation, parse_conversation
from guard_magic.conversations.roles import adapt_roles
from guard_magic.errors import ConversationError, GuardError, ProtocolError
from guard_magic.guards.guard import Guard
from guard_magic.guards.loader import load_guard
from guard_magic.guards.published import ask_as_published
from guard_magic.verdict import Verdicts

__all__ = ["TUTORIAL_SCORE", "Parity", "compare", "main"]

TUTORIAL_SCORE = 4.006361268693581e-05
"""What the tutorial prints for its example on Llama-Guard-3-8B in bfloat16; the text there is ``safe``."""

_TUTORIAL = (
    ("user", "I forgot how to kill a process in Linux, can you help?"),
    (
        "assistant",
        "Sure! To kill a process in Linux, you can use the kill command followed by the process ID (PID) of the "
        "process you want to terminate.",
    ),
)


@dataclass(frozen=True)
class Parity:
    """The three ways side by side.

    Attributes
    ----------
    rows : DataFrame
        One row a conversation: ``id``; P(unsafe) as ``published`` (the snippet as written), ``once`` (with one
        begin-of-text token) and by the ``engine`` (NA where it gave none, with the reason in ``guard_error``);
        ``text`` by the snippet with one, and ``engine_text``; ``same_prompt``, false where the engine rewrote
        control tokens or forged turns in the text: there the two are meant to differ.
    summary : dict
        Guard, versions, device, largest differences, seconds, and the tutorial's example.
    """

    rows: pd.DataFrame
    summary: dict[str, Any]

    def to_json(self) -> str:
        """Return everything as one JSON object."""
        return json.dumps(
            {**self.summary, "rows": json.loads(self.rows.to_json(orient="records", double_precision=15))}
        )


def compare(guard: Guard, n: int = 24) -> Parity:
    """Run the published snippet and the engine over the same conversations.

    Parameters
    ----------
    guard
        A loaded guard, asked about its own policy.
    n
        How many of the package's samples to run, spread over all of them, besides the tutorial's example.

    Raises
    ------
    ProtocolError
        Where the guard is of another family: the published snippet does not fit it.
    ValueError
        For `n` below 0.
    """
    if guard.protocol not in ("llama-guard-3", "llama-guard-4"):
        raise ProtocolError(
            f"the published snippet asks Llama Guard 3, and {guard.name} is asked as {guard.family.title}",
            hint="Its scores can be compared by hand: guard.render(conversation) gives the exact prompt.",
        )
    names, conversations = _samples(n)
    written, once = (
        [ask_as_published(guard, conversation, bos=bos) for conversation in conversations]
        for bos in ("published", "once")
    )
    started = time.perf_counter()
    verdicts = guard.score(conversations)
    seconds = time.perf_counter() - started
    texts = guard.score(conversations, generate=True)
    rows = pd.DataFrame(
        {
            "id": names,
            "published": [row.unsafe_score for row in written],
            "once": [row.unsafe_score for row in once],
            "engine": pd.array([verdict.unsafe_score for verdict in verdicts], dtype="Float64"),
            "text": [row.text for row in once],
            "engine_text": pd.array([verdict.generated_text for verdict in texts], dtype="string"),
            "same_prompt": [list(row.ids) == _ids(guard, c) for row, c in zip(once, conversations, strict=True)],
            "guard_error": pd.array([str(v.error) if v.error else None for v in verdicts], dtype="string"),
        }
    )
    times = {name: sum(row.seconds for row in ran) for name, ran in (("published", written), ("once", once))}
    summary = {
        "guard": guard.label,
        "device": guard.device,
        "dtype": guard.dtype,
        **{name: version(name) for name in ("torch", "transformers")},
        "python": platform.python_version(),
        **_differences(rows, second_bos=any(a.ids != b.ids for a, b in zip(written, once, strict=True))),
        "seconds": {**times, "engine": seconds},
        "tutorial": _tutorial(rows, verdicts),
    }
    return Parity(rows, summary)


def _differences(rows: pd.DataFrame, *, second_bos: bool) -> dict[str, Any]:
    alike = rows[rows["same_prompt"]]
    equal = (alike["text"] == alike["engine_text"]).fillna(False)
    return {
        "n": len(rows),
        "n_scored": int(rows["engine"].notna().sum()),
        "n_same_prompt": len(alike),
        "second_bos": second_bos,
        "max_delta_engine_once": _largest(alike, "engine", "once"),
        "max_delta_published_once": _largest(rows, "published", "once"),
        "flips_engine_once": _flips(alike, "engine", "once"),
        "texts_equal": int(equal.sum()),
    }


def _ids(guard: Guard, conversation: Conversation) -> list[int] | None:
    try:
        return guard.tokens(conversation)
    except ConversationError:
        return None


def _samples(n: int) -> tuple[list[str], list[Conversation]]:
    if n < 0:
        raise ValueError(f"n must be 0 or more, not {n}")
    lines = files("guard_magic").joinpath("samples.jsonl").read_text(encoding="utf-8").splitlines()
    samples = [json.loads(line) for line in lines]
    chosen = samples[:: max(1, len(samples) // n)][:n] if n else []
    names = ["tutorial", *(str(sample["id"]) for sample in chosen)]
    tutorial = [{"role": role, "content": content} for role, content in _TUTORIAL]
    parsed = [parse_conversation(value) for value in (tutorial, *(sample["messages"] for sample in chosen))]
    return names, [adapt_roles(conversation, "merge")[0] for conversation in parsed]


def _largest(rows: pd.DataFrame, one: str, other: str) -> float | None:
    gaps = (rows[one] - rows[other]).abs().dropna()
    return float(gaps.max()) if len(gaps) else None


def _flips(rows: pd.DataFrame, one: str, other: str) -> int:
    scored = rows[[one, other]].dropna()
    return int(((scored[one] >= 0.5) != (scored[other] >= 0.5)).sum())


def _tutorial(rows: pd.DataFrame, verdicts: Verdicts) -> dict[str, Any]:
    first = rows.iloc[0]
    return {
        "unsafe_score_in_the_tutorial": TUTORIAL_SCORE,
        "text_in_the_tutorial": "safe",
        "published": float(first["published"]),
        "once": float(first["once"]),
        "engine": verdicts[0].unsafe_score,
        "text": first["text"],
    }


def _print(parity: Parity) -> None:
    shown = parity.rows[["id", "published", "once", "engine", "text"]]
    print(shown.to_string(index=False, float_format=lambda x: f"{x:.3e}", max_colwidth=24))
    s, times = parity.summary, parity.summary["seconds"]
    second = "writes a second" if s["second_bos"] else "writes no second"
    lines = (
        f"{s['guard']} on {s['device']} in {s['dtype']}, torch {s['torch']}, transformers {s['transformers']}",
        f"engine and snippet read the same prompt in {s['n_same_prompt']} of {s['n']} rows; there, largest difference "
        f"{_number(s, 'engine_once')}, {s['flips_engine_once']} verdicts flip, {s['texts_equal']} texts equal",
        f"the snippet as written {second} begin-of-text token: largest difference {_number(s, 'published_once')}",
        f"snippet {times['published']:.2f} s, engine {times['engine']:.2f} s",
        f"the tutorial's example: {s['tutorial']['published']:.3e} here, {TUTORIAL_SCORE:.3e} there (Llama-Guard-3-8B)",
    )
    print("", *lines, sep="\n")


def _number(summary: dict[str, Any], name: str) -> str:
    value = summary[f"max_delta_{name}"]
    return "none" if value is None else f"{value:.1e}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare from the command line.

    Returns
    -------
    int
        0; 2 where the guard cannot be loaded or compared, with the reason on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m guard_magic.guards.parity", description="The published snippet and the engine side by side."
    )
    parser.add_argument("source", help="hub id, folder, .gguf file, or 'embedded'")
    parser.add_argument("-n", type=int, default=24, help="samples to run, besides the tutorial's example")
    parser.add_argument("--device", help="cuda, mps, cpu …; by default the best there is")
    parser.add_argument("--dtype", help="by default float32 on the CPU, bfloat16 elsewhere")
    parser.add_argument("--revision", help="branch, tag or commit of a hub repository")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args(arguments)
    try:
        guard = load_guard(args.source, name=args.source, device=args.device, dtype=args.dtype, revision=args.revision)
        parity = compare(guard, args.n)
    except GuardError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    _print(parity)
    if args.out:
        args.out.write_text(parity.to_json() + "\n", encoding="utf-8")
        print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
