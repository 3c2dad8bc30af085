"""Quantized layers by themselves: FP8 products against a definition, what must stay NaN, and every shape of input."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapes
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.errors import GuardWarning, LoadError, ProtocolError
from guard_magic.guards.float8 import (
    Float8Linear,
    float8_obstacle,
    plain_product,
    tensor_core_product,
    to_float8,
)
from guard_magic.guards.guard import Guard
from guard_magic.guards.loader import load_guard
from guard_magic.guards.quantize import (
    QUANTIZATIONS,
    QuantizedLinear,
    bits_per_weight,
    check_device,
    quantization_config,
    quantize_linears,
)
from guard_magic.guards.room import safetensors_shapes, weights_nbytes
from guard_magic.magics.options import QUANTIZATIONS as OFFERED

CPU = torch.device("cpu")
FLOAT8 = torch.float8_e4m3fn


def e4m3(code: int) -> float:
    """What a non-negative FP8 number is, by its bits: four of exponent, three of mantissa; 127 is NaN."""
    exponent, mantissa = code >> 3, code & 7
    return mantissa * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)


def nearest(number: float) -> float:
    """The FP8 number nearest to `number`, by looking at them all; of two as near, the even one."""
    code = min(range(127), key=lambda code: (abs(e4m3(code) - abs(number)), code & 1))
    return math.copysign(e4m3(code), number)


def slowly_rounded(rows: torch.Tensor) -> torch.Tensor:
    """Each row divided by its largest over 448, rounded to FP8, and multiplied again."""
    scales = [max(map(abs, row)) / 448 for row in rows.tolist()]
    pairs = zip(rows.tolist(), scales, strict=True)
    return torch.tensor([[nearest(x / scale) * scale for x in row] for row, scale in pairs], dtype=torch.float64)


@pytest.fixture
def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 48)


@pytest.fixture(params=[False, True], ids=["plain", "fast"])
def layer(linear: nn.Linear, request: pytest.FixtureRequest) -> Float8Linear:
    """Both products: what CUDA runs, torch imitates on the CPU."""
    made = Float8Linear(linear.weight, linear.bias)
    assert not made.is_fast
    made.is_fast = request.param
    return made.eval().requires_grad_(False)


def restored(rows: torch.Tensor) -> torch.Tensor:
    codes, scales = to_float8(rows)
    assert codes.dtype == FLOAT8
    assert (scales.dtype, scales.shape) == (torch.float32, (len(rows), 1))
    return codes.double() * scales.double()


def test_every_fp8_number_is_known() -> None:
    codes = torch.arange(127, dtype=torch.uint8).view(FLOAT8)
    assert codes.double().tolist() == [e4m3(code) for code in range(127)]


def test_rounding_is_the_definition() -> None:
    torch.manual_seed(1)
    rows = torch.randn(6, 40) * torch.tensor([1e-6, 1e-3, 1.0, 7.0, 1e3, 1e30]).unsqueeze(1)
    slow = slowly_rounded(rows)
    assert torch.allclose(restored(rows), slow, rtol=1e-6, atol=0)
    assert ((slow - rows).abs() <= rows.abs() / 16 + rows.abs().amax(1, keepdim=True) / 448 / 1024).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_of_16_bit_numbers_is_as_close(dtype: torch.dtype) -> None:
    """The scale is a 16-bit number there, which moves where the steps lie and not how wide they are."""
    torch.manual_seed(1)
    rows = torch.randn(6, 160) * torch.tensor([1e-6, 1e-3, 1.0, 7.0, 50.0, 1e3]).unsqueeze(1)
    rows = rows.to(dtype)
    slow = slowly_rounded(rows.float())
    off, slow_off = ((found - rows).norm(dim=1) for found in (restored(rows), slow))
    normal = slice(1, None) if dtype == torch.float16 else slice(None)  # float16 itself has few digits at 1e-6
    assert (off <= 1.15 * slow_off)[normal].all()


def test_layer_is_the_definition(layer: Float8Linear, linear: nn.Linear) -> None:
    states = torch.randn(5, 64)
    slow = slowly_rounded(states) @ slowly_rounded(linear.weight.detach()).T + linear.bias.double()
    assert torch.allclose(layer(states).double(), slow, rtol=2**-8, atol=2**-8), "the product is a bfloat16 number"
    whole = linear(states)
    assert 0 < (layer(states) - whole).norm() < 0.05 * whole.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n_rows", "n_in", "n_out"), [(1, 16, 16), (3, 96, 64), (48, 256, 80), (300, 64, 512)])
def test_fast_product_is_the_plain_one(dtype: torch.dtype, n_rows: int, n_in: int, n_out: int) -> None:
    torch.manual_seed(n_rows)
    sides = (*to_float8(torch.randn(n_rows, n_in, dtype=dtype)), *to_float8(torch.randn(n_out, n_in)))
    plain, fast = plain_product(*sides, dtype), tensor_core_product(*sides, dtype)
    assert plain.dtype == fast.dtype == dtype
    assert plain.shape == fast.shape == (n_rows, n_out)
    assert (plain.double() - fast.double()).abs().max() <= 2**-7 * plain.abs().max()


def test_fast_product_is_the_public_one() -> None:
    if not hasattr(nn.functional, "scaled_mm"):
        pytest.skip("torch 2.10 and newer have it")
    by_row = nn.functional.ScalingType.RowWise
    torch.manual_seed(0)
    codes, scales, weights, weight_scales = *to_float8(torch.randn(9, 64)), *to_float8(torch.randn(32, 64))
    public = nn.functional.scaled_mm(codes, weights.t(), scales, by_row, weight_scales.t(), by_row)
    assert torch.equal(public, tensor_core_product(codes, scales, weights, weight_scales, torch.bfloat16))


def test_what_is_no_number_never_becomes_one(layer: Float8Linear) -> None:
    """A NaN that came out as zero would be read as a verdict."""
    states = torch.randn(4, 64)
    alone = layer(states[:1])
    for broken in (math.nan, math.inf, -math.inf):
        states[2, 5] = broken
        found = layer(states)
        assert found[2].isnan().all()
        assert not found[[0, 1, 3]].isnan().any(), "its neighbours are as they were"
        assert torch.allclose(found[:1], alone, rtol=1e-5)


@torch.no_grad()
def test_zeros_and_extremes(layer: Float8Linear, linear: nn.Linear) -> None:
    states = torch.zeros(4, 64)
    states[1] = torch.randn(64) * 1e-39  # numbers so small that 448 over the largest is infinite
    states[2] = 1e-12
    states[3] = torch.randn(64) * 1e30
    found, whole = layer(states), linear(states).double()
    bias = linear.bias
    assert torch.allclose(found[:3], bias.expand(3, -1), rtol=1e-6, atol=1e-11)
    assert (found[3] - whole[3]).norm() < 0.1 * whole[3].norm()
    assert Float8Linear(torch.zeros(16, 64))(states).abs().max() == 0, "a weight of zeros"


def test_no_bias(linear: nn.Linear) -> None:
    states = torch.randn(3, 64)
    with_bias, without = Float8Linear(linear.weight, linear.bias), Float8Linear(linear.weight)
    assert torch.allclose(without(states) + linear.bias, with_bias(states), atol=1e-6)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@torch.inference_mode()
def test_tokens_in_one_row_or_in_many(quantization: str, linear: nn.Linear) -> None:
    """Prompts may come padded, (n_rows, width, n_in), or packed, (1, n_tokens, n_in)."""
    made: nn.Module = Float8Linear(linear.weight, linear.bias)
    if quantization != "fp8":
        made = QuantizedLinear(linear.weight, int(quantization.removeprefix("int")), linear.bias)
    states = torch.randn(3, 7, 64)
    padded = made(states)
    packed = made(states.view(1, 21, 64))
    assert padded.shape == (3, 7, 48)
    assert packed.shape == (1, 21, 48)
    assert torch.allclose(padded.view(1, 21, 48), packed, atol=1e-6)
    assert torch.allclose(made(states.transpose(0, 1)).transpose(0, 1), padded, atol=1e-6), "strided"
    assert torch.allclose(made(states[0, 0]), padded[0, 0], atol=1e-6), "one token"


def test_sizes(linear: nn.Linear) -> None:
    assert bits_per_weight(48, 64, "fp8") == 8 + 32 / 64
    layer = Float8Linear(linear.weight)
    assert sum(buffer.nbytes for buffer in layer.buffers()) == 48 * 64 + 48 * 4
    assert bits_per_weight(48, 40, "fp8") is bits_per_weight(40, 64, "fp8") is None, "tensor cores take multiples of 16"
    assert "in_features=64, out_features=48, is_fast=False" in repr(layer)


# Devices


def test_devices_without_fp8_products() -> None:
    check_device("int8", torch.device("mps"))
    with pytest.warns(GuardWarning, match="'fp8' saves no time on cpu .*slower than whole weights; 'int8' is as small"):
        check_device("fp8", CPU)


def test_devices_that_do_not_know_the_numbers() -> None:
    """A device that this build of torch lacks stands for one that lacks FP8: both are asked the same question."""
    absent = torch.device("xpu" if not torch.xpu.is_available() else "mps")
    with pytest.raises(LoadError, match=f"quantization='fp8' cannot be used on {absent}: .+") as caught:
        check_device("fp8", absent)
    assert "int8" in caught.value.hint


# Moved and cast


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Guard, llama3: Any) -> Path:
    return shapes.save_guard(tmp_path_factory.mktemp("float8") / "guard", tiny.model, llama3)


MOVES: dict[str, Callable[[nn.Module], object]] = {
    "bfloat16": lambda module: module.to(torch.bfloat16),
    "half": lambda module: module.half(),
    "double": lambda module: module.double(),
    "there and back": lambda module: module.half().bfloat16().float(),
    "type": lambda module: module.type(torch.float32),
    "shared": lambda module: module.share_memory(),
    "copied": lambda module: copy.deepcopy(module).load_state_dict(module.state_dict()),
}


def quantized(quantization: str, linear: nn.Linear) -> QuantizedLinear | Float8Linear:
    if quantization == "fp8":
        return Float8Linear(linear.weight, linear.bias)
    return QuantizedLinear(linear.weight, int(quantization.removeprefix("int")), linear.bias)


@pytest.mark.parametrize("move", list(MOVES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@torch.no_grad()
def test_a_cast_changes_what_is_computed_in_and_nothing_that_is_kept(
    quantization: str, dtype: torch.dtype, move: str, linear: nn.Linear
) -> None:
    layer = quantized(quantization, linear.to(dtype)).requires_grad_(False)
    kept = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    states = torch.randn(5, 64)
    before = layer(states.to(dtype)).double()
    MOVES[move](layer)
    found = dict(layer.named_buffers())
    assert {name: buffer.dtype for name, buffer in found.items()} == {n: b.dtype for n, b in kept.items()}
    assert all(torch.equal(found[name].view(torch.uint8), kept[name].view(torch.uint8)) for name in kept)
    for _ in range(2):
        for asked in (layer.bias.dtype, dtype):  # the whole model was cast, or this layer alone
            after = layer(states.to(asked))
            assert after.dtype == asked
            assert (after.double() - before).norm() < 0.02 * before.norm()


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_layer_on_the_meta_device_has_no_numbers_and_comes_back_in_its_formats(
    quantization: str, linear: nn.Linear
) -> None:
    layer = quantized(quantization, linear)
    formats = {name: buffer.dtype for name, buffer in layer.named_buffers()}
    layer.to("meta")
    assert all(buffer.is_meta for buffer in layer.buffers())
    layer.to_empty(device="cpu")
    assert {name: buffer.dtype for name, buffer in layer.named_buffers()} == formats


@pytest.mark.filterwarnings("ignore:quantization='fp8' saves no time")
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_guard_whose_model_is_cast_or_moved(quantization: str, folder: Path) -> None:
    guard = load_guard(str(folder), name="moved", device="cpu", quantization=quantization, min_verdict_mass=0)
    rows = ["Hello", "a bomb", "how do I kill a process?"]

    def scores() -> list[float]:
        verdicts = guard.score(rows)
        assert [verdict.error for verdict in verdicts] == [None] * 3
        return [verdict.log_odds or 0.0 for verdict in verdicts]

    whole = scores()
    assert max(whole) - min(whole) > 1
    exact, rounded = (0.5, 2.5) if quantization == "fp8" else (1e-3, 0.6)
    guard.model.model.layers[0].mlp.to(torch.float64)
    assert scores() == pytest.approx(whole, abs=exact), "a part of it"
    guard.model.to(torch.float64)
    assert scores() == pytest.approx(whole, abs=exact)
    guard.model.to(torch.bfloat16)
    assert guard.dtype == "bfloat16"
    assert scores() == pytest.approx(whole, abs=rounded)
    for cast in (guard.model.half, guard.model.float):
        with pytest.raises(ValueError, match="not supported for quantized model"):
            cast()
    guard.model.to("meta")
    with pytest.raises(ProtocolError, match="on the meta device") as caught:
        scores()
    assert caught.value.hint


# Models


@pytest.mark.parametrize("is_fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_rows_that_are_no_numbers_are_never_safe(broken: float, is_fast: bool, folder: Path) -> None:
    """A word whose activations break makes its own row unscored, with the reason, and no other."""
    with pytest.warns(GuardWarning, match="saves no time on cpu"):
        guard = load_guard(str(folder), name="float8", device="cpu", quantization="fp8", min_verdict_mass=0)
    for module in guard.model.modules():
        if isinstance(module, Float8Linear):
            module.is_fast = is_fast
    rows = ["Hello", "zebra", "a bomb"]
    before = [verdict.unsafe_score for verdict in guard.score(rows)]
    ids = [guard.encode(parse_conversation(text)).prompt.ids for text in rows]
    own = sorted(set(ids[1]) - set(ids[0]) - set(ids[2]))
    with torch.no_grad():
        guard.model.get_input_embeddings().weight[own] = broken
    first, unread, last = guard.score(rows)
    assert [first.unsafe_score, last.unsafe_score] == pytest.approx([before[0], before[2]], abs=1e-6)
    assert before[1] is not None
    assert unread.unsafe_score is unread.category is unread.flagged is None
    assert unread.error


def test_layers_that_are_kept(tmp_path: Path) -> None:
    """Head and embeddings stay, and layers whose sizes the tensor cores do not take; the estimate knows."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=2, attention_bias=True, tie_word_embeddings=False)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=quantization_config("fp8"))
    kinds = {name.rsplit(".", 1)[-1]: type(module) for name, module in model.named_modules()}
    assert all(kinds[name] is Float8Linear for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
    assert all(kinds[name] is nn.Linear for name in ("gate_proj", "up_proj", "down_proj", "lm_head"))
    assert model.model.layers[1].self_attn.q_proj.bias is not None
    weights = [*model.parameters(), *(b for name, b in model.named_buffers() if "inv_freq" not in name)]
    assert weights_nbytes(safetensors_shapes(tmp_path), 4, "fp8") == sum(tensor.nbytes for tensor in weights)
    in_place = quantize_linears(LlamaForCausalLM.from_pretrained(tmp_path), "fp8")
    streamed = dict(model.named_buffers())
    assert all(torch.equal(buffer, streamed[name]) for name, buffer in in_place.named_buffers())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_multiplies_them() -> None:
    """Where the card has the tensor cores, the fast product is taken and is near the plain one."""
    device = torch.device("cuda", 0)
    if torch.cuda.get_device_capability(device) < (8, 9):
        assert float8_obstacle(device)
        pytest.skip("needs compute capability 8.9")
    assert not float8_obstacle(device)
    check_device("fp8", device)
    torch.manual_seed(0)
    for n_rows, n_in, n_out in ((1, 4096, 1024), (777, 4096, 14336), (20_000, 14336, 4096)):
        weight = torch.randn(n_out, n_in, device=device, dtype=torch.bfloat16) / 64
        layer = Float8Linear(weight)
        assert layer.is_fast
        states = torch.randn(1, n_rows, n_in, device=device, dtype=torch.bfloat16)
        fast = layer(states).float()
        layer.is_fast = False
        plain = layer(states).float()
        assert (fast - plain).norm() <= 0.01 * plain.norm()
        broken = states.clone()
        broken[0, 0, 3] = math.nan
        layer.is_fast = True
        found = layer(broken)
        assert found[0, 0].isnan().all()
        assert not found[0, 1:].isnan().any()


def test_names_are_those_of_the_magics() -> None:
    assert OFFERED == QUANTIZATIONS
