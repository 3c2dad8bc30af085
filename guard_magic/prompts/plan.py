"""A prompt plan: conversation -> token ids up to the verdict position, for one tokenizer and way of asking.

The plan is exact and safe at once. *Exact*: for ordinary contents its ids equal plain tokenization of the
rendered prompt. *Safe*: control tokens come from the template alone, whatever the contents say; each row is
checked, and a row that fails its check goes the slower native way or is refused. Nothing is guessed.

Covered are prompts of roles and contents, as strings or typed text parts; images, tools and documents are not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any

from guard_magic.aside import do_together
from guard_magic.conversations.conversation import Conversation, Role
from guard_magic.errors import ConversationError, ProtocolError
from guard_magic.prompts.layout import PROBES, Known, Layout, lay_out
from guard_magic.prompts.rendering import Renderer
from guard_magic.prompts.skeleton import Skeleton, build_skeleton, common_prefix, split_segments
from guard_magic.prompts.structure import Structure
from guard_magic.prompts.text_only import Behind, TextTokenizers, control_tokens, text_only_copies
from guard_magic.prompts.tokenizer_cuts import find_cut

__all__ = ["PROBES", "Prompt", "PromptPlan"]

_MAX_LAYOUTS = 256
"""Sequences of roles whose layout is kept; a layout costs one render of the template (about 5 ms)."""

_MOST_COMPARED = 32
"""Messages of a sequence of roles that is compared whenever it is new: a long conversation, message by message, has a
new one each time."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of one conversation up to the verdict position.

    Attributes
    ----------
    ids
        All ids, the forced whitespace included: the next token is the verdict.
    n_prefix
        How many leading ids are the same for every conversation of this plan and assessed role.
    n_neutralised
        Pieces of structural text in the contents that were rewritten.
    """

    ids: tuple[int, ...]
    n_prefix: int
    n_neutralised: int = 0


@dataclass(slots=True)
class _Draft:
    """A conversation on its way to a prompt; `rendered` only where stretches do not give what the template gives."""

    layout: Layout
    contents: list[str]
    n_neutralised: int
    rendered: str | None = None


@dataclass
class PromptPlan:
    """How one tokenizer asks one question.

    Parameters
    ----------
    tokenizer
        A transformers fast tokenizer; never changed.
    renderer
        Messages -> the text of the prompt, by the tokenizer's chat template or as the family's authors wrote it.
    structure
        Structural text to neutralise in contents.
    edit
        Rewrites the template's own text ahead of the conversation (its policy block) before it is tokenized; by
        default nothing.
    answer_prefix
        What the guard writes before its verdict.
    word
        A verdict word, one token after `answer_prefix`.
    like
        Another plan of the same tokenizer, whose text-only copy is shared: making one takes seconds for a
        large vocabulary.
    """

    tokenizer: Any
    renderer: Renderer
    structure: Structure
    edit: Callable[[str], str] = str
    answer_prefix: str = "\n\n"
    word: str = "safe"
    like: InitVar[PromptPlan | None] = None
    tokenizers: TextTokenizers = field(init=False, repr=False)
    _layouts: OrderedDict[tuple[Role, ...], Layout] = field(default_factory=OrderedDict, init=False, repr=False)
    _known: Known = field(default_factory=Known, init=False, repr=False, compare=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)

    def __post_init__(self, like: PromptPlan | None) -> None:
        self.tokenizers = like.tokenizers if like else text_only_copies(self.tokenizer, self.control)

    @cached_property
    def control(self) -> dict[str, int]:
        """Text -> id of the tokens that only the template may write."""
        return control_tokens(self.tokenizer, self.renderer.source)

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of `control`."""
        return frozenset(self.control.values())

    def answers(self, roles: tuple[Role, ...], contents: Sequence[str]) -> Callable[[str], tuple[int, ...]]:
        """Return what tokenizes an answer together with the prompt ahead of it, the ordinary way."""
        prompt = self._layout(roles).asked.fill(contents)

        def tokenize(answer: str) -> tuple[int, ...]:
            return tuple(self.tokenizer(prompt + answer, add_special_tokens=not self._writes_bos)["input_ids"])

        return tokenize

    @cached_property
    def strips(self) -> bool:
        """Whether the template strips whitespace around contents."""
        padded = self.renderer.render([{"role": "user", "content": "  zqstripped \n"}])
        return padded == self._layout(("user",)).own.fill(["zqstripped"])

    @cached_property
    def is_exact(self) -> bool:
        """Whether tokenizing stretch by stretch equals plain tokenization on neutral contents.

        Where it does not (tokenizers whose control tokens swallow spaces), every row goes the native way.
        """
        pairs = [(probe, PROBES[-1 - i]) for i, probe in enumerate(PROBES)]
        singles = all(self._stretches(self._layout(("user",)), [p]) == self._plain(("user",), [p]) for p in PROBES)
        roles: tuple[Role, ...] = ("user", "assistant")
        return singles and all(self._stretches(self._layout(roles), pair) == self._plain(roles, pair) for pair in pairs)

    def least_tokens(self, conversation: Conversation, enough: int) -> int:
        """Return a number of tokens that the prompt has at the least, without making it.

        Where the tokenizer never puts two words into one token, words are counted: the first and the last of a message
        may be one with the template's own. They are not counted where that could not come to more than `enough`.
        """
        n_template = self._turn * len(conversation)
        n_characters = sum(len(message.content) for message in conversation.messages)
        if n_template + n_characters // 2 <= enough or not self._parts_words:
            return n_template
        return n_template + sum(max(len(message.content.split()) - 2, 0) for message in conversation.messages)

    @cached_property
    def _parts_words(self) -> bool:
        return self.is_exact and find_cut(self.tokenizers.joined, "\na") is not None

    @cached_property
    def _turn(self) -> int:
        """Tokens that the template writes for each message, at the least; 0 where that is not known."""
        chat: tuple[Role, ...] = ("user", "assistant") * 4
        try:
            few, many = (len(self._stretches(self._layout(chat[:n]), ["x"] * n)) for n in (4, 8))
        except ProtocolError:  # templates that take no more than one exchange
            return 0
        return max((many - few) // 4 - 1, 0) if self.is_exact else 0

    def render(self, conversation: Conversation) -> str:
        """Return the exact text of the prompt, up to the verdict position.

        Control tokens in the contents stand in this text as characters; only in `prompt` are they harmless.
        """
        contents, _ = self._contents(conversation)
        return self._layout(conversation.roles).asked.fill(contents) + self.answer_prefix

    def show(self, conversation: Conversation) -> str:
        """Return what the template itself renders, unchanged: what a caller without this package would get."""
        contents = [message.content for message in conversation.messages]
        return self.renderer.render(_messages(conversation.roles, contents))

    def prompt(self, conversation: Conversation) -> Prompt:
        """Return the token ids of a conversation up to the verdict position.

        Raises
        ------
        ConversationError
            Where the contents cannot be asked about safely and exactly.
        """
        (found,) = self.prompts([conversation])
        if isinstance(found, ConversationError):
            raise found
        return found

    def prompts(self, conversations: Sequence[Conversation]) -> list[Prompt | ConversationError]:
        """Return the prompt of each conversation, in order, or why there is none; faster than one by one.

        Texts are tokenized together. Where the template is proved to do nothing but print contents
        (`template_check`), only the first conversation of each sequence of roles is rendered, to be compared all the
        same, and one of those that are long.
        """
        compared: set[tuple[Role, ...]] = set()
        drafts = [self._draft(conversation, compared) for conversation in conversations]
        return do_together(_Draft, drafts, self._finish_all)

    def _finish_all(self, drafts: Sequence[_Draft]) -> list[Prompt | ConversationError]:
        plain = [draft for draft in drafts if draft.rendered is None]
        encoded = iter(self.tokenizers.encode([text for draft in plain for text in draft.layout.texts(draft.contents)]))
        return [self._finish(draft, encoded) for draft in drafts]

    def _draft(self, conversation: Conversation, compared: set[tuple[Role, ...]]) -> _Draft | ConversationError:
        roles = conversation.roles
        layout = self._layout(roles)
        draft = _Draft(layout, *self._contents(conversation))
        is_known = roles in compared or (len(roles) > _MOST_COMPARED and compared)
        if is_known and self.is_exact and self._prints_only:
            return draft
        try:
            rendered = self.renderer.render(_messages(roles, draft.contents))
        except Exception as error:  # whatever a template raises
            refusal = ConversationError(f"the guard's template refuses this conversation: {error}")
            refusal.__cause__ = error
            return refusal
        if not self.is_exact or layout.own.fill(draft.contents) != rendered:
            draft.rendered = rendered
        else:
            compared.add(roles)
        return draft

    def _finish(self, draft: _Draft, encoded: Iterator[list[int]]) -> Prompt | ConversationError:
        layout = draft.layout
        try:
            if draft.rendered is not None:
                ids = self._native(layout, draft.contents, draft.rendered)
                self._check_control(ids, layout)
                return Prompt(ids, common_prefix([layout.head, ids]), draft.n_neutralised)
            encodings = [next(encoded) for _ in range(layout.n_texts)]
            ids = layout.ids(iter(encodings))
            if not layout.is_clean or not all(map(self.control_ids.isdisjoint, encodings)):
                self._check_control(ids, layout)
            return Prompt(ids, len(layout.head), draft.n_neutralised)
        except ConversationError as error:
            return error

    @property
    def _prints_only(self) -> bool:
        """Whether the template surely prints contents as `_contents` gives them."""
        printed = self.renderer.printed
        return printed == "as they are" or (printed == "stripped" and self.strips)

    def _contents(self, conversation: Conversation) -> tuple[list[str], int]:
        pairs = [self.structure.neutralise(message.content) for message in conversation.messages]
        return [text.strip() if self.strips else text for text, _ in pairs], sum(n for _, n in pairs)

    def _check_control(self, ids: Sequence[int], layout: Layout) -> None:
        if tuple(i for i in ids if i in self.control_ids) != layout.control:
            raise ConversationError(
                "the text would write the guard's own control tokens into the prompt",
                hint="Remove the control tokens from the text; the row is not scored.",
            )

    def _layout(self, roles: tuple[Role, ...]) -> Layout:
        found = self._layouts.get(roles)
        if found is None:
            with self._lock:
                found = self._layouts[roles] = self._build_layout(roles)
                if len(self._layouts) > _MAX_LAYOUTS:
                    self._layouts.popitem(last=False)
        return found

    def _build_layout(self, roles: tuple[Role, ...]) -> Layout:
        own = build_skeleton(self.renderer.render, roles)
        asked = Skeleton(roles, (self.edit(own.texts[0]), *own.texts[1:]))
        tail = f"{asked.texts[-1]}{self.answer_prefix}{self.word}"
        return lay_out(
            own,
            asked,
            split_segments((*asked.texts[:-1], tail), self.control),
            bos=self._bos,
            control=self.control_ids,
            tokenizers=self.tokenizers,
            encode=self._encode,
            known=self._known,
        )

    @cached_property
    def _bos(self) -> tuple[int, ...]:
        """Ids that plain tokenization puts first: none where the template writes its own."""
        if self._writes_bos:
            return ()
        with_added = list(self.tokenizer("a")["input_ids"])
        plain = list(self.tokenizer("a", add_special_tokens=False)["input_ids"])
        return tuple(with_added[: len(with_added) - len(plain)]) if with_added[-1:] == plain[-1:] else ()

    @cached_property
    def _writes_bos(self) -> bool:
        bos = self.tokenizer.bos_token
        return bos is None or bos in self.renderer.render([{"role": "user", "content": "x"}])

    def _stretches(self, layout: Layout, contents: Sequence[str]) -> tuple[int, ...]:
        """Tokenize stretch by stretch, up to the verdict position."""
        return layout.ids(iter(self.tokenizers.encode(layout.texts(contents))))

    def _encode(self, text: str, behind: Behind) -> tuple[int, ...]:
        return tuple(self.tokenizers.encode([(text, behind)])[0])

    def _plain(self, roles: tuple[Role, ...], contents: Sequence[str]) -> tuple[int, ...]:
        """Tokenize the whole prompt the ordinary way; for contents without control tokens only."""
        return self.answers(roles, contents)(self.answer_prefix + self.word)[:-1]

    def _native(self, layout: Layout, contents: Sequence[str], rendered: str) -> tuple[int, ...]:
        """Tokenize by the renderer's own sanitizing way; slower, and only for the template's own policy."""
        if layout.asked != layout.own:
            raise ConversationError(
                "the guard's template changes this text, so it cannot be asked about exactly under another policy",
                hint="Shorten or simplify the text, or ask about the guard's own policy.",
            )
        if not all(content in rendered for content in contents):
            raise ConversationError(
                "the guard's template cuts or hides part of this text, so the guard would judge what it has not read",
                hint="Shorten the text; nothing is scored by a part of it.",
            )
        ids = self.renderer.sanitised_ids(_messages(layout.own.roles, contents))
        plain = ["x"] * len(contents)
        answer_prefix = self._plain(layout.own.roles, plain)
        bare = self.answers(layout.own.roles, plain)("")
        if bare != answer_prefix[: len(bare)]:
            raise ConversationError("the guard's template and tokenizer merge the prompt's end", hint="Not supported.")
        return (*self._bos, *ids, *answer_prefix[len(bare) :])


def _messages(roles: Sequence[Role], contents: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
