"""What goes wrong when a model is opened, by the exceptions behind it: a `LoadError` with the next step."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

from huggingface_hub import errors as hub
from safetensors import SafetensorError

from guard_magic.engine import memory
from guard_magic.errors import LoadError

__all__ = ["load_error"]


def load_error(source: str, error: BaseException) -> LoadError:
    """Return what went wrong, by the exceptions behind `error`, with the next step."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    text = next(iter(str(error).strip().splitlines()), "")
    found = (known(source, causes, text) for known in _KNOWN)
    return next((said for said in found if said is not None), None) or LoadError(
        f"{source} cannot be loaded: {type(error).__name__}: {text}",
        hint="Only safetensors and GGUF weights are read. The full reason stands above.",
    )


def _first(causes: list[BaseException], *kinds: type[BaseException]) -> Any:
    return next((cause for cause in causes if isinstance(cause, kinds)), None)


def _of_repository(source: str, causes: list[BaseException], _: str) -> LoadError | None:
    if _first(causes, hub.GatedRepoError):
        return LoadError(
            f"{source} is gated: this machine has no accepted licence for it",
            hint=f"Accept the licence at https://huggingface.co/{source}, then run `hf auth login`.",
        )
    if _first(causes, hub.RevisionNotFoundError):
        return LoadError(
            f"the hub has {source!r}, but not this revision of it",
            hint=f"See https://huggingface.co/{source}/commits, or leave revision out for the newest.",
        )
    if _first(causes, hub.RepositoryNotFoundError):
        return LoadError(f"the hub has no repository {source!r}", hint="Check the spelling; private ones need a login.")
    return None


def _of_machine(source: str, causes: list[BaseException], _: str) -> LoadError | None:
    """Disk, network and memory."""
    if any(getattr(cause, "errno", None) == errno.ENOSPC for cause in causes):
        return LoadError(f"the disk is full: {source} cannot be downloaded", hint="Make room, or set HF_HOME.")
    if _first(causes, hub.LocalEntryNotFoundError, hub.HfHubHTTPError, ConnectionError):
        return LoadError(
            f"{source} is not on this machine and the hub cannot be reached",
            hint="Load it from a folder, or use the guard in the package: %guard load embedded",
        )
    if any(memory.is_out_of_memory(cause) for cause in causes):
        return LoadError(
            f"{source} does not fit into memory",
            hint="Load it with quantization='int8' or 'int4', unload other guards, or use a smaller one.",
        )
    return None


def _of_files(source: str, causes: list[BaseException], _: str) -> LoadError | None:
    if broken := _first(causes, SafetensorError, json.JSONDecodeError):
        return LoadError(
            f"a file of {source} is broken or cut off ({broken})",
            hint="Delete it and download it again; what a download left unfinished is seen by its size.",
        )
    if missing := _first(causes, FileNotFoundError):
        return LoadError(f"a file of {source} is missing: {missing.filename or missing}", hint="Download it again.")
    return None


def _of_packages(source: str, causes: list[BaseException], text: str) -> LoadError | None:
    if any(type(cause).__module__.startswith(("torch._dynamo", "torch._inductor")) for cause in causes):
        return LoadError(
            f"{source} cannot be compiled here: {text}",
            hint="Leave compile out, or install what torch.compile needs: Triton on CUDA, a C++ compiler on the CPU.",
        )
    if missing := _first(causes, ImportError):
        return LoadError(
            f"{source} needs a package that is not installed: {text}",
            hint=f"pip install {missing.name}" if missing.name else "Install it, then load again.",
        )
    return None


def _of_transformers(source: str, causes: list[BaseException], text: str) -> LoadError | None:
    """Errors that transformers tells apart by their words alone."""
    if "trust_remote_code" in str(causes[0]):
        return LoadError(
            f"{source} comes with code of its own, which guard_magic never runs",
            hint="Load a guard whose architecture transformers knows.",
        )
    if "does not recognize this architecture" in text:
        return LoadError(
            f"{source} has an architecture that this version of transformers does not know",
            hint="pip install --upgrade transformers",
        )
    if "`use_safetensors=True`" in text:
        return LoadError(
            f"{source} has no safetensors weights, and pickled weights can run code",
            hint="Only safetensors and GGUF are read: look for such a version of this guard.",
        )
    return None


_KNOWN: tuple[Callable[[str, list[BaseException], str], LoadError | None], ...] = (
    _of_repository,
    _of_machine,
    _of_files,
    _of_packages,
    _of_transformers,
)
"""What is known, in the order it is looked for: (source, the error and those behind it, its first line)."""
