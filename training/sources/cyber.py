"""CyberSecEval: requests that look dangerous and are not, and requests that abuse a code interpreter."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .base import HELD_OUT, TO_TRAIN, TRAIN, Example, Files, Parser, Source, Splitter, hashed, read_text, user

LANGUAGES = {
    "Portuguese": "pt", "Spanish": "es", "Italian": "it", "German": "de",
    "French": "fr", "Hindi": "hi", "Thai": "th",
}  # fmt: skip


def cyberseceval(field: str, label: int, category: str | None = None) -> Parser:
    """Return the parser of a list of objects whose prompt is in `field` and which share one label."""

    def parse(files: Files) -> Iterator[Example]:
        for index, row in enumerate(json.loads(read_text(files))):
            lang = LANGUAGES.get(row.get("speaking_language"), "en")
            yield Example(str(index), user(row[field]), label, category, lang=lang)

    return parse


def _source(name: str, path: str, parse: Parser, split: Splitter = TO_TRAIN) -> Source:
    commit = "4be64c3a24442b51c76175e6ec67722cc3f5fe38"
    paths = (f"CybersecurityBenchmarks/datasets/{path}.json",)
    return Source(name, "meta-llama/PurpleLlama", commit, paths, "MIT", parse, split)


SOURCES = (
    _source(
        "cyberseceval_interpreter",
        "interpreter/interpreter",
        cyberseceval("mutated_prompt", 1, "S14"),
        split=hashed(HELD_OUT, TRAIN, TRAIN, TRAIN, TRAIN),
    ),
    _source("cyberseceval_frr", "mitre_frr/mitre_frr", cyberseceval("mutated_prompt", 0)),
    _source(
        "cyberseceval_frr_multilingual",
        "mitre_frr/frr_multilingual_machine_translated",
        cyberseceval("mutated_prompt", 0),
    ),
    _source("cyberseceval_instruct", "instruct/instruct", cyberseceval("test_case_prompt", 0)),
)
