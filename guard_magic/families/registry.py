"""Which protocol a model is asked by: chosen by the model's own evidence, with its name as a hint at most."""

from __future__ import annotations

import re
from dataclasses import dataclass

from guard_magic.errors import ProtocolError, shorten
from guard_magic.families import granite_guardian, llama_guard, qwen3_guard
from guard_magic.families.base import Evidence, GuardFamily
from guard_magic.families.shield_gemma import SHIELD_GEMMA_PROTOCOL
from guard_magic.families.wild_guard import WILD_GUARD

__all__ = ["PROTOCOLS", "checked_protocol", "find_protocol"]

PROTOCOLS: tuple[GuardFamily, ...] = (
    SHIELD_GEMMA_PROTOCOL,
    *granite_guardian.PROTOCOLS,
    *qwen3_guard.PROTOCOLS,
    WILD_GUARD,
    *llama_guard.PROTOCOLS,
)
"""All families, the more particular evidence first."""
_NAMED = {protocol.name: protocol for protocol in PROTOCOLS}


@dataclass(frozen=True)
class _Refusal:
    """A kind of model that is no guard that can be read at a fixed position, and why."""

    pattern: re.Pattern[str]
    why: str
    hint: str


_SUITED = "Suited are Llama Guards, ShieldGemma, Granite Guardian, Qwen3Guard-Gen and WildGuard."

_REFUSED: tuple[_Refusal, ...] = (
    _Refusal(
        re.compile(r"gpt[-_]oss", re.I),
        "reasons before it answers, so that there is no position at which its verdict always stands",
        _SUITED,
    ),
    _Refusal(
        re.compile(r"qwen3guard[-_]stream|Qwen3ForGuardModel", re.I),
        "classifies token by token with heads of its own, which need its authors' code; no such code is run",
        "Qwen3Guard-Gen is asked in words: Qwen/Qwen3Guard-Gen-0.6B.",
    ),
    _Refusal(
        re.compile(r"aegis", re.I),
        "is Llama Guard 1 trained on another prompt, whose exact white space is not published in one form; asked with "
        "Llama Guard 1's prompt it would answer about other hazards",
        'protocol="llama-guard-1" asks it about O1 to O6 of Llama Guard 1 anyway.',
    ),
    _Refusal(
        re.compile(r"nemoguard|nemotron.*(safety|guard)|aegis", re.I),
        "answers in JSON to a prompt whose exact form is not published in one version: where its verdict stands is not "
        "certain",
        _SUITED,
    ),
    _Refusal(
        re.compile(r"poly[-_]?guard", re.I),
        "answers five lines that depend on each other, and the chat templates of its models are not published in one "
        "form: where the verdict on a response stands is not certain",
        _SUITED,
    ),
    _Refusal(
        re.compile(r"shieldgemma[-_]?2(?![0-9]*b)", re.I),
        "judges images, not conversations",
        "For text: google/shieldgemma-2b.",
    ),
    _Refusal(
        re.compile(
            r"SequenceClassification|TokenClassification|prompt[-_ ]?guard|^(bert|roberta|deberta|modernbert)",
            re.I | re.M,
        ),
        "is a classifier with labels of its own, not a guard that answers in words",
        "transformers' text-classification pipeline runs it. " + _SUITED,
    ),
)


def find_protocol(evidence: Evidence, forced: str | None = None) -> GuardFamily:
    """Return how a model is asked.

    Parameters
    ----------
    evidence
        What the model shows of its family.
    forced
        Name of a protocol to use whatever the evidence says; None to recognise it.

    Raises
    ------
    ProtocolError
        For an unknown name, a family that is known and cannot be read, or a model of no known family.
    """
    if forced is not None:
        return _NAMED[str(checked_protocol(forced))]
    called = evidence.name.rstrip("/").rsplit("/", 1)[-1]  # folders above it are no evidence
    for refusal in _REFUSED:
        if refusal.pattern.search(f"{called}\n{evidence.model_type}\n{evidence.architecture}"):
            raise ProtocolError(f"{evidence.name} {refusal.why}", hint=refusal.hint)
    for protocol in PROTOCOLS:
        if protocol.recognises(evidence):
            return protocol
    seen = (
        "the tokenizer has no chat template" if not evidence.template else "its chat template is that of no known guard"
    )
    raise ProtocolError(
        f"{evidence.name} ({evidence.architecture}) is not recognised: {seen}",
        hint=f"Known are {', '.join(protocol.title for protocol in PROTOCOLS)}; protocol= forces one of "
        f"{', '.join(_NAMED)}.",
    )


def checked_protocol(name: object) -> str | None:
    """Return the name of a protocol, or None; anything else is a `ProtocolError`."""
    if name is not None and not (isinstance(name, str) and name in _NAMED):
        raise ProtocolError(f"no protocol {shorten(name)}", hint=f"There are {', '.join(_NAMED)}.")
    return name
