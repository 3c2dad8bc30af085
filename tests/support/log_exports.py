"""Small exports of other programs, rebuilt with text written for this project, for the conversions of docs/files.md.

Each has more than messages: what the conversion has to keep, or to leave to the reading, which counts or refuses it.
"""

from __future__ import annotations

from typing import Any

from chat_logs import ANSWERED, ASKED, CALL, CONVERTED, OPENAI, PAIR, Pairs

EXTRACTED = "Chapter one, on leaves."
CODE = "brew(tea='black', minutes=4)"


def _node(name: str, parent: str | None, role: str, **content: Any) -> dict[str, Any]:
    message = {"author": {"role": role}, "content": content, "metadata": {"model_slug": "some-model"}}
    return {"id": name, "message": message, "parent": parent, "children": []}


_CHATGPT = {
    "title": "Tea",
    "mapping": {
        "root": {"id": "root", "message": None, "parent": None, "children": ["a"]},
        "a": _node("a", "root", "system", content_type="text", parts=[""]),
        "b": _node("b", "a", "user", content_type="text", parts=[ASKED]),
        "c": _node("c", "b", "assistant", content_type="thoughts", thoughts=[{"content": "They want caffeine."}]),
        "d": _node("d", "c", "assistant", content_type="code", language="python", text=CODE),
        "e": _node("e", "d", "tool", content_type="execution_output", text="40 mg"),
        "f": _node("f", "e", "assistant", content_type="text", parts=[ANSWERED]),
    },
    "current_node": "f",
}
_CLAUDE = {
    "name": "Tea",
    "chat_messages": [
        {
            "sender": "human",
            "text": ASKED,
            "attachments": [{"file_name": "leaves.txt", "extracted_content": EXTRACTED}],
            "files": [],
        },
        {
            "sender": "assistant",
            "text": ANSWERED,
            "content": [{"type": "text", "text": ANSWERED}, {"type": "tool_use", "name": "brew", "input": {}}],
            "attachments": [],
        },
    ],
}
_ANSWER = {"role": "assistant", "content": ANSWERED}
_OTHER = {"role": "assistant", "content": "Water does not."}
TWO: list[Pairs] = [PAIR, [PAIR[0], ("assistant", "Water does not.")]]

