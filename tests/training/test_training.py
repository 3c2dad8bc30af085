"""Training's shortcuts equal the plain forward; what is held out stays held out."""

import random
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from training.calibrate import apply_platt, bake, cross_fit, expected_error, fit_platt, verdict_states
from training.examples import CONTRAST, IGNORE, Example, batches, draw_epoch, held_out, read_contrast, read_rows
from training.scoring import score_rows
from training.train import collate, loss_of, states_at


def small_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 64}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))


def some_examples(beginning: int) -> list[Example]:
    rng = random.Random(0)
    rows = []
    for length in (3, 9, 14, 14):
        ids = [*range(beginning), *(rng.randrange(20, 64) for _ in range(length)), 1, 1, 2]
        rows.append(Example(ids, [IGNORE] * (len(ids) - 3) + [1, 2, 3]))
    return rows


def test_states_equal_the_plain_forward() -> None:
    model = small_llama()
    for beginning in (0, 6):
        ids, positions, _, shared = collate(some_examples(beginning))
        assert shared == beginning
        plain = model.model(input_ids=ids).last_hidden_state[torch.arange(len(ids))[:, None], positions]
        torch.testing.assert_close(states_at(model, ids, positions, shared), plain, rtol=1e-4, atol=1e-5)


def test_gradients_reach_through_the_shared_beginning() -> None:
    model = small_llama()
    ids, positions, targets, shared = collate(some_examples(6))
    found = []
    for by_parts in (True, False):
        model.zero_grad()
        if by_parts:
            states = states_at(model, ids, positions, shared)
        else:
            states = model.model(input_ids=ids).last_hidden_state[torch.arange(len(ids))[:, None], positions]
        logits = model.lm_head(states)
        functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE).backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_code_weight_touches_only_rows_with_a_code() -> None:
    model = small_llama()
    ids = list(range(10))
    bare = [Example(ids, [IGNORE] * 6 + [1, 1, 5, 3])]
    coded = [Example([*ids, 7, 8], [IGNORE] * 6 + [1, 1, 5, 9, 7, 4])]
    for batch, changes in ((bare, False), (coded, True)):
        assert (loss_of(model, batch, 0.5, 0.1).item() != loss_of(model, batch, 1.0, 0.1).item()) is changes


def test_platt_finds_what_was_done_to_the_odds() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 3, 20_000)
    labels = (rng.random(20_000) < apply_platt((1.0, 0.0), odds)).astype(int)
    slope, offset = fit_platt(3 * odds + 2, labels, np.ones(20_000))
    assert abs(slope - 1 / 3) < 0.02
    assert abs(offset + 2 / 3) < 0.06
    rows = [
        {"source": "contrast", "messages": [], "label": int(y), "category": None, "lang": "en", "group": str(i)}
        for i, y in enumerate(labels[:4000])
    ]
    _, report = cross_fit(rows, 3 * odds[:4000] + 2)
    assert report["after"]["ece"] < 0.03 < report["before"]["ece"]
    assert report["after"]["brier"] < report["before"]["brier"]


def test_expected_error_by_hand() -> None:
    labels, unsafe = np.array([1, 0, 1, 1]), np.array([0.95, 0.95, 0.25, 0.21])
    assert np.isclose(expected_error(labels, unsafe, np.ones(4)), (2 * 0.45 + (2 - 0.46)) / 4)


def test_calibration_is_in_the_weights() -> None:
    tokenizer = AutoTokenizer.from_pretrained(Path(__file__).parents[2] / "guard_magic" / "embedded")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)
    model = LlamaForCausalLM(config).eval()
    rows = read_contrast()[1][:40]
    chats = [row["messages"] for row in rows]
    before = score_rows(model, tokenizer, chats)["log_odds"]
    unevenness = bake(model, tokenizer, verdict_states(model, tokenizer, rows), (0.5, 1.5))
    after = score_rows(model, tokenizer, chats)["log_odds"]
    assert unevenness < 0.3
    assert np.abs(after - (0.5 * before + 1.5)).max() < unevenness + 0.1
    assert np.abs(after - before).max() > 1


def test_batches_hold_every_example_and_one_beginning_each() -> None:
    examples = [*some_examples(20), *(Example([63, *e.ids], [IGNORE, *e.targets]) for e in some_examples(20))]
    made = list(batches(examples, 80, random.Random(1)))
    assert sorted(id(e) for batch in made for e in batch) == sorted(map(id, examples))
    assert all(max(len(e.ids) for e in batch) * len(batch) <= 80 or len(batch) == 1 for batch in made)


def test_contrast_test_is_never_drawn() -> None:
    train, test = read_contrast()
    assert len(train) + len(test) >= 3000
    assert 0.15 < len(test) / (len(train) + len(test)) < 0.25
    groups = {row["group"] for row in train}
    assert not groups & {row["group"] for row in test}
    assert not any(held_out(group) for group in groups)
    texts = {str(row["messages"]) for row in draw_epoch(train, random.Random(0))}
    assert not texts & {str(row["messages"]) for row in test}


def test_contrast_rows_are_well_formed() -> None:
    train, test = read_contrast()
    seen = set()
    for row in (*train, *test, *read_rows(CONTRAST / "acceptance.jsonl")):
        roles = [message["role"] for message in row["messages"]]
        assert roles == [("user", "assistant")[i % 2] for i in range(len(roles))]
        assert all(message["content"].strip() for message in row["messages"])
        assert row["label"] in (0, 1)
        assert row["category"] is None or (row["label"] == 1 and row["category"] in {f"S{i}" for i in range(1, 15)})
        key = str(row["messages"])
        assert key not in seen
        seen.add(key)
