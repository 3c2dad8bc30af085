"""The session: the one owner of mutable state.

Resident guards, which of them is current, the current policy and threshold, and the score cache. The engine
(torch, transformers) is imported here and only when a guard is first needed.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from guard_magic.cache import ScoreCache
from guard_magic.conversation import Conversation, RoleChanges, RoleRules, parse_conversation
from guard_magic.errors import (
    ConversationError,
    EmbeddedGuardWarning,
    GuardWarning,
    LoadError,
    PolicyError,
    ScoreError,
    UnknownGuardError,
    shorten,
)
from guard_magic.interrupts import interrupts_held
from guard_magic.policy import Policy, as_policy
from guard_magic.tables import Row, attach_verdicts, check_free, plan_columns, read_frame, read_series
from guard_magic.verdict import Reading, Verdict, Verdicts, checked_extras, column_names, unscored

if TYPE_CHECKING:
    from guard_magic.engine.guard import Asked, Guard

__all__ = ["DEFAULT_THRESHOLD", "EMBEDDED_NAME", "Request", "Session", "current_session"]

DEFAULT_THRESHOLD = 0.5
EMBEDDED_NAME = "embedded"
_MODEL_VARIABLE = "GUARD_MAGIC_MODEL"
_CHUNK = 4_096
"""Rows made ready at a time: enough to sort by length, few enough to start at once on a large table."""

_Tick = Callable[[int], object]
Errors = Literal["coerce", "raise"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of which guard: everything that is the same for all rows of a call."""

    guard: Guard
    policy: Policy
    threshold: float
    roles: RoleRules = "merge"
    generate: bool = False

    @property
    def asking(self) -> Policy | None:
        """The policy as the guard takes it: None for its own."""
        return None if self.policy == self.guard.policy else self.policy


@dataclass(slots=True)
class _Tally:
    """What is counted over the rows of a call, to be said once."""

    changes: RoleChanges = field(default_factory=RoleChanges)
    n_neutralised: int = 0

    def add(self, asked: Asked) -> None:
        self.changes += asked.changes
        self.n_neutralised += bool(asked.prompt.n_neutralised)

    def warn(self) -> None:
        if self.changes:
            _warn(f"messages that do not fit the guard's prompt: {self.changes}")
        if self.n_neutralised:
            _warn(
                "the guard's own structural text (such as <END CONVERSATION> or a forged turn) was neutralised "
                f"in {self.n_neutralised:,} of the conversations"
            )


