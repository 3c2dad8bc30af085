"""Guards of the true Llama Guard 3 and Qwen3Guard shapes with random weights, for tests and benchmarks.

The tokenizers are the real ones (from the `llama-models` and `dashscope` packages on PyPI), the chat templates render
what the guards' own do, the code path is the real one; only the weights are random. Random weights spread
probability over 128,256 words so thinly that any position would pass a test, so the head's rows of the
verdict and code tokens are scaled until scores span 0.01 to 0.99 (`answering_model`).
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.convert_slow_tokenizer import TikTokenConverter

TEMPLATE = (Path(__file__).parent / "llama_guard_3_8b.jinja").read_text(encoding="utf-8")
TEMPLATE_1B = (Path(__file__).parent / "llama_guard_3_1b.jinja").read_text(encoding="utf-8")
"""Renders what Llama-Guard-3-1B's and -11B-Vision's templates render for text; contents are typed parts."""
TEMPLATE_QWEN3 = (Path(__file__).parent / "qwen3guard.jinja").read_text(encoding="utf-8")
"""Renders what Qwen3Guard-Gen's template renders."""

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "heads": 4, "kv_heads": 2},
    "cpu": {"hidden_size": 512, "intermediate_size": 1792, "num_hidden_layers": 8, "heads": 8, "kv_heads": 2},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "heads": 32, "kv_heads": 8},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "heads": 32, "kv_heads": 8},
}
"""Layers and widths: Llama-Guard-3-8B and -1B as they are, and two that a CPU runs."""

QWEN3_SHAPES: dict[str, dict[str, int]] = {
    "qwen3guard-tiny": {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 16,
    },
    "qwen3guard-0.6b": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "heads": 16,
        "kv_heads": 8,
        "head_dim": 128,
    },
}
"""The same for Qwen3Guard-Gen: the 0.6B as it is, and one for tests. Its tokenizer is `qwen3_tokenizer`."""


def _special_tokens() -> list[str]:
    """Return the 256 special tokens of Llama 3.1, in the order of their ids."""
    first = [
        "begin_of_text",
        "end_of_text",
        "reserved_special_token_0",
        "reserved_special_token_1",
        "finetune_right_pad_id",
        "reserved_special_token_2",
        "start_header_id",
        "end_header_id",
        "eom_id",
        "eot_id",
        "python_tag",
    ]
    names = [*first, *(f"reserved_special_token_{i}" for i in range(3, 3 + 256 - len(first)))]
    return [f"<|{name}|>" for name in names]


@cache
def _backend() -> str:
    ranks = importlib.resources.files("llama_models") / "llama3" / "tokenizer.model"
    with importlib.resources.as_file(ranks) as path:
        converter = TikTokenConverter(str(path), pattern=_PATTERN, extra_special_tokens=_special_tokens())
        backend: Tokenizer = converter.converted()
    add_bos = processors.TemplateProcessing(
        single="<|begin_of_text|> $A",
        pair="<|begin_of_text|> $A <|begin_of_text|> $B",
        special_tokens=[("<|begin_of_text|>", 128_000)],
    )
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), add_bos])
    return str(backend.to_str())


