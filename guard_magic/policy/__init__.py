"""Policies: the hazards a guard is asked about, by code.

`Policy` and `Category` are frozen values. The built-in policies are those of the guard families, in the words
of their prompts, which stand under their makers' licences (see NOTICE). `as_policy` reads a user's own.

Hazards of one's own are zero-shot: as Meta says of Llama Guard, they work less well than those a guard was
trained on.
"""

from guard_magic.policy.reading import as_policy, is_policy_file
from guard_magic.policy.taxonomies import (
    BUILT_IN,
    GRANITE_GUARDIAN,
    GRANITE_GUARDIAN_3_3,
    LLAMA_GUARD_1,
    LLAMA_GUARD_2,
    LLAMA_GUARD_3,
    LLAMA_GUARD_3_1B,
    LLAMA_GUARD_4,
    QWEN3_GUARD,
    SHIELD_GEMMA,
    WILDGUARD,
)
from guard_magic.policy.values import Category, Policy, listed_codes

__all__ = [
    "BUILT_IN",
    "GRANITE_GUARDIAN",
    "GRANITE_GUARDIAN_3_3",
    "LLAMA_GUARD_1",
    "LLAMA_GUARD_2",
    "LLAMA_GUARD_3",
    "LLAMA_GUARD_3_1B",
    "LLAMA_GUARD_4",
    "QWEN3_GUARD",
    "SHIELD_GEMMA",
    "WILDGUARD",
    "Category",
    "Policy",
    "as_policy",
    "is_policy_file",
    "listed_codes",
]
