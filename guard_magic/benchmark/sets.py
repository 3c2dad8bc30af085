"""Public safety sets: where each is to be had, what its columns mean, and what the embedded guard has seen of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from guard_magic.conversations.conversation import is_missing
from guard_magic.errors import EvaluationError, shorten

__all__ = ["SETS", "SafetySet", "Seen", "Unit", "truth"]

Row = Mapping[str, Any]
Unit = Literal["prompt", "response"]
Seen = Literal["no", "related", "chosen", "trained"]
"""What the embedded guard has seen of a set: nothing; other rows of the same makers; rows by which one of several
checkpoints was chosen; rows that it was trained on."""

_HUB = "huggingface.co/datasets/"


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetySet:
    """One public set, or one of the questions that it answers.

    Attributes
    ----------
    name
        What it is called here; its files may lie in a folder of its `folder` name.
    folder
        Words that a folder of its files begins with, lower case without signs (``"ortbench"`` for ``or-bench``).
    files
        Patterns of its files' names, lower case.
    columns
        Columns that its files have; others are not read.
    unit
        What is judged: a prompt, or a response to one.
    conversation
        The texts of a row, one or two: prompt and, for a response, answer. None where the row asks something else.
    unsafe
        Whether a row is unsafe; None where its makers did not say.
    rule
        In a few words, what counts as unsafe.
    licence, source
        Of its makers, and where it is to be had.
    seen, note
        What the embedded guard has seen of it.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    columns: tuple[str, ...]
    unit: Unit = "prompt"
    conversation: Callable[[Row], tuple[object, ...] | None]
    unsafe: Callable[[Row], bool | None]
    rule: str
    licence: str
    source: str
    seen: Seen = "no"
    note: str = ""


def truth(value: object) -> bool | None:
    """Read a truth value as files hold it: True, 1, 1.0, "1", "true"; None where it is missing."""
    if is_missing(value) or value == "":
        return None
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("1", "1.0", "true", "yes"):
            return True
        if word in ("0", "0.0", "false", "no"):
            return False
    elif value in (0, 1):
        return bool(value == 1)
    raise EvaluationError(f"{shorten(value)} is neither true nor false", hint="Is this the file that its makers gave?")


def _texts(*names: str) -> Callable[[Row], tuple[object, ...]]:
    return lambda row: tuple(row[name] for name in names)


def _word(name: str, unsafe: str, safe: str) -> Callable[[Row], bool | None]:
    """Read a column of two words; anything else but nothing is an error."""

    def read(row: Row) -> bool | None:
        value = row[name]
        if is_missing(value) or value == "":
            return None
        if value not in (unsafe, safe):
            raise EvaluationError(
                f"{shorten(value)} in column {name!r} is neither {unsafe!r} nor {safe!r}",
                hint="Is this the file that its makers gave?",
            )
        return bool(value == unsafe)

    return read


def _always(value: bool) -> Callable[[Row], bool | None]:
    return lambda row: value


def _any_flag(*names: str) -> Callable[[Row], bool | None]:
    """Read flags of which a row has some; one without any says nothing."""

    def read(row: Row) -> bool | None:
        known = [flag for name in names if (flag := truth(row.get(name))) is not None]
        return any(known) if known else None

    return read


def _harmbench(row: Row) -> tuple[object, ...]:
    context = row["ContextString"]
    if is_missing(context) or context == "":
        return (row["Behavior"],)
    return (f"{context}\n\n---\n\n{row['Behavior']}",)


def _aegis_prompt(row: Row) -> tuple[object, ...] | None:
    return (row["text"],) if row["text_type"] == "user_message" else None


def _aegis_unsafe(row: Row) -> bool | None:
    said = [label for i in range(3) if not is_missing(label := row[f"labels_{i}"]) and label not in ("", "None")]
    return None if len(said) < 2 else said.count("Safe") < 2


def _aegis_2(*names: str) -> Callable[[Row], tuple[object, ...] | None]:
    """Take the texts of a row; prompts that were taken out of the set are not there to be judged."""
    return lambda row: None if row["prompt"] == "REDACTED" else tuple(row[name] for name in names)


_MODERATION = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")
_CHOSEN = "not trained on; parts of it helped to choose between checkpoints"

