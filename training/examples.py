"""Turn labelled conversations into training examples: reading, mixing, augmenting, encoding."""

import functools
import gzip
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from transformers import PreTrainedTokenizerFast

from training.augment import draw_disguise, draw_frame

Messages = list[dict[str, str]]
IGNORE = -100
CONTRAST = Path(__file__).parent / "contrast"
TESTS = Path(__file__).parent / "tests"

# At most so many rows of one label in an epoch; the sources named here are large and narrow.
CAPS = {
    "davidson_hate": 1200,
    "convabuse": 500,
    "gsm8k": 200,
    "p3_t0_subset": 500,
    "gpteacher_codegen": 500,
    "gpteacher_toolformer": 200,
    "gpteacher_roleplay": 1000,
    "cyberseceval_instruct": 300,
    "cyberseceval_frr": 200,
    "dolly_6k": 5000,
    # languages that came with hardly a harmless row: "foreign means unsafe" was learned from these
    "ailuminate_demo_fr": 300,
    "catqa_zh": 60,
    "catqa_vi": 60,
    "multijail": 600,
}
REPEATS = {"contrast": 3, "ailuminate_demo_en": 3, "rbr_gold_prompts": 2}
OFTEN = {"natlang": 6, "everylang": 6, "warmlong": 6, "warmth": 6}
"""The same for contrast rows by the first word of their group: kinds that are few and were missed most."""
FRAMED = 1500  # pairs of a harmful and a harmless message in the same frame, in an epoch
NATURAL = ("contrast", "dolly_6k", "self_instruct_user", "gpteacher_roleplay")


# Sources whose prompts or answers other models wrote, wholly or in part, as far as their authors say.
MODEL_OUTPUTS = frozenset(
    [
        "aart",
        "advbench",
        "catqa_en",
        "catqa_vi",
        "catqa_zh",
        "cyberseceval_frr",
        "cyberseceval_frr_multilingual",
        "cyberseceval_interpreter",
        "diasafety",
        "forbidden_questions",
        "gpteacher_codegen",
        "gpteacher_roleplay",
        "gpteacher_toolformer",
        "harmfulqa",
        "jbb_artifacts",
        "malicious_instruct",
        "rbr_gold_prompts",
        "rbr_gold_responses",
        "refusal_direction_jbb_runs",
        "self_instruct_predictions",
        "trustllm_misuse_add",
    ]
)


class Row(TypedDict):
    """One labelled conversation."""

    id: NotRequired[str]
    source: str
    messages: Messages
    label: int
    category: str | None
    lang: str
    label_level: NotRequired[str]
    group: NotRequired[str]
    kind: NotRequired[str]
    whole: NotRequired[bool]


@dataclass(frozen=True)
class Example:
    """Token ids and, for each position, the token to predict next (or ``IGNORE``).

    Attributes
    ----------
    ids : list of int
        The rendered conversation and the guard's answer.
    targets : list of int
        Same length; mostly ``IGNORE``.
    """

    ids: list[int]
    targets: list[int]


