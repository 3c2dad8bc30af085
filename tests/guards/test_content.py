"""Which weights a guard has is told by every byte of the files that were read."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opened import EMBEDDED, open_guard, save_small
from safetensors.torch import load_file, save_file

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.guards import content
from guard_magic.guards.content import hashing
from guard_magic.guards.guard import Guard


def hash_of(*paths: Path) -> str:
    with hashing(paths) as finish:
        return finish()


@settings(deadline=None, max_examples=40)
@given(data=st.binary(max_size=50), at=st.integers(0, 49), part=st.integers(1, 20))
def test_every_byte_counts_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, part: int
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    path, other = folder / "a.bin", folder / "b.bin"
    path.write_bytes(data)
    other.write_bytes(b"beside it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "_PART", part)
        patch.setattr(content, "_BLOCK", 3)
        first = hash_of(path, other)
        os.utime(path, (1, 1))
        assert hash_of(other, path, path) == first, "neither times nor the order of files"
        assert hash_of(path) != first
        if at < len(data):
            changed, stat = bytearray(data), path.stat()
            changed[at] ^= 1
            path.write_bytes(changed)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            assert hash_of(path, other) != first


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), hashing([tmp_path / "none"]) as finish:
        finish()


def key(guard: Guard) -> bytes:
    return guard.keys([guard.encode(parse_conversation("How do I bake bread?"))])[0]


def test_two_gguf_files_of_one_folder(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "both", ignore=shutil.ignore_patterns("*.md"))
    one, other, twin = (tmp_path / "both" / f"{name}.gguf" for name in ("guard", "other", "twin"))
    whole = bytearray(one.read_bytes())
    whole[-40] ^= 3  # among the codes of the last tensor
    other.write_bytes(whole)
    shutil.copy2(one, twin)
    os.utime(other, ns=(one.stat().st_atime_ns, one.stat().st_mtime_ns))
    first, second, again, copied = map(open_guard, (one, other, one, twin))
    assert first.revision != second.revision
    assert key(first) != key(second)
    assert key(first) == key(again), "the same file is the same guard, load after load"
    assert first.revision != copied.revision, "under another name it is taken for another: that costs time only"


def test_safetensors_of_the_same_size_and_time(tmp_path: Path, small_model: Any) -> None:
    folder = save_small(tmp_path / "small", small_model)
    first, weights = open_guard(folder), folder / "model.safetensors"
    stat, tensors = weights.stat(), load_file(weights)
    name = next(name for name in tensors if "down_proj" in name)
    tensors[name] = tensors[name] + torch.eye(*tensors[name].shape)
    save_file(tensors, weights, metadata={"format": "pt"})
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert weights.stat().st_size == stat.st_size
    second = open_guard(folder)
    assert first.revision != second.revision
    assert key(first) != key(second)
    (folder / "beside.safetensors").write_bytes(b"not read")
    assert open_guard(folder).revision == second.revision, "what was not read is no part of it"


def test_hashing_is_quick(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20) * 128)
    started = time.process_time()
    assert len(hash_of(path)) == 64
    assert time.process_time() - started < 2, "134 MB: 0.1 s where SHA-256 is done in hardware"
