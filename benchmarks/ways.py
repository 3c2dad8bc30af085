"""Four ways to score conversations with a guard, and how they are timed against each other.

Every way takes the same rows and yields (row number, unsafe_score) as soon as the score is there; tokenization
is inside. `tutorial_loop` is the published algorithm, the others are steps from it to the engine:

- tutorial: one conversation at a time, the answer generated;
- forward: one conversation at a time, one forward pass, no answer;
- batches: Guard.ask + Guard.read, each prompt whole;
- engine: Guard.ask + Guard.read as they are: the shared prefix is computed once.
"""

from __future__ import annotations

import copy
import json
import math
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import LogitsProcessor, LogitsProcessorList

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from guard_magic.conversation import Conversation, parse_conversation  # noqa: E402
from guard_magic.engine.guard import Guard  # noqa: E402
from guard_magic.engine.local import LocalEngine  # noqa: E402
from guard_magic.roles import adapt_roles  # noqa: E402
from guard_magic.verdict import Reading  # noqa: E402

__all__ = [
    "WAYS",
    "Row",
    "Timing",
    "Way",
    "environment",
    "forward_each",
    "guard_for",
    "json_line",
    "largest_difference",
    "load_rows",
    "print_table",
    "read_all",
    "summarise",
    "time_ways",
    "tutorial_loop",
    "ways_of",
    "with_engine",
]

WAYS = ("tutorial", "forward", "batches", "engine")
"""Names of the ways, slowest first."""

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


