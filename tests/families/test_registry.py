"""Which protocol a model is asked by, and who is refused with what reason."""

from __future__ import annotations

import pytest

from guard_magic.errors import ProtocolError
from guard_magic.families.base import Evidence
from guard_magic.families.registry import PROTOCOLS, find_protocol

LLAMA_GUARD_1 = (
    "[INST] Task: Check if there is unsafe content in … O1: Violence and Hate.\n"
    "<BEGIN CONVERSATION> <END CONVERSATION> … [/INST]"
)


def seen(name: str, template: str = "", model_type: str = "llama", architecture: str = "LlamaForCausalLM") -> Evidence:
    return Evidence(name=name, model_type=model_type, architecture=architecture, template=template)


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        (seen("openai/gpt-oss-safeguard-20b", "x", "gpt_oss", "GptOssForCausalLM"), "reasons before it answers"),
        (seen("mine", "x", "gpt_oss", "GptOssForCausalLM"), "reasons before it answers"),
        (seen("Qwen/Qwen3Guard-Stream-4B", "x", "qwen3", "Qwen3ForGuardModel"), "classifies token by token"),
        (seen("nvidia/Aegis-AI-Content-Safety-LlamaGuard-Defensive-1.0", LLAMA_GUARD_1), "trained on another prompt"),
        (seen("nvidia/Llama-3.1-NemoGuard-8B-Content-Safety", "x"), "answers in JSON"),
        (seen("nvidia/Llama-3.1-Nemotron-Safety-Guard-8B-v3", "x"), "answers in JSON"),
        (seen("ToxicityPrompts/PolyGuard-Qwen", "x", "qwen2", "Qwen2ForCausalLM"), "five lines"),
        (
            seen("google/shieldgemma-2-4b-it", "x", "shieldgemma2", "ShieldGemma2ForImageClassification"),
            "judges images",
        ),
        (
            seen("meta-llama/Prompt-Guard-86M", "", "deberta-v2", "DebertaV2ForSequenceClassification"),
            "is a classifier",
        ),
        (seen("someone/toxic-bert", "", "bert", "BertForSequenceClassification"), "is a classifier"),
        (seen("a-chat-model", "{{ messages }}"), "that of no known guard"),
        (seen("a-base-model"), "has no chat template"),
    ],
    ids=lambda value: value.name if isinstance(value, Evidence) else "",
)
def test_who_is_refused_and_why(evidence: Evidence, says: str) -> None:
    with pytest.raises(ProtocolError, match=says) as caught:
        find_protocol(evidence)
    assert evidence.name in caught.value.message
    assert caught.value.hint


def test_a_protocol_can_be_forced_on_whom_it_would_refuse() -> None:
    evidence = seen("nvidia/Aegis-AI-Content-Safety-LlamaGuard-Defensive-1.0", LLAMA_GUARD_1)
    assert find_protocol(evidence, "llama-guard-1").name == "llama-guard-1"
    with pytest.raises(ProtocolError, match="no protocol 'chatgpt'") as caught:
        find_protocol(evidence, "chatgpt")
    assert all(protocol.name in caught.value.hint for protocol in PROTOCOLS)


def test_the_older_shieldgemma_is_not_taken_for_the_one_that_sees() -> None:
    template = "{{ guideline }} Our safety principle is defined in the below"
    assert find_protocol(seen("google/shieldgemma-2b", template, "gemma2", "Gemma2ForCausalLM")).name == "shieldgemma"
    assert find_protocol(seen("google/shieldgemma-27b", template, "gemma2", "Gemma2ForCausalLM")).name == "shieldgemma"


def test_folders_above_a_model_are_no_evidence() -> None:
    assert find_protocol(seen("/home/aegis/prompt-guard/lg1", LLAMA_GUARD_1)).name == "llama-guard-1"


def test_names_are_evidence_only_where_nothing_else_is() -> None:
    assert find_protocol(seen("my-copy", LLAMA_GUARD_1)).name == "llama-guard-1"
    assert find_protocol(seen("allenai/wildguard", "", "mistral", "MistralForCausalLM")).name == "wildguard"
    with pytest.raises(ProtocolError):
        find_protocol(seen("allenai/wildguard", "", "llama"))
    assert len({protocol.name for protocol in PROTOCOLS}) == len(PROTOCOLS)
