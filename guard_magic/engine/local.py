"""The local engine: rows of token ids in, log-probabilities out.

The engine knows nothing of conversations, policies or verdicts. Each row is a prompt whose leading ids may
be shared with others; all rows get the same chain of tokens appended, and the engine reports the
log-probabilities of the tokens asked for at offsets along that chain.

Batches are packed end to end where the model and its device can (`packs`, tried once on the model itself), and
padded elsewhere; `forward` has both ways. On CUDA the next batch is launched before the last one's numbers are
waited for, so that the device never waits for the host.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from guard_magic.engine.batching import group_positions, halve, plan_batches, plan_packs
from guard_magic.engine.compiled import CompiledLayers
from guard_magic.engine.float32 import float32_arithmetic
from guard_magic.engine.forward import on_device, packed_logits, padded_logits
from guard_magic.engine.memory import head_rows, is_out_of_memory, token_budget
from guard_magic.engine.prefix_cache import PrefixCache
from guard_magic.engine.trial import can_pack, longest_packed

__all__ = ["LocalEngine", "Scored", "TokenRow"]

_log = logging.getLogger(__name__)

Wanted = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One prompt: its ids, and how many leading ids it shares with others."""

    ids: tuple[int, ...]
    n_prefix: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """What one batch gave.

    Attributes
    ----------
    positions
        Which rows, as positions in the call's rows.
    log_probs
        One list a row, in the order of `wanted`; natural logarithms. None where the batch failed.
    error
        Why the batch (of one row) failed, else None.
    """

    positions: list[int]
    log_probs: list[list[float]] | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Ask:
    """What is the same for all rows of a call: the chain, what is read along it, and whether each row is alone."""

    chain: tuple[int, ...]
    wanted: tuple[Wanted, ...]
    alone: bool

    @property
    def offsets(self) -> list[int]:
        """The offsets that are read, ascending."""
        return sorted({offset for offset, _ in self.wanted})


