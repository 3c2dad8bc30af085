"""From encoded rows to verdicts: the one way, of tables, magics and a guard asked by itself.

Where a row is read in windows, one verdict stands for all of them, and a window without a score leaves the row without
one. Rows near the threshold are read a second time where the caller wants that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from guard_magic.errors import ConversationError, ScoreError
from guard_magic.guards.encoded import Encoded
from guard_magic.guards.request import EncodedRow, Request
from guard_magic.verdict import Reading, Verdict, judge, unscored

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard

__all__ = ["Known", "Listener", "More", "Prompts", "judge_rows"]

More = Literal["again", "written"]
"""What may be done for a prompt once it was read."""

_ALONE = b"alone"
"""Behind a key: the reading of the same prompts alone and in float32."""


class Known(Protocol):
    """Where readings are looked up and kept, by key."""

    def get(self, key: bytes) -> Reading | None:
        """Return the reading of `key`, or None."""

    def put(self, key: bytes, reading: Reading) -> None:
        """Keep a reading."""

    def get_text(self, key: bytes) -> str | None:
        """Return what the guard wrote for `key`, or None."""

    def put_text(self, key: bytes, text: str) -> None:
        """Keep what the guard wrote."""


class _Nothing:
    """Knows nothing, keeps nothing and does not listen."""

    def get(self, key: bytes) -> None: ...
    def put(self, key: bytes, reading: Reading) -> None: ...
    def get_text(self, key: bytes) -> None: ...
    def put_text(self, key: bytes, text: str) -> None: ...
    def begin(self, prompts: Prompts) -> None: ...
    def expect(self, rows: object, prompts: Prompts, found: object) -> None: ...
    def finish(self, n_rows: int, read: Sequence[int] = ()) -> None: ...
    def expect_more(self, kind: More, prompts: Sequence[int]) -> None: ...
    def finish_more(self, kind: More, prompts: Sequence[int]) -> None: ...


class Listener(Protocol):
    """Hears how reading gets on, batch by batch."""

    def begin(self, prompts: Prompts) -> None:
        """Hear of all that is asked, before anything of it is looked up."""

    def expect(self, rows: Sequence[EncodedRow | ConversationError], prompts: Prompts, found: Iterable[int]) -> None:
        """Hear of rows, before any is read, and of which prompts the readings were known."""

    def finish(self, n_rows: int, read: Sequence[int] = ()) -> None:
        """Hear that rows are done, and which prompts were read for them; may raise an interrupt."""

    def expect_more(self, kind: More, prompts: Sequence[int]) -> None:
        """Hear, once all are read, which prompts will be read again or written for, before any is."""

    def finish_more(self, kind: More, prompts: Sequence[int]) -> None:
        """Hear for which prompts that was done; may raise an interrupt."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """All that a guard is asked for some rows.

    Attributes
    ----------
    encoded, keys, cuts
        In order of the rows, one for each of their windows: what is asked, its key, and which part of its row it is.
    owners
        For each of them the position of its row.
    groups
        For each of them its row's group, as for `judge_rows`.
    """

    encoded: list[Encoded]
    keys: Sequence[bytes]
    cuts: list[str | None]
    owners: list[int]
    groups: list[Hashable] | None

    @classmethod
    def of(
        cls,
        rows: Sequence[EncodedRow | ConversationError],
        guard: Guard,
        keys: Sequence[bytes] | None,
        groups: Sequence[Hashable] | None,
    ) -> Prompts:
        """Take rows apart."""
        good = [(i, row) for i, row in enumerate(rows) if isinstance(row, EncodedRow)]
        owners = [i for i, row in good for _ in row.windows]
        encoded = [one for _, row in good for one in row.windows]
        return cls(
            encoded,
            guard.keys(encoded) if keys is None else keys,
            [cut for _, row in good for cut in row.cuts],
            owners,
            None if groups is None else [groups[i] for i in owners],
        )


def judge_rows(
    rows: Sequence[EncodedRow | ConversationError],
    request: Request,
    keys: Sequence[bytes] | None = None,
    known: Known | None = None,
    *,
    groups: Sequence[Hashable] | None = None,
    keep: bool = False,
    listener: Listener | None = None,
) -> tuple[list[Verdict], int]:
    """Score encoded rows, in order; a row that cannot be scored is a verdict with its error.

    Parameters
    ----------
    rows
        Encoded conversations, or why there is none.
    request
        What is asked of which guard; what it says of encoding is done already.
    keys
        Of all windows of all rows, in order: `Guard.keys`; None to make them here.
    known
        Where readings are looked up and kept, batch by batch, so that an interrupt loses none; None for nowhere.
    groups
        For each row its group: rows of one group stand side by side and are beginnings of one conversation, shortest
        first, and what their prompts share is computed once. None where each row is a conversation of its own.
    keep
        Whether verdicts remember their conversation.
    listener
        Hears how it gets on; None for nobody.

    Returns
    -------
    tuple
        A verdict a row, and for how many rows a second look failed: they keep the reading that they have.
    """
    listener = _Nothing() if listener is None else listener
    prompts = Prompts.of(rows, request.guard, keys, groups)
    reader = _Reader(prompts, request, _Nothing() if known is None else known, listener)
    results = reader.read(rows)
    n_not_rechecked = 0 if request.recheck is None else reader.recheck(results, request.recheck)
    verdicts = [_verdict(i, prompts, results[i], request, keep) for i in range(len(results))]
    chosen = {owner: _worst(members, verdicts) for owner, members in _by_owner(prompts.owners).items()}
    if request.generate:
        wanted = [i for i in chosen.values() if verdicts[i].error is None]
        for i, text in zip(wanted, reader.write(wanted, results), strict=True):
            verdicts[i] = replace(verdicts[i], generated_text=text)
    listener.finish(sum(isinstance(row, ConversationError) for row in rows))
    found = [
        _lost(row, request) if isinstance(row, ConversationError) else verdicts[chosen[i]] for i, row in enumerate(rows)
    ]
    return found, n_not_rechecked


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads and writes prompts through what is known."""

    prompts: Prompts
    request: Request
    known: Known
    listener: Listener

    def read(self, rows: Sequence[EncodedRow | ConversationError]) -> list[Reading | ScoreError]:
        """Read all prompts; a batch is kept before it is counted, which may raise an interrupt."""
        prompts, policy = self.prompts, self.request.other_policy
        left = Counter(prompts.owners)

        def n_finished(positions: Sequence[int]) -> int:
            left.subtract(prompts.owners[i] for i in positions)
            return sum(left[owner] == 0 for owner in {prompts.owners[i] for i in positions})

        self.listener.begin(prompts)
        results: dict[int, Reading | ScoreError] = dict(self._found(range(len(prompts.encoded))))
        self.listener.expect(rows, prompts, results)
        self.listener.finish(n_finished(list(results)))
        missing = [i for i in range(len(prompts.encoded)) if i not in results]
        groups = None if prompts.groups is None else [prompts.groups[i] for i in missing]
        for batch in self.request.guard.read([prompts.encoded[i] for i in missing], policy=policy, groups=groups):
            read = [missing[position] for position, _ in batch]
            self._keep(results, read, [result for _, result in batch])
            self.listener.finish(n_finished(read), read)
        return [results[i] for i in range(len(prompts.encoded))]

    def recheck(self, results: list[Reading | ScoreError], distance: float) -> int:
        """Read again, alone and in float32, what is near the threshold, in place; returns for how many rows it failed.

        Their prompts keep the reading that they have.
        """
        near = [
            i
            for i, result in enumerate(results)
            if isinstance(result, Reading) and abs(result.unsafe_score - self.request.threshold) <= distance
        ]
        again: dict[int, Reading | ScoreError] = dict(self._found(near, _ALONE))
        missing = [i for i in near if i not in again]
        encoded = [self.prompts.encoded[i] for i in missing]
        self.listener.expect_more("again", missing)
        for batch in self.request.guard.read(encoded, policy=self.request.other_policy, alone=True):
            read = [missing[position] for position, _ in batch]
            self._keep(again, read, [result for _, result in batch], _ALONE)
            self.listener.finish_more("again", read)
        for i, result in again.items():
            if isinstance(result, Reading):
                results[i] = result
        return len({self.prompts.owners[i] for i, result in again.items() if isinstance(result, ScoreError)})

    def write(self, chosen: Sequence[int], results: Sequence[Reading | ScoreError]) -> list[str | None]:
        """Return what the guard writes for the chosen prompts, in order."""
        keys = self.prompts.keys
        texts = {i: self.known.get_text(keys[i]) for i in chosen}
        wanted = [
            (i, result) for i in chosen for result in [results[i]] if isinstance(result, Reading) and texts[i] is None
        ]
        encoded, readings = [self.prompts.encoded[i] for i, _ in wanted], [reading for _, reading in wanted]
        left = {i for i, _ in wanted}
        for number, batch in enumerate(self.request.guard.write(encoded, readings, policy=self.request.other_policy)):
            done = [wanted[position][0] for position, _ in batch]
            for i, (_, text) in zip(done, batch, strict=True):
                texts[i] = text
                if text is not None:
                    self.known.put_text(keys[i], text)
            left -= set(done)
            if number:
                self.listener.finish_more("written", done)
            else:  # what is known without decoding
                self.listener.expect_more("written", sorted(left))
        return [texts[i] for i in chosen]

    def _found(self, positions: Iterable[int], kind: bytes = b"") -> list[tuple[int, Reading]]:
        found = [(i, self.known.get(self.prompts.keys[i] + kind)) for i in positions]
        return [(i, reading) for i, reading in found if reading is not None]

    def _keep(
        self,
        into: dict[int, Reading | ScoreError],
        positions: Sequence[int],
        results: Sequence[Reading | ScoreError],
        kind: bytes = b"",
    ) -> None:
        for i, result in zip(positions, results, strict=True):
            into[i] = result
            if isinstance(result, Reading):
                self.known.put(self.prompts.keys[i] + kind, result)


