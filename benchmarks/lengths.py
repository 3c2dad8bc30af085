"""Real lengths without real text: the token counts of a public dev split, and conversations made to measure.

    python benchmarks/lengths.py --data FOLDER/dev.jsonl.gz      (writes benchmarks/dev_lengths.json)

The dev split is the one that `training/build.py` makes. For each guard family its rows become token counts, by the
package's own prompts; only these numbers are kept, in a fixed random order, with no text and no ids. `rows_of_lengths`
makes conversations of those lengths from words of the package's samples, so that a benchmark can score the real
distribution of lengths where the split is not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapes import TEMPLATE_1B, llama3_tokenizer, qwen3_tokenizer, random_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from ways import ANSWERS, ROOT, Row, guard_for

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.conversations.roles import adapt_roles
from guard_magic.errors import ConversationError
from guard_magic.guards.guard import Guard

__all__ = ["FAMILIES", "Length", "Lengths", "load_lengths", "main", "measure_lengths", "rows_of_lengths"]

COUNTS = Path(__file__).parent / "dev_lengths.json"
EMBEDDED = ROOT / "guard_magic" / "embedded"
_SAMPLES = ROOT / "guard_magic" / "samples.jsonl"
_ROLES = {"u": "user", "a": "assistant"}


def _embedded() -> Guard:
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, gguf_file="guard.gguf")
    return guard_for(model.eval(), AutoTokenizer.from_pretrained(EMBEDDED))


FAMILIES: dict[str, Callable[[], Guard]] = {
    "llama-guard-3-8b": lambda: guard_for(random_model("tiny"), llama3_tokenizer()),
    "llama-guard-3-1b": lambda: guard_for(random_model("tiny"), llama3_tokenizer(template=TEMPLATE_1B)),
    "qwen3guard-0.6b": lambda: guard_for(random_model("qwen3guard-tiny"), qwen3_tokenizer()),
    "embedded": _embedded,
}
"""Guards with each family's true tokenizer and template; lengths depend on nothing else, so the models are tiny."""


@dataclass(frozen=True, slots=True)
class Length:
    """One row: the role assessed, tokens of the shared prefix, own tokens up to the verdict position, and its label."""

    role: str
    n_prefix: int
    n_own: int
    is_unsafe: bool


@dataclass(frozen=True, slots=True)
class Lengths:
    """The rows of the dev split for one family.

    Attributes
    ----------
    family
        A key of `FAMILIES`.
    rows
        In a fixed random order; rows that the guard cannot be asked about are left out.
    n_continuation
        Tokens that the engine appends to every row after the verdict position.
    offsets
        Where along that chain it reads; 0 is the verdict position.
    n_answer
        Tokens that the published loop generates for a safe and for an unsafe row, its end included.
    n_fixed
        Own tokens that are the template's, by the role assessed: the end of the prompt, mostly.
    """

    family: str
    rows: tuple[Length, ...]
    n_continuation: int
    offsets: tuple[int, ...]
    n_answer: tuple[int, int]
    n_fixed: dict[str, int]


def load_lengths(family: str) -> Lengths:
    """Return the recorded lengths of one of `FAMILIES`."""
    kept = json.loads(COUNTS.read_text(encoding="utf-8"))
    found = kept["families"][family]
    rows = [
        Length(_ROLES[letter], found["prefix"][letter], own, label == "1")
        for letter, label, own in zip(kept["roles"], kept["unsafe"], found["own"], strict=True)
        if own is not None
    ]
    fixed = {_ROLES[letter]: n for letter, n in found["fixed"].items()}
    return Lengths(family, tuple(rows), found["chain"], tuple(found["offsets"]), tuple(found["answer"]), fixed)


def rows_of_lengths(guard: Guard, lengths: Lengths, n: int | None = None, *, seed: int = 0) -> list[Row]:
    """Make conversations whose prompts have exactly the recorded numbers of tokens.

    Contents are words of the package's samples in random order, each of them one token of this guard's tokenizer. Where
    the assistant is assessed there is one exchange, a third of its words the user's; whatever had more turns keeps
    its length alone. All conversations differ, though rows of the split may be equal.

    Parameters
    ----------
    guard
        A guard with the tokenizer and template of ``lengths.family``; any model.
    lengths
        What `load_lengths` returned.
    n
        How many rows, from the first on and around again; None for each once.
    seed
        Of the words.

    Returns
    -------
    list of Row
        In the recorded order.

    Raises
    ------
    ValueError
        Where this guard's prompts do not have the recorded lengths: it is not of that family.
    """
    measured = [lengths.rows[i % len(lengths.rows)] for i in range(len(lengths.rows) if n is None else n)]
    words = _words(guard.tokenizer)
    frames = {role: _frame(guard, role, words) for role in _ROLES.values()}
    chance = random.Random(seed)
    seen: set[str] = set()
    rows: list[Row] = []
    for length in measured:
        n_prefix, n_fixed = frames[length.role]
        if length.n_prefix != n_prefix:
            raise ValueError(f"{lengths.family} has a prefix of {length.n_prefix} tokens, this guard one of {n_prefix}")
        for _ in range(100):
            chat = _chat(length.role, length.n_own - n_fixed, words, chance)
            text = json.dumps(chat)
            if text not in seen:
                break
        seen.add(text)
        rows.append(Row(chat, length.is_unsafe))
    if len(seen) < len(rows):
        raise ValueError(f"no {len(rows)} different rows of these lengths: take fewer")
    return rows


