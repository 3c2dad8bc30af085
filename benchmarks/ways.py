"""Ways to score conversations with a guard, from the published loop to the engine, and the rows that they score.

Every way takes the same rows and yields (row number, unsafe_score) as soon as the score is there:

- tutorial: one conversation at a time, the answer generated, as published;
- forward: one conversation at a time, one forward pass, no answer;
- batches: Guard.read, rows packed end to end, each prompt whole;
- padded: Guard.read, the shared prefix computed once, rows padded to the longest of their batch;
- engine: Guard.read as it is: the prefix computed once and read in place, rows packed where the model can.

How they are timed against each other is in `timing.py`.
"""

from __future__ import annotations

import copy
import json
import math
import platform
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from shapes import as_read
from transformers import LogitsProcessor, LogitsProcessorList

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from guard_magic.conversations.conversation import Conversation, parse_conversation  # noqa: E402
from guard_magic.conversations.roles import adapt_roles  # noqa: E402
from guard_magic.engine.local import LocalEngine  # noqa: E402
from guard_magic.guards.guard import Encoded, Guard  # noqa: E402
from guard_magic.verdict import Reading  # noqa: E402

__all__ = [
    "ANSWERS",
    "WAYS",
    "Row",
    "Way",
    "encode_rows",
    "environment",
    "forced_answers",
    "forward_each",
    "guard_for",
    "json_line",
    "load_rows",
    "read_all",
    "tutorial_loop",
    "unsafe_tokens",
    "ways_of",
    "with_engine",
]

WAYS = ("tutorial", "forward", "batches", "padded", "engine")
"""Names of the ways, slowest first."""

ANSWERS = {
    "llama-guard-3": ("safe", "unsafe\nS1"),
    "qwen3guard": ("Safe\nCategories: None", "Unsafe\nCategories: Violent"),
}
"""By protocol, what the loop's guard is made to write behind the forced beginning, for a safe and an unsafe row."""

