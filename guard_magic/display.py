"""Verdicts and resident guards as escaped HTML and as terminal text.

Pure functions of values: nothing here asks a guard or reads a session. Every text that came from outside
(messages, roles, guard names, hazard names, errors, what the guard wrote) is untrusted: it is escaped, kept
apart from its surroundings' direction, and its control characters are spelled out.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from guard_magic.conversation import Message
from guard_magic.policy import Policy
from guard_magic.verdict import Verdict, Verdicts

__all__ = [
    "register_formatters",
    "status_html",
    "status_text",
    "verdict_html",
    "verdict_text",
    "verdicts_html",
    "verdicts_text",
]

WIDTH = 80
SAFE, UNSAFE, NOT_SCORED = "safe", "unsafe", "not scored"
NO_GUARD = "No guard is resident yet; the embedded one loads at first use."
TELLING_SCORE = 0.05  # hazards from here on get a bar at once; the others wait behind a click
N_CONTEXT = 4  # earlier messages shown at once, of at most CONTEXT (characters, lines) each
CONTEXT, ASSESSED, N_MORE = (400, 6), (1500, 20), 20_000

# C0 and C1 controls, line separators, direction overrides and isolates, invisible and tag characters, surrogates.
_HIDDEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]+"
)
_HAZARDS = '<table class="gm-table gm-hazards">'
_STYLE = """<style>
.gm-card{--gm-f:#1f2328;--gm-m:#59636e;--gm-l:#d5dae0;--gm-b:#fff;--gm-r:#c62828;--gm-g:#2e7d32}
@media (prefers-color-scheme:dark){
.gm-card{--gm-f:#e3e6ea;--gm-m:#9aa4ae;--gm-l:#3d444d;--gm-b:#15181c;--gm-r:#ef6b66;--gm-g:#6cbf71}}
.gm-card{--f:var(--jp-content-font-color1,var(--vscode-foreground,var(--gm-f)));
--m:var(--jp-content-font-color2,var(--vscode-descriptionForeground,var(--gm-m)));
--l:var(--jp-border-color2,var(--vscode-panel-border,var(--gm-l)));--a:var(--m);max-width:900px;margin:2px 0;
overflow-x:auto;padding:8px 12px;border:1px solid var(--l);border-left:4px solid var(--a);border-radius:3px;
color:var(--f);background:var(--jp-layout-color0,var(--vscode-editor-background,var(--gm-b)));
font-size:13px;line-height:1.45}
.gm-card.gm-unsafe,.gm-card .gm-unsafe{--a:var(--jp-error-color1,var(--vscode-charts-red,var(--gm-r)))}
.gm-card.gm-safe,.gm-card .gm-safe{--a:var(--jp-success-color1,var(--vscode-charts-green,var(--gm-g)))}
.gm-word{color:var(--a);color:color-mix(in srgb,var(--a) 80%,var(--f));font-weight:600}
.gm-card small,.gm-card summary{color:var(--m);font-size:12px}
.gm-card summary{cursor:pointer}
.gm-card p.gm-line{margin:3px 0}
.gm-line .gm-word{font-size:16px;margin-right:4px}
.gm-bar{display:inline-block;position:relative;width:140px;height:8px;margin:0 8px;border-radius:2px;
background:var(--l)}
.gm-bar i{position:absolute;left:0;top:0;bottom:0;background:var(--a);border-radius:2px}
.gm-bar b{position:absolute;top:-3px;bottom:-3px;width:2px;margin-left:-1px;background:var(--f)}
.gm-table .gm-word.gm-safe{font-weight:400}
.gm-verdicts .gm-bar{width:80px}
.gm-hazards .gm-bar{--a:var(--m)}
.gm-hazards td:first-child{min-width:170px}
.gm-card .gm-table{margin:4px 0;border-collapse:collapse;table-layout:auto;color:inherit;font-size:inherit}
.gm-card .gm-table tbody tr{background:none}
.gm-card .gm-table td,.gm-card .gm-table th{padding:2px 12px 2px 0;text-align:left;vertical-align:top}
.gm-verdicts .gm-table{width:100%}
.gm-verdicts td:nth-child(n+5){min-width:14em;overflow-wrap:anywhere}
.gm-tight{white-space:nowrap;font-variant-numeric:tabular-nums}
.gm-tight>b{display:inline-block;min-width:4em;font-weight:inherit}
.gm-message{display:grid;grid-template-columns:84px 1fr;padding:3px 0;border-top:1px solid var(--l)}
.gm-message small{display:block}
.gm-card .gm-message pre{margin:0;padding:0;background:none;color:inherit;font:inherit;white-space:pre-wrap;
word-break:normal;overflow-wrap:anywhere}
.gm-message pre bdi{display:block;unicode-bidi:plaintext}
.gm-card mark{background:var(--l);color:inherit;font:.85em monospace}
</style>
"""


def verdict_html(verdict: Verdict) -> str:
    """Return a verdict's card: an HTML fragment with its own style and no script.

    It reads as text where the style is stripped (GitHub), and follows JupyterLab's and VS Code's themes.
    Of long conversations the rest is behind a click.
    """
    parts = [
        _head_html(verdict),
        _line(_bdi(_reason(verdict))),
        _hazards_html(verdict),
        _line(_small(_what_was_read(verdict))),
        _conversation_html(verdict),
        _line(_small(_what_was_written(verdict))),
        _line(_small(_circumstances(verdict))),
    ]
    return _card(_word(verdict), *parts)


def verdict_text(verdict: Verdict) -> str:
    """Return a verdict as lines of at most 80 columns, without control characters."""
    parts = [
        _wrap(_head_text(verdict)),
        _wrap(_reason(verdict), "  "),
        _hazards_text(verdict),
        _wrap(_what_was_read(verdict)),
        _conversation_text(verdict),
        _wrap(_what_was_written(verdict)),
        _wrap(_circumstances(verdict)),
    ]
    return "\n".join(line for part in parts for line in part)


def verdicts_html(verdicts: Verdicts, limit: int = 20) -> str:
    """Return a table of the first `limit` verdicts as an HTML fragment, with counts above it."""
    rows = [
        {name: _bdi(text) for name, text in row.items()} | {"score": _score_html(v), "category": _category_html(v)}
        for row, v in zip(_rows(verdicts, limit), verdicts, strict=False)
    ]
    return _card("verdicts", _line(_bdi(_summary(verdicts))), _table_html(rows), _line(_small(_more(verdicts, limit))))


def verdicts_text(verdicts: Verdicts, limit: int = 20) -> str:
    """Return a table of the first `limit` verdicts as lines of at most 80 columns, with counts above it."""
    lines = [*_wrap(_summary(verdicts)), *_table_text(_rows(verdicts, limit)), *_wrap(_more(verdicts, limit))]
    return "\n".join(lines)


def status_html(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the resident guards as an HTML table; `rows` share their keys, which are the columns in order."""
    cells = [{_bdi(name): _bdi(value) for name, value in row.items()} for row in rows]
    return _card("guards", _table_html(cells) if rows else _line(NO_GUARD))


def status_text(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the resident guards as a table of at most 80 columns; `rows` as in `status_html`."""
    return "\n".join(_table_text(rows)) if rows else NO_GUARD


def register_formatters(shell: Any) -> Callable[[], None]:
    """Let an IPython shell show `Verdict` and `Verdicts` as cards and tables.

    Parameters
    ----------
    shell
        An ``IPython.core.interactiveshell.InteractiveShell``.

    Returns
    -------
    callable
        Puts back the formatters that stood there before, or their absence.
    """
    formatters = shell.display_formatter.formatters
    rich, plain = formatters["text/html"], formatters["text/plain"]
    ours = [
        (rich, Verdict, verdict_html),
        (rich, Verdicts, verdicts_html),
        (plain, Verdict, _print_verdict),
        (plain, Verdicts, lambda obj, p, cycle: p.text(verdicts_text(obj))),
    ]
    saved = [(formatter, kind, _printer_of(formatter, kind)) for formatter, kind, _ in ours]
    for formatter, kind, printer in ours:
        formatter.for_type(kind, printer)

    def restore() -> None:
        for formatter, kind, original in saved:
            formatter.pop(kind, None)
            formatter.for_type(kind, original)  # None registers nothing

    return restore


def _printer_of(formatter: Any, kind: type) -> Any:
    """Return the printer of that very class or None; for_type() would return a base class's, too."""
    return formatter.type_printers.get(kind) or formatter.deferred_printers.get((kind.__module__, kind.__name__))


def _print_verdict(verdict: Verdict, printer: Any, cycle: bool) -> None:
    is_alone = len(printer.stack) == 1  # else it stands in a list, say
    printer.text(verdict_text(verdict) if is_alone else f"<{_visible(_head_text(verdict)).strip()}>")


# --- What a verdict says: the same words in HTML and in text; "" where there is nothing to say.


def _score(verdict: Verdict) -> float | None:
    """Return the score; None unless the verdict is whole, for half a verdict must not look like one."""
    score = verdict.unsafe_score
    is_whole = score is not None and math.isfinite(score) and verdict.flagged is not None and verdict.error is None
    return score if is_whole else None


def _word(verdict: Verdict) -> str:
    if _score(verdict) is None:
        return NOT_SCORED
    return UNSAFE if verdict.flagged else SAFE


def _reason(verdict: Verdict) -> str:
    return (verdict.error or "no reason was given") if _score(verdict) is None else ""


def _category(verdict: Verdict) -> str:
    word = _word(verdict)
    return _hazard_name(verdict.category or word, verdict.policy) if word == UNSAFE else word


def _hazard_name(code: str, policy: Policy | None) -> str:
    return str(policy.category(code)) if policy is not None and code in policy else code


def _hazards(verdict: Verdict) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Return (code, score) pairs, highest first: up to three that tell something, and the others."""
    ranked = sorted(verdict.category_scores.items(), key=lambda pair: -pair[1])
    n_telling = sum(1 for _, score in ranked[:3] if score >= TELLING_SCORE)
    if verdict.flagged and n_telling == 1:  # the headline has said it
        n_telling = 0
    return ([], []) if _score(verdict) is None else (ranked[:n_telling], ranked[n_telling:])


def _others(telling: Sequence[object], others: Sequence[tuple[str, float]]) -> str:
    return f"{len(others)} {'other ' if telling else ''}hazards, each at most {_number(others[0][1])}" if others else ""


def _number(x: float, threshold: float = -1.0) -> str:
    """Write `x` with the fewest digits (3 or more) that keep it off 0 and 1, and on its side of `threshold`."""
    if 0 < x < 1e-5:
        return f"{x:.1e}"
    for n_digits in range(3, 17):
        text = f"{x:.{n_digits}f}"
        if (float(text) >= threshold) == (x >= threshold) and (0 < float(text) < 1 or not 0 < x < 1):
            return text
    return repr(x)


def _what_was_read(verdict: Verdict) -> str:
    conversation = verdict.conversation
    role = verdict.assessed_role or (conversation.assessed.role if conversation else None)
    if role is None:
        return ""
    verb = "was to be assessed" if _score(verdict) is None else "is assessed"
    if conversation is None:
        return f"the {role}'s message {verb}"
    n_turns = "1 message" if len(conversation) == 1 else f"{len(conversation)} turns"
    return f"{n_turns}, the {role}'s {verb}"


def _what_was_written(verdict: Verdict) -> str:
    text = verdict.generated_text
    return "" if text is None else f"the guard wrote: {_one_line(text.strip().replace(chr(10), ' ↵ '), 300)}"


def _circumstances(verdict: Verdict) -> str:
    parts = [f"guard {verdict.guard}", f"threshold {verdict.threshold:.10g}"]
    parts += [f"log-odds {verdict.log_odds:+.2f}"] if verdict.log_odds is not None else []
    parts += [f"verdict mass {verdict.verdict_mass:.3g}"] if verdict.verdict_mass is not None else []
    parts += [f"{verdict.n_tokens:,} tokens"] if verdict.n_tokens is not None else []
    return " · ".join(parts)


def _summary(verdicts: Verdicts) -> str:
    words = [_word(verdict) for verdict in verdicts]
    noun = "verdict" if len(words) == 1 else "verdicts"
    counts = f"{len(words):,} {noun}: {words.count(UNSAFE):,} flagged, {words.count(NOT_SCORED):,} not scored"
    guards = ", ".join(dict.fromkeys(v.guard for v in verdicts))
    thresholds = ", ".join(f"{t:.10g}" for t in dict.fromkeys(v.threshold for v in verdicts))
    return f"{counts} · guard {guards} · threshold {thresholds}" if words else counts


def _rows(verdicts: Verdicts, limit: int) -> list[dict[str, str]]:
    """Return a row of words for each of the first verdicts, without the columns where no row has any.

    What was not scored has its reason where the text stands.
    """
    rows = [{"#": str(position), **_row(verdict)} for position, verdict in enumerate(verdicts[:limit])]
    return [{name: row[name] for name in row if any(other[name] for other in rows)} for row in rows]


def _row(verdict: Verdict) -> dict[str, str]:
    text = _one_line(verdict.conversation.assessed.content, 160) if verdict.conversation else ""
    return {
        "score": _score_text(verdict),
        "category": _category(verdict),
        "role": verdict.assessed_role or "",
        "text": " · ".join(part for part in (_reason(verdict), text) if part),
    }


def _more(verdicts: Verdicts, limit: int) -> str:
    return f"… and {len(verdicts) - limit:,} more" if len(verdicts) > limit else ""


def _one_line(text: str, width: int) -> str:
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width and len(text) <= 4 * width else f"{line[: width - 1]}…"


def _cut(text: str, limits: tuple[int, int]) -> tuple[str, str]:
    """Split `text` after whole lines or words, within (characters, lines); a short rest is not split off."""
    n_characters, n_lines = limits
    head = "".join(text[:n_characters].splitlines(keepends=True)[:n_lines])
    if len(text) - len(head) <= 80:
        return text, ""
    ends = [end for end in (head.rfind("\n") + 1, head.rfind(" ") + 1) if end > 0.8 * len(head)]
    end = ends[0] if ends else len(head)
    return text[:end], text[end:]


def _rest(rest: str) -> str:
    if not rest:
        return ""
    note = f" (the first {N_MORE:,} here)" if len(rest) > N_MORE else ""
    return f"… {len(rest):,} more characters{note}"


def _n_hidden(context: Sequence[Message]) -> int:
    return len(context) - N_CONTEXT if len(context) > N_CONTEXT + 1 else 0


def _spell(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _visible(text: str) -> str:
    """Spell out control characters, invisible ones and direction overrides; tabs and line ends stay."""
    return _HIDDEN.sub(_spell, text.replace("\r\n", "\n"))


# --- HTML


def _bdi(text: str) -> str:
    """Return untrusted `text` escaped and isolated; "" stays ""."""
    escaped = html.escape(text.replace("\r\n", "\n"), quote=True)
    return f"<bdi>{_HIDDEN.sub(lambda match: f'<mark>{_spell(match)}</mark>', escaped)}</bdi>" if text else ""


def _small(text: str) -> str:
    return f"<small>{_bdi(text)}</small>" if text else ""


def _line(content: str) -> str:
    return f'<p class="gm-line">{content}</p>' if content else ""


def _class(word: str) -> str:
    return f"gm-{word.replace(' ', '-')}"


def _card(name: str, *parts: str) -> str:
    inner = "\n".join(part for part in parts if part)
    return f'<div class="gm-card {_class(name)}" role="group" aria-label="{name}">{_STYLE}{inner}\n</div>'


def _bar_html(score: float, threshold: float | None = None) -> str:
    width, left = (f"{100 * min(1.0, max(0.0, x)):.1f}%" for x in (score, threshold or 0.0))
    tick = "" if threshold is None else f'<b style="left:{left}"></b>'
    label = f"{score:.3f}" if threshold is None else f"score {score:.3f}, threshold {threshold:.10g}"
    return f'<span class="gm-bar" role="img" aria-label="{label}"><i style="width:{width}"></i>{tick}</span>'


def _head_html(verdict: Verdict) -> str:
    score, word = _score(verdict), f'<b class="gm-word">{_word(verdict)}</b>'
    if score is None:
        return _line(word)
    number, bar = _number(score, verdict.threshold), _bar_html(score, verdict.threshold)
    return _line(
        f"{word} <small>score</small> <b>{number}</b> {bar} {_bdi(_category(verdict)) if verdict.flagged else ''}"
    )


def _hazards_html(verdict: Verdict) -> str:
    telling, others = _hazards(verdict)
    shown, hidden = ("".join(_hazard_html(*pair, verdict.policy) for pair in part) for part in (telling, others))
    rest = f"\n<details><summary>{_others(telling, others)}</summary>{_HAZARDS}{hidden}</table></details>"
    return (f"{_HAZARDS}{shown}</table>" if shown else "") + (rest if hidden else "")


def _hazard_html(code: str, score: float, policy: Policy | None) -> str:
    number = _number_html(_number(score), _bar_html(score))
    return f"\n<tr><td>{_bdi(_hazard_name(code, policy))}</td> <td>{number}</td></tr>"


def _number_html(number: str, bar: str, name: str = "") -> str:
    return f'<span class="gm-tight {name}"><b>{number}</b>{bar}</span>'


def _score_html(verdict: Verdict) -> str:
    score = _score(verdict)
    if score is None:
        return "–"
    number, bar = _number(score, verdict.threshold), _bar_html(score, verdict.threshold)
    return _number_html(number, bar, _class(_word(verdict)))


def _category_html(verdict: Verdict) -> str:
    return f'<span class="gm-word {_class(_word(verdict))}">{_bdi(_category(verdict))}</span>'


def _conversation_html(verdict: Verdict) -> str:
    if verdict.conversation is None:
        return ""
    *context, assessed = verdict.conversation.messages
    n_hidden = _n_hidden(context)
    *messages, last = [
        *(_message_html(m, CONTEXT) for m in context),
        _message_html(assessed, ASSESSED, NOT_SCORED if _score(verdict) is None else "assessed"),
    ]
    hidden = f"<details><summary>{n_hidden} earlier turns</summary>{''.join(messages[:n_hidden])}</details>"
    return "\n".join([hidden if n_hidden else "", *messages[n_hidden:], last])


def _message_html(message: Message, limits: tuple[int, int], mark: str = "") -> str:
    head, rest = _cut(message.content, limits)
    more = f"<details><summary>{_rest(rest)}</summary><pre>{_bdi(rest[:N_MORE])}</pre></details>" if rest else ""
    role = f"<b>{_bdi(message.role)}</b>{f' <small>({mark})</small>' if mark else ''}"
    return f'<div class="gm-message"><div>{role}</div> <div><pre>{_bdi(head)}</pre>{more}</div></div>'


def _table_html(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    # Spaces between the cells: where even the tags are gone, the words still stand apart.
    head = " ".join(f"<th>{name}</th>" for name in rows[0])
    body = "\n".join(f"<tr>{' '.join(f'<td>{cell}</td>' for cell in row.values())}</tr>" for row in rows)
    return f'<table class="gm-table"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'


# --- Terminal text


def _bar_text(score: float, width: int, threshold: float | None = None) -> str:
    n_full = round(min(1.0, max(0.0, score)) * width)
    bar = "█" * n_full + "·" * (width - n_full)
    if threshold is None:
        return bar
    tick = min(width - 1, max(0, int(threshold * width)))
    return f"{bar[:tick]}│{bar[tick + 1 :]}"


def _score_text(verdict: Verdict, width: int = 8) -> str:
    score = _score(verdict)
    return "–" if score is None else f"{_number(score, verdict.threshold)} {_bar_text(score, width, verdict.threshold)}"


def _head_text(verdict: Verdict) -> str:
    if _score(verdict) is None:
        return NOT_SCORED
    return f"{_word(verdict)}  score {_score_text(verdict, 20)}  {_category(verdict) if verdict.flagged else ''}"


def _hazards_text(verdict: Verdict) -> list[str]:
    telling, others = _hazards(verdict)
    names = [_visible(_hazard_name(code, verdict.policy)) for code, _ in telling]
    bars = [f"{_number(score):<8} {_bar_text(score, 20)}" for _, score in telling]
    lines = [f"  {_fit(name, 32)} {bar}" for name, bar in zip(names, bars, strict=True)]
    return [*lines, *_wrap(_others(telling, others), "  ")] if telling else []


def _conversation_text(verdict: Verdict) -> list[str]:
    if verdict.conversation is None:
        return []
    *context, assessed = verdict.conversation.messages
    n_hidden = _n_hidden(context)
    lines = [f"  … {n_hidden} earlier turns"] if n_hidden else []
    lines += [line for message in context[n_hidden:] for line in _message_text(message, CONTEXT, " ")]
    return lines + _message_text(assessed, ASSESSED, ">")


def _message_text(message: Message, limits: tuple[int, int], mark: str) -> list[str]:
    head, rest = _cut(message.content, limits)
    role = f"{mark} {_fit(_visible(_one_line(message.role, 40)), 10)} "
    first, *others = _wrap(f"{head.rstrip()}\n{_rest(rest)}".rstrip(), " " * len(role)) or [""]
    return [role + first[len(role) :], *others]


def _table_text(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return aligned columns within `WIDTH` cells; the widest ones give way."""
    table = [[_visible(_one_line(cell, WIDTH)) for cell in row] for row in [*rows[:1], *(row.values() for row in rows)]]
    widths = [max(map(_n_cells, column)) for column in zip(*table, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths[widths.index(max(widths))] -= 1
    return ["  ".join(map(_fit, row, widths)).rstrip() for row in table]


def _wrap(text: str, indent: str = "") -> list[str]:
    """Break `text`, made visible, into lines of at most `WIDTH` cells, indent included; at spaces if it can."""
    lines = []
    for line in _visible(text).expandtabs(4).split("\n") if text else []:
        while (end := _n_fitting(line, WIDTH - len(indent))) < len(line):
            end = line.rfind(" ", 1, end + 1) + 1 or end
            lines.append(indent + line[:end].rstrip())
            line = line[end:].lstrip()
        lines.append((indent + line).rstrip())
    return lines


def _fit(text: str, width: int) -> str:
    if _n_cells(text) > width:
        text = f"{text[: _n_fitting(text, width - 1)]}…"
    return text + " " * (width - _n_cells(text))


def _n_fitting(text: str, width: int) -> int:
    return sum(1 for n_cells in accumulate(map(_n_cells, text)) if n_cells <= width)


def _n_cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
