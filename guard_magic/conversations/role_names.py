"""Who speaks in a conversation: the four roles, and the names that chat logs give them.

One list serves messages and transcripts alike: what is a role in the one is a marker in the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

__all__ = ["PEOPLE", "ROLE_ALIASES", "ROLE_HINT", "Role"]

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
    **dict.fromkeys(("nutzer", "benutzer", "usuario", "usuário", "utilisateur", "utente", "gebruiker"), "user"),
    **dict.fromkeys(("пользователь", "用户", "用戶", "ユーザー", "사용자"), "user"),
    **dict.fromkeys(("assistent", "asistente", "assistente", "ассистент", "助手", "アシスタント"), "assistant"),
}
"""Role names of common chat logs (OpenAI, ShareGPT, Gemini, Llama, OASST) and the role each one is.

The last ones are the words that translated data sets have for user and assistant.
"""

PEOPLE = frozenset(name for name, role in ROLE_ALIASES.items() if role in ("user", "assistant") and name != "model")
"""Names that are hardly ever said of anything but a speaker."""

_ENGLISH = list(ROLE_ALIASES)[: list(ROLE_ALIASES).index("nutzer")]
ROLE_HINT = f"Known roles: {', '.join(sorted(_ENGLISH))}, and the words for user and assistant in other languages."