class LocalEngine:
    """A model on this machine, asked in batches.

    Parameters
    ----------
    model
        A transformers causal language model in eval mode. It is never changed; hooks are removed after use.
    budget
        Tokens a batch, padding included; None to choose by the device.
    share_prefix
        Whether prompt prefixes are computed once; False only for measuring what that brings.
    packs
        Whether rows are packed end to end; None to find out on the model itself.
    compiles
        Whether packed batches run through compiled layers.
    """

    def __init__(
        self,
        model: Any,
        *,
        budget: int | None = None,
        share_prefix: bool = True,
        packs: bool | None = None,
        compiles: bool = False,
    ) -> None:
        self.model = model
        self.budget = budget
        self.share_prefix = share_prefix
        self.packs = packs
        self.compiled = CompiledLayers(model) if compiles else None
        self.prefixes = PrefixCache(model)
        self.n_forwards = 0
        self.lock = threading.RLock()

    def score(
        self, rows: Sequence[TokenRow], chain: Sequence[int], wanted: Sequence[Wanted], *, alone: bool = False
    ) -> Iterator[Scored]:
        """Score `rows`, yielding after each batch.

        Parameters
        ----------
        rows
            Prompts up to the position where `chain` begins.
        chain
            Token ids appended to every row.
        wanted
            Pairs (offset, token id): the log-probability of that token after `offset` tokens of the chain.
        alone
            Whether each row is read by itself, whole and in float32: many times slower, and the same numbers
            whatever was asked before or beside it.

        Yields
        ------
        Scored
            Every row exactly once over all batches, in the engine's own order. A row that does not fit into
            memory alone comes with an error; other failures are raised.
        """
        ask = _Ask(tuple(chain), tuple(wanted), alone)
        waiting: deque[Callable[[], Scored]] = deque()
        for finish in self._launched(rows, ask):
            waiting.append(finish)
            if len(waiting) > (self.model.device.type == "cuda"):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def close(self) -> None:
        """Drop the model and all prefixes."""
        self.prefixes.clear()
        self.prefixes = PrefixCache(None)
        self.compiled = None
        self.model = None

    def _launched(self, rows: Sequence[TokenRow], ask: _Ask) -> Iterator[Callable[[], Scored]]:
        """Launch all batches in turn; what is yielded waits for one and returns what it gave."""
        for prefix, is_packed, batches in self._plan(rows, ask):
            pending = list(reversed(batches))
            while pending:
                batch = pending.pop()
                suffixes = [rows[i].ids[len(prefix) :] for i in batch]
                finish = self._try_batch(suffixes, prefix, ask, is_packed)
                if finish is not None:
                    yield partial(_scored, batch, finish)
                elif len(batch) == 1:
                    error = f"out of memory for one prompt of {len(rows[batch[0]].ids)} tokens"
                    yield partial(Scored, batch, None, error)
                else:
                    _log.info("out of memory at %d rows: halving", len(batch))
                    pending += reversed(halve(batch))

    def _plan(self, rows: Sequence[TokenRow], ask: _Ask) -> Iterator[tuple[tuple[int, ...], bool, list[list[int]]]]:
        """Yield prefixes, each with the batches behind it and whether they are packed; in positions in `rows`."""
        if not rows:
            return
        if ask.alone:
            yield (), False, [[i] for i in range(len(rows))]
            return
        if self.packs is None:
            with self.lock:
                self.packs = can_pack(self.model, rows[0].ids)
        longest = longest_packed(self.model)
        n_most = head_rows(self.model, len(ask.offsets))
        shared = [row.ids[: row.n_prefix] if self.share_prefix else () for row in rows]
        fits = [self.packs and (longest is None or len(row.ids) + len(ask.chain) <= longest) for row in rows]
        for (prefix, is_packed), members in group_positions(list(zip(shared, fits, strict=True))).items():
            lengths = [len(rows[i].ids) - len(prefix) + len(ask.chain) for i in members]
            budget = self.budget or token_budget(self.model, is_packed=is_packed)
            batches = (plan_packs if is_packed else plan_batches)(lengths, budget, n_most)
            yield prefix, is_packed, [[members[i] for i in batch] for batch in batches]

    def _try_batch(
        self, suffixes: list[tuple[int, ...]], prefix: tuple[int, ...], ask: _Ask, is_packed: bool
    ) -> Callable[[], list[list[float]]] | None:
        """Launch a batch; return what waits for its log-probabilities, or None if memory ran out."""
        try:
            with self.lock, torch.inference_mode(), float32_arithmetic() if ask.alone else nullcontext():
                return _fetched(self._forward(suffixes, prefix, ask, is_packed))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _forward(
        self, suffixes: list[tuple[int, ...]], prefix: tuple[int, ...], ask: _Ask, is_packed: bool
    ) -> torch.Tensor:
        """Return the log-probabilities asked for, (n_rows, n_wanted), float64, on the device."""
        offsets = ask.offsets
        ids = [(*suffix, *ask.chain) for suffix in suffixes]
        reads = [[len(suffix) - 1 + offset for offset in offsets] for suffix in suffixes]
        past = self.prefixes.get(prefix)
        self.n_forwards += 1
        if is_packed:
            with self.compiled.used() if self.compiled else nullcontext():
                logits = packed_logits(self.model, ids, reads, past, len(prefix))
        else:
            logits = padded_logits(self.model, ids, reads, past)
        at = on_device([offsets.index(offset) for offset, _ in ask.wanted], self.model)
        tokens = on_device([token for _, token in ask.wanted], self.model)
        return logits.log_softmax(-1)[:, at, tokens].double()


def _fetched(numbers: torch.Tensor) -> Callable[[], list[list[float]]]:
    """Bring numbers to the host; the function returned waits for them, and nothing else does."""
    if numbers.device.type != "cuda":
        return numbers.tolist
    host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True).copy_(numbers, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()

    def wait() -> list[list[float]]:
        done.synchronize()
        found: list[list[float]] = host.tolist()
        return found

    return wait


def _scored(positions: list[int], finish: Callable[[], list[list[float]]]) -> Scored:
    return Scored(positions, finish())
