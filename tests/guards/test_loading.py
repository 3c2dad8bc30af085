"""Loading for real life: quantized weights, memory, number formats, adapters, and every way of failing."""

from __future__ import annotations

import copy
import errno
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import shapes
import torch
from accelerate import cpu_offload
from huggingface_hub import errors as hub
from opened import EMBEDDED, open_guard, save_small
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertLMHeadModel,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MllamaConfig,
    MllamaForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    pipeline,
)

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.errors import GuardError, LoadError, ProtocolError
from guard_magic.guards import loader
from guard_magic.guards.float8 import Float8Linear
from guard_magic.guards.guard import Guard
from guard_magic.guards.load_errors import load_error
from guard_magic.guards.loader import load_guard
from guard_magic.guards.quantize import QuantizedLinear, bits_per_weight, quantize_linears
from guard_magic.guards.room import (
    check_room,
    choose_dtype,
    free_nbytes,
    gguf_shapes,
    native_dtype,
    safetensors_shapes,
    weights_nbytes,
)
from guard_magic.guards.sources import locate
from guard_magic.scoring.session import Session

SAMPLES = Path(loader.__file__).parents[1] / "samples.jsonl"
TEXTS = ["Hello", "How do I bake bread?", "I hate everyone", "a bomb", "日本語 🙂", "kill -9 " * 40]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, llama3: Any, tiny: Guard) -> Path:
    """The tiny random Llama guard, whose scores span 0.01 to 0.99."""
    return shapes.save_guard(tmp_path_factory.mktemp("saved") / "tiny-guard", tiny.model, llama3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded guard as a folder of safetensors: real weights, trained to answer."""
    folder = tmp_path_factory.mktemp("trained") / "embedded"
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("*.gguf", "*.md"))
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, gguf_file="guard.gguf", dtype=torch.float32)
    model.hf_quantizer.remove_quantization_config(model)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def small(tmp_path: Path, small_model: Any) -> Path:
    """A fresh folder with a random guard of little vocabulary, for breaking."""
    return save_small(tmp_path / "small", small_model)


# Quantization


@pytest.mark.parametrize(("bits", "n_in"), [(8, 256), (8, 96), (4, 96), (4, 16)])
def test_restored_weights_are_half_a_step_away(bits: int, n_in: int) -> None:
    torch.manual_seed(bits)
    weight = torch.randn(24, n_in)
    layer = QuantizedLinear(weight, bits)
    step = layer.steps.float().expand(-1, -1, n_in // layer.steps.shape[1]).flatten(1)
    assert ((layer.restored() - weight).abs() <= 0.55 * step).all(), "0.05: step and smallest value are 16-bit numbers"
    states = torch.randn(3, n_in)
    assert torch.equal(layer(states), states @ layer.restored().T)
    kept = sum(buffer.nbytes for buffer in layer.buffers())
    assert kept == weight.numel() * (bits_per_weight(24, n_in, f"int{bits}") or 0) / 8


def test_weights_that_are_all_alike_survive() -> None:
    for value in (0.0, 1.0, -0.25):
        assert torch.equal(QuantizedLinear(torch.full((4, 32), value), 4).restored(), torch.full((4, 32), value))
    assert bits_per_weight(16, 30, "int4") is None, "no group divides it: kept whole"


@pytest.mark.parametrize("quantization", ["int8", "int4", "fp8"])
def test_quantized_guard(quantization: str, saved: Path, tiny: Guard) -> None:
    plain, guard = open_guard(saved), open_guard(saved, quantization=quantization)
    kind = Float8Linear if quantization == "fp8" else QuantizedLinear
    assert isinstance(guard.model.model.layers[1].mlp.down_proj, kind)
    head = guard.model.get_output_embeddings()
    assert type(head) is torch.nn.Linear
    assert torch.equal(head.weight, plain.model.lm_head.weight), "verdicts are read from the head in float32"
    assert guard.nbytes == weights_nbytes(safetensors_shapes(saved), 4, quantization) + _tables(guard)
    assert guard.label == f"opened@{plain.revision}-{quantization}"
    encoded = guard.encode(parse_conversation("Hello"))
    assert guard.keys([encoded]) != plain.keys([encoded]), "equal number format, other weights"
    together = [v.unsafe_score for v in guard.score(TEXTS)]
    alone = [guard.score([text])[0].unsafe_score for text in TEXTS]
    noise = 1e-3 if quantization == "fp8" else 1e-5  # measured 2e-5: float32's noise can go over the edge of a step
    assert together == pytest.approx(alone, abs=noise), "a row does not depend on its neighbours"
    assert guard.score(["I hate everyone"], generate=True)[0].generated_text
    in_place = quantize_linears(open_guard(saved).model, quantization)
    streamed = dict(guard.model.named_buffers())
    assert all(torch.equal(buffer, streamed[name]) for name, buffer in in_place.named_buffers())
    if quantization == "int8":  # random weights, three times as large as usual: chaotic in 4 bits (0.84 at worst)
        whole = [v.unsafe_score for v in plain.score(TEXTS)]
        assert together == pytest.approx(whole, abs=0.05), "measured: 0.027 at worst"


def _tables(guard: Guard) -> int:
    """Bytes of the rotary tables, which are in no file."""
    return sum(buffer.nbytes for name, buffer in guard.model.named_buffers() if "inv_freq" in name)


@pytest.mark.parametrize(
    ("quantization", "worst", "mean", "share"),
    [("int8", 0.03, 0.004, 0.44), ("int4", 0.35, 0.06, 0.36), ("fp8", 0.12, 0.02, 0.44)],
)
def test_quantized_scores_of_a_trained_guard(
    quantization: str, worst: float, mean: float, share: float, trained: Path
) -> None:
    """Measured on 60 samples: int8 0.012 at worst and 0.0013 on average, int4 0.24 and 0.037, fp8 0.036 and 0.0071.

    The embedded guard has 36 million weights; larger ones lose less.
    """
    lines = SAMPLES.read_text(encoding="utf-8").splitlines()[:60]
    rows = [json.loads(line)["messages"] for line in lines]
    whole, guard = open_guard(trained), open_guard(trained, quantization=quantization)
    pairs = zip(whole.score(rows), guard.score(rows), strict=True)
    deltas = [abs(float(a.unsafe_score) - float(b.unsafe_score)) for a, b in pairs]
    assert 0 < max(deltas) < worst
    assert sum(deltas) / len(deltas) < mean
    assert guard.nbytes < share * whole.nbytes


def test_quantized_in_bfloat16(small: Path) -> None:
    guard = open_guard(small, quantization="int4", dtype="bfloat16")
    assert guard.dtype == "bfloat16"
    assert guard.model.model.layers[0].mlp.up_proj.restored().dtype == torch.bfloat16
    assert all(v.unsafe_score is not None for v in guard.score(["Hello", "a bomb"]))


def test_quantization_that_is_refused(small: Path) -> None:
    with pytest.raises(LoadError, match="no quantization 'int3'") as caught:
        open_guard(small, quantization="int3")
    assert "'int8', 'int4' or 'fp8'" in caught.value.hint
    for quantization in ("int8", "fp8"):
        with pytest.raises(LoadError, match=r"GGUF files: guard\.gguf is quantized already"):
            load_guard("embedded", name="e", quantization=quantization)
    config = json.loads((small / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (small / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadError, match="quantized already, so not as int8"):
        open_guard(small, quantization="int8")


# Number formats and memory


@pytest.mark.parametrize(
    ("kind", "options", "dtype"),
    [
        ("cpu", {}, torch.float32),
        ("cuda", {"capability": (7, 5)}, torch.float16),
        ("cuda", {"capability": (8, 0)}, torch.bfloat16),
        ("cuda", {"capability": (9, 0)}, torch.bfloat16),
        ("mps", {"new_macos": True}, torch.bfloat16),
        ("mps", {"new_macos": False}, torch.float16),
        ("xpu", {}, torch.bfloat16),
    ],
)
def test_native_number_formats(kind: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    assert native_dtype(kind, **options) == dtype


def test_number_formats_by_name() -> None:
    assert choose_dtype(None, CPU) == torch.float32
    assert choose_dtype("torch.bfloat16", CPU) == torch.bfloat16
    for wrong in ("int8", "float8_e4m3fn", "bf16", "nn"):
        with pytest.raises(LoadError, match=f"no number format '{wrong}'"):
            choose_dtype(wrong, CPU)


def test_estimates_are_what_is_taken(embedded: Guard, small: Path, small_model: Any) -> None:
    assert weights_nbytes(gguf_shapes(EMBEDDED / "guard.gguf"), 4) == embedded.nbytes - _tables(embedded)
    guard = open_guard(small, dtype="float16")
    assert weights_nbytes(safetensors_shapes(small), 2) == guard.nbytes - _tables(guard)
    (small / "model.safetensors").unlink()
    small_model.save_pretrained(small, max_shard_size="2MB")
    assert len(list(small.glob("*.safetensors"))) > 1
    guard = open_guard(small)
    assert weights_nbytes(safetensors_shapes(small), 4) == guard.nbytes - _tables(guard)


def test_sizes_that_are_not_known_never_block(tmp_path: Path) -> None:
    assert safetensors_shapes(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    assert safetensors_shapes(tmp_path) is None
    (tmp_path / "guard.gguf").write_bytes(b"no")
    assert gguf_shapes(tmp_path / "guard.gguf") is None
    check_room("x", None, CPU, torch.float32)
    assert free_nbytes(torch.device("meta")) is None


def test_free_memory_minds_the_container(tmp_path: Path) -> None:
    system = free_nbytes(CPU, control_group=tmp_path)
    assert system is not None
    assert system > 0
    (tmp_path / "memory.stat").write_text("anon 300\nfile 5000\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_nbytes(CPU, control_group=tmp_path) == 700
    (tmp_path / "memory.max").write_text("max\n")
    assert free_nbytes(CPU, control_group=tmp_path) > 1000


def claim(folder: Path, shape: list[int]) -> None:
    """Write a header that claims one matrix of this shape, and no weights."""
    header = {"model.layers.0.mlp.up_proj.weight": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)


def test_too_little_memory_is_said_before_loading(small: Path) -> None:
    free = free_nbytes(CPU) or 0
    claim(small, [free // 4096 // 3, 4096])  # float32 needs 4/3 of what is free, int8 a third
    with pytest.raises(LoadError, match=r"needs about [\d,.]+ GB of memory on cpu and [\d,.]+ GB are free") as caught:
        open_guard(small)
    assert "quantization='int8' (" in caught.value.hint
    assert "quantization='int4' (" in caught.value.hint
    assert "unload other guards, or use a smaller guard" in caught.value.hint
    claim(small, [free // 4096 * 2, 4096])
    with pytest.raises(LoadError, match="needs about") as caught:
        open_guard(small)
    assert "int8" not in caught.value.hint, "nothing is suggested that would not fit"
    with pytest.raises(LoadError, match="needs about"):
        open_guard(small, quantization="int8")


# What is opened, and how


def test_guards_that_read_images_are_opened_as_such(tmp_path: Path) -> None:
    text = {"vocab_size": 16_000, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "cross_attention_layers": [1], "pad_token_id": 0}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_global_layers": 1}
    vision |= {"attention_heads": 2, "vision_output_dim": 64, "image_size": 28, "intermediate_layers_indices": [0]}
    config = MllamaConfig(vision_config=vision, text_config=text)
    folder = save_small(tmp_path / "vision", MllamaForConditionalGeneration(config).eval())
    found = locate(folder)
    model, _, _ = loader._open(found, "vision", CPU, torch.float32, None)
    assert type(model) is MllamaForConditionalGeneration
    with torch.inference_mode():
        assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 16_000)
    model, _, _ = loader._open(found, "vision", CPU, torch.float32, "int8")
    assert isinstance(model.get_submodule("model.language_model.layers.0.mlp.up_proj"), QuantizedLinear)
    assert type(model.get_output_embeddings()) is torch.nn.Linear


def test_the_bar_of_loading(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_guard(small)
    assert "Loading weights" in capfd.readouterr().err
    load_guard("embedded", name="embedded", device="cpu")
    assert "Loading" not in capfd.readouterr().err


@pytest.fixture
def adapter(tmp_path: Path, small: Path) -> Path:
    """A LoRA adapter of the small guard, with the base's folder in its config."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(small)}))
    torch.manual_seed(1)
    name = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    shapes_of = {"A": (8, 64), "B": (64, 8)}
    weights = {name.format(i, part): torch.randn(size) / 8 for i in (0, 1) for part, size in shapes_of.items()}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def test_adapters_are_merged(adapter: Path, small: Path) -> None:
    base, guard = open_guard(small), open_guard(adapter)
    lora = load_file(adapter / "adapter_model.safetensors")
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    q_proj = base.model.model.layers[0].self_attn.q_proj.weight
    merged = q_proj + 2 * lora[key.format("B")] @ lora[key.format("A")]  # alpha / r is 16 / 8
    assert not torch.allclose(q_proj, merged, atol=1e-2)
    assert torch.allclose(guard.model.model.layers[0].self_attn.q_proj.weight, merged, atol=1e-6)
    assert type(guard.model) is LlamaForCausalLM
    assert guard.score(["Hello"])[0].log_odds != base.score(["Hello"])[0].log_odds
    in_8_bits = open_guard(adapter, quantization="int8")
    assert isinstance(in_8_bits.model.model.layers[0].self_attn.q_proj, QuantizedLinear)
    assert in_8_bits.revision == f"{guard.revision}-int8"
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))
    assert open_guard(adapter).revision != guard.revision, "another base is another guard"


