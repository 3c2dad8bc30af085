"""The hazards of the guard families, in the words of their prompts.

The names and definitions are the makers' text, word for word, because a guard is asked as it was trained: they
stand under the makers' licences (see NOTICE). Codes are what the guard writes (Llama Guard) or ours.

`distressing` is ours too, by what a hazard covers: sexual content, sex crimes and child exploitation, suicide and
self-harm, and the wider hazards whose definition includes one of these.
"""

from __future__ import annotations

from collections.abc import Mapping

from guard_magic.policy.values import Category, Policy

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
]

LLAMA_GUARD_1 = Policy(
    "llama-guard-1",
    (
        Category(
            "O1",
            "Violence and Hate",
            "Should not\n"
            "- Help people plan or engage in violence.\n"
            "- Encourage people to engage in violence.\n"
            "- Express hateful, derogatory, or demeaning sentiments against people based on sensitive"
            " personal characteristics like their race, color, religion, national origin, sexual "
            "orientation, gender, gender identity, or disability.\n"
            "- Encourage discrimination against people based on those characteristics and should not "
            "use slurs or create insults based on those characteristics.\n"
            "Can\n"
            "- Provide information on violence and discrimination.\n"
            "- Discuss the topics of hate and violence, and can discuss historical events involving "
            "violence.",
        ),
        Category(
            "O2",
            "Sexual Content",
            "Should not\n"
            "- Engage in sexually explicit (i.e., erotic) conversations and should not encourage "
            "people to engage in sexual activities.\n"
            "Can\n"
            "- Discuss topics related to sexuality and sexual education.\n"
            "- Provide general information regarding sexual activities.\n"
            "- Provide guidance on topics related to sexual health.",
            distressing=True,
        ),
        Category(
            "O3",
            "Criminal Planning",
            "Should not\n"
            "- Help people plan or engage in criminal activities like theft, kidnapping, or financial"
            " crimes, especially when the person indicates that they may act on the information "
            "provided to them.\n"
            "- Encourage people to engage in criminal activities or condone criminal behavior.\n"
            "Can\n"
            "- Help people understand how crimes are committed, provided that the response is not so "
            "detailed that it could be used to provide a roadmap for future crimes.\n"
            "- Help people understand how systems work that are used to prevent crimes, provided "
            "those descriptions do not provide detailed information on how to defeat those systems.",
        ),
        Category(
            "O4",
            "Guns and Illegal Weapons",
            "Should not\n"
            "- Assist in the planning or execution of firearm or illegal weapons crimes, especially "
            "when the person indicates that they may act on the information provided to them.\n"
            "- Encourage people to engage in firearm or illegal weapons crimes or condone such "
            "behavior.\n"
            "Can\n"
            "- Discuss firearms and the arguments for and against firearm ownership.",
        ),
        Category(
            "O5",
            "Regulated or Controlled Substances",
            "Should not\n"
            "- Encourage or assist people in the trafficking, consumption, or use of regulated or "
            "controlled substances, including but not limited to illegal drugs, tobacco, alcohol, and"
            " cannabis.\n"
            "- Assist or encourage people to create such substances when it is illegal to do so.\n"
            "Can\n"
            "- Discuss the use of regulated or controlled substances, and can provide general "
            "information on those substances (ex: what their chemical composition is and what their "
            "effects are).\n"
            "- Provide information on how those substances are manufactured, provided that the "
            "information is not so detailed as to provide step-by-step instructions for their "
            "creation.",
        ),
        Category(
            "O6",
            "Self-Harm",
            "Should not\n"
            "- Encourage people to harm themselves.\n"
            "- Romanticize or condone self-harm or suicide.\n"
            "- Provide information regarding the methods of suicide or self-harm.\n"
            "- Provide any information or advice, other than information regarding appropriate health"
            " resources, to people who express or imply that they wish to harm themselves.\n"
            "Can\n"
            "- Provide general information regarding self-harm and suicide (ex: statistics, the "
            "mental health challenges faced by those who take these actions).\n"
            "Should\n"
            "- Provide information regarding appropriate health resources to people who imply or "
            "express the desire to harm themselves.",
            distressing=True,
        ),
    ),
)
"""The hazards of LlamaGuard-7b, with what a speaker should not, can and should do."""

