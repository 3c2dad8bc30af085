"""Completion of options, guards, policies and hazard codes on lines of ours."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, get_args

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from guard_magic.conversations.roles import Assess
from guard_magic.conversations.windows import Overflow
from guard_magic.magics.options import LOAD_OPTIONS, MODERATE, QUANTIZATIONS, SUBCOMMANDS
from guard_magic.policy import BUILT_IN, LLAMA_GUARD_3, Policy
from guard_magic.scoring.askable import EMBEDDED_NAME
from guard_magic.scoring.session import Session, current_session

__all__ = ["complete", "make_matcher", "own_policy"]


def make_matcher() -> Any:
    """Return an IPython matcher (v2) that completes on the first line of a cell."""

    @context_matcher()
    def guard_magic_matcher(context: CompletionContext) -> SimpleMatcherResult:
        found = complete(context.text_until_cursor) if context.cursor_line == 0 else []
        matches = [SimpleCompletion(text=text, type="param") for text in found]
        return {"completions": matches, "suppress": bool(matches)}

    return guard_magic_matcher


def complete(line: str) -> list[str]:
    """Return what could stand at the end of a line of ours; nothing for any other line."""
    words = line.split(" ")
    magic, token = words[0].lstrip("%"), words[-1]
    if not line.startswith("%") or magic not in ("moderate", "guard") or len(words) < 2:
        return []
    before = [word for word in words[1:-1] if word]
    choices = _moderate_choices(before) if magic == "moderate" else _guard_choices(before)
    return [choice for choice in choices if choice.startswith(token)]


def _moderate_choices(before: list[str]) -> list[str]:
    session = current_session()
    last = before[-1] if before else ""
    if last in ("-g", "--guard"):
        return list(dict.fromkeys([*session.guards, EMBEDDED_NAME]))
    if last in ("-p", "--policy"):
        return list(BUILT_IN)
    if last in ("--assess", "--overflow"):
        return list(get_args(Assess if last == "--assess" else Overflow))
    if last in ("-x", "--exclude"):
        return list(_policy_on_line(before, session).codes)
    if any(not word.startswith("-") for word in before[-1:]) and not _takes_value(before[-2:-1]):
        return []
    return [name for action in MODERATE._actions for name in action.option_strings]


def _takes_value(words: list[str]) -> bool:
    return any(word in action.option_strings and action.nargs != 0 for word in words for action in MODERATE._actions)


def _policy_on_line(before: list[str], session: Session) -> Policy:
    """Return the built-in policy that the line names, else the session's, else the guard's own."""
    for option, name in pairwise(before):
        if option in ("-p", "--policy") and name in BUILT_IN:
            return BUILT_IN[name]
    return session.policy or own_policy(session)


def _guard_choices(before: list[str]) -> list[str]:
    session = current_session()
    if not before:
        return list(SUBCOMMANDS)
    if before[0] == "load" and before[-1] == "--quantization":
        return list(QUANTIZATIONS)
    choices = {
        "load": [EMBEDDED_NAME, *LOAD_OPTIONS],
        "use": list(session.guards),
        "unload": list(session.guards),
        "policy": [*BUILT_IN, "list", "reset"],
        "cache": ["clear"],
    }
    return choices.get(before[0], []) if len(before) == 1 or before[0] == "load" else []


def own_policy(session: Session) -> Policy:
    """Return the policy of the session's current guard."""
    return session.guards[session.current].policy if session.current else LLAMA_GUARD_3