def tutorial_loop(model: Any, tokenizer: Any) -> Way:
    """Return the published algorithm, step by step, its answer forced to the row's label."""
    end = tokenizer.eos_token
    answers = {
        label: tokenizer(f"{text}{end}", add_special_tokens=False)["input_ids"]
        for label, text in {False: "safe", True: "unsafe\nS1"}.items()
    }
    unsafe = tokenizer.convert_tokens_to_ids("unsafe")

    def run(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
        for i, row in enumerate(rows):
            prompt = tokenizer.apply_chat_template(row.chat, tokenize=False)
            prompt += "\n\n"
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
            yield i, float(torch.softmax(output.logits[0][0].float(), dim=-1)[unsafe])

    return run


def forward_each(model: Any, tokenizer: Any) -> Way:
    """Return the loop with one forward pass a row instead of generation, and BOS once."""
    unsafe = tokenizer.convert_tokens_to_ids("unsafe")

    def run(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
        for i, row in enumerate(rows):
            prompt = tokenizer.apply_chat_template(row.chat, tokenize=False) + "\n\n"
            add = tokenizer.bos_token is None or tokenizer.bos_token not in prompt
            ids = tokenizer([prompt], add_special_tokens=add, return_tensors="pt")["input_ids"].to(model.device)
            with torch.inference_mode():
                logits = model(input_ids=ids, logits_to_keep=1, use_cache=False).logits[0, -1]
            yield i, float(torch.softmax(logits.float(), dim=-1)[unsafe])

    return run


def guard_for(model: Any, tokenizer: Any) -> Guard:
    """Return a guard over `model` that scores whatever it answers."""
    return Guard(model, tokenizer, name="benchmark", min_verdict_mass=0.0)


def with_engine(guard: Guard, *, share_prefix: bool = True, budget: int | None = None) -> Guard:
    """Return the same guard (one tokenizer, one set of prompt plans) with an engine of its own."""
    twin = copy.copy(guard)
    twin.engine = LocalEngine(guard.model, budget=budget, share_prefix=share_prefix)
    return twin


def read_all(guard: Guard) -> Way:
    """Return Guard.ask + Guard.read; the prefix is computed anew each time, as for a guard just loaded."""

    def run(rows: Sequence[Row]) -> Iterator[tuple[int, float]]:
        guard.engine.prefixes.clear()
        asked = [guard.ask(parse_conversation(row.chat)) for row in rows]
        for batch in guard.read(asked):
            for i, reading in batch:
                yield i, math.exp(reading.log_unsafe) if isinstance(reading, Reading) else math.nan

    return run


def ways_of(guard: Guard) -> dict[str, Way]:
    """Return the four ways of one guard, by their names in `WAYS`."""
    return {
        "tutorial": tutorial_loop(guard.model, guard.tokenizer),
        "forward": forward_each(guard.model, guard.tokenizer),
        "batches": read_all(with_engine(guard, share_prefix=False)),
        "engine": read_all(with_engine(guard)),
    }


@dataclass
class Timing:
    """What one way did.

    Attributes
    ----------
    rates
        Rows a second of each run.
    scores
        `unsafe_score` by row number, of the last run.
    peak_bytes
        Most memory allocated on the device in the last run, weights included; None off CUDA.
    """

    rates: list[float] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    peak_bytes: int | None = None

    @property
    def rows_per_s(self) -> float:
        """Median over the runs; nan where there was none."""
        return statistics.median(self.rates) if self.rates else math.nan


def time_ways(
    ways: dict[str, Way],
    rows: Sequence[Row],
    repeats: int,
    *,
    seconds: float = math.inf,
    go_on: Callable[[], bool] = lambda: True,
) -> dict[str, Timing]:
    """Run all ways in turn, `repeats` times, beginning with another one each time.

    Parameters
    ----------
    seconds
        A run stops after this long; its rate is that of the rows it finished.
    go_on
        Asked before each run; nothing more is run once it says no.
    """
    for way in ways.values():
        if go_on():
            list(way(rows[:2]))  # first calls allocate, compile and render
    timings = {name: Timing() for name in ways}
    names = list(ways)
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            if go_on():
                _run(ways[name], rows, seconds, timings[name])
    return timings


def _run(way: Way, rows: Sequence[Row], seconds: float, timing: Timing) -> None:
    scores: dict[int, float] = {}
    on_cuda = torch.cuda.is_initialized()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    took = math.inf
    for i, score in way(rows):
        scores[i] = score
        took = time.perf_counter() - started
        if took > seconds:
            break
    timing.rates.append(len(scores) / took)
    timing.scores = scores
    timing.peak_bytes = torch.cuda.max_memory_allocated() if on_cuda else None


def largest_difference(one: Timing, other: Timing) -> float | None:
    """Return max |difference of unsafe_score| over the rows that both scored; nan where a score is missing."""
    both = [abs(one.scores[i] - other.scores[i]) for i in one.scores.keys() & other.scores.keys()]
    if not both:
        return None
    return math.nan if any(map(math.isnan, both)) else max(both)


def summarise(guard: Guard, rows: Sequence[Row], timings: dict[str, Timing]) -> dict[str, Any]:
    """Return the measured numbers of one guard under fixed keys.

    `prefix_ceiling` is (prefix + own) / own in tokens a row: what sharing the prefix could bring if nothing
    but tokens cost time. `prefix_gain` is what it brought, engine over batches.
    """
    prompts = [guard.ask(parse_conversation(row.chat)).prompt for row in rows]
    prefix = statistics.fmean(prompt.n_prefix for prompt in prompts)
    own = statistics.fmean(len(prompt.ids) - prompt.n_prefix for prompt in prompts)
    rates = {name: timing.rows_per_s for name, timing in timings.items()}
    ceiling = (prefix + own) / own
    gain = rates["engine"] / rates["batches"]
    engine = timings["engine"]
    scores = sorted(engine.scores.values())
    return {
        "n_rows": len(rows),
        "n_parameters": sum(weight.numel() for weight in guard.model.parameters()),
        "own_tokens": own,
        "prefix_tokens": prefix,
        "chain_tokens": len(guard.plan(None).questions[0].spine.tokens),
        "rows_per_s": rates,
        "spread": {name: _spread(timing.rates) for name, timing in timings.items()},
        "ratio_to_tutorial": {name: rate / rates["tutorial"] for name, rate in rates.items()},
        "prefix_ceiling": ceiling,
        "prefix_gain": gain,
        "prefix_share": gain / ceiling,
        "max_delta": {name: largest_difference(timings[name], engine) for name in WAYS if name != "engine"},
        "n_compared": {name: len(timing.scores) for name, timing in timings.items()},
        "peak_bytes": {name: timing.peak_bytes for name, timing in timings.items()},
        "score_range": [scores[0], scores[-1]] if scores else None,
        "published_adds_bos": _adds_bos(guard.tokenizer, rows[0]),
    }


def _spread(rates: list[float]) -> float:
    """Return (fastest - slowest) / median of the runs: how noisy they were."""
    return (max(rates) - min(rates)) / statistics.median(rates) if rates else math.nan


def _adds_bos(tokenizer: Any, row: Row) -> bool:
    """Say whether the published way of tokenizing puts another BOS before the template's own."""
    text = tokenizer.apply_chat_template(row.chat, tokenize=False)
    plain = tokenizer(text, add_special_tokens=False)["input_ids"]
    return len(tokenizer(text)["input_ids"]) > len(plain) and tokenizer.bos_token_id in plain


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


def print_table(name: str, result: dict[str, Any]) -> None:
    """Print one guard's result for people."""
    print(f"\n{name}: {result['n_parameters'] / 1e6:,.1f}M parameters, {result['n_rows']} rows")
    print(f"{'way':<10}{'rows/s':>10}{'x tutorial':>12}{'spread':>9}{'max |Δ score|':>15}")
    for way in WAYS:
        delta = result["max_delta"].get(way)
        shown = f"{delta:.1e}" if delta is not None else "-"
        rate, ratio, spread = (result[key][way] for key in ("rows_per_s", "ratio_to_tutorial", "spread"))
        print(f"{way:<10}{rate:>10.2f}{ratio:>12.2f}{spread:>9.0%}{shown:>15}")
    print(
        f"own tokens a row {result['own_tokens']:.1f}, prefix {result['prefix_tokens']:.1f}; sharing it: "
        f"{result['prefix_gain']:.2f}x of at most {result['prefix_ceiling']:.2f}x = {result['prefix_share']:.0%}"
    )
    if result["published_adds_bos"]:
        print("the published way of tokenizing writes BOS twice here, the others once: its scores differ for that")
