"""Conversations as the prompts of chat models write them: ChatML, Llama 2 to 4, Gemma, OASST, guanaco.

Read where every turn has its beginning, its role and its end (the last one may lack its end), and nothing but blanks
stands between them. All else that begins so is an error with the format's name. Alpaca's prompts are one of them:
instruction and input are two texts of one user.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from guard_magic.characters import is_blank
from guard_magic.conversations.role_names import ROLE_ALIASES
from guard_magic.conversations.transcripts import Turn
from guard_magic.errors import ConversationError, shorten

__all__ = ["holds_template", "read_template"]

_NAMES = "|".join(sorted(filter(str.isascii, ROLE_ALIASES), key=len, reverse=True))


@dataclass(frozen=True, slots=True)
class _Form:
    """One format: its name, what opens a turn (with the group ``name``), what closes one, and what may stand ahead."""

    name: str
    opening: re.Pattern[str]
    closing: re.Pattern[str]
    ahead: re.Pattern[str] = re.compile(r"\s*")
    must_close: bool = True


_FORMS = (
    _Form("ChatML", re.compile(r"<\|im_start\|>(?P<name>[^\n<]*)\n"), re.compile(r"<\|im_end\|>")),
    _Form(
        "the prompt format of Llama 3",
        re.compile(r"<\|start_header_id\|>(?P<name>[^<\n]*)<\|end_header_id\|>"),
        re.compile(r"<\|(?:eot_id|eom_id|end_of_text)\|>"),
        re.compile(r"\s*(?:<\|begin_of_text\|>)?\s*"),
    ),
    _Form(
        "the prompt format of Llama 4",
        re.compile(r"<\|header_start\|>(?P<name>[^<\n]*)<\|header_end\|>"),
        re.compile(r"<\|(?:eot|eom|end_of_text)\|>"),
        re.compile(r"\s*(?:<\|begin_of_text\|>)?\s*"),
    ),
    _Form(
        "the prompt format of Gemma",
        re.compile(r"<start_of_turn>(?P<name>[^\n<]*)\n"),
        re.compile(r"<end_of_turn>"),
        re.compile(r"\s*(?:<bos>)?\s*"),
    ),
    _Form(
        "the prompt format of OASST, Zephyr or Phi",
        re.compile(rf"<\|(?P<name>{_NAMES})\|>", re.I),
        re.compile(r"<\|(?:endoftext|end|eot_id)\|>|</s>"),
        re.compile(r"\s*(?:<s>)?\s*"),
        must_close=False,
    ),
)
_LLAMA_2 = re.compile(r"(?:<s>)?\s*\[INST\]")
_SYSTEM = re.compile(r"\s*+<<SYS>>(?P<said>.*?)<</SYS>>(?P<asked>.*)", re.S)
_INST_TOKENS = re.compile(r"\[/?INST\]|<</?SYS>>|</?s>")
_GUANACO = re.compile(r"###[^\S\n]*(?P<name>Human|Assistant|System|User)[^\S\n]*:")
_ALPACA = re.compile(r"(?m)^[^\S\n]*#{2,4}[^\S\n]*Instruction[^\S\n]*:")
_ALPACA_ANSWER = re.compile(r"(?m)^[^\S\n]*#{2,4}[^\S\n]*Response[^\S\n]*:")
_HINT = (
    'Write it as a list of messages ({"role": …, "content": …}), one for each turn; text=… reads a text as one user '
    "message."
)


def read_template(text: str) -> list[Turn] | None:
    """Read the turns of a conversation written as a chat model's prompt, in order.

    Returns
    -------
    list of Turn or None
        None where the text does not begin as any of the formats does.

    Raises
    ------
    ConversationError
        For what begins so and has a turn without an end, an unknown role, or something between its turns.
    """
    for form in _FORMS:
        start = form.ahead.match(text).end()  # type: ignore[union-attr]
        if form.opening.match(text, start):
            return _read_form(text, start, form)
    start = len(text) - len(text.lstrip())
    if _LLAMA_2.match(text, start):
        return _read_llama_2(text)
    if _GUANACO.match(text, start):
        return _read_guanaco(text)
    if (found := _ALPACA.search(text)) and (answer := _ALPACA_ANSWER.search(text, found.end())):
        raise _refusal("an instruction with its response (Alpaca)", text[answer.start() :])
    return None


def holds_template(text: str) -> bool:
    """Say whether a text has turns of such a format in it, wherever they begin, read or not."""
    if ("<|" in text or "<start_of_turn>" in text) and any(_count(form.opening, text) > 1 for form in _FORMS):
        return True
    if "[/INST]" in text and "[INST]" in text:
        return True
    if "###" not in text:
        return False
    names = {ROLE_ALIASES[found["name"].lower()] for found in _GUANACO.finditer(text)}
    return len(names) > 1 or bool((found := _ALPACA.search(text)) and _ALPACA_ANSWER.search(text, found.end()))


def _count(opening: re.Pattern[str], text: str) -> int:
    n = 0
    for found in opening.finditer(text):
        n += found["name"].strip().lower() in ROLE_ALIASES
        if n > 1:
            break
    return n


def _read_form(text: str, start: int, form: _Form) -> list[Turn]:
    turns: list[Turn] = []
    found = form.opening.match(text, start)
    while found is not None:
        name = found["name"].strip()
        if name.lower() not in ROLE_ALIASES:
            raise _refusal(form.name, f"the role {name}")
        opening = form.opening.search(text, found.end())
        closing = form.closing.search(text, found.end())
        end = opening.start() if opening else len(text)
        if closing is not None and closing.start() < end:
            after = text[closing.end() : end]
            if not is_blank(after.replace("<s>", "").replace("<|endoftext|>", "")):
                raise _refusal(form.name, after)
            end = closing.start()
        elif opening is not None and form.must_close:
            raise _refusal(form.name, text[found.start() : opening.end()])
        turns.append((name, text[found.end() : end].strip()))
        found = opening
    return turns[:-1] if len(turns) > 1 and not turns[-1][1] else turns


def _read_llama_2(text: str) -> list[Turn]:
    turns: list[Turn] = []
    for exchange in text.split("[INST]")[1:]:
        asked, found, said = exchange.partition("[/INST]")
        if (system := _SYSTEM.fullmatch(asked)) and not turns:
            turns.append(("system", system["said"].strip()))
            asked = system["asked"]
        said = said.strip().removesuffix("<s>").strip().removesuffix("</s>").strip()
        token = _INST_TOKENS.search(asked) or _INST_TOKENS.search(said)
        if not found or token:
            raise _refusal("the prompt format of Llama 2", exchange)
        turns += [("user", asked.strip()), ("assistant", said)]
    return turns[:-1] if not turns[-1][1] else turns


def _read_guanaco(text: str) -> list[Turn] | None:
    """Read `### Human:` and `### Assistant:` in turn; None where all stand at line starts, as in transcripts."""
    found = list(_GUANACO.finditer(text))
    if all(is_blank(text[text.rfind("\n", 0, one.start()) + 1 : one.start()]) for one in found):
        return None
    roles = [ROLE_ALIASES[one["name"].lower()] for one in found]
    spoken = roles[1:] if roles[0] == "system" else roles
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(spoken)):
        raise _refusal("a conversation of ### Human: and ### Assistant: whose speakers do not take turns", text)
    ends = [one.start() for one in found[1:]] + [len(text)]
    turns = [(one["name"], text[one.end() : end].strip()) for one, end in zip(found, ends, strict=True)]
    _check_headings(text, found)
    return turns[:-1] if len(turns) > 1 and not turns[-1][1] else turns


def _check_headings(text: str, found: Sequence[re.Match[str]]) -> None:
    """Refuse a speaker of another name, written as the others are."""
    read = {one.start() for one in found}
    for other in re.finditer(r"###[^\S\n]*([^\W\d_][\w .'-]{0,30}?)[^\S\n]*:", text):
        if other.start() not in read:
            raise _refusal("a conversation of ### Human: and ### Assistant: with another heading", other.group())


def _refusal(name: str, seen: str) -> ConversationError:
    return ConversationError(f"this is {name}, and its turns cannot be told for certain: {shorten(seen)}", hint=_HINT)