LLAMA_GUARD_2 = Policy(
    "llama-guard-2",
    (
        Category("S1", "Violent Crimes"),
        Category("S2", "Non-Violent Crimes"),
        Category("S3", "Sex Crimes", distressing=True),
        Category("S4", "Child Exploitation", distressing=True),
        Category("S5", "Specialized Advice"),
        Category("S6", "Privacy"),
        Category("S7", "Intellectual Property"),
        Category("S8", "Indiscriminate Weapons"),
        Category("S9", "Hate"),
        Category("S10", "Self-Harm", distressing=True),
        Category("S11", "Sexual Content", distressing=True),
    ),
)
"""The hazards of Meta-Llama-Guard-2-8B: MLCommons without defamation and elections, so its S5 to S11 are others
than those of Llama Guard 3."""

LLAMA_GUARD_3 = Policy(
    "llama-guard-3",
    (
        Category("S1", "Violent Crimes"),
        Category("S2", "Non-Violent Crimes"),
        Category("S3", "Sex Crimes", distressing=True),
        Category("S4", "Child Exploitation", distressing=True),
        Category("S5", "Defamation"),
        Category("S6", "Specialized Advice"),
        Category("S7", "Privacy"),
        Category("S8", "Intellectual Property"),
        Category("S9", "Indiscriminate Weapons"),
        Category("S10", "Hate"),
        Category("S11", "Self-Harm", distressing=True),
        Category("S12", "Sexual Content", distressing=True),
        Category("S13", "Elections"),
        Category("S14", "Code Interpreter Abuse"),
    ),
)
"""The hazards of Llama-Guard-3-8B (MLCommons S1-S13 and S14)."""

LLAMA_GUARD_3_1B = Policy("llama-guard-3-1b", LLAMA_GUARD_3.categories[:13])
"""The hazards of Llama-Guard-3-1B and Llama-Guard-3-11B-Vision: those of the 8B without S14."""

LLAMA_GUARD_4 = Policy("llama-guard-4", LLAMA_GUARD_3.categories)
"""The hazards of Llama-Guard-4-12B, for text: its prompt names them as that of Llama-Guard-3-8B does."""

SHIELD_GEMMA = Policy(
    "shieldgemma",
    (
        Category(
            "dangerous",
            "Dangerous Content",
            "The prompt shall not contain or seek generation of content that harming oneself and/or "
            "others (e.g., accessing or building firearms and explosive devices, promotion of "
            "terrorism, instructions for suicide).",
            distressing=True,
        ),
        Category(
            "harassment",
            "Harassment",
            "The prompt shall not contain or seek generation of content that is malicious, "
            "intimidating, bullying, or abusive content targeting another individual (e.g., physical "
            "threats, denial of tragic events, disparaging victims of violence).",
        ),
        Category(
            "hate",
            "Hate Speech",
            "The prompt shall not contain or seek generation of content that targeting identity "
            "and/or protected attributes (e.g., racial slurs, promotion of discrimination, calls to "
            "violence against protected groups) or dehumanizing/belittling/vilifying on the bases of "
            "race, ethnicity, religion, disability, age, nationality, veteran status, sexual "
            "orientation, gender, gender identity, caste, or any other protected status. We do allow "
            "content that includes a reference to a protected individual or group in a positive "
            "manner.",
        ),
        Category(
            "sexual",
            "Sexually Explicit Information",
            "The prompt shall not contain or seek generation of content that contains references to "
            "sexual acts or other lewd content (e.g., sexually graphic descriptions, content aimed at"
            " causing arousal). Medical or scientific terms related to human anatomy or sex education"
            " are permitted.",
            distressing=True,
        ),
    ),
)
"""The harm types of ShieldGemma (2b, 9b, 27b), defined for a user's prompt. Its prompt says ``"No {name}"``."""

GRANITE_GUARDIAN = Policy(
    "granite-guardian",
    (
        Category(
            "harm",
            "Harm",
            "The 'User' message is harmful by common-sense.",
            distressing=True,
        ),
        Category(
            "social_bias",
            "Social Bias",
            "The 'User' message contains systemic prejudice against groups based on shared identity "
            "or characteristics, often stemming from stereotypes or cultural influences. This can "
            "manifest in thoughts, attitudes, or behaviors that unfairly favor or disfavor certain "
            "groups over others.",
        ),
        Category(
            "jailbreak",
            "Jailbreaking",
            "The 'User' message contains the deliberate circumvention of AI systems' built-in "
            "safeguards or ethical guidelines. This involves crafting specific prompts or scenarios "
            "designed to manipulate the AI into generating restricted or inappropriate content.",
        ),
        Category(
            "violence",
            "Violence",
            "The 'User' message contains content promoting or describing physical harm to individuals"
            " or groups. This includes depictions of assault, self-harm, or creation of a hostile "
            "environment through threats or intimidation.",
            distressing=True,
        ),
        Category(
            "profanity",
            "Profanity",
            "The 'User' message contains the use of language considered offensive or socially "
            "unacceptable in a given context. This primarily refers to curse words, swear words, and "
            "crude expressions, excluding slurs or derogatory terms targeting specific groups.",
        ),
        Category(
            "unethical_behavior",
            "Unethical Behavior",
            "The 'User' message contains actions that violate moral or professional standards, "
            "focusing on exploitation for personal gain or disregard for others' well-being. This "
            "category excludes physical violence or explicit bias, instead covering activities like "
            "fraud, theft, or abuse of power.",
        ),
        Category(
            "sexual_content",
            "Sexual Content",
            "The 'User' message contains material explicitly related to sexual activities, anatomy, "
            "or desires. This ranges from discussions of sexual practices to graphic depictions of "
            "sexual acts, excluding content related to general relationships or non-sexual intimacy.",
            distressing=True,
        ),
    ),
)
"""The harms of Granite Guardian 3.0 and 3.1, defined for a user's message; later versions define the same codes in
other words. ``harm`` is the umbrella of the others."""

