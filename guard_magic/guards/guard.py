"""A guard: a loaded model with its protocol.

It turns conversations into prompts, prompts into readings (one forward pass for verdict and hazards), and
readings into verdicts. It holds no threshold, no current policy and no cache: those are the session's.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

from guard_magic.callers import warn_caller
from guard_magic.characters import spell_hidden
from guard_magic.checks import checked_flag, checked_guard_name, checked_share
from guard_magic.conversations.conversation import Conversation, parse_conversation
from guard_magic.conversations.roles import RoleRules, adapt_roles, checked_roles
from guard_magic.engine.local import LocalEngine
from guard_magic.errors import ConversationError, GuardError, LoadError, ScoreError, UnknownGuardError
from guard_magic.families.base import GuardFamily, Questionnaire
from guard_magic.families.registry import checked_protocol, find_protocol
from guard_magic.guards.encoded import Encoded, checked_conversations, make_keys, try_parse_all
from guard_magic.guards.encoder import Encoder
from guard_magic.guards.evidence import check_parts, evidence_of, try_model
from guard_magic.guards.judging import judge_rows
from guard_magic.guards.probe import choose_answer_prefix
from guard_magic.guards.reading import read_rows, write_rows
from guard_magic.guards.request import Request, encode_rows
from guard_magic.policy import Policy, as_policy
from guard_magic.verdict import Reading, Verdicts

__all__ = ["Encoded", "Guard"]

_UNIQUE = itertools.count(1)


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
        None to recognise the family by architecture, chat template and tokenizer, or the name of one
        (``"llama-guard-3"``, ``"shieldgemma"`` …) to force it.
    compile
        Whether layers go through ``torch.compile``: large tables are scored faster, after a while of compiling. A
        guard whose rows cannot be packed is not compiled, with a `GuardWarning`. Experimental: no GPU has measured it
        yet.
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
        compile: bool = False,
        min_verdict_mass: float = 0.9,
        is_embedded: bool = False,
    ) -> None:
        self.name = checked_guard_name(name)
        self.min_verdict_mass = checked_share("min_verdict_mass", min_verdict_mass, LoadError)
        compiles = checked_flag("compile", compile, LoadError)
        checked_protocol(protocol)
        check_parts(model, tokenizer)
        self.revision = revision
        self.is_embedded = is_embedded
        self.engine = LocalEngine(model, compiles=compiles)
        with self.engine.lock:
            try_model(self.engine.look().own, name)
        self.family: GuardFamily = find_protocol(evidence_of(model, tokenizer, name), protocol)
        self._tokenizer = tokenizer
        self._identity = identity or f"{name}#{next(_UNIQUE)}"
        self._encoder = Encoder(name, self.family, tokenizer, lambda: self.n_context)
        choose_answer_prefix(self._encoder, self.engine, self.min_verdict_mass)
        if compiles and not self.engine.packs:
            warn_caller(
                f"compile=True changes nothing for {name}: its rows are padded, and only packed ones are compiled"
            )
        self.policy = self.questionnaire(None).policy

    def __repr__(self) -> str:
        state = f"{self.protocol}, {self.device}, {self.dtype}" if self.is_loaded else "unloaded"
        return f"<Guard {spell_hidden(self.label)} ({state})>"

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

    @property
    def n_even(self) -> int:
        """Length of a prompt, in tokens, at which attention takes about as many operations as all else."""
        return 6 * int(self.model.config.get_text_config().hidden_size)

    def room(self, policy: Policy | None = None) -> int:
        """Return how many tokens of the context are left for a conversation, about."""
        return self._encoder.room(policy)

    @property
    def protocol(self) -> str:
        """Name of the way it is asked."""
        return self.family.name

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the other answers that its verdicts carry."""
        return self.questionnaire(None).answer_names

    def questionnaire(self, policy: object) -> Questionnaire:
        """Return how this guard asks about `policy` (None: its own), whatever `as_policy` reads."""
        return self._encoder.questionnaire(policy)

    def resolve_policy(self, policy: object = None, exclude: Iterable[str] | None = ()) -> Policy:
        """Return the policy that is asked about: `policy` (None: the guard's own), less `exclude`.

        Raises
        ------
        PolicyError
            For unknown codes, or where the guard's prompt carries no policy.
        """
        found = (self.policy if policy is None else as_policy(policy)).without(exclude)
        self.questionnaire(None if found == self.policy else found)
        return found

    def render(self, conversation: object, *, policy: object = None, roles: RoleRules = "merge") -> str:
        """Return the exact prompt text, up to the verdict position; of the first question, where there are several."""
        adapted, _ = adapt_roles(parse_conversation(conversation), roles, self.family.roles)
        return self.questionnaire(policy).render(adapted)

    def tokens(self, conversation: object, *, policy: object = None, roles: RoleRules = "merge") -> list[int]:
        """Return the exact token ids, up to the verdict position; of the first question, where there are several."""
        return list(self.encode(conversation, policy=policy, roles=roles).prompt.ids)

    def encode(self, conversation: object, *, policy: object = None, roles: RoleRules = "merge") -> Encoded:
        """Encode one conversation: whatever `parse_conversation` reads.

        Raises
        ------
        ConversationError
            Where its roles do not fit, its text cannot be asked about safely, or it is too long.
        """
        plan = None if policy is None else as_policy(policy)
        (found,) = self.encode_all([parse_conversation(conversation)], policy=plan, roles=checked_roles(roles))
        if isinstance(found, ConversationError):
            raise found
        return found

    def encode_all(
        self, conversations: Sequence[Conversation], *, policy: Policy | None = None, roles: RoleRules = "merge"
    ) -> list[Encoded | ConversationError]:
        """Encode conversations, in order; one that `encode` refuses is its error. Faster than one by one."""
        return self._encoder.encode_all(conversations, policy, roles)

    def fits(self, conversation: Conversation, *, policy: Policy | None = None, roles: RoleRules = "merge") -> bool:
        """Say whether a conversation is short enough for the guard; what else `encode` refuses is raised here too."""
        return self._encoder.fits(conversation, policy, roles)

    def keys(self, encoded: Sequence[Encoded]) -> list[bytes]:
        """Return the cache key of each row: token ids + guard identity + number format + what is read."""
        change = self.engine.look(closely=True).change
        return make_keys(encoded, f"{self._identity}{change}|{self.dtype}|{self.protocol}|")

    def look(self) -> object:
        """Return what tells this model, as it is now, from what it may become: `check` compares."""
        return self.engine.look(closely=True)

    def check(self, seen: object) -> None:
        """Raise `ScoreError` where the model is not what `look` saw: readings from then on are of other weights."""
        self.engine.check(seen)

    def read(
        self,
        rows: Sequence[Encoded],
        *,
        policy: Policy | None = None,
        groups: Sequence[Hashable] | None = None,
        alone: bool = False,
    ) -> Iterator[list[tuple[int, Reading | ScoreError]]]:
        """Read rows, yielding after each batch.

        Equal rows are asked once.

        Parameters
        ----------
        rows
            Encoded conversations.
        policy
            What they were encoded for.
        groups
            For each row, whose beginning it shares: rows of one group are cuts of one conversation, and what their
            prompts have in common is computed once. None where no rows belong together.
        alone
            Whether each row is read by itself, whole and in float32 whatever the weights' format: many times slower,
            and the same numbers whatever else is asked.

        Yields
        ------
        list of (int, Reading or ScoreError)
            Position in `rows`, and the reading or why there is none; each position exactly once over all batches, in
            the engine's own order. A batch may complete no row.
        """
        return read_rows(self.engine, self.questionnaire(policy), rows, groups, alone=alone)

    def write(
        self, rows: Sequence[Encoded], readings: Sequence[Reading], *, policy: Policy | None = None
    ) -> Iterator[list[tuple[int, str | None]]]:
        """Write the guard's text of each row, yielding after each batch.

        It is decoded for rows whose more probable verdict is not safe, whatever the threshold; for the
        others it is ``"safe"``, the verdict that greedy decoding begins with. Where a guard is asked hazard by
        hazard, it is the answer about the hazard with the highest score.

        Yields
        ------
        list of (int, str or None)
            Position in `rows`, each exactly once, and the text; None where memory ran out for the row. First those
            that are known without decoding, even if there are none.
        """
        return write_rows(self.engine, self._tokenizer, self.questionnaire(policy), rows, readings)

    def score(
        self,
        conversations: Iterable[object],
        *,
        policy: object = None,
        exclude: Iterable[str] | None = (),
        threshold: float = 0.5,
        roles: RoleRules = "merge",
        generate: bool = False,
    ) -> Verdicts:
        """Score conversations, without session or cache.

        Parameters
        ----------
        conversations
            Anything `parse_conversation` reads, one a row: a list, a Series, an array, or an iterator, which is read
            once.
        policy, exclude
            The hazards asked about; None for the guard's own.
        threshold
            `unsafe_score` from which a row is flagged, in [0, 1].
        roles
            What to do with roles the guard's template has no room for.
        generate
            Whether to add the text the guard writes.

        Returns
        -------
        Verdicts
            In the order of `conversations`; rows that could not be scored carry their error.

        Raises
        ------
        ConversationError
            Where `conversations` is one conversation, a table, or has no order.
        GuardError
            For an option that cannot be used, before any work.
        """
        values = checked_conversations(conversations)
        flag_at, writes = checked_share("threshold", threshold), checked_flag("generate", generate)
        request = Request(self, self.resolve_policy(policy, exclude), flag_at, checked_roles(roles), writes)
        rows = list(encode_rows(try_parse_all(values), request))
        verdicts, _ = judge_rows(rows, request)
        return Verdicts(verdicts, request.policy, self.answer_names)

    def close(self) -> None:
        """Drop the model; verdicts made by it stay valid."""
        self.engine.close()

    def forget(self) -> None:
        """Take the model for another one from now on: nothing that was computed before is used again."""
        self.engine.forget()

    def __copy__(self) -> Guard:
        made = object.__new__(type(self))
        made.__dict__ |= self.__dict__
        return made

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        raise GuardError(
            f"guard {self.name!r} cannot be pickled or copied: it holds a model",
            hint="Load it where it is needed, guard_magic.load(...) once in each process; verdicts can be pickled.",
        )
