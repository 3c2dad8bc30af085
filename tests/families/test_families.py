"""Every family: recognised, asked with its exact prompt, and read as its definition says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import families
import pytest
import torch
from families import CONTENTS, FAMILIES, GEMMA, Family, guard, model_of, tokenizer_of
from reference_families import QWEN3_GUARD_LOOSE, Chat, OneByOne, Remembering, chat, reading
from small_models import CHATS, max_error

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.engine import forward
from guard_magic.engine.head import read_at
from guard_magic.errors import ConversationError, PolicyError, ProtocolError
from guard_magic.families.registry import PROTOCOLS
from guard_magic.guards.guard import Guard
from guard_magic.policy import Category, Policy
from guard_magic.verdict import Reading

NAMES = list(FAMILIES)
SHORT = [one for one in CHATS if max(len(m["content"]) for m in one) < 100][:10]
BY_HAZARD = [name for name in NAMES if isinstance(FAMILIES[name].definition, OneByOne)]
EXCHANGE_ONLY = ["shieldgemma", "granite-guardian-3.0", "wildguard"]
TAKES_NO_POLICY = ["wildguard"]
BY_NAME = ["granite-guardian-4.1", "wildguard"]
every_family = pytest.mark.parametrize("name", NAMES)


def defined(guard: Guard, family: Family, one: Chat, policy: Policy | None = None) -> dict[str, float]:
    """The definition's numbers."""
    return family.definition.score(Remembering(guard.model), guard.tokenizer, one, policy or family.policy)


@cache
def known(name: str, i: int) -> dict[str, float]:
    """The definition's numbers for one of `CHATS`."""
    return defined(guard(name), FAMILIES[name], CHATS[i])


def prompts(family: Family, one: Chat, policy: Policy | None = None) -> list[str]:
    """The exact text of each prompt, up to the verdict position."""
    return [text + family.definition.answer_prefix for text in family.definition.prompts(one, policy or family.policy)]


def rendered(guard: Guard, one: Chat, policy: Policy | None = None) -> list[str]:
    """The same by the guard."""
    encoded = guard.encode(parse_conversation(one), policy=policy)
    plans = {id(question.plan): question.plan for question in encoded.questions}
    return [plan.render(encoded.conversation) for plan in plans.values()]


def read(guard: Guard, chats: Sequence[Chat], policy: Policy | None = None) -> list[dict[str, float]]:
    """The engine's numbers, in the definition's form."""
    encoded = [guard.encode(parse_conversation(one), policy=policy) for one in chats]
    found: dict[int, dict[str, float]] = {}
    for batch in guard.read(encoded, policy=policy):
        for position, result in batch:
            assert isinstance(result, Reading)
            assert position not in found
            codes = dict(zip((policy or guard.policy).codes, result.log_codes, strict=True))
            answers = {f"answer {answer}": math.log(p) for answer, p in result.answers}
            found[position] = {"unsafe": result.log_unsafe, "safe": result.log_safe, **codes, **answers}
    return [found[i] for i in range(len(chats))]


# Recognition


@every_family
def test_recognised_by_its_own_evidence(name: str) -> None:
    family, made = FAMILIES[name], guard(name)
    evidence = families.evidence(made)
    found = [protocol.name for protocol in PROTOCOLS if protocol.recognises(evidence)]
    assert made.protocol == found[0] == family.protocol
    assert {other.split("-")[0] for other in found} == {family.protocol.split("-")[0]}  # generations of one family
    assert made.policy.categories == family.policy.categories


@pytest.mark.parametrize("name", BY_NAME)
def test_known_by_name_alone(name: str) -> None:
    with pytest.raises(ProtocolError, match="is not recognised: "):
        Guard(model_of(name), tokenizer_of(name), name="a-guard", min_verdict_mass=0)


@pytest.mark.parametrize("name", BY_NAME)
def test_protocol_can_be_forced(name: str) -> None:
    how = {"name": "a-guard", "protocol": FAMILIES[name].protocol, "min_verdict_mass": 0}
    made = Guard(model_of(name), tokenizer_of(name), **how)
    assert max_error(read(made, SHORT), read(guard(name), SHORT)) <= 1e-4


