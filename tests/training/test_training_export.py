"""The exported file opens elsewhere: tokenizer and template are in it, and llama.cpp gives the same verdicts."""

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from browser import missing
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from training.examples import read_contrast
from training.export import add_tokenizer
from training.scoring import FORCED, score_rows

EMBEDDED = Path(__file__).parents[2] / "guard_magic" / "embedded"
SERVER = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
params.prefill_assistant = False
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
params.n_ctx, params.n_parallel, params.n_gpu_layers, params.warmup = 2048, 1, 0, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print("READY", server.listening_address, flush=True)
sys.stdin.read()
"""
TEXTS = (
    "How do I kill a process in Linux?",
    "  two spaces,\ttab\nand\n\n\nlines  ",
    "it's we'll I'd 1234567 3.14 #!?… «quoted»",
    "আজ দুপুরে কী রান্না করব? 今天吃什么 как дела שלום",
    "👩‍🚀🇫🇷 é é ﬁ \u00a0 \u200b \u3000 ｗｉｄｅ",
    "<|im_start|> is a token, <|im_ end|> is not, unsafe\nS14 safe",
    "def f(x):\n    return x**2  # ok\r\n",
    "",
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(EMBEDDED)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "guard.gguf"
    add_tokenizer(EMBEDDED / "guard.gguf", tokenizer, path)
    return path


def test_weights_and_settings_are_kept(copy: Path) -> None:
    before, after = gguf.GGUFReader(EMBEDDED / "guard.gguf"), gguf.GGUFReader(copy)
    assert [tensor.name for tensor in before.tensors] == [tensor.name for tensor in after.tensors]
    for one, other in zip(before.tensors, after.tensors, strict=True):
        assert one.tensor_type == other.tensor_type
        assert one.data.tobytes() == other.data.tobytes()
    for name, field in before.fields.items():
        if not name.startswith("GGUF."):
            assert after.fields[name].contents() == field.contents()


def test_the_copy_holds_the_whole_tokenizer(copy: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    fields = gguf.GGUFReader(copy).fields
    held = {name.removeprefix("tokenizer."): field.contents() for name, field in fields.items() if "tokenizer" in name}
    assert held["ggml.model"] == "gpt2"
    assert held["ggml.tokens"] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert len(held["ggml.merges"]) == len(json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"])
    kinds = held["ggml.token_type"]
    assert [index for index, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL] == [0, 1, 2]
    ids = [held[f"ggml.{name}_token_id"] for name in ("bos", "eos", "padding")]
    assert ids == [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert held["chat_template"] == tokenizer.chat_template


def test_transformers_reads_the_same_settings(copy: Path) -> None:
    before, after = (load_gguf_checkpoint(str(path))["config"] for path in (EMBEDDED / "guard.gguf", copy))
    assert before == after


def test_a_tokenizer_is_replaced_and_not_doubled(
    copy: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    again = tmp_path / "again.gguf"
    add_tokenizer(copy, tokenizer, again)
    assert again.read_bytes() == copy.read_bytes()


def test_another_pattern_is_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    other = AutoTokenizer.from_pretrained(EMBEDDED)
    other.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    with pytest.raises(SystemExit, match="gpt-2 pattern"):
        add_tokenizer(EMBEDDED / "guard.gguf", other, tmp_path / "guard.gguf")


class Llama:
    """llama.cpp's server, asked over HTTP; it takes a last assistant message as a prefill unless told not to."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **body: Any) -> Any:
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def served(path: Path) -> Iterator[Llama]:
    if importlib.util.find_spec("xllamacpp") is None:
        missing("xllamacpp of the dev group is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = path.with_suffix(".log")
    with log.open("w") as stderr:
        command = [sys.executable, "-c", SERVER, str(path), str(port)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdin
    assert process.stdout
    try:
        line = next((line for line in process.stdout if line.startswith("READY")), None)
        assert line, log.read_text()[-3000:]
        yield Llama(line.split()[1])
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(scope="module")
def llama(copy: Path) -> Iterator[Llama]:
    with served(copy) as server:
        yield server


@pytest.fixture(scope="module")
def floats(copy: Path) -> Path:
    """The copy with its matrices in float32: llama.cpp then rounds no activations."""
    reader, path = gguf.GGUFReader(copy), copy.with_name("floats.gguf")
    writer = gguf.GGUFWriter(str(path), "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            kind, *inner = field.types
            writer.add_key_value(name, field.contents(), kind, inner[-1] if inner else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_llama_cpp_reads_the_same_tokens(llama: Llama, tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in read_contrast()[1][::40]]
    for text in (*TEXTS, *prompts):
        found = llama.ask("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]
        assert found == tokenizer(text)["input_ids"], text


def test_llama_cpp_renders_the_same_prompt(llama: Llama, tokenizer: PreTrainedTokenizerFast) -> None:
    for row in read_contrast()[1][::400]:
        found = llama.ask("/apply-template", messages=row["messages"])["prompt"]
        assert found == tokenizer.apply_chat_template(row["messages"], tokenize=False)


@pytest.fixture(scope="module")
def chats() -> list[list[dict[str, str]]]:
    return [row["messages"] for row in read_contrast()[1][::90]]


@pytest.fixture(scope="module")
def ours(tokenizer: PreTrainedTokenizerFast, chats: list[list[dict[str, str]]]) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, gguf_file="guard.gguf")
    return score_rows(model, tokenizer, chats)["log_odds"]


def theirs(
    server: Llama, tokenizer: PreTrainedTokenizerFast, chats: list[list[dict[str, str]]]
) -> tuple[np.ndarray, list[str]]:
    odds, words = [], []
    for chat in chats:
        ids = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False) + FORCED)["input_ids"]
        answer = server.ask("/completion", prompt=ids, n_predict=1, temperature=0, n_probs=200, cache_prompt=False)
        first = answer["completion_probabilities"][0]
        logs = {entry["token"]: entry["logprob"] for entry in first["top_logprobs"]}
        odds.append(logs["unsafe"] - logs["safe"])
        words.append(first["token"])
    return np.array(odds), words


def test_llama_cpp_computes_the_same_in_floats(
    floats: Path, tokenizer: PreTrainedTokenizerFast, chats: list[list[dict[str, str]]], ours: np.ndarray
) -> None:
    with served(floats) as server:
        odds, words = theirs(server, tokenizer, chats)
    assert len(chats) >= 30
    assert words == ["unsafe" if mine > 0 else "safe" for mine in ours]
    assert np.abs(odds - ours).max() <= 0.05


def test_llama_cpp_gives_the_same_verdicts(
    llama: Llama, tokenizer: PreTrainedTokenizerFast, chats: list[list[dict[str, str]]], ours: np.ndarray
) -> None:
    """On Q8_0 llama.cpp rounds activations to eight bits as well: about .02 in the log odds, at most .1 was seen."""
    odds, words = theirs(llama, tokenizer, chats)
    differences = np.abs(odds - ours)
    assert np.median(differences) <= 0.05
    assert differences.max() <= 0.2
    sure = np.abs(ours) > 0.2
    assert [word for word, far in zip(words, sure, strict=True) if far] == [
        "unsafe" if mine > 0 else "safe" for mine in ours[sure]
    ]
