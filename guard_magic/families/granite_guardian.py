r"""Granite Guardian: one risk a question, answered yes (there is a risk) or no.

Sources: the chat templates of the ibm-granite/granite-guardian tokenizers and the code and notebooks of the
ibm-granite/granite-guardian repository.

- 3.0, 3.1: the template takes the risk as ``guardian_config=``, reads the last message and its question alone, and
  the next token is ``Yes`` or ``No``. (Templates of 3.1 may write today's date into the prompt: its scores then
  change with the day.)
- 3.2: the same, over the whole conversation.
- 3.3: the risk is a ``criteria_id``. Without thinking, the guard writes empty think tags and
  ``<score> yes </score>``: what stands ahead of the answer is forced.
- 4.1: an ordinary chat template; the criteria stand in a last user message, a ``<guardian>`` block, whose text is
  the repository's. The template cannot tell it from other Granite models: it is known by its name.

A system message would choose the risk (3.2) or pass for the conversation's own: none is passed. Thinking modes have
no fixed verdict position and are not asked for.

The published probability of risk (3.0 to 3.2) sums the probabilities of all tokens that read yes or no once trimmed
and put in lower case, and normalises the two sums. For 3.3 and 4.1 none is published; the same is done with the two
answers at their position.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guard_magic.conversations.roles import PromptRoles
from guard_magic.errors import PolicyError
from guard_magic.families.base import Evidence, GuardFamily, Questionnaire
from guard_magic.families.yes_no import YesNoQuestionnaire
from guard_magic.policy import GRANITE_GUARDIAN, GRANITE_GUARDIAN_3_3, Category, Policy
from guard_magic.prompts.plan import PromptPlan
from guard_magic.prompts.rendering import ChatTemplate
from guard_magic.prompts.structure import structure_of

__all__ = ["PROTOCOLS", "GraniteGuardian"]

STRUCTURE = structure_of(
    markers=(
        "start_of_turn",
        "end_of_turn",
        "start_of_conversation",
        "end_of_conversation",
        "start_of_risk_definition",
        "end_of_risk_definition",
        "guardian",
        "think",
        "no-think",
        "score",
    ),
    labels=(
        "User Message:",
        "Assistant Message:",
        "Context:",
        "Tools Available:",
        "Our safety risk definition is defined",
        "### Criteria:",
        "### Scoring Schema:",
    ),
    at_start=True,
)
_JUDGE = (
    "<no-think>As a judge agent, assess whether the provided text meets the given judging criteria using all available "
    "information, including conversations, documents, and tools. Provide your score immediately without explanation. "
    "Output empty <think>\\n</think> tags followed by your score in <score></score> tags."
)
_WHOLE = PromptRoles(alternate=False)
_EXCHANGE = PromptRoles(exchange_only=True)
_NO_THOUGHT = ("<think>\n</think>\n<score>", "<think>\n</think><score>", "<think></think>\n<score>", "<score>")


def _spellings(word: str) -> tuple[str, ...]:
    return tuple(space + form for space in ("", " ") for form in (word.title(), word, word.upper()))


@dataclass(frozen=True)
class GraniteGuardian(GuardFamily):
    """One generation of Granite Guardian.

    Attributes
    ----------
    name, title, roles, answer_prefixes
        As `GuardFamily` says.
    known
        Says whether a model is of this generation.
    renderer
        Tokenizer and hazard -> what renders its prompt.
    policy
        The generation's own hazards.
    yes, no
        Spellings that count as the answers.
    """

    name: str
    title: str
    known: Callable[[Evidence], bool]
    renderer: Callable[[Any, Category], ChatTemplate]
    policy: Policy = GRANITE_GUARDIAN
    roles: PromptRoles = _WHOLE
    answer_prefixes: tuple[str, ...] = ("",)
    yes: tuple[str, ...] = _spellings("yes")
    no: tuple[str, ...] = _spellings("no")

    def recognises(self, evidence: Evidence) -> bool:
        """Say whether a model is of this generation."""
        return self.known(evidence)

    def questionnaire(
        self,
        tokenizer: Any,
        policy: Policy | None = None,
        *,
        answer_prefix: str | None = None,
        like: Questionnaire | None = None,
    ) -> YesNoQuestionnaire:
        """Plan one question a hazard.

        A hazard of the guard's own is asked about in the guard's own words for the role assessed; one of the user's
        own needs a description, which becomes the risk's definition.
        """
        asked = policy or self.policy
        plans: list[PromptPlan] = []
        shared = like.first if like else None
        for category in asked:
            renderer = self.renderer(tokenizer, category)
            written = self.answer_prefixes[0] if answer_prefix is None else answer_prefix
            plans.append(
                PromptPlan(tokenizer, renderer, STRUCTURE, answer_prefix=written, word=self.yes[0], like=shared)
            )
            shared = shared or plans[0]
        return YesNoQuestionnaire(asked, plans, self.yes, self.no)


def _definition(category: Category) -> str:
    if not category.description:
        raise PolicyError(
            f"hazard {category.code} has no description, and Granite Guardian is asked by it",
            hint=f'Describe it: policy.describe("{category.code}", "The \'User\' message contains …").',
        )
    return category.description


def _is_own(category: Category) -> bool:
    return category in GRANITE_GUARDIAN.categories or category in GRANITE_GUARDIAN_3_3.categories


def _by_risk(tokenizer: Any, category: Category) -> ChatTemplate:
    """Ask 3.0 to 3.2: a risk's name, or a definition of one's own."""
    config = {"risk_name": category.code} if _is_own(category) else {"risk_definition": _definition(category)}
    return _with_config(tokenizer, config)


def _by_criteria(tokenizer: Any, category: Category) -> ChatTemplate:
    """Ask 3.3: the id of a criterion, or one of one's own."""
    config = {"criteria_id": category.code} if _is_own(category) else {"custom_criteria": _definition(category)}
    return _with_config(tokenizer, config, think=False)


