"""Write the guard as GGUF Q8_0 and prove that transformers reads back the same model.

Usage: ``python -m training.export --checkpoint build/guard/final.pt --out guard_magic/embedded``. The file holds the
tokenizer and the chat template too, so that llama.cpp and others can open it alone.
"""

import argparse
import json
import os
import time
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from training.examples import read_rows
from training.scoring import auc, score_rows
from training.surgery import wrap_backend

LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def load_checkpoint(path: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Open a training checkpoint as a plain float32 model and its tokenizer.

    Parameters
    ----------
    path : Path
        File written by ``training.train``.

    Returns
    -------
    tuple
        Model in eval mode, tokenizer.
    """
    saved = torch.load(path, map_location="cpu", weights_only=True)
    config = LlamaConfig(**json.loads(saved["config"]))
    model = LlamaForCausalLM(config)
    model.load_state_dict(saved["weights"])
    model.tie_weights()
    return model.eval(), wrap_backend(json.loads(saved["backend"]), config.max_position_embeddings)


def gguf_name(name: str) -> str:
    """Translate a transformers parameter name into llama.cpp's.

    Parameters
    ----------
    name : str
        For example ``model.layers.0.mlp.up_proj.weight``.

    Returns
    -------
    str
        For example ``blk.0.ffn_up.weight``.
    """
    plain = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in plain:
        return plain[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def permute_rotary(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Reorder the rows of a q or k projection as llama.cpp stores them; readers undo it.

    Parameters
    ----------
    weight : ndarray
        Shape (heads * head size, hidden size).
    n_heads : int
        Query heads for q, key-value heads for k.

    Returns
    -------
    ndarray
        The same rows in interleaved order.
    """
    rows, columns = weight.shape
    halves = weight.reshape(n_heads, 2, rows // n_heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def write_gguf(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Write a model as GGUF: matrices in Q8_0, norms in float32, tokenizer and chat template.

    Parameters
    ----------
    model : LlamaForCausalLM
        Tied embeddings, no biases.
    tokenizer : PreTrainedTokenizerFast
        Its tokenizer; other programs have nothing but this file.
    path : Path
        Written under a temporary name and renamed, so that a reader never sees half a file.
    """
    partial = path.with_suffix(".partial")
    writer = GGUFWriter(str(partial), "llama")
    _add_settings(writer, model.config)
    _add_tokenizer(writer, tokenizer)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        array = value.float().numpy()
        if ".q_proj." in name:
            array = permute_rotary(array, model.config.num_attention_heads)
        elif ".k_proj." in name:
            array = permute_rotary(array, model.config.num_key_value_heads)
        kind = GGMLQuantizationType.F32 if array.ndim == 1 else GGMLQuantizationType.Q8_0
        packed = gguf.quantize(np.ascontiguousarray(array), kind)
        writer.add_tensor(gguf_name(name), packed, raw_dtype=kind)
    _finish(writer, partial, path)


def _finish(writer: GGUFWriter, partial: Path, path: Path) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)


def add_tokenizer(source: Path, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Copy a GGUF file and write a tokenizer and a chat template into the copy.

    Parameters
    ----------
    source : Path
        A file whose tensors and settings are kept, byte by byte; a tokenizer that it holds is replaced.
    tokenizer : PreTrainedTokenizerFast
        Byte-level BPE with GPT-2's pattern.
    path : Path
        The copy; it may be ``source`` itself.
    """
    reader, partial = gguf.GGUFReader(source), path.with_suffix(".partial")
    writer = GGUFWriter(str(partial), reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith(("GGUF.", "tokenizer.")) or name == "general.architecture":
            continue
        kind, *inner = field.types
        writer.add_key_value(name, field.contents(), kind, inner[-1] if inner else None)
    _add_tokenizer(writer, tokenizer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    _finish(writer, partial, path)


def _add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    splitter, vocabulary = backend["pre_tokenizer"], backend["model"]["vocab"]
    if splitter["type"] != "ByteLevel" or not splitter["use_regex"] or splitter["add_prefix_space"]:
        raise SystemExit(f"llama.cpp's gpt-2 pattern is not this tokenizer's: {splitter}")
    special = {token["content"] for token in backend["added_tokens"] if token["special"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        raise SystemExit("the tokenizer's ids have gaps")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in backend["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.chat_template)


def _add_settings(writer: GGUFWriter, config: LlamaConfig) -> None:
    writer.add_name("guard_magic embedded guard")
    writer.add_license("Apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a tokenizer under the class name that transformers 4 and 5 both know.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
        The guard's tokenizer.
    folder : Path
        Where to.
    """
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings.pop("backend", None)
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def verify(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, data: Path, rows: int
) -> dict[str, float]:
    """Compare the shipped folder with the float model on dev conversations.

    Parameters
    ----------
    model : LlamaForCausalLM
        The float32 model.
    tokenizer : PreTrainedTokenizerFast
        Its tokenizer.
    folder : Path
        The exported folder.
    data : Path
        Folder that holds ``dev.jsonl.gz``.
    rows : int
        How many dev rows to compare, spread over the file.

    Returns
    -------
    dict
        Largest difference of P(unsafe), both AUCs, load time in seconds, bytes.
    """
    started = time.perf_counter()
    shipped = AutoModelForCausalLM.from_pretrained(folder, gguf_file="guard.gguf")
    shipped_tokenizer = AutoTokenizer.from_pretrained(folder)
    seconds = time.perf_counter() - started
    dev = read_rows(data / "dev.jsonl.gz")
    dev = dev[:: max(1, len(dev) // rows)]
    before = score_rows(model, tokenizer, [row["messages"] for row in dev])
    after = score_rows(shipped, shipped_tokenizer, [row["messages"] for row in dev])
    labels = np.array([row["label"] for row in dev])
    difference = np.abs(before["unsafe"] - after["unsafe"])
    return {
        "rows": len(dev),
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "auc_float": auc(labels, before["log_odds"]),
        "auc_shipped": auc(labels, after["log_odds"]),
        "min_mass": float(after["mass"].min()),
        "load_seconds": seconds,
        "weights_bytes": (folder / "guard.gguf").stat().st_size,
        "folder_bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }


def main() -> None:
    """Export a checkpoint and verify it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/guard/final.pt"))
    parser.add_argument("--out", type=Path, default=Path("guard_magic/embedded"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", type=int, default=1000, help="dev rows to compare")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer = load_checkpoint(args.checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, args.out)
    write_gguf(model, tokenizer, args.out / "guard.gguf")
    report = verify(model, tokenizer, args.out, args.data, args.rows)
    print(json.dumps(report))
    if abs(report["auc_float"] - report["auc_shipped"]) > 0.005:
        raise SystemExit("the exported model is not the trained one: check the order of q and k rows")


if __name__ == "__main__":
    main()
