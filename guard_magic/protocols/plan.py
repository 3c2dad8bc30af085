"""A prompt plan: conversation -> token ids up to the verdict position, for one tokenizer and way of asking.

The plan is exact and safe at once. *Exact*: for ordinary contents its ids equal plain tokenization of the
rendered prompt. *Safe*: control tokens come from the template alone, whatever the contents say; each row is
checked, and a row that fails its check goes the slower native way or is refused. Nothing is guessed.

What is covered: prompts rendered from roles and contents, as strings or as typed text parts. What is not:
templates that read images, tools or documents.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any, Literal

from tokenizers import Tokenizer

from guard_magic.conversation import Conversation, Role
from guard_magic.errors import ConversationError
from guard_magic.protocols.chain import common_prefix
from guard_magic.protocols.rendering import Renderer
from guard_magic.protocols.skeleton import Segment, Skeleton, build_skeleton, split_segments
from guard_magic.protocols.structure import Structure
from guard_magic.protocols.text_only import TextTokenizers, control_tokens, text_only_copies

__all__ = ["PROBES", "Prompt", "PromptPlan"]

PROBES = (
    "Hello there",
    "7",
    "é",
    '"Quoted," she said.',
    "...and then?!",
    "日本語のテキスト",
    "🙂",
    "user@example.com",
    "x\n\ny",
    "(a) 1.5% of $20",
    "def f(x):\n    return x",
    "مرحبا",
)
"""Contents that begin and end in every way a pre-tokenizer treats differently; no control tokens."""

Behind = Literal["start", "inside", "joined"]
"""What stands ahead of a stretch of text: nothing, a control token, or other text."""

_MAX_LAYOUTS = 256
"""Sequences of roles whose layout is kept; a layout costs one render of the template (about 5 ms)."""


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


@dataclass(frozen=True, slots=True)
class _Layout:
    """What is fixed for one sequence of roles; `behind`: what stands ahead of `segments`."""

    own: Skeleton
    asked: Skeleton
    segments: tuple[Segment, ...]
    head: tuple[int, ...]
    control: tuple[int, ...]
    behind: Behind


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
    lead
        What the guard writes before its verdict.
    word
        A verdict word, one token after `lead`.
    like
        Another plan of the same tokenizer, whose text-only copy is shared: making one takes seconds for a
        large vocabulary.
    """

    tokenizer: Any
    renderer: Renderer
    structure: Structure
    edit: Callable[[str], str] = str
    lead: str = "\n\n"
    word: str = "safe"
    like: InitVar[PromptPlan | None] = None
    tokenizers: TextTokenizers = field(init=False, repr=False)
    _layouts: OrderedDict[tuple[Role, ...], _Layout] = field(default_factory=OrderedDict, init=False, repr=False)

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

    def render(self, conversation: Conversation) -> str:
        """Return the exact text of the prompt, up to the verdict position.

        Control tokens in the contents stand in this text as characters; only in `prompt` are they harmless.
        """
        contents, _ = self._contents(conversation)
        return self._layout(conversation.roles).asked.fill(contents) + self.lead

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
        layout = self._layout(conversation.roles)
        contents, count = self._contents(conversation)
        try:
            rendered = self.renderer.render(_messages(conversation.roles, contents))
        except Exception as error:  # whatever a template raises
            raise ConversationError(f"the guard's template refuses this conversation: {error}") from error
        if self.is_exact and layout.own.fill(contents) == rendered:
            ids = self._stretches(layout, contents)
            self._check_control(ids, layout)
            return Prompt(ids, len(layout.head), count)
        ids = self._native(layout, contents, rendered)
        self._check_control(ids, layout)
        return Prompt(ids, common_prefix([layout.head, ids]), count)

    def _contents(self, conversation: Conversation) -> tuple[list[str], int]:
        pairs = [self.structure.neutralise(message.content) for message in conversation.messages]
        return [text.strip() if self.strips else text for text, _ in pairs], sum(n for _, n in pairs)

    def _check_control(self, ids: Sequence[int], layout: _Layout) -> None:
        if tuple(i for i in ids if i in self.control_ids) != layout.control:
            raise ConversationError(
                "the text would write the guard's own control tokens into the prompt",
                hint="Remove the control tokens from the text; the row is not scored.",
            )

    def _layout(self, roles: tuple[Role, ...]) -> _Layout:
        found = self._layouts.get(roles)
        if found is None:
            found = self._layouts[roles] = self._build_layout(roles)
            if len(self._layouts) > _MAX_LAYOUTS:
                self._layouts.popitem(last=False)
        return found

    def _build_layout(self, roles: tuple[Role, ...]) -> _Layout:
        own = build_skeleton(self.renderer.render, roles)
        asked = Skeleton(roles, (self.edit(own.pieces[0]), *own.pieces[1:]))
        tail = f"{asked.pieces[-1]}{self.lead}{self.word}"
        segments = split_segments((*asked.pieces[:-1], tail), self.control)
        whole = _Layout(own, asked, segments, (), (), "start")
        control = tuple(i for i in self._stretches(whole, ["x"] * len(roles)) if i in self.control_ids)
        head, rest, behind = self._split_head(segments)
        return _Layout(own, asked, rest, head, control, behind)

    def _split_head(self, segments: tuple[Segment, ...]) -> tuple[tuple[int, ...], tuple[Segment, ...], Behind]:
        """Split off the leading tokens that no content can change; say what they leave ahead of the rest.

        The cut lies inside the template's own text, one token before the first that differs between probes,
        and is used only where both sides tokenized apart give what they give together.
        """
        at = next(i for i, segment in enumerate(segments) if segment.has_slots)
        opening = segments[at].parts[0]
        fixed = self._bos + self._ids(segments[:at], [], "start")
        behind: Behind = "inside" if at else "start"
        if not isinstance(opening, str):
            return fixed, segments[at:], behind
        tokenizer: Tokenizer = getattr(self.tokenizers, behind)
        encodings = [tokenizer.encode(opening + probe, add_special_tokens=False) for probe in PROBES]
        shared = common_prefix([encoding.ids for encoding in encodings]) - 1
        cut = encodings[0].offsets[shared][0] if shared > 0 else 0
        left, right = opening[:cut], opening[cut:]
        head = self._encode(left, behind)
        rests = [self._encode(right + probe, "joined") for probe in PROBES]
        if not left or any((*head, *rest) != tuple(e.ids) for rest, e in zip(rests, encodings, strict=True)):
            return fixed, segments[at:], behind
        first = Segment(None, (right, *segments[at].parts[1:]))
        return fixed + head, (first, *segments[at + 1 :]), "joined"

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

    def _stretches(self, layout: _Layout, contents: Sequence[str]) -> tuple[int, ...]:
        """Tokenize stretch by stretch, up to the verdict position (the last token written is `word`)."""
        return (*(layout.head or self._bos), *self._ids(layout.segments, contents, layout.behind))[:-1]

    def _ids(self, segments: Sequence[Segment], contents: Sequence[str], behind: Behind) -> tuple[int, ...]:
        ids: list[int] = []
        for segment in segments:
            if segment.token_id is None:
                ids += self._encode(segment.text(contents), behind)
            else:
                ids.append(segment.token_id)
            behind = "inside"
        return tuple(ids)

    def _encode(self, text: str, behind: Behind) -> tuple[int, ...]:
        tokenizer: Tokenizer = getattr(self.tokenizers, behind)
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    def _plain(self, roles: tuple[Role, ...], contents: Sequence[str]) -> tuple[int, ...]:
        """Tokenize the whole prompt the ordinary way; for contents without control tokens only."""
        return self.answers(roles, contents)(self.lead + self.word)[:-1]

    def _native(self, layout: _Layout, contents: Sequence[str], rendered: str) -> tuple[int, ...]:
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
        lead = self._plain(layout.own.roles, plain)
        bare = self.answers(layout.own.roles, plain)("")
        if bare != lead[: len(bare)]:
            raise ConversationError("the guard's template and tokenizer merge the prompt's end", hint="Not supported.")
        return (*self._bos, *ids, *lead[len(bare) :])


def _messages(roles: Sequence[Role], contents: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
