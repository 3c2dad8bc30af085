r"""The Llama Guard way of asking: policy block, conversation block, one verdict for the last message.

Sources of the protocol: the model cards of the meta-llama guards and the tutorial in discussion 21 of
meta-llama/Llama-Guard-3-8B. The model's own chat template is the authority; what is fixed here is only what
answers look like (``safe`` or ``unsafe\\nS1``, after a blank line from Llama Guard 3 on) and which text in the
prompt is structure.

Templates of Llama Guard 1 and 2 write no begin-of-text token: it is added, as their tokenizers do by default (the
cards' code adds none, Meta's cookbook one; which they were trained with is not published).

The embedded guard speaks the same protocol with a short prompt that carries no policy block.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from guard_magic.conversations.conversation import Role
from guard_magic.errors import PolicyError, ProtocolError
from guard_magic.families.answers import Answers, discover_answers, read_path
from guard_magic.families.base import Evidence, GuardFamily, Logs, Question, Questionnaire, discover_alike
from guard_magic.policy import BUILT_IN, LLAMA_GUARD_3, Category, Policy
from guard_magic.prompts.plan import PromptPlan
from guard_magic.prompts.rendering import ChatTemplate
from guard_magic.prompts.structure import structure_of
from guard_magic.verdict import Reading

__all__ = ["PROTOCOLS", "STRUCTURE", "LlamaGuard", "LlamaGuardQuestionnaire", "carried_policy"]

_BLOCK = re.compile(r"(<BEGIN UNSAFE CONTENT CATEGORIES>\n)(.*?)(\n?<END UNSAFE CONTENT CATEGORIES>)", re.S)
_HAZARD = re.compile(r"([OS]\d+): (.+?)\.?[ \t]*")
_CODE = re.compile(r"[A-Za-z]{1,4}\d{1,3}")

STRUCTURE = structure_of(
    markers=(
        "BEGIN UNSAFE CONTENT CATEGORIES",
        "END UNSAFE CONTENT CATEGORIES",
        "BEGIN CONVERSATION",
        "END CONVERSATION",
    ),
    labels=("User:", "Agent:"),
)


class LlamaGuardQuestionnaire(Questionnaire):
    """One question with one verdict; hazard codes follow ``unsafe`` on a line of their own."""

    def __init__(self, plan: PromptPlan, policy: Policy) -> None:
        self.policy = policy
        self.answers: Answers = discover_alike(
            plan, lambda tokenize: discover_answers(tokenize, policy.codes, answer_prefix=plan.answer_prefix)
        )
        self.questions = tuple(Question(plan, continuation) for continuation in self.answers.continuations)

    def read(self, logs: Logs, n_tokens: int, role: Role) -> Reading:
        """Read verdict and codes from one pass (one more for each further place where codes branch)."""
        known = {(i, *step): log for i, read in enumerate(logs) for step, log in read.items()}
        safe, unsafe = (read_path(word, known) for word in self.answers.words)
        return Reading(unsafe, safe, tuple(read_path(path, known) for path in self.answers.codes), n_tokens)

    def written(self, reading: Reading) -> tuple[int, str | None]:
        """``"safe"`` where that is the more probable verdict: greedy decoding begins with it."""
        return 0, "safe" if reading.log_odds < 0 else None


@dataclass(frozen=True)
class LlamaGuard(GuardFamily):
    """One generation of Llama Guards.

    Attributes
    ----------
    name, title, answer_prefixes
        As `GuardFamily` says.
    mark
        Text of the chat template that no other generation's has.
    """

    name: str
    title: str
    mark: re.Pattern[str]
    answer_prefixes: tuple[str, ...] = ("\n\n",)

    def recognises(self, evidence: Evidence) -> bool:
        """Say whether the chat template asks in this way."""
        asks = ("unsafe content", "<BEGIN CONVERSATION>", "<END CONVERSATION>")
        return all(text in evidence.template for text in asks) and bool(self.mark.search(evidence.template))

    def questionnaire(
        self,
        tokenizer: Any,
        policy: Policy | None = None,
        *,
        answer_prefix: str | None = None,
        like: Questionnaire | None = None,
    ) -> LlamaGuardQuestionnaire:
        """Plan how this tokenizer is asked; the policy block is rewritten in the guard's own form.

        Templates of Llama-Guard-3-1B and Llama Guard 4 take ``categories=``, that of Llama-Guard-3-8B ignores it
        silently: the block is rewritten here, for all of them alike.
        """
        renderer = ChatTemplate(tokenizer)
        block = _policy_block(renderer)
        own = carried_policy(tokenizer, self.name)
        edit: Callable[[str], str] = str
        if policy is not None and policy != own:
            if own is None or block is None:
                raise PolicyError(
                    f"this guard's prompt carries no policy, so policy {policy.name!r} cannot be asked",
                    hint="Leave out policy and exclude, or load a guard such as meta-llama/Llama-Guard-3-8B.",
                )
            _check_codes(policy)
            edit = partial(_replace_block, text=_write_block(policy, like=block))
        plan = PromptPlan(
            tokenizer,
            renderer,
            STRUCTURE,
            edit=edit,
            answer_prefix=self.answer_prefixes[0] if answer_prefix is None else answer_prefix,
            like=like.first if like else None,
        )
        return LlamaGuardQuestionnaire(plan, policy or own or LLAMA_GUARD_3)


PROTOCOLS = (
    LlamaGuard(
        "llama-guard-1",
        "Llama Guard 1",
        re.compile(r"\bO1: .*\[/INST\]", re.S),
        answer_prefixes=(" ", "", "\n\n", "\n"),
    ),
    LlamaGuard(
        "llama-guard-2",
        "Llama Guard 2",
        re.compile(r"\bS1: .*\[/INST\]", re.S),
        answer_prefixes=("", " ", "\n\n", "\n"),
    ),
    LlamaGuard("llama-guard-4", "Llama Guard 4", re.compile(r"<\|header_start\|>")),
    LlamaGuard("llama-guard-3", "Llama Guard 3", re.compile(r"\A(?!.*Safety: Controversial)", re.S)),
)
"""Llama Guard 1 and 2 end their prompt with ``[/INST]`` and answer at once; the later ones write a blank line first."""


def carried_policy(tokenizer: Any, prefer: str = "llama-guard-3") -> Policy | None:
    """Return the policy that the guard's own prompt carries, or None where it carries none.

    Where it equals several built-in ones, it is the one called `prefer`.

    Raises
    ------
    ProtocolError
        Where there is a policy block that cannot be read.
    """
    block = _policy_block(ChatTemplate(tokenizer))
    if block is None:
        return None
    found: list[list[str]] = []
    for line in block.split("\n"):
        hazard = _HAZARD.fullmatch(line.strip())
        if hazard:
            found.append([hazard[1], hazard[2], ""])
        elif found:
            found[-1][2] += f"\n{line}"
        else:
            raise ProtocolError(
                "the guard's policy block cannot be read", hint="Expected lines such as 'S1: Violent Crimes.'"
            )
    hard = {category.name for policy in BUILT_IN.values() for category in policy if category.distressing}
    own = tuple(Category(code, name, told.strip("\n"), name in hard) for code, name, told in found)
    known = sorted(BUILT_IN.values(), key=lambda policy: policy.name != prefer)
    for policy in known:
        if policy.categories == own:
            return policy
        if [(c.code, c.name) for c in policy] == [(c.code, c.name) for c in own]:
            return Policy(policy.name, own)
    return Policy("the guard's own", own)


def _policy_block(renderer: ChatTemplate) -> str | None:
    block = _BLOCK.search(renderer.render([{"role": "user", "content": "x"}]))
    return block[2] if block else None


def _write_block(policy: Policy, *, like: str) -> str:
    """Write hazards in the form of the guard's own block: hazards it has keep their lines as they are.

    A hazard that is new or changed ends as the block's first one does (Llama Guard 1 and 2 have a space there).
    """
    own: dict[str, list[str]] = {}
    for line in like.split("\n"):
        if _HAZARD.fullmatch(line.strip()):
            own[line.strip().rstrip(".")] = [line]
        elif own:
            own[next(reversed(own))].append(line)
    first = like.split("\n")[0]
    ending = first[len(first.rstrip(" .")) :]
    lines: list[str] = []
    for category in policy:
        known = own.get(f"{category.code}: {category.name}")
        if known and "\n".join(known[1:]).strip("\n") == category.description:
            lines += known
        else:
            lines.append(f"{category.code}: {category.name}{ending}")
            lines += category.description.split("\n") if category.description else []
    return "\n".join(lines)


def _check_codes(policy: Policy) -> None:
    odd = [code for code in policy.codes if not _CODE.fullmatch(code)]
    if odd:
        raise PolicyError(
            f"policy {policy.name!r} has the code {odd[0]!r}, and a Llama Guard writes letters and a number",
            hint="Name its hazards S1, S2 … in {code: name}.",
        )


def _replace_block(prompt: str, *, text: str) -> str:
    replaced, count = _BLOCK.subn(lambda match: match[1] + text + match[3], prompt)
    if count != 1:
        raise ProtocolError("the guard's policy block does not stand ahead of the conversation", hint="Not supported.")
    return replaced