class Session:
    """Resident guards and current choices. Use `current_session`; make another for an isolated one."""

    def __init__(self) -> None:
        self.guards: dict[str, Guard] = {}
        self.current: str | None = None
        self.threshold = DEFAULT_THRESHOLD
        self.policy: Policy | None = None
        self.cache = ScoreCache()
        self._sources: dict[str, tuple[object, ...]] = {}

    def load(self, source: str, *, name: str | None = None, **options: Any) -> Guard:
        """Load a guard and make it current; the same one again is only made current.

        Parameters
        ----------
        source
            ``"embedded"``, a folder, a ``.gguf`` file or a hub id.
        name
            Its name in this session; by default the last part of `source`.
        **options
            As for `guard_magic.engine.loader.load_guard`.
        """
        if not isinstance(source, str) or not source.strip():
            raise LoadError(
                f"no guard to load: {shorten(source)}",
                hint="Pass 'embedded', a hub id, or a path as text; wrap() takes models.",
            )
        called = name or source.rstrip("/").rsplit("/", 1)[-1]
        wanted = (source, *sorted(options.items()))
        if called in self.guards:
            if self._sources.get(called) != wanted:
                raise LoadError(
                    f"a guard called {called!r} is resident already, loaded in another way",
                    hint=f"Unload it (%guard unload {called}) or give this one another name.",
                )
            return self.use(called)
        from guard_magic.engine.loader import load_guard

        guard = load_guard(source, name=called, **options)
        self._sources[called] = wanted
        return self._add(guard)

    def wrap(self, model: Any, tokenizer: Any, *, name: str, **options: Any) -> Guard:
        """Make a guard of a model loaded elsewhere, and make it current; the model is never changed."""
        from guard_magic.engine.guard import Guard

        if name in self.guards:
            raise LoadError(f"a guard called {name!r} is resident already", hint="Choose another name or unload it.")
        return self._add(Guard(model, tokenizer, name=name, **options))

    def use(self, name: str) -> Guard:
        """Make a resident guard current."""
        guard = self._resident(name)
        self.current = guard.name
        return guard

    def unload(self, name: str | None = None) -> str:
        """Drop a guard (None: the current one) and give its memory back; returns its name."""
        called = name or self.current
        if called is None:
            raise UnknownGuardError("no guard is resident", hint="There is nothing to unload.")
        guard = self._resident(called)
        del self.guards[called]
        self._sources.pop(called, None)
        if self.current == called:
            self.current = next(reversed(self.guards), None)
        guard.close()
        from guard_magic.engine.loader import free_memory

        free_memory()
        return called

    def status(self) -> list[dict[str, str]]:
        """Return one row of text per resident guard, in the order they were loaded."""
        return [
            {
                "guard": guard.name,
                "current": "yes" if guard.name == self.current else "",
                "revision": guard.revision,
                "protocol": guard.protocol,
                "device": guard.device,
                "dtype": guard.dtype,
                "memory": f"{guard.nbytes / 1e6:,.0f} MB",
                "context": f"{guard.n_context:,} tokens",
            }
            for guard in self.guards.values()
        ]

    def set_threshold(self, threshold: float) -> float:
        """Set the score from which rows are flagged, in [0, 1]."""
        self.threshold = _checked_threshold(threshold)
        return self.threshold

    def set_policy(self, policy: object) -> Policy | None:
        """Set the hazards that are asked about; None for each guard's own."""
        self.policy = None if policy is None else as_policy(policy)
        return self.policy

    def guard(self, guard: object = None) -> Guard:
        """Return the guard meant: one passed, one by name, or None for the current one.

        Without a current one, ``GUARD_MAGIC_MODEL`` is loaded, else the embedded guard, which says so.
        """
        from guard_magic.engine.guard import Guard

        if isinstance(guard, Guard):
            return guard
        if guard is not None and not isinstance(guard, str):
            raise UnknownGuardError(f"{shorten(guard)} is no guard", hint="Pass a name or a Guard.")
        name = guard or self.current
        if name is not None:
            return self.load(EMBEDDED_NAME) if self._is_embedded_unloaded(name) else self._resident(name)
        source = os.environ.get(_MODEL_VARIABLE, "").strip()
        if source:
            return self.load(source)
        warnings.warn(
            "no guard is loaded: using the small embedded one, a starter and no substitute for a full-size guard. "
            "Load one with %guard load meta-llama/Llama-Guard-3-8B",
            EmbeddedGuardWarning,
            stacklevel=_outside(),
        )
        return self.load(EMBEDDED_NAME)

    def request(
        self,
        *,
        guard: object = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] = (),
        roles: RoleRules = "merge",
        generate: bool = False,
    ) -> Request:
        """Settle what is asked: explicit arguments first, then the session's choices, then the guard's own."""
        flag_at = self.threshold if threshold is None else _checked_threshold(threshold)
        if roles not in ("merge", "strict"):
            raise ConversationError(f"roles={roles!r} is not known", hint='Use roles="merge" or roles="strict".')
        chosen = self.policy if policy is None else as_policy(policy)
        excluded = [exclude] if isinstance(exclude, str) else list(exclude)
        found = self.guard(guard)
        try:
            asked = found.asked_policy(chosen, excluded)
        except PolicyError as error:
            if policy is None and chosen is not None and not excluded:
                error.hint += " The policy is the session's: %guard policy reset."
            raise
        return Request(found, asked, flag_at, roles, generate)

    def moderate(self, conversation: object, request: Request) -> Verdict:
        """Score one conversation; the verdict remembers it.

        Raises
        ------
        ConversationError
            Where it cannot be read or asked about.
        """
        return self.moderate_many([parse_conversation(conversation)], request)[0]

    def moderate_many(self, conversations: Sequence[Conversation], request: Request) -> Verdicts:
        """Score a few conversations for display: each verdict remembers its conversation."""
        verdicts, tally = self._verdicts(conversations, request, keep=True, tick=lambda n: None)
        tally.warn()
        if len(conversations) == 1 and isinstance(verdicts[0], ConversationError):
            raise verdicts[0]
        return Verdicts([self._final(verdict, request) for verdict in verdicts], request.policy)

    def score_rows(self, rows: Sequence[Row], request: Request, *, label: str, progress: bool = True) -> Verdicts:
        """Score the rows of a table.

        Parameters
        ----------
        rows
            Conversations, or why there is none, in order.
        request
            What is asked of which guard.
        label
            The columns read, for the bar.
        progress
            Whether to show a bar; it is gone when done.

        Returns
        -------
        Verdicts
            One a row, in order. What was not scored is counted in one `GuardWarning`.
        """
        if request.guard.is_embedded and rows:
            warnings.warn(
                f"{len(rows):,} rows are scored by the small embedded guard: a starter that misses much, "
                "no substitute for a full-size guard (see its MODEL_CARD.md)",
                EmbeddedGuardWarning,
                stacklevel=_outside(),
            )
        with _bar(len(rows), f"{request.guard.name} · {label}", progress) as tick:
            found, tally = self._verdicts(rows, request, keep=False, tick=tick)
        tally.warn()
        verdicts = Verdicts([self._final(verdict, request) for verdict in found], request.policy)
        _warn_unscored(verdicts)
        return verdicts

    def score_frame(
        self,
        frame: pd.DataFrame,
        *,
        text: str | None = None,
        prompt: str | None = None,
        response: str | None = None,
        messages: str | None = None,
        guard: object = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] = (),
        extras: Iterable[str] = (),
        roles: RoleRules = "merge",
        errors: Errors = "coerce",
        prefix: str = "",
        overwrite: bool = False,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Score a table; see `guard_magic.score`."""
        plan = plan_columns(frame.columns, text=text, prompt=prompt, response=response, messages=messages)
        names = checked_extras(extras)
        request = self._table_request(guard, threshold, policy, exclude, roles, errors, names)
        check_free(frame, column_names(names, request.policy), prefix=prefix, overwrite=overwrite)
        verdicts = self.score_rows(read_frame(frame, plan), request, label=str(plan), progress=progress)
        if errors == "raise":
            verdicts.raise_errors()
        return attach_verdicts(frame, verdicts, extras=names, prefix=prefix, overwrite=overwrite)

    def score_series(
        self,
        series: pd.Series,
        *,
        guard: object = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] = (),
        extras: Iterable[str] = (),
        roles: RoleRules = "merge",
        errors: Errors = "coerce",
        prefix: str = "",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Score a Series of strings or message lists; the verdict columns alone come back."""
        names = checked_extras(extras)
        request = self._table_request(guard, threshold, policy, exclude, roles, errors, names)
        label = "series" if series.name is None else str(series.name)
        verdicts = self.score_rows(read_series(series), request, label=label, progress=progress)
        if errors == "raise":
            verdicts.raise_errors()
        return verdicts.to_frame(names, prefix=prefix, index=series.index)

    def _table_request(
        self,
        guard: object,
        threshold: float | None,
        policy: object,
        exclude: Iterable[str],
        roles: RoleRules,
        errors: str,
        extras: list[str],
    ) -> Request:
        if errors not in ("coerce", "raise"):
            raise ScoreError(f"errors={errors!r} is not known", hint='Use errors="coerce" or errors="raise".')
        return self.request(
            guard=guard,
            threshold=threshold,
            policy=policy,
            exclude=exclude,
            roles=roles,
            generate="generated_text" in extras,
        )

    def _verdicts(
        self, rows: Sequence[Row], request: Request, *, keep: bool, tick: _Tick
    ) -> tuple[list[Verdict | ConversationError], _Tally]:
        found: list[Verdict | ConversationError] = []
        tally = _Tally()
        with interrupts_held() as check:
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                asked = [_try_ask(row, request) for row in chunk]
                check()
                ready = [row for row in asked if not isinstance(row, ConversationError)]
                for row in ready:
                    tally.add(row)
                tick(len(asked) - len(ready))
                results = self._read(ready, request, tick, check)
                texts = self._write(ready, results, request)
                judged = iter(
                    _remember(request.guard.verdict(row, result, request.policy, request.threshold, text), row, keep)
                    for row, result, text in zip(ready, results, texts, strict=True)
                )
                found += [row if isinstance(row, ConversationError) else next(judged) for row in asked]
        return found, tally

    def _read(
        self, asked: Sequence[Asked], request: Request, tick: _Tick, check: Callable[[], None]
    ) -> list[Reading | ScoreError]:
        """Read prompts through the cache; every finished batch is kept before an interrupt is raised."""
        keys = [request.guard.key(row.prompt, request.asking) for row in asked]
        results: dict[int, Reading | ScoreError] = {}
        for i, key in enumerate(keys):
            cached = self.cache.get(key)
            if cached is not None:
                results[i] = cached
        tick(len(results))
        missing = [i for i in range(len(asked)) if i not in results]
        for batch in request.guard.read([asked[i].prompt for i in missing], policy=request.asking):
            for position, result in batch:
                i = missing[position]
                results[i] = result
                if isinstance(result, Reading):
                    self.cache.put(keys[i], result)
            tick(len(batch))
            check()
        return [results[i] for i in range(len(asked))]

    def _write(
        self, asked: Sequence[Asked], results: Sequence[Reading | ScoreError], request: Request
    ) -> list[str | None]:
        texts: list[str | None] = [None] * len(asked)
        if not request.generate:
            return texts
        keys = [request.guard.key(row.prompt, request.asking) for row in asked]
        texts = [self.cache.get_text(key) for key in keys]
        wanted = [(i, r) for i, r in enumerate(results) if isinstance(r, Reading) and texts[i] is None]
        written = request.guard.write([asked[i].prompt for i, _ in wanted], [reading for _, reading in wanted])
        for (i, _), text in zip(wanted, written, strict=True):
            texts[i] = text
            if text is not None:
                self.cache.put_text(keys[i], text)
        return texts

    def _final(self, verdict: Verdict | ConversationError, request: Request) -> Verdict:
        if isinstance(verdict, Verdict):
            return verdict
        return unscored(verdict, threshold=request.threshold, guard=request.guard.label, policy=request.policy)

    def _add(self, guard: Guard) -> Guard:
        self.guards[guard.name] = guard
        self.current = guard.name
        return guard

    def _is_embedded_unloaded(self, name: str) -> bool:
        return name == EMBEDDED_NAME and name not in self.guards

    def _resident(self, name: str) -> Guard:
        found = self.guards.get(name)
        if found is None:
            resident = ", ".join(self.guards) or "none"
            raise UnknownGuardError(
                f"no guard {shorten(name)} is resident (resident: {resident})", hint=f"Load it: %guard load {name}"
            )
        return found