SETS: tuple[SafetySet, ...] = (
    SafetySet(
        name="xstest",
        folder="xstest",
        files=("xstest*prompts*.csv",),
        columns=("prompt", "type", "label"),
        conversation=_texts("prompt"),
        unsafe=_word("label", "unsafe", "safe"),
        rule="label is unsafe",
        licence="CC-BY-4.0",
        source="github.com/paul-rottger/xstest: xstest_prompts.csv",
        seen="chosen",
        note=_CHOSEN,
    ),
    SafetySet(
        name="openai_moderation",
        folder="openaimod",
        files=("samples-1680*.jsonl*",),
        columns=("prompt",),
        conversation=_texts("prompt"),
        unsafe=_any_flag(*_MODERATION),
        rule="any of its eight flags is 1",
        licence="MIT",
        source="github.com/openai/moderation-api-release: data/samples-1680.jsonl.gz",
        seen="chosen",
        note=f"{_CHOSEN} (870 of 1,680 rows)",
    ),
    SafetySet(
        name="toxicchat",
        folder="toxicchat",
        files=("toxic-chat*.csv",),
        columns=("user_input", "human_annotation", "toxicity", "jailbreaking"),
        conversation=_texts("user_input"),
        unsafe=lambda row: truth(row["toxicity"]),
        rule="toxicity is 1",
        licence="CC-BY-NC-4.0",
        source=f"{_HUB}lmsys/toxic-chat: data/0124/toxic-chat_annotation_test.csv",
    ),
    SafetySet(
        name="simplesafetytests",
        folder="simplesafetytests",
        files=("sst_test_cases*.csv",),
        columns=("harm_area", "prompt"),
        conversation=_texts("prompt"),
        unsafe=_always(True),
        rule="all",
        licence="CC-BY-2.0",
        source=f"{_HUB}Bertievidgen/SimpleSafetyTests: sst_test_cases.csv",
    ),
    SafetySet(
        name="harmbench",
        folder="harmbench",
        files=("harmbench_behaviors_text*.csv",),
        columns=("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID"),
        conversation=_harmbench,
        unsafe=_always(True),
        rule="all; a context stands before its request",
        licence="MIT",
        source="github.com/centerforaisafety/HarmBench: data/behavior_datasets/harmbench_behaviors_text_all.csv",
        seen="related",
        note="its adversarial-training behaviours were trained on, these were not",
    ),
    SafetySet(
        name="ailuminate_demo",
        folder="ailuminate",
        files=("airr_official*demo*.csv",),
        columns=("release_prompt_id", "prompt_text", "hazard"),
        conversation=_texts("prompt_text"),
        unsafe=_always(True),
        rule="all",
        licence="CC-BY-4.0",
        source="github.com/mlcommons/ailuminate: airr_official_1.0_demo_en_us_prompt_set_release.csv",
        seen="trained",
        note="619 English and all French prompts were trained on",
    ),
    SafetySet(
        name="beavertails",
        folder="beavertails",
        files=("beavertails*",),
        columns=("prompt", "response", "is_safe"),
        unit="response",
        conversation=_texts("prompt", "response"),
        unsafe=lambda row: None if (safe := truth(row["is_safe"])) is None else not safe,
        rule="is_safe is false",
        licence="CC-BY-NC-4.0",
        source=f"{_HUB}PKU-Alignment/BeaverTails: round0/30k/test.jsonl.gz",
    ),
    SafetySet(
        name="aegis",
        folder="aegis1",
        files=("content moderation extracted annotations*test*", "aegis1*"),
        columns=("text", "text_type", "labels_0", "labels_1", "labels_2"),
        conversation=_aegis_prompt,
        unsafe=_aegis_unsafe,
        rule="fewer than two of the first three annotators say Safe; user messages",
        licence="CC-BY-4.0",
        source=f"{_HUB}nvidia/Aegis-AI-Content-Safety-Dataset-1.0: the test file",
    ),
    SafetySet(
        name="aegis2_prompts",
        folder="aegis2",
        files=("aegis2*",),
        columns=("prompt", "prompt_label"),
        conversation=_aegis_2("prompt"),
        unsafe=_word("prompt_label", "unsafe", "safe"),
        rule="prompt_label is unsafe; redacted prompts are left out",
        licence="CC-BY-4.0",
        source=f"{_HUB}nvidia/Aegis-AI-Content-Safety-Dataset-2.0: test.json",
    ),
    SafetySet(
        name="aegis2_responses",
        folder="aegis2",
        files=("aegis2*",),
        columns=("prompt", "response", "response_label"),
        unit="response",
        conversation=_aegis_2("prompt", "response"),
        unsafe=_word("response_label", "unsafe", "safe"),
        rule="response_label is unsafe; redacted prompts are left out",
        licence="CC-BY-4.0",
        source=f"{_HUB}nvidia/Aegis-AI-Content-Safety-Dataset-2.0: test.json",
    ),
    SafetySet(
        name="wildguardtest_prompts",
        folder="wildguard",
        files=("wildguard*test*",),
        columns=("prompt", "prompt_harm_label", "adversarial"),
        conversation=_texts("prompt"),
        unsafe=_word("prompt_harm_label", "harmful", "unharmful"),
        rule="prompt_harm_label is harmful",
        licence="ODC-BY, after AI2's terms are accepted",
        source=f"{_HUB}allenai/wildguardmix: test/wildguard_test.parquet",
    ),
    SafetySet(
        name="wildguardtest_responses",
        folder="wildguard",
        files=("wildguard*test*",),
        columns=("prompt", "response", "response_harm_label", "adversarial"),
        unit="response",
        conversation=_texts("prompt", "response"),
        unsafe=_word("response_harm_label", "harmful", "unharmful"),
        rule="response_harm_label is harmful",
        licence="ODC-BY, after AI2's terms are accepted",
        source=f"{_HUB}allenai/wildguardmix: test/wildguard_test.parquet",
    ),
    *(
        SafetySet(
            name=f"orbench_{part}",
            folder=f"orbench{part}",
            files=(f"or-bench-{file}*.csv",),
            columns=("prompt", "category"),
            conversation=_texts("prompt"),
            unsafe=_always(part == "toxic"),
            rule="all" if part == "toxic" else "none: every flag is a false one",
            licence="CC-BY-4.0",
            source=f"{_HUB}bench-llm/or-bench: or-bench-{file}.csv",
        )
        for part, file in (("hard", "hard-1k"), ("toxic", "toxic"), ("80k", "80k"))
    ),
)
"""In the order in which they are reported. Columns were looked up in the sets' own files and in programs that read
them (November 2026)."""
