"""The local engine: rows of token ids in, log-probabilities out.

The engine knows nothing of conversations, policies or verdicts. Each row is a prompt whose leading ids may
be shared with others; all rows get the same chain of tokens appended, and the engine reports the
log-probabilities of the tokens asked for at offsets along that chain.

Right padding needs no attention mask and no position ids here: attention is causal, padding stands after
every position that is read, and positions count from the prefix on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from guard_magic.engine.batching import group_positions, halve, plan_batches
from guard_magic.engine.head import head_at
from guard_magic.engine.memory import is_out_of_memory, token_budget
from guard_magic.engine.prefix_cache import PrefixCache

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


class LocalEngine:
    """A model on this machine, asked in batches.

    Parameters
    ----------
    model
        A transformers causal language model in eval mode. It is never changed; hooks are removed after use.
    budget
        Padded tokens a batch; None to choose by the device.
    share_prefix
        Whether prompt prefixes are computed once; False only for measuring what that brings.
    """

    def __init__(self, model: Any, *, budget: int | None = None, share_prefix: bool = True) -> None:
        self.model = model
        self.budget = budget
        self.share_prefix = share_prefix
        self.prefixes = PrefixCache(model)
        self.n_forwards = 0
        self._lock = threading.RLock()

    def score(self, rows: Sequence[TokenRow], chain: Sequence[int], wanted: Sequence[Wanted]) -> Iterator[Scored]:
        """Score `rows`, yielding after each batch.

        Parameters
        ----------
        rows
            Prompts up to the position where `chain` begins.
        chain
            Token ids appended to every row.
        wanted
            Pairs (offset, token id): the log-probability of that token after `offset` tokens of the chain.

        Yields
        ------
        Scored
            Every row exactly once over all batches, in the engine's own order. A row that does not fit into
            memory alone comes with an error; other failures are raised.
        """
        shared = [row.ids[: row.n_prefix] if self.share_prefix else () for row in rows]
        for prefix, members in group_positions(shared).items():
            lengths = [len(rows[i].ids) - len(prefix) + len(chain) for i in members]
            batches = plan_batches(lengths, self.budget or token_budget(self.model))
            pending = [[members[i] for i in batch] for batch in reversed(batches)]
            while pending:
                batch = pending.pop()
                scored = self._try_batch([rows[i].ids[len(prefix) :] for i in batch], prefix, chain, wanted)
                if scored is not None:
                    yield Scored(batch, scored)
                elif len(batch) == 1:
                    yield Scored(batch, None, f"out of memory for one prompt of {len(rows[batch[0]].ids)} tokens")
                else:
                    _log.info("out of memory at %d rows: halving", len(batch))
                    pending += reversed(halve(batch))

    def close(self) -> None:
        """Drop the model and all prefixes."""
        self.prefixes.clear()
        self.prefixes = PrefixCache(None)
        self.model = None

    def _try_batch(
        self, suffixes: list[tuple[int, ...]], prefix: tuple[int, ...], chain: Sequence[int], wanted: Sequence[Wanted]
    ) -> list[list[float]] | None:
        """Return the batch's log-probabilities, or None if memory ran out."""
        try:
            with self._lock, torch.inference_mode():
                return self._forward(suffixes, prefix, chain, wanted)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _forward(
        self, suffixes: list[tuple[int, ...]], prefix: tuple[int, ...], chain: Sequence[int], wanted: Sequence[Wanted]
    ) -> list[list[float]]:
        offsets = sorted({offset for offset, _ in wanted})
        width = max(map(len, suffixes)) + len(chain)
        padded = [[*suffix, *chain, *[0] * (width - len(suffix) - len(chain))] for suffix in suffixes]
        device = self.model.device
        ids = torch.tensor(padded, device=device)  # (n_rows, width)
        reads = [[len(suffix) - 1 + offset for offset in offsets] for suffix in suffixes]
        positions = torch.tensor(reads, device=device)  # (n_rows, n_offsets)
        past = self.prefixes.get(prefix)
        self.n_forwards += 1
        with head_at(self.model, positions):
            logits = self.model(input_ids=ids, past_key_values=past, use_cache=past is not None).logits
        log_probs = logits.float().log_softmax(-1)  # (n_rows, n_offsets, n_vocabulary)
        at = torch.tensor([offsets.index(offset) for offset, _ in wanted], device=device)
        tokens = torch.tensor([token for _, token in wanted], device=device)
        picked: list[list[float]] = log_probs[:, at, tokens].double().tolist()
        return picked
