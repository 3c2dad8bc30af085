"""Rebuild the embedded guard's training set from pinned public commits.

Usage: ``python training/build.py --out data`` fetches every source over HTTPS; ``--mirror DIR`` reads local
bare git repositories named ``owner+name`` instead, ``--source NAME`` builds that source only, and ``--compare
DIR`` counts how many rows equal those of a set built earlier.

The training files are those of `training.train`: ``train.jsonl.gz``, ``dev.jsonl.gz`` and, because its
licence asks for share-alike, ``dolly_sharealike.jsonl.gz``. A row near a held-out one can be told only when
both sources are built, so ``--source`` may keep rows that the whole set drops.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training.sources import BENCHMARKS, REGISTRY, Example, Source
from training.sources.base import TRAIN
from training.sources.curate import curate
from training.sources.fetch import fetch_files

Row = dict[str, Any]
MANIFEST = ("file", "source", "license", "label_level", "rows", "unsafe_rows", "repository", "path")


def parse_source(source: Source, mirror: Path | None) -> Iterator[tuple[Source, str, Example]]:
    """Yield a source's examples with their split."""
    for example in source.parse(fetch_files(source, mirror)):
        yield source, source.split(source.name, example), example


def make_row(source: Source, example: Example) -> Row:
    """Return an example as the files hold it."""
    return {
        "id": f"{source.name}:{example.key}",
        "source": source.name,
        "messages": [{"role": role, "content": content} for role, content in example.messages],
        "label": example.label,
        "category": example.category,
        "label_level": example.level,
        "lang": example.lang,
        "license": source.licence,
    }


def build_rows(names: Iterable[str], mirror: Path | None) -> dict[str, list[Row]]:
    """Fetch, parse and clean the named sources.

    Parameters
    ----------
    names
        Names in the registry.
    mirror
        Folder of bare git repositories; GitHub where None.

    Returns
    -------
    dict
        Rows by the stem of the file they go to.
    """
    sources = [source for name, source in REGISTRY.items() if name in set(names)]
    parsed = (item for source in (*BENCHMARKS.values(), *sources) for item in parse_source(source, mirror))
    rows = defaultdict(list)
    for source, split, example in curate(parsed):
        rows[source.output if split == TRAIN else split].append(make_row(source, example))
    return dict(rows)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as packed JSON lines, the same bytes for the same rows."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        for row in rows:
            packed.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def read_rows(folder: Path) -> Iterator[Row]:
    """Yield the rows of every file of a set."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines)


def list_manifest(rows: dict[str, list[Row]]) -> Iterator[tuple[str, ...]]:
    """Yield the manifest's lines: what each file holds of each source, and where that comes from."""
    yield MANIFEST
    for stem, members in rows.items():
        counts = Counter((row["source"], row["label_level"]) for row in members)
        unsafe = Counter((row["source"], row["label_level"]) for row in members if row["label"])
        for (name, level), count in counts.items():
            source = REGISTRY[name]
            origin = f"{source.repository}@{source.commit}"
            numbers = (str(count), str(unsafe[name, level]))
            yield (f"{stem}.jsonl.gz", name, source.licence, level, *numbers, origin, " ".join(source.paths))


def fingerprint(row: Row) -> str:
    """Return what makes two rows equal: all but id and licence."""
    return json.dumps([row[name] for name in ("messages", "label", "category", "label_level", "lang")])


def compare_rows(built: Iterable[Row], other: Iterable[Row]) -> Iterator[tuple[str, int, int, int]]:
    """Yield, source by source, the rows built, the rows of the other set, and how many are equal."""
    ours: dict[str, Counter[str]] = defaultdict(Counter)
    theirs: dict[str, Counter[str]] = defaultdict(Counter)
    for rows, counts in ((built, ours), (other, theirs)):
        for row in rows:
            counts[row["source"]][fingerprint(row)] += 1
    for name in ours:
        yield name, ours[name].total(), theirs[name].total(), (ours[name] & theirs[name]).total()


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Rebuild the training set from pinned public commits.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the built files")
    parser.add_argument("--source", nargs="+", choices=list(REGISTRY), help="build these sources only")
    parser.add_argument("--mirror", type=Path, help="folder of bare git repositories named owner+name")
    parser.add_argument("--compare", type=Path, help="folder of a set built earlier")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Build, write, and compare where asked."""
    options = parse_arguments(arguments)
    rows = build_rows(options.source or REGISTRY, options.mirror)
    options.out.mkdir(parents=True, exist_ok=True)
    for stem, members in rows.items():
        write_rows(options.out / f"{stem}.jsonl.gz", members)
    lines = ["\t".join(line) for line in list_manifest(rows)]
    (options.out / "MANIFEST.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if options.compare:
        print("source", "rows", "other rows", "equal", "verified", sep="\t")
        for name, *counts in compare_rows(chain.from_iterable(rows.values()), read_rows(options.compare)):
            print(name, *counts, "yes" if REGISTRY[name].verified else "no", sep="\t")


if __name__ == "__main__":
    main()