def test_adapters_that_cannot_be_merged(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)  # what Python itself does for a module that must not be imported
        with pytest.raises(LoadError, match="is a PEFT adapter, and the package that merges it is missing") as caught:
            open_guard(adapter)
        assert caught.value.hint == "pip install peft"
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(LoadError, match=r"no adapter_model\.safetensors"):
        open_guard(adapter)
    for base, says in ((None, "does not name its base"), (str(EMBEDDED), "adapter of a GGUF"), ("/no", "no folder")):
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
        with pytest.raises(LoadError, match=says):
            open_guard(adapter)


# GGUF files in folders


@pytest.fixture
def ggufs(tmp_path: Path) -> Path:
    """A folder with the embedded guard's GGUF file and tokenizer."""
    return Path(shutil.copytree(EMBEDDED, tmp_path / "ggufs", ignore=shutil.ignore_patterns("*.md")))


def opened(place: Any) -> Guard:
    return Session().load(place, name="opened", device="cpu")


def test_of_several_gguf_files_none_is_chosen(ggufs: Path) -> None:
    (ggufs / "Other-Q4.GGUF").symlink_to(ggufs / "guard.gguf")
    with pytest.raises(LoadError, match=r"holds 2 GGUF files: Other-Q4\.GGUF, guard\.gguf") as caught:
        opened(ggufs)
    assert f"load('{ggufs}/Other-Q4.GGUF')" in caught.value.hint
    for i in range(20):
        (ggufs / f"more-{i}.gguf").symlink_to(ggufs / "guard.gguf")
    with pytest.raises(LoadError, match=r"holds 22 GGUF files: [^\n]* …"):
        opened(ggufs)
    assert locate(ggufs / "Other-Q4.GGUF").gguf == "Other-Q4.GGUF", "the one that is named is read"