_SAMPLES = ROOT / "guard_magic" / "samples.jsonl"


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation of the benchmark.

    Attributes
    ----------
    chat
        Messages as a chat template takes them: roles alternate, beginning with the user.
    is_unsafe
        What the forced answer of the tutorial's loop says; random weights never stop by themselves.
    """

    chat: list[dict[str, str]]
    is_unsafe: bool


Way = Callable[[Sequence[Row]], Iterator[tuple[int, float]]]


def load_rows(n: int, fits: Callable[[Row], bool] = bool) -> list[Row]:
    """Return `n` different rows in a fixed order: the package's samples that fit, then numbered variations of them."""
    lines = _SAMPLES.read_text(encoding="utf-8").splitlines()
    samples = [sample for sample in map(json.loads, lines) if fits(_row(sample, 0))]
    random.Random(0).shuffle(samples)
    return [_row(samples[i % len(samples)], i // len(samples)) for i in range(n)]


def _row(sample: dict[str, Any], round_: int) -> Row:
    conversation: Conversation = parse_conversation(sample["messages"])
    chat = adapt_roles(conversation, "merge")[0].to_list()
    if round_:
        chat[-1] = {**chat[-1], "content": f"{chat[-1]['content']} ({round_})"}
    return Row(chat, sample["expected"] == "unsafe")


class _Forced(LogitsProcessor):
    """Make the model write `answer`, whatever it would write; the raw logits stay as they are."""

    def __init__(self, answer: list[int], n_prompt: int) -> None:
        self.answer = answer
        self.n_prompt = n_prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -math.inf)
        forced[:, self.answer[min(input_ids.shape[1] - self.n_prompt, len(self.answer) - 1)]] = 0.0
        return forced


def _answer_prefix(guard: Guard) -> tuple[str, str]:
    """Return what is forced behind the prompt, and the space that the verdict's token brings itself."""
    prefix = guard.questionnaire(None).first.answer_prefix
    text = prefix.rstrip(" ")
    return text, prefix[len(text) :]


def _prompt(guard: Guard, row: Row) -> str:
    contents = [message["content"] for message in row.chat]
    return str(guard.tokenizer.apply_chat_template(as_read(guard.tokenizer, *contents), tokenize=False))


def forced_answers(guard: Guard) -> dict[bool, list[int]]:
    """Return the ids that the loop generates for a safe (False) and an unsafe row, the end of turn included."""
    _, space = _answer_prefix(guard)
    texts = [f"{space}{text}{guard.tokenizer.eos_token}" for text in ANSWERS[guard.protocol]]
    safe, unsafe = guard.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return {False: safe, True: unsafe}


def unsafe_tokens(guard: Guard) -> list[int]:
    """Return the tokens at the verdict position whose probabilities sum to `unsafe_score`."""
    words = guard.questionnaire(None).answers.words
    return [path.steps[0][-1] for path in words[1:]]


def tutorial_loop(guard: Guard) -> Way:
    """Return the published algorithm, step by step, its answer forced to the row's label."""
    tokenizer, model = guard.tokenizer, guard.model
    answers, unsafe, (prefix, _) = forced_answers(guard), unsafe_tokens(guard), _answer_prefix(guard)

    def run(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
        for i, row in enumerate(rows):
            prompt = _prompt(guard, row)
            prompt += prefix
            inputs = tokenizer([prompt], return_tensors="pt").to(model.device)
            n_prompt = inputs["input_ids"].shape[1]
            output = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=50,
                output_logits=True,
                return_dict_in_generate=True,
                pad_token_id=tokenizer.eos_token_id,
                logits_processor=LogitsProcessorList([_Forced(answers[row.is_unsafe], n_prompt)]),
            )
            tokenizer.decode(output.sequences[0, n_prompt:], skip_special_tokens=True)
            yield i, float(torch.softmax(output.logits[0][0].float(), dim=-1)[unsafe].sum())

    return run


def forward_each(guard: Guard) -> Way:
    """Return the loop with one forward pass a row instead of generation, and BOS once."""
    tokenizer, model = guard.tokenizer, guard.model
    unsafe, (prefix, _) = unsafe_tokens(guard), _answer_prefix(guard)

    def run(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
        for i, row in enumerate(rows):
            prompt = _prompt(guard, row) + prefix
            add = tokenizer.bos_token is None or tokenizer.bos_token not in prompt
            ids = tokenizer([prompt], add_special_tokens=add, return_tensors="pt")["input_ids"].to(model.device)
            with torch.inference_mode():
                logits = model(input_ids=ids, logits_to_keep=1, use_cache=False).logits[0, -1]
            yield i, float(torch.softmax(logits.float(), dim=-1)[unsafe].sum())

    return run


def guard_for(model: Any, tokenizer: Any) -> Guard:
    """Return a guard over `model` that scores whatever it answers."""
    return Guard(model, tokenizer, name="benchmark", min_verdict_mass=0.0)


def with_engine(guard: Guard, **settings: Any) -> Guard:
    """Return the same guard (one tokenizer, one set of prompt plans) with an engine of its own, of these settings."""
    twin = copy.copy(guard)
    twin.engine = LocalEngine(guard.model, **settings)
    return twin


def encode_rows(guard: Guard, rows: Sequence[Row]) -> list[Encoded]:
    """Make rows ready: render and tokenize them."""
    found = guard.encode_all([parse_conversation(row.chat) for row in rows])
    for encoded in found:
        if isinstance(encoded, Exception):
            raise encoded
    return found


def read_all(guard: Guard, made: Mapping[int, Encoded] | None = None, *, alone: bool = False) -> Way:
    """Return Guard.encode_all + Guard.read; the prefix is computed anew each time, as for a guard just loaded.

    Parameters
    ----------
    made
        Rows that are ready already, by `id` of the row, so that the model alone is timed; None to make them inside.
    alone
        Whether each row is read by itself, whole and in float32.
    """

    def run(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
        guard.engine.prefixes.clear()
        encoded = encode_rows(guard, rows) if made is None else [made[id(row)] for row in rows]
        for batch in guard.read(encoded, alone=alone):
            for i, reading in batch:
                yield i, math.exp(reading.log_unsafe) if isinstance(reading, Reading) else math.nan

    return run


def ways_of(guard: Guard) -> dict[str, Way]:
    """Return the ways of one guard, by their names in `WAYS`; tokenization is inside."""
    return {
        "tutorial": tutorial_loop(guard),
        "forward": forward_each(guard),
        "batches": read_all(with_engine(guard, share_prefix=False)),
        "padded": read_all(with_engine(guard, packs=False)),
        "engine": read_all(with_engine(guard)),
    }


def json_line(report: dict[str, Any]) -> str:
    """Return one line of strict JSON; what was not measured is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(report), allow_nan=False)


def environment(device: str = "cpu") -> dict[str, Any]:
    """Return what the numbers depend on."""
    is_cuda = device.startswith("cuda")
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if is_cuda else f"cpu, {platform.machine()}",
        "n_threads": torch.get_num_threads(),
    }
