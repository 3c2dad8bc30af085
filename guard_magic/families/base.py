"""A questionnaire: how a guard is asked about one policy, in one question or several, and how it is read.

Most guards answer one question with a verdict and a hazard. Guards that answer yes or no about one hazard at a
time are asked one question a hazard. A question is a prompt plan (conversation -> token ids) and a continuation (what
is appended, and which log-probabilities are read along it).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from guard_magic.conversations.conversation import Conversation, Role
from guard_magic.conversations.roles import PromptRoles
from guard_magic.errors import ConversationError, ProtocolError
from guard_magic.families.answers import Continuation
from guard_magic.policy import Policy
from guard_magic.prompts.plan import PROBES, Prompt, PromptPlan
from guard_magic.verdict import Reading

__all__ = ["Evidence", "GuardFamily", "Logs", "Question", "Questioned", "Questionnaire", "discover_alike"]

Logs = Sequence[Mapping[tuple[int, int], float]]
"""For each question, (offset, token id) -> natural log of the full-vocabulary softmax."""
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt, what is appended to it, and what is read."""

    plan: PromptPlan
    continuation: Continuation


class Questionnaire(ABC):
    """How one guard is asked about one policy.

    Attributes
    ----------
    policy
        The hazards asked about, in the order of the scores.
    questions
        What is asked of every conversation, in order.
    answer_names
        Names of the other answers that a reading carries.
    """

    policy: Policy
    questions: tuple[Question, ...]
    answer_names: tuple[str, ...] = ()

    @property
    def first(self) -> PromptPlan:
        """The first question's prompt plan: for most guards there is no other."""
        return self.questions[0].plan

    def questions_for(self, role: Role) -> tuple[Question, ...]:
        """Return what is asked where a message of this role is assessed."""
        return self.questions

    def encode(self, conversation: Conversation) -> Questioned:
        """Return the questions about a conversation and the prompt of each, in order.

        Questions that share a plan share the prompt.

        Raises
        ------
        ConversationError
            Where the contents cannot be asked about safely and exactly.
        """
        (found,) = self.encode_all([conversation])
        if isinstance(found, ConversationError):
            raise found
        return found

    def encode_all(self, conversations: Sequence[Conversation]) -> list[Questioned | ConversationError]:
        """Return for each conversation, in order, what `encode` returns, or the error that it raises."""
        questions = [self.questions_for(conversation.assessed.role) for conversation in conversations]
        plans = {id(question.plan): question.plan for asked in questions for question in asked}
        prompts: list[dict[int, Prompt | ConversationError]] = [{} for _ in conversations]
        for key, plan in plans.items():
            positions = [i for i, asked in enumerate(questions) if any(question.plan is plan for question in asked)]
            found = plan.prompts([conversations[i] for i in positions])
            for i, prompt in zip(positions, found, strict=True):
                prompts[i][key] = prompt
        return [_questioned(*pair) for pair in zip(questions, prompts, strict=True)]

    def render(self, conversation: Conversation) -> str:
        """Return the exact text of the first question's prompt, up to the verdict position."""
        return self.first.render(conversation)

    @abstractmethod
    def read(self, logs: Logs, n_tokens: int, role: Role) -> Reading:
        """Turn log-probabilities into a reading.

        Parameters
        ----------
        logs
            What was read for each question.
        n_tokens
            Tokens of all prompts asked.
        role
            Role of the message that was assessed.
        """

    def said(self, text: str) -> str:
        """Return the whole answer, given what the guard wrote after what was forced."""
        return text

    @abstractmethod
    def written(self, reading: Reading) -> tuple[int, str | None]:
        """Say what the guard writes.

        Returns
        -------
        tuple
            The question whose answer tells why, and the text where it is known without decoding (the harmless
            verdict), else None.
        """


Questioned = tuple[tuple[Question, ...], tuple[Prompt, ...]]
"""Questions about one conversation, and the prompt of each."""


def _questioned(
    questions: tuple[Question, ...], prompts: Mapping[int, Prompt | ConversationError]
) -> Questioned | ConversationError:
    made: list[Prompt] = []
    for question in questions:
        prompt = prompts[id(question.plan)]
        if isinstance(prompt, ConversationError):
            return prompt
        made.append(prompt)
    return questions, tuple(made)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a model shows of its family.

    Attributes
    ----------
    name
        Hub id, folder or name it was loaded by: a hint only.
    model_type
        ``config.model_type``.
    architecture
        Class name of the model.
    template
        Text of the tokenizer's chat template; "" where there is none.
    """

    name: str
    model_type: str
    architecture: str
    template: str


class GuardFamily(ABC):
    """How one family of guards is asked and how its answer is read.

    Attributes
    ----------
    name
        As ``protocol=`` takes it.
    title
        The family, in words.
    roles
        Roles that the prompt has place for.
    answer_prefixes
        What the guard may write before its verdict; where there are several, the load probe chooses.
    """

    name: str
    title: str
    roles: PromptRoles = PromptRoles()
    answer_prefixes: tuple[str, ...] = ("",)

    @abstractmethod
    def recognises(self, evidence: Evidence) -> bool:
        """Say whether a model is of this family."""

    @abstractmethod
    def questionnaire(
        self,
        tokenizer: Any,
        policy: Policy | None = None,
        *,
        answer_prefix: str | None = None,
        like: Questionnaire | None = None,
    ) -> Questionnaire:
        """Plan how this tokenizer is asked about `policy` (None: the guard's own).

        Parameters
        ----------
        tokenizer
            The guard's fast tokenizer.
        policy
            The hazards asked about.
        answer_prefix
            Which of `answer_prefixes`; None for the first.
        like
            Another questionnaire of the same tokenizer, whose text-only copy is shared.

        Raises
        ------
        PolicyError
            Where another policy is asked for and the guard takes none, or not this one.
        ProtocolError
            Where template or tokenizer cannot be used.
        """


def discover_alike(plan: PromptPlan, discover: Callable[[Callable[[str], Sequence[int]]], Found]) -> Found:
    """Discover something about the answers on several prompts; it must be the same on all of them."""
    user: tuple[Role, ...] = ("user",)
    prompts: list[tuple[tuple[Role, ...], list[str]]] = [(user, [probe]) for probe in PROBES[:3]]
    prompts.append((("user", "assistant"), list(PROBES[:2])))
    found = [discover(plan.answers(roles, contents)) for roles, contents in prompts]
    if any(other != found[0] for other in found):
        raise ProtocolError("the verdict tokens depend on what the conversation says", hint="Not supported.")
    return found[0]
