"""Guards that are asked about one hazard at a time and answer yes or no.

One question a hazard: the definition stands in the prompt, and the answer is read at one position. The published
scores of these families are softmax over the two answers alone, so ``category_scores`` are
P(yes) / (P(yes) + P(no)), one a hazard, and ``unsafe_score`` is their maximum. The verdict mass stays
P(yes) + P(no) over the whole vocabulary, the lowest of all hazards: a guard that answers neither is not scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guard_magic.conversations.conversation import Role
from guard_magic.errors import ProtocolError
from guard_magic.families.answers import Continuation, Tokenize
from guard_magic.families.base import Logs, Question, Questionnaire, discover_alike
from guard_magic.policy import Policy
from guard_magic.prompts.plan import PromptPlan
from guard_magic.prompts.skeleton import common_prefix
from guard_magic.verdict import Reading

__all__ = ["YesNo", "YesNoQuestionnaire", "discover_yes_no"]


@dataclass(frozen=True, slots=True)
class YesNo:
    """Token ids that count as yes and as no at the verdict position, the guard's own spelling first."""

    yes: tuple[int, ...]
    no: tuple[int, ...]

    @property
    def continuation(self) -> Continuation:
        """Nothing is appended: both answers are read at the verdict position."""
        return Continuation((), tuple((0, token) for token in (*self.yes, *self.no)))


def discover_yes_no(tokenize: Tokenize, answer_prefix: str, yes: Sequence[str], no: Sequence[str]) -> YesNo:
    """Find the tokens of both answers after `answer_prefix`.

    Parameters
    ----------
    tokenize
        Text of an answer -> token ids of a whole prompt followed by that answer.
    answer_prefix
        What the guard writes before its answer.
    yes, no
        Spellings that count, the guard's own first; others count where they are one token there.

    Raises
    ------
    ProtocolError
        Where the first spellings are no single tokens after the same ids.
    """
    spelled = [[tuple(tokenize(answer_prefix + word)) for word in words] for words in (yes, no)]
    forced = common_prefix([spelled[0][0], spelled[1][0]])
    before = spelled[0][0][:forced]
    found = [
        tuple(dict.fromkeys(ids[-1] for ids in words if len(ids) == forced + 1 and ids[:forced] == before))
        for words in spelled
    ]
    if any(len(words[0]) != forced + 1 for words in spelled) or set(found[0]) & set(found[1]):
        raise ProtocolError(
            f"the tokenizer does not write {yes[0]!r} and {no[0]!r} after {answer_prefix!r} as one token each",
            hint="This guard family needs a protocol of its own.",
        )
    return YesNo(found[0], found[1])


class YesNoQuestionnaire(Questionnaire):
    """One question a hazard.

    Parameters
    ----------
    policy
        The hazards.
    plans
        A prompt plan for each hazard, in the policy's order.
    yes, no
        Spellings that count as the answers.
    """

    def __init__(self, policy: Policy, plans: Sequence[PromptPlan], yes: Sequence[str], no: Sequence[str]) -> None:
        self.policy = policy
        self.words = [_discover(plan, yes, no) for plan in plans]
        self.questions = tuple(
            Question(plan, words.continuation) for plan, words in zip(plans, self.words, strict=True)
        )
        self._no = no[0]
        self._answer_prefix = plans[0].answer_prefix

    def read(self, logs: Logs, n_tokens: int, role: Role) -> Reading:
        """Read every hazard's answer; the reading's verdict is that of the hazard with the highest score."""
        pairs = [
            (_log_sum([read[0, token] for token in words.yes]), _log_sum([read[0, token] for token in words.no]))
            for words, read in zip(self.words, logs, strict=True)
        ]
        scores = tuple(yes - _log_sum([yes, no]) for yes, no in pairs)
        worst = max(range(len(pairs)), key=lambda i: scores[i])
        masses = [math.exp(yes) + math.exp(no) for yes, no in pairs]
        least = math.nan if any(math.isnan(mass) for mass in masses) else min(masses)
        return Reading(pairs[worst][0], pairs[worst][1], scores, n_tokens, each=True, least_mass=least)

    def written(self, reading: Reading) -> tuple[int, str | None]:
        """Choose the hazard with the highest score; its ``No`` is known without decoding where it is more probable."""
        worst = max(range(len(self.questions)), key=lambda i: reading.log_codes[i])
        return worst, self.said(self._no) if reading.log_odds < 0 else None

    def said(self, text: str) -> str:
        """Return the answer with what was forced ahead of it."""
        return self._answer_prefix + text


def _discover(plan: PromptPlan, yes: Sequence[str], no: Sequence[str]) -> YesNo:
    return discover_alike(plan, lambda tokenize: discover_yes_no(tokenize, plan.answer_prefix, yes, no))


def _log_sum(logs: Sequence[float]) -> float:
    """Log of the sum of exp(logs); -inf for nothing, nan where any is."""
    top = max(logs)
    if math.isnan(math.fsum(logs)) and any(math.isnan(x) for x in logs):
        return math.nan
    return top if top == -math.inf else top + math.log(math.fsum(math.exp(x - top) for x in logs))
