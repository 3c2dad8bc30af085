"""A guard: a loaded model with its protocol.

It turns conversations into prompts, prompts into readings (one forward pass for verdict and hazards), and
readings into verdicts. It holds no threshold, no current policy and no cache: those are the session's.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guard_magic.conversation import Conversation, Message, RoleChanges, RoleRules, adapt_roles, parse_conversation
from guard_magic.engine.batching import group_positions
from guard_magic.engine.generate import generate_texts
from guard_magic.engine.local import LocalEngine, TokenRow
from guard_magic.errors import ConversationError, LoadError, ProtocolError, ScoreError, UnknownGuardError, shorten
from guard_magic.policy import Policy
from guard_magic.protocols import llama_guard
from guard_magic.protocols.chain import read_codes
from guard_magic.protocols.plan import Prompt, PromptPlan
from guard_magic.verdict import Reading, Verdict, Verdicts, judge, unscored

__all__ = ["Asked", "Guard"]

_UNIQUE = itertools.count(1)
_MAX_PLANS = 16
_PROBE = parse_conversation("What is the capital of France?")


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation made ready: its prompt, and what its roles had to give up."""

    conversation: Conversation
    prompt: Prompt
    changes: RoleChanges


class Guard:
    """A loaded guard model with its protocol.

    Parameters
    ----------
    model
        A transformers causal language model. Never changed, except that it is put into eval mode by the
        loader; a model wrapped with `guard_magic.wrap` must be in eval mode already.
    tokenizer
        Its fast tokenizer, with the guard's chat template.
    name
        How it is called in this session.
    revision
        Which weights: a commit, a content hash, or ``"wrapped"``.
    identity
        What makes cached scores reusable: equal only for equal weights. None for a unique one.
    protocol
        None to recognise the family from the chat template, or ``"llama-guard-3"``.
    min_verdict_mass
        Rows where P(safe) + P(unsafe) is below this are not scored. 0 is for random-weight guards.
    is_embedded
        Whether this is the small guard that comes with the package.

    Raises
    ------
    ProtocolError
        Where the model cannot be asked: unknown template, content that does not reach the prompt, verdict
        tokens that cannot be told apart, or a probe that it answers with neither verdict.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        revision: str = "wrapped",
        identity: str | None = None,
        protocol: str | None = None,
        min_verdict_mass: float = 0.9,
        is_embedded: bool = False,
    ) -> None:
        _check_parts(model, tokenizer, protocol)
        self.name = name
        self.revision = revision
        self.protocol = llama_guard.NAME
        self.min_verdict_mass = min_verdict_mass
        self.is_embedded = is_embedded
        self.engine = LocalEngine(model)
        self._tokenizer = tokenizer
        self._identity = identity or f"{name}#{next(_UNIQUE)}"
        self._plans: dict[Policy | None, PromptPlan] = {}
        self.policy = self.plan(None).policy
        self._probe()

    def __repr__(self) -> str:
        state = f"{self.protocol}, {self.device}, {self.dtype}" if self.is_loaded else "unloaded"
        return f"<Guard {self.label} ({state})>"

    @property
    def label(self) -> str:
        """``name@revision``, as it stands in verdicts and tables."""
        return f"{self.name}@{self.revision}"

    @property
    def is_loaded(self) -> bool:
        """Whether the model is still there."""
        return self.engine.model is not None

    @property
    def model(self) -> Any:
        """The transformers model."""
        if not self.is_loaded:
            raise UnknownGuardError(f"guard {self.name!r} was unloaded", hint=f"Load it again: %guard load {self.name}")
        return self.engine.model

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        return self._tokenizer

    @property
    def device(self) -> str:
        """Where the model is: ``"cpu"``, ``"cuda:0"`` …."""
        return str(self.model.device)

    @property
    def dtype(self) -> str:
        """The model's number format: ``"float32"``, ``"bfloat16"`` …."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def nbytes(self) -> int:
        """Bytes of the model's weights, each counted once."""
        return int(self.model.get_memory_footprint())

    @property
    def n_context(self) -> int:
        """Longest prompt the guard reads, in tokens."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    def plan(self, policy: Policy | None) -> PromptPlan:
        """Return how this guard asks about `policy` (None: its own)."""
        if policy not in self._plans:
            plan = llama_guard.plan_prompts(self._tokenizer, policy, like=self._plans.get(None))
            plan.chain  # noqa: B018 - discovered now, so that a guard that cannot be asked fails here
            if len(self._plans) > _MAX_PLANS:
                self._plans = {None: self._plans[None]}
            self._plans[policy] = plan
        return self._plans[policy]

    def asked_policy(self, policy: Policy | None, exclude: Iterable[str] = ()) -> Policy:
        """Return the policy that is asked about: `policy` or the guard's own, less `exclude`.

        Raises
        ------
        PolicyError
            For unknown codes, or where the guard's prompt carries no policy.
        """
        asked = (policy or self.policy).without(exclude)
        self.plan(None if asked == self.policy else asked)
        return asked

    def render(self, conversation: object, *, policy: Policy | None = None, roles: RoleRules = "merge") -> str:
        """Return the exact prompt text, up to the verdict position."""
        adapted, _ = adapt_roles(parse_conversation(conversation), roles, accepted=llama_guard.ACCEPTED_ROLES)
        return self.plan(policy).render(adapted)

    def tokens(self, conversation: object, *, policy: Policy | None = None, roles: RoleRules = "merge") -> list[int]:
        """Return the exact token ids, up to the verdict position."""
        return list(self.ask(parse_conversation(conversation), policy=policy, roles=roles).prompt.ids)

    def ask(self, conversation: Conversation, *, policy: Policy | None = None, roles: RoleRules = "merge") -> Asked:
        """Make one conversation ready.

        Raises
        ------
        ConversationError
            Where its roles do not fit, its text cannot be asked about safely, or it is too long.
        """
        adapted, changes = adapt_roles(conversation, roles, accepted=llama_guard.ACCEPTED_ROLES)
        plan = self.plan(policy)
        prompt = plan.prompt(adapted)
        if len(prompt.ids) + len(plan.chain.tokens) > self.n_context:
            raise ConversationError(
                f"the conversation is too long: {len(prompt.ids):,} tokens, and {self.name} reads "
                f"{self.n_context - len(plan.chain.tokens):,}",
                hint="Score a part of it; nothing is cut silently.",
            )
        return Asked(adapted, prompt, changes)

    def key(self, prompt: Prompt, policy: Policy | None = None) -> bytes:
        """Return the cache key of a prompt: token ids + guard identity + number format + what is read."""
        chain = self.plan(policy).chain
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self._identity}|{self.dtype}|{chain.tokens}|{chain.wanted}|".encode())
        digest.update(b",".join(b"%d" % token for token in prompt.ids))
        return digest.digest()

    def read(
        self, prompts: Sequence[Prompt], *, policy: Policy | None = None
    ) -> Iterator[list[tuple[int, Reading | ScoreError]]]:
        """Read prompts, yielding after each batch.

        Equal prompts are asked once. Yields lists of (position in `prompts`, reading or why there is none);
        each position exactly once, in the engine's own order.
        """
        chain = self.plan(policy).chain
        groups = list(group_positions([prompt.ids for prompt in prompts]).values())
        rows = [TokenRow(prompts[g[0]].ids, prompts[g[0]].n_prefix) for g in groups]
        for scored in self.engine.score(rows, chain.tokens, chain.wanted):
            batch: list[tuple[int, Reading | ScoreError]] = []
            for i, row in enumerate(scored.positions):
                result: Reading | ScoreError
                if scored.log_probs is None:
                    result = ScoreError(str(scored.error))
                else:
                    logs = dict(zip(chain.wanted, scored.log_probs[i], strict=True))
                    unsafe = sum(logs[step] for step in enumerate(chain.unsafe))
                    codes = read_codes(chain, logs)
                    result = Reading(unsafe, logs[0, chain.safe], codes, len(rows[row].ids))
                batch += [(position, result) for position in groups[row]]
            yield batch

    def write(self, prompts: Sequence[Prompt], readings: Sequence[Reading]) -> list[str | None]:
        """Return the text the guard writes for each prompt.

        It is decoded for rows whose more probable verdict is not safe, whatever the threshold; for the
        others it is ``"safe"``, the verdict that greedy decoding begins with.
        """
        texts: list[str | None] = ["safe"] * len(prompts)
        unsafe = [i for i, reading in enumerate(readings) if not reading.log_odds < 0]
        groups = list(group_positions([prompts[i].ids for i in unsafe]).values())
        firsts = [prompts[unsafe[group[0]]].ids for group in groups]
        for group, text in zip(groups, generate_texts(self.model, self._tokenizer, firsts), strict=True):
            for i in group:
                texts[unsafe[i]] = text
        return texts

    def score(
        self,
        conversations: Sequence[object],
        *,
        policy: Policy | None = None,
        exclude: Iterable[str] = (),
        threshold: float = 0.5,
        roles: RoleRules = "merge",
        generate: bool = False,
    ) -> Verdicts:
        """Score conversations, without session or cache.

        Parameters
        ----------
        conversations
            Anything `parse_conversation` reads, one a row.
        policy, exclude
            The hazards asked about; None for the guard's own.
        threshold
            `unsafe_score` from which a row is flagged.
        roles
            What to do with roles the guard's template has no place for.
        generate
            Whether to add the text the guard writes.

        Returns
        -------
        Verdicts
            In the order of `conversations`; rows that could not be scored carry their error.
        """
        if isinstance(conversations, str | Mapping | Conversation) or any(
            isinstance(value, Mapping | Message) for value in conversations
        ):
            raise ConversationError(
                f"expected a list of conversations, got {shorten(conversations)}",
                hint="Put one conversation into a list: guard.score([conversation]).",
            )
        asked_policy = self.asked_policy(policy, exclude)
        asking = None if asked_policy == self.policy else asked_policy
        rows = [self._try_ask(value, asking, roles) for value in conversations]
        asked = [row for row in rows if isinstance(row, Asked)]
        results: dict[int, Reading | ScoreError] = {}
        for batch in self.read([row.prompt for row in asked], policy=asking):
            results.update(batch)
        ordered = [results[i] for i in range(len(asked))]
        texts = self._texts(asked, ordered) if generate else [None] * len(asked)
        judged = iter(
            self.verdict(row, result, asked_policy, threshold, text)
            for row, result, text in zip(asked, ordered, texts, strict=True)
        )
        lost = {"threshold": threshold, "guard": self.label}
        return Verdicts(
            [next(judged) if isinstance(row, Asked) else unscored(row, **lost) for row in rows],  # type: ignore[arg-type]
            asked_policy,
        )

    def verdict(
        self, asked: Asked, result: Reading | ScoreError, policy: Policy, threshold: float, text: str | None = None
    ) -> Verdict:
        """Judge one result."""
        role = asked.conversation.assessed.role
        if isinstance(result, ScoreError):
            return unscored(
                result,
                threshold=threshold,
                guard=self.label,
                assessed_role=role,
                n_tokens=len(asked.prompt.ids),
                policy=policy,
            )
        return judge(
            result,
            policy,
            threshold=threshold,
            guard=self.label,
            assessed_role=role,
            min_verdict_mass=self.min_verdict_mass,
            generated_text=text,
        )

    def close(self) -> None:
        """Drop the model; verdicts made by it stay valid."""
        self.engine.close()

    def _texts(self, asked: Sequence[Asked], results: Sequence[Reading | ScoreError]) -> list[str | None]:
        readable = [i for i, result in enumerate(results) if isinstance(result, Reading)]
        texts: list[str | None] = [None] * len(asked)
        written = self.write([asked[i].prompt for i in readable], [results[i] for i in readable])  # type: ignore[misc]
        for i, text in zip(readable, written, strict=True):
            texts[i] = text
        return texts

    def _try_ask(self, value: object, policy: Policy | None, roles: RoleRules) -> Asked | ConversationError:
        if isinstance(value, ConversationError):
            return value
        try:
            return self.ask(parse_conversation(value), policy=policy, roles=roles)
        except ConversationError as error:
            return error

    def _probe(self) -> None:
        """Ask one harmless question: a guard that answers with neither verdict is asked wrongly."""
        prompt = self.ask(_PROBE).prompt
        for batch in self.read([prompt]):
            for _, result in batch:
                if isinstance(result, ScoreError):
                    raise LoadError(f"{self.name} could not score one short prompt: {result}", hint="Free memory.")
                if not result.is_readable(self.min_verdict_mass):
                    raise ProtocolError(
                        f"{self.name} does not answer safe or unsafe at the verdict position "
                        f"(verdict mass {result.verdict_mass:.2g}, at least {self.min_verdict_mass:g} is needed)",
                        hint="Is it a Llama Guard? min_verdict_mass=0 loads it anyway; its scores mean nothing then.",
                    )


def _check_parts(model: Any, tokenizer: Any, protocol: str | None) -> None:
    if protocol not in (None, llama_guard.NAME):
        raise ProtocolError(f"no protocol {protocol!r}", hint=f"There is {llama_guard.NAME!r}.")
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ProtocolError(
            f"{type(tokenizer).__name__} is no fast tokenizer", hint="Load it with AutoTokenizer (use_fast=True)."
        )
    template = getattr(tokenizer, "chat_template", None)
    if not isinstance(template, str) or not (protocol or llama_guard.recognises(template)):
        raise ProtocolError(
            "the tokenizer's chat template is not that of a Llama Guard 3"
            if template
            else "the tokenizer has no chat template",
            hint="Only the prompts of Llama Guard 3 (8B, 1B) are known so far; protocol='llama-guard-3' forces it.",
        )
    if model.config.get_text_config() is not model.config:
        raise ProtocolError(
            f"{type(model).__name__} reads images too, and the text part of such guards is not supported yet",
            hint="Llama-Guard-3-1B and -8B read text alone.",
        )
    if model.training:
        raise ProtocolError("the model is in training mode, where dropout makes scores random", hint="model.eval()")