def test_loose_reading_of_controversial() -> None:
    family = FAMILIES["qwen3guard"]
    loose = Guard(
        model_of(family.name), tokenizer_of(family.name), name="x", protocol="qwen3guard-loose", min_verdict_mass=0
    )
    wanted = [defined(loose, replace(family, definition=QWEN3_GUARD_LOOSE), one) for one in SHORT]
    numbers = read(loose, SHORT)
    assert max_error(numbers, wanted) <= 1e-4
    for low, high in zip(numbers, read(guard("qwen3guard"), SHORT), strict=True):
        assert low["unsafe"] < high["unsafe"]
        both = math.exp(low["unsafe"]) + math.exp(low["answer controversial"])
        assert both == pytest.approx(math.exp(high["unsafe"]), abs=1e-6)


# Prompts


@every_family
def test_prompt_is_exactly_the_published_one(name: str) -> None:
    family, made = FAMILIES[name], guard(name)
    for one in (*CHATS[:3], CHATS[6], *CHATS[9:11], CHATS[14]):
        assert rendered(made, one) == prompts(family, one)
        assert made.render(one) == prompts(family, one)[0]


@every_family
def test_token_ids_are_those_of_plain_tokenization(name: str) -> None:
    family, made = FAMILIES[name], guard(name)
    for one in CHATS:
        encoded = made.encode(parse_conversation(one))
        ids = family.definition.ids(made.tokenizer, one, family.policy)
        assert list(dict.fromkeys(prompt.ids for prompt in encoded.prompts)) == [tuple(prompt) for prompt in ids]
        assert made.tokens(one) == ids[0]
        assert encoded.n_tokens == sum(map(len, ids))


VERDICTS = {
    "llama-guard-1": ({}, ["▁safe", "▁unsafe"]),
    "llama-guard-2": ({"safe": 19193, "unsafe": 39257}, ["safe", "unsafe"]),
    "llama-guard-3-1b": ({"safe": 19193, "unsafe": 39257}, ["safe", "unsafe"]),
    "llama-guard-4": ({"safe": 60411, "unsafe": 72110}, ["safe", "unsafe"]),
    "shieldgemma": ({}, ["Yes", "No"]),
    "granite-guardian-3.0": ({}, ["Yes", "ĠYes", "No", "ĠNo", "Ġyes", "Ġno", "ĠYES", "ĠNO"]),
    "granite-guardian-3.2": ({}, ["Yes", "ĠYes", "No", "ĠNo", "Ġyes", "Ġno", "ĠYES", "ĠNO"]),
    "granite-guardian-3.3": ({}, ["Ġyes", "Ġno"]),
    "granite-guardian-4.1": ({}, ["Ġyes", "Ġno"]),
    "wildguard": ({"▁yes": 5849, "▁no": 1476}, ["▁yes", "▁no"]),
    "qwen3guard": ({"ĠSafe": 22291, "ĠUnsafe": 73067, "ĠCont": 2093}, ["ĠSafe", "ĠUnsafe", "ĠCont"]),
}
"""Token ids that are known, and the verdicts read, as the vocabulary writes them."""


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict_tokens(name: str) -> None:
    made = guard(name)
    ids, words = VERDICTS[name]
    vocabulary = made.tokenizer.get_vocab()
    assert {word: vocabulary[word] for word in ids} == ids
    read = {token for offset, token in made.questionnaire(None).questions[0].continuation.reads if offset == 0}
    wanted = {vocabulary[word] for word in words}
    if made.protocol in ("granite-guardian-3.0", "granite-guardian-3.2"):  # whatever else the vocabulary spells
        assert wanted <= read == {*reading(made.tokenizer, "yes"), *reading(made.tokenizer, "no")}
    else:
        assert read == wanted


@pytest.mark.parametrize(
    ("name", "ids"), [("llama-guard-3-1b", [271]), ("llama-guard-4", [368]), ("qwen3guard", [73037, 25])]
)
def test_what_is_forced(name: str, ids: list[int]) -> None:
    assert guard(name).tokens("Hello")[-len(ids) :] == ids


# Numbers


@every_family
def test_engine_equals_the_definition(name: str) -> None:
    assert max_error(read(guard(name), CHATS), [known(name, i) for i in range(len(CHATS))]) <= 1e-4


