"""Where a stretch of text is cut, so that its end is tokenized once: only where no content can change that."""

from __future__ import annotations

import itertools
import random
from typing import Any

import families
import pytest
from small_tokenizers import CONTENTS, small_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from guard_magic.guards.guard import Guard
from guard_magic.prompts.layout import Stretch
from guard_magic.prompts.text_only import TextTokenizers, text_only_copies
from guard_magic.prompts.tokenizer_cuts import find_cut

TAIL = " .\n\n<END CONVERSATION>\n\nProvide your\nassessment"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def copies(tokenizer: Any) -> TextTokenizers:
    return text_only_copies(tokenizer, tokenizer.all_special_tokens)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def endings() -> list[str]:
    """Contents that end in every way that may reach into what follows them."""
    rng = random.Random(5)
    marks = [
        "a",
        "é",
        "日",
        "7",
        "'",
        "'s",
        ".",
        "!?",
        "<",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\u00a0",
        "\u2028",
        "🙂",
        "\u0301",
    ]
    pairs = ["".join(parts) for n in (1, 2) for parts in itertools.product(marks, repeat=n)]
    return ["", *pairs, *("".join(rng.choices(marks, k=9)) for _ in range(300)), *CONTENTS]


@pytest.mark.parametrize("name", ["tiny", "tiny_digits", "embedded"])
@pytest.mark.parametrize("tail", [TAIL, "\nAgent", "\n\nA", "x\n \nb", "  \n\t\nUser: "])
def test_both_sides_apart_are_what_they_are_together(request: pytest.FixtureRequest, name: str, tail: str) -> None:
    guard: Guard = request.getfixturevalue(name)
    tokenizer = guard.questionnaire(None).first.tokenizers.joined
    cut = find_cut(tokenizer, tail)
    assert cut is not None
    assert tail[cut:].lstrip("\n")[0].isalpha()
    right = ids(tokenizer, tail[cut:])
    for text in endings():
        assert [*ids(tokenizer, text + tail[:cut]), *right] == ids(tokenizer, text + tail)


@pytest.mark.parametrize("family", ["qwen3guard", "llama-guard-4", "granite-guardian-3.2"])
def test_other_families(family: str) -> None:
    tokenizer = families.guard(family).questionnaire(None).first.tokenizers.joined
    cut = find_cut(tokenizer, TAIL)
    assert cut is not None
    right = ids(tokenizer, TAIL[cut:])
    for text in endings():
        assert [*ids(tokenizer, text + TAIL[:cut]), *right] == ids(tokenizer, text + TAIL)


def test_a_tail_without_such_a_place() -> None:
    tokenizer = copies(small_tokenizer()).joined
    for tail in ("", "x", "\n", "\n\n<END>", "\n\n7", "\né", " \t\n - a"):
        assert find_cut(tokenizer, tail) is None


def changed(tokenizer: PreTrainedTokenizerFast, **parts: Any) -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    for name, part in parts.items():
        setattr(backend, name, part)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|s|>", eos_token="<|e|>")


def with_split(pattern: str, *, behavior: str = "isolated", invert: bool = False, regex: bool = False) -> Any:
    split = pre_tokenizers.Split(Regex(pattern), behavior, invert)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)])


@pytest.mark.parametrize(
    "pre_tokenizer",
    [
        None,
        pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
        pre_tokenizers.Whitespace(),
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        with_split(LLAMA_3, behavior="removed"),
        with_split(LLAMA_3, behavior="merged_with_next"),
        with_split(LLAMA_3, invert=True),
        with_split(LLAMA_3, regex=True),
        with_split(LLAMA_3.replace(r"|\s*[\r\n]+", "") + r"|\s*[\r\n]+"),
        with_split(LLAMA_3.replace(r"|[^\r\n\p{L}\p{N}]?\p{L}+", "")),
        with_split(LLAMA_3.replace(r"[^\r\n\p{L}\p{N}]?\p{L}+", r"[^\p{L}\p{N}]?\p{L}+")),
        with_split(rf"(?<=x)\s|{LLAMA_3}"),
        with_split(r".+"),
        with_split(r"[^\n]+\n+"),
    ],
)
def test_tokenizers_that_are_not_cut(pre_tokenizer: Any) -> None:
    tokenizer = changed(small_tokenizer(), pre_tokenizer=pre_tokenizer)
    assert find_cut(copies(tokenizer).joined, TAIL) is None


def test_normalizers() -> None:
    known = with_split(LLAMA_3)
    for normalizer, is_cut in ((None, True), (normalizers.NFC(), True), (normalizers.NFKC(), False)):
        tokenizer = changed(small_tokenizer(normalizer=normalizer), pre_tokenizer=known)
        assert (find_cut(copies(tokenizer).joined, TAIL) is not None) is is_cut


@pytest.mark.parametrize(
    ("token", "is_cut"),
    [
        (AddedToken("Provide"), True),
        (AddedToken("Provide", lstrip=True), False),
        (AddedToken("\n\nPro"), False),
        (AddedToken("\n\nPro", special=True), True),
    ],
)
def test_added_tokens(token: AddedToken, is_cut: bool) -> None:
    tokenizer = changed(small_tokenizer(), pre_tokenizer=with_split(LLAMA_3))
    tokenizer.add_tokens([token], special_tokens=token.special)
    copy = text_only_copies(tokenizer, tokenizer.all_special_tokens).joined
    cut = find_cut(copy, TAIL)
    assert (cut is not None) is is_cut
    for text in endings()[:300] if cut is not None else ():
        assert [*ids(copy, text + TAIL[:cut]), *ids(copy, TAIL[cut:])] == ids(copy, text + TAIL)


def test_layouts_keep_their_tails(tiny: Guard) -> None:
    layout = tiny.questionnaire(None).first._layout(("user", "assistant"))
    stretch, tail = layout.parts
    assert isinstance(stretch, Stretch)
    assert stretch.parts == (": ", 0, "\n\nAgent: ", 1, "\n\n<END CONVERSATION>\n\n")
    assert not isinstance(tail, Stretch)
    assert tiny.tokenizer.decode(list(tail)).startswith("Provide your safety assessment")
    assert layout.is_clean
