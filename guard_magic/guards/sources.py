"""Where a model is and what lies there, before anything is opened: folders, GGUF files, hub ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import cached_file

from guard_magic.errors import LoadError, shorten
from guard_magic.guards import room

__all__ = [
    "READ_IMAGES",
    "Source",
    "base_of",
    "check_generative",
    "check_weights",
    "files_of",
    "locate",
    "shapes_of",
]

READ_IMAGES = frozenset({"mllama", "llama4"})
"""Models that transformers opens as readers of images; of them the text path is used."""

_WRITES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How the names of architectures end that write text, and so can be asked for a verdict."""

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_.-]{1,96}")
"""How a hub id looks: an owner and a name."""

_SHOWN = 12
"""File names listed in a message."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model is: a folder or hub id, and the GGUF file in it, if that is what to read."""

    where: str
    gguf: str | None
    is_local: bool
    revision: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What every reader of transformers is told."""
        revision = {} if self.revision is None else {"revision": self.revision}
        return {"local_files_only": self.is_local, **revision}

    def find(self, filename: str) -> Path | None:
        """Return the path of a file of the model, which a hub id may download; None where it has none."""
        quiet = {"_raise_exceptions_for_missing_entries": False}
        found = cached_file(self.where, filename, **quiet, **self.options)
        return None if found is None else Path(found)


def locate(where: str | Path, revision: str | None = None) -> Source:
    """Return what `where` names: a folder, a GGUF file or a hub id.

    Raises
    ------
    LoadError
        Where it is none of them, or is on this machine and has no revisions.
    """
    text = str(where)
    path, is_file, is_folder = _seen(text)
    if not is_file and not is_folder:
        if not _HUB_ID.fullmatch(text):
            raise LoadError(
                f"no folder or GGUF file {shorten(text)}, and it is not a hub id",
                hint="A hub id looks like meta-llama/Llama-Guard-3-8B; the guard in the package is called 'embedded'.",
            )
        return Source(text, None, False, revision)
    if revision is not None:
        raise LoadError(
            f"revision={shorten(revision)} was asked of {text}, which is on this machine",
            hint="Only hub ids have revisions: leave it out.",
        )
    if is_file:
        return Source(str(path.parent), path.name, True)
    return Source(str(path), _gguf_in(path), True)


def base_of(adapter: dict[str, Any], source: str) -> Source:
    """Return where the model is that an adapter was made for."""
    where = adapter.get("base_model_name_or_path")
    if not where:
        raise LoadError(
            f"{source} is an adapter that does not name its base model",
            hint="Write its folder or hub id as base_model_name_or_path into adapter_config.json.",
        )
    found = locate(where)
    if found.gguf:
        raise LoadError(f"{source} is an adapter of a GGUF file", hint="Adapters are merged into safetensors weights.")
    return Source(where, None, found.is_local, None if found.is_local else adapter.get("revision"))


def check_weights(found: Source, source: str) -> None:
    """Refuse a folder whose weights are pickled, or that has none, with a `LoadError`."""
    folder = Path(found.where)
    if not found.is_local or any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth"))
    seen = f"only {pickles[0]}, and pickled weights can run code" if pickles else "neither"
    raise LoadError(
        f"{source} holds {seen}: only safetensors and GGUF weights are read",
        hint="Save it as safetensors: model.save_pretrained(folder)." if pickles else "Is it a model's folder?",
    )


def check_generative(source: str, config: Any) -> None:
    """Refuse a model that writes no text with a `LoadError`."""
    names = list(config.architectures or [])
    writes = not names or any(name.endswith(_WRITES) for name in names)
    known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or config.model_type in READ_IMAGES
    if not writes or not known or config.is_encoder_decoder:
        raise LoadError(
            f"{source} is a {names[0] if names else config.model_type}: no generative guard, and writes no verdict",
            hint="Llama Guard and its kin write theirs as text. Classifiers are for transformers' own pipeline.",
        )


def shapes_of(found: Source) -> list[room.WeightShape] | None:
    """Return the weights of a model that is on this machine; what is not downloaded yet is not known."""
    if found.is_local:
        return room.safetensors_shapes(Path(found.where))
    names = ("model.safetensors", "model.safetensors.index.json")
    offline = {**found.options, "local_files_only": True, "_raise_exceptions_for_missing_entries": False}
    files = (cached_file(found.where, name, **offline) for name in names)
    here = next((Path(file) for file in files if file is not None), None)
    return None if here is None else room.safetensors_shapes(here.parent)


def files_of(folder: Path, gguf: str | None = None) -> list[Path]:
    """Return the files of a folder that are read: its weights, of GGUF files the one, and what is beside them."""
    weights = [folder / gguf] if gguf else room.safetensors_files(folder)
    return [*weights, *(path for path in folder.iterdir() if path.suffix in (".json", ".jinja", ".model"))]


def _seen(text: str) -> tuple[Path, bool, bool]:
    """Return a path, whether it is a GGUF file, and whether it is a folder; what cannot be a path is neither."""
    path = Path(text)
    try:
        path = path.expanduser()
        return path, path.suffix.lower() == ".gguf" and path.is_file(), path.is_dir()
    except (OSError, ValueError, RuntimeError):  # too long, a lone surrogate, the home of a user who is not there
        return path, False, False


def _gguf_in(folder: Path) -> str | None:
    """Return the GGUF file of a folder that holds no other model; of several, none is chosen."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error.strerror}", hint="Check its permissions.") from None
    found = [name for name in names if name.lower().endswith(".gguf")]
    if not found or "adapter_config.json" in names:
        return None
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        return None
    if len(found) > 1:
        raise LoadError(
            f"{folder} holds {len(found)} GGUF files: {', '.join(found[:_SHOWN])}{' …' if len(found) > _SHOWN else ''}",
            hint=f"Pass the one that is meant: load({str(folder / found[0])!r}).",
        )
    return found[0]
