"""One guard under measurement: its rows and floors, and how a way is timed and held against others."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from bounds import known_device, loop_rows_per_s, measured_device, rows_floor
from counting import Shape
from gpu_guards import Built, Spec, build
from shapes import kv_bytes_per_token, model_config
from timing import Timing, count_tokens, differences, run_way
from ways import Row, Way, encode_rows, forced_answers, read_all, with_engine

from guard_magic.engine.memory import token_budget
from guard_magic.guards.encoded import Encoded
from guard_magic.guards.guard import Guard

__all__ = ["Bench", "Found", "Settings", "share"]

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """How all guards are measured.

    Attributes
    ----------
    device, dtype
        Where and in which number format.
    n_rows
        Rows of a run; None for each guard's own number.
    repeats
        Runs of each of the engine's ways.
    is_padded
        Whether nothing is packed, whatever the model and the device can do.
    """

    device: str
    dtype: torch.dtype
    n_rows: int | None
    repeats: int
    is_padded: bool = False

    @property
    def on_cuda(self) -> bool:
        """Whether a GPU is measured."""
        return self.device.startswith("cuda")


class Bench:
    """One guard under measurement.

    Parameters
    ----------
    spec
        Which guard.
    settings
        How it is measured.
    rates
        What `bounds.measure_device` found.

    Attributes
    ----------
    scores
        `unsafe_score` by row number, by the name of what gave it.
    floors
        Rows a second that the device could do at most, by what is counted.
    compiled
        The guard with compiled layers, once there is one.
    """

    def __init__(self, spec: Spec, settings: Settings, rates: Found) -> None:
        self.spec = spec
        self.settings = settings
        self.rates = rates
        self.shape = Shape.of(model_config(spec.shape))
        self.scores: dict[str, dict[int, float]] = {}
        self.floors: Found = {}
        self._built: Built | None = None
        self.made: dict[int, Encoded] = {}
        self._engine: Guard | None = None
        self.compiled: Guard | None = None

    @property
    def guard(self) -> Guard:
        """The guard, as `guard_magic.wrap` gives it."""
        assert self._built is not None
        return self._built.guard

    @property
    def rows(self) -> list[Row]:
        """The rows of a run."""
        assert self._built is not None
        return self._built.rows

    @property
    def encoded(self) -> list[Encoded]:
        """The rows encoded."""
        return [self.made[id(row)] for row in self.rows]

    @property
    def engine(self) -> Guard:
        """The guard with the engine that is measured; packing is found out where that was not done yet."""
        if self._engine is None:
            self._engine = with_engine(self.guard)
            list(self._engine.read(self.encoded[:1]))  # packing is tried before the first row is read
        return self._engine

    def use_engine(self, **settings: Any) -> None:
        """Measure an engine of these settings from now on."""
        self._engine, self.compiled = with_engine(self.guard, **settings), None

    def build(self, found: Found) -> None:
        """Make the guard on the device, and the floors of its rows."""
        self._built = build(self.spec, self.settings.dtype, self.settings.device, self.settings.n_rows)
        self.made = {
            id(row): encoded for row, encoded in zip(self.rows, encode_rows(self.guard, self.rows), strict=True)
        }
        prompts = [encoded.prompt for encoded in self.encoded]
        found |= {
            "family": self.spec.family,
            "n_rows": len(self.rows),
            "n_parameters": sum(weight.numel() for weight in self.guard.model.parameters()),
            "weight_bytes": self.guard.nbytes,
            "kv_bytes_per_token": kv_bytes_per_token(self.guard.model),
            "chosen_budget": token_budget(self.guard.model, is_packed=True),
            "prefix_tokens": statistics.fmean(prompt.n_prefix for prompt in prompts),
            "own_tokens": statistics.fmean(len(prompt.ids) - prompt.n_prefix for prompt in prompts),
            "chain_tokens": len(self.guard.questionnaire(None).questions[0].continuation.tokens),
            "answer_tokens": [len(ids) for ids in forced_answers(self.guard).values()],
        }
        found["floors"] = self.floors = self._count_floors()

    def _count_floors(self) -> Found:
        """Return rows a second that the device could do at most over these rows: by data sheet, and as measured."""
        name = torch.cuda.get_device_name() if self.settings.on_cuda else ""
        answers = forced_answers(self.guard)
        n_answers = [len(answers[row.is_unsafe]) for row in self.rows]
        found: Found = {}
        for number, fp8 in (("bf16", False), ("fp8", True)):
            known = known_device(name, fp8=fp8) if self.settings.dtype == torch.bfloat16 else None
            if known is None:
                continue
            found[number] = rows_floor(self.shape, self.encoded, known).rows_per_s
            measured = measured_device(known, self.rates, fp8=fp8)
            found[f"{number}_measured"] = (
                rows_floor(self.shape, self.encoded, measured).rows_per_s if measured else None
            )
            if not fp8:
                found["whole"] = rows_floor(self.shape, self.encoded, known, shares=False).rows_per_s
                found["tutorial"] = loop_rows_per_s(self.shape, self.encoded, n_answers, known)
        return found

    def time_guard(
        self, found: Found, name: str, guard: Guard, *, floor: str = "bf16", repeats: int | None = None
    ) -> None:
        """Time a way through the engine over rows that are ready, with its padding."""
        way = read_all(guard, self.made)
        shares = guard.engine.share_prefix
        before = guard.engine.n_forwards
        with count_tokens(guard.model) as passes:
            list(way(self.rows[: max(2, len(self.rows) // 8)]))  # first calls allocate, and find out about packing
            passes.clear()
            before = guard.engine.n_forwards
            self.time_way(found, name, way, floor=floor)
            found |= {"n_batches": guard.engine.n_forwards - before, "packs": guard.engine.packs}
            found["tokens"] = sum(passes)
        found["padding"] = (
            1 - self._needed(shares) / found["tokens"] if len(self.scores[name]) == len(self.rows) else None
        )
        for _ in range((repeats or self.settings.repeats) - 1):
            self.time_way(found, name, way, floor=floor)

    def time_way(self, found: Found, name: str, way: Way, *, floor: str = "bf16") -> None:
        """Run a way once more, and note its rate, its part of the floor and its scores against what is known."""
        timing = Timing(rates=found.setdefault("rates", []))
        run_way(way, self.rows, timing, seconds=self.spec.seconds)
        found |= {"rows_per_s": timing.rows_per_s, "n_scored": len(timing.scores), "peak_bytes": timing.peak_bytes}
        found["share_of_floor"] = share(timing.rows_per_s, self.floors.get(floor))
        found["share_of_measured_floor"] = share(timing.rows_per_s, self.floors.get(f"{floor}_measured"))
        self.scores[name] = timing.scores
        found |= self.against(name)

    def against(self, name: str) -> Found:
        """Return how far a way's scores are from those read alone in float32, and from the engine's."""
        return {
            f"against_{other}": differences(self.scores[name], self.scores[other])
            for other in ("alone", "engine")
            if other in self.scores and other != name
        }

    def scored(self, rows: Sequence[Row], budget: int | None = None) -> dict[int, float]:
        """Return what the engine says of these rows, by their place in them."""
        self.engine.engine.budget = budget
        try:
            return dict(read_all(self.engine, self.made)(rows))
        finally:
            self.engine.engine.budget = None

    def close(self, found: Found) -> None:
        """Drop the model, and say what stays allocated."""
        if self._built is not None:
            self.guard.close()
        for guard in (self._engine, self.compiled):
            if guard is not None:
                guard.engine.close()
        self._built = self._engine = self.compiled = None
        self.made = {}
        torch.compiler.reset()
        gc.collect()
        if self.settings.on_cuda:
            torch.cuda.empty_cache()
            found |= {"allocated_bytes": torch.cuda.memory_allocated(), "reserved_bytes": torch.cuda.memory_reserved()}

    def _needed(self, shares: bool) -> int:
        """Return the tokens that a run has to compute."""
        n_continuation = len(self.guard.questionnaire(None).questions[0].continuation.tokens)
        prompts = [encoded.prompt for encoded in self.encoded]
        prefixes = {prompt.ids[: prompt.n_prefix] for prompt in prompts if shares}
        own = sum(len(prompt.ids) - (prompt.n_prefix if shares else 0) + n_continuation for prompt in prompts)
        return own + sum(map(len, prefixes))


def share(rate: float, floor: float | None) -> float | None:
    return rate / floor if floor else None
