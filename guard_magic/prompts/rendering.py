"""Rendering messages to a prompt's text: by a tokenizer's own chat template, or by a family's written prompt.

Llama-Guard-3-8B's template wants a string; those of Llama-Guard-3-1B, -11B-Vision and Llama Guard 4 want a
list of typed parts, and some render a *string* as an empty conversation without any error: the guard would
then call everything safe. Which form a template reads is found out by looking for the text in what it renders.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Protocol

from guard_magic.errors import ConversationError, ProtocolError
from guard_magic.prompts.template_check import Printed, prints_only

__all__ = ["Chat", "ChatTemplate", "Renderer", "WrittenPrompt", "template_of", "typed"]

Chat = list[dict[str, Any]]
"""Messages as a chat template takes them."""
Messages = Sequence[dict[str, str]]
"""Messages as role and content."""
Options = Callable[[str], Mapping[str, Any]]
"""Role of the assessed message -> keyword arguments of the chat template."""

_PROBE = "zq00000form"


def typed(messages: Messages, parts: bool) -> Chat:
    """Return messages whose contents are strings, or each one a list that holds one text part."""
    if not parts:
        return [dict(message) for message in messages]
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def template_of(tokenizer: Any) -> str:
    """Return the text of a tokenizer's chat template, "" where it has none; of several, transformers uses "default".

    Raises
    ------
    ProtocolError
        Where it has several and none of this name.
    """
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, Mapping) and template:
        if "default" not in template:
            names = list(map(repr, template))
            raise ProtocolError(
                f"the tokenizer has chat templates called {', '.join(names)}, and none is the default",
                hint=f"Choose the guard's: tokenizer.chat_template = tokenizer.chat_template[{names[0]}].",
            )
        template = template["default"]
    return template if isinstance(template, str) else ""


class Renderer(Protocol):
    """What turns messages into the text of a prompt."""

    @property
    def source(self) -> str:
        """The template's own text: its control tokens are the template's alone."""

    @property
    def printed(self) -> Printed:
        """What surely becomes of contents, whatever they say."""

    def render(self, messages: Messages) -> str:
        """Return the text of the prompt, control tokens included."""

    def sanitised_ids(self, messages: Messages) -> list[int]:
        """Return token ids by a way that keeps contents from making control tokens, or raise."""


class ChatTemplate:
    """A tokenizer's own chat template.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer with a chat template; never changed.
    options
        Gives the template's keyword arguments by the role of the assessed message.
    instruction
        Gives the text of a user message put behind the conversation, by the role of the assessed message; None for no
        such message.
    """

    def __init__(
        self,
        tokenizer: Any,
        options: Options | None = None,
        *,
        instruction: Callable[[str], str] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self._options = options or (lambda role: {})
        self._instruction = instruction

    @property
    def source(self) -> str:
        """The template's own text."""
        return template_of(self.tokenizer)

    @property
    def printed(self) -> Printed:
        """What the template surely does with contents; read anew where a caller has put another one in its place."""
        template = template_of(self.tokenizer)
        return prints_only(template, self.takes_parts) if template else "unknown"

    @cached_property
    def takes_parts(self) -> bool:
        """Whether the template reads typed parts and nothing else.

        A template that shows a string takes strings; one that shows neither form is refused later, when its
        skeleton is built.
        """
        for parts in (False, True):
            with suppress(Exception):  # whatever a template raises
                if _PROBE in self._apply([{"role": "user", "content": _PROBE}], parts):
                    return parts
        return False

    def render(self, messages: Messages) -> str:
        """Return the text of the prompt, control tokens included."""
        return self._apply(messages, self.takes_parts)

    def sanitised_ids(self, messages: Messages) -> list[int]:
        """Return token ids by transformers' own sanitizing render (5.20 or newer)."""
        apply = self.tokenizer.apply_chat_template
        if "sanitize_control_tokens" not in inspect.signature(apply).parameters:
            raise ConversationError(
                "the guard's template changes this text, so it cannot be asked about exactly",
                hint="Shorten or simplify the text; transformers 5.20 or newer can render more of such rows.",
            )
        chat, options = self._asked(messages, self.takes_parts)
        return list(apply(chat, tokenize=True, return_dict=False, sanitize_control_tokens=True, **options))

    def _apply(self, messages: Messages, parts: bool) -> str:
        if not self.source:
            raise ProtocolError(
                "the tokenizer has no chat template",
                hint="Set tokenizer.chat_template to the guard's own, or load the guard's own tokenizer.",
            )
        chat, options = self._asked(messages, parts)
        return str(self.tokenizer.apply_chat_template(chat, tokenize=False, **options))

    def _asked(self, messages: Messages, parts: bool) -> tuple[Chat, Mapping[str, Any]]:
        role = messages[-1]["role"]
        behind = [] if self._instruction is None else [{"role": "user", "content": self._instruction(role)}]
        return typed([*messages, *behind], parts), self._options(role)


class WrittenPrompt:
    """A prompt that its family's authors publish as text, for models without a chat template of their own.

    Parameters
    ----------
    write
        Messages -> the text of the prompt, control tokens included.
    source
        Text that holds every control token the prompt may hold.
    """

    def __init__(self, write: Callable[[Messages], str], source: str) -> None:
        self._write = write
        self.source = source
        self.printed: Printed = "unknown"

    def render(self, messages: Messages) -> str:
        """Return the text of the prompt, control tokens included."""
        return self._write(messages)

    def sanitised_ids(self, messages: Messages) -> list[int]:
        """There is no second way: the row is refused."""
        raise ConversationError(
            "this text cannot be put into the guard's prompt exactly", hint="Shorten or simplify the text."
        )
