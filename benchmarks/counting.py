"""Operations and bytes of a guard, counted from its shape: no model, no device, no clock.

An operation is one addition or one multiplication, so a product of an (m, k) and a (k, n) matrix is 2 m k n of them.
Counted are decoder layers as Llama and Qwen3 have them: projections to queries, keys and values, attention, a
projection back, and a gated MLP. What is counted is the least that this way of scoring needs:

- no padding;
- attention only to tokens that stand ahead;
- in the last layer keys and values of all tokens, everything else only at the positions read;
- the head only at the positions read;
- bytes: weights once a batch, each product's inputs read once and its outputs written once, with queries, keys and
  values as one product, gate and up as another, and what lies between products fused into them.

`Work.elementwise` is what transformers' code adds to these bytes by passing over the activations between the
products: RMSNorm, rotary positions, SwiGLU and residuals as separate torch calls (`models/llama/modeling_llama.py`).
`Work.merging` is the engine's own: attention over the prefix and among a row's own tokens made one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Shape", "Work", "elementwise_parts", "mean_work", "prefill_work", "row_work"]


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder.

    Attributes
    ----------
    hidden, intermediate, n_layers, n_heads, n_kv_heads, head_dim, n_words
        As in the config; `n_words` is the vocabulary.
    norms_heads
        Whether queries and keys pass through a norm of their own (Qwen3).
    """

    hidden: int
    intermediate: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_words: int
    norms_heads: bool = False

    @classmethod
    def of(cls, config: Any) -> Shape:
        """Return the shape of a transformers config."""
        return cls(
            config.hidden_size,
            config.intermediate_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads,
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            config.vocab_size,
            config.model_type == "qwen3",
        )

    @property
    def q_width(self) -> int:
        """Width of all queries of a token in one layer."""
        return self.n_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of keys and values of a token in one layer, together."""
        return 2 * self.n_kv_heads * self.head_dim

    @property
    def kv_ops(self) -> int:
        """Operations of one token's keys and values in one layer."""
        return 2 * self.hidden * self.kv_width

    @property
    def rest_ops(self) -> int:
        """Operations of one token's other products in one layer: queries, the way back, the MLP."""
        return 2 * self.hidden * (2 * self.q_width + 3 * self.intermediate)

    @property
    def token_ops(self) -> int:
        """Operations of one token's products in all layers, the last one whole."""
        return self.n_layers * (self.kv_ops + self.rest_ops)

    @property
    def head_ops(self) -> int:
        """Operations of the head at one position."""
        return 2 * self.hidden * self.n_words

    @property
    def n_weights(self) -> int:
        """Numbers in the matrices that a pass reads whole: layers and head. Of the embeddings it reads rows."""
        return (self.token_ops + self.head_ops) // 2

    @property
    def n_calls(self) -> int:
        """Torch operators of one pass of transformers' code in bfloat16, views apart: about as many kernels start."""
        return 30 + self.n_layers * (54 if self.norms_heads else 38)


@dataclass(frozen=True, slots=True)
class Work:
    """What something costs.

    Attributes
    ----------
    linear, attention, head
        Operations.
    activations
        Bytes read and written by the products at least, weights apart.
    elementwise, merging
        Bytes that transformers and the engine read and write besides: see the module's text.
    """

    linear: float = 0.0
    attention: float = 0.0
    head: float = 0.0
    activations: float = 0.0
    elementwise: float = 0.0
    merging: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def times(self, factor: float) -> Work:
        """Return `factor` times this work."""
        return Work(*(factor * getattr(self, f.name) for f in fields(self)))

    @property
    def operations(self) -> float:
        """All of them."""
        return self.linear + self.attention + self.head


