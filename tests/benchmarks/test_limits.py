"""The counts of `benchmarks/counting.py` against torch's own, the recorded lengths, and the tables of LIMITS.md."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import lengths
import pytest
import shapes
import torch
from counting import Shape, Work, elementwise_parts, mean_work, prefill_work, row_work
from floors import DEVICES, GUARDS, Device, floor_of, lengths_of, loop_seconds, pass_seconds, shape_of
from limits import BLOCKS, LIMITS, main, with_blocks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from ways import guard_for

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.engine.packed_attention import _merged
from guard_magic.engine.prefix_cache import PrefixCache, with_cache
from guard_magic.guards.guard import Guard

TINY = ["tiny", "qwen3guard-tiny"]


# Operations


def _counted(shape: str, n_prefix: int, n: int, n_read: int) -> dict[str, dict[str, int]]:
    """torch's count of one row behind a known prefix: operations by module and by kind."""
    model = shapes.random_model(shape)
    model.set_attn_implementation("eager")
    ids = torch.arange(n_prefix + n)
    past = PrefixCache(model).get(tuple(ids[:n_prefix].tolist()))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        known = {**with_cache(model, past), "use_cache": past is not None}
        model(input_ids=ids[None, n_prefix:], logits_to_keep=n_read, **known)
    return {name: {str(op): n for op, n in ops.items()} for name, ops in counter.get_flop_counts().items()}


@pytest.mark.parametrize("shape", TINY)
@pytest.mark.parametrize(("n_prefix", "n"), [(0, 9), (7, 5)])
def test_products_are_counted_exactly(shape: str, n_prefix: int, n: int) -> None:
    counted = _counted(shape, n_prefix, n, 2)
    wanted = row_work(Shape.of(shapes.model_config(shape)), n_prefix, n - 3, n_continuation=3, offsets=(0, 3))
    modules: dict[str, float] = defaultdict(float)
    for name, ops in counted.items():
        modules[name] = sum(cost for op, cost in ops.items() if "bmm" not in op)
    whole = next(name for name in modules if name.endswith("ForCausalLM"))
    last = max(name for name in modules if re.search(r"layers\.\d+$", name))
    keys = modules[f"{last}.self_attn.k_proj"] + modules[f"{last}.self_attn.v_proj"]
    uncut = modules[whole] - modules[f"{whole}.lm_head"]
    assert keys > 0
    assert modules[f"{whole}.lm_head"] == wanted.head
    assert uncut - (modules[last] - keys) * (n - 2) / n == wanted.linear
    assert uncut == n * Shape.of(shapes.model_config(shape)).token_ops


@pytest.mark.parametrize("shape", TINY)
def test_attention_is_counted_by_pairs(shape: str) -> None:
    sizes, n_prefix, n = Shape.of(shapes.model_config(shape)), 7, 5
    counted = sum(cost for op, cost in _counted(shape, n_prefix, n, 1)["Global"].items() if "bmm" in op)
    a_pair = 4 * sizes.q_width
    assert counted == a_pair * sizes.n_layers * n * (n_prefix + n), "eager attention skips nothing"
    before_last = sum(1 for token in range(n_prefix, n_prefix + n) for other in range(n_prefix + n) if other <= token)
    read = [n_prefix + 1 + 1, n_prefix + 4 + 1]  # tokens that each position read can see
    work = row_work(sizes, n_prefix, 2, n_continuation=3, offsets=(0, 3))
    assert work.attention == a_pair * ((sizes.n_layers - 1) * before_last + sum(read))


def test_sharing_saves_what_the_prefix_costs() -> None:
    shape = Shape.of(shapes.model_config("cpu"))
    settings: dict[str, Any] = {"n_continuation": 3, "offsets": (0, 3)}
    shared, prefix = row_work(shape, 145, 90, **settings), prefill_work(shape, 145)
    alone = mean_work(shape, [(145, 90)], shares=False, **settings)
    for name in ("linear", "attention", "head"):
        assert getattr(alone, name) == getattr(shared, name) + getattr(prefix, name)
    both = mean_work(shape, [(145, 90), (145, 90), (145, 30)], **settings)
    assert both == (shared.times(2) + row_work(shape, 145, 30, **settings)).times(1 / 3)
    assert shared.operations == shared.linear + shared.attention + shared.head


@pytest.mark.parametrize("shape", ["1b", "8b", "qwen3guard-0.6b"])
def test_weights_are_those_of_the_model(shape: str) -> None:
    model = shapes.random_model(shape, device="meta")
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)
    embeddings = model.get_input_embeddings().weight.numel()
    tied = model.config.tie_word_embeddings
    assert Shape.of(model.config).n_weights == matrices - (0 if tied else embeddings)


# Bytes


