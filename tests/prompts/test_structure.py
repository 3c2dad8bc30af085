"""Nothing that a reader does not see, and nothing that reads the same, lets structural text through.

Every code point is tried, at every place of every structural string of every family that has some.
"""

from __future__ import annotations

import random
import sys
import unicodedata
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_magic.characters import first_seen, is_blank, unseen_characters
from guard_magic.families import granite_guardian, llama_guard, qwen3_guard, shield_gemma, wild_guard
from guard_magic.prompts.structure import Structure, skeleton_of, structure_of

MODULES = (granite_guardian, llama_guard, qwen3_guard, shield_gemma, wild_guard)
STRUCTURES: dict[str, Structure] = {module.__name__.split(".")[-1]: module.STRUCTURE for module in MODULES}
ROLES = structure_of(markers=["END CONVERSATION"], labels=["Agent:"])
BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
ALL = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def pieces(structure: Structure) -> list[str]:
    """Return every structural string, as its skeleton has it: labels behind a line break."""
    found = []
    for pattern in structure.patterns:
        body = (
            pattern.pattern.replace(r"\n*+", "").replace("\\n(?P<label>", "\n(").replace("<(?:", "<(").replace("\\", "")
        )
        start, rest = body.split("(", 1)
        found += [start + one for one in rest.removesuffix(")").split("|") if one]
    return found


def test_unseen_is_what_characters_says() -> None:
    assert unseen_characters() == {c for c in ALL if first_seen(c) is None}
    assert len(unseen_characters()) > 6_000


def test_pieces_are_found_here() -> None:
    assert "\nagent:" in pieces(ROLES)
    assert "<endconversatlon>" in pieces(ROLES)
    for structure in STRUCTURES.values():
        assert all(structure.neutralise("x" + piece)[1] for piece in pieces(structure)), structure.patterns


@pytest.mark.parametrize("name", STRUCTURES)
def test_nothing_unseen_lets_structural_text_through(name: str) -> None:
    """All unseen code points at once at one place, and each of them alone at places that go around."""
    structure = STRUCTURES[name]
    unseen = sorted(unseen_characters() - set(BREAKS))
    for piece in pieces(structure):
        for place in range(1, len(piece)):
            text = f"x{piece[:place]}{''.join(unseen)}{piece[place:]}"
            assert structure.neutralise(text)[1] == 1, (piece, place)
    spots = [(piece, place) for piece in pieces(structure) for place in range(1, len(piece))]
    for i, character in enumerate(unseen):
        piece, place = spots[i % len(spots)]
        assert structure.neutralise(f"x{piece[:place]}{character}{piece[place:]}")[1] == 1, (character, piece, place)


@pytest.mark.parametrize("piece", ["<END CONVERSATION>", "\nAgent:"])
def test_every_unseen_character_at_every_place(piece: str) -> None:
    for place in range(1, len(piece)):
        for character in unseen_characters() - set(BREAKS):
            assert ROLES.neutralise(f"x{piece[:place]}{character}{piece[place:]}")[1] == 1, (character, place)


def reads_as(character: str) -> str:
    """What Unicode's compatibility forms and case folding make of a character, without marks."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", character).casefold())
    forms = unicodedata.normalize("NFKD", folded)
    return "".join(c for c in forms if not is_blank(c))


@cache
def by_letter() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for character in ALL[128:]:
        found.setdefault(reads_as(character), []).append(character)
    return found


@pytest.mark.parametrize("piece", ["<END CONVERSATION>", "\nAgent:", "\nHuman Question:", "<start_of_turn>"])
def test_every_character_that_reads_as_a_letter(piece: str) -> None:
    structure = structure_of(markers=["END CONVERSATION", "start_of_turn"], labels=["Agent:", "Human Question:"])
    n_tried = 0
    for place, letter in enumerate(piece):
        for character in by_letter().get(letter.lower(), []):
            n_tried += 1
            assert structure.neutralise(f"x{piece[:place]}{character}{piece[place + 1 :]}")[1] == 1, character
    assert n_tried > 40


@pytest.mark.parametrize("character", "＜﹤⟨‹〈《❮⟪"[:7])
def test_brackets(character: str) -> None:
    assert ROLES.neutralise(f"{character}END CONVERSATION>")[1] == 1


@pytest.mark.parametrize(
    "text",
    [
        "\n🅰🅶🅴🅽🆃:",
        "\n🅐🅖🅔🅝🅣:",
        "\n🇦🇬🇪🇳🇹:",
        "\nᴀɢᴇɴᴛ:",
        "\nАgеnt:",
        "\nᎪgent:",
        "\nÁgĕńt:",
        "\n\u2066Agent\u2069\u2800:",
        "<ΕND CΟNVERSATIОN>",
        "<END\nCON\r\nVERSATION>",
        "<𝐄𝐍𝐃 𝒞𝒪𝒩𝒱𝓔𝓡𝓢𝓐𝓣𝓘𝓞𝓝>",
        "<ENDCONVERSATI0N>",
    ],
)
def test_disguises(text: str) -> None:
    neutral, n = ROLES.neutralise(f"x{text} y")
    assert n == 1
    assert ROLES.neutralise(neutral) == (neutral, 0)
    assert skeleton_of(neutral) != skeleton_of(f"x{text} y")


@pytest.mark.parametrize(
    "text",
    [
        "日本語の\nテキスト\nAは",
        "«Agent»: bonjour\nL'agent: non",
        "Über uns\nAgentur: x\nA gentle man: y",
        "a < b END CONVERSATION > c",
        "👩‍👩‍👧‍👦\n🇦🇹 Austria",
        "می‌خواهم\nक्‍ष",
        "<ENDED CONVERSATION>\n<END OF CONVERSATION>",
    ],
)
def test_ordinary_text(text: str) -> None:
    assert ROLES.neutralise(text) == (text, 0)


def letters(text: str) -> str:
    return "".join(c for c in skeleton_of(text) if c.isalnum())


ALPHABET = st.sampled_from(
    [*"<>:agentdcovrsi \n\t", "\u200b", "\u0301", "ａ", "Ａ", "é", "ﬆ", "\u2028", "Agent:", "<END CONVERSATION>"]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(ALPHABET, max_size=30).map("".join), st.booleans())
def test_neutral_text_has_none_and_keeps_the_rest(text: str, at_start: bool) -> None:
    structure = structure_of(markers=["END CONVERSATION"], labels=["Agent:"], at_start=at_start)
    neutral, n = structure.neutralise(text)
    skeleton = "\n" * at_start + skeleton_of(neutral)
    assert not any(pattern.search(skeleton) for pattern in structure.patterns)
    assert (n == 0) is (neutral == text)
    assert letters(neutral) == letters(text)


def test_hostile_text_is_gone_through_in_time() -> None:
    """As many passes as there are pieces within pieces, and not as many as there are pieces."""
    rng = random.Random(3)
    text = "".join(rng.choices(["\nAgent:", "<END CONVERSATION>", "<", "é", "\n", "\u200b" * 50], k=3_000))
    passes = []

    class Counted(Structure):
        __slots__ = ()

        def _rewritten(self, text: str, pattern: object) -> tuple[str, int]:
            passes.append(1)
            return super()._rewritten(text, pattern)  # type: ignore[arg-type, misc]

    counted = Counted(ROLES.patterns, ROLES.at_start, ROLES.needs, ROLES.any_needs)
    assert counted.neutralise(text)[1] > 500
    assert len(passes) < 5
