"""Small random models of many architectures, and the log-probabilities they give by the slow way."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.engine.local import LocalEngine, TokenRow
from guard_magic.errors import ScoreError
from guard_magic.guards.guard import Guard
from guard_magic.policy import Policy
from guard_magic.verdict import Reading

Chat = list[dict[str, str]]

Define = Callable[[Guard, Chat], dict[str, float]]


def chat(*texts: str) -> Chat:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


CHATS = [
    chat("a"),
    chat("How do I bake bread?"),
    chat("I hate everyone"),
    chat("kill"),
    chat("river"),
    chat("A long story about nothing at all. " * 30),
    chat("日本語のテキストです。"),
    chat("🙂👩‍👩‍👧 ok 🇫🇷"),
    chat("1 2 3 456 78901"),
    chat("How do I kill a process?", "Use kill and its number."),
    chat("Tell me a secret", "No.", "Please!", "Still no.", "bomb"),
    chat("é\u0301 ﬁ ａｂｃ \u200b x"),
    chat("مرحبا بالعالم"),
    chat("x\n\n\ny\t\tz"),
    chat("def f(x):\n    return {'a': [x]}\n" * 5, "It returns a dict. " * 20),
    chat("bomb number 3", "I will not help with that."),
    chat("safe"),
    chat("unsafe\nS1"),
    chat("poem", "roses are red, " * 12, "again"),
    *(chat(f"{word} number {i}") for i, word in enumerate(["apple", "knife", "song", "gun", "tea"])),
]

GUARDS = ["tiny", "tiny_digits", "tiny_parts", "embedded"]


def read(guard: Guard, chats: Sequence[Chat], policy: Policy | None = None) -> list[dict[str, float]]:
    """The engine's numbers, in the definition's form."""
    prompts = [guard.encode(parse_conversation(chat), policy=policy) for chat in chats]
    found: dict[int, Any] = {}
    for batch in guard.read(prompts, policy=policy):
        for position, result in batch:
            assert position not in found
            found[position] = as_logs(result, policy or guard.policy)
    return [found[i] for i in range(len(chats))]


def as_logs(result: Reading | ScoreError, policy: Policy) -> dict[str, float]:
    assert isinstance(result, Reading)
    codes = dict(zip(policy.codes, result.log_codes, strict=True))
    return {"unsafe": result.log_unsafe, "safe": result.log_safe, **codes}


def max_error(readings: Sequence[dict[str, float]], references: Sequence[dict[str, float]]) -> float:
    """The largest difference of any log-probability; infinite where one is not a number.

    Beyond 20 nats it is relative: a float32 log-probability of -72 has no more digits.
    """
    worst = 0.0
    for got, wanted in zip(readings, references, strict=True):
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            off = 0.0 if got[name] == value else abs(got[name] - value)
            if name == "S1" and abs(math.exp(got[name]) - math.exp(value)) < 1e-6:
                off = 0.0  # P(1) less P(10…14): the difference of float32 numbers, no better than their rounding
            off /= max(1.0, abs(value) / 20) if math.isfinite(value) else 1.0
            worst = math.inf if math.isnan(off) else max(worst, off)
    return worst


@contextmanager
def batches_seen(model: Any) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of the token ids that models of its class are called with; a hook of its own would be a changed model."""
    seen: list[tuple[int, ...]] = []
    kind, plain = type(model), type(model).forward

    @functools.wraps(plain)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(kwargs["input_ids"].shape))
        return plain(self, *args, **kwargs)

    kind.forward = forward
    try:
        yield seen
    finally:
        kind.forward = plain


TINY = {"vocab_size": 199, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "gemma2": ("Gemma2", {"head_dim": 8, "final_logit_softcapping": 3.0, "sliding_window": 16}),
    "gemma2_eager": ("Gemma2", {"head_dim": 8, "final_logit_softcapping": 3.0, "attn_implementation": "eager"}),
    "granite": ("Granite", {"logits_scaling": 7.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5}),
    "mistral": ("Mistral", {"sliding_window": 16}),
    "mistral_wide": ("Mistral", {"sliding_window": 64}),
    "cohere2": (
        "Cohere2",
        {
            "logit_scale": 0.3,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
    ),
    "qwen3": ("Qwen3", {"head_dim": 8}),
}


def small_model(name: str) -> Any:
    """A random model of another architecture, its logits spread enough for its final transform to matter."""
    family, more = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**TINY, **more)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.mul_(5.0)
    return model


CONTINUATION = (5, 6, 7)

WANTED = ((0, 11), (0, 5), (1, 6), (3, 40), (3, 41), (2, 7))


def small_rows() -> list[TokenRow]:
    rng = random.Random(1)
    prefixes = [tuple(rng.randrange(3, 199) for _ in range(n)) for n in (9, 30)]
    rows = []
    for length in (1, 2, 5, 5, 17, 40, 60):
        rows += [TokenRow((*p, *(rng.randrange(3, 199) for _ in range(length))), len(p)) for p in prefixes]
    return [*rows, TokenRow((4, 8), 0), TokenRow((*prefixes[0][:4], 99), 4)]


@torch.inference_mode()
def plain_log_probs(model: Any, rows: Sequence[TokenRow]) -> list[dict[str, float]]:
    found = []
    for row in rows:
        logs = model(input_ids=torch.tensor([[*row.ids, *CONTINUATION]])).logits[0].float().log_softmax(-1)
        found.append({str(w): float(logs[len(row.ids) - 1 + w[0], w[1]]) for w in WANTED})
    return found


def engine_log_probs(engine: LocalEngine, rows: Sequence[TokenRow]) -> list[dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for scored in engine.score(rows, CONTINUATION, WANTED):
        assert scored.log_probs is not None
        for i, logs in zip(scored.positions, scored.log_probs, strict=True):
            found[i] = dict(zip(map(str, WANTED), logs, strict=True))
    return [found[i] for i in range(len(rows))]