class _Passes(TorchDispatchMode):
    """Bytes that element-wise operators read and write while `is_on`; what is broadcast is left out."""

    KINDS = ("_to_copy", "pow", "mean", "mul", "add", "neg", "cat", "silu")

    def __init__(self) -> None:
        super().__init__()
        self.is_on = False
        self.nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.is_on and func.name().split("::")[1].split(".")[0] in self.KINDS:
            joined = func.name().startswith("aten::cat")
            tensors = [t for t in (args[0] if joined else args) if isinstance(t, torch.Tensor)]
            largest = max(t.numel() for t in tensors)
            read = [t for t in tensors if t.shape[-1] > 1 and (joined or t.numel() == largest)]
            self.nbytes += sum(t.nbytes for t in [*read, *([out] if out.shape[-1] > 1 else [])])
        return out


@pytest.mark.parametrize("shape", TINY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_passes_are_those_of_transformers(shape: str, dtype: torch.dtype) -> None:
    model, n, passes = shapes.random_model(shape, dtype=dtype), 6, _Passes()
    for module in (*model.model.layers, model.model.norm):
        module.register_forward_pre_hook(lambda *_: setattr(passes, "is_on", True))
        module.register_forward_hook(lambda *_: setattr(passes, "is_on", False))
    with torch.no_grad(), passes:  # inference mode would hide the casts
        model(input_ids=torch.arange(n)[None], use_cache=False)
    assert passes.nbytes == sum(elementwise_parts(Shape.of(model.config), n, n, dtype.itemsize).values())


class _Calls(TorchDispatchMode):
    """How many operators ran that are no views."""

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += not func.is_view and func.name() != "aten::_unsafe_view"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("shape", TINY)
def test_calls_are_those_of_transformers(shape: str) -> None:
    model = shapes.random_model(shape, dtype=torch.bfloat16)
    with torch.no_grad(), _Calls() as calls:
        model(input_ids=torch.arange(6)[None], use_cache=False, logits_to_keep=1)
    assert calls.n == Shape.of(model.config).n_calls


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_merging_two_attentions_is_counted(dtype: torch.dtype) -> None:
    shape, passes = Shape.of(shapes.model_config("tiny")), _Passes()
    passes.KINDS = ("sub", "sigmoid", "_to_copy", "lerp")
    n, n_heads = 5, shape.n_heads
    outputs = [torch.randn(n, n_heads, shape.head_dim).to(dtype) for _ in range(2)]
    sums = [torch.randn(n, n_heads) for _ in range(2)]
    passes.is_on = True
    with torch.no_grad(), passes:
        _merged(outputs[0], sums[0], outputs[1], sums[1])
    merging = row_work(shape, 7, n, itemsize=dtype.itemsize).merging
    assert merging == shape.n_layers * passes.nbytes
    assert row_work(shape, 0, n).merging == 0


# Floors


def _ideal(**given: Any) -> Device:
    """A device that is infinitely fast but for what is given."""
    rates: dict[str, Any] = dict.fromkeys(("products", "attention", "plain32", "bandwidth"), math.inf)
    return replace(DEVICES["H200 bf16"], **rates | given)


def test_the_floor_is_the_larger_of_the_two() -> None:
    fast, wide = floor_of("embedded", _ideal(bandwidth=1e9)), floor_of("embedded", _ideal(products=1e9, attention=1e9))
    assert (fast.binds, wide.binds) == ("memory", "products")
    assert fast.rows_per_s == pytest.approx(1e9 / fast.nbytes)
    assert wide.rows_per_s == pytest.approx(1e9 / wide.work.operations)


def test_the_loop_reads_all_weights_for_each_token() -> None:
    found, shape = lengths_of("embedded"), shape_of("embedded")
    weights = 2 * shape.n_weights / 1e9
    n_answers = sum(found.n_answer[row.is_unsafe] for row in found.rows) / len(found.rows)
    seconds = loop_seconds("embedded", _ideal(bandwidth=1e9))
    assert n_answers * weights < seconds < n_answers * weights + 0.1 * weights * n_answers + 0.1
    assert loop_seconds("embedded", _ideal(), call_s=1.0) == pytest.approx(n_answers * shape.n_calls)
    step = pass_seconds(shape, _ideal(products=1.0, attention=1.0), 10, 1)
    assert step == shape.token_ops + shape.head_ops + 4 * shape.q_width * shape.n_layers * 11


def test_no_way_is_faster_than_its_floor_by_doing_more() -> None:
    for guard in GUARDS:
        for device in DEVICES.values():
            shared, alone = (floor_of(guard, device, shares=shares).rows_per_s for shares in (True, False))
            assert shared > alone > 1 / loop_seconds(guard, device)


# Lengths


GUARDS_OF: dict[str, str] = {
    "llama-guard-3-8b": "tiny",
    "llama-guard-3-1b": "tiny_parts",
    "qwen3guard-0.6b": "tiny_qwen3",
    "embedded": "embedded",
}


@pytest.fixture(scope="module")
def tiny_qwen3() -> Guard:
    return guard_for(shapes.random_model("qwen3guard-tiny"), shapes.qwen3_tokenizer())


@pytest.mark.slow
@pytest.mark.parametrize("family", GUARDS_OF)
def test_rows_have_the_recorded_lengths(family: str, request: pytest.FixtureRequest) -> None:
    guard, recorded = request.getfixturevalue(GUARDS_OF[family]), lengths.load_lengths(family)
    rows = lengths.rows_of_lengths(guard, recorded)
    assert len(rows) == len(recorded.rows) > 6_000
    assert [row.is_unsafe for row in rows] == [row.is_unsafe for row in recorded.rows]
    by_size = sorted(range(len(rows)), key=lambda i: recorded.rows[i].n_own)
    for i in [*range(100), *by_size[:20], *by_size[-5:]]:
        encoded, wanted = guard.encode(parse_conversation(rows[i].chat)), recorded.rows[i]
        assert encoded.conversation.assessed.role == wanted.role
        assert (encoded.prompt.n_prefix, len(encoded.prompt.ids)) == (wanted.n_prefix, wanted.n_prefix + wanted.n_own)
    (question,) = guard.questionnaire(None).questions
    assert (len(question.continuation.tokens), question.continuation.offsets) == (
        recorded.n_continuation,
        recorded.offsets,
    )


def test_rows_all_differ_and_go_around(tiny: Guard) -> None:
    recorded = lengths.load_lengths("llama-guard-3-8b")
    n = len(recorded.rows)
    rows = lengths.rows_of_lengths(tiny, recorded, n + 100)
    assert len({json.dumps(row.chat) for row in rows}) == n + 100
    assert rows[:40] == lengths.rows_of_lengths(tiny, recorded, 40)
    assert rows[:40] != lengths.rows_of_lengths(tiny, recorded, 40, seed=1)
    assert len(tiny.encode(parse_conversation(rows[n].chat)).prompt.ids) == sum(
        (recorded.rows[0].n_prefix, recorded.rows[0].n_own)
    )


def test_another_familys_lengths_are_refused(tiny: Guard) -> None:
    with pytest.raises(ValueError, match="prefix of 24 tokens, this guard one of 145"):
        lengths.rows_of_lengths(tiny, lengths.load_lengths("embedded"), 3)


def test_too_few_words_are_refused(embedded: Guard) -> None:
    recorded = lengths.load_lengths("embedded")
    empty = replace(recorded.rows[0], role="user", n_own=recorded.n_fixed["user"])
    with pytest.raises(ValueError, match="no 3 different rows"):
        lengths.rows_of_lengths(embedded, replace(recorded, rows=(empty,)), 3)


def test_only_numbers_are_kept() -> None:
    assert lengths.COUNTS.stat().st_size < 200_000
    kept = json.loads(lengths.COUNTS.read_text())
    assert set(kept) == {"about", "n_rows", "n_equal", "n_longer", "roles", "unsafe", "families"}
    assert set(kept["roles"]) == {"u", "a"}
    assert set(kept["unsafe"]) == {"0", "1"}
    for found in kept["families"].values():
        assert set(found) == {"prefix", "chain", "offsets", "answer", "fixed", "own"}
        assert all(n is None or type(n) is int for n in found["own"])
        assert len(found["own"]) == kept["n_rows"]


def test_counting_a_split(tmp_path: Path, tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    question = [{"role": "user", "content": "zebra"}]
    split = [
        {"id": "secret", "messages": question, "label": 1},
        {"id": "secret", "messages": [*question, {"role": "assistant", "content": "giraffe"}], "label": 0},
        {"id": "secret", "messages": [{"role": "user", "content": "zebra " * 9_000}], "label": 0},
    ]
    with gzip.open(tmp_path / "dev.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in split)
    monkeypatch.setattr(lengths, "FAMILIES", {"llama-guard-3-8b": lambda: tiny})
    monkeypatch.setattr(lengths, "COUNTS", tmp_path / "counts.json")
    lengths.main(["--data", str(tmp_path / "dev.jsonl.gz")])
    text = lengths.COUNTS.read_text()
    assert not re.search("secret|zebra|giraffe", text)
    recorded = lengths.load_lengths("llama-guard-3-8b")
    found = {(row.role, row.is_unsafe): row.n_own for row in recorded.rows}
    assert found == {
        (("user", "assistant")[n > 1], n == 1): len(tiny.tokens(split[n - 1]["messages"])) - 145 for n in (1, 2)
    }
    assert recorded.n_answer == (2, 5), "safe, end; unsafe, newline, S, 1, end"
    assert json.loads(text)["n_rows"] == 3, "one of them is longer than the guard reads"


# LIMITS.md


def test_the_tables_are_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = LIMITS.read_text()
    assert with_blocks(text) == text, "run python benchmarks/limits.py --write"
    main([])
    printed = capsys.readouterr().out
    report = json.loads(printed.splitlines()[-1])
    assert report["benchmark"] == "limits"
    assert list(report["guards"]) == list(GUARDS)
    blocks = re.findall(r"<!-- (?!end\b)(\w+) -->\n(.*?)\n<!-- end -->", text, re.S)
    assert {name for name, _ in blocks} == set(BLOCKS)
    assert all(f"\n{name}\n{table}\n" in printed for name, table in blocks)


def test_nothing_is_counted_twice() -> None:
    one = Work(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert one + one == one.times(2)
    assert one.operations == 6.0
