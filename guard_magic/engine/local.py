"""The local engine: rows of token ids in, log-probabilities out.

The engine knows nothing of conversations, policies or verdicts. Each row is a prompt whose leading ids may
be shared with others; all rows get the same tokens appended (the continuation), and the engine reports the
log-probabilities of the tokens asked for at offsets along it.

Batches are packed end to end where the model and its device can (`packs`, tried once on the model itself), and
padded elsewhere; `forward` has both ways. On CUDA the next batch is launched before the last one's numbers are
waited for, so that the device never waits for the host.

The model is the user's: it may be trained, moved or switched, and run by other threads. All that the engine does to a
model it does to a copy that shares its tensors (`own_copy`). What was made of it (that copy, prefixes, whether it
packs, compiled layers) is one `Snapshot`, and the model is looked at before each call and behind each batch: after any
change there is a new snapshot, and numbers are not given out where it is not certain of which weights they are.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

from guard_magic.engine.batching import group_positions, halve, plan_batches, plan_packs
from guard_magic.engine.compiled import CompiledLayers
from guard_magic.engine.float32 import float32_arithmetic
from guard_magic.engine.forward import fetched, on_device, packed_logits, padded_logits
from guard_magic.engine.generate import generate_texts
from guard_magic.engine.memory import head_rows, is_out_of_memory, token_budget
from guard_magic.engine.packing_check import can_pack, longest_packed
from guard_magic.engine.prefix_cache import PrefixCache
from guard_magic.engine.processes import check_process, note_threads
from guard_magic.engine.snapshot import Snapshot
from guard_magic.errors import ScoreError, UnknownGuardError

__all__ = ["LocalEngine", "Scored", "TokenRow"]

_log = logging.getLogger(__name__)
_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()
_locks_lock = threading.Lock()

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
class _Call:
    """The same for all rows of a call: what is appended and read along it, whether each row is alone, of what."""

    continuation: tuple[int, ...]
    wanted: tuple[Wanted, ...]
    alone: bool
    of: Snapshot

    @property
    def offsets(self) -> list[int]:
        """The offsets that are read, ascending."""
        return sorted({offset for offset, _ in self.wanted})


class LocalEngine:
    """A model on this machine, asked in batches.

    Parameters
    ----------
    model
        A transformers causal language model in eval mode. It is never changed, and other threads may run it.
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
        self._home = os.getpid()
        check_process(self._home)
        self.model = model
        self.budget = budget
        self.share_prefix = share_prefix
        self.n_forwards = 0
        self.lock = _lock_of(model)
        self._packs = packs
        self._compiles = compiles
        self._looking = threading.Lock()
        self._snapshot: Snapshot | None = Snapshot.of(model, compiles=compiles)

    @property
    def packs(self) -> bool | None:
        """Whether rows are packed; None where that was not tried yet."""
        return self._packs if self._packs is not None or self._snapshot is None else self._snapshot.packs

    @packs.setter
    def packs(self, packs: bool | None) -> None:
        self._packs = packs

    @property
    def prefixes(self) -> PrefixCache:
        """The prefixes that are known of the model as it was when it was last looked at."""
        return PrefixCache(None) if self._snapshot is None else self._snapshot.prefixes

    @prefixes.setter
    def prefixes(self, prefixes: PrefixCache) -> None:
        self.look().prefixes = prefixes

    @property
    def compiled(self) -> CompiledLayers | None:
        """The compiled layers, where there are any."""
        return None if self._snapshot is None else self._snapshot.compiled

    def look(self, *, closely: bool = False) -> Snapshot:
        """Look whether the model is as it was, and return what was made of it; made anew if it is not.

        Parameters
        ----------
        closely
            As at the beginning of a call: numbers are compared too.

        Raises
        ------
        ScoreError
            In a process that was forked from the model's.
        UnknownGuardError
            Where the model was unloaded.
        ProtocolError
            Where it is in training mode or has no numbers.
        """
        check_process(self._home)
        with self._looking:
            found = self._snapshot
            if found is None or self.model is None:
                raise UnknownGuardError("the guard was unloaded", hint="Load it again.")
            changed = found.state.change(self.model, closely=closely)
            if changed is not None:
                _log.info("the model has changed: %s", changed)
                found = self._snapshot = Snapshot.after_change(self.model, compiles=self._compiles)
            return found

    def forget(self) -> None:
        """Make everything anew that was made of the model, whatever it looks like."""
        check_process(self._home)
        with self._looking:
            if self.model is not None:
                self._snapshot = Snapshot.after_change(self.model, compiles=self._compiles)

    def check(self, snapshot: object) -> None:
        """Refuse what was read of a model that is not what `snapshot` was made of any more; raises as `look` besides.

        Raises
        ------
        ScoreError
            Where it has changed.
        """
        if self.look() is not snapshot:
            raise ScoreError(
                "the model was changed while it was being asked: its answer is of neither its old nor its new weights",
                hint="Score again once nothing writes to it; rows that were read before are kept.",
            )

    def score(
        self, rows: Sequence[TokenRow], continuation: Sequence[int], wanted: Sequence[Wanted], *, alone: bool = False
    ) -> Iterator[Scored]:
        """Score `rows`, yielding after each batch.

        Parameters
        ----------
        rows
            Prompts up to the position where `continuation` begins.
        continuation
            Token ids appended to every row.
        wanted
            Pairs (offset, token id): the log-probability of that token after `offset` tokens of the continuation.
        alone
            Whether each row is read by itself, whole and in float32: many times slower, and the same numbers
            whatever was asked before or beside it.

        Yields
        ------
        Scored
            Every row exactly once over all batches, in the engine's own order. A row that does not fit into
            memory alone comes with an error; other failures are raised.

        Raises
        ------
        ScoreError, UnknownGuardError, ProtocolError
            As `look` and `check`.
        """
        call = _Call(tuple(continuation), tuple(wanted), alone, self.look(closely=True))
        waiting: deque[Callable[[], Scored]] = deque()
        for finish in self._launched(rows, call):
            waiting.append(finish)
            if len(waiting) > (call.of.own.device.type == "cuda"):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def write(self, tokenizer: Any, prompts: Sequence[tuple[int, ...]]) -> Iterator[tuple[list[int], list[str | None]]]:
        """Continue each prompt greedily, as `generate_texts` does; raises as `look` and `check` besides."""
        batches = generate_texts((snapshot := self.look(closely=True)).own, tokenizer, prompts)
        while True:
            try:
                with self.lock:
                    note_threads(snapshot.own.device)
                    batch = next(batches, None)
            finally:
                self.check(snapshot)
            if batch is None:
                return
            yield batch

    def close(self) -> None:
        """Drop the model and all that was made of it, behind the batch under way in another thread."""
        with self.lock, self._looking:
            self._snapshot = self.model = None

    def _launched(self, rows: Sequence[TokenRow], call: _Call) -> Iterator[Callable[[], Scored]]:
        """Launch all batches in turn; what is yielded waits for one and returns what it gave."""
        for prefix, is_packed, batches in self._plan(rows, call):
            pending = list(reversed(batches))
            while pending:
                batch = pending.pop()
                suffixes = [rows[i].ids[len(prefix) :] for i in batch]
                finish = self._try_batch(suffixes, prefix, call, is_packed)
                if finish is not None:
                    yield partial(self._scored, batch, finish, call)
                elif len(batch) == 1:
                    error = f"out of memory for one prompt of {len(rows[batch[0]].ids)} tokens"
                    yield partial(Scored, batch, None, error)
                else:
                    _log.info("out of memory at %d rows: halving", len(batch))
                    pending += reversed(halve(batch))

    def _plan(self, rows: Sequence[TokenRow], call: _Call) -> Iterator[tuple[tuple[int, ...], bool, list[list[int]]]]:
        """Yield prefixes, each with the batches behind it and whether they are packed; in positions in `rows`."""
        if not rows:
            return
        if call.alone:
            yield (), False, [[i] for i in range(len(rows))]
            return
        own, packs = call.of.own, self._tried_packs(call.of, rows[0])
        longest = longest_packed(own)
        n_most = head_rows(own, len(call.offsets))
        shared = [row.ids[: row.n_prefix] if self.share_prefix else () for row in rows]
        fits = [packs and (longest is None or len(row.ids) + len(call.continuation) <= longest) for row in rows]
        for (prefix, is_packed), members in group_positions(list(zip(shared, fits, strict=True))).items():
            lengths = [len(rows[i].ids) - len(prefix) + len(call.continuation) for i in members]
            budget = self.budget or token_budget(own, is_packed=is_packed)
            batches = (plan_packs if is_packed else plan_batches)(lengths, budget, n_most)
            yield prefix, is_packed, [[members[i] for i in batch] for batch in batches]

    def _try_batch(
        self, suffixes: list[tuple[int, ...]], prefix: tuple[int, ...], call: _Call, is_packed: bool
    ) -> Callable[[], list[list[float]]] | None:
        """Launch a batch; return what waits for its log-probabilities, or None if memory ran out."""
        try:
            with self.lock, torch.inference_mode(), float32_arithmetic() if call.alone else nullcontext():
                note_threads(call.of.own.device)
                return fetched(self._forward(suffixes, prefix, call, is_packed))
        except Exception as error:
            self.check(call.of)  # weights that move or change their format under a batch make it fail in many ways
            if not is_out_of_memory(error):
                raise
        if call.of.own.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _forward(
        self, suffixes: list[tuple[int, ...]], prefix: tuple[int, ...], call: _Call, is_packed: bool
    ) -> torch.Tensor:
        """Return the log-probabilities asked for, (n_rows, n_wanted), float64, on the device."""
        offsets, own, compiled = call.offsets, call.of.own, call.of.compiled
        ids = [(*suffix, *call.continuation) for suffix in suffixes]
        reads = [[len(suffix) - 1 + offset for offset in offsets] for suffix in suffixes]
        past = call.of.prefixes.get(prefix)
        self.n_forwards += 1
        if is_packed:
            with compiled.used() if compiled else nullcontext():
                logits = packed_logits(own, ids, reads, past, len(prefix))
        else:
            logits = padded_logits(own, ids, reads, past)
        at = on_device([offsets.index(offset) for offset, _ in call.wanted], own)
        tokens = on_device([token for _, token in call.wanted], own)
        return logits.log_softmax(-1)[:, at, tokens].double()

    def _tried_packs(self, snapshot: Snapshot, row: TokenRow) -> bool:
        """Say whether rows are packed, trying it where that was not done yet."""
        if self._packs is not None:
            return self._packs
        if snapshot.packs is None:
            with self.lock:
                note_threads(snapshot.own.device)
                snapshot.packs = can_pack(snapshot.own, row.ids)
            self.check(snapshot)
        return snapshot.packs

    def _scored(self, positions: list[int], finish: Callable[[], list[list[float]]], call: _Call) -> Scored:
        scored = Scored(positions, finish())
        self.check(call.of)
        return scored


def _lock_of(model: Any) -> threading.RLock:
    """Return the lock under which a model is run, the same for every engine of it."""
    with _locks_lock:
        return _locks.setdefault(model, threading.RLock())
