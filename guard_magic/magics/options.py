"""What may stand on a line of ours: the options of ``%%moderate`` and the commands of ``%guard``."""

from __future__ import annotations

import argparse
import keyword
import re
import shlex
import unicodedata
from dataclasses import dataclass
from typing import NoReturn, get_args

from IPython.core.error import UsageError

from guard_magic.conversations.roles import Assess
from guard_magic.conversations.windows import Overflow
from guard_magic.errors import shorten

__all__ = [
    "GUARD",
    "LOAD_OPTIONS",
    "MODERATE",
    "QUANTIZATIONS",
    "SUBCOMMANDS",
    "HelpShown",
    "ModerateOptions",
    "as_name",
    "parse_guard",
    "parse_moderate",
]

SUBCOMMANDS = ("load", "status", "use", "unload", "threshold", "policy", "cache")
QUANTIZATIONS = ("int8", "int4", "fp8")
LOAD_OPTIONS = (
    "--name",
    "--device",
    "--dtype",
    "--revision",
    "--quantization",
    "--compile",
    "--protocol",
    "--min-verdict-mass",
)
_WORD = re.compile(r"\s*(\S+)")
_OPTION = re.compile(r"--?[A-Za-z]")
_ENDS_IN_DASHES = re.compile(r"-[A-Za-z]--|--[\w-]+=--")


class HelpShown(Exception):
    """The help of a command was asked for, and printed."""


class _Parser(argparse.ArgumentParser):
    """argparse that raises a one-line `UsageError`, or `HelpShown`, instead of leaving the process."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise HelpShown

    def error(self, message: str) -> NoReturn:
        shown = message.encode("utf-8", "backslashreplace").decode()
        raise UsageError(f"{self.prog}: {shown} (see {self.prog} -h)")


def as_name(word: str) -> str:
    """Return `word` as Python writes it where it names a variable."""
    return unicodedata.normalize("NFKC", word)


def _filled(word: str) -> str:
    if not word.strip():
        raise argparse.ArgumentTypeError("a value is missing")
    return word


def _variable(word: str) -> str:
    name = as_name(word)
    if not name.isidentifier() or keyword.iskeyword(name) or name == "__debug__":
        raise argparse.ArgumentTypeError(f"{shorten(word)} is not a variable name")
    return name


def _codes(word: str) -> tuple[str, ...]:
    codes = tuple(code.strip() for code in word.split(","))
    if not all(codes):
        raise argparse.ArgumentTypeError(
            f"{shorten(word)} lacks a code; codes are joined by commas without spaces, as in -x S6,S13"
        )
    return codes


def _moderate_parser() -> _Parser:
    parser = _Parser(
        prog="%%moderate",
        add_help=False,
        allow_abbrev=False,
        description="Score the conversation in this cell: plain text, a transcript with user:/assistant: at line "
        "starts, a JSON list of messages, or JSON Lines.",
        usage="%%%%moderate [options]\n       <conversation>\n       %%moderate [options] TEXT… | -i VAR",
    )
    add = parser.add_argument
    add("-g", "--guard", metavar="GUARD", type=_filled, help="name of a resident guard (default: the current one)")
    add("-t", "--threshold", metavar="T", type=float, help="flag from this unsafe_score on")
    add("-p", "--policy", metavar="POLICY", help="a built-in policy, a variable, or a .yaml or .json file")
    add(
        "-x",
        "--exclude",
        metavar="S6,S13",
        action="append",
        default=[],
        type=_codes,
        help="hazard codes to leave out, with commas and no spaces",
    )
    add("-i", "--input", metavar="VAR", type=as_name, help="%%moderate only: score what this variable holds")
    add("-o", "--output", metavar="VAR", type=_variable, help="store the verdict in this variable and show nothing")
    add("--assess", choices=get_args(Assess), default="last", help="whose last message is assessed")
    add(
        "--overflow", choices=get_args(Overflow), default="error", help="what to do with what is too long for the guard"
    )
    add("--show", action="store_true", help="with -o: show it too")
    add("--text", action="store_true", help="take the whole text as one user message, whatever it looks like")
    add("--generate", action="store_true", help="add the text the guard writes")
    add("-h", "--help", action="store_true", help="show this help")
    return parser


def _number(word: str) -> float | str:
    """Return a number as one; what is none stays text, and is refused where it is used."""
    try:
        return float(word)
    except ValueError:
        return word


def _guard_parser() -> _Parser:
    parser = _Parser(prog="%guard", add_help=False, description="Guards, threshold, policy and cache of this session.")
    parser.add_argument("-h", "--help", action="store_true", help="show this help")
    commands = parser.add_subparsers(dest="command", metavar="|".join(SUBCOMMANDS), parser_class=_Parser)
    load = commands.add_parser("load", prog="%guard load", help="load a guard and make it the current one")
    load.add_argument("source", help="embedded, a hub id, a folder, or a .gguf file")
    load.add_argument("--name", help="its name in this session")
    load.add_argument("--device", help="cuda, mps, cpu (default: the best there is)")
    load.add_argument("--dtype", help="float32, bfloat16, float16")
    load.add_argument("--revision", help="branch, tag or commit")
    load.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        help="smaller weights, less exact scores; fp8: faster on GPUs that have it",
    )
    load.add_argument(
        "--compile", action="store_true", help="fuse layers, for large tables; compiles for a while first"
    )
    load.add_argument("--protocol", help="how it is asked, where it is not recognised")
    load.add_argument("--min-verdict-mass", type=float, default=0.9, help="rows below this P(safe)+P(unsafe) are NA")
    commands.add_parser("status", prog="%guard status", help="show the resident guards")
    commands.add_parser("use", prog="%guard use", help="make a resident guard current").add_argument("name")
    commands.add_parser("unload", prog="%guard unload", help="give a guard's memory back").add_argument(
        "name", nargs="?"
    )
    threshold = commands.add_parser("threshold", prog="%guard threshold", help="show or set the threshold")
    threshold.add_argument("value", nargs="?", type=_number)
    threshold.add_argument("--from", dest="chosen", metavar="VAR", help="a Choice, or a Report and one of the next")
    for goal in ("precision", "recall", "fpr"):
        threshold.add_argument(f"--{goal}", type=_number, help=f"of a Report: what {goal} is promised")
    commands.add_parser(
        "policy",
        prog="%guard policy",
        help="show the hazards, choose a policy, list the built-in ones, or reset",
        description="Without NAME: show the hazards. Hazards of one's own are zero-shot: they work less well than "
        "those the guard was trained on.",
    ).add_argument("name", nargs="?", help="a built-in policy, a variable, a .yaml or .json file, list, or reset")
    commands.add_parser("cache", prog="%guard cache", help="show or clear the cached scores").add_argument(
        "action", nargs="?", choices=["clear"]
    )
    return parser


MODERATE = _moderate_parser()
GUARD = _guard_parser()


@dataclass(frozen=True, slots=True)
class ModerateOptions:
    """The options of one ``%%moderate``, read.

    Attributes
    ----------
    text
        What stands after the options, verbatim.
    maybe_code
        The first word of the text, where it stands right behind ``-x``: perhaps a code that belongs to it.
    """

    guard: str | None
    threshold: float | None
    policy: str | None
    exclude: tuple[str, ...]
    assess: Assess
    overflow: Overflow
    input: str | None
    output: str | None
    show: bool
    text_only: bool
    generate: bool
    help: bool
    text: str
    maybe_code: str | None


def parse_moderate(line: str) -> ModerateOptions:
    """Read the options at the start of `line`; from the first word that is none on, it is verbatim text.

    Raises
    ------
    UsageError
        For an unknown option, a missing value, one of the wrong type, or a list of codes with spaces.
    """
    words, text, is_ended = _split_options(line)
    read = _parse(MODERATE, words)
    if not is_ended:
        _check_start(text)
    follows_codes = bool(words) and not is_ended and words[-1].startswith(("-x", "--exclude"))
    if follows_codes and text.startswith(","):
        MODERATE.error(f"{shorten(text)} follows -x: codes are joined by commas without spaces, as in -x S6,S13")
    return ModerateOptions(
        guard=read.guard,
        threshold=read.threshold,
        policy=read.policy,
        exclude=tuple(code for codes in read.exclude for code in codes),
        assess=read.assess,
        overflow=read.overflow,
        input=read.input,
        output=read.output,
        show=read.show,
        text_only=read.text,
        generate=read.generate,
        help=read.help,
        text=text,
        maybe_code=text.split()[0].strip(",") if follows_codes and text else None,
    )


def parse_guard(line: str) -> argparse.Namespace:
    """Read a line of ``%guard``.

    Raises
    ------
    UsageError
        For an unknown command or option, a value that is missing or of the wrong type, or a quote that is not closed.
    HelpShown
        Where the help of a command was asked for, and printed.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        GUARD.error(str(error))
    return _parse(GUARD, words)


