"""Tiny random guards of every family: true architectures, prompts and answer formats; only the weights are random.

Tokenizers are the real ones where PyPI has their vocabulary (Llama 3 and 4, Mistral, Qwen; read as resources, never
imported), else trained here on the prompts themselves, with the family's own special tokens. The head's rows of the
answers are fitted, so that at their positions they hold most of the probability and vary with the content.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import reference_families as wanted
import shapes
import torch
import transformers
from small_models import CHATS
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.modeling_outputs import MoeCausalLMOutputWithPast

from guard_magic.families.base import Evidence
from guard_magic.guards.guard import Guard
from guard_magic.policy import (
    GRANITE_GUARDIAN,
    GRANITE_GUARDIAN_3_3,
    LLAMA_GUARD_1,
    LLAMA_GUARD_2,
    LLAMA_GUARD_3,
    LLAMA_GUARD_3_1B,
    LLAMA_GUARD_4,
    QWEN3_GUARD,
    SHIELD_GEMMA,
    WILDGUARD,
    Policy,
)

Chat = list[dict[str, str]]
TEMPLATES = Path(__file__).parent / "templates"


# Templates: ours, rendering what the public ones render


@cache
def template(name: str, **fills: str) -> str:
    """The chat template of a family, with the hazards' texts filled in."""
    text = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    for mark, fill in fills.items():
        assert f"@{mark}@" in text
        text = text.replace(f"@{mark}@", fill)
    return text


def _as_dict(items: dict[str, Any]) -> str:
    return json.dumps(items, ensure_ascii=False)


TEMPLATE_TEXTS: dict[str, Callable[[], str]] = {
    "llama-guard-1": lambda: template("llama_guard_1", hazards="\n".join(wanted.lines_1(LLAMA_GUARD_1))),
    "llama-guard-2": lambda: template("llama_guard_2", hazards="\n".join(wanted.lines_2(LLAMA_GUARD_2))),
    "llama-guard-3-8b": lambda: shapes.TEMPLATE,
    "llama-guard-3-1b": lambda: shapes.TEMPLATE_1B,
    "llama-guard-4": lambda: template("llama_guard_4", hazards=_as_dict({c.code: f"{c.name}." for c in LLAMA_GUARD_4})),
    "shieldgemma": lambda: template("shieldgemma"),
    "granite-guardian-3.0": lambda: template("granite_guardian_3_0", risks=_as_dict(wanted.RISKS_3_0)),
    "granite-guardian-3.2": lambda: template("granite_guardian_3_2", risks=_as_dict(wanted.RISKS_3_2)),
    "granite-guardian-3.3": lambda: template(
        "granite_guardian_3_3", criteria=_as_dict({c.code: c.description for c in GRANITE_GUARDIAN_3_3})
    ),
    "granite-4": lambda: template("granite_4"),
    "qwen3guard": lambda: shapes.TEMPLATE_QWEN3,
}


# Real vocabularies


def _resource(distribution: str, ending: str) -> Path:
    files = importlib.metadata.files(distribution) or []
    return Path(str(next(file for file in files if str(file).endswith(ending)).locate()))


def _fast(backend: Tokenizer, chat_template: str | None, **tokens: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **tokens)
    tokenizer.chat_template = chat_template
    return tokenizer


@cache
def _llama_4_backend() -> str:
    special = ["begin_of_text", "end_of_text", "fim_prefix", "fim_middle", "fim_suffix"]
    special += ["header_start", "header_end", "eom", "eot", "step"]
    special += [f"text_post_train_reserved_special_token_{i}" for i in range(6)]
    special += ["python_start", "python_end", "finetune_right_pad"]
    special += [f"text_post_train_reserved_special_token_{i}" for i in range(8, 69)]
    special += ["image_start", "image_end", *(f"vision_reserved_special_token_{i}" for i in range(2))]
    special += ["tile_x_separator", "tile_y_separator", *(f"vision_reserved_special_token_{i}" for i in range(2, 6))]
    special += ["image"]
    pattern = (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    ranks = importlib.resources.files("llama_models") / "llama4" / "tokenizer.model"
    with importlib.resources.as_file(ranks) as path:
        backend = TikTokenConverter(str(path), pattern, extra_special_tokens=[f"<|{s}|>" for s in special]).converted()
    assert backend.token_to_id("<|begin_of_text|>") == 200_000
    return str(backend.to_str())


def llama_4_tokenizer() -> PreTrainedTokenizerFast:
    """The real Llama 4 tokenizer: "\\n\\n" is 368, "safe" 60411, "unsafe" 72110."""
    backend = Tokenizer.from_str(_llama_4_backend())
    add_bos = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 200_000)]
    )
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), add_bos])
    text = TEMPLATE_TEXTS["llama-guard-4"]()
    return _fast(backend, text, bos_token="<|begin_of_text|>", eos_token="<|eot|>")


