"""``%%moderate``, ``%moderate`` and ``%guard``: parse a line, call the session, show the result.

The text of a cell or line is never formatted, expanded or parsed as Python. Everything that goes wrong
becomes a one-line ``UsageError`` here, at one boundary; an interrupt goes through.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import pandas as pd
from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from guard_magic.conversation import Conversation, Message, parse_body, parse_conversation
from guard_magic.display import register_formatters, status_html, status_text
from guard_magic.errors import ConversationError, GuardError, shorten
from guard_magic.policy import BUILT_IN, LLAMA_GUARD_3, Policy
from guard_magic.session import EMBEDDED_NAME, Session, current_session
from guard_magic.tables import read_series
from guard_magic.verdict import Verdict, Verdicts

__all__ = ["GuardMagics", "ModerateOptions", "parse_moderate", "register", "unregister"]

_SUBCOMMANDS = ("load", "status", "use", "unload", "threshold", "policy", "cache")
_WORD = re.compile(r"\s*(\S+)")


class _Parser(argparse.ArgumentParser):
    """argparse that raises a one-line `UsageError` instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message} (see {self.prog} -h)")


def _moderate_parser() -> _Parser:
    parser = _Parser(
        prog="%%moderate",
        add_help=False,
        description="Score the conversation in this cell: plain text, a transcript with user:/assistant: at line "
        "starts, a JSON list of messages, or JSON Lines.",
        usage="%%%%moderate [options]\n       <conversation>\n       %%moderate [options] TEXT… | -i VAR",
    )
    add = parser.add_argument
    add("-g", "--guard", metavar="GUARD", help="name of a resident guard (default: the current one)")
    add("-t", "--threshold", metavar="T", type=float, help="flag from this unsafe_score on")
    add("-p", "--policy", metavar="POLICY", help="a built-in policy, or a variable that holds one")
    add("-x", "--exclude", metavar="S6,S13", default="", help="hazard codes to leave out")
    add("-i", "--input", metavar="VAR", help="%%moderate only: score what this variable holds")
    add("-o", "--output", metavar="VAR", help="store the verdict in this variable and show nothing")
    add("--show", action="store_true", help="with -o: show it too")
    add("--text", action="store_true", help="take the whole text as one user message, whatever it looks like")
    add("--generate", action="store_true", help="add the text the guard writes")
    add("-h", "--help", action="store_true", help="show this help")
    return parser


def _guard_parser() -> _Parser:
    parser = _Parser(prog="%guard", add_help=False, description="Guards, threshold, policy and cache of this session.")
    parser.add_argument("-h", "--help", action="store_true", help="show this help")
    commands = parser.add_subparsers(dest="command", metavar="|".join(_SUBCOMMANDS), parser_class=_Parser)
    load = commands.add_parser("load", prog="%guard load", help="load a guard and make it the current one")
    load.add_argument("source", help="embedded, a hub id, a folder, or a .gguf file")
    load.add_argument("--name", help="its name in this session")
    load.add_argument("--device", help="cuda, mps, cpu (default: the best there is)")
    load.add_argument("--dtype", help="float32, bfloat16, float16")
    load.add_argument("--revision", help="branch, tag or commit")
    load.add_argument("--protocol", help="how it is asked, where it is not recognised")
    load.add_argument("--min-verdict-mass", type=float, default=0.9, help="rows below this P(safe)+P(unsafe) are NA")
    commands.add_parser("status", prog="%guard status", help="show the resident guards")
    commands.add_parser("use", prog="%guard use", help="make a resident guard current").add_argument("name")
    commands.add_parser("unload", prog="%guard unload", help="give a guard's memory back").add_argument(
        "name", nargs="?"
    )
    commands.add_parser("threshold", prog="%guard threshold", help="show or set the threshold").add_argument(
        "value", nargs="?"
    )
    commands.add_parser(
        "policy", prog="%guard policy", help="show the hazards, choose a policy, or reset"
    ).add_argument("name", nargs="?", help="a built-in policy, a variable, or reset")
    commands.add_parser("cache", prog="%guard cache", help="show or clear the cached scores").add_argument(
        "action", nargs="?", choices=["clear"]
    )
    return parser


_MODERATE = _moderate_parser()
_GUARD = _guard_parser()


@dataclass(frozen=True, slots=True)
class ModerateOptions:
    """The options of one ``%%moderate``, read; `text` is what stands after them, verbatim."""

    guard: str | None
    threshold: float | None
    policy: str | None
    exclude: tuple[str, ...]
    input: str | None
    output: str | None
    show: bool
    text_only: bool
    generate: bool
    help: bool
    text: str