EXPORTS: dict[str, tuple[str, Any, list[Pairs], int]] = {
    **{
        f"{name}, plain": (name, value, [PAIR], 0)
        for name, (value, _) in CONVERTED.items()
        if name not in ("Chatbot Arena", "preference pair", "ChatGPT export")
    },
    "ChatGPT with code and thoughts": (
        "ChatGPT export",
        _CHATGPT,
        [[PAIR[0], ("assistant", CODE), ("tool", "40 mg"), PAIR[1]]],
        1,
    ),
    "Claude with an attachment": (
        "Claude export",
        _CLAUDE,
        [[("user", f"{ASKED}\n{EXTRACTED}"), ("assistant", ANSWERED)]],
        1,
    ),
    "OASST with two replies": (
        "OASST tree",
        {
            "message_tree_id": "t1",
            "prompt": {
                "text": ASKED,
                "role": "prompter",
                "replies": [
                    {"text": ANSWERED, "role": "assistant", "replies": []},
                    {"text": "Water does not.", "role": "assistant", "replies": []},
                ],
            },
        },
        TWO,
        0,
    ),
    "Slack": (
        "Slack export",
        [
            {"type": "message", "user": "U2", "text": ANSWERED, "ts": "1700000060.1", "thread_ts": "1700000000.1"},
            {
                "type": "message",
                "user": "U1",
                "text": ASKED,
                "ts": "1700000000.1",
                "blocks": [{"type": "rich_text", "elements": [{"text": ASKED}]}],
                "reactions": [{"name": "tea", "users": ["U2"], "count": 1}],
            },
        ],
        [PAIR],
        0,
    ),
    "Discord": (
        "Discord export",
        {
            "guild": {"name": "Tea"},
            "channel": {"name": "leaves"},
            "messages": [
                {
                    "id": "1",
                    "type": "Default",
                    "timestamp": "2026-01-02T10:00:00+00:00",
                    "content": ASKED,
                    "author": {"id": "7", "name": "ann", "nickname": "Ann of the Leaves", "isBot": False},
                    "attachments": [],
                    "embeds": [],
                    "stickers": [],
                    "reactions": [],
                    "mentions": [],
                },
                {
                    "id": "2",
                    "type": "Reply",
                    "content": ANSWERED,
                    "author": {"id": "8", "name": "teabot", "isBot": True},
                    "attachments": [],
                    "embeds": [],
                    "reference": {"messageId": "1", "channelId": "3"},
                },
            ],
        },
        [PAIR],
        0,
    ),
    "Telegram": (
        "Telegram export",
        {
            "name": "Ann",
            "type": "personal_chat",
            "messages": [
                {"id": 1, "type": "service", "action": "phone_call", "actor": "Ann", "text": ""},
                {
                    "id": 2,
                    "type": "message",
                    "date": "2026-01-02T10:00:00",
                    "from": "Ann",
                    "from_id": "user1",
                    "text": ["Which ", {"type": "bold", "text": "tea"}, " keeps me awake?"],
                    "text_entities": [{"type": "bold", "text": "tea"}],
                },
                {
                    "id": 3,
                    "type": "message",
                    "from": "Ben",
                    "from_id": "user2",
                    "text": ANSWERED,
                    "forwarded_from": "Zoe",
                },
            ],
        },
        [PAIR],
        0,
    ),
    "WhatsApp on Android": (
        "WhatsApp export",
        "02/01/26, 09:59 - Messages are end-to-end encrypted.\n"
        f"02/01/26, 10:00 - Ann: {ASKED}\n02/01/26, 10:01 - Ben: {ANSWERED}\n",
        [[("system", "Messages are end-to-end encrypted."), *PAIR]],
        0,
    ),
    "WhatsApp on iOS": (
        "WhatsApp export",
        f"[1/2/26, 10:00:15\u202fPM] Ann: {ASKED}\nNot: coffee.\n[1/2/26, 10:01:15\u202fPM] Ben: {ANSWERED}",
        [[("user", f"{ASKED}\nNot: coffee."), PAIR[1]]],
        0,
    ),
    "Zendesk": (
        "Zendesk ticket",
        {
            "id": 1,
            "subject": "About tea",
            "requester_id": 5,
            "description": ASKED,
            "comments": [
                {"author_id": 5, "plain_body": ASKED, "body": ASKED, "attachments": []},
                {"author_id": 6, "plain_body": ANSWERED, "body": ANSWERED, "attachments": [], "public": True},
            ],
        },
        [[("user", "About tea"), *PAIR]],
        0,
    ),
    "Intercom": (
        "Intercom conversation",
        {
            "type": "conversation",
            "source": {"author": {"type": "user"}, "subject": "", "body": f"<p>{ASKED}</p>", "attachments": []},
            "conversation_parts": {
                "conversation_parts": [
                    {"part_type": "assignment", "author": {"type": "bot"}, "body": None, "attachments": []},
                    {"part_type": "comment", "author": {"type": "admin"}, "body": f"<p>{ANSWERED}</p>"},
                ]
            },
        },
        [PAIR],
        0,
    ),
    "OpenAI, two choices": (
        "OpenAI log",
        {
            "request": {"model": "some-model", "messages": OPENAI[:1]},
            "response": {"id": "r1", "choices": [{"index": 0, "message": _ANSWER}, {"index": 1, "message": _OTHER}]},
        },
        TWO,
        0,
    ),
    "Responses": (
        "OpenAI Responses log",
        {
            "request": {"instructions": "Be brief.", "input": ASKED},
            "response": {
                "output": [
                    {"type": "reasoning", "summary": [{"text": "They want caffeine."}]},
                    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWERED}]},
                ]
            },
        },
        [[("system", "Be brief."), *PAIR]],
        1,
    ),
    "Anthropic": (
        "Anthropic log",
        {
            "request": {"system": "Be brief.", "messages": OPENAI[:1]},
            "response": {
                "role": "assistant",
                "content": [{"type": "text", "text": ANSWERED}],
                "stop_reason": "end_turn",
            },
        },
        [[("system", "Be brief."), *PAIR]],
        0,
    ),
    "Gemini": (
        "Gemini log",
        {
            "request": {
                "systemInstruction": {"parts": [{"text": "Be brief."}]},
                "contents": [{"role": "user", "parts": [{"text": ASKED}]}],
            },
            "response": {"candidates": [{"content": {"role": "model", "parts": [{"text": ANSWERED}]}}]},
        },
        [[("system", "Be brief."), *PAIR]],
        0,
    ),
    "Alpaca": (
        "Alpaca",
        {"instruction": "Answer in a line.", "input": ASKED, "output": ANSWERED},
        [[("user", f"Answer in a line.\n\n{ASKED}"), PAIR[1]]],
        0,
    ),
    "LangChain with tools": (
        "LangChain dump",
        [
            {"type": "human", "data": {"content": ASKED, "type": "human", "additional_kwargs": {}}},
            {"type": "ai", "data": {"content": "", "type": "ai", "tool_calls": [CALL]}},
            {"type": "tool", "data": {"content": "40 mg", "tool_call_id": "c1"}},
            {"type": "ai", "data": {"content": ANSWERED, "response_metadata": {"finish_reason": "stop"}}},
        ],
        [[PAIR[0], ("tool", "40 mg"), PAIR[1]]],
        1,
    ),
    "other roles": (
        "Other role names",
        [{"role": "client", "content": ASKED}, {"role": "advisor", "content": ANSWERED}],
        [PAIR],
        0,
    ),
    "speakers with more": (
        "Speaker and text",
        [{"speaker": "customer", "text": ASKED, "note": "She seems tired."}, {"speaker": "agent", "text": ANSWERED}],
        [PAIR],
        1,
    ),
    "Arena": ("Chatbot Arena", {"conversation_a": OPENAI, "conversation_b": [OPENAI[0], _OTHER]}, TWO, 0),
    "pair of answers": (
        "Preference pair",
        {"messages": OPENAI[:1], "chosen": ANSWERED, "rejected": "Water does not."},
        TWO,
        0,
    ),
}
"""The section of docs/files.md, the export, the conversations it holds, and how much is left out of them."""