def _pieces(path: Path) -> Iterator[tuple[str, float, int]]:
    """Read a SentencePiece model (protobuf): text, score and kind of each piece."""
    data = path.read_bytes()

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = data[at]
            value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                return value, at

    def fields(at: int, end: int) -> Iterator[tuple[int, Any]]:
        while at < end:
            key, at = varint(at)
            if key & 7 == 2:
                length, at = varint(at)
                yield key >> 3, (at, at + length)
                at += length
            elif key & 7 == 0:
                value, at = varint(at)
                yield key >> 3, value
            else:
                size = 4 if key & 7 == 5 else 8
                yield key >> 3, data[at : at + size]
                at += size

    for number, span in fields(0, len(data)):
        if number == 1:
            piece = dict(fields(*span))
            yield data[slice(*piece[1])].decode(), struct.unpack("<f", piece[2])[0], piece.get(3, 1)


def sentencepiece_tokenizer(ending: str, *, scheme: str, chat_template: str | None) -> PreTrainedTokenizerFast:
    """A real Mistral tokenizer, laid out as Llama 2's.

    Parameters
    ----------
    ending
        Of the vocabulary's file name in mistral-common.
    scheme
        Where "▁" is put ahead of text: ``"always"`` (behind every control token too, as the legacy tokenizers do) or
        ``"first"`` (as newer ones do).
    """
    pieces = list(_pieces(_resource("mistral-common", ending)))
    vocabulary = {text: i for i, (text, _, _) in enumerate(pieces)}
    assert len(vocabulary) == len(pieces)
    merges: list[tuple[float, int, int, tuple[str, str]]] = []
    for text, score, kind in pieces:
        halves = [(text[:i], text[i:]) for i in range(1, len(text))] if kind == 1 else []
        merges += [(-score, vocabulary[a], vocabulary[b], (a, b)) for a, b in halves if {a, b} <= vocabulary.keys()]
    merges.sort(key=lambda merge: merge[:3])
    model = models.BPE(vocabulary, [merge[3] for merge in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    control = [text for text, _, kind in pieces if kind in (2, 3)]
    backend.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in control])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return _fast(backend, chat_template, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


# Trained vocabularies


@cache
def _corpus() -> tuple[str, ...]:
    policies = [LLAMA_GUARD_3, SHIELD_GEMMA, GRANITE_GUARDIAN, GRANITE_GUARDIAN_3_3]
    texts = [f"{c.name}: {c.description}" for policy in policies for c in policy]
    texts += [text() for text in TEMPLATE_TEXTS.values()]
    texts += ["Yes No yes no YES NO"] * 50 + shapes._CONTENTS
    return tuple(texts)


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    """A vocabulary in the form of Gemma's (SentencePiece BPE, no "▁" put ahead), with its control tokens and ids."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<2mass>", "[@BOS@]"]
    special += [*(f"<unused{i}>" for i in range(99)), "<start_of_turn>", "<end_of_turn>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?[^▁\n\W]+|\n+|▁+|[^\w▁]"), "isolated")
    trained.train_from_iterator(_corpus(), trainers.BpeTrainer(vocab_size=1500, show_progress=False))
    learned = json.loads(trained.to_str())["model"]
    bytewise = [f"<0x{i:02X}>" for i in range(256)]
    vocabulary = {text: i for i, text in enumerate([*special, *bytewise, *learned["vocab"]])}
    merges = [tuple(merge) for merge in learned["merges"]]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    text = TEMPLATE_TEXTS["shieldgemma"]()
    return _fast(backend, text, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>")


def granite_tokenizer(chat_template: str, others: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A byte-level vocabulary in the form of Granite's, with its control tokens and `others`; there is no BOS."""
    backend = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    code = ["fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "filename", "gh_stars", "issue_start"]
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<|end_of_text|>", *(f"<{name}>" for name in code)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_corpus(), trainer)
    late = ["<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>", *others]
    backend.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in late])
    return _fast(backend, chat_template, eos_token="<|end_of_text|>", pad_token="<|end_of_text|>")