def parse_moderate(line: str) -> ModerateOptions:
    """Read the options at the start of `line`; from the first word that is none on, it is verbatim text.

    Raises
    ------
    UsageError
        For an unknown option, a missing value, or one of the wrong type.
    """
    words, text = _split_options(line)
    read = _MODERATE.parse_args(words)
    return ModerateOptions(
        guard=read.guard,
        threshold=read.threshold,
        policy=read.policy,
        exclude=tuple(code.strip() for code in read.exclude.split(",") if code.strip()),
        input=read.input,
        output=read.output,
        show=read.show,
        text_only=read.text,
        generate=read.generate,
        help=read.help,
        text=text,
    )


def _split_options(line: str) -> tuple[list[str], str]:
    words: list[str] = []
    takes_value = {name: action.nargs != 0 for action in _MODERATE._actions for name in action.option_strings}
    position = 0
    while found := _WORD.match(line, position):
        word = found[1]
        if word == "--":
            return words, line[found.end() :].removeprefix(" ")
        if not re.match(r"--?[A-Za-z]", word):
            break
        position = found.end()
        words.append(word)
        if takes_value.get(word) and (value := _WORD.match(line, position)):
            words[-1:] = [f"{word}={value[1]}"] if word.startswith("--") else [f"{word}{value[1]}"]
            position = value.end()
    return words, line[position:].strip()


