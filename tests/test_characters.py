"""What a reader sees of a text."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from guard_magic.characters import first_seen, is_blank, strip_unseen, without_unseen


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "\u200b\u200b",
        "\u2800",
        "\u3164",
        "\u115f\u1160",
        "\ufeff",
        "\u034f",
        "\ufe0f",
        "\U000e0041",
        "\u0301",
        "\0",
    ],
)
def test_texts_without_anything_to_see_are_blank(text: str) -> None:
    assert is_blank(text)
    assert first_seen(text) is None
    assert strip_unseen(text) == without_unseen(text) == ""


@pytest.mark.parametrize("text", ["\ufffc", "\ufffd\ufffd \ufffc"])
def test_what_stands_for_a_picture_or_for_broken_bytes_says_nothing(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text} look")


def test_separators_controls_and_format_characters_are_unseen_and_letters_digits_and_symbols_are_seen() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Cc", "Cf", "Zs", "Zl", "Zp"):
            assert is_blank(character), hex(code)
        elif category in ("Lu", "Ll", "Nd", "Sm", "Sc", "Po"):
            assert not is_blank(character), hex(code)


def test_what_is_seen_stays_as_it_is() -> None:
    assert strip_unseen("\ufeff\u200b  नमस्ते \u200b") == "नमस्ते"
    assert strip_unseen("cafe\u0301 ") == "cafe\u0301"
    assert without_unseen("a\u200bb c\u0301") == "abc"
    assert first_seen("\u200b =1+1") == 2
    assert not is_blank("👍🏽")
    assert not is_blank("?")
    assert not is_blank("零")
