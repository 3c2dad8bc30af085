"""Who speaks in a conversation: the four roles, and the names that chat logs give them.

One list serves messages and transcripts alike: what is a role in the one is a marker in the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

__all__ = ["ROLE_ALIASES", "ROLE_HINT", "Role"]

Role = Literal["user", "assistant", "system", "tool"]

ROLE_ALIASES: Mapping[str, Role] = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "agent": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
    "function_call": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}
"""Role names of common chat logs (OpenAI, ShareGPT, Gemini, Llama, OASST) and the role each one is."""

ROLE_HINT = f"Known roles: {', '.join(sorted(ROLE_ALIASES))}."
