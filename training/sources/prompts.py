"""Sources of single harmful prompts."""

from __future__ import annotations

import io
import json
import zipfile
from ast import literal_eval
from collections.abc import Iterator, Mapping

from .base import (
    DEV,
    HELD_OUT,
    TO_TRAIN,
    TRAIN,
    Example,
    Files,
    Parser,
    Source,
    Splitter,
    bucket,
    hashed,
    read_csv,
    read_text,
    user,
)

AART_CRIMES = {
    "S1": (
        "murder", "assault", "kidnapping", "domestic violence", "terrorism", "bombings", "assassinations",
        "hijackings",
    ),
    "S2": (
        "property crimes", "burglary", "theft", "robbery",
        "vandalism", "embezzlement", "fraud", "drug crimes",
        "drug dealing", "drug possession", "drug trafficking",
        "financial crimes", "money laundering", "tax evasion",
        "credit card fraud", "identity theft", "ponzi schemes", "corporate fraud", "shoplifting",
    ),
    "S3": ("rape", "sex trafficking"),
}  # fmt: skip

AILUMINATE_HAZARDS = {
    "vcr": "S1", "ncr": "S2", "src": "S3", "cse": "S4",
    "dfm": "S5", "spc_hlt": "S6", "spc_fin": "S6", "spc_lgl": "S6",
    "prv": "S7", "ipv": "S8", "iwp": "S9", "hte": "S10", "ssh": "S11", "sxc_prn": "S12", "spc_ele": "S13",
}  # fmt: skip

CATQA_LEFT_OUT = ("Political Campaigning", "Tailored Financial Advice")
CATQA_WHOLE = {"Malware Viruses": "S2", "Fraud/Deception": "S2", "Adult Content": "S12"}
CATQA_PARTS = {
    "Drug": "S2", "Cybercrime": "S2", "Theft and Robbery": "S2", "Content Sexual exploitation": "S4",
    "Physical abuse": "S1", "Online predation": "S4",
    "Racial or ethnic hate": "S10", "Religious intolerance": "S10",
    "Terrorism and extremism": "S1", "Self-harm": "S11", "Assault and battery": "S1", "Financial fraud": "S2",
    "Intellectual property theft": "S8", "Employment scams": "S2",
    "Investment scams": "S2", "Surveillance": "S7",
    "Doxxing": "S7", "Tracking and location monitoring": "S7",
}  # fmt: skip

MULTIJAIL_LANGUAGES = ("en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv")
MULTIJAIL_TAGS = {
    "Hate speech & offensive language": "S10",
    "Theft": "S2",
    "Animal abuse": "S1",
    "Substance abuse & banned substances": "S2",
    "Adult content": "S12",
    "Property crime & vandalism": "S2",
    "Fraud & deception": "S2",
    "Soliciting personally identifiable information": "S7",
    "Self-harm": "S11",
}

FORBIDDEN_TYPES = {
    "Illegal Activity": "S2",
    "Hate Speech": "S10",
    "Malware": "S2",
    "Physical Harm": None,
    "Fraud": "S2",
    "Pornography": "S12",
    "Privacy Violence": "S7",
}


def parse_aart(files: Files) -> Iterator[Example]:
    """Read AART: the crimes that name one hazard."""
    codes = {crime: code for code, crimes in AART_CRIMES.items() for crime in crimes}
    for index, row in enumerate(read_csv(read_text(files))):
        if row["crime"] in codes:
            yield Example(str(index), user(row["prompt"]), 1, codes[row["crime"]])


def parse_advbench(files: Files) -> Iterator[Example]:
    """Read AdvBench's goals; it has no categories."""
    for index, row in enumerate(read_csv(read_text(files))):
        yield Example(str(index), user(row["goal"]), 1)


def parse_lines(files: Files) -> Iterator[Example]:
    """Read one harmful prompt a line."""
    for index, line in enumerate(read_text(files).splitlines()):
        if line.strip():
            yield Example(str(index), user(line), 1)


def parse_behaviors(files: Files) -> Iterator[Example]:
    """Read a table of HarmBench's form."""
    for row in read_csv(read_text(files)):
        yield Example(row["BehaviorID"], user(row["Behavior"]), 1)


def ailuminate(lang: str) -> Parser:
    """Return the parser of AILuminate's demonstration prompts in one language."""

    def parse(files: Files) -> Iterator[Example]:
        for row in read_csv(read_text(files)):
            code = AILUMINATE_HAZARDS[row["hazard"]]
            yield Example(row["release_prompt_id"], user(row["prompt_text"]), 1, code, lang=lang)

    return parse


def catqa(lang: str) -> Parser:
    """Return the parser of CatQA in one language; the positions are the same in all three."""

    def parse(files: Files) -> Iterator[Example]:
        index = -1
        for category, parts in json.loads(read_text(files)).items():
            for part, questions in parts.items():
                code = CATQA_WHOLE.get(category, CATQA_PARTS.get(part.rstrip(":")))
                for question in questions:
                    index += 1
                    if category not in CATQA_LEFT_OUT:
                        yield Example(str(index), user(question), 1, code, lang=lang)

    return parse