@magics_class
class GuardMagics(Magics):
    """The magics of guard_magic."""

    @no_var_expand
    @line_cell_magic
    def moderate(self, line: str, cell: str | None = None) -> Verdict | Verdicts | None:
        """Score a conversation with a guard model.

        ::

            %%moderate [-g GUARD] [-t THRESHOLD] [-p POLICY] [-x S6,S13] [-o VAR] [--show] [--text] [--generate]
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
        -p, --policy POLICY    a built-in policy, or a variable that holds one
        -x, --exclude CODES    hazard codes to leave out, such as S6,S13
        -i, --input VAR        line form: score what this variable holds
        -o, --output VAR       store the verdict in this variable and show nothing
        --show                 with -o: show it too
        --text                 take the whole text as one user message
        --generate             add the text the guard writes
        -h, --help             show the options
        """
        with _usage_errors():
            options = parse_moderate(line)
            if options.help:
                print(_MODERATE.format_help())
                return None
            conversations = self._read(options, cell)
            result = self._score(conversations, options)
            if options.output is not None:
                self.shell.user_ns[_identifier(options.output)] = result
            return result if options.output is None or options.show else None

    @line_magic
    def guard(self, line: str) -> object:
        """Manage the guards of this session.

        ::

            %guard load SOURCE [--name N] [--device D] [--dtype D] [--revision R]
            %guard status | use NAME | unload [NAME] | threshold [T] | policy [NAME|reset] | cache [clear]

        SOURCE is ``embedded``, a hub id such as meta-llama/Llama-Guard-3-8B, a folder, or a .gguf file.
        """
        with _usage_errors():
            options = _GUARD.parse_args(shlex.split(line))
            if options.help:
                print(_GUARD.format_help())
                return None
            command: Callable[[argparse.Namespace], object] = getattr(self, f"_{options.command or 'status'}")
            return command(options)

    def _read(self, options: ModerateOptions, cell: str | None) -> list[Conversation]:
        if cell is not None:
            if options.text or options.input:
                raise UsageError(
                    f"%%moderate: unexpected {shorten(options.text or '-i')}; the text goes below the line"
                )
            return parse_body(cell, text_only=options.text_only)
        if options.input is None:
            if not options.text:
                raise UsageError("%moderate: no text; put it on the line, or below %%moderate (see %moderate -h)")
            return [parse_conversation(options.text)]
        if options.text:
            raise UsageError(f"%moderate: both -i and text on the line: {shorten(options.text)}")
        return _conversations(self._variable(options.input), options.input)

    def _score(self, conversations: Sequence[Conversation], options: ModerateOptions) -> Verdict | Verdicts:
        session = current_session()
        request = session.request(
            guard=options.guard,
            threshold=options.threshold,
            policy=self._policy_value(options.policy),
            exclude=options.exclude,
            generate=options.generate,
        )
        verdicts = session.moderate_many(conversations, request)
        return verdicts[0] if len(verdicts) == 1 else verdicts

    def _policy_value(self, name: str | None) -> object:
        return self._variable(name) if name is not None and name not in BUILT_IN else name

    def _variable(self, name: str) -> Any:
        if name not in self.shell.user_ns:
            raise UsageError(f"there is no variable {shorten(name)}")
        return self.shell.user_ns[name]

    def _load(self, options: argparse.Namespace) -> object:
        return current_session().load(
            options.source,
            name=options.name,
            device=options.device,
            dtype=options.dtype,
            revision=options.revision,
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
        if options.value is not None:
            session.set_threshold(options.value)
        print(f"threshold {session.threshold:g}: flagged from this unsafe_score on")

    def _policy(self, options: argparse.Namespace) -> None:
        session = current_session()
        if options.name is not None:
            session.set_policy(None if options.name == "reset" else self._policy_value(options.name))
        policy = session.policy or _own_policy(session)
        print(f"policy {policy.name}" + ("" if session.policy else " (the guard's own)"))
        print("\n".join(f"  {category}" for category in policy))

    def _cache(self, options: argparse.Namespace) -> None:
        cache = current_session().cache
        if options.action == "clear":
            cache.clear()
        print(f"{len(cache):,} scores cached in this session, {cache.n_hits:,} reused (numbers and hashes, no text)")


def _own_policy(session: Session) -> Policy:
    return session.guards[session.current].policy if session.current else LLAMA_GUARD_3


def _identifier(name: str) -> str:
    if not name.isidentifier():
        raise UsageError(f"-o {shorten(name)} is no variable name")
    return name


def _conversations(value: Any, name: str) -> list[Conversation]:
    """Read what a variable holds; one unreadable conversation is an error that says which."""
    if isinstance(value, pd.DataFrame):
        raise UsageError(f"{name} is a table: use {name}.guard.score()")
    if isinstance(value, pd.Series):
        rows: Sequence[object] = read_series(value)
    elif isinstance(value, list | tuple) and value and not all(_is_message(item) for item in value):
        rows = value
    else:
        rows = [value]
    found: list[Conversation] = []
    for i, row in enumerate(rows):
        try:
            if isinstance(row, ConversationError):
                raise row
            found.append(parse_conversation(row))
        except ConversationError as error:
            where = f"{name}[{i}]: " if len(rows) > 1 else ""
            raise ConversationError(f"{where}{error.message}", hint=error.hint) from None
    if not found:
        raise ConversationError(f"{name} is empty")
    return found


def _is_message(value: object) -> bool:
    return isinstance(value, Message) or (isinstance(value, dict) and ("role" in value or "from" in value))


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn our errors into `UsageError`: IPython shows that class, and no subclass of it, in one line."""
    try:
        yield
    except GuardError as error:
        kind = type(error).__name__
        raise UsageError(f"{kind}: {error.message}" + (f"\n{error.hint}" if error.hint else "")) from None
    except ValueError as error:  # shlex: a quote that is not closed
        raise UsageError(str(error)) from None


_RESTORE: WeakKeyDictionary[Any, Callable[[], None]] = WeakKeyDictionary()


def register(shell: Any) -> None:
    """Add magics, completion and formatters to a shell; doing it again replaces them."""
    unregister(shell)
    magics = GuardMagics(shell=shell)
    shell.register_magics(magics)
    matcher = _matcher(shell)
    shell.Completer.custom_matchers.append(matcher)
    restore_formatters = register_formatters(shell)

    def restore() -> None:
        restore_formatters()
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


def _matcher(shell: Any) -> Any:
    @context_matcher()
    def guard_magic_matcher(context: CompletionContext) -> SimpleMatcherResult:
        found = _complete(context.text_until_cursor) if context.cursor_line == 0 else []
        matches = [SimpleCompletion(text=text, type="param") for text in found]
        return {"completions": matches, "suppress": bool(matches)}

    return guard_magic_matcher


def _complete(line: str) -> list[str]:
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
    if last in ("-x", "--exclude"):
        return list((session.policy or _own_policy(session)).codes)
    if any(not word.startswith("-") for word in before[-1:]) and not _takes_value(before[-2:-1]):
        return []
    return [name for action in _MODERATE._actions for name in action.option_strings]


def _takes_value(words: list[str]) -> bool:
    return any(word in action.option_strings and action.nargs != 0 for word in words for action in _MODERATE._actions)


def _guard_choices(before: list[str]) -> list[str]:
    session = current_session()
    if not before:
        return list(_SUBCOMMANDS)
    choices = {
        "load": [EMBEDDED_NAME, "--name", "--device", "--dtype", "--revision"],
        "use": list(session.guards),
        "unload": list(session.guards),
        "policy": [*BUILT_IN, "reset"],
        "cache": ["clear"],
    }
    return choices.get(before[0], []) if len(before) == 1 or before[0] == "load" else []
