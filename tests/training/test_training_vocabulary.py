"""What the guard's vocabulary costs is measured as it says, and what is cut is chosen by what is counted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from training.surgery import choose_tokens, count_tokens
from training.vocabulary import is_fragment, measure_cost, read_texts

TOKENIZER = Path(__file__).parents[2] / "guard_magic" / "embedded" / "tokenizer.json"


@pytest.fixture(scope="module")
def backend() -> dict[str, Any]:
    return json.loads(TOKENIZER.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TOKENIZER))


def test_counts_are_those_of_the_tokens(backend: dict[str, Any], tokenizer: Tokenizer) -> None:
    texts = ["A letter to the landlord, a letter.", "Где ключ?", ""]
    expected = Counter(token for text in texts for token in tokenizer.encode(text).tokens)
    assert count_tokens(backend, texts) == expected


def test_a_frequent_token_is_kept_though_it_ranks_late(backend: dict[str, Any]) -> None:
    late = "".join(backend["model"]["merges"][-500])
    assert late not in choose_tokens(backend, Counter(), 4000, 2000)
    kept = choose_tokens(backend, Counter({late: 9}), 4000, 2000)
    assert late in kept
    assert len(kept) == 4000


def test_pieces_of_characters_are_fragments() -> None:
    assert [is_fragment(token) for token in ("the", "Ġthe", "Ġ", "Ċ", "Ã©", "ĠÐ´")] == [False] * 6
    assert [is_fragment(token) for token in ("Ã", "ĠÐ", "©", "à¤")] == [True] * 4


def test_costs_by_hand(tokenizer: Tokenizer) -> None:
    assert measure_cost(tokenizer, ["the"]) == {"per_character": 1 / 3, "per_text": 1, "fragments": 0}
    korean = measure_cost(tokenizer, ["가"])
    assert korean == {"per_character": 3, "per_text": 3, "fragments": 1}


def test_every_language_is_read() -> None:
    texts = read_texts()
    assert len(texts) >= 40
    assert all(len(found) >= 12 for found in texts.values())
    assert len(texts["en"]) == 40
