"""The session: the one owner of mutable state.

Resident guards, which of them is current, the current policy and threshold, and the score cache. The engine
(torch, transformers) is imported here and only when a guard is first needed.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from guard_magic.callers import warn_caller
from guard_magic.characters import is_blank, spell_hidden
from guard_magic.checks import checked_flag, checked_guard_name, checked_share, name_of
from guard_magic.conversations.conversation import Conversation, looks_like_conversation, parse_conversation
from guard_magic.conversations.roles import Assess, RoleRules, checked_assess, checked_roles
from guard_magic.conversations.rows import Row
from guard_magic.conversations.windows import Overflow, checked_overflow
from guard_magic.errors import (
    EmbeddedGuardWarning,
    LoadError,
    PolicyError,
    UnknownGuardError,
    shorten,
)
from guard_magic.policy import Policy, as_policy, listed_codes
from guard_magic.scoring.askable import EMBEDDED_NAME, check_embedded, warn_of_policy
from guard_magic.scoring.cache import ScoreCache
from guard_magic.scoring.notices import progress_bar, say_loading, warn_read_as_text, warn_unscored
from guard_magic.scoring.progress import Watch
from guard_magic.scoring.run import score_rows
from guard_magic.scoring.scored_by import ScoredBy, check_threshold
from guard_magic.scoring.written import Written
from guard_magic.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from guard_magic.guards.guard import Guard
    from guard_magic.guards.request import Request

__all__ = ["DEFAULT_THRESHOLD", "Session", "current_session"]

DEFAULT_THRESHOLD = 0.5
_MODEL_VARIABLE = "GUARD_MAGIC_MODEL"


class Session:
    """Resident guards and current choices. Use `current_session`; make another for an isolated one."""

    def __init__(self) -> None:
        self.guards: dict[str, Guard] = {}
        self.current: str | None = None
        self.threshold = DEFAULT_THRESHOLD
        self.threshold_for: ScoredBy | None = None
        self.policy: Policy | None = None
        self.cache = ScoreCache()
        self.written = Written()
        self._sources: dict[str, tuple[object, ...]] = {}

    def load(self, source: str | os.PathLike[str], *, name: str | None = None, **options: Any) -> Guard:
        """Load a guard and make it current; the same one again is only made current.

        Parameters
        ----------
        source
            ``"embedded"``, a folder, a ``.gguf`` file or a hub id; text or a path.
        name
            Its name in this session, one word; by default the last part of `source`.
        **options
            As for `guard_magic.guards.loader.load_guard`.
        """
        where = _checked_source(source)
        called = name_of(where) if name is None else checked_guard_name(name)
        if called not in self.guards:
            say_loading(called)
        from guard_magic.guards.loader import checked_options, load_guard

        checked_options(**options)
        usual = {"min_verdict_mass": 0.9, "compile": False}
        wanted = (where, *sorted((k, str(v)) for k, v in options.items() if v is not None and usual.get(k) != v))
        if called in self.guards:
            if self._sources.get(called) != wanted:
                raise LoadError(
                    f"a guard called {called!r} is resident already, loaded in another way",
                    hint=f"Unload it (%guard unload {called}) or give this one another name.",
                )
            return self.use(called)
        guard = load_guard(where, name=called, **options)
        self._sources[called] = wanted
        return self._add(guard)

    def wrap(self, model: Any, tokenizer: Any, *, name: str, **options: Any) -> Guard:
        """Make a guard of a model loaded elsewhere, and make it current; the model is never changed."""
        called = checked_guard_name(name)
        if called in self.guards:
            raise LoadError(f"a guard called {called!r} is resident already", hint="Choose another name or unload it.")
        from guard_magic.guards.evidence import wrapping
        from guard_magic.guards.guard import Guard

        with wrapping(called):
            guard = Guard(model, tokenizer, name=called, **options)
        return self._add(guard)

    def use(self, name: str) -> Guard:
        """Make a resident guard current."""
        return self._make_current(self._resident(name))

    def unload(self, name: str | None = None) -> str:
        """Drop a guard (None: the current one) and give its memory back; returns its name."""
        if name is None and self.current is None:
            raise UnknownGuardError("no guard is resident", hint="There is nothing to unload.")
        guard = self._resident(self.current if name is None else name)
        called = guard.name
        del self.guards[called]
        self._sources.pop(called, None)
        if self.current == called:
            self.current = next(reversed(self.guards), None)
            warn_of_policy(self.guards.get(self.current or ""), self.policy)
        guard.close()
        from guard_magic.guards.loader import free_memory

        free_memory()
        return called

    def clear_cache(self) -> None:
        """Forget all scores, and what the resident guards computed ahead: shared prefixes, whether rows are packed."""
        self.cache.clear()
        for guard in self.guards.values():
            guard.forget()

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

    def set_threshold(self, threshold: float, scored_by: ScoredBy | None = None) -> float:
        """Set the score from which rows are flagged, in [0, 1].

        With `scored_by` it is refused for scores of any other guard, revision, family or policy.
        """
        self.threshold = checked_share("threshold", threshold)
        self.threshold_for = scored_by
        return self.threshold

    def threshold_of(self, scored_by: ScoredBy | None) -> float:
        """Return the threshold for scores of this origin (None: not known); refused where it is for others."""
        if self.threshold_for is not None:
            check_threshold(self.threshold, self.threshold_for, scored_by)
        return self.threshold

    def set_policy(self, policy: object) -> Policy | None:
        """Set the hazards that are asked about; None for each guard's own.

        It holds for guards that come later too: a current one that cannot be asked about them is a `GuardWarning`.
        """
        self.policy = None if policy is None else as_policy(policy)
        warn_of_policy(self.guards.get(self.current or ""), self.policy)
        return self.policy

    def guard(self, guard: object = None) -> Guard:
        """Return the guard meant: one passed, one by name, or None for the current one.

        Without a current one, ``GUARD_MAGIC_MODEL`` is loaded, else the embedded guard, which says so.
        """
        if guard is not None and not isinstance(guard, str):
            return _checked_guard(guard)
        name = self.current if guard is None else guard
        if name is not None:
            return self.load(EMBEDDED_NAME) if self._is_embedded_unloaded(name) else self._resident(name)
        source = os.environ.get(_MODEL_VARIABLE, "").strip()
        if source:
            return self.load(source)
        warn_caller(
            "no guard is loaded: using the small embedded one, a starter and no substitute for a full-size guard. "
            "Load one with %guard load meta-llama/Llama-Guard-3-8B",
            EmbeddedGuardWarning,
        )
        return self.load(EMBEDDED_NAME)

    def request(
        self,
        *,
        guard: object = None,
        threshold: float | None = None,
        policy: object = None,
        exclude: Iterable[str] | None = (),
        roles: RoleRules = "merge",
        generate: bool = False,
        assess: Assess = "last",
        overflow: Overflow = "error",
        recheck: float | None = None,
    ) -> Request:
        """Settle what is asked: explicit arguments first, then the session's choices, then the guard's own."""
        given = None if threshold is None else checked_share("threshold", threshold)
        distance = None if recheck is None else checked_share("recheck", recheck)
        text = checked_flag("generate", generate)
        how = (checked_roles(roles), text, checked_assess(assess), checked_overflow(overflow), distance)
        chosen = self.policy if policy is None else as_policy(policy)
        excluded = listed_codes(exclude)
        try:
            if self._is_embedded(guard):
                check_embedded(chosen, excluded)
            found = self.guard(guard)
            asked = found.resolve_policy(chosen, excluded)
        except PolicyError as error:
            is_kept = policy is None and chosen is not None and not excluded
            advice = " The policy is the session's: %guard policy reset." if is_kept else ""
            raise PolicyError(error.message, hint=error.hint + advice) from None
        from guard_magic.guards.request import Request

        flag_at = self.threshold_of(ScoredBy(found.label, found.protocol, asked)) if given is None else given
        return Request(found, asked, flag_at, *how)

    def moderate(self, conversation: object, request: Request) -> Verdict:
        """Score one conversation; the verdict remembers it. A string that hides a conversation is said to do so.

        Raises
        ------
        ConversationError
            Where it cannot be read or asked about.
        """
        from guard_magic.guards.request import encode_row

        row = encode_row(parse_conversation(conversation), request)
        if isinstance(conversation, str):
            warn_read_as_text(looks_like_conversation(conversation), 1)
        return score_rows([row], request, self.cache, keep=True)[0]

    def moderate_many(self, conversations: Sequence[Conversation], request: Request) -> Verdicts:
        """Score a few conversations for display: each verdict remembers its conversation."""
        return score_rows(conversations, request, self.cache, keep=True)

    def score_rows(
        self,
        rows: Sequence[Row],
        request: Request,
        *,
        label: str,
        progress: bool = True,
        groups: Sequence[Hashable] | None = None,
    ) -> Verdicts:
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
        groups
            For each row which conversation it is a beginning of, as for `guard_magic.scoring.run.score_rows`.

        Returns
        -------
        Verdicts
            One a row, in order. What was not scored is counted in one `GuardWarning`.
        """
        if request.guard.is_embedded and rows:
            warn_caller(
                f"{len(rows):,} rows are scored by the small embedded guard: a starter that misses much, "
                "no substitute for a full-size guard (see its MODEL_CARD.md)",
                EmbeddedGuardWarning,
            )
        shown = (
            progress_bar(rows, request, spell_hidden(f"{request.guard.name} · {label}"), groups)
            if progress and rows
            else None
        )
        with shown or nullcontext(Watch()) as watch:
            verdicts = score_rows(rows, request, self.cache, groups=groups, watch=watch)
        warn_unscored(verdicts)
        return verdicts

    def _add(self, guard: Guard) -> Guard:
        self.guards[guard.name] = guard
        return self._make_current(guard)

    def _make_current(self, guard: Guard) -> Guard:
        self.current = guard.name
        warn_of_policy(self.guards.get(self.current or ""), self.policy)
        return guard

    def _is_embedded_unloaded(self, name: str) -> bool:
        return name == EMBEDDED_NAME and name not in self.guards

    def _is_embedded(self, guard: object) -> bool:
        """Say whether the guard meant is the embedded one, loaded or not."""
        name = self.current if guard is None else guard
        if name is None:
            return os.environ.get(_MODEL_VARIABLE, "").strip() in ("", EMBEDDED_NAME)
        if isinstance(name, str):
            return self._is_embedded_unloaded(name) or (name in self.guards and self.guards[name].is_embedded)
        return bool(getattr(name, "is_embedded", False))

    def _resident(self, name: object) -> Guard:
        found = self.guards.get(name) if isinstance(name, str) else None
        if found is None:
            resident = ", ".join(self.guards) or "none"
            raise UnknownGuardError(
                f"no guard {shorten(name)} is resident (resident: {resident})",
                hint="Load it with %guard load, or pass the name of a resident one (%guard status).",
            )
        return found


def _checked_source(source: object) -> str:
    where = os.fspath(source) if isinstance(source, os.PathLike) else source
    if not isinstance(where, str) or is_blank(where):
        raise LoadError(
            f"no guard to load: {shorten(source)}",
            hint="Pass 'embedded', a hub id, or a path as text; wrap() takes models.",
        )
    return where


_SESSION = Session()


def current_session() -> Session:
    """Return the session of this Python process."""
    return _SESSION


def _checked_guard(guard: object) -> Guard:
    from guard_magic.guards.guard import Guard

    if not isinstance(guard, Guard):
        raise UnknownGuardError(f"{shorten(guard)} is not a guard", hint="Pass a name or a Guard.")
    return guard
