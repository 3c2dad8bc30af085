"""Clean the parsed rows: empty and repeated ones go, and training rows near a row kept for measuring."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from .base import DEV, HELD_OUT, TRAIN, UNUSED, Example, Messages, Source

NEAR = 0.7
GRAM = 5
SHORTEST = 12
WORD = re.compile(r"\w+")

Grams = frozenset[str]
Labelled = tuple[Source, str, Example]


def has_text(example: Example) -> bool:
    """Return whether every message of an example says something."""
    return all(text for _, text in example.messages)


def asked(example: Example) -> str:
    """Return what an example is compared by: the request behind it, else its last user turn."""
    turns = [text for role, text in example.messages if role == "user"]
    return example.origin or turns[-1]


def join_words(text: str) -> str:
    """Return a text's words in lower case, one space between them."""
    return " ".join(WORD.findall(text.lower()))


def grams(words: str) -> Grams:
    """Return the character 5-grams of joined words, a space at either end."""
    padded = f" {words} "
    return frozenset(padded[start : start + GRAM] for start in range(max(1, len(padded) - GRAM + 1)))


class NearIndex:
    """Texts kept for measuring, to be asked whether another text is nearly one of them.

    Nearly means a Jaccard similarity of at least `NEAR` between the sets of character 5-grams. Two such sets
    share a gram among the few rarest of each, so only those are indexed. A text of fewer than `SHORTEST`
    characters is near nothing: greetings are everybody's.

    Parameters
    ----------
    texts
        The texts kept for measuring.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        known = {join_words(text) for text in texts}
        self._sets = list({grams(words) for words in known if len(words) >= SHORTEST})
        self._counts = Counter(gram for items in self._sets for gram in items)
        self._postings: dict[str, list[int]] = defaultdict(list)
        for position, items in enumerate(self._sets):
            for gram in self._rarest(items):
                self._postings[gram].append(position)

    def _rarest(self, items: Grams) -> list[str]:
        """Return as many of the rarest grams as a near set must share one of."""
        count = len(items) - math.ceil(NEAR * len(items)) + 1
        unseen = [gram for gram in items if gram not in self._counts]
        if len(unseen) >= count:
            return []
        seen = sorted((self._counts[gram], gram) for gram in items if gram in self._counts)
        return [gram for _, gram in seen[: count - len(unseen)]]

    def is_near(self, text: str) -> bool:
        """Return whether a text is nearly one of the indexed texts."""
        words = join_words(text)
        if len(words) < SHORTEST:
            return False
        items = grams(words)
        positions = set().union(*(self._postings.get(gram, ()) for gram in self._rarest(items)))
        sizes = range(math.ceil(NEAR * len(items)), int(len(items) / NEAR) + 1)
        candidates = (self._sets[position] for position in positions)
        return any(
            NEAR * (len(items) + len(other) - shared) <= shared
            for other in candidates
            if len(other) in sizes
            for shared in (len(items & other),)
        )


def drop_repeats(parsed: Iterable[Labelled]) -> list[Labelled]:
    """Drop unused and empty examples, and those whose messages an earlier one has."""
    seen: set[Messages] = set()
    kept = []
    for source, split, example in parsed:
        if split == UNUSED or not has_text(example):
            continue
        if example.messages in seen and not source.keeps_repeats:
            continue
        seen.add(example.messages)
        kept.append((source, split, example))
    return kept


def curate(parsed: Iterable[Labelled]) -> list[Labelled]:
    """Return the training and development examples of a set, in its order.

    Parameters
    ----------
    parsed
        Examples with their source and split, held-out ones included.

    Returns
    -------
    list
        What is left without empty, repeated, unused and held-out examples, and without training examples that
        ask nearly what a development or held-out example asks. The share-alike file is not compared: it was
        built apart.
    """
    kept = drop_repeats(parsed)
    index = NearIndex(asked(example) for _, split, example in kept if split in (DEV, HELD_OUT))
    return [
        (source, split, example)
        for source, split, example in kept
        if split == DEV or (split == TRAIN and (source.output != TRAIN or not index.is_near(asked(example))))
    ]