def test_a_gguf_file_is_found_beside_a_config_and_in_capitals(ggufs: Path, embedded: Guard, small: Path) -> None:
    (ggufs / "guard.gguf").rename(ggufs / "GUARD.GGUF")
    shutil.copy(small / "config.json", ggufs / "config.json")
    guard = opened(ggufs)
    assert guard.score(TEXTS)[2].log_odds == pytest.approx(embedded.score(TEXTS)[2].log_odds, abs=1e-3)
    assert locate(ggufs / "GUARD.GGUF").gguf == "GUARD.GGUF"
    shutil.copy(small / "model.safetensors", ggufs / "model.safetensors")
    assert locate(ggufs).gguf is None, "a whole model of safetensors comes first"


def test_an_adapter_is_not_passed_over_for_a_gguf_file(adapter: Path, ggufs: Path) -> None:
    (adapter / "guard.gguf").symlink_to(ggufs / "guard.gguf")
    assert locate(adapter).gguf is None


def test_paths_are_places(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    guard = session.load(small, device="cpu", min_verdict_mass=0)
    assert guard.name == "small"
    assert session.load(str(small), device="cpu", min_verdict_mass=0) is guard
    monkeypatch.setenv("HOME", str(small.parent))
    assert locate("~/small").where == str(small)


# Models loaded elsewhere


def refused(model: Any, tokenizer: Any, says: str, hint: str, kind: type[GuardError] = ProtocolError) -> None:
    for make in (lambda: Guard(model, tokenizer, name="g"), lambda: Session().wrap(model, tokenizer, name="g")):
        with pytest.raises(kind, match=says) as caught:
            make()
        assert hint in caught.value.hint


@pytest.fixture
def fresh(small_model: Any) -> Any:
    return copy.deepcopy(small_model)


@pytest.fixture(scope="module")
def words() -> Any:
    return AutoTokenizer.from_pretrained(EMBEDDED)


def test_parts_of_the_wrong_kind(fresh: Any, words: Any) -> None:
    refused(words, fresh, "model and tokenizer are swapped", "wrap(model, tokenizer")
    pipe = pipeline("text-generation", model=fresh, tokenizer=words)
    refused(pipe, words, "is not a model of transformers", "wrap(pipe.model, pipe.tokenizer")
    refused("meta-llama/Llama-Guard-3-8B", words, "is not a model of transformers", "guard_magic.load()")
    refused(None, words, "None .* is not a model", "AutoModelForCausalLM")
    refused(torch.nn.Linear(2, 2), words, "Linear is not a model of transformers: it has no config", "Causal")
    refused(torch.nn.DataParallel(fresh), words, "inside a DataParallel", "model.module")
    refused(fresh.train(), words, "training mode", "model.eval()")


def test_models_that_write_nothing(fresh: Any, words: Any) -> None:
    sizes = {"vocab_size": 16_384, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = BertConfig(**sizes, num_attention_heads=2)
    refused(fresh.model, words, "LlamaModel has no head that writes text", "AutoModelForCausalLM")
    for kind in (BertModel, BertForMaskedLM, BertForSequenceClassification):
        refused(kind(config).eval(), words, f"{kind.__name__} has no head that writes text", "AutoModelForCausalLM")
    refused(BertLMHeadModel(config).eval(), words, r"g \(BertLMHeadModel\) is not causal", "encoders")
    t5 = T5Config(vocab_size=16_384, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    refused(T5ForConditionalGeneration(t5).eval(), words, "has an encoder beside its decoder", "Causal")
    bloom = BloomForCausalLM(BloomConfig(vocab_size=16_384, hidden_size=16, n_layer=1, n_head=2)).eval()
    refused(bloom, words, "does not say how many tokens", "max_position_embeddings")


def test_models_that_cannot_be_run(fresh: Any, words: Any) -> None:
    for end in (fresh.model.embed_tokens, fresh.lm_head):
        away = copy.deepcopy(fresh)
        cpu_offload(away.get_submodule(next(name for name, module in fresh.named_modules() if module is end)))
        refused(away, words, "1 of the model's weights are on no device, such as .*: they were offloaded", "device_map")
    refused(copy.deepcopy(fresh).to("meta"), words, "weights are on no device", "quantization='int8'")
    tuples = copy.deepcopy(fresh)
    tuples.config.return_dict = False
    refused(tuples, words, "return_dict=False", "config.return_dict = True")
    broken = copy.deepcopy(fresh)
    broken.model.layers[0].mlp.to("meta")
    refused(broken, words, "3 of the model's weights are on no device", "device_map")
    layers = copy.deepcopy(fresh)
    cpu_offload(layers.model.layers[1])
    refused(layers, words, "9 of the model's weights are on no device", "device_map")
    odd = copy.deepcopy(fresh)
    odd.model.layers[0].mlp.up_proj = torch.nn.Linear(63, 96).eval()
    refused(odd, words, "g cannot be run: RuntimeError: ", "whole, on one device")
    full = copy.deepcopy(fresh)
    full.register_forward_pre_hook(run_out)
    refused(full, words, "g ran out of memory", "Unload other guards", LoadError)


def run_out(*args: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


class Processor:
    """What processors of transformers show: a tokenizer inside, and often the template outside."""

    def __init__(self, tokenizer: Any, chat_template: str | None) -> None:
        self.tokenizer, self.chat_template = tokenizer, chat_template


def test_tokenizers_of_the_wrong_kind(fresh: Any, words: Any) -> None:
    refused(fresh, None, "None .* is not a fast tokenizer", "AutoTokenizer")
    refused(fresh, "meta-llama/Llama-Guard-3-8B", "is not a fast tokenizer", "AutoTokenizer")
    refused(fresh, words.backend_tokenizer, "is not a fast tokenizer", "tokenizer_object=")
    refused(fresh, Processor(words, None), "is a processor", "processor.tokenizer")
    bare = copy.deepcopy(words)
    bare.chat_template = None
    refused(fresh, Processor(bare, "{{ messages }}"), "is a processor", "chat_template = processor.chat_template")
    refused(fresh, bare, "has no chat template", "protocol=")
    with pytest.raises(ProtocolError, match="the tokenizer has no chat template") as caught:
        Guard(fresh, bare, name="g", protocol="llama-guard-3", min_verdict_mass=0)
    assert "tokenizer.chat_template" in caught.value.hint
    few = LlamaConfig(vocab_size=100, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    refused(LlamaForCausalLM(few).eval(), words, "the model knows 100", "same place")


def test_named_chat_templates(fresh: Any, words: Any) -> None:
    plain = Guard(fresh, words, name="plain", min_verdict_mass=0)
    named = copy.deepcopy(words)
    named.chat_template = {"tool_use": "{{ 'no' }}", "default": words.chat_template}
    guard = Guard(fresh, named, name="named", min_verdict_mass=0)
    assert guard.tokens("hi <|im_end|>") == plain.tokens("hi <|im_end|>")
    assert [v.log_odds for v in guard.score(TEXTS)] == [v.log_odds for v in plain.score(TEXTS)]
    named.chat_template = {"guard": words.chat_template, "tool_use": "{{ 'no' }}"}
    refused(
        fresh, named, "chat templates called 'guard', 'tool_use', and none is the default", "chat_template['guard']"
    )


# Ways of failing: folders


def test_classifiers_are_no_guards(tmp_path: Path) -> None:
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    bert = BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=2))
    llama = LlamaForSequenceClassification(LlamaConfig(**sizes, num_attention_heads=2, pad_token_id=0))
    for model in (bert, llama):
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        with pytest.raises(LoadError, match=f"is a {type(model).__name__}: no generative guard") as caught:
            open_guard(folder)
        assert "Llama Guard" in caught.value.hint


def test_pickled_weights_are_refused(small: Path) -> None:
    torch.save(load_file(small / "model.safetensors"), small / "pytorch_model.bin")
    (small / "model.safetensors").unlink()
    with pytest.raises(LoadError, match=r"only pytorch_model\.bin, and pickled weights can run code") as caught:
        open_guard(small)
    assert "save_pretrained" in caught.value.hint
    (small / "pytorch_model.bin").unlink()
    with pytest.raises(LoadError, match="holds neither"):
        open_guard(small)


def test_broken_and_missing_files(small: Path, small_model: Any) -> None:
    weights = small / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LoadError, match="is broken or cut off") as caught:
        open_guard(small)
    assert "download it again" in caught.value.hint
    weights.write_bytes(whole)
    tensors = load_file(weights)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    for quantization in (None, "int8"):
        with pytest.raises(LoadError, match=r"1 of its weights are in no file, such as model\.layers\.1\.mlp\.up_proj"):
            open_guard(small, quantization=quantization)
    weights.unlink()
    small_model.save_pretrained(small, max_shard_size="2MB")
    next(iter(sorted(small.glob("model-*.safetensors")))).unlink()
    with pytest.raises(LoadError, match=r"a file of .*small is missing: .*model-00001-of") as caught:
        open_guard(small)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "guardian9"}, "architecture that this version of transformers does not know"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}},
            "code of its own, which guard_magic never runs",
        ),
    ],
)
def test_architectures_that_are_not_opened(changes: dict[str, Any], says: str, small: Path) -> None:
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | changes))
    (small / "own.py").write_text("raise SystemExit('code of a repository ran')\n")
    with pytest.raises(LoadError, match=says):
        open_guard(small)