def _by_owner(owners: Sequence[int]) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for i, owner in enumerate(owners):
        members.setdefault(owner, []).append(i)
    return members


def _worst(members: Sequence[int], verdicts: Sequence[Verdict]) -> int:
    """Return which verdict stands for all windows: one without a score, else the highest."""

    def rank(i: int) -> float:
        score = verdicts[i].unsafe_score
        return math.inf if score is None else score

    return members[0] if len(members) == 1 else max(members, key=rank)


def _lost(error: ConversationError, request: Request) -> Verdict:
    return unscored(error, threshold=request.threshold, guard=request.guard.label, policy=request.policy)


def _verdict(i: int, prompts: Prompts, result: Reading | ScoreError, request: Request, keep: bool) -> Verdict:
    encoded, cut = prompts.encoded[i], prompts.cuts[i]
    verdict = _judged(encoded, result, request)
    if cut is None and not keep:
        return verdict
    return replace(
        verdict,
        error=verdict.error if verdict.error is None or cut is None else f"{verdict.error} ({cut})",
        cut=cut,
        conversation=encoded.conversation if keep else None,
    )


def _judged(encoded: Encoded, result: Reading | ScoreError, request: Request) -> Verdict:
    guard, role, n_neutralised = request.guard, encoded.conversation.assessed.role, encoded.n_neutralised
    if isinstance(result, ScoreError):
        return unscored(
            result,
            threshold=request.threshold,
            guard=guard.label,
            assessed_role=role,
            n_tokens=encoded.n_tokens,
            n_neutralised=n_neutralised,
            policy=request.policy,
        )
    return judge(
        result,
        request.policy,
        threshold=request.threshold,
        guard=guard.label,
        assessed_role=role,
        min_verdict_mass=guard.min_verdict_mass,
        n_neutralised=n_neutralised,
    )