# Architectures

_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
_GRANITE = {
    "logits_scaling": 6.0,
    "embedding_multiplier": 12.0,
    "attention_multiplier": 1 / 16,
    "residual_multiplier": 0.22,
}


def made(architecture: str, tokenizer: Any, **more: Any) -> Any:
    """A random model of a text-only architecture."""
    names = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = getattr(transformers, f"{architecture.removesuffix('ForCausalLM')}Config")
    return getattr(transformers, architecture)(config(**{**_SIZES, **names, "vocab_size": len(tokenizer), **more}))


def _mllama(tokenizer: Any) -> Any:
    """Llama-Guard-3-11B-Vision's shape: a vision tower, and a cross-attention layer that text alone skips."""
    text = {**_SIZES, "num_hidden_layers": 3, "cross_attention_layers": [1], "vocab_size": len(tokenizer)}
    text |= {"bos_token_id": tokenizer.bos_token_id or 0, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 2}
    vision |= {"intermediate_size": 32, "vision_output_dim": 64, "image_size": 28, "intermediate_layers_indices": [0]}
    config = transformers.MllamaConfig(vision_config=vision, text_config=text)
    return transformers.MllamaForConditionalGeneration(config)


def mllama_text(tokenizer: Any) -> Any:
    """The same without its vision tower, as AutoModelForCausalLM makes it."""
    return transformers.MllamaForCausalLM(_mllama(tokenizer).config.text_config)


MoeCausalLMOutputWithPast.image_outputs = getattr(MoeCausalLMOutputWithPast, "image_outputs", None)
"""transformers 5.24 reads it in Llama4ForConditionalGeneration, and fails for texts without an image."""