def _with_config(tokenizer: Any, config: Mapping[str, str], **more: Any) -> ChatTemplate:
    options = {"guardian_config": dict(config), "add_generation_prompt": True, **more}
    return ChatTemplate(tokenizer, lambda role: options)


def _by_block(tokenizer: Any, category: Category) -> ChatTemplate:
    """Ask 4.1: a last user message holds the criteria."""
    known = category.code if _is_own(category) else ""
    criteria = GRANITE_GUARDIAN_3_3.category(known).description if known else _definition(category)

    def block(role: str) -> str:
        return (
            f"<guardian>{_JUDGE}\n\n### Criteria: {criteria}\n\n### Scoring Schema: If the last {role}'s text meets "
            "the criteria, return 'yes'; otherwise, return 'no'."
        )

    return ChatTemplate(tokenizer, lambda role: {"add_generation_prompt": True}, instruction=block)


def _takes_risks(evidence: Evidence) -> bool:
    return "guardian_config" in evidence.template and "risk_definition" in evidence.template


PROTOCOLS = (
    GraniteGuardian(
        "granite-guardian-3.3",
        "Granite Guardian 3.3",
        lambda evidence: "guardian_config" in evidence.template and "criteria_id" in evidence.template,
        _by_criteria,
        policy=GRANITE_GUARDIAN_3_3,
        answer_prefixes=_NO_THOUGHT,
        yes=(" yes",),
        no=(" no",),
    ),
    GraniteGuardian(
        "granite-guardian-3.2",
        "Granite Guardian 3.2",
        lambda evidence: _takes_risks(evidence) and "start_of_conversation" in evidence.template,
        _by_risk,
    ),
    GraniteGuardian(
        "granite-guardian-3.0",
        "Granite Guardian 3.0 and 3.1",
        _takes_risks,
        _by_risk,
        roles=_EXCHANGE,
    ),
    GraniteGuardian(
        "granite-guardian-4.1",
        "Granite Guardian 4.1",
        lambda evidence: bool(
            re.search(r"granite[-_ ]?guardian[-_ ]?4", evidence.name, re.I) and "start_of_role" in evidence.template
        ),
        _by_block,
        policy=GRANITE_GUARDIAN_3_3,
        answer_prefixes=_NO_THOUGHT,
        yes=(" yes",),
        no=(" no",),
    ),
)