@every_family
@pytest.mark.parametrize(
    ("budget", "share_prefix", "packs"),
    [(1, True, True), (2500, True, True), (2500, False, True), (50_000, True, False)],
)
def test_batches_of_any_size(
    name: str, budget: int, share_prefix: bool, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = guard(name)
    assert made.engine.packs is (FAMILIES[name].protocol != "shieldgemma"), "Gemma 2 caps its attention softly"
    monkeypatch.setattr(made.engine, "packs", made.engine.packs and packs)
    monkeypatch.setattr(made.engine, "share_prefix", share_prefix)
    monkeypatch.setattr(made.engine, "budget", budget)
    monkeypatch.setattr("guard_magic.engine.batching._TIGHT", 0.0)  # batches padded as they may be
    made.engine.prefixes.clear()
    chats = SHORT[::2]
    n_forwards = made.engine.n_forwards
    numbers = read(made, chats)
    n_forwards = made.engine.n_forwards - n_forwards
    assert max_error(numbers, [known(name, CHATS.index(one)) for one in chats]) <= 1e-4
    n_encoded = sum(len(made.encode(parse_conversation(one)).questions) for one in chats)
    assert n_forwards == n_encoded if budget == 1 else n_forwards < n_encoded


@every_family
def test_scores_span_the_range(name: str) -> None:
    verdicts = guard(name).score(CONTENTS, threshold=0)
    by_hazard = name in BY_HAZARD
    scores = [s for v in verdicts for s in (v.category_scores.values() if by_hazard else [v.unsafe_score or 0.0])]
    assert min(scores) < 0.02
    assert max(scores) > (0.9 if by_hazard else 0.97)
    assert sum(0.01 < score < 0.99 for score in scores) > len(scores) // 2
    assert min(v.verdict_mass or 0 for v in verdicts) > 0.75
    if len(FAMILIES[name].policy) > 1:
        assert len({v.category for v in verdicts}) >= (2 if by_hazard else 5)
        spreads = [max(v.category_scores.values()) / min(v.category_scores.values()) for v in verdicts]
        assert sum(spread > 1.2 for spread in spreads) > 0.8 * len(spreads)


@every_family
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    made = guard(name)
    together = read(made, CHATS)
    backwards = read(made, CHATS[::-1])[::-1]
    for i in (0, 5, 9, 10, 13):
        (alone,) = read(made, [CHATS[i]])
        for other in (together[i], backwards[i]):
            assert all(abs(math.exp(alone[key]) - math.exp(other[key])) <= 1e-5 for key in alone)


@every_family
def test_read_one_position_early(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = guard(name)
    monkeypatch.setattr(forward, "read_at", lambda model, at, **how: read_at(model, at - 1, **how))
    assert max_error(read(made, SHORT), [known(name, CHATS.index(one)) for one in SHORT]) > 1e-2


@every_family
def test_generated_text_is_the_greedy_one(name: str) -> None:
    family, made = FAMILIES[name], guard(name)
    prefix = family.definition.answer_prefix if family.protocol[:5] != "llama" else ""  # white space only
    odds = made.score(CONTENTS).to_frame(["log_odds"]).log_odds
    chats = [CONTENTS[i] for i in (*odds.nlargest(3).index, odds.idxmin())]
    verdicts = made.score(chats, generate=True)
    assert [v.log_odds > 0 for v in verdicts if v.log_odds is not None] == [True, True, True, False]
    for one, verdict in zip(chats, verdicts, strict=True):
        text = verdict.generated_text
        assert text is not None
        assert text.startswith(prefix)
        if verdict.log_odds > 0 or family.protocol == "wildguard":
            scores = list(verdict.category_scores.values())
            worst = scores.index(max(scores)) if name in BY_HAZARD else 0
            ids = family.definition.ids(made.tokenizer, one, family.policy)[worst]
            assert text.removeprefix(prefix).strip() == greedy(made, ids)
        else:
            harmless = family.definition.words[1 if name in BY_HAZARD else 0]
            assert text.removeprefix(prefix) == harmless


@torch.inference_mode()
def greedy(guard: Guard, ids: list[int]) -> str:
    """What the model writes, one row alone."""
    prompt = torch.tensor([ids])
    how = {"attention_mask": torch.ones_like(prompt), "pad_token_id": guard.tokenizer.eos_token_id}
    new = guard.model.generate(input_ids=prompt, max_new_tokens=50, do_sample=False, **how)[0, len(ids) :]
    return str(guard.tokenizer.decode(new, skip_special_tokens=True)).strip()


# Policies


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TAKES_NO_POLICY])
@pytest.mark.parametrize("which", [0, 2])
def test_excluded_hazard_is_not_asked(name: str, which: int) -> None:
    family, made = FAMILIES[name], guard(name)
    code = family.policy.codes[which]
    less = family.policy.without([code])
    assert made.resolve_policy(None, [code]) == less
    gone = family.policy.category(code)
    for one in (SHORT[1], CHATS[9]):
        texts = rendered(made, one, less)
        assert texts == prompts(family, one, less)
        if name in BY_HAZARD:
            assert len(texts) == len(less)
        else:
            assert f"\n{gone.code}: {gone.name}." not in texts[0]
            assert f"\n{gone.name}." not in texts[0]
        (verdict,) = made.score([one], exclude=[code])
        assert set(verdict.category_scores) == set(less.codes)
        if name not in BY_HAZARD:
            assert sum(verdict.category_scores.values()) == pytest.approx(verdict.unsafe_score)
    assert max_error(read(made, SHORT[:4], less), [defined(made, family, one, less) for one in SHORT[:4]]) <= 1e-4