def llama_4(tokenizer: Any, **more: Any) -> Any:
    """Llama Guard 4's shape: dense, one layer without positions, and a vision tower."""
    text = {**_SIZES, "intermediate_size_mlp": 96, "head_dim": 16, "num_hidden_layers": 4, "moe_layers": []}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    text |= {"vocab_size": len(tokenizer)}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    vision |= {"vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32, "image_size": 28}
    config = transformers.Llama4Config(vision_config=vision, text_config={**text, **more})
    return transformers.Llama4ForConditionalGeneration(config)


# Families


@dataclass(frozen=True)
class Family:
    """One family, or one kind of model of it.

    Attributes
    ----------
    name
        As tests call it.
    protocol
        What the registry must call it.
    title
        The real models it stands for.
    kind
        Whether its tokenizer is ``"real"``, ``"alike"`` (real, of another model, in the same form) or ``"trained"``.
    tokenizer, build
        Make tokenizer and random model.
    policy
        The hazards its own prompt asks about.
    definition
        How it is asked and read, by the slow definition.
    called
        The name it is loaded by, where that is evidence; else one that says nothing.
    gain
        By what the layers' fresh weights are multiplied: they leave the residual stream nearly untouched.
    """

    name: str
    protocol: str
    title: str
    kind: str
    make_tokenizer: Callable[[], Any]
    build: Callable[[Any], Any]
    policy: Policy
    definition: wanted.Definition
    called: str = "a-guard"
    gain: float = 6.0


def _llama_3(chat_template: str) -> Callable[[], Any]:
    return lambda: shapes.llama3_tokenizer(template=chat_template)


def _llama(tokenizer: Any) -> Any:
    return made("LlamaForCausalLM", tokenizer)


def _spm(ending: str, scheme: str, name: str | None) -> Callable[[], Any]:
    return lambda: sentencepiece_tokenizer(
        ending, scheme=scheme, chat_template=TEMPLATE_TEXTS[name]() if name else None
    )


def _granite(name: str) -> Callable[[], Any]:
    return lambda: granite_tokenizer(TEMPLATE_TEXTS[name]())


GEMMA = {"head_dim": 16, "sliding_window": 4096, "query_pre_attn_scalar": 16}
V1, V3 = "tokenizer.model.v1", "240323.model.v3"

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "llama-guard-1",
            "llama-guard-1",
            "meta-llama/LlamaGuard-7b",
            "alike",
            _spm(V1, "always", "llama-guard-1"),
            _llama,
            LLAMA_GUARD_1,
            wanted.LLAMA_GUARD_1,
        ),
        Family(
            "llama-guard-2",
            "llama-guard-2",
            "meta-llama/Meta-Llama-Guard-2-8B",
            "real",
            lambda: shapes.llama3_tokenizer(template=TEMPLATE_TEXTS["llama-guard-2"]()),
            _llama,
            LLAMA_GUARD_2,
            wanted.LLAMA_GUARD_2,
        ),
        Family(
            "llama-guard-3-1b",
            "llama-guard-3",
            "meta-llama/Llama-Guard-3-1B",
            "real",
            _llama_3(shapes.TEMPLATE_1B),
            _llama,
            LLAMA_GUARD_3_1B,
            wanted.LLAMA_GUARD_3_1B,
        ),
        Family(
            "llama-guard-3-11b-vision",
            "llama-guard-3",
            "meta-llama/Llama-Guard-3-11B-Vision",
            "real",
            _llama_3(shapes.TEMPLATE_1B),
            _mllama,
            LLAMA_GUARD_3_1B,
            wanted.LLAMA_GUARD_3_1B,
        ),
        Family(
            "llama-guard-4",
            "llama-guard-4",
            "meta-llama/Llama-Guard-4-12B",
            "real",
            llama_4_tokenizer,
            llama_4,
            LLAMA_GUARD_4,
            wanted.LLAMA_GUARD_4,
        ),
        Family(
            "shieldgemma",
            "shieldgemma",
            "google/shieldgemma-2b, -9b, -27b",
            "trained",
            gemma_tokenizer,
            lambda tokenizer: made("Gemma2ForCausalLM", tokenizer, **GEMMA),
            SHIELD_GEMMA,
            wanted.SHIELD_GEMMA,
        ),
        Family(
            "granite-guardian-3.0",
            "granite-guardian-3.0",
            "ibm-granite/granite-guardian-3.0 and -3.1",
            "trained",
            _granite("granite-guardian-3.0"),
            lambda tokenizer: made("GraniteForCausalLM", tokenizer, **_GRANITE),
            GRANITE_GUARDIAN,
            wanted.GRANITE_3_0,
            gain=12.0,
        ),
        Family(
            "granite-guardian-3.2",
            "granite-guardian-3.2",
            "ibm-granite/granite-guardian-3.2-3b-a800m",
            "trained",
            _granite("granite-guardian-3.2"),
            lambda tokenizer: made(
                "GraniteMoeForCausalLM", tokenizer, num_local_experts=8, num_experts_per_tok=2, **_GRANITE
            ),
            GRANITE_GUARDIAN,
            wanted.GRANITE_3_2,
            gain=12.0,
        ),
        Family(
            "granite-guardian-3.3",
            "granite-guardian-3.3",
            "ibm-granite/granite-guardian-3.3-8b",
            "trained",
            _granite("granite-guardian-3.3"),
            lambda tokenizer: made("GraniteForCausalLM", tokenizer, **_GRANITE),
            GRANITE_GUARDIAN_3_3,
            wanted.GRANITE_3_3,
            gain=12.0,
        ),
        Family(
            "granite-guardian-4.1",
            "granite-guardian-4.1",
            "ibm-granite/granite-guardian-4.1-8b",
            "trained",
            _granite("granite-4"),
            lambda tokenizer: made("GraniteForCausalLM", tokenizer, **_GRANITE),
            GRANITE_GUARDIAN_3_3,
            wanted.GRANITE_4_1,
            called="ibm-granite/granite-guardian-4.1-8b",
            gain=12.0,
        ),
        Family(
            "wildguard",
            "wildguard",
            "allenai/wildguard",
            "real",
            _spm(V3, "always", None),
            lambda tokenizer: made("MistralForCausalLM", tokenizer, sliding_window=None),
            WILDGUARD,
            wanted.WILD_GUARD,
            called="allenai/wildguard",
        ),
        Family(
            "qwen3guard",
            "qwen3guard",
            "Qwen/Qwen3Guard-Gen-0.6B, -4B, -8B",
            "real",
            shapes.qwen3_tokenizer,
            lambda tokenizer: made("Qwen3ForCausalLM", tokenizer, head_dim=16),
            QWEN3_GUARD,
            wanted.QWEN3_GUARD_STRICT,
        ),
    )
}


