"""What may stand on a line of ours: the options of ``%%moderate`` and the commands of ``%guard``."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import NoReturn, get_args

from IPython.core.error import UsageError

from guard_magic.roles import Assess
from guard_magic.windows import Overflow

__all__ = [
    "GUARD",
    "LOAD_OPTIONS",
    "MODERATE",
    "QUANTIZATIONS",
    "SUBCOMMANDS",
    "HelpShown",
    "ModerateOptions",
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


class HelpShown(Exception):
    """The help of a command was asked for, and printed."""


class _Parser(argparse.ArgumentParser):
    """argparse that raises a one-line `UsageError`, or `HelpShown`, instead of leaving the process."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise HelpShown

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
    add("-p", "--policy", metavar="POLICY", help="a built-in policy, a variable, or a .yaml or .json file")
    add("-x", "--exclude", metavar="S6,S13", default="", help="hazard codes to leave out, with commas")
    add("-i", "--input", metavar="VAR", help="%%moderate only: score what this variable holds")
    add("-o", "--output", metavar="VAR", help="store the verdict in this variable and show nothing")
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
    commands.add_parser("threshold", prog="%guard threshold", help="show or set the threshold").add_argument(
        "value", nargs="?", type=_number
    )
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
    """The options of one ``%%moderate``, read; `text` is what stands after them, verbatim."""

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


def parse_moderate(line: str) -> ModerateOptions:
    """Read the options at the start of `line`; from the first word that is none on, it is verbatim text.

    Raises
    ------
    UsageError
        For an unknown option, a missing value, or one of the wrong type.
    """
    words, text = _split_options(line)
    read = MODERATE.parse_args(words)
    return ModerateOptions(
        guard=read.guard,
        threshold=read.threshold,
        policy=read.policy,
        exclude=tuple(code.strip() for code in read.exclude.split(",") if code.strip()),
        assess=read.assess,
        overflow=read.overflow,
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
    takes_value = {name: action.nargs != 0 for action in MODERATE._actions for name in action.option_strings}
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
