"""Measure what each language costs in the guard's vocabulary, and which languages fall to bytes.

Usage: ``python -m training.vocabulary --guard guard_magic/embedded``. The texts are those of the language test and, for
languages that it lacks, everyday contrast rows.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from training.examples import CONTRAST, TESTS, read_rows

COSTLY = 1.5
BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
Cost = dict[str, float]


def is_fragment(token: str) -> bool:
    """Say whether a token is a piece of a character and holds no whole one.

    Parameters
    ----------
    token : str
        As a byte-level tokenizer names it.

    Returns
    -------
    bool
        Whether its bytes are no text, neither alone nor without a leading space.
    """
    raw = bytes(BYTES[letter] for letter in token).lstrip(b" ")
    return bool(raw) and not raw.decode("utf-8", errors="ignore")


def measure_cost(tokenizer: Tokenizer, texts: Sequence[str]) -> Cost:
    """Measure what texts of one language cost.

    Parameters
    ----------
    tokenizer : Tokenizer
        The guard's.
    texts : sequence of str
        At least one text that is not empty.

    Returns
    -------
    dict of str to float
        ``per_character`` and ``per_text``, in tokens; ``fragments``, the share of tokens that hold no whole character.
    """
    tokens = [token for text in texts for token in tokenizer.encode(text, add_special_tokens=False).tokens]
    return {
        "per_character": len(tokens) / sum(map(len, texts)),
        "per_text": len(tokens) / len(texts),
        "fragments": sum(map(is_fragment, tokens)) / len(tokens),
    }


def read_texts() -> dict[str, list[str]]:
    """Read texts by language.

    Returns
    -------
    dict of str to list of str
        Those of the language test; everyday contrast rows for the other languages.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(TESTS / "languages.jsonl"):
        found[row["lang"]].append(row["messages"][-1]["content"])
    others = [row for row in read_rows(CONTRAST / "pairs_languages_everyday.jsonl") if row["lang"] not in found]
    for row in others:
        found[row["lang"]].append(row["messages"][-1]["content"])
    return dict(found)


def main() -> None:
    """Print a table, cheapest language first, and one JSON line with the costly ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guard", type=Path, default=Path("guard_magic/embedded"))
    tokenizer = Tokenizer.from_file(str(parser.parse_args().guard / "tokenizer.json"))
    costs = {language: measure_cost(tokenizer, texts) for language, texts in read_texts().items()}
    ordered = sorted(costs.items(), key=lambda item: item[1]["per_character"])
    print("| language | tokens a character | tokens a text | tokens without a whole character |\n|---|---|---|---|")
    for language, cost in ordered:
        print(f"| {language} | {cost['per_character']:.2f} | {cost['per_text']:.0f} | {cost['fragments']:.2f} |")
    costly = [language for language, cost in ordered if cost["per_character"] > COSTLY]
    print(json.dumps({"limit": COSTLY, "costly": costly}))


if __name__ == "__main__":
    main()