@cache
def tokenizer_of(name: str) -> Any:
    """The family's tokenizer, made once."""
    return FAMILIES[name].make_tokenizer()


@cache
def model_of(name: str) -> Any:
    """The family's random model with a fitted head, made once."""
    family = FAMILIES[name]
    return answering(family.build, family, tokenizer_of(name))


@cache
def guard(name: str) -> Guard:
    """A guard of the family, made once."""
    family = FAMILIES[name]
    return Guard(model_of(name), tokenizer_of(name), name=family.called, min_verdict_mass=0)


def answering(build: Callable[[Any], Any], family: Family, tokenizer: Any, *, lift: float = 5.0) -> Any:
    """Return a random model that answers as guards of `family` do: scores span 0.01 to 0.99, hazards differ."""
    torch.manual_seed(0)
    model = build(tokenizer).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        if ".layers." in name and weight.dim() > 1 and "vision" not in name:
            weight.mul_(family.gain)
    fit_head(model, tokenizer, family, lift=lift)
    return model


# The head

CONTENTS: list[Chat] = [*CHATS, *(wanted.chat(text) for text in shapes._CONTENTS[:12])]
CONTENTS += [wanted.chat(text, shapes._CONTENTS[-i]) for i, text in enumerate(shapes._CONTENTS[:12])]


@dataclass(frozen=True)
class _Place:
    """A kind of position at which answers are read: final hidden states there, and the answers' token ids."""

    states: torch.Tensor
    tokens: tuple[int, ...]


@torch.inference_mode()
def fit_head(model: Any, tokenizer: Any, family: Family, *, lift: float) -> None:
    """Fit the head's rows of all answers (least squares).

    At each of its positions an answer's logit stands `lift` above the log-sum of the whole vocabulary on average, and
    varies between contents; elsewhere it stays at zero. Logits are meant as the model returns them: scaled
    (Granite) and capped (Gemma 2).
    """
    places = _places(model, tokenizer, family)
    rows = list(dict.fromkeys(token for place in places for token in place.tokens))
    head = model.get_output_embeddings().weight
    others = torch.ones(len(head), dtype=torch.bool)
    others[rows] = False
    rest = [_final(model, place.states @ head[others].T).logsumexp(-1) for place in places]
    variations = [_variation(place.states, len(rows)) for place in places]
    design = torch.cat([place.states for place in places])
    ridge = 1e-4 * design.square().mean() * torch.eye(design.shape[1])
    for i, token in enumerate(rows):
        goals = []
        for place, level, variation in zip(places, rest, variations, strict=True):
            final = torch.zeros(len(level))
            if token in place.tokens:
                tilt = family.definition.tilt if place.tokens.index(token) % 2 == 0 else 0.0
                final = level.mean() + lift - tilt + 1.5 * variation[:, i]
            goals.append(_raw(model, final))
        head[token] = torch.linalg.solve(design.T @ design + ridge, design.T @ torch.cat(goals))