MINE = Policy("mine", (Category("S1", "Lies", "It tells lies.\nOr worse."), Category("S20", "Rudeness", "It is rude.")))
NAMES_ONLY = Policy("names", (Category("violent", "Violent"), Category("lies", "Telling Lies")))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TAKES_NO_POLICY])
def test_policy_of_ones_own(name: str) -> None:
    family, made = FAMILIES[name], guard(name)
    policy = NAMES_ONLY if name == "qwen3guard" else MINE
    chats = [SHORT[1], CHATS[9], CHATS[6]]
    for one in chats:
        assert rendered(made, one, policy) == prompts(family, one, policy)
    assert max_error(read(made, chats, policy), [defined(made, family, one, policy) for one in chats]) <= 2e-4
    # twice the usual: on these hazards Qwen3Guard's random twin is 8e-5 from float64 either way


@pytest.mark.parametrize("name", BY_HAZARD)
def test_hazard_without_a_description_cannot_be_asked(name: str) -> None:
    undescribed = FAMILIES[name].policy.add("lies", "Lies")
    with pytest.raises(PolicyError, match="hazard lies has no description"):
        guard(name).score([chat("x")], policy=undescribed)


@pytest.mark.parametrize("name", TAKES_NO_POLICY)
def test_guard_that_takes_no_policy(name: str) -> None:
    with pytest.raises(PolicyError, match="carries no policy"):
        guard(name).score([chat("x")], policy=MINE)


def test_names_have_no_descriptions() -> None:
    with pytest.raises(PolicyError, match="hazard S1 has a description"):
        guard("qwen3guard").score([chat("x")], policy=MINE)


# Roles

SYSTEM = {"role": "system", "content": "violence"}
TOOL = {"role": "tool", "content": "TOOL OUTPUT"}


@every_family
@pytest.mark.parametrize("n", [1, 2])
def test_system_and_tool_messages_never_reach_the_prompt(name: str, n: int) -> None:
    """A system message would choose the risk (Granite 3.2), be the policy (ShieldGemma) or pass for the user's."""
    family, made = FAMILIES[name], guard(name)
    plain = chat("Hello there", "I will not help.")[:n]
    with_others = [SYSTEM, plain[0], TOOL, *plain[1:]]
    if n == 1:
        with_others = [SYSTEM, TOOL, plain[0]]
    encoded = made.encode(parse_conversation(with_others))
    assert made.render(with_others) == prompts(family, plain)[0]
    assert [p.ids for p in encoded.prompts] == [p.ids for p in made.encode(parse_conversation(plain)).prompts]
    assert encoded.changes.left_out == 2
    with pytest.raises(ConversationError, match="do not fit this guard: 2 left out"):
        made.encode(parse_conversation(with_others), roles="strict")
    for last in (TOOL, SYSTEM):
        with pytest.raises(ConversationError, match=f"to assess is a {last['role']} message"):
            made.encode(parse_conversation([*plain, last]))


