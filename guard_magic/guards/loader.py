"""Opening models: the embedded guard, a folder, a GGUF file, or a hub id.

Only safetensors and GGUF are read and no code of a repository is run. What is on disk is opened without a
network. Each way of failing is a `LoadError` with the next step.
"""

from __future__ import annotations

import gc
import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers import AutoModelForImageTextToText as AutoModelForImages
from transformers import modeling_gguf_pytorch_utils as gguf_reader
from transformers.utils import logging as transformers_logging
from transformers.utils import quantization_config as quantization_configs

from guard_magic.characters import is_blank
from guard_magic.checks import checked_flag, checked_share
from guard_magic.engine import memory
from guard_magic.engine.processes import check_process
from guard_magic.errors import GuardError, LoadError, shorten
from guard_magic.families.registry import checked_protocol
from guard_magic.guards import room
from guard_magic.guards.content import hashing
from guard_magic.guards.guard import Guard
from guard_magic.guards.load_errors import load_error
from guard_magic.guards.quantize import QUANTIZATIONS, check_device, quantization_config, quantize_linears
from guard_magic.guards.sources import (
    READ_IMAGES,
    Source,
    base_of,
    check_generative,
    check_weights,
    files_of,
    locate,
    shapes_of,
)

__all__ = ["EMBEDDED", "checked_options", "free_memory", "load_guard"]

EMBEDDED = Path(__file__).parent.parent / "embedded"
"""Where the embedded guard lies in the installed package."""

_UNKNOWN = "unknown"
"""The revision of weights that do not say which they are: their scores are cached for this load alone."""

_SMALLER = ("int8", "int4")
"""Quantizations that are suggested where memory is short."""


def load_guard(
    source: str,
    *,
    name: str,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    quantization: str | None = None,
    compile: bool = False,
    protocol: str | None = None,
    min_verdict_mass: float = 0.9,
) -> Guard:
    """Open a model and make it a guard.

    Parameters
    ----------
    source
        ``"embedded"``, a folder, a ``.gguf`` file, or a hub id such as ``meta-llama/Llama-Guard-3-8B``. A folder
        or hub id may hold a PEFT adapter: it is merged into its base model (needs ``peft``). Of a folder with
        safetensors and GGUF files the safetensors are read; of several GGUF files none is chosen.
    name
        How it is called in the session.
    device
        ``"cuda"``, ``"mps"``, ``"cpu"`` …; None for the best there is, in this order.
    dtype
        ``"float32"``, ``"bfloat16"`` …; None for float32 on the CPU and bfloat16 elsewhere, float16 where
        the device does not compute in bfloat16.
    revision
        A branch, tag or commit of a hub repository.
    quantization
        ``"int8"`` or ``"int4"`` to keep the weights of linear layers in 8.25 or 5 bits, for memory. ``"fp8"`` to
        round their activations too and multiply in FP8, for speed on GPUs with FP8 tensor cores; elsewhere it works
        with a `GuardWarning`. Experimental: no GPU has measured it yet. None to keep them whole. Embeddings and
        output head stay as `dtype` says. Not for GGUF files.
    compile, protocol, min_verdict_mass
        As for `Guard`.

    Raises
    ------
    LoadError
        Where the model cannot be found, opened, or held in memory.
    ProtocolError
        Where it is no guard that can be asked.
    """
    check_process()
    checked_options(
        device=device,
        dtype=dtype,
        revision=revision,
        quantization=quantization,
        compile=compile,
        protocol=protocol,
        min_verdict_mass=min_verdict_mass,
    )
    found = locate(EMBEDDED if source == "embedded" else source, revision)
    _check_whole(found, quantization)
    chosen_device = room.choose_device(device)
    chosen_dtype = room.choose_dtype(dtype, chosen_device)
    if quantization is not None:
        check_device(quantization, chosen_device)
    with _loading(source, quiet=source == "embedded"):
        model, tokenizer, commit = _open(found, source, chosen_device, chosen_dtype, quantization)
        made = f"-{quantization}" if quantization else ""
        return Guard(
            model.eval().requires_grad_(False),
            tokenizer,
            name=name,
            revision=commit[:8] + made,
            identity=None if commit == _UNKNOWN else f"{found.where}@{commit}{made}",
            protocol=protocol,
            compile=compile,
            min_verdict_mass=min_verdict_mass,
            is_embedded=source == "embedded",
        )


def checked_options(
    *,
    device: object = None,
    dtype: object = None,
    revision: object = None,
    quantization: object = None,
    compile: object = False,
    protocol: object = None,
    min_verdict_mass: object = 0.9,
) -> None:
    """Check the options of `load_guard` before any work; what cannot be meant is a `LoadError` or `ProtocolError`."""
    if not (device is None or isinstance(device, str | torch.device) or type(device) is int):
        raise LoadError(f"device {shorten(device)} is not a device's name", hint="Use 'cuda', 'cuda:1', 'mps', 'cpu' …")
    if not (dtype is None or isinstance(dtype, str | torch.dtype)):
        raise LoadError(f"no number format {shorten(dtype)}", hint="Use 'float32', 'bfloat16' or 'float16'.")
    if revision is not None and (not isinstance(revision, str) or is_blank(revision)):
        raise LoadError(
            f"revision {shorten(revision)} is not the name of one", hint="Use a branch, tag or commit, as text."
        )
    if quantization is not None and not (isinstance(quantization, str) and quantization in QUANTIZATIONS):
        raise LoadError(
            f"no quantization {shorten(quantization)}", hint="Use 'int8', 'int4' or 'fp8', or leave it out."
        )
    checked_flag("compile", compile, LoadError)
    checked_protocol(protocol)
    checked_share("min_verdict_mass", min_verdict_mass, LoadError)