def _words(tokenizer: Any) -> list[str]:
    """Return the words of the samples that are one token wherever a space stands ahead of them."""
    found = sorted(set(re.findall(r"(?<= )[a-z]+(?= )", _SAMPLES.read_text(encoding="utf-8"))))
    ids = tokenizer([f" {word}" for word in found], add_special_tokens=False)["input_ids"]
    return [word for word, tokens in zip(found, ids, strict=True) if len(tokens) == 1]


def _frame(guard: Guard, role: str, words: Sequence[str]) -> tuple[int, int]:
    """Return the prefix of conversations assessed for `role`, and their own tokens apart from their words."""
    counts = set()
    for n_words in (2, 3, 40):
        encoded = guard.encode(parse_conversation(_chat(role, n_words, words, random.Random(n_words))))
        counts.add((encoded.prompt.n_prefix, len(encoded.prompt.ids) - encoded.prompt.n_prefix - n_words))
    if len(counts) != 1:
        raise ValueError(f"the tokens of words do not add up with this tokenizer: {sorted(counts)}")
    return counts.pop()


def _chat(role: str, n_words: int, words: Sequence[str], chance: random.Random) -> list[dict[str, str]]:
    """Return a conversation of that many words in all, at least one a message."""
    drawn = chance.choices(words, k=n_words)
    if role == "user":
        return [{"role": "user", "content": " ".join(drawn)}]
    n_asked = max(1, n_words // 3)
    parts = (drawn[:n_asked], drawn[n_asked:])
    return [{"role": name, "content": " ".join(part)} for name, part in zip(_ROLES.values(), parts, strict=True)]


def measure_lengths(path: Path) -> dict[str, Any]:
    """Return the counts of a dev split, as they are kept."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        split = [json.loads(line) for line in file]
    random.Random(0).shuffle(split)
    chats = [adapt_roles(parse_conversation(row["messages"]), "merge")[0] for row in split]
    roles = "".join(chat.assessed.role[0] for chat in chats)
    families = {name: _counts(make(), chats, roles) for name, make in FAMILIES.items()}
    return {
        "about": "Token counts of a public dev split, without its text, in a fixed random order: see lengths.py.",
        "n_rows": len(split),
        "n_equal": len(chats) - len(set(chats)),
        "n_longer": sum(len(chat.messages) > 2 for chat in chats),
        "roles": roles,
        "unsafe": "".join(str(int(row["label"])) for row in split),
        "families": families,
    }


def _counts(guard: Guard, chats: Sequence[Any], roles: str) -> dict[str, Any]:
    own: list[int | None] = []
    prefix: dict[str, int] = {}
    for chat, role in zip(chats, roles, strict=True):
        try:
            prompt = guard.encode(chat).prompt
        except ConversationError:
            own.append(None)
            continue
        if prefix.setdefault(role, prompt.n_prefix) != prompt.n_prefix:
            raise ValueError(f"prefixes of {prefix[role]} and {prompt.n_prefix} tokens for one role")
        own.append(len(prompt.ids) - prompt.n_prefix)
    (question,) = guard.questionnaire(None).questions
    words = _words(guard.tokenizer)
    return {
        "prefix": prefix,
        "chain": len(question.continuation.tokens),
        "offsets": question.continuation.offsets,
        "answer": [_n_answer(guard, text) for text in ANSWERS[guard.protocol]],
        "fixed": {letter: _frame(guard, role, words)[1] for letter, role in _ROLES.items()},
        "own": own,
    }


def _n_answer(guard: Guard, text: str) -> int:
    """Return the tokens of an answer behind the prompt, the end-of-turn token included."""
    plan = guard.questionnaire(None).questions[0].plan
    tokenize = plan.answers(("user",), ["hello"])
    return len(tokenize(plan.answer_prefix + text)) - len(guard.encode(parse_conversation("hello")).prompt.ids) + 1


def main(arguments: list[str] | None = None) -> None:
    """Count, and write `COUNTS`."""
    parser = argparse.ArgumentParser(description="Token counts of a dev split for each guard family.")
    parser.add_argument("--data", type=Path, required=True, help="dev.jsonl.gz, made by training/build.py")
    counts = measure_lengths(parser.parse_args(arguments).data)
    COUNTS.write_text(json.dumps(counts, separators=(",", ":")).replace('"families"', '\n"families"') + "\n")
    for name, found in counts["families"].items():
        kept = [n for n in found["own"] if n is not None]
        n_lost = len(found["own"]) - len(kept)
        print(f"{name}: prefix {found['prefix']}, own {sum(kept) / len(kept):.1f}, {n_lost} rows too long")
    print(f"{COUNTS.name}: {COUNTS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