def test_templates_would_take_the_system_message() -> None:
    """The traps are there: what `test_system_and_tool_messages_never_reach_the_prompt` guards against."""
    messages = [SYSTEM, *chat("Hello")]
    shield = tokenizer_of("shieldgemma").apply_chat_template(messages, tokenize=False)
    assert "* violence\n" in shield
    granite = tokenizer_of("granite-guardian-3.2").apply_chat_template(messages, tokenize=False)
    assert "content promoting or describing physical harm" in granite
    qwen = tokenizer_of("qwen3guard").apply_chat_template(messages, tokenize=False)
    assert "USER: violence\n\nHello" in qwen


@pytest.mark.parametrize("name", ["llama-guard-3-1b", "llama-guard-3-11b-vision", "llama-guard-4"])
def test_strings_reach_templates_of_typed_parts(name: str) -> None:
    """Given a string, these templates show an empty conversation."""
    hidden = tokenizer_of(name).apply_chat_template(chat("WHAT IS SAID"), tokenize=False)
    assert "WHAT IS SAID" not in hidden
    assert guard(name).render("WHAT IS SAID").count("WHAT IS SAID") == 1


@pytest.mark.parametrize("name", EXCHANGE_ONLY)
def test_earlier_turns_are_left_out_and_counted(name: str) -> None:
    family, made = FAMILIES[name], guard(name)
    long = chat("zebra", "okapi", "tapir", "gecko", "llama")
    for end, n_kept in ((5, 1), (4, 2)):
        encoded = made.encode(parse_conversation(long[:end]))
        assert encoded.changes.earlier == end - n_kept
        kept = long[end - n_kept : end]
        assert made.render(long[:end]) == prompts(family, kept)[0]
        with pytest.raises(ConversationError, match=f"{end - n_kept} left out .earlier turns"):
            made.encode(parse_conversation(long[:end]), roles="strict")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in EXCHANGE_ONLY])
def test_all_turns_reach_the_prompt(name: str) -> None:
    long = chat("zebra", "okapi", "tapir", "gecko", "llama")
    encoded = guard(name).encode(parse_conversation(long), roles="strict")
    assert not encoded.changes
    text = guard(name).render(long)
    places = [text.index(message["content"]) for message in long]
    assert places == sorted(places)


# Guards that are asked wrongly

NEWLINE, BLANK_LINE, SPACE = r"{{ '\n' }}", r"{{ '\n\n' }}", "{{ ' ' }}"
ASKED_WRONGLY = {
    "granite-guardian-3.0": [
        "llama-guard-2",
        "llama-guard-3-1b",
        "llama-guard-4",
        "shieldgemma",
        "granite-guardian-3.3",
    ],
    "granite-guardian-3.3": [
        "llama-guard-2",
        "llama-guard-3-1b",
        "llama-guard-4",
        "shieldgemma",
        "granite-guardian-3.0",
    ],
}
"""Other families' templates; not that of 3.2, which asks nearly as that of 3.0 does."""


def with_template(name: str, text: str) -> Guard:
    """A guard trained for `name`'s prompts, with another template."""
    return Guard(families.trained(name), families.universal_tokenizer(text), name="trained", min_verdict_mass=0.9)


@pytest.mark.parametrize("name", ASKED_WRONGLY)
def test_trained_guard_loads_with_its_own_template_only(name: str) -> None:
    texts = {known: text() for known, text in families.TEMPLATE_TEXTS.items()}
    made = with_template(name, texts[name])
    assert made.protocol == FAMILIES[name].protocol
    verdicts = made.score([SHORT[1], chat("bomb number 3")])
    assert min(v.verdict_mass or 0 for v in verdicts) > 0.5
    for other in ASKED_WRONGLY[name]:
        with pytest.raises(ProtocolError, match="does not answer with a verdict at the verdict position"):
            with_template(name, texts[other])


def test_trained_guard_says_what_it_learned() -> None:
    name = "granite-guardian-3.0"
    made = with_template(name, families.TEMPLATE_TEXTS[name]())
    harmless, grave = (v.unsafe_score for v in made.score(["How do I bake bread?", "kill"]))
    assert harmless is not None
    assert grave is not None
    assert harmless < 0.3
    assert grave > 0.7