def read_rows(path: Path) -> list[Row]:
    """Read JSON Lines, gzipped or not.

    Parameters
    ----------
    path : Path
        ``*.jsonl`` or ``*.jsonl.gz``.

    Returns
    -------
    list of Row
        The rows in file order.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


@functools.cache
def read_replies() -> list[dict[str, str]]:
    """Read the refusals and the phrases of compliance that were written for this project.

    Returns
    -------
    list of dict
        ``kind`` ("refusal" or "compliance") and ``text``.
    """
    lines = (CONTRAST / "replies.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def held_out(group: str) -> bool:
    """Say whether a group of contrast rows belongs to the fifth that is never trained on.

    Parameters
    ----------
    group : str
        Name of a pair or small group; its rows stay together.

    Returns
    -------
    bool
        Decided by the SHA-256 of the name alone, so that new rows move no old ones.
    """
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % 5 == 0


def read_contrast() -> tuple[list[Row], list[Row]]:
    """Read the conversations that were written for this project.

    Returns
    -------
    tuple of list of Row
        Rows to train on, and the contrast test, whose ``source`` names its file (``contrast_homonyms``).
    """
    train: list[Row] = []
    test: list[Row] = []
    for path in sorted(CONTRAST.glob("pairs_*.jsonl")):
        for row in read_rows(path):
            if held_out(row["group"]):
                test.append({**row, "source": path.stem.replace("pairs", "contrast")})
            else:
                train.append(row)
    return train, test


def read_training(data: Path, *, model_outputs: bool = True) -> list[Row]:
    """Read everything that may be trained on; never the dev split or the contrast test.

    Parameters
    ----------
    data : Path
        Folder with ``train.jsonl.gz`` and ``dolly_sharealike.jsonl.gz``.
    model_outputs : bool
        Whether to read the sources of ``MODEL_OUTPUTS``.

    Returns
    -------
    list of Row
        Public rows, dolly as prompts and as answers, and the contrast rows.
    """
    rows = read_rows(data / "train.jsonl.gz")
    rows = [row for row in rows if model_outputs or row["source"] not in MODEL_OUTPUTS]
    dolly = read_rows(data / "dolly_sharealike.jsonl.gz")
    asked: list[Row] = [{**row, "messages": row["messages"][:1]} for row in dolly]
    return [*rows, *dolly, *asked, *read_contrast()[0]]


def draw_epoch(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """Draw one epoch: capped sources, repeated contrast rows, augmented forms, shuffled.

    Parameters
    ----------
    rows : sequence of Row
        What ``read_training`` gives.
    rng : random.Random
        Source of chance.

    Returns
    -------
    list of Row
        New rows; the given ones are not changed.
    """
    groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["source"], row["label"]].append(row)
    drawn: list[Row] = []
    for (source, _), members in sorted(groups.items()):
        chosen = rng.sample(members, min(len(members), CAPS.get(source, len(members))))
        for row in chosen:
            drawn += [row] * OFTEN.get(str(row.get("group", "")).split("-")[0], REPEATS.get(source, 1))
    drawn = [_vary(row, drawn, rng) for row in drawn]
    drawn += _replies(rows, 1500, rng)
    drawn += framed_pairs(rows, FRAMED, rng)
    drawn += [_odd_input(rng) for _ in range(500)]
    rng.shuffle(drawn)
    return drawn


def _vary(row: Row, pool: Sequence[Row], rng: random.Random) -> Row:
    messages = [dict(message) for message in row["messages"]]
    last = messages[-1]
    chance = rng.random()
    if chance < 0.10:
        last["content"] = last["content"].lower()
    elif chance < 0.13:
        last["content"] = last["content"].upper()
    elif chance < 0.20:
        last["content"] = last["content"].rstrip(".?! ")
    elif chance < 0.27:
        last["content"] = _typos(last["content"], rng)
    elif chance < 0.30:
        last["content"] = rng.choice(OPENERS) + last["content"]
    elif chance < 0.35:
        last["content"] = draw_disguise(last["content"], rng)(last["content"])
    if rng.random() < 0.07:
        messages = _earlier_turns(row, pool, rng) + messages
    if row["source"] == "contrast" and last["role"] == "assistant":  # the harm may stand in the middle
        return {**row, "messages": messages, "whole": True}
    return {**row, "messages": messages}


def _earlier_turns(row: Row, pool: Sequence[Row], rng: random.Random) -> Messages:
    """Make earlier turns whose harm, if any, must not colour the last message."""
    other = rng.choice(pool)
    if other["label"] == 1 and len(other["messages"]) == 1:
        reply = rng.choice([r for r in read_replies() if r["kind"] == "refusal"])
        if row["label"] == 0 or rng.random() < 0.5:
            return [*other["messages"], {"role": "assistant", "content": reply["text"]}]
    if len(other["messages"]) % 2 == 0 and other["label"] == 0:
        return list(other["messages"])
    return []


def _replies(rows: Sequence[Row], count: int, rng: random.Random) -> list[Row]:
    """Answer requests with refusals (safe) and with compliance (as harmful as the request)."""
    replies = read_replies()
    requests = [row for row in rows if len(row["messages"]) == 1 and row["lang"] == "en"]
    harmful = [row for row in requests if row["label"] == 1 and row["source"] not in ("davidson_hate", "convabuse")]
    harmless = [
        row for row in requests if row["source"] in ("dolly_6k", "self_instruct_user", "contrast", "gpteacher_roleplay")
    ]
    out: list[Row] = []
    for _ in range(count):
        reply = rng.choice(replies)
        row = rng.choice(harmful if rng.random() < 0.75 else harmless)
        label = row["label"] if reply["kind"] == "compliance" else 0
        answer = {"role": "assistant", "content": reply["text"]}
        out.append({**row, "messages": [*row["messages"], answer], "label": label, "label_level": "response"})
    return out


def _last(row: Row) -> str:
    return row["messages"][-1]["content"]


def framed_pairs(rows: Sequence[Row], count: int, rng: random.Random) -> list[Row]:
    """Put a harmless and a harmful message of one group into the same neutral frame, now and then disguised alike.

    Parameters
    ----------
    rows : sequence of Row
        What ``read_training`` gives; spans come from contrast groups that hold both labels, neutral text from
        passages and from long harmless messages.
    count : int
        How many pairs.
    rng : random.Random
        Source of chance.

    Returns
    -------
    list of Row
        Pairs, the harmless one first, marked ``whole`` so that no message is cut out of its frame; empty where the
        rows hold no such groups.
    """
    harmless = [row for row in rows if row["label"] == 0 and row["source"] in NATURAL]
    passages = [_last(row) for row in harmless if row.get("kind") == "neutral" or 300 <= len(_last(row)) <= 1500]
    decoys = [_last(row) for row in harmless if len(row["messages"]) == 1 and len(_last(row)) <= 150]
    groups: dict[tuple[str, str], tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for row in rows:
        if row["source"] == "contrast" and len(_last(row)) <= 400 and row.get("kind") != "neutral":
            groups[row.get("group", ""), row["messages"][-1]["role"]][row["label"]].append(row)
    both = [found for found in groups.values() if all(found)]
    if not both or not passages or not decoys:
        return []
    out: list[Row] = []
    for _ in range(count):
        pair, frame = [rng.choice(side) for side in rng.choice(both)], draw_frame(passages, decoys, rng)
        disguised = draw_disguise(max(map(_last, pair), key=len), rng) if rng.random() < 0.1 else str
        for row in pair:
            message = {**row["messages"][-1], "content": frame.around(disguised(_last(row)))}
            out.append({**row, "messages": [*row["messages"][:-1], message], "whole": True})
    return out


OPENERS = (
    "hi, ",
    "Hello! ",
    "hey there. ",
    "Please: ",
    "quick question: ",
    "I was wondering, ",
    "ok so ",
    "One more: ",
)


def _typos(text: str, rng: random.Random) -> str:
    letters = list(text)
    for _ in range(1 + len(letters) // 40):
        at = rng.randrange(max(1, len(letters) - 1))
        if letters[at : at + 2] and "".join(letters[at : at + 2]).isalpha():
            letters[at : at + 2] = rng.choice([letters[at : at + 1], letters[at : at + 2][::-1]])
    return "".join(letters)


def _odd_input(rng: random.Random) -> Row:
    """Make a harmless oddity: one character, digits, emoji, symbols, a keyboard smash, blank forms."""
    alphabets = (
        "abcdefghijklmnopqrstuvwxyz ",
        "0123456789 .,+-*/=",
        "!?.,;:()[]{}<>@#$%^&*_-+=|\\/~`'\"\n",
        "😀😂🎉👍❤️🙏🔥🐶🌍🍕✈️☕️🎂🤔",
        "あいうえおかきくけこ日本語中文字漢한국어русскийالعربيةไทยहिंदी",
        "".join(chr(code) for code in range(0x20, 0x17F)),
    )
    size = rng.choice((1, 1, 2, 3, 5, 8, 20, 60, 200))
    content = "".join(rng.choices(rng.choice(alphabets), k=size)).strip() or rng.choice(".ok")
    if rng.random() < 0.1:
        content = (content[:5] + " ") * rng.randrange(2, 80)
    messages: Messages = [{"role": "user", "content": content}]
    if rng.random() < 0.3:
        messages = [{"role": "user", "content": "ok"}, {"role": "assistant", "content": content}]
    return {"source": "odd", "messages": messages, "label": 0, "category": None, "lang": "und"}


def encode(row: Row, tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> Example:
    """Render and tokenize a row, with targets at the whitespace, the verdict, the code and the end.

    Parameters
    ----------
    row : Row
        The conversation and its label.
    tokenizer : PreTrainedTokenizerFast
        The guard's tokenizer.
    max_tokens : int
        Longest prompt; longer contents are cut at their middle.

    Returns
    -------
    Example
        Ids and targets.
    """
    messages = row["messages"]
    end = tokenizer.eos_token_id
    answer = "\n\nunsafe" if row["label"] else "\n\nsafe"
    closed = not row["label"]
    if row["label"] and row["category"]:
        answer, closed = f"{answer}\n{row['category']}", True
    prompt = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), verbose=False)["input_ids"]
    for _ in range(20):
        if len(prompt) <= max_tokens:
            break
        messages = _shorten(messages, max_tokens / len(prompt))
        prompt = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), verbose=False)["input_ids"]
    tail = tokenizer(answer)["input_ids"] + [end] * closed
    ids = [*prompt, *tail]
    return Example(ids[:-1], [IGNORE] * (len(prompt) - 1) + tail)


def _shorten(messages: Messages, share: float) -> Messages:
    longest = max(range(len(messages)), key=lambda i: len(messages[i]["content"]))
    content = messages[longest]["content"]
    if len(messages) > 3 or (len(messages) == 3 and len(content) < 80):
        return messages[2:]
    half = max(1, int(len(content) * min(share, 0.95) / 2))
    cut = {**messages[longest], "content": f"{content[:half]} {content[len(content) - half :]}"}
    return [*messages[:longest], cut, *messages[longest + 1 :]]


def batches(examples: Sequence[Example], max_tokens: int, rng: random.Random) -> Iterator[list[Example]]:
    """Group examples of similar length and equal beginning under a budget of padded tokens, in random order.

    Parameters
    ----------
    examples : sequence of Example
        One epoch.
    max_tokens : int
        Padded tokens in a batch.
    rng : random.Random
        Source of chance.

    Yields
    ------
    list of Example
        A batch.
    """
    ordered = sorted(examples, key=lambda e: (e.ids[:20], len(e.ids) + rng.random() * 12))
    groups: list[list[Example]] = [[]]
    for example in ordered:
        if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > max_tokens:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    yield from groups
