"""``%%moderate``, ``%moderate`` and ``%guard``: parse a line, call the session, show the result.

The text of a cell or line is never formatted, expanded or parsed as Python. What a user got wrong, and what a guard
cannot do, becomes a short ``UsageError`` here, at one boundary; faults of ours keep their traceback, and an interrupt
goes through as one line.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from guard_magic.api import set_threshold
from guard_magic.callers import warn_caller
from guard_magic.conversations.conversation import Conversation, parse_body
from guard_magic.display import register_formatters, status_html, status_text
from guard_magic.errors import GuardError, shorten
from guard_magic.magics.completion import make_matcher
from guard_magic.magics.input_transform import take_questions
from guard_magic.magics.names import value_of
from guard_magic.magics.options import (
    GUARD,
    MODERATE,
    HelpShown,
    ModerateOptions,
    as_name,
    parse_guard,
    parse_moderate,
)
from guard_magic.magics.policies import policy_list, policy_text
from guard_magic.magics.reading import conversations_of, naming_text, warn_of_reading
from guard_magic.magics.thresholds import chosen_threshold, threshold_text
from guard_magic.policy import BUILT_IN, is_policy_file
from guard_magic.scoring.interrupts import interrupts_shown
from guard_magic.scoring.session import current_session
from guard_magic.verdict import Verdict, Verdicts

__all__ = ["GuardMagics", "ModerateOptions", "parse_moderate", "register", "unregister"]

_MARKED = re.compile(r"\$?\{\s*([^\W\d]\w*)[^{}]*\}|\$([^\W\d]\w*)(?:[.\[]\S*)?")
"""A text that is nothing but a variable as other magics would expand it: {name}, $name, {name.part}."""
_READABLE = (str, list, tuple, dict, pd.Series, pd.DataFrame, Conversation)
"""What a variable holds that somebody may want to moderate."""


@magics_class
class GuardMagics(Magics):
    """The magics of guard_magic."""

    @no_var_expand
    @line_cell_magic
    def moderate(self, line: str, cell: str | None = None) -> Verdict | Verdicts | None:
        """Score a conversation with a guard model.

        ::

            %%moderate [-g GUARD] [-t THRESHOLD] [-p POLICY] [-x S6,S13] [-o VAR] [--show] [--text] [--generate]
                       [--assess last|user|assistant] [--overflow error|window|truncate]
            user: how do I kill a process in Linux?
            assistant: Use the kill command followed by the process ID.

            %moderate [options] TEXT...        everything after the options is verbatim; -- ends the options
            %moderate -i VAR                   a str, a list of messages, a list of conversations, a Series

        The cell is one conversation: plain text (one user message), a transcript with role markers at line
        starts, or a JSON list of messages; JSON Lines make several. The value is a Verdict, or Verdicts.

        Options
        -------
        -g, --guard GUARD      name of a resident guard (default: the current one)
        -t, --threshold T      flag from this unsafe_score on
        -p, --policy POLICY    a built-in policy, a variable that holds one, or a .yaml or .json file
        -x, --exclude CODES    hazard codes to leave out, such as S6,S13 or profanity; an unknown one is an error
        -i, --input VAR        line form: score what this variable holds
        -o, --output VAR       store the verdict in this variable and show nothing
        --assess ROLE          assess the last message (last), or that of the user or assistant
        --overflow HOW         too long for the guard: error, window (highest of overlapping parts) or truncate
        --show                 with -o: show it too
        --text                 take the whole text as one user message
        --generate             add the text the guard writes
        -h, --help             show the options
        """
        with interrupts_shown(), _usage_errors():
            options = parse_moderate(line)
            if options.help:
                print(MODERATE.format_help())
                return None
            conversations = self._read(options, cell)
            with naming_text(cell, conversations, options):
                result = self._score(conversations, options)
            if options.output is not None:
                self.shell.user_ns[options.output] = result
            return result if options.output is None or options.show else None

    @line_magic
    def guard(self, line: str) -> object:
        """Manage the guards of this session.

        ::

            %guard load SOURCE [--name N] [--device D] [--dtype D] [--revision R] [--quantization int8|int4|fp8]
                               [--compile] [--protocol P] [--min-verdict-mass M]
            %guard status | use NAME | unload [NAME] | threshold [T | --from VAR]
            %guard policy [POLICY|list|reset] | cache [clear]

        SOURCE is ``embedded``, a hub id such as meta-llama/Llama-Guard-3-8B, a folder, or a .gguf file.

        POLICY is a built-in policy (``%guard policy list``), a variable that holds one, or a .yaml or .json file;
        alone, ``%guard policy`` shows the hazards asked about. Hazards of one's own are zero-shot: they work less
        well than those the guard was trained on (Meta says so of Llama Guard), so measure them first.
        """
        with interrupts_shown(), _usage_errors():
            try:
                options = parse_guard(line)
            except HelpShown:
                return None
            if options.help:
                print(GUARD.format_help())
                return None
            command: Callable[[argparse.Namespace], object] = getattr(self, f"_{options.command or 'status'}")
            return command(options)

    def _read(self, options: ModerateOptions, cell: str | None) -> list[Conversation]:
        if cell is not None:
            if options.text or options.input:
                raise UsageError(
                    f"%%moderate: unexpected {shorten(options.text or '-i')}; the text goes below the line"
                )
            found = parse_body(cell, text_only=options.text_only)
            self._look_for_variable(cell.strip(), options)
            if not options.text_only:
                warn_of_reading(cell, found)
            return found
        if options.input is None:
            if not options.text:
                raise UsageError("%moderate: no text; put it on the line, or below %%moderate (see %moderate -h)")
            self._look_for_variable(options.text, options)
            return conversations_of(options.text, "the line")
        if options.text:
            raise UsageError(f"%moderate: both -i and text on the line: {shorten(options.text)}")
        return conversations_of(self._variable(options.input), options.input)

    def _score(self, conversations: Sequence[Conversation], options: ModerateOptions) -> Verdict | Verdicts:
        session = current_session()
        request = session.request(
            guard=options.guard,
            threshold=options.threshold,
            policy=self._policy_value(options.policy),
            exclude=options.exclude,
            generate=options.generate,
            assess=options.assess,
            overflow=options.overflow,
        )
        if options.maybe_code is not None and options.maybe_code in request.policy.codes:
            raise UsageError(
                f"%moderate: {shorten(options.maybe_code)} follows -x and is a hazard's code: codes are joined by "
                "commas without spaces, as in -x S6,S13. If it begins the text, put -- before it"
            )
        verdicts = session.moderate_many(conversations, request)
        return verdicts[0] if len(verdicts) == 1 else verdicts

    def _look_for_variable(self, text: str, options: ModerateOptions) -> None:
        """Warn where the whole text names a variable; it is scored as it stands, for nothing is ever expanded."""
        if options.text_only:
            return
        if marked := _MARKED.fullmatch(text):
            name = as_name(marked[1] or marked[2])
            is_meant = name in self.shell.user_ns
        else:
            name = as_name(text)
            is_users = name in self.shell.user_ns and name not in self.shell.user_ns_hidden
            is_meant = is_users and isinstance(self.shell.user_ns[name], _READABLE)
        if is_meant:
            warn_caller(
                f"the text {shorten(text)} is scored as it stands. To score what a variable holds: %moderate -i {name} "
                "(--text says that the text is meant)"
            )

    def _policy_value(self, name: str | None) -> object:
        """Return what a word means as a policy: built-in and file names as they are, else a variable's value."""
        if name is None or name in BUILT_IN or is_policy_file(name):
            return name
        if as_name(name) not in self.shell.user_ns:
            raise UsageError(
                f"no policy {shorten(name)}: neither a built-in one (%guard policy list), nor a variable, "
                "nor a .yaml or .json file"
            )
        return self.shell.user_ns[as_name(name)]

    def _variable(self, name: str) -> Any:
        """Return what a variable holds, or a part of one that attributes and subscripts name: ``chats[0]``."""
        if name in self.shell.user_ns:
            return self.shell.user_ns[name]
        return value_of(name, self.shell.user_ns)

    def _load(self, options: argparse.Namespace) -> object:
        return current_session().load(
            options.source,
            name=options.name,
            device=options.device,
            dtype=options.dtype,
            revision=options.revision,
            quantization=options.quantization,
            compile=options.compile,
            protocol=options.protocol,
            min_verdict_mass=options.min_verdict_mass,
        )

    def _status(self, options: argparse.Namespace) -> None:
        session = current_session()
        rows = session.status()
        display({"text/html": status_html(rows), "text/plain": status_text(rows)}, raw=True)

    def _use(self, options: argparse.Namespace) -> object:
        return current_session().use(options.name)

    def _unload(self, options: argparse.Namespace) -> None:
        print(f"unloaded {current_session().unload(options.name)}")

    def _threshold(self, options: argparse.Namespace) -> None:
        session = current_session()
        goal = {name: getattr(options, name) for name in ("precision", "recall", "fpr")}
        goal = {name: level for name, level in goal.items() if level is not None}
        if options.chosen is not None and options.value is None:
            set_threshold(chosen_threshold(self._variable(options.chosen), options.chosen, goal))
        elif options.chosen is not None or goal:
            raise UsageError(
                "%guard threshold: pass a number, or --from VAR (with --fpr, --recall or --precision for a Report)"
            )
        elif options.value is not None:
            set_threshold(options.value)
        print(threshold_text(session))

    def _policy(self, options: argparse.Namespace) -> None:
        if options.name == "list":
            print(policy_list())
            return
        session = current_session()
        if options.name is not None:
            session.set_policy(None if options.name == "reset" else self._policy_value(options.name))
        print(policy_text(session))

    def _cache(self, options: argparse.Namespace) -> None:
        cache = current_session().cache
        if options.action == "clear":
            current_session().clear_cache()
        print(f"{len(cache):,} scores cached in this session, {cache.n_hits:,} reused (numbers and hashes, no text)")


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn our errors into `UsageError`: IPython shows that class, and no subclass of it, without a traceback."""
    try:
        yield
    except GuardError as error:
        raise UsageError(error.message + (f"\n{error.hint}" if error.hint else "")) from None


_RESTORE: WeakKeyDictionary[Any, Callable[[], None]] = WeakKeyDictionary()


def register(shell: Any) -> None:
    """Add magics, completion and formatters to a shell; doing it again replaces them."""
    unregister(shell)
    magics = GuardMagics(shell=shell)
    shell.register_magics(magics)
    matcher = make_matcher()
    shell.Completer.custom_matchers.append(matcher)
    restore_formatters = register_formatters(shell)
    restore_input = take_questions(shell)

    def restore() -> None:
        restore_formatters()
        restore_input()
        if matcher in shell.Completer.custom_matchers:
            shell.Completer.custom_matchers.remove(matcher)
        for kind, name in (("line", "moderate"), ("cell", "moderate"), ("line", "guard")):
            shell.magics_manager.magics[kind].pop(name, None)
        shell.magics_manager.registry.pop(GuardMagics.__name__, None)
        if magics in shell.configurables:  # Magics puts itself there
            shell.configurables.remove(magics)

    _RESTORE[shell] = restore


def unregister(shell: Any) -> None:
    """Take back everything that `register` did; resident guards stay."""
    restore = _RESTORE.pop(shell, None)
    if restore is not None:
        restore()
