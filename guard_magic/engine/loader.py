"""Opening models: the embedded guard, a folder, a GGUF file, or a hub id.

Only safetensors and GGUF are read and no code of a repository is run. What is on disk is opened without a
network. Each way of failing is a `LoadError` with the next step.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import modeling_gguf_pytorch_utils as gguf_reader
from transformers.utils import logging as transformers_logging

from guard_magic.engine.guard import Guard
from guard_magic.engine.memory import is_out_of_memory
from guard_magic.errors import GuardError, LoadError

__all__ = ["EMBEDDED", "free_memory", "load_guard"]

EMBEDDED = Path(__file__).parent.parent / "embedded"
"""Where the embedded guard lies in the installed package."""

_UNKNOWN = "unknown"
"""The revision of weights that do not say which they are: their scores are cached for this load alone."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a model is: a folder or hub id, and the GGUF file in it, if that is what to read."""

    place: str
    gguf: str | None
    is_local: bool


def load_guard(
    source: str,
    *,
    name: str,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    quantization: str | None = None,
    protocol: str | None = None,
    min_verdict_mass: float = 0.9,
) -> Guard:
    """Open a model and make it a guard.

    Parameters
    ----------
    source
        ``"embedded"``, a folder, a ``.gguf`` file, or a hub id such as ``meta-llama/Llama-Guard-3-8B``.
    name
        How it is called in the session.
    device
        ``"cuda"``, ``"mps"``, ``"cpu"`` …; None for the best there is, in this order.
    dtype
        ``"float32"``, ``"bfloat16"`` …; None for float32 on the CPU and bfloat16 elsewhere.
    revision
        A branch, tag or commit of a hub repository.
    quantization
        Not supported yet; anything but None is a `LoadError`.
    protocol, min_verdict_mass
        As for `Guard`.

    Raises
    ------
    LoadError
        Where the model cannot be found, opened, or held in memory.
    ProtocolError
        Where it is no guard that can be asked.
    """
    if quantization is not None:
        raise LoadError(
            f"quantization={quantization!r} is not supported yet", hint="Leave it out, or load a quantized GGUF file."
        )
    where = EMBEDDED if source == "embedded" else source
    found = _locate(where)
    chosen_device = _choose_device(device)
    chosen_dtype = _choose_dtype(dtype, chosen_device)
    with _loading(source, quiet=source == "embedded"):
        model, tokenizer = _open(found, chosen_device, chosen_dtype, revision)
        commit = _revision(found, model)
        return Guard(
            model,
            tokenizer,
            name=name,
            revision=commit[:8],
            identity=None if commit == _UNKNOWN else f"{found.place}@{commit}",
            protocol=protocol,
            min_verdict_mass=min_verdict_mass,
            is_embedded=source == "embedded",
        )


def free_memory() -> None:
    """Give back what unloaded models held, to the system and to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _locate(where: str | Path) -> _Source:
    path = Path(where).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _Source(str(path.parent), path.name, True)
    if path.is_dir():
        found = sorted(path.glob("*.gguf"))
        if found and not (path / "config.json").exists():
            return _Source(str(path), found[0].name, True)
        return _Source(str(path), None, True)
    text = str(where)
    if path.is_absolute() or text.startswith((".", "~")) or text.count("/") != 1:
        raise LoadError(
            f"no folder or GGUF file {text!r}, and it is no hub id",
            hint="A hub id looks like meta-llama/Llama-Guard-3-8B; the guard in the package is called 'embedded'.",
        )
    return _Source(text, None, False)


def _choose_device(device: str | None) -> torch.device:
    if device is None:
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise LoadError(f"device {device!r} cannot be used: {error}", hint="Leave device out to choose one.") from None
    return chosen


def _choose_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    chosen = getattr(torch, str(dtype).removeprefix("torch."), None)
    if not isinstance(chosen, torch.dtype) or not chosen.is_floating_point:
        raise LoadError(f"no number format {dtype!r}", hint="Use 'float32', 'bfloat16' or 'float16'.")
    return chosen


def _open(found: _Source, device: torch.device, dtype: torch.dtype, revision: str | None) -> tuple[Any, Any]:
    common: dict[str, Any] = {"trust_remote_code": False, "local_files_only": found.is_local}
    if revision is not None:
        common["revision"] = revision
    has_tokenizer = found.gguf is None or (Path(found.place) / "tokenizer.json").exists()
    tokenizer = AutoTokenizer.from_pretrained(
        found.place, **({} if has_tokenizer else {"gguf_file": found.gguf}), **common
    )
    weights: dict[str, Any] = {"gguf_file": found.gguf} if found.gguf else {"use_safetensors": True}
    model = AutoModelForCausalLM.from_pretrained(found.place, dtype=dtype, **weights, **common)
    return model.to(device).eval().requires_grad_(False), tokenizer


def _revision(found: _Source, model: Any) -> str:
    """Return the commit of a hub model, or a hash of what a folder's weight files are."""
    if not found.is_local:
        return str(getattr(model.config, "_commit_hash", None) or _UNKNOWN)
    digest = hashlib.sha256()
    for path in sorted(Path(found.place).iterdir()):
        if path.suffix in (".safetensors", ".gguf", ".json", ".jinja", ".model"):
            stat = path.stat()
            digest.update(f"{path.name}|{stat.st_size}|".encode())
            small = stat.st_size < 64 << 20
            digest.update(path.read_bytes() if small else str(stat.st_mtime_ns).encode())
    return digest.hexdigest()


@contextmanager
def _loading(source: str, *, quiet: bool) -> Iterator[None]:
    """Turn every failure of loading into a `LoadError` with the next step."""
    try:
        with _no_bars() if quiet else nullcontext():
            yield
    except GuardError:
        raise
    except Exception as error:
        raise _load_error(source, error) from error


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hide the bars of loading, which the embedded guard finishes in a second.

    The GGUF reader makes its bar with tqdm itself, past transformers' own switch: within the block it uses
    the one that listens to the switch.
    """
    shown, bar = transformers_logging.is_progress_bar_enabled(), getattr(gguf_reader, "tqdm", None)
    transformers_logging.disable_progress_bar()
    gguf_reader.tqdm = transformers_logging.tqdm
    try:
        yield
    finally:
        gguf_reader.tqdm = bar
        if shown:
            transformers_logging.enable_progress_bar()


def _load_error(source: str, error: Exception) -> LoadError:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return LoadError(
            f"{source} is gated: this machine has no accepted licence for it",
            hint=f"Accept the licence on its page on the hub ({source}), then run `hf auth login`.",
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return LoadError(f"the hub has no repository {source!r}", hint="Check the spelling; private ones need a login.")
    if any(isinstance(cause, LocalEntryNotFoundError | HfHubHTTPError | ConnectionError) for cause in causes):
        return LoadError(
            f"{source} is not on this machine and the hub cannot be reached",
            hint="Load it from a folder, or use the guard in the package: %guard load embedded",
        )
    if any(is_out_of_memory(cause) for cause in causes):
        return LoadError(f"{source} does not fit into memory", hint="Unload other guards, or use a smaller one.")
    text = str(error).strip().splitlines()
    return LoadError(
        f"{source} cannot be loaded: {type(error).__name__}: {text[0] if text else ''}",
        hint="Only safetensors and GGUF weights are read. The full reason stands above.",
    )