def row_work(
    shape: Shape,
    n_prefix: int,
    n_own: int,
    *,
    n_continuation: int = 0,
    offsets: Sequence[int] = (0,),
    itemsize: int = 2,
) -> Work:
    """Count one row whose first `n_prefix` tokens are known already.

    Parameters
    ----------
    n_own
        Tokens from there up to the verdict position.
    n_continuation
        Tokens appended behind it.
    offsets
        Positions read, counted from the verdict position on; none for a prefix that is only to be kept.
    itemsize
        Bytes of one number of the activations.
    """
    n, n_read, whole = n_own + n_continuation, len(offsets), shape.n_layers - 1
    pairs = whole * (n * n_prefix + n * (n + 1) // 2) + sum(n_prefix + n_own + offset for offset in offsets)
    passes = elementwise_parts(shape, n, n_read, itemsize)
    return Work(
        linear=whole * n * (shape.kv_ops + shape.rest_ops) + n * shape.kv_ops + n_read * shape.rest_ops,
        attention=4 * shape.q_width * pairs,
        head=n_read * shape.head_ops,
        activations=_activations(shape, n, n_read, itemsize),
        elementwise=sum(passes.values()),
        merging=_merging(shape, n, itemsize) if n_prefix else 0,
    )


def prefill_work(shape: Shape, n_prefix: int, *, itemsize: int = 2) -> Work:
    """Count a prefix: nothing is read at its end."""
    return row_work(shape, 0, n_prefix, offsets=(), itemsize=itemsize)


def mean_work(
    shape: Shape,
    rows: Iterable[tuple[int, int]],
    *,
    n_continuation: int = 0,
    offsets: Sequence[int] = (0,),
    itemsize: int = 2,
    shares: bool = True,
) -> Work:
    """Return the mean over rows (n_prefix, n_own); without `shares` each computes its whole prompt."""
    counts = Counter(rows)
    total = Work()
    for (n_prefix, n_own), n in counts.items():
        known, new = (n_prefix, n_own) if shares else (0, n_prefix + n_own)
        total += row_work(shape, known, new, n_continuation=n_continuation, offsets=offsets, itemsize=itemsize).times(n)
    return total.times(1 / counts.total())


def _activations(shape: Shape, n: int, n_read: int, itemsize: int) -> int:
    keys = shape.hidden + 2 * shape.kv_width  # the layer's input; keys and values written, and read by attention
    rest = 2 * shape.q_width + 2 * shape.q_width + shape.hidden  # queries, what attention gives, and the way back
    rest += 2 * (shape.hidden + shape.intermediate)  # gate and up, then down
    numbers = (shape.n_layers - 1) * n * (keys + rest) + n * keys + n_read * rest
    return itemsize * (numbers + n_read * shape.hidden) + 4 * n_read * shape.n_words


def elementwise_parts(shape: Shape, n: int, n_read: int, itemsize: int) -> dict[str, int]:
    """Return the bytes that transformers' element-wise passes read and write, by what they are for.

    As `LlamaRMSNorm`, `apply_rotary_pos_emb` (two products, a rotation of two steps, a sum), `LlamaMLP` (silu, product)
    and `LlamaDecoderLayer` (two sums) are written; a number that is broadcast is not counted.
    """
    keys = shape.kv_width // 2
    inner = _norm(keys, itemsize), _norm(shape.q_width, itemsize)
    key_norm, query_norm = inner if shape.norms_heads else (0, 0)
    all_tokens = {"norms": _norm(shape.hidden, itemsize) + key_norm, "rotary": 10 * keys * itemsize}
    where_read = {
        "norms": _norm(shape.hidden, itemsize) + query_norm,
        "rotary": 10 * shape.q_width * itemsize,
        "swiglu": 5 * shape.intermediate * itemsize,
        "residuals": 6 * shape.hidden * itemsize,
    }
    whole = (shape.n_layers - 1) * n
    parts = {name: (whole + n) * all_tokens.get(name, 0) + (whole + n_read) * cost for name, cost in where_read.items()}
    parts["norms"] += n_read * _norm(shape.hidden, itemsize)
    return parts


def _norm(width: int, itemsize: int) -> int:
    """RMSNorm: to float32, square, mean, product, back, product with the weight."""
    casts = 2 * (itemsize + 4) if itemsize < 4 else 0
    return width * (casts + 8 + 4 + 8 + 2 * itemsize)


def _merging(shape: Shape, n: int, itemsize: int) -> int:
    """Two attention outputs read and one written; for each head a difference and a sigmoid of one float32 number."""
    return shape.n_layers * n * (3 * shape.q_width * itemsize + shape.n_heads * (12 + 8))