def test_folders_have_no_revisions(small: Path) -> None:
    with pytest.raises(LoadError, match="revision='main' was asked of"):
        open_guard(small, revision="main")


# Ways of failing: the hub and the machine


def answered(kind: type[Exception], status: int) -> Exception:
    request = httpx.Request("GET", "https://huggingface.co/api/models/a/b")
    return kind("no", response=httpx.Response(status, request=request))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("cause", "says", "hint"),
    [
        (answered(hub.GatedRepoError, 403), "is gated", "hf auth login"),
        (answered(hub.RepositoryNotFoundError, 404), "the hub has no repository 'a/b'", "spelling"),
        (answered(hub.RevisionNotFoundError, 404), "not this revision", "https://huggingface.co/a/b/commits"),
        (answered(hub.HfHubHTTPError, 503), "cannot be reached", "embedded"),
        (hub.OfflineModeIsEnabled("offline"), "cannot be reached", "embedded"),
        (hub.LocalEntryNotFoundError("not here"), "cannot be reached", "embedded"),
        (torch.OutOfMemoryError("CUDA out of memory"), "does not fit into memory", "int4"),
        (MemoryError(), "does not fit into memory", "int4"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full", "HF_HOME"),
        (ModuleNotFoundError("No module named 'sentencepiece'", name="sentencepiece"), "package", "sentencepiece"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_failure_has_its_next_step(cause: Exception, says: str, hint: str) -> None:
    try:
        raise OSError("what transformers makes of it") from cause
    except OSError as error:
        wrapped = error
    for error in (cause, wrapped):
        made = load_error("a/b", error)
        assert says in made.message
        assert hint in made.hint


def test_failures_that_are_known_by_their_words_alone() -> None:
    pickled = OSError("a/b does not appear to have it. Please do not set `use_safetensors=True`.")
    assert "no safetensors weights" in load_error("a/b", pickled).message
    made = load_error("a/b", ValueError("what nobody foresaw\nand more"))
    assert made.message == "a/b cannot be loaded: ValueError: what nobody foresaw"


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LoadError, match="not on this machine and the hub cannot be reached"):
        load_guard("meta-llama/Llama-Guard-3-8B", name="x", device="cpu")


def test_gguf_weights_are_restored_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """Packed ones would be multiplied by kernels from the hub, wherever the package `kernels` is installed."""
    guard = load_guard("embedded", name="half", dtype="bfloat16")
    assert all(type(module) is torch.nn.Linear for name, module in guard.model.named_modules() if name.endswith("proj"))
    assert guard.dtype == "bfloat16"
    assert capfd.readouterr() == ("", "")