def free_memory() -> None:
    """Give back what unloaded models held, to the system and to the device."""
    gc.collect()
    memory.trim_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _check_whole(found: Source, quantization: str | None) -> None:
    """Refuse to quantize a GGUF file."""
    if found.gguf and quantization:
        raise LoadError(
            f"quantization={quantization!r} is not supported yet for GGUF files: {found.gguf} is quantized already, "
            "and its weights are restored when it is loaded",
            hint="Leave it out, or load the safetensors version of this guard.",
        )


def _open(
    found: Source, source: str, device: torch.device, dtype: torch.dtype, quantization: str | None
) -> tuple[Any, Any, str]:
    """Return model, tokenizer and commit."""
    if found.gguf:
        room.check_room(source, room.gguf_shapes(Path(found.where) / found.gguf), device, dtype)
        has_tokenizer = (Path(found.where) / "tokenizer.json").exists()
        tokenizer = _tokenizer(found, **({} if has_tokenizer else {"gguf_file": found.gguf}))
        with hashing(files_of(Path(found.where), found.gguf)) as content:
            model = _weights(AutoModelForCausalLM, found, source, dtype=dtype, gguf_file=found.gguf, **_restored())
            return model.to(device), tokenizer, content()
    adapter = found.find("adapter_config.json")
    base = found if adapter is None else base_of(json.loads(adapter.read_text(encoding="utf-8")), source)
    check_weights(base, source)
    config = AutoConfig.from_pretrained(base.where, trust_remote_code=False, **base.options)
    check_generative(source, config)
    if quantization and getattr(config, "quantization_config", None) is not None:
        raise LoadError(f"{source} is quantized already, so not as {quantization}", hint="Leave quantization out.")
    early = quantization if adapter is None else None  # an adapter is merged into whole weights
    offered = () if adapter or getattr(config, "quantization_config", None) else _SMALLER
    room.check_room(source, shapes_of(base), device, dtype, early, offered=offered)
    has_tokenizer = adapter is None or found.find("tokenizer_config.json") is not None
    tokenizer = _tokenizer(found if has_tokenizer else base)
    kind = AutoModelForImages if config.model_type in READ_IMAGES else AutoModelForCausalLM
    asked: dict[str, Any] = {"config": config, "dtype": dtype, "device_map": {"": str(device)}}
    if early:
        asked["quantization_config"] = quantization_config(early)
    with hashing(files_of(Path(base.where)) if base.is_local else ()) as content:
        model = _weights(kind, base, source, use_safetensors=True, **asked)
        commit = content() if base.is_local else str(getattr(config, "_commit_hash", None) or _UNKNOWN)
    if adapter is not None:
        model = _merged(model, found, source)
        with hashing(files_of(adapter.parent)) as content:
            commits = (commit, content())
        commit = _UNKNOWN if commit == _UNKNOWN else hashlib.sha256("".join(commits).encode()).hexdigest()
        model = quantize_linears(model, quantization) if quantization else model
    return model, tokenizer, commit


def _restored() -> dict[str, Any]:
    """Return what keeps transformers from computing on packed GGUF weights, whose kernels it would fetch from the hub.

    Older versions always restore them.
    """
    config = getattr(quantization_configs, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _tokenizer(found: Source, **options: Any) -> Any:
    return AutoTokenizer.from_pretrained(found.where, trust_remote_code=False, **options, **found.options)


def _weights(kind: Any, found: Source, source: str, **options: Any) -> Any:
    """Read a model; one whose files lack weights would be filled with random ones, so it is refused."""
    model, report = kind.from_pretrained(
        found.where, trust_remote_code=False, output_loading_info=True, **options, **found.options
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise LoadError(
            f"{source} is incomplete: {len(missing)} of its weights are in no file, such as {missing[0]}",
            hint="Download it again.",
        )
    return model


def _merged(model: Any, found: Source, source: str) -> Any:
    """Merge an adapter into its base model, in memory."""
    weights = found.find("adapter_model.safetensors")
    if weights is None:
        raise LoadError(f"{source} has no adapter_model.safetensors", hint="Save the adapter as safetensors.")
    try:
        from peft import PeftModel
    except ImportError as error:
        raise LoadError(
            f"{source} is a PEFT adapter, and the package that merges it is missing ({error})",
            hint="pip install peft",
        ) from error
    with warnings.catch_warnings():  # peft 0.21 asks transformers by a name that is going away
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return PeftModel.from_pretrained(model, str(weights.parent)).merge_and_unload()


@contextmanager
def _loading(source: str, *, quiet: bool) -> Iterator[None]:
    """Turn every failure of loading into a `LoadError` with the next step."""
    try:
        with _no_bars() if quiet else nullcontext():
            yield
    except GuardError:
        raise
    except Exception as error:
        raise load_error(source, error) from error


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
