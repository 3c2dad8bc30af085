"""The sources of the training set, in the order in which repeats are decided: the first keeps its row."""

from __future__ import annotations

from . import benign, cyber, dialogues, held_out, jailbreaks, prompts
from .base import Example, Source

ORDER = (
    "ailuminate_demo_en", "ailuminate_demo_fr", "aart", "catqa_en",
    "catqa_zh", "catqa_vi", "harmfulqa", "advbench",
    "malicious_instruct", "forbidden_questions", "trustllm_misuse_add",
    "harmbench_adv_training_prompts", "multijail",
    "cyberseceval_interpreter", "davidson_hate", "convabuse", "diasafety", "jbb_artifacts",
    "refusal_direction_jbb_runs", "rbr_gold_responses", "rbr_gold_prompts", "cyberseceval_frr",
    "cyberseceval_frr_multilingual", "cyberseceval_instruct", "gpteacher_codegen", "gpteacher_roleplay",
    "gpteacher_toolformer", "self_instruct_user", "self_instruct_predictions", "self_instruct_seed", "gsm8k",
    "p3_t0_subset", "xstest_prompts", "xstest_completions", "dices_350", "openai_moderation", "dolly_6k",
)  # fmt: skip

_MODULES = (prompts, cyber, dialogues, jailbreaks, benign)
_BY_NAME = {source.name: source for module in _MODULES for source in module.SOURCES}
REGISTRY: dict[str, Source] = {name: _BY_NAME[name] for name in ORDER}
BENCHMARKS: dict[str, Source] = {source.name: source for source in held_out.SOURCES}

__all__ = ["BENCHMARKS", "ORDER", "REGISTRY", "Example", "Source"]
