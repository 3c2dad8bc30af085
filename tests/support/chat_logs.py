"""Public shapes of chat logs, rebuilt with text written for this project: what each holds and what is to be read.

`SHAPES` are read as they stand; `CONVERTED` are refused by name and read after the conversion in docs/files.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Pairs = list[tuple[str, str]]

ASKED, ANSWERED = "Which tea keeps me awake?", "Black tea, if it is strong."
PAIR: Pairs = [("user", ASKED), ("assistant", ANSWERED)]
OPENAI = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]
CALL = {"id": "c1", "type": "function", "function": {"name": "brew", "arguments": '{"tea": "black"}'}}

SHAPES: dict[str, tuple[Any, Pairs, int]] = {
    "OpenAI messages": (OPENAI, PAIR, 0),
    "OpenAI fine-tuning": (
        {"messages": [{"role": "system", "content": "Be brief."}, *OPENAI], "parallel_tool_calls": False},
        [("system", "Be brief."), *PAIR],
        0,
    ),
    "OpenAI fine-tuning with tools": (
        {
            "messages": [
                {"role": "user", "content": ASKED},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "40 mg"},
                {"role": "assistant", "content": ANSWERED, "refusal": None, "audio": None, "annotations": []},
            ],
            "tools": [{"type": "function", "function": {"name": "brew", "parameters": {}}}],
        },
        [("user", ASKED), ("tool", "40 mg"), ("assistant", ANSWERED)],
        1,
    ),
    "OpenAI refusal": (
        [{"role": "user", "content": ASKED}, {"role": "assistant", "content": None, "refusal": "I would rather not."}],
        [("user", ASKED), ("assistant", "I would rather not.")],
        0,
    ),
    "OpenAI Responses": (
        [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": ASKED}]},
            {"type": "reasoning", "id": "r1", "summary": []},
            {"type": "function_call", "name": "brew", "arguments": "{}", "call_id": "c1"},
            {"type": "function_call_output", "call_id": "c1", "output": "40 mg"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWERED}]},
        ],
        [("user", ASKED), ("tool", "40 mg"), ("assistant", ANSWERED)],
        2,
    ),
    "reasoning models": (
        [OPENAI[0], {**OPENAI[1], "reasoning_content": "They want caffeine."}],
        PAIR,
        1,
    ),
    "ShareGPT": (
        {"id": "s1", "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]},
        PAIR,
        0,
    ),
    "ShareGPT with a system prompt": (
        {
            "system": "Be brief.",
            "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}],
        },
        [("system", "Be brief."), *PAIR],
        0,
    ),
    "struct-unified rows": (
        [
            {"role": None, "content": None, "from": "human", "value": ASKED},
            {"role": "assistant", "content": ANSWERED, "from": None, "value": None},
        ],
        PAIR,
        0,
    ),
    "LMSYS and WildChat": (
        {
            "conversation_id": "a7",
            "model": "some-model",
            "conversation": [
                {"content": ASKED, "role": "user", "language": "English", "toxic": False, "turn_identifier": 3},
                {"content": ANSWERED, "role": "assistant", "language": "English", "toxic": False, "turn_identifier": 3},
            ],
            "turn": 1,
            "language": "English",
            "redacted": False,
        },
        PAIR,
        0,
    ),
    "datasets Sequence": ({"role": ["user", "assistant"], "content": [ASKED, ANSWERED]}, PAIR, 0),
    "datasets Sequence in a cell": (
        {"messages": {"from": np.array(["human", "gpt"]), "value": np.array([ASKED, ANSWERED])}},
        PAIR,
        0,
    ),
    "Parquet": (np.array(OPENAI, dtype=object), PAIR, 0),
    "Arrow maps": ([[("role", "user"), ("content", ASKED)], [("role", "assistant"), ("content", ANSWERED)]], PAIR, 0),
    "one Arrow map": ([("role", "user"), ("content", ASKED)], PAIR[:1], 0),
    "Gemini": (
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": ASKED}]},
                {"role": "model", "parts": [{"thought": True, "text": "Caffeine."}, {"text": ANSWERED}]},
            ],
        },
        [("system", "Be brief."), *PAIR],
        1,
    ),
    "Gemini with a function": (
        [
            {"role": "user", "parts": [ASKED]},
            {"role": "model", "parts": [{"functionCall": {"name": "brew", "args": {}}}]},
            {"role": "function", "parts": [{"functionResponse": {"name": "brew", "response": {"mg": 40}}}]},
            {"role": "model", "parts": [{"text": ANSWERED}]},
        ],
        PAIR,
        2,
    ),
    "Claude": (
        {
            "model": "some-model",
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": ASKED},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Caffeine.", "signature": "x"},
                        {"type": "tool_use", "id": "t1", "name": "brew", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "40 mg"}]},
                        {"type": "text", "text": "And now?"},
                    ],
                },
                {"role": "assistant", "content": [{"type": "text", "text": ANSWERED, "citations": None}]},
            ],
        },
        [("system", "Be brief."), ("user", ASKED), ("tool", "40 mg"), ("user", "And now?"), ("assistant", ANSWERED)],
        2,
    ),
    "Bedrock": (
        {
            "system": [{"text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [{"text": ASKED}, {"cachePoint": {"type": "default"}}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "brew", "input": {}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"mg": 40}}]}}]},
                {
                    "role": "assistant",
                    "content": [{"reasoningContent": {"reasoningText": {"text": "Caffeine."}}}, {"text": ANSWERED}],
                },
            ],
        },
        [("system", "Be brief."), *PAIR],
        3,
    ),
    "OpenAI threads": (
        [{"role": "user", "content": [{"type": "text", "text": {"value": ASKED, "annotations": []}}]}],
        PAIR[:1],
        0,
    ),
    "a prompt that is the first message": ({"prompt": ASKED, "prompt_id": "p1", "messages": OPENAI}, PAIR, 0),
}

HH = f"\n\nHuman: {ASKED}\n\nAssistant: {ANSWERED}\n\nNote: not at night."
TEXTS: dict[str, tuple[str, Pairs]] = {
    "HH transcript": (HH, [PAIR[0], ("assistant", f"{ANSWERED}\n\nNote: not at night.")]),
    "Python literal through CSV": (str(OPENAI), PAIR),
    "Python literal of tuples": (str(tuple(OPENAI)), PAIR),
    "JSON with a byte order mark": ('\ufeff[{"role": "user", "content": "hi"}]', [("user", "hi")]),
    "JSON of a mapping of lists": ('{"role": ["user"], "content": ["hi"]}', [("user", "hi")]),
    "a literal with a missing cell": ("[{'role': 'user', 'content': 'hi', 'name': nan, 'n': -1}]", [("user", "hi")]),
}

_NODES = {
    "root": {"id": "root", "message": None, "parent": None, "children": ["n1"]},
    "n1": {
        "id": "n1",
        "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [ASKED]}},
        "parent": "root",
        "children": ["n2", "n3"],
    },
    "n2": {
        "id": "n2",
        "message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": ["Coffee."]}},
        "parent": "n1",
        "children": [],
    },
    "n3": {
        "id": "n3",
        "message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": [ANSWERED]}},
        "parent": "n1",
        "children": [],
    },
}
CONVERTED: dict[str, tuple[Any, str]] = {
    "ChatGPT export": ({"title": "Tea", "mapping": _NODES, "current_node": "n3"}, "ChatGPT export"),
    "Claude export": (
        {
            "name": "Tea",
            "chat_messages": [
                {"sender": "human", "text": ASKED, "attachments": [], "files": []},
                {"sender": "assistant", "text": ANSWERED, "attachments": [], "files": []},
            ],
        },
        "Claude export",
    ),
    "OASST tree": (
        {
            "message_tree_id": "t1",
            "prompt": {
                "text": ASKED,
                "role": "prompter",
                "replies": [{"text": ANSWERED, "role": "assistant", "replies": []}],
            },
        },
        "tree of OASST",
    ),
    "Label Studio export": ({"id": 1, "data": {"messages": OPENAI}, "annotations": []}, "Label Studio"),
    "Argilla export": ({"id": "r1", "status": "completed", "fields": {"chat": OPENAI}, "responses": {}}, "Argilla"),
    "Chatbot Arena": (
        {"model_a": "x", "model_b": "y", "winner": "model_a", "conversation_a": OPENAI, "conversation_b": OPENAI},
        "comparison of two conversations",
    ),
    "LangChain dump": (
        [{"type": "human", "data": {"content": ASKED}}, {"type": "ai", "data": {"content": ANSWERED}}],
        "has no 'role'",
    ),
    "speaker and text": (
        [{"speaker": "customer", "text": ASKED}, {"speaker": "agent", "text": ANSWERED}],
        "has no 'role'",
    ),
    "pairs": ([("user", ASKED), ("assistant", ANSWERED)], "not a mapping but tuple"),
    "preference pair": (
        {"messages": OPENAI[:1], "chosen": ANSWERED, "rejected": "Water."},
        "'chosen' beside 'messages'",
    ),
}
