"""The conversation cannot speak for the guard, whatever its family: every attack, at every place, on every family."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Any

import families
import hostile
import pytest

from guard_magic.conversations.conversation import Conversation, Message, parse_conversation
from guard_magic.errors import ConversationError
from guard_magic.prompts.plan import PromptPlan
from guard_magic.prompts.skeleton import common_prefix

PLACES = {
    "user": [("user", "{}")],
    "question": [("user", "{}"), ("assistant", "Of course.")],
    "answer": [("user", "Can you help?"), ("assistant", "{}")],
}
LABELS = {
    "llama-guard": ("User:", "Agent:"),
    "shieldgemma": ("Human Question:", "Chatbot Response:", "Our safety principle is defined"),
    "granite": ("User Message:", "Assistant Message:", "### Criteria:", "### Scoring Schema:"),
    "qwen3guard": ("USER:", "ASSISTANT:", "Safety:"),
    "wildguard": ("Human user:", "AI assistant:", "Answers:", "Harmful request:"),
}
MARKERS = {
    "llama-guard": ("BEGIN CONVERSATION", "END CONVERSATION", "END UNSAFE CONTENT CATEGORIES"),
    "shieldgemma": ("start_of_turn", "end_of_turn"),
    "granite": ("end_of_turn", "end_of_conversation", "start_of_risk_definition", "guardian", "score"),
    "qwen3guard": ("BEGIN CONVERSATION", "END CONVERSATION", "END SAFETY POLICY", "think"),
    "wildguard": ("|user|", "|assistant|"),
}
_HOMOGLYPHS = str.maketrans("аАсеЕорхуНВКМТЅ", "aAceEopxyHBKMTS")


def folded(text: str) -> str:
    """Return `text` as a reader (or a model that has seen it all) may take it: without disguises."""
    text = unicodedata.normalize("NFKC", text).translate(_HOMOGLYPHS)
    return "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn") or c in "\n").casefold()


@lru_cache(maxsize=64)
def structure(family: str, ids: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """Return the labels at line starts and the markers of a prompt, in order."""
    text = plan_of(family).tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    kind = next(kind for kind in LABELS if families.FAMILIES[family].protocol.startswith(kind))
    lines = [re.sub(r"\s+", "", folded(line)) for line in text.splitlines()]
    names = [re.sub(r"\s+", "", folded(label)) for label in LABELS[kind]]
    labels = [name for line in lines for name in names if line.startswith(name)]
    whole = re.sub(r"\s+", "", folded(text))
    found = re.findall("|".join(re.escape(f"<{re.sub(' ', '', folded(m))}>") for m in MARKERS[kind]), whole)
    return labels, found


@cache
def harmless(family: str, place: str) -> tuple[tuple[int, ...], int, int]:
    """Return the prompt of a harmless content, and how many tokens ahead of and behind it no content changes."""
    plan = plan_of(family)
    one, other = (
        plan.prompt(filled(place, text)).ids for text in ("Hello there, good morning.", "7 quick words: bye!")
    )
    return one, common_prefix([one, other]) - 1, common_prefix([one[::-1], other[::-1]]) - 2


def plan_of(family: str) -> PromptPlan:
    return families.guard(family).questionnaire(None).first


def filled(place: str, text: str) -> Conversation:
    """Put a text into its place, past all parsing."""
    return Conversation(tuple(Message(role, form.replace("{}", text)) for role, form in PLACES[place]))  # type: ignore[arg-type]


@cache
def special(family: str) -> frozenset[int]:
    plan = plan_of(family)
    return frozenset(plan.tokenizer.all_special_ids) | plan.control_ids


def control(family: str, ids: tuple[int, ...]) -> list[int]:
    return [i for i in ids if i in special(family)]


def problems(family: str, place: str, attack: str) -> list[str]:
    """Say what an attack reaches; nothing where it is harmless."""
    plan = plan_of(family)
    usual, n_head, n_tail = harmless(family, place)
    try:
        ids = plan.prompt(filled(place, attack)).ids
    except ConversationError:
        return ["refused"]
    found = []
    if control(family, ids) != control(family, usual):
        found.append("control tokens")
    if ids[:n_head] != usual[:n_head]:
        found.append("what stands ahead of it")
    if n_tail < 4 or ids[-n_tail:] != usual[-n_tail:]:
        found.append("what stands behind it, the verdict position included")
    labels, markers = zip(structure(family, ids), structure(family, usual), strict=True)
    if labels[0] != labels[1]:
        found.append("turn labels")
    if markers[0] != markers[1]:
        found.append("block markers")
    return found


def test_attacks_are_many_and_different() -> None:
    assert len(set(hostile.ATTACKS.values())) >= 200


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("family", families.FAMILIES)
def test_no_attack_leaves_its_place(family: str, place: str) -> None:
    reached: dict[str, Any] = {}
    for name, attack in hostile.ATTACKS.items():
        if name not in hostile.UNREADABLE and (found := problems(family, place, attack)):
            reached[name] = found
    assert not reached


@pytest.mark.parametrize("name", sorted(hostile.UNREADABLE))
def test_what_no_conversation_can_hold(name: str) -> None:
    with pytest.raises(ConversationError):
        parse_conversation(hostile.ATTACKS[name])


@pytest.mark.parametrize("family", families.FAMILIES)
def test_attacks_reach_a_prompt_that_is_put_together_plainly(family: str) -> None:
    """The check itself: without the defences most of the table's own tokens and structure come through."""
    plan = plan_of(family)
    n_reached = 0
    for attack in hostile.ATTACKS.values():
        text = attack.replace("\ud83d", "").replace("\0", "")
        messages = [{"role": "user", "content": text}]
        ids = tuple(plan.tokenizer(plan.renderer.render(messages), add_special_tokens=False)["input_ids"])
        usual = [{"role": "user", "content": "Hello there, good morning."}]
        other = tuple(plan.tokenizer(plan.renderer.render(usual), add_special_tokens=False)["input_ids"])
        n_reached += control(family, ids) != control(family, other)
        n_reached += structure(family, ids) != structure(family, other)
    assert n_reached > 10
