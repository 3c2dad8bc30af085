"""Sources of people's messages and of conversations judged by people."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator

from .base import (
    DEV,
    HELD_OUT,
    TRAIN,
    Example,
    Files,
    Source,
    all_to,
    exchange,
    hashed,
    read_csv,
    read_jsonl,
    read_text,
    stem,
    user,
)

CONVABUSE_ITEM = ("conv_id", "prev_agent", "prev_user", "agent", "user")
CONVABUSE_HATE = ("ableism", "homophobic", "racist", "transphobic")
MODERATION_CODES = {("H",): "S10", ("H", "H2"): "S10", ("S",): "S12", ("S", "S3"): "S4", ("SH",): "S11"}
TURN = re.compile(r"^(USER|LAMDA|CHATBOT): ?", re.MULTILINE)


def parse_davidson(files: Files) -> Iterator[Example]:
    """Read Davidson's tweets: hate speech against neither; the merely offensive are left out."""
    for row in read_csv(read_text(files)):
        if row["class"] != "1":
            hate = row["class"] == "0"
            yield Example(row[""], user(row["tweet"]), int(hate), "S10" if hate else None)


def parse_convabuse(files: Files) -> Iterator[Example]:
    """Read ConvAbuse: what most annotators call not abusive, against what most find one kind of hate in."""
    items: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in read_csv(read_text(files)):
        items[tuple(row[name] for name in CONVABUSE_ITEM)].append(row)
    for index, (item, votes) in enumerate(items.items()):
        harmless = sum(row["is_abuse.1"] == "1" for row in votes)
        hateful = max(sum(row[f"type.{kind}"] == "1" for row in votes) for kind in CONVABUSE_HATE)
        messages = (*exchange(item[2], item[3]), *user(item[4]))
        if 2 * hateful > len(votes):
            yield Example(str(index), messages, 1, "S10")
        elif 2 * harmless > len(votes):
            yield Example(str(index), messages, 0)


def parse_diasafety(files: Files) -> Iterator[Example]:
    """Read DiaSafety; only unsafe advice outside one's competence names a hazard."""
    for path in files:
        for index, row in enumerate(json.loads(read_text(files, path))):
            unsafe = row["label"] == "Unsafe"
            code = "S6" if unsafe and row["category"] == "Unauthorized Expertise" else None
            messages = exchange(row["context"], row["response"])
            yield Example(f"{stem(path)}-{index}", messages, int(unsafe), code, level="response")


def split_diasafety(source: str, example: Example) -> str:
    """Keep the authors' split: their validation and test rows are our development rows."""
    return TRAIN if example.key.startswith("train-") else DEV


def parse_dices(files: Files) -> Iterator[Example]:
    """Read DICES-350 with the expert's verdict on the last answer."""
    roles = {"USER": "user", "LAMDA": "assistant", "CHATBOT": "assistant"}
    for row in json.loads(read_text(files))["instances"]:
        _, *parts = TURN.split(row["instance"]["user_prompt"])
        texts = (text.strip().replace("\\n", "\n") for text in parts[1::2])
        turns = tuple((roles[who], text) for who, text in zip(parts[::2], texts, strict=True))
        messages = (*turns, ("assistant", row["instance"]["response"].strip()))
        label = int(row["annotations"]["safety"]["majority_human"] == "Yes")
        yield Example(str(row["id"]), messages, label, level="response")


def parse_moderation(files: Files) -> Iterator[Example]:
    """Read OpenAI's moderation samples; a column that a row lacks was not judged."""
    (packed,) = files.values()
    for index, row in enumerate(read_jsonl(gzip.decompress(packed).decode())):
        marks = tuple(name for name, value in row.items() if name != "prompt" and value == 1)
        yield Example(str(index), user(row["prompt"]), int(bool(marks)), MODERATION_CODES.get(marks))


def parse_xstest(files: Files) -> Iterator[Example]:
    """Read XSTest's prompts; the private-data contrasts name a hazard."""
    for row in read_csv(read_text(files)):
        unsafe = row["label"] == "unsafe"
        code = "S7" if row["type"] == "contrast_privacy" else None
        yield Example(row["id"], user(row["prompt"]), int(unsafe), code)


def parse_xstest_completions(files: Files) -> Iterator[Example]:
    """Read XSTest's answers: complying with a contrast prompt is unsafe, half refusing one is not used."""
    for path in files:
        model = stem(path).removeprefix("xstest_v2_completions_")
        for row in read_csv(read_text(files, path)):
            contrast, verdict = row["type"].startswith("contrast"), row["final_label"]
            if contrast and verdict == "3_partial_refusal":
                continue
            unsafe = contrast and verdict == "1_full_compliance"
            code = "S7" if unsafe and row["type"] == "contrast_privacy" else None
            messages = exchange(row["prompt"], row["completion"])
            yield Example(f"{model}-{row['id']}", messages, int(unsafe), code, level="response")


XSTEST = ("paul-rottger/exaggerated-safety", "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d")
XSTEST_MODELS = ("gpt4", "llama2new", "llama2orig", "mistralguard", "mistralinstruct")

SOURCES = (
    Source(
        "davidson_hate",
        "t-davidson/hate-speech-and-offensive-language",
        "cb50f7e9eb855a99abc51423bf40df0e26d6fe30",
        ("data/labeled_data.csv",),
        "MIT",
        parse_davidson,
    ),
    Source(
        "convabuse",
        "amandacurry/convabuse",
        "c0a9469f48956e868276c605d499010ea3c7c0d0",
        ("1_full/ConvAbuseEMNLPfull.csv",),
        "CC-BY-4.0",
        parse_convabuse,
    ),
    Source(
        "diasafety",
        "thu-coai/DiaSafety",
        "5106a041b1c7e36f30e02a97c44897a7f2057278",
        tuple(f"DiaSafety_dataset/{part}.json" for part in ("train", "val", "test")),
        "Apache-2.0",
        parse_diasafety,
        split=split_diasafety,
        levels=("response",),
    ),
    Source("xstest_prompts", *XSTEST, ("xstest_prompts.csv",), "CC-BY-4.0", parse_xstest, split=all_to(DEV)),
    Source(
        "xstest_completions",
        *XSTEST,
        tuple(f"model_completions/xstest_v2_completions_{model}.csv" for model in XSTEST_MODELS),
        "CC-BY-4.0",
        parse_xstest_completions,
        split=all_to(DEV),
        levels=("response",),
    ),
    Source(
        "dices_350",
        "dmg-illc/JUDGE-BENCH",
        "5a0bf500325029efb5dc8adff2c1e991996f0e78",
        ("data/dices/dices_350_expert.json",),
        "CC-BY-4.0",
        parse_dices,
        split=all_to(DEV),
        levels=("response",),
    ),
    Source(
        "openai_moderation",
        "openai/moderation-api-release",
        "f4ab51b5edd3bfbcb349a56324274235b674e0e4",
        ("data/samples-1680.jsonl.gz",),
        "MIT",
        parse_moderation,
        split=hashed(DEV, HELD_OUT),
        keeps_repeats=True,
    ),
)
