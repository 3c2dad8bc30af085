"""One harmless question to a guard that is being loaded: it must answer with a verdict where one is read."""

from __future__ import annotations

from guard_magic.engine.local import LocalEngine
from guard_magic.errors import ConversationError, LoadError, ProtocolError, ScoreError
from guard_magic.guards.encoder import PROBE, Encoder
from guard_magic.guards.reading import read_rows

__all__ = ["choose_answer_prefix"]


def choose_answer_prefix(encoder: Encoder, engine: LocalEngine, min_verdict_mass: float) -> None:
    """Ask one harmless question: a guard that answers with no verdict is asked wrongly.

    Where a family's guards differ in what they write before the verdict, each way is tried; `encoder` asks in the
    first that is answered from then on.

    Raises
    ------
    ProtocolError
        Where none is answered with at least `min_verdict_mass`.
    LoadError
        Where memory does not suffice for one short prompt.
    """
    masses: list[float] = []
    prefixes = encoder.family.answer_prefixes
    for answer_prefix in prefixes:
        encoder.expect(answer_prefix)
        try:
            (encoded,) = encoder.encode_all([PROBE], None, "merge")
        except ProtocolError:
            if answer_prefix == prefixes[-1] and not masses:
                raise
            continue
        if isinstance(encoded, ConversationError):
            raise encoded
        for batch in read_rows(engine, encoder.questionnaire(None), [encoded], None, alone=False):
            for _, result in batch:
                if isinstance(result, ScoreError):
                    raise LoadError(f"{encoder.name} could not score one short prompt: {result}", hint="Free memory.")
                if result.is_readable(min_verdict_mass):
                    return
                masses.append(result.verdict_mass)
    raise ProtocolError(
        f"{encoder.name} does not answer with a verdict at the verdict position of {encoder.family.title} "
        f"(verdict mass {max(masses):.2g}, at least {min_verdict_mass:g} is needed)",
        hint="Is it a guard of this family, with its own chat template? min_verdict_mass=0 loads it anyway; its "
        "scores mean nothing then.",
    )
