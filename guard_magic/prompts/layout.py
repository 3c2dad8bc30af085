"""The layout of a prompt: what is fixed for one sequence of roles, as token ids, and the stretches that are not.

Ids are fixed ahead of time wherever no content can change them: the prompt's head, control tokens, stretches without
slots, and the end of a stretch behind its last slot. What is left is tokenized row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from guard_magic.prompts.skeleton import Segment, Skeleton, common_prefix
from guard_magic.prompts.text_only import Behind, TextTokenizers
from guard_magic.prompts.tokenizer_cuts import find_cut

__all__ = ["PROBES", "Encode", "Known", "Layout", "Stretch", "lay_out"]

PROBES = (
    "Hello there",
    "7",
    "é",
    '"Quoted," she said.',
    "...and then?!",
    "日本語のテキスト",
    "🙂",
    "user@example.com",
    "x\n\ny",
    "(a) 1.5% of $20",
    "def f(x):\n    return x",
    "مرحبا",
)
"""Contents that begin and end in every way a pre-tokenizer treats differently; no control tokens."""

Encode = Callable[[str, Behind], tuple[int, ...]]
"""Text, and what stands ahead of it -> its ids, which are never those of control tokens."""
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Text in which slots are integers; `behind`: what stands ahead of it."""

    parts: tuple[str | int, ...]
    behind: Behind

    def text(self, contents: Sequence[str]) -> str:
        """Return the stretch with the contents in its slots."""
        return "".join([part if isinstance(part, str) else contents[part] for part in self.parts])