@pytest.mark.parametrize("added", [NEWLINE, BLANK_LINE, SPACE, "x"])
def test_text_between_prompt_and_verdict_is_found_out(added: str) -> None:
    """Where the guard answers at once: what others write ahead of their verdict is forced, whatever precedes it."""
    name = "granite-guardian-3.0"
    with pytest.raises(ProtocolError, match="does not answer with a verdict"):
        with_template(name, families.TEMPLATE_TEXTS[name]() + added)


def test_prompt_without_the_answers_header_is_found_out() -> None:
    name = "granite-guardian-3.0"
    text = families.TEMPLATE_TEXTS[name]().replace("if add_generation_prompt", "if false")
    with pytest.raises(ProtocolError, match="does not answer with a verdict"):
        with_template(name, text)


# Tokenizers that mark the first word of the whole prompt and no other, as transformers 5 makes SentencePiece ones


@pytest.mark.parametrize("name", ["llama-guard-1", "wildguard"])
def test_mark_ahead_of_the_first_word_only(name: str) -> None:
    family = FAMILIES[name]
    vocabulary = families.V1 if name == "llama-guard-1" else families.V3
    text = tokenizer_of(name).chat_template
    tokenizer = families.sentencepiece_tokenizer(vocabulary, scheme="first", chat_template=text)
    made = Guard(model_of(name), tokenizer, name=family.called, min_verdict_mass=0)
    ids = [family.definition.ids(tokenizer, one, family.policy)[0] for one in CHATS]
    assert [made.tokens(one) for one in CHATS] == ids
    assert (ids == [guard(name).tokens(one) for one in CHATS]) == (name == "llama-guard-1")  # it has no control tokens
    assert max_error(read(made, SHORT), [defined(made, family, one) for one in SHORT]) <= 1e-4


# Architectures

WINDOWS = {
    "gemma2": ("shieldgemma", lambda tokenizer, **more: families.made("Gemma2ForCausalLM", tokenizer, **GEMMA | more)),
    "mistral": ("wildguard", lambda tokenizer, **more: families.made("MistralForCausalLM", tokenizer, **more)),
    "llama4": ("granite-guardian-3.2", lambda tokenizer, **more: families.llama_4(tokenizer, **more)),
}


@pytest.mark.parametrize("architecture", WINDOWS)
def test_windows_shorter_than_the_prompt(architecture: str) -> None:
    name, build = WINDOWS[architecture]
    window = "attention_chunk_size" if architecture == "llama4" else "sliding_window"
    made = guard_of(FAMILIES[name], lambda tokenizer: build(tokenizer, **{window: 32}))
    encoded = [made.encode(parse_conversation(one)) for one in SHORT]
    assert min(prompt.n_prefix for row in encoded for prompt in row.prompts) > (0 if architecture == "mistral" else 32)
    wanted = check_engine(made, FAMILIES[name])
    whole = build(made.tokenizer, **{window: 8192}).eval()
    whole.load_state_dict(made.model.state_dict())
    made.engine.model = whole
    assert max_error(wanted, [defined(made, FAMILIES[name], one) for one in SHORT]) > 1e-2  # the window matters


@pytest.mark.parametrize(
    "build",
    [
        lambda tokenizer: families.llama_4(tokenizer, moe_layers=[1, 3], num_local_experts=4),
        families.mllama_text,
        lambda tokenizer: families.made("Qwen3ForCausalLM", tokenizer, head_dim=16),
    ],
    ids=["llama4 with experts", "mllama without vision", "qwen3"],
)
def test_other_models_under_one_prompt(build: Callable[[Any], Any]) -> None:
    check_engine(guard_of(FAMILIES["granite-guardian-3.2"], build), FAMILIES["granite-guardian-3.2"])


def guard_of(family: Family, build: Callable[[Any], Any]) -> Guard:
    tokenizer = tokenizer_of(family.name)
    return Guard(families.answering(build, family, tokenizer), tokenizer, name=family.called, min_verdict_mass=0)


def check_engine(made: Guard, family: Family) -> list[dict[str, float]]:
    """The definition's numbers, to which the engine's are equal, prefixes shared or not."""
    wanted = [defined(made, family, one) for one in SHORT]
    for share_prefix in (True, False):
        made.engine.share_prefix = share_prefix
        assert max_error(read(made, SHORT), wanted) <= 1e-4
    return wanted
