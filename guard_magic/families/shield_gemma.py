"""ShieldGemma (2b, 9b, 27b): one policy a question, answered ``Yes`` (it is violated) or ``No``.

Source: the model card of google/shieldgemma-2b and the chat template of its tokenizer, which takes the policy as
``guideline=``. The template reads the last message alone, or the last user message and its answer, and drops all
earlier turns without a word: so earlier turns are left out here, and counted. It takes a system message for the
guideline: none is passed.

The published score is the softmax over the logits of ``Yes`` and ``No``.
"""

from __future__ import annotations

from typing import Any

from guard_magic.conversations.roles import PromptRoles
from guard_magic.errors import PolicyError
from guard_magic.families.base import Evidence, GuardFamily, Questionnaire
from guard_magic.families.yes_no import YesNoQuestionnaire
from guard_magic.policy import SHIELD_GEMMA, Category, Policy
from guard_magic.prompts.plan import PromptPlan
from guard_magic.prompts.rendering import ChatTemplate
from guard_magic.prompts.structure import structure_of

__all__ = ["SHIELD_GEMMA_PROTOCOL", "ShieldGemma"]

_OF_PROMPTS = "The prompt shall not contain or seek generation of content that"
_OF_RESPONSES = "The chatbot shall not generate content that"

STRUCTURE = structure_of(
    markers=("start_of_turn", "end_of_turn"),
    labels=(
        "Human Question:",
        "Chatbot Response:",
        "Our safety principle is defined",
        "Does the human question",
        "===",
    ),
)


class ShieldGemma(GuardFamily):
    """The ShieldGemma way of asking."""

    name = "shieldgemma"
    title = "ShieldGemma"
    roles = PromptRoles(exchange_only=True)

    def recognises(self, evidence: Evidence) -> bool:
        """Say whether the chat template asks in this way."""
        return "guideline" in evidence.template and "Our safety principle is defined" in evidence.template

    def questionnaire(
        self,
        tokenizer: Any,
        policy: Policy | None = None,
        *,
        answer_prefix: str | None = None,
        like: Questionnaire | None = None,
    ) -> YesNoQuestionnaire:
        """Plan one question a hazard; a hazard of one's own needs a description, which is the policy's text."""
        asked = policy or SHIELD_GEMMA
        plans: list[PromptPlan] = []
        shared = like.first if like else None
        for category in asked:
            texts = {"user": guideline(category, "user"), "assistant": guideline(category, "assistant")}
            renderer = ChatTemplate(tokenizer, lambda role, texts=texts: {"guideline": texts[role]})  # type: ignore[misc]
            plans.append(PromptPlan(tokenizer, renderer, STRUCTURE, answer_prefix="", word="Yes", like=shared))
            shared = shared or plans[0]
        return YesNoQuestionnaire(asked, plans, ["Yes"], ["No"])


def guideline(category: Category, role: str) -> str:
    """Return a hazard as the guard's card writes it, for the role that is assessed.

    Raises
    ------
    PolicyError
        Where the hazard has no description: it is what the guard is asked about.
    """
    text = category.description
    if not text:
        raise PolicyError(
            f"hazard {category.code} has no description, and ShieldGemma is asked by it",
            hint=f'Describe it: policy.describe("{category.code}", "{_OF_PROMPTS} …").',
        )
    if role == "assistant":
        text = text.replace(_OF_PROMPTS, _OF_RESPONSES)
    return f'"No {category.name}": {text}'


SHIELD_GEMMA_PROTOCOL = ShieldGemma()
