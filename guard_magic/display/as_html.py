"""Cards and tables as HTML: escaped, styled by the notebook's theme, legible where the style is stripped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from guard_magic.characters import HIDDEN, spell
from guard_magic.conversations.conversation import Message
from guard_magic.display.wording import (
    ASSESSED,
    CONTEXT,
    N_MORE,
    NO_GUARD,
    NOT_SCORED,
    category_words,
    circumstances,
    count_hidden,
    cut_message,
    hazard_name,
    more_rows,
    number_text,
    other_hazards,
    rest_note,
    shown_hazards,
    summary,
    table_rows,
    unscored_reason,
    verdict_word,
    what_was_read,
    what_was_written,
    whole_score,
)
from guard_magic.policy import Policy
from guard_magic.verdict import Verdict, Verdicts

_HAZARDS = '<table class="gm-table gm-hazards">'
STYLE = """<style>
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
        _line(isolated(unscored_reason(verdict))),
        _hazards_html(verdict),
        _line(_small(what_was_read(verdict))),
        _conversation_html(verdict),
        _line(_small(what_was_written(verdict))),
        _line(_small(circumstances(verdict))),
    ]
    return _card(verdict_word(verdict), *parts)


def verdicts_html(verdicts: Verdicts, limit: int = 20) -> str:
    """Return a table of the first `limit` verdicts as an HTML fragment, with counts above it."""
    rows = [
        {name: isolated(text) for name, text in row.items()} | {"score": _score_html(v), "category": _category_html(v)}
        for row, v in zip(table_rows(verdicts, limit), verdicts, strict=False)
    ]
    return _card(
        "verdicts", _line(isolated(summary(verdicts))), _table_html(rows), _line(_small(more_rows(verdicts, limit)))
    )


def isolated(text: str) -> str:
    """Return untrusted `text` escaped, isolated, and with its hidden characters spelled out; "" stays ""."""
    escaped = html.escape(text.replace("\r\n", "\n"), quote=True)
    return f"<bdi>{HIDDEN.sub(lambda match: f'<mark>{spell(match)}</mark>', escaped)}</bdi>" if text else ""


def status_html(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the resident guards as an HTML table; `rows` share their keys, which are the columns in order."""
    cells = [{isolated(name): isolated(value) for name, value in row.items()} for row in rows]
    return _card("guards", _table_html(cells) if rows else _line(NO_GUARD))


def _small(text: str) -> str:
    return f"<small>{isolated(text)}</small>" if text else ""


def _line(content: str) -> str:
    return f'<p class="gm-line">{content}</p>' if content else ""


def _class(word: str) -> str:
    return f"gm-{word.replace(' ', '-')}"


def _card(name: str, *parts: str) -> str:
    inner = "\n".join(part for part in parts if part)
    return f'<div class="gm-card {_class(name)}" role="group" aria-label="{name}">{STYLE}{inner}\n</div>'


def _bar_html(score: float, threshold: float | None = None) -> str:
    width, left = (f"{100 * min(1.0, max(0.0, x)):.1f}%" for x in (score, threshold or 0.0))
    tick = "" if threshold is None else f'<b style="left:{left}"></b>'
    label = f"{score:.3f}" if threshold is None else f"score {score:.3f}, threshold {threshold:.10g}"
    return f'<span class="gm-bar" role="img" aria-label="{label}"><i style="width:{width}"></i>{tick}</span>'


def _head_html(verdict: Verdict) -> str:
    score, word = whole_score(verdict), f'<b class="gm-word">{verdict_word(verdict)}</b>'
    if score is None:
        return _line(word)
    number, bar = number_text(score, verdict.threshold), _bar_html(score, verdict.threshold)
    hazard = isolated(category_words(verdict)) if verdict.flagged else ""
    return _line(f"{word} <small>score</small> <b>{number}</b> {bar} {hazard}")


def _hazards_html(verdict: Verdict) -> str:
    shown, others = shown_hazards(verdict)
    rows, hidden = ("".join(_hazard_html(*pair, verdict.policy) for pair in part) for part in (shown, others))
    rest = f"\n<details><summary>{other_hazards(shown, others)}</summary>{_HAZARDS}{hidden}</table></details>"
    return (f"{_HAZARDS}{rows}</table>" if rows else "") + (rest if hidden else "")


def _hazard_html(code: str, score: float, policy: Policy | None) -> str:
    number = _number_html(number_text(score), _bar_html(score))
    return f"\n<tr><td>{isolated(hazard_name(code, policy))}</td> <td>{number}</td></tr>"


def _number_html(number: str, bar: str, name: str = "") -> str:
    return f'<span class="gm-tight {name}"><b>{number}</b>{bar}</span>'


def _score_html(verdict: Verdict) -> str:
    score = whole_score(verdict)
    if score is None:
        return "–"
    number, bar = number_text(score, verdict.threshold), _bar_html(score, verdict.threshold)
    return _number_html(number, bar, _class(verdict_word(verdict)))


def _category_html(verdict: Verdict) -> str:
    return f'<span class="gm-word {_class(verdict_word(verdict))}">{isolated(category_words(verdict))}</span>'


def _conversation_html(verdict: Verdict) -> str:
    if verdict.conversation is None:
        return ""
    *context, assessed = verdict.conversation.messages
    n_hidden = count_hidden(context)
    *messages, last = [
        *(_message_html(m, CONTEXT) for m in context),
        _message_html(assessed, ASSESSED, NOT_SCORED if whole_score(verdict) is None else "assessed"),
    ]
    hidden = f"<details><summary>{n_hidden} earlier turns</summary>{''.join(messages[:n_hidden])}</details>"
    return "\n".join([hidden if n_hidden else "", *messages[n_hidden:], last])


def _message_html(message: Message, limits: tuple[int, int], mark: str = "") -> str:
    head, rest = cut_message(message.content, limits)
    first = isolated(rest[:N_MORE])
    more = f"<details><summary>{rest_note(rest)}</summary><pre>{first}</pre></details>" if rest else ""
    role = f"<b>{isolated(message.role)}</b>{f' <small>({mark})</small>' if mark else ''}"
    return f'<div class="gm-message"><div>{role}</div> <div><pre>{isolated(head)}</pre>{more}</div></div>'


def _table_html(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    # Spaces between the cells: where even the tags are gone, the words still stand apart.
    head = " ".join(f"<th>{name}</th>" for name in rows[0])
    body = "\n".join(f"<tr>{' '.join(f'<td>{cell}</td>' for cell in row.values())}</tr>" for row in rows)
    return f'<table class="gm-table"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
