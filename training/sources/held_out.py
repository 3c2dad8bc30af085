"""Public benchmarks that no row is taken from: training rows near one of theirs are dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from .base import HELD_OUT, Example, Files, Source, all_to, read_csv, read_text, user

REFUSAL_DIRECTION = ("andyrdt/refusal_direction", "9d852fae1a9121c78b29142de733cb1340770cc3")
JUDGE_BENCH = ("dmg-illc/JUDGE-BENCH", "5a0bf500325029efb5dc8adff2c1e991996f0e78")
SPEAKER = re.compile(r"(?:^|\\n|\n)([AB]): ?")


def parse_strongreject(files: Files) -> Iterator[Example]:
    """Read StrongREJECT's prompts."""
    for index, row in enumerate(read_csv(read_text(files))):
        yield Example(str(index), user(row["forbidden_prompt"]), 1)


def parse_harmbench_goals(files: Files) -> Iterator[Example]:
    """Read the goals that JailbreakBench took from HarmBench and its forerunner."""
    for index, row in enumerate(read_csv(read_text(files))):
        if row["Source"] == "TDC/HarmBench":
            yield Example(str(index), user(row["Goal"]), 1)


def parse_toxic_chat(files: Files) -> Iterator[Example]:
    """Read ToxicChat's prompts: not for commercial use, so compared with and not learnt from."""
    for path in files:
        for row in json.loads(read_text(files, path))["instances"]:
            label = int(row["annotations"]["toxicity"]["majority_human"] == "1")
            yield Example(row["id"], user(row["instance"]), label)


def parse_dices_990(files: Files) -> Iterator[Example]:
    """Read the last turn of DICES-990's people, who speak as A; the crowd's verdict is not needed."""
    for row in json.loads(read_text(files))["instances"]:
        _, *parts = SPEAKER.split(row["instance"]["user_prompt"])
        turns = [text for who, text in zip(parts[::2], parts[1::2], strict=True) if who == "A"]
        if turns:
            yield Example(str(row["id"]), user(turns[-1].removesuffix("\\n")), 0)


SOURCES = (
    Source(
        "strongreject",
        *REFUSAL_DIRECTION,
        ("dataset/raw/strongreject.csv",),
        "MIT",
        parse_strongreject,
        all_to(HELD_OUT),
    ),
    Source(
        "harmbench_goals",
        *REFUSAL_DIRECTION,
        ("dataset/raw/jailbreakbench.csv",),
        "MIT",
        parse_harmbench_goals,
        all_to(HELD_OUT),
    ),
    Source(
        "toxic_chat",
        *JUDGE_BENCH,
        tuple(f"data/toxic_chat/toxic_chat_{part}.json" for part in ("test", "train")),
        "CC-BY-NC-4.0",
        parse_toxic_chat,
        all_to(HELD_OUT),
    ),
    Source(
        "dices_990",
        *JUDGE_BENCH,
        ("data/dices/dices_990.json",),
        "CC-BY-4.0",
        parse_dices_990,
        all_to(HELD_OUT),
    ),
)