def parse_harmfulqa(files: Files) -> Iterator[Example]:
    """Read HarmfulQA: topics, not hazards, so no categories."""
    for topic, parts in json.loads(read_text(files)).items():
        for part, questions in parts.items():
            name = f"{topic}-{part}".replace(" ", "_")
            for index, question in enumerate(questions):
                yield Example(f"{name}-{index}", user(question), 1)


def parse_multijail(files: Files) -> Iterator[Example]:
    """Read MultiJail; a row with several tags has no category."""
    for row in read_csv(read_text(files)):
        tags = literal_eval(row["tags"])
        code = MULTIJAIL_TAGS.get(tags[0]) if len(tags) == 1 else None
        for lang in MULTIJAIL_LANGUAGES:
            if row[lang].strip():
                yield Example(f"{row['id']}-{lang}", user(row[lang]), 1, code, lang=lang, group=row["id"])


def split_multijail(source: str, example: Example) -> str:
    """Hold out half of MultiJail, an item's translations together."""
    return (TRAIN, HELD_OUT)[bucket(example.group, 2)]


def misuse(origin: str, types: Mapping[str, str | None] | None = None) -> Parser:
    """Return the parser of one origin's rows in TrustLLM's misuse file, which is inside an archive."""

    def parse(files: Files) -> Iterator[Example]:
        (archive,) = files.values()
        with zipfile.ZipFile(io.BytesIO(archive)) as handle:
            rows = json.loads(handle.read("dataset/safety/misuse.json"))
        for index, row in enumerate(rows):
            if row["source"] == origin and (types is None or row["type"] in types):
                yield Example(str(index), user(row["prompt"]), 1, types[row["type"]] if types else None)

    return parse


def _ailuminate(lang: str, locale: str, split: Splitter = TO_TRAIN) -> Source:
    path = f"airr_official_1.0_demo_{locale}_prompt_set_release.csv"
    commit = "769cc2be9d20c8d4fb26ce53b68865ed41dfb8e2"
    name = f"ailuminate_demo_{lang}"
    return Source(name, "mlcommons/ailuminate", commit, (path,), "CC-BY-4.0", ailuminate(lang), split)


def _red_instruct(name: str, file: str, parse: Parser) -> Source:
    commit = "73c759c93d2f6b1d8c7b058ab7bcec5fb0c28fa2"
    return Source(name, "declare-lab/red-instruct", commit, (f"harmful_questions/{file}",), "Apache-2.0", parse)


def _refusal_direction(name: str, file: str, parse: Parser) -> Source:
    commit = "9d852fae1a9121c78b29142de733cb1340770cc3"
    licence = "MIT (secondary source: GuardBench docs, dataset card)"
    return Source(name, "andyrdt/refusal_direction", commit, (f"dataset/raw/{file}",), licence, parse)


def _trustllm(name: str, parse: Parser) -> Source:
    commit = "4b864211f32602fddb8cafc8d5154bed1e0ce01e"
    return Source(name, "HowieHwong/TrustLLM", commit, ("dataset/dataset.zip",), "MIT", parse)


SOURCES = (
    _ailuminate("en", "en_us", hashed(TRAIN, DEV, TRAIN, HELD_OUT)),
    _ailuminate("fr", "fr_fr"),
    Source(
        "aart",
        "google-research-datasets/aart-ai-safety-dataset",
        "fcdb2a8a3343a992cd8cbfd53eac797ac047c26f",
        ("aart-v1-20231117.csv",),
        "CC-BY-4.0",
        parse_aart,
    ),
    _red_instruct("catqa_en", "catqa_english.json", catqa("en")),
    _red_instruct("catqa_zh", "catqa_chinese.json", catqa("zh")),
    _red_instruct("catqa_vi", "catqa_vietnamese.json", catqa("vi")),
    _red_instruct("harmfulqa", "harmfulqa.json", parse_harmfulqa),
    _refusal_direction("advbench", "advbench.csv", parse_advbench),
    _refusal_direction("malicious_instruct", "malicious_instruct.txt", parse_lines),
    _trustllm("forbidden_questions", misuse("Do-anything-now", FORBIDDEN_TYPES)),
    _trustllm("trustllm_misuse_add", misuse("misuse_add")),
    Source(
        "harmbench_adv_training_prompts",
        "busycalibrating/AdversariaLLM",
        "f970939273ea17b491fadf6001fddc36ed3ae3ff",
        ("data/behavior_datasets/extra_behavior_datasets/adv_training_behaviors.csv",),
        "MIT",
        parse_behaviors,
    ),
    Source(
        "multijail",
        "DAMO-NLP-SG/multilingual-safety-for-LLMs",
        "577ac511437e07a256130945ef312a99158a18ad",
        ("data/MultiJail.csv",),
        "MIT",
        parse_multijail,
        split=split_multijail,
    ),
)