@dataclass(slots=True)
class Known:
    """Where a template's texts can be cut, by what stands ahead of them: (cut, the fixed side's ids), or nowhere."""

    heads: dict[tuple[Behind, str], tuple[int, Ids] | None] = field(default_factory=dict)
    tails: dict[tuple[Behind, str], tuple[int, Ids] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """What is fixed for one sequence of roles.

    Attributes
    ----------
    own
        The template's own text.
    asked
        The same with its policy block rewritten, where another policy is asked about.
    head
        The ids that every prompt of these roles begins with.
    parts
        What follows: fixed ids, or a stretch to be tokenized.
    is_open
        Whether the last part ends with the verdict word, which is no part of the prompt.
    control
        The control tokens of a prompt, in order.
    is_clean
        Whether all of them are fixed, so that stretches without any are right.
    """

    own: Skeleton
    asked: Skeleton
    head: Ids
    parts: tuple[Ids | Stretch, ...]
    is_open: bool
    control: Ids
    is_clean: bool

    @property
    def n_texts(self) -> int:
        """How many stretches there are."""
        return sum(isinstance(part, Stretch) for part in self.parts)

    def texts(self, contents: Sequence[str]) -> list[tuple[str, Behind]]:
        """Return what is to be tokenized, in order."""
        return [(part.text(contents), part.behind) for part in self.parts if isinstance(part, Stretch)]

    def ids(self, encoded: Iterator[Sequence[int]]) -> Ids:
        """Return the ids up to the verdict position; takes as many from `encoded` as there are `texts`."""
        ids = list(self.head)
        for part in self.parts:
            ids += next(encoded) if isinstance(part, Stretch) else part
        return tuple(ids[:-1] if self.is_open else ids)


def lay_out(
    own: Skeleton,
    asked: Skeleton,
    segments: Sequence[Segment],
    *,
    bos: Ids,
    control: frozenset[int],
    tokenizers: TextTokenizers,
    encode: Encode,
    known: Known,
) -> Layout:
    """Lay out one sequence of roles.

    Parameters
    ----------
    own, asked
        The skeleton as the template writes it, and as it is asked.
    segments
        The segments of `asked`, the verdict word behind them.
    bos
        Ids that plain tokenization puts first.
    control
        Ids of the control tokens.
    tokenizers, encode
        The text-only tokenizers, and what encodes by them.
    known
        Where this tokenizer's ways to cut the template's text are kept: layouts share most of it.
    """
    head, rest, behind = _split_head(segments, bos, tokenizers, encode, known)
    parts = _parts(rest, behind, encode, tokenizers, known)
    last = parts[-1]
    if not isinstance(last, Stretch):
        parts[-1] = last[:-1]
    fixed = [*head, *(i for part in parts if not isinstance(part, Stretch) for i in part)]
    expected = tuple(i for i in bos if i in control) + tuple(s.token_id for s in segments if s.token_id is not None)
    is_clean = tuple(i for i in fixed if i in control) == expected
    return Layout(own, asked, head, tuple(parts), isinstance(last, Stretch), expected, is_clean)


def _parts(
    segments: Sequence[Segment], behind: Behind, encode: Encode, tokenizers: TextTokenizers, known: Known
) -> list[Ids | Stretch]:
    """Turn segments into fixed ids and stretches, which are cut behind their slots where that is exact."""
    parts: list[Ids | Stretch] = []
    for segment in segments:
        if segment.has_slots:
            parts += _split_tail(Stretch(segment.parts, behind), encode, tokenizers, known)
        else:
            ids = (segment.token_id,) if segment.token_id is not None else encode(segment.text(()), behind)
            last = parts[-1] if parts else ids[:0]
            if parts and not isinstance(last, Stretch):
                parts[-1] = (*last, *ids)
            else:
                parts.append(ids)
        behind = "inside"
    return parts


def _split_tail(stretch: Stretch, encode: Encode, tokenizers: TextTokenizers, known: Known) -> list[Ids | Stretch]:
    """Split off the end of a stretch that no content can change, whatever it is."""
    *before, last = stretch.parts
    if not isinstance(last, str):
        return [stretch]
    key = (stretch.behind, last)
    if key not in known.tails:
        known.tails[key] = _find_tail(last, stretch.behind, encode, tokenizers)
    found = known.tails[key]
    if found is None:
        return [stretch]
    cut, tail = found
    return [Stretch((*before, last[:cut]), stretch.behind), tail]


def _find_tail(last: str, behind: Behind, encode: Encode, tokenizers: TextTokenizers) -> tuple[int, Ids] | None:
    cut = find_cut(getattr(tokenizers, behind), last)
    if cut is None or find_cut(tokenizers.joined, last) != cut:
        return None
    tail = encode(last[cut:], "joined")
    if any((*encode(probe + last[:cut], behind), *tail) != encode(probe + last, behind) for probe in PROBES):
        return None
    return cut, tail


def _split_head(
    segments: Sequence[Segment], bos: Ids, tokenizers: TextTokenizers, encode: Encode, known: Known
) -> tuple[Ids, Sequence[Segment], Behind]:
    """Split off the leading tokens that no content can change; say what they leave ahead of the rest."""
    at = next(i for i, segment in enumerate(segments) if segment.has_slots)
    fixed = (*bos, *(i for part in _parts(segments[:at], "start", encode, tokenizers, known) for i in _fixed(part)))
    behind: Behind = "inside" if at else "start"
    opening = segments[at].parts[0]
    if not isinstance(opening, str):
        return fixed, segments[at:], behind
    key = (behind, opening)
    if key not in known.heads:
        known.heads[key] = _find_head(opening, behind, encode, tokenizers)
    found = known.heads[key]
    if found is None:
        return fixed, segments[at:], behind
    cut, head = found
    first = Segment(None, (opening[cut:], *segments[at].parts[1:]))
    return (*fixed, *head), (first, *segments[at + 1 :]), "joined"


def _find_head(opening: str, behind: Behind, encode: Encode, tokenizers: TextTokenizers) -> tuple[int, Ids] | None:
    """Find a cut inside the template's own text, one token before the first that differs between probes.

    It is used only where both sides tokenized apart give what they give together.
    """
    tokenizer: Tokenizer = getattr(tokenizers, behind)
    encodings = [tokenizer.encode(opening + probe, add_special_tokens=False) for probe in PROBES]
    shared = common_prefix([encoding.ids for encoding in encodings]) - 1
    cut = encodings[0].offsets[shared][0] if shared > 0 else 0
    left, right = opening[:cut], opening[cut:]
    head = encode(left, behind)
    rests = [encode(right + probe, "joined") for probe in PROBES]
    if not left or any((*head, *rest) != tuple(e.ids) for rest, e in zip(rests, encodings, strict=True)):
        return None
    return cut, head


def _fixed(part: Ids | Stretch) -> Ids:
    return () if isinstance(part, Stretch) else part
