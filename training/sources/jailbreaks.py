"""Sources of models' answers to harmful requests, judged."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .base import HELD_OUT, TRAIN, Example, Files, Source, exchange, read_jsonl, read_text, stem

JBB_CODES = {"Fraud/Deception": "S2", "Malware/Hacking": "S2", "Privacy": "S7", "Expert advice": "S6"}
RBR_CODES = {"H-R": "S10", "SH-R1": "S11", "SH-R2": "S11"}


def parse_artifacts(files: Files) -> Iterator[Example]:
    """Read JailbreakBench's attack artifacts: attacked prompt, answer and the judge's verdict."""
    for path in files:
        attack = path.split("/")[1]
        for row in json.loads(read_text(files, path))["jailbreaks"]:
            if not row["prompt"] or not row["response"]:
                continue
            unsafe = bool(row["jailbroken"])
            code = JBB_CODES.get(row["category"]) if unsafe else None
            key = f"{attack}-{stem(path)}-{row['index']}"
            messages = exchange(row["prompt"], row["response"])
            yield Example(key, messages, int(unsafe), code, level="response", origin=row["goal"])


def parse_runs(files: Files) -> Iterator[Example]:
    """Read the refusal-direction runs: unsafe where both judges say so, unused where only the guard does."""
    for path in files:
        model, method = path.split("/")[2], path.rsplit("_", 2)[-2]
        for index, row in enumerate(json.loads(read_text(files, path))["completions"]):
            answered, flagged = row["is_jailbreak_substring_matching"], row["is_jailbreak_llamaguard2"]
            if flagged and not answered:
                continue
            code = JBB_CODES.get(row["category"]) if flagged else None
            messages = exchange(row["prompt"], row["response"])
            yield Example(f"{model}-{method}-{index}", messages, int(flagged), code, level="response")


def parse_rbr_prompts(files: Files) -> Iterator[Example]:
    """Read the answered gold prompts of rule-based rewards: unsafe where the ideal answer refuses."""
    for path in files:
        for index, row in enumerate(read_jsonl(read_text(files, path))):
            if not all(turn["content"].strip() for turn in row["completion"]):
                continue
            messages = tuple((turn["role"], turn["content"].strip()) for turn in row["prompt"])
            unsafe = row["response_type"] != "Comply"
            yield Example(f"{stem(path)}-{index}", messages, int(unsafe), RBR_CODES.get(row["category"]))


def parse_rbr_responses(files: Files) -> Iterator[Example]:
    """Read the gold answers of rule-based rewards: unsafe where they hold disallowed content."""
    for path in files:
        for index, row in enumerate(read_jsonl(read_text(files, path))):
            turns = (*row["prompt"], *row["completion"])
            messages = tuple((turn["role"], turn["content"].strip()) for turn in turns)
            unsafe = bool(row["propositions"]["disallowed_content"])
            code = RBR_CODES.get(row["category"]) if unsafe else None
            yield Example(f"{stem(path)}-{index}", messages, int(unsafe), code, level="response")


def split_rbr(source: str, example: Example) -> str:
    """Keep the authors' split; their test rows are held out."""
    return TRAIN if example.key.startswith("train-") else HELD_OUT


JBB_ATTACKS = ("DSN", "GCG", "JBC", "PAIR", "prompt_with_random_search")
RBR = (
    "openai/safety-rbr-code-and-data",
    "7f489fa6b38d72468235f275c23bf3f0c849e5ca",
    tuple(f"data/rbr_gold_data/{part}.jsonl" for part in ("train", "test")),
    "MIT",
)

SOURCES = (
    Source(
        "jbb_artifacts",
        "JailbreakBench/artifacts",
        "909e68c01d94222b8ad2e397a017e2e12e2adb73",
        tuple(f"attack-artifacts/{attack}/*/*.json" for attack in JBB_ATTACKS),
        "MIT",
        parse_artifacts,
        levels=("response",),
    ),
    Source(
        "refusal_direction_jbb_runs",
        "andyrdt/refusal_direction",
        "9d852fae1a9121c78b29142de733cb1340770cc3",
        ("pipeline/runs/*/completions/jailbreakbench_*_evaluations.json",),
        "Apache-2.0",
        parse_runs,
        levels=("response",),
    ),
    Source("rbr_gold_responses", *RBR, parse_rbr_responses, split=split_rbr, levels=("response",)),
    Source("rbr_gold_prompts", *RBR, parse_rbr_prompts, split=split_rbr),
)