def _places(model: Any, tokenizer: Any, family: Family) -> list[_Place]:
    """Ask the definition where it reads, over varied contents."""
    found: dict[str, tuple[list[torch.Tensor], dict[int, None]]] = {}
    for one in CONTENTS:
        for kind, ids, tokens in family.definition.places(tokenizer, one, family.policy):
            states, known = found.setdefault(kind, ([], {}))
            states.append(_last_state(model, ids))
            known.update(dict.fromkeys(tokens))
    return [_Place(torch.stack(states), tuple(tokens)) for states, tokens in found.values()]


def _last_state(model: Any, ids: Sequence[int]) -> torch.Tensor:
    with _head_inputs(model) as seen:
        model(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=1)
    return seen[0][0, -1].clone()


@contextmanager
def _head_inputs(model: Any) -> Iterator[list[torch.Tensor]]:
    seen: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        yield seen
    finally:
        hook.remove()


def _variation(states: torch.Tensor, n: int) -> torch.Tensor:
    """Return `n` linear functions of the states (n_states, n), of mean 0 and deviation 1; neighbours differ most."""
    centred = states - states.mean(0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    n_kept = min(8, int((sizes > 0.1 * sizes[0]).sum()))
    mixes = torch.randn(n_kept, n, generator=torch.Generator().manual_seed(1))
    mixes[:, 1::2] = -mixes[:, 0:-1:2]
    mixed = left[:, :n_kept] @ mixes
    return mixed / mixed.std(0)


def _final(model: Any, raw: torch.Tensor) -> torch.Tensor:
    """From the head's outputs to the model's logits."""
    config = model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    raw = raw / getattr(config, "logits_scaling", 1.0)
    return cap * torch.tanh(raw / cap) if cap else raw


def _raw(model: Any, final: torch.Tensor) -> torch.Tensor:
    """From logits to what the head must give."""
    config = model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    raw = cap * torch.atanh((final / cap).clamp(-0.99, 0.99)) if cap else final
    return raw * getattr(config, "logits_scaling", 1.0)


# Training

ANY_CONTROL = ["<bos>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
ANY_CONTROL += ["<|header_start|>", "<|header_end|>", "<|eot|>", "<start_of_turn>", "<end_of_turn>"]
"""Control tokens of all families: one vocabulary that can write every family's prompt."""


def universal_tokenizer(chat_template: str) -> PreTrainedTokenizerFast:
    """A trained vocabulary that writes every family's prompt."""
    tokenizer = granite_tokenizer(chat_template, ANY_CONTROL)
    tokenizer.bos_token = "<bos>"
    return tokenizer


@cache
def trained(name: str, n_steps: int = 140) -> Any:
    """A model that learned, word for word, a family's prompts and how they are answered."""
    family = FAMILIES[name]
    tokenizer = universal_tokenizer(TEMPLATE_TEXTS[name]())
    torch.manual_seed(0)
    model = made("LlamaForCausalLM", tokenizer, num_hidden_layers=2, hidden_size=96, head_dim=24)
    rows = []
    for one in CONTENTS:
        if max(len(message["content"]) for message in one) < 60:
            grave = any(word in one[-1]["content"] for word in ("bomb", "knife", "gun", "kill", "hate"))
            prompt = family.definition.prompts(one, family.policy)[0]
            answer = family.definition.words[grave == (family.definition.words[0] == "safe")]
            rows.append(wanted.plain(tokenizer, prompt + family.definition.answer_prefix + answer))
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (width - len(row)) for row in rows])
    ends = torch.tensor([len(row) - 1 for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=n_steps)
    for step in range(n_steps):
        batch = torch.randperm(len(rows), generator=torch.Generator().manual_seed(step))[:6]
        out = model(input_ids=ids[batch], labels=labels[batch])
        at = torch.arange(len(batch)), ends[batch]
        verdicts = torch.nn.functional.cross_entropy(out.logits[at[0], at[1] - 1], ids[batch][at])
        (out.loss + verdicts).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval().requires_grad_(False)


def evidence(guard: Guard) -> Evidence:
    """What the registry is shown of a guard."""
    tokenizer = guard.tokenizer
    return Evidence(
        name=guard.name,
        model_type=guard.model.config.model_type,
        architecture=type(guard.model).__name__,
        template=tokenizer.chat_template or "",
    )
