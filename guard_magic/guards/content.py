"""Hashes of the files a model is read from: of every byte, while the model is read.

A name, a size and a time say nothing about weights. Files are hashed in parts by a few threads, beside the reader,
which finds them in the page cache then: at 1.9 GB a second and thread (SHA-256, measured) they are seldom waited for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

__all__ = ["hashing"]

_PART = 64 << 20
_BLOCK = 1 << 20
_N_THREADS = 8


@contextmanager
def hashing(paths: Iterable[Path]) -> Iterator[Callable[[], str]]:
    """Hash files while the block runs.

    Parameters
    ----------
    paths
        Files, in any order; one that is named twice counts once.

    Yields
    ------
    callable
        Waits for the hash and returns it: 64 hexadecimal digits of the content and name of each file, in the order of
        their names.

    Raises
    ------
    OSError
        By the callable, where a file cannot be read.
    """
    pool = ThreadPoolExecutor(min(_N_THREADS, os.cpu_count() or 1), thread_name_prefix="guard_magic_hash")
    try:
        files = sorted(set(paths), key=lambda path: path.name)
        parts = [
            (path.name, start, pool.submit(_part_hash, path, start))
            for path in files
            for start in range(0, max(1, path.stat().st_size if path.exists() else 0), _PART)
        ]

        def finish() -> str:
            whole = hashlib.sha256()
            for name, start, part in parts:
                whole.update(f"{name}|{start}|".encode() + part.result())
            return whole.hexdigest()

        yield finish
    finally:
        pool.shutdown(cancel_futures=True)


def _part_hash(path: Path, start: int) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = _PART
        while left and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.digest()
