r"""The Llama Guard 3 way of asking: policy block, conversation block, one verdict for the last message.

Source of the protocol: the model card of meta-llama/Llama-Guard-3-8B and the tutorial in its discussion 21.
The model's own chat template is the authority; what is fixed here is only what answers look like
(``\\n\\nsafe`` or ``\\n\\nunsafe\\nS1``) and which text in the prompt is structure.

The embedded guard speaks the same protocol with a short prompt that carries no policy block.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from guard_magic.conversation import Role
from guard_magic.errors import PolicyError, ProtocolError
from guard_magic.policy import LLAMA_GUARD_3, Category, Policy
from guard_magic.protocols.contents import takes_parts, typed
from guard_magic.protocols.plan import PromptPlan, Structure

__all__ = ["ACCEPTED_ROLES", "NAME", "STRUCTURE", "carried_policy", "plan_prompts", "recognises"]

NAME = "llama-guard-3"
ACCEPTED_ROLES: frozenset[Role] = frozenset({"user", "assistant"})

_BLOCK = re.compile(r"(<BEGIN UNSAFE CONTENT CATEGORIES>\n)(.*?)(\n?<END UNSAFE CONTENT CATEGORIES>)", re.S)
_HAZARD = re.compile(r"(S\d+): (.+)\.")
_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"  # where str.splitlines begins a new line
_STRUCTURAL = re.compile(
    r"<(?P<marker>\s*(?:BEGIN|END)\s+(?:UNSAFE\s+CONTENT\s+CATEGORIES|CONVERSATION)\s*)>"
    rf"|(?<=[{_BREAKS}])(?P<label>[^\S{_BREAKS}]*(?:User|Agent)[^\S{_BREAKS}]*:)",
    re.I,
)


def _neutral(match: re.Match[str]) -> str:
    marker = match["marker"]
    return f"({marker})" if marker is not None else f"> {match['label'].lstrip()}"


STRUCTURE = Structure(_STRUCTURAL, _neutral)
"""Block markers become round brackets; a turn label at a line start (a forged turn) is quoted with ``>``."""


def recognises(template: str) -> bool:
    """Say whether a chat template asks in this way."""
    return all(mark in template for mark in ("unsafe content", "<BEGIN CONVERSATION>", "<END CONVERSATION>"))


def carried_policy(tokenizer: Any) -> Policy | None:
    """Return the policy that the guard's own prompt carries, or None where it carries none.

    Raises
    ------
    ProtocolError
        Where there is a policy block that cannot be read.
    """
    messages = typed([{"role": "user", "content": "x"}], takes_parts(tokenizer))
    text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    block = _BLOCK.search(text)
    if block is None:
        return None
    lines = block[2].split("\n")
    hazards = [_HAZARD.fullmatch(line.strip()) for line in lines]
    if not all(hazards):
        raise ProtocolError(
            "the guard's policy block cannot be read", hint="Expected lines such as 'S1: Violent Crimes.'"
        )
    found = tuple(Category(h[1], h[2]) for h in hazards if h is not None)
    return LLAMA_GUARD_3 if found == LLAMA_GUARD_3.categories else Policy("the guard's own", found)


def plan_prompts(tokenizer: Any, policy: Policy | None = None, *, like: PromptPlan | None = None) -> PromptPlan:
    """Plan how this tokenizer asks about `policy`.

    Parameters
    ----------
    tokenizer
        The guard's transformers tokenizer, with its chat template.
    policy
        The hazards to ask about; None for those the guard's own prompt carries (or was trained on).
    like
        Another plan of the same tokenizer, whose text-only copy is shared.

    Raises
    ------
    PolicyError
        Where another policy is asked for and the prompt carries none.
    ProtocolError
        Where the template or tokenizer cannot be used.
    """
    own = carried_policy(tokenizer)
    if policy is None or policy == own:
        return PromptPlan(tokenizer, own or LLAMA_GUARD_3, STRUCTURE, like=like)
    if own is None:
        raise PolicyError(
            f"this guard's prompt carries no policy, so policy {policy.name!r} cannot be asked",
            hint="Leave out policy and exclude, or load a guard such as meta-llama/Llama-Guard-3-8B.",
        )
    edit = partial(_replace_block, policy=policy)
    return PromptPlan(tokenizer, policy, STRUCTURE, edit=edit, like=like)


def _replace_block(text: str, *, policy: Policy) -> str:
    lines = [f"{c.code}: {c.name}." + (f"\n{c.description}" if c.description else "") for c in policy]
    replaced, count = _BLOCK.subn(lambda match: match[1] + "\n".join(lines) + match[3], text)
    if count != 1:
        raise ProtocolError("the guard's policy block does not stand ahead of the conversation", hint="Not supported.")
    return replaced
