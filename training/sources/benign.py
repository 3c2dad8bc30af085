"""Sources of ordinary requests and answers, all safe."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from .base import (
    TRAIN,
    UNUSED,
    Example,
    Files,
    Source,
    both_levels,
    exchange,
    hashed,
    read_jsonl,
    read_text,
    stem,
)

CALCULATION = re.compile(r"<<.*?>>")
P3_TASKS = ("common_gen", "commonsense_qa", "cosmos_qa", "qasc", "quarel", "quartz", "quoref", "ropes")


def join_input(instruction: str, given: str) -> str:
    """Return an instruction followed by its input, if it has one."""
    return f"{instruction}\n\n{given}" if given.strip() else instruction


def parse_gpteacher(files: Files) -> Iterator[Example]:
    """Read GPTeacher's triples of instruction, input and response."""
    for index, row in enumerate(json.loads(read_text(files))):
        yield from both_levels(str(index), join_input(row["instruction"], row["input"]), row["response"])


def parse_tasks(files: Files) -> Iterator[Example]:
    """Read self-instruct's tasks: the instruction with its first instance."""
    for row in read_jsonl(read_text(files)):
        instance = row["instances"][0]
        yield from both_levels(row["id"], join_input(row["instruction"], instance["input"]), instance["output"])


def parse_predictions(files: Files) -> Iterator[Example]:
    """Read models' answers to self-instruct's user-oriented tasks."""
    for path in files:
        model = stem(path).removesuffix("_predictions")
        for index, row in enumerate(read_jsonl(read_text(files, path))):
            messages = exchange(join_input(row["instruction"], row["input"]), row["response"])
            yield Example(f"{model}-{index}", messages, 0, level="response")


def parse_gsm8k(files: Files) -> Iterator[Example]:
    """Read school mathematics, without the calculator's marks."""
    for path in files:
        for index, row in enumerate(read_jsonl(read_text(files, path))):
            answer = CALCULATION.sub("", row["answer"]).replace("#### ", "Answer: ")
            yield from both_levels(f"{stem(path)}-{index}", row["question"], answer)


def parse_p3(files: Files) -> Iterator[Example]:
    """Read prompts made from reading-comprehension templates; an exchange counts at its first place."""
    seen = set()
    for path in files:
        for index, row in enumerate(read_jsonl(read_text(files, path))):
            answer = row["completion"].removesuffix("<|endoftext|>")
            messages = exchange(row["prompt"], answer)
            if messages not in seen:
                seen.add(messages)
                yield from both_levels(f"{stem(path)}-{index}", row["prompt"], answer)


def parse_dolly(files: Files) -> Iterator[Example]:
    """Read Dolly's instructions with the people's answers (not the decoded ones)."""
    for index, row in enumerate(read_jsonl(read_text(files))):
        yield Example(str(index), exchange(row["instruction"], row["text"]), 0, level="response")


BOTH = ("prompt", "response")
SELF_INSTRUCT = ("yizhongw/self-instruct", "0b26ccaa415992100fa32df62d41b994cf928e23")
PREDICTORS = ("text-davinci-003", "text-davinci-002", "text-davinci-001", "davinci-self-instruct")


def _gpteacher(name: str, path: str) -> Source:
    commit = "481075123c29854bddb82655badeef6a438f2436"
    return Source(name, "teknium1/GPTeacher", commit, (path,), "MIT", parse_gpteacher, levels=BOTH)


SOURCES = (
    _gpteacher("gpteacher_codegen", "Codegen/codegen-instruct.json"),
    _gpteacher("gpteacher_roleplay", "Roleplay/roleplay-simple-deduped-roleplay-instruct.json"),
    _gpteacher("gpteacher_toolformer", "Toolformer/toolformer-similarity-0.6-dataset.json"),
    Source(
        "self_instruct_user",
        *SELF_INSTRUCT,
        ("human_eval/user_oriented_instructions.jsonl",),
        "Apache-2.0",
        parse_tasks,
        levels=BOTH,
    ),
    Source(
        "self_instruct_predictions",
        *SELF_INSTRUCT,
        tuple(f"human_eval/predictions/{model}_predictions.jsonl" for model in PREDICTORS),
        "Apache-2.0",
        parse_predictions,
        levels=("response",),
    ),
    Source(
        "self_instruct_seed",
        *SELF_INSTRUCT,
        ("data/seed_tasks.jsonl",),
        "Apache-2.0",
        parse_tasks,
        levels=BOTH,
    ),
    Source(
        "gsm8k",
        "openai/grade-school-math",
        "3101c7d5072418e28b9008a6636bde82a006892c",
        tuple(f"grade_school_math/data/{part}.jsonl" for part in ("train", "test")),
        "MIT",
        parse_gsm8k,
        split=hashed(TRAIN, UNUSED, UNUSED, UNUSED),
        levels=BOTH,
    ),
    Source(
        "p3_t0_subset",
        *SELF_INSTRUCT,
        tuple(f"data/finetuning/t0_train_50k/data_per_template/{task}*.jsonl" for task in P3_TASKS),
        "Apache-2.0 (templates); underlying MIT/CC-BY-4.0",
        parse_p3,
        split=hashed(TRAIN, UNUSED, UNUSED),
        levels=BOTH,
    ),
    Source(
        "dolly_6k",
        "nayohan/dolly-15k-analysis",
        "5797d87c90c8c13a8ec79897381991a280092945",
        ("dolly_decode_bak/google_flan-t5-xl_decode_output.jsonl",),
        "CC-BY-SA-3.0",
        parse_dolly,
        levels=("response",),
        output="dolly_sharealike",
    ),
)
