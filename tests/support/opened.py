"""Guards saved and opened again."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from guard_magic.errors import GuardWarning
from guard_magic.guards import loader
from guard_magic.guards.guard import Guard
from guard_magic.guards.loader import load_guard

EMBEDDED = loader.EMBEDDED


def open_guard(folder: Path, **options: Any) -> Guard:
    is_slow = options.get("quantization") == "fp8"
    with pytest.warns(GuardWarning, match="saves no time on cpu") if is_slow else nullcontext():
        return load_guard(str(folder), name="opened", device="cpu", min_verdict_mass=0, **options)


def save_small(folder: Path, model: Any) -> Path:
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.gguf", "*.md"))
    model.save_pretrained(folder)
    return folder
