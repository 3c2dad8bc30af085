"""Small tokenizers that are trained in the test, and contents that are hard to tokenize."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from guard_magic.families import llama_guard
from guard_magic.policy import Policy
from guard_magic.prompts.plan import PROBES


def varied_contents() -> list[str]:
    rng = random.Random(7)
    alphabets = [
        "abc XYZ.,'!?-",
        "0123456789 .,%",
        "éüßñ çÅø",
        "日本語中文한국어。、",
        "مرحبا שלום ",
        "🙂👩‍👩‍👧🏽🇫🇷 ❤️",
        " \t\n\r\u00a0\u3000x",
        "()[]{}<>|\\/:;_*#`~@^&=+\"'$",
        "\u200b\u200d\u0301\u202eab",
        "aA1 .\n日🙂é<|",
    ]
    made = ["".join(rng.choices(alphabet, k=rng.randint(1, 60))) for alphabet in alphabets for _ in range(18)]
    made += [
        a + b
        for a, b in itertools.product(
            ["", " ", "\n", "don't"], ["7", "é", "...", "\n- x", "S1", "safe", "unsafe\nS1", "User"]
        )
    ]
    made += [*PROBES, "x" * 20_000, "word " * 4_000, "1234567890" * 500, "🙂" * 500, "\n" * 300 + "x" + "\n" * 300, "a"]
    made += [
        "for i in range(10):\n    if x[i] >= 3:\n\t\treturn {'a': 1}\n",
        "<div class='a'>&amp;</div>",
        "C:\\a\\b",
        "x <| y |> z",
    ]
    return [text for text in made if text.strip() and not llama_guard.STRUCTURE.neutralise(text)[1]]


CONTENTS = varied_contents()

SHORT = (
    "<|s|>ONLY THE LAST\n\n<BEGIN CONVERSATION>\n\n{% for m in messages %}"
    "{{ ('User' if m.role == 'user' else 'Agent') + ': ' + CONTENT + '\n\n' }}{% endfor %}<END CONVERSATION><|e|>"
)

WORDS = ["safe", "unsafe", "User", "Agent", "ONLY", "THE", "LAST", "BEGIN", "END", "CONVERSATION"]


def small_tokenizer(
    content: str = "m.content.strip()", *, normalizer: Any = None, prepend: str | None = None, extra: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """A byte-level (or, with `prepend`, Metaspace) BPE that writes whole `WORDS` and single characters."""
    marks = ["Ċ", "Ġ"] if prepend is None else ["\n", "▁"]
    characters = sorted({*pre_tokenizers.ByteLevel.alphabet(), *marks, *map(chr, range(32, 127)), "\n"})
    merges: dict[tuple[str, str], None] = {}
    if prepend is None:
        merges["Ċ", "Ċ"] = None
    for word in WORDS:
        for i in range(1, len(word)):
            merges[word[:i], word[i]] = None
    if "unsafe" in WORDS:
        merges["un", "safe"] = None
    vocabulary = dict.fromkeys([*characters, *(a + b for a, b in merges)])
    ids = {token: i for i, token in enumerate(vocabulary)}
    backend = Tokenizer(models.BPE(ids, list(merges), fuse_unk=True, unk_token="?"))
    if prepend is None:
        split = pre_tokenizers.Split(Regex(r"[A-Za-z]+|\d{1,3}|\s+|[^\sA-Za-z\d]+"), "isolated")
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, level])
        backend.decoder = decoders.ByteLevel()
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
        backend.decoder = decoders.Metaspace(prepend_scheme=prepend)
    if normalizer is not None:
        backend.normalizer = normalizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|s|>", eos_token="<|e|>")
    tokenizer.add_tokens(list(extra))
    tokenizer.chat_template = SHORT.replace("CONTENT", content)
    return tokenizer


def chat_of(*texts: str) -> list[dict[str, str]]:
    return [
        {"role": role, "content": text}
        for role, text in zip(itertools.cycle(["user", "assistant"]), texts, strict=False)
    ]


CUT = "(m.content if m.content | length < 50 else m.content[:50] ~ '...')"

HIDE = "(m.content if 'zq' in m.content or m.content | length < 20 else 'hidden')"


def plan_prompts(tokenizer: Any, policy: Policy | None = None) -> llama_guard.LlamaGuardQuestionnaire:
    """Plan how a Llama Guard 3 tokenizer asks about `policy`."""
    return llama_guard.PROTOCOLS[-1].questionnaire(tokenizer, policy)
