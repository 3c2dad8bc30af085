"""What verdicts say: the same words in HTML and in text; "" where there is nothing to say."""

from __future__ import annotations

import math
from collections.abc import Sequence

from guard_magic.characters import HIDDEN, spell
from guard_magic.conversations.conversation import Message
from guard_magic.policy import Policy
from guard_magic.verdict import Verdict, Verdicts

SAFE, UNSAFE, NOT_SCORED = "safe", "unsafe", "not scored"
NO_GUARD = "No guard is resident yet; the embedded one loads at first use."
SHOWN_SCORE = 0.05  # hazards from here on get a bar at once; the others wait behind a click
N_CONTEXT = 4  # earlier messages shown at once, of at most CONTEXT (characters, lines) each
CONTEXT, ASSESSED, N_MORE = (400, 6), (1500, 20), 20_000


def whole_score(verdict: Verdict) -> float | None:
    """Return the score; None unless the verdict is whole, for half a verdict must not look like one."""
    score = verdict.unsafe_score
    is_whole = score is not None and math.isfinite(score) and verdict.flagged is not None and verdict.error is None
    return score if is_whole else None


def verdict_word(verdict: Verdict) -> str:
    """Return ``safe``, ``unsafe`` or ``not scored``."""
    if whole_score(verdict) is None:
        return NOT_SCORED
    return UNSAFE if verdict.flagged else SAFE


def unscored_reason(verdict: Verdict) -> str:
    """Return why there is no score; "" where there is one."""
    return (verdict.error or "no reason was given") if whole_score(verdict) is None else ""


def category_words(verdict: Verdict) -> str:
    """Return the hazard's code and name, or the verdict's word where none is flagged."""
    word = verdict_word(verdict)
    return hazard_name(verdict.category or word, verdict.policy) if word == UNSAFE else word


def bar_text(score: float, width: int, threshold: float | None = None) -> str:
    """Draw a bar of `width` characters, with a tick at the threshold."""
    n_full = round(min(1.0, max(0.0, score)) * width)
    bar = "█" * n_full + "·" * (width - n_full)
    if threshold is None:
        return bar
    tick = min(width - 1, max(0, int(threshold * width)))
    return f"{bar[:tick]}│{bar[tick + 1 :]}"


def score_text(verdict: Verdict, width: int = 8) -> str:
    """Return the score as a number and a bar of `width` characters."""
    score = whole_score(verdict)
    return (
        "–" if score is None else f"{number_text(score, verdict.threshold)} {bar_text(score, width, verdict.threshold)}"
    )


def hazard_name(code: str, policy: Policy | None) -> str:
    """Return ``"S9 Indiscriminate Weapons"``, or the code alone where the policy does not know it."""
    return str(policy.category(code)) if policy is not None and code in policy else code