def llama3_tokenizer(*, split_digits: bool = False, template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """Return the real Llama 3 tokenizer with Llama-Guard-3-8B's chat template, or another.

    Parameters
    ----------
    template
        Jinja text of the chat template.
    split_digits
        Make every digit a token of its own, as many small models' tokenizers do: codes are then a trie.
    """
    backend = Tokenizer.from_str(_backend())
    if split_digits:
        pre = backend.pre_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = template
    return tokenizer


@cache
def _qwen3_backend() -> str:
    special = ["endoftext", "im_start", "im_end"]
    special += [f"{name}_{edge}" for name in ("object_ref", "box", "quad", "vision") for edge in ("start", "end")]
    special += ["vision_pad", "image_pad", "video_pad"]
    plain = ["<tool_call>", "</tool_call>", *(f"<|{name}|>" for name in ("fim_prefix", "fim_middle", "fim_suffix"))]
    plain += ["<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"]
    plain += ["<think>", "</think>"]
    pattern = _PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
    files = importlib.metadata.files("dashscope") or []
    ranks = str(next(file for file in files if str(file).endswith("qwen.tiktoken")).locate())
    backend = TikTokenConverter(ranks, pattern, extra_special_tokens=[f"<|{name}|>" for name in special]).converted()
    backend.add_tokens([AddedToken(name, special=False, normalized=False) for name in plain])
    backend.normalizer = normalizers.NFC()
    return str(backend.to_str())


def qwen3_tokenizer() -> PreTrainedTokenizerFast:
    """Return the real Qwen ranks with Qwen3's added tokens and Qwen3Guard-Gen's chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_qwen3_backend()),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE_QWEN3
    return tokenizer


def as_read(tokenizer: Any, *contents: str) -> list[dict[str, Any]]:
    """Return a chat of alternating roles in the form that the tokenizer's template reads: strings or typed parts."""
    parts = tokenizer.chat_template == TEMPLATE_1B
    return [
        {"role": ("user", "assistant")[i % 2], "content": [{"type": "text", "text": text}] if parts else text}
        for i, text in enumerate(contents)
    ]


def model_config(shape: str, dtype: torch.dtype = torch.float32) -> Any:
    """Return the transformers config of one of `SHAPES` or `QWEN3_SHAPES`, with its family's whole vocabulary."""
    sizes: dict[str, Any] = dict({**SHAPES, **QWEN3_SHAPES}[shape])
    sizes |= {"num_attention_heads": sizes.pop("heads"), "num_key_value_heads": sizes.pop("kv_heads"), "dtype": dtype}
    if shape in QWEN3_SHAPES:
        return Qwen3Config(
            **sizes,
            vocab_size=151_936,
            max_position_embeddings=32_768,
            rope_parameters={"rope_theta": 1_000_000.0, "rope_type": "default"},
            bos_token_id=151_643,
            eos_token_id=151_645,
            tie_word_embeddings=True,
        )
    return LlamaConfig(
        **sizes,
        vocab_size=128_256,
        max_position_embeddings=131_072 if shape == "8b" else 8_192,
        rope_parameters={"rope_theta": 500_000.0, "rope_type": "default"},
        bos_token_id=128_000,
        eos_token_id=128_009,
        tie_word_embeddings=False,
    )


def kv_bytes_per_token(model: Any) -> int:
    """Return the bytes of keys and values that one token costs across all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize)


def random_model(shape: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    """Return a random-weight Llama of one of `SHAPES`, or Qwen3 of one of `QWEN3_SHAPES`, in eval mode."""
    config = model_config(shape, dtype)
    torch.manual_seed(seed)
    with torch.device(device):
        previous = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            model = (Qwen3ForCausalLM if shape in QWEN3_SHAPES else LlamaForCausalLM)(config)
        finally:
            torch.set_default_dtype(previous)
    return model.eval().requires_grad_(False)


@torch.no_grad()  # not inference mode: of tensors made there torch does not count what is written
def answering_model(tokenizer: Any, shape: str = "tiny", *, seed: int = 0) -> Any:
    """Return a random model whose answers mean something: scores span 0.01 to 0.99, codes differ.

    The head's rows of the verdict and code tokens are fitted (least squares) so that at their positions
    they hold most of the probability and vary with the content.
    """
    model = random_model(shape, seed=seed)
    for name, weight in model.named_parameters():
        if "proj" in name:
            weight.mul_(3.0)  # fresh initial weights leave the residual stream nearly untouched
    vocabulary = tokenizer.get_vocab()
    splits = len(tokenizer.tokenize("14")) == 2
    verdict = _states(model, tokenizer, "\n\n")
    code = _states(model, tokenizer, "\n\nunsafe\nS")
    digit = _states(model, tokenizer, "\n\nunsafe\nS1")
    wanted: dict[str, list[tuple[int, float, float]]] = {"safe": [(0, 5.0, 2.0)], "unsafe": [(0, 5.0, 2.0)]}
    for i in range(1, 10 if splits else 15):
        wanted.setdefault(str(i), []).append((1, 3.0, 1.5))
    for i in range(5 if splits else 0):
        wanted.setdefault(str(i), []).append((2, -1.5, 1.0))
    for i, (text, targets) in enumerate(wanted.items()):
        _fit_row(model, vocabulary[text], [verdict, code, digit], targets, direction=i)
    return model


_CONTENTS = [
    "Hello",
    "How do I bake bread?",
    "I hate everyone",
    "kill",
    "A long story. " * 20,
    "1 2 3",
    "日本",
    "🙂 ok",
] + [
    f"{word} number {i}" for i, word in enumerate(["apple", "bomb", "river", "knife", "song", "poem", "gun", "tea"] * 3)
]


def _states(model: Any, tokenizer: Any, answer: str) -> torch.Tensor:
    """Return the final hidden states (n_contents, hidden) after each prompt + `answer`."""
    rows = []
    for content in _CONTENTS:
        text = tokenizer.apply_chat_template(as_read(tokenizer, content), tokenize=False) + answer
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        rows.append(model.model(input_ids=ids.to(model.device)).last_hidden_state[0, -1].float())
    return torch.stack(rows)


def _fit_row(
    model: Any, token: int, groups: list[torch.Tensor], targets: list[tuple[int, float, float]], *, direction: int
) -> None:
    """Set the head's row of `token`: at each (group, lift, spread) its logit stands `lift` above the log-sum
    of all others on average and varies by `spread` between contents; at the other groups it stays low.
    """
    weight = model.lm_head.weight
    goals = [torch.zeros(len(states), device=states.device) for states in groups]
    for group, lift, spread in targets:
        states = groups[group]
        centred = states - states.mean(0)
        along = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[direction % 7]
        rest = (states.mean(0) @ weight.float().T).logsumexp(-1).clamp(max=13.0)
        goals[group] = rest + lift + (-1) ** direction * spread * along / along.std()
    design, goal = torch.cat(groups), torch.cat(goals)
    ridge = 1e-3 * design.square().mean() * torch.eye(design.shape[1], device=design.device)
    weight[token] = torch.linalg.solve(design.T @ design + ridge, design.T @ goal).to(weight.dtype)


def save_guard(directory: Path, model: Any, tokenizer: Any) -> Path:
    """Write a guard to a folder as transformers does (safetensors), for loading by path."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
