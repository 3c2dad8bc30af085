"""What every source is made of: the pinned files, the parser, and the row the parser yields.

A parser is a pure function of the files' bytes. It knows nothing of the network, of the other sources or of
the duplicates between them; `curate` does the rest.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Messages = tuple[tuple[str, str], ...]
Files = Mapping[str, bytes]

TRAIN, DEV, HELD_OUT, UNUSED = "train", "dev", "held_out", "unused"


@dataclass(frozen=True)
class Example:
    """One labelled conversation as a parser yields it.

    Parameters
    ----------
    key
        Name of the row inside its source; it decides the split and never changes.
    messages
        The conversation; the last message is the one that the label is about.
    label
        1 for unsafe, 0 for safe.
    category
        Hazard code, or None where the source does not say or says several.
    level
        ``"prompt"`` or ``"response"``: the role that the label is about.
    lang
        ISO 639-1 code.
    group
        Rows of one group share a split; the key where empty.
    origin
        The request behind a disguised prompt, compared with the held-out sets in place of the prompt.
    """

    key: str
    messages: Messages
    label: int
    category: str | None = None
    level: str = "prompt"
    lang: str = "en"
    group: str = ""
    origin: str = ""


Parser = Callable[[Files], Iterator[Example]]
Splitter = Callable[[str, Example], str]


def all_to(split: str) -> Splitter:
    """Return a splitter that sends every row to one split."""
    return lambda source, example: split


TO_TRAIN = all_to(TRAIN)


def hashed(*splits: str) -> Splitter:
    """Return a splitter that deals the rows over `splits` by the SHA-1 of their name."""
    return lambda source, example: splits[bucket(f"{source}:{example.group or example.key}", len(splits))]


def bucket(name: str, count: int) -> int:
    """Return the bucket, below `count`, of a name; the same on every machine."""
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % count


@dataclass(frozen=True)
class Source:
    """A public data set: where it is, under which licence, how it is read and split.

    Parameters
    ----------
    name
        Name in the manifest, and the first half of each row's id.
    repository, commit
        GitHub repository (``owner/name``) and the full hash of the pinned commit.
    paths
        Files to read; ``*`` matches inside one folder.
    licence
        Licence as the manifest states it, written to each row.
    parse
        Function from the files to examples.
    split
        Function that gives the split of an example.
    levels
        Label levels that the source gives.
    verified
        Whether the parser was run on the pinned files and compared with the set the guard was trained on.
    output
        Stem of the file that the training rows go to.
    keeps_repeats
        Whether rows that repeat one another are kept, as they are in a set used for measuring as published.
    """

    name: str
    repository: str
    commit: str
    paths: tuple[str, ...]
    licence: str
    parse: Parser
    split: Splitter = TO_TRAIN
    levels: tuple[str, ...] = ("prompt",)
    verified: bool = True
    output: str = TRAIN
    keeps_repeats: bool = False


def user(text: str) -> Messages:
    """Return a conversation of one user turn."""
    return (("user", text.strip()),)


def exchange(prompt: str, response: str) -> Messages:
    """Return a conversation of one user turn and its answer."""
    return (("user", prompt.strip()), ("assistant", response.strip()))


def both_levels(key: str, prompt: str, response: str) -> Iterator[Example]:
    """Yield a safe exchange twice: judged at its answer, and (key ``…#p``) at its prompt."""
    yield Example(key, exchange(prompt, response), 0, level="response", group=key)
    yield Example(f"{key}#p", user(prompt), 0, group=key)


def read_text(files: Files, path: str | None = None) -> str:
    """Return a file as text without byte-order mark; the only file where no path is given."""
    if path is None:
        (path,) = files
    return files[path].decode("utf-8-sig")


def read_csv(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV text with its header's names."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def read_jsonl(text: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines text; line separators inside strings do not end a line."""
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def stem(path: str) -> str:
    """Return a file's name without folders and extension."""
    return path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