_SESSION = Session()


def current_session() -> Session:
    """Return the session of this Python process."""
    return _SESSION


def _try_ask(row: Row, request: Request) -> Asked | ConversationError:
    if isinstance(row, ConversationError):
        return row
    try:
        return request.guard.ask(row, policy=request.asking, roles=request.roles)
    except ConversationError as error:
        return error


def _remember(verdict: Verdict, asked: Asked, keep: bool) -> Verdict:
    return replace(verdict, conversation=asked.conversation) if keep else verdict


def _checked_threshold(threshold: float) -> float:
    try:
        number = float(threshold)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0.0 <= number <= 1.0:
        raise ScoreError(f"threshold {shorten(threshold)} is no number in [0, 1]", hint="0.5 is the usual start.")
    return number


@contextmanager
def _bar(total: int, label: str, progress: bool) -> Iterator[_Tick]:
    """Show one bar for `total` rows, closed and gone whatever happens."""
    if not progress or not total:
        yield lambda n: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, unit=" rows", leave=False, dynamic_ncols=True) as bar:
        yield bar.update


def _warn_unscored(verdicts: Verdicts) -> None:
    reasons: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.error is not None:
            reason = verdict.error.split(" (")[0].split(":")[0]
            reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        common = sorted(reasons.items(), key=lambda pair: -pair[1])[:3]
        listed = "; ".join(f"{n} × {shorten(reason, 80)[1:-1]}" for reason, n in common)
        more = f"; {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
        lost = sum(reasons.values())
        _warn(
            f"{lost:,} of {len(verdicts):,} rows were not scored ({listed}{more}): NA, with the reason in guard_error"
        )


def _warn(message: str) -> None:
    warnings.warn(message, GuardWarning, stacklevel=_outside())


def _outside() -> int:
    """Return the stacklevel of the first caller that is neither this package nor IPython: the user's own line."""
    frame, level = sys._getframe(1), 1
    while str(frame.f_globals.get("__name__", "")).split(".")[0] in ("guard_magic", "IPython", "contextlib"):
        if frame.f_back is None:
            break
        frame, level = frame.f_back, level + 1
    return level