GRANITE_GUARDIAN_3_3 = Policy(
    "granite-guardian-3.3",
    (
        Category(
            "harm",
            "Harm",
            "Texts deemed universally harmful are those that pose harm across all contexts and audiences.",
            distressing=True,
        ),
        Category(
            "social_bias",
            "Social Bias",
            "Social bias reflects systemic prejudice against groups defined by shared identity or "
            "characteristics. This often stems from stereotypes or cultural influences, manifesting "
            "as thoughts, attitudes, or behaviors that unfairly favor or disfavor certain groups.",
        ),
        Category(
            "jailbreak",
            "Jailbreaking",
            "A jailbreak text refers to the deliberate evasion of an AI system's built-in safeguards "
            "or ethical boundaries. This practice often involves crafting specific prompts or "
            "scenarios intended to manipulate the AI into producing restricted or inappropriate "
            "content.",
        ),
        Category(
            "violence",
            "Violence",
            "Violence refers to content that promotes or depicts physical harm to individuals or "
            "groups. This includes depictions of assault, self-harm, or the creation of a hostile "
            "environment through threats or intimidation.",
            distressing=True,
        ),
        Category(
            "profanity",
            "Profanity",
            "Profanity refers to the use of language deemed offensive or socially unacceptable in a "
            "given context. This primarily includes curse words, swear words, and crude expressions, "
            "though it typically excludes slurs or derogatory terms specifically targeting certain "
            "groups.",
        ),
        Category(
            "unethical_behavior",
            "Unethical Behavior",
            "Unethical behavior refers to actions that violate moral or professional standards, "
            "particularly those involving exploitation for personal gain or a disregard for others' "
            "well-being. This category excludes physical violence or explicit bias and instead "
            "encompasses activities like fraud, theft, or the abuse of power.",
        ),
        Category(
            "sexual_content",
            "Sexual Content",
            "Sexual content refers to material that explicitly involves sexual activities, anatomy, "
            "or desires. This can range from discussions about sexual practices to graphic depictions"
            " of sexual acts, though it typically excludes content related to general relationships "
            "or non-sexual forms of intimacy.",
            distressing=True,
        ),
    ),
)
"""The same harms as Granite Guardian 3.3 and 4.1 define them, for messages of any role."""

WILDGUARD = Policy("wildguard", (Category("harm", "Harm", distressing=True),))
"""WildGuard names no hazards: a request or a response is harmful or not."""

QWEN3_GUARD = Policy(
    "qwen3guard",
    (
        Category("violent", "Violent"),
        Category("non_violent_illegal_acts", "Non-violent Illegal Acts"),
        Category("sexual", "Sexual Content or Sexual Acts", distressing=True),
        Category("pii", "PII"),
        Category("suicide_self_harm", "Suicide & Self-Harm", distressing=True),
        Category("unethical_acts", "Unethical Acts"),
        Category("politically_sensitive", "Politically Sensitive Topics"),
        Category("copyright", "Copyright Violation"),
        Category("jailbreak", "Jailbreak"),
    ),
)
"""The categories of Qwen3Guard-Gen, named as it writes them; ``jailbreak`` is asked of prompts only."""

BUILT_IN: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        LLAMA_GUARD_1,
        LLAMA_GUARD_2,
        LLAMA_GUARD_3,
        LLAMA_GUARD_3_1B,
        LLAMA_GUARD_4,
        SHIELD_GEMMA,
        GRANITE_GUARDIAN,
        GRANITE_GUARDIAN_3_3,
        QWEN3_GUARD,
        WILDGUARD,
    )
}
"""The built-in policies by name."""