REFUSED: dict[str, tuple[str, Any, str]] = {
    "ChatGPT with a picture": (
        "ChatGPT export",
        {
            "mapping": {
                "a": _node(
                    "a", None, "user", content_type="multimodal_text", parts=[{"asset_pointer": "x", "n": 1}, ASKED]
                )
            },
            "current_node": "a",
        },
        "unreadable part",
    ),
    "ChatGPT with a file": (
        "ChatGPT export",
        {
            "mapping": {
                "a": {
                    "message": {
                        "author": {"role": "user"},
                        "content": {"content_type": "text", "parts": [ASKED]},
                        "metadata": {"attachments": [{"id": "f1", "name": "tea.pdf"}]},
                    },
                    "parent": None,
                }
            },
            "current_node": "a",
        },
        "'attachments' beside",
    ),
    "Claude with a file": (
        "Claude export",
        {"chat_messages": [{"sender": "human", "text": ASKED, "files": [{"file_name": "tea.png"}]}]},
        "'files' beside",
    ),
    "Slack with a file": (
        "Slack export",
        [{"type": "message", "user": "U1", "text": ASKED, "ts": "1.0", "files": [{"name": "tea.png"}]}],
        "'files' beside",
    ),
    "Discord with an embed": (
        "Discord export",
        {"messages": [{"content": ASKED, "author": {"isBot": False}, "embeds": [{"title": "Leaves of the week"}]}]},
        "'embeds' beside",
    ),
    "Telegram with a photo": (
        "Telegram export",
        {"messages": [{"type": "message", "from": "Ann", "from_id": "user1", "text": ASKED, "photo": "photos/1.jpg"}]},
        "'photo' beside",
    ),
    "Zendesk with a file": (
        "Zendesk ticket",
        {
            "subject": "About tea",
            "requester_id": 5,
            "comments": [{"author_id": 5, "plain_body": ASKED, "attachments": [{"file_name": "tea.png"}]}],
        },
        "'attachments' beside",
    ),
}
"""The section, the export, and what the error about its conversion says."""