def _parse(parser: _Parser, words: list[str]) -> argparse.Namespace:
    for word in words:
        if _ENDS_IN_DASHES.fullmatch(word):  # argparse makes an empty list of that value
            parser.error(f"{word.removesuffix('--').removesuffix('=')}: a value is missing")
    return parser.parse_args(words)


def _split_options(line: str) -> tuple[list[str], str, bool]:
    """Return the options at the start of `line`, the text behind them, and whether ``--`` stands between."""
    words: list[str] = []
    takes_value = {name: action.nargs != 0 for action in MODERATE._actions for name in action.option_strings}
    position = 0
    while found := _WORD.match(line, position):
        word = found[1]
        if word == "--":
            return words, line[found.end() :].removeprefix(" "), True
        if not _OPTION.match(word):
            break
        position = found.end()
        words.append(word)
        if takes_value.get(word) and (value := _WORD.match(line, position)):
            words[-1:] = [f"{word}={value[1]}"] if word.startswith("--") else [f"{word}{value[1]}"]
            position = value.end()
    return words, line[position:].strip(), False


def _check_start(text: str) -> None:
    """Refuse text that begins with an option written with another dash, as word processors write it."""
    word = text.split(maxsplit=1)[0] if text else ""
    name = word.partition("=")[0].lstrip("".join(filter(_is_dash, word)) + "-")
    known = {option.lstrip("-") for action in MODERATE._actions for option in action.option_strings}
    if word and _is_dash(word[0]) and name in known:
        MODERATE.error(f"{shorten(word)} begins with another dash than options do; if it is text, put -- before it")


def _is_dash(character: str) -> bool:
    """Say whether it is a dash that looks like the hyphen of options, and is not."""
    return character != "-" and (unicodedata.category(character) == "Pd" or character == "\u2212")
