"""Devices, number formats, and whether a model's weights fit into what is free."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from guard_magic.errors import LoadError, shorten
from guard_magic.guards.quantize import bits_per_weight

__all__ = [
    "WeightShape",
    "check_room",
    "choose_device",
    "choose_dtype",
    "free_nbytes",
    "gguf_shapes",
    "native_dtype",
    "safetensors_files",
    "safetensors_shapes",
    "weights_nbytes",
]


def choose_device(device: str | None) -> torch.device:
    """Return the device of this name; None for CUDA, MPS or the CPU, the first that is there.

    Raises
    ------
    LoadError
        Where it cannot be used.
    """
    if device is None:
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).tolist()  # the meta device holds nothing that could be read
    except Exception as error:  # each device refuses in its own way
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise LoadError(
            f"device {shorten(device)} cannot be used: {reason}", hint="Leave device out to choose one."
        ) from None
    return chosen


def choose_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """Return the number format of this name; None for the one that `device` computes in best.

    Raises
    ------
    LoadError
        Where there is none of this name.
    """
    if dtype is None:
        capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)
        new_macos = device.type == "mps" and torch.backends.mps.is_macos_or_newer(14, 0)
        return native_dtype(device.type, capability=capability, new_macos=new_macos)
    chosen = getattr(torch, str(dtype).removeprefix("torch."), None)
    if not isinstance(chosen, torch.dtype) or not chosen.is_floating_point or chosen.itemsize < 2:
        raise LoadError(f"no number format {shorten(dtype)}", hint="Use 'float32', 'bfloat16' or 'float16'.")
    return chosen


def native_dtype(kind: str, *, capability: tuple[int, int] = (0, 0), new_macos: bool = False) -> torch.dtype:
    """Return the number format that a kind of device computes in best.

    Parameters
    ----------
    kind
        ``"cpu"``, ``"cuda"``, ``"mps"`` ….
    capability
        The compute capability of a CUDA device: bfloat16 is native from 8.0 on.
    new_macos
        Whether macOS is 14 or newer, whose MPS knows bfloat16.
    """
    if kind == "cpu":
        return torch.float32
    older = (kind == "cuda" and capability < (8, 0)) or (kind == "mps" and not new_macos)
    return torch.float16 if older else torch.bfloat16


@dataclass(frozen=True, slots=True)
class WeightShape:
    """One tensor in a file of weights.

    Attributes
    ----------
    name
        As it stands in the file.
    shape
        Its sizes, outermost first.
    fixed
        Bytes an element has in memory whatever the number format asked for; None for those that are converted.
    """

    name: str
    shape: tuple[int, ...]
    fixed: int | None = None

    def nbytes(self, itemsize: int, quantization: str | None = None) -> float:
        """Return the bytes it takes in memory, at `itemsize` bytes an element."""
        n_elements = 1
        for size in self.shape:
            n_elements *= size
        bits = None
        if quantization is not None and len(self.shape) == 2 and not any(part in self.name for part in _KEPT):
            bits = bits_per_weight(*self.shape, quantization)
        return n_elements * (self.fixed or (itemsize if bits is None else bits / 8))


_KEPT = ("embed", "lm_head", "norm")


_CONVERTED = {"F64", "F32", "F16", "BF16"}


_FIXED = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}


_MAX_HEADER = 100 << 20


def weights_nbytes(shapes: Iterable[WeightShape] | None, itemsize: int, quantization: str | None = None) -> int | None:
    """Return the bytes that weights of these shapes take in memory; None where the shapes are not known."""
    return None if shapes is None else int(sum(shape.nbytes(itemsize, quantization) for shape in shapes))


def safetensors_shapes(folder: Path) -> list[WeightShape] | None:
    """Return what the safetensors files of a model hold, read from their headers; None where that fails."""
    try:
        return [shape for path in _read_files(folder) for shape in _header(path)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def safetensors_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model; all there are where it is not clear which of them are read."""
    try:
        return _read_files(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return sorted(folder.glob("*.safetensors"))


def _read_files(folder: Path) -> list[Path]:
    """Return those that transformers reads: ``model.safetensors``, else those that the index names."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / name for name in sorted(set(names))]


def gguf_shapes(path: Path) -> list[WeightShape] | None:
    """Return what a GGUF file holds; None where it cannot be read. Its weights are restored when they are loaded."""
    from gguf import GGUFReader

    try:
        return [
            WeightShape(tensor.name, tuple(int(size) for size in reversed(tensor.shape)))
            for tensor in GGUFReader(path).tensors
        ]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _header(path: Path) -> list[WeightShape]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER:
            raise ValueError(f"no safetensors header: {length} bytes")
        header = json.loads(file.read(length))
    return [
        WeightShape(
            name, tuple(entry["shape"]), None if entry["dtype"] in _CONVERTED else _FIXED.get(entry["dtype"], 1)
        )
        for name, entry in header.items()
        if name != "__metadata__"
    ]


def free_nbytes(device: torch.device, *, control_group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that can still be allocated on `device`; None where that is not known.

    On the CPU that is what the system has available, or what the control group of a container leaves if that
    is less.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    if device.type != "cpu":
        return None
    available = int(psutil.virtual_memory().available)
    try:
        limit = int((control_group / "memory.max").read_text())
        counts = dict(line.split() for line in (control_group / "memory.stat").read_text().splitlines())
        return min(available, max(0, limit - int(counts["anon"])))
    except (OSError, ValueError, KeyError):  # no control group, or one without a limit: "max"
        return available


def check_room(
    source: str,
    shapes: list[WeightShape] | None,
    device: torch.device,
    dtype: torch.dtype,
    quantization: str | None = None,
    *,
    offered: Iterable[str] = (),
) -> None:
    """Refuse a model that does not fit, before it is read.

    Parameters
    ----------
    source
        What is loaded, for the message.
    shapes
        Its weights; None (not known) is never refused.
    device, dtype, quantization
        Where they go and as what.
    offered
        Quantizations to suggest where they would fit.

    Raises
    ------
    LoadError
        With the bytes needed, the bytes free, and what would help.
    """
    needed, free = weights_nbytes(shapes, dtype.itemsize, quantization), free_nbytes(device)
    if needed is None or free is None or needed <= free:
        return
    smaller = {name: weights_nbytes(shapes, dtype.itemsize, name) or 0 for name in offered if quantization is None}
    fits = [f"quantization={name!r} ({_gigabytes(size)})" for name, size in smaller.items() if size <= free]
    raise LoadError(
        f"{source} needs about {_gigabytes(needed)} of memory on {device} and {_gigabytes(free)} are free",
        hint=(f"Load it with {' or '.join(fits)}, u" if fits else "U") + "nload other guards, or use a smaller guard.",
    )


def _gigabytes(nbytes: int) -> str:
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:,.1f} MB"
