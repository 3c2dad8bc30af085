r"""Qwen3Guard-Gen: three verdicts (Safe, Controversial, Unsafe), then the hazards by name.

Source: the chat template of the Qwen/Qwen3Guard-Gen tokenizers and the README of QwenLM/Qwen3Guard. The answer is
``Safety: Unsafe\nCategories: Violent``; ``Safety:`` is forced, and the next token tells the three verdicts apart.

No score is published. The technical report reads the verdicts in two ways: *strict* counts Controversial as unsafe (so
does the README's code), *loose* as safe. ``unsafe_score`` is P(Unsafe) + P(Controversial) here, and P(Unsafe) with
``protocol="qwen3guard-loose"``; P(Controversial) is another answer of every verdict.

The template shows a system message as the user's, and drops tool messages and an assistant message that comes first:
none of them is passed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from guard_magic.conversations.conversation import Role
from guard_magic.errors import PolicyError, ProtocolError
from guard_magic.families.answers import discover_answers, read_path
from guard_magic.families.base import Evidence, GuardFamily, Logs, Question, Questionnaire, discover_alike
from guard_magic.policy import QWEN3_GUARD, Policy
from guard_magic.prompts.plan import PromptPlan
from guard_magic.prompts.rendering import ChatTemplate
from guard_magic.prompts.structure import structure_of
from guard_magic.verdict import Reading

__all__ = ["PROTOCOLS", "Qwen3Guard", "Qwen3GuardQuestionnaire"]

ANSWER_PREFIX = "Safety: "
_BLOCKS = ("SAFETY POLICY", "UNSAFE CONTENT CATEGORIES", "REFUSAL POLICY", "CONVERSATION")
_BLOCK = re.compile(r"(<BEGIN UNSAFE CONTENT CATEGORIES>\n)(.*?)(\n<END UNSAFE CONTENT CATEGORIES>)", re.S)

STRUCTURE = structure_of(
    markers=(
        *(f"BEGIN {block}" for block in _BLOCKS),
        *(f"END {block}" for block in _BLOCKS),
        "think",
        "/think",
    ),
    labels=("USER:", "ASSISTANT:", "Safety:", "Categories:", "Refusal:"),
)


class Qwen3GuardQuestionnaire(Questionnaire):
    """One question with three verdicts; the hazards' names are read where they part."""

    answer_names = ("controversial",)

    def __init__(self, plan: PromptPlan, policy: Policy, *, strict: bool) -> None:
        self.policy = policy
        self.strict = strict
        names = [category.name for category in policy]
        self.answers = discover_alike(
            plan,
            lambda tokenize: discover_answers(
                tokenize,
                names,
                answer_prefix=ANSWER_PREFIX,
                words=("Safe", "Unsafe", "Controversial"),
                before_code="\nCategories: ",
                every_step=False,
            ),
        )
        self.questions = tuple(Question(plan, continuation) for continuation in self.answers.continuations)

    def read(self, logs: Logs, n_tokens: int, role: Role) -> Reading:
        """Read the three verdicts, and the hazards after ``Unsafe``."""
        known = {(i, *step): log for i, read in enumerate(logs) for step, log in read.items()}
        safe, unsafe, controversial = (read_path(word, known) for word in self.answers.words)
        codes = tuple(read_path(path, known) for path in self.answers.codes)
        if self.strict:
            unsafe = _log_add(unsafe, controversial)
        else:
            safe = _log_add(safe, controversial)
        return Reading(unsafe, safe, codes, n_tokens, answers=(("controversial", math.exp(controversial)),))

    def written(self, reading: Reading) -> tuple[int, str | None]:
        """Know the text without decoding only where greedy decoding surely begins with ``Safe``."""
        return 0, self.said("Safe") if reading.log_odds < 0 and self.strict else None

    def said(self, text: str) -> str:
        """Return the answer with the forced ``Safety:``."""
        return ANSWER_PREFIX + text


@dataclass(frozen=True)
class Qwen3Guard(GuardFamily):
    """The Qwen3Guard-Gen way of asking.

    Attributes
    ----------
    name, title, answer_prefixes
        As `GuardFamily` says.
    strict
        Whether Controversial counts as unsafe.
    """

    name: str
    title: str
    strict: bool
    answer_prefixes: tuple[str, ...] = (ANSWER_PREFIX,)

    def recognises(self, evidence: Evidence) -> bool:
        """Say whether the chat template asks in this way."""
        return self.strict and "Safety: Controversial" in evidence.template and "THE LAST USER" in evidence.template

    def questionnaire(
        self,
        tokenizer: Any,
        policy: Policy | None = None,
        *,
        answer_prefix: str | None = None,
        like: Questionnaire | None = None,
    ) -> Qwen3GuardQuestionnaire:
        """Plan the question; hazards are taken out of the prompt's list, and new ones added by name."""
        asked = policy or QWEN3_GUARD
        described = [category.code for category in asked if category.description]
        if described:
            raise PolicyError(
                f"hazard {described[0]} has a description, and Qwen3Guard's prompt has place for names alone",
                hint="Leave descriptions out; names are all it reads.",
            )
        edit: Callable[[str], str] = str if asked == QWEN3_GUARD else partial(_replace_names, policy=asked)
        plan = PromptPlan(
            tokenizer,
            ChatTemplate(tokenizer),
            STRUCTURE,
            edit=edit,
            answer_prefix=ANSWER_PREFIX,
            word="Safe",
            like=like.first if like else None,
        )
        return Qwen3GuardQuestionnaire(plan, asked, strict=self.strict)


def _replace_names(prompt: str, *, policy: Policy) -> str:
    """Keep the names of the block that the policy has (answers have no Jailbreak), and add the policy's new ones."""
    wanted = [category.name for category in policy]
    own = {category.name for category in QWEN3_GUARD}

    def replace(match: re.Match[str]) -> str:
        there = [line.removesuffix(".") for line in match[2].split("\n")]
        kept = [name for name in there if name in wanted] + [name for name in wanted if name not in own]
        return match[1] + "\n".join(f"{name}." for name in kept) + match[3]

    replaced, count = _BLOCK.subn(replace, prompt)
    if count != 1:
        raise ProtocolError(
            "the guard's list of hazards does not stand ahead of the conversation", hint="Not supported."
        )
    return replaced


def _log_add(one: float, other: float) -> float:
    """Log of the sum of two probabilities; nan where either is."""
    top, low = max(one, other), min(one, other)
    if math.isnan(one) or math.isnan(other):
        return math.nan
    return top if low == -math.inf else top + math.log1p(math.exp(low - top))


PROTOCOLS = (
    Qwen3Guard("qwen3guard", "Qwen3Guard-Gen (strict: controversial is unsafe)", strict=True),
    Qwen3Guard("qwen3guard-loose", "Qwen3Guard-Gen (loose: controversial is safe)", strict=False),
)