def shown_hazards(verdict: Verdict) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Return (code, score) pairs, highest first: up to three that tell something, and the others."""
    ranked = sorted(verdict.category_scores.items(), key=lambda pair: -pair[1])
    n_shown = sum(1 for _, score in ranked[:3] if score >= SHOWN_SCORE)
    if verdict.flagged and n_shown == 1:  # the headline has said it
        n_shown = 0
    return ([], []) if whole_score(verdict) is None else (ranked[:n_shown], ranked[n_shown:])


def other_hazards(shown: Sequence[object], others: Sequence[tuple[str, float]]) -> str:
    """Count the hazards that are not shown, with the highest of them."""
    return (
        f"{len(others)} {'other ' if shown else ''}hazards, each at most {number_text(others[0][1])}" if others else ""
    )


def number_text(x: float, threshold: float = -1.0) -> str:
    """Write `x` with the fewest digits (3 or more) that keep it off 0 and 1, and on its side of `threshold`."""
    if 0 < x < 1e-5:
        return f"{x:.1e}"
    for n_digits in range(3, 17):
        text = f"{x:.{n_digits}f}"
        if (float(text) >= threshold) == (x >= threshold) and (0 < float(text) < 1 or not 0 < x < 1):
            return text
    return repr(x)


def what_was_read(verdict: Verdict) -> str:
    """Say how many turns there are and whose is assessed."""
    conversation = verdict.conversation
    role = verdict.assessed_role or (conversation.assessed.role if conversation else None)
    if role is None:
        return ""
    verb = "was to be assessed" if whole_score(verdict) is None else "is assessed"
    if conversation is None:
        return f"the {role}'s message {verb}"
    n_turns = "1 message" if len(conversation) == 1 else f"{len(conversation)} turns"
    part = f"; only a part was read: {verdict.cut}" if verdict.cut else ""
    return f"{n_turns}, the {role}'s {verb}{part}"


def what_was_written(verdict: Verdict) -> str:
    """Quote the text the guard wrote, on one line."""
    text = verdict.generated_text
    return "" if text is None else f"the guard wrote: {one_line(text.strip().replace(chr(10), ' ↵ '), 300)}"


def circumstances(verdict: Verdict) -> str:
    """Name guard, threshold, log-odds, mass, other answers and tokens."""
    parts = [f"guard {verdict.guard}", f"threshold {verdict.threshold:.10g}"]
    parts += [f"log-odds {verdict.log_odds:+.2f}"] if verdict.log_odds is not None else []
    parts += [f"verdict mass {verdict.verdict_mass:.3g}"] if verdict.verdict_mass is not None else []
    parts += [f"{name.replace('_', ' ')} {number_text(p)}" for name, p in verdict.answers.items()]
    parts += [f"{verdict.n_tokens:,} tokens"] if verdict.n_tokens is not None else []
    return " · ".join(parts)


def summary(verdicts: Verdicts) -> str:
    """Count verdicts, flags and lost rows."""
    words = [verdict_word(verdict) for verdict in verdicts]
    noun = "verdict" if len(words) == 1 else "verdicts"
    counts = f"{len(words):,} {noun}: {words.count(UNSAFE):,} flagged, {words.count(NOT_SCORED):,} not scored"
    guards = ", ".join(dict.fromkeys(v.guard for v in verdicts))
    thresholds = ", ".join(f"{t:.10g}" for t in dict.fromkeys(v.threshold for v in verdicts))
    return f"{counts} · guard {guards} · threshold {thresholds}" if words else counts


def table_rows(verdicts: Verdicts, limit: int) -> list[dict[str, str]]:
    """Return a row of words for each of the first verdicts, without the columns where no row has any.

    What was not scored has its reason where the text stands.
    """
    rows = [{"#": str(position), **_row(verdict)} for position, verdict in enumerate(verdicts[:limit])]
    return [{name: row[name] for name in row if any(other[name] for other in rows)} for row in rows]


def _row(verdict: Verdict) -> dict[str, str]:
    text = one_line(verdict.conversation.assessed.content, 160) if verdict.conversation else ""
    return {
        "score": score_text(verdict),
        "category": category_words(verdict),
        "role": verdict.assessed_role or "",
        "text": " · ".join(part for part in (unscored_reason(verdict), text) if part),
    }


def more_rows(verdicts: Verdicts, limit: int) -> str:
    """Count the rows that are not shown."""
    return f"… and {len(verdicts) - limit:,} more" if len(verdicts) > limit else ""


def one_line(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` characters."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width and len(text) <= 4 * width else f"{line[: width - 1]}…"


def cut_message(text: str, limits: tuple[int, int]) -> tuple[str, str]:
    """Split `text` after whole lines or words, within (characters, lines); a short rest is not split off."""
    n_characters, n_lines = limits
    head = "".join(text[:n_characters].splitlines(keepends=True)[:n_lines])
    if len(text) - len(head) <= 80:
        return text, ""
    ends = [end for end in (head.rfind("\n") + 1, head.rfind(" ") + 1) if end > 0.8 * len(head)]
    end = ends[0] if ends else len(head)
    return text[:end], text[end:]


def rest_note(rest: str) -> str:
    """Count the characters of a message that are behind a click."""
    if not rest:
        return ""
    note = f" (the first {N_MORE:,} here)" if len(rest) > N_MORE else ""
    return f"… {len(rest):,} more characters{note}"


def count_hidden(context: Sequence[Message]) -> int:
    """Return how many of the earlier turns are behind a click."""
    return len(context) - N_CONTEXT if len(context) > N_CONTEXT + 1 else 0


def visible(text: str) -> str:
    """Spell out what a reader cannot see (`HIDDEN`); tabs and line ends stay."""
    return str(HIDDEN.sub(spell, text.replace("\r\n", "\n")))
