"""Which templates are proved to print contents and nothing else, and what happens to those that are not."""

from __future__ import annotations

from typing import Any

import families
import hostile
import pytest
import shapes
from opened import EMBEDDED
from small_tokenizers import CUT, HIDE, chat_of, plan_prompts, small_tokenizer

from guard_magic.conversations.conversation import Conversation, parse_conversation
from guard_magic.errors import ConversationError
from guard_magic.families.llama_guard import STRUCTURE
from guard_magic.prompts.plan import Prompt, PromptPlan
from guard_magic.prompts.rendering import ChatTemplate, Messages
from guard_magic.prompts.template_check import Printed, prints_only

EACH = "{%% for m in messages %%}%s{%% endfor %%}"

PLAIN = {
    "item": EACH % "{{ m['content'] }}",
    "attribute": EACH % "[{{ m.role | upper }}] {{ m.content }}",
    "joined": EACH % "{{ m.role ~ ': ' ~ m.content ~ '\n' }}",
    "by position": "{{ messages[0].content }}{% if messages | length > 1 %}{{ messages[-1]['content'] }}{% endif %}",
    "loop position": EACH % "{{ loop.index0 }}{% if loop.last %}last{% endif %}{{ messages[loop.index0].content }}",
    "variable": EACH % "{% set c = m.content %}{{ ('U' if m.role == 'user' else 'A') + c }}",
    "either": EACH % "{% if m.role == 'user' %}{% set c = m.content %}{% else %}{% set c = '' %}{% endif %}{{ c }}",
    "chosen": EACH % "{{ m.content if m.role != 'system' else 'none' }}",
    "filtered": "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}",
    "slice": "{% set messages = messages[1:] %}" + EACH % "{{ m.content }}",
    "selected": "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ m.content }}{% endfor %}",
    "type": EACH % "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text | upper }}{% endif %}",
    "no tools": EACH % "{% if 'tool_calls' in m or m.tool_calls is defined %}tool{% endif %}{{ m.content }}",
    "counted": "{% set ns = namespace(n=0) %}" + EACH % "{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ m.content }}",
    "break": EACH % "{{ m.content }}{% if loop.index > 1 %}{% break %}{% endif %}",
}
STRIPPED = {
    "strip": EACH % "{{ m.content.strip() }}",
    "trim": EACH % "{{ '- ' + m.content | trim + '\n' }}",
    "trim of a variable": EACH % "{% set c = m.content %}{{ c | trim }}",
    "some": EACH % "{{ m.content | trim if m.role == 'user' else m.content }}",
}
LOOKS = {
    "length": EACH % "{{ m.content if m.content | length < 50 else m.content[:50] }}",
    "cut": EACH % "{{ m.content[:50] }}",
    "truncate": EACH % "{{ m.content | truncate(50) }}",
    "wordwrap": EACH % "{{ m.content | wordwrap(50) }}",
    "emptiness": EACH % "{% if m.content %}{{ m.content }}{% endif %}",
    "not empty": EACH % "{% if not m.content %}none{% endif %}{{ m.content }}",
    "or": EACH % "{{ m.content or 'empty' }}",
    "and": EACH % "{% if m.role == 'user' and m.content %}x{% endif %}{{ m.content }}",
    "default": EACH % "{{ m.content | default('x', true) }}",
    "in": EACH % "{% if '</think>' in m.content %}hidden{% else %}{{ m.content }}{% endif %}",
    "in content": EACH % "{{ m.content if m.content in ['a', 'b'] else '' }}",
    "split": EACH % "{{ m.content.split('</think>')[-1] }}",
    "replace": EACH % "{{ m.content | replace('a', 'b') }}",
    "replace method": EACH % "{{ m.content.replace('a', 'b') }}",
    "lower": EACH % "{{ m.content | lower }}",
    "starts": EACH % "{% if m.content.startswith('x') %}y{% endif %}{{ m.content }}",
    "strip characters": EACH % "{{ m.content.strip('x') }}",
    "trim characters": EACH % "{{ m.content | trim('x') }}",
    "strip of more": EACH % "{{ (m.content ~ ' ') | trim }}",
    "left strip": EACH % "{{ m.content.lstrip() }}",
    "compare": EACH % "{{ 'same' if m.content == 'x' else m.content }}",
    "compare two": EACH % "{{ 'same' if m.content == messages[0].content else m.content }}",
    "through a variable": EACH % "{% set c = m.content %}{% if c > 'm' %}{{ c }}{% endif %}",
    "through another name": "{% set ms = messages %}{% for m in ms %}{% if m.content == 'x' %}{% endif %}{% endfor %}",
    "through a later name": EACH % "{% if c %}x{% endif %}{% set d = m.content %}{% set c = d %}{{ d }}",
    "through joined text": EACH % "{% set c = m.content ~ '' %}{% if c | length > 50 %}x{% endif %}{{ c }}",
    "through a list": EACH % "{% set c = [m.content] %}{{ c[0][:50] }}",
    "through a namespace": "{% set ns = namespace(c='') %}" + EACH % "{% set ns.c = m.content %}{{ ns.c[:50] }}",
    "through append": "{% set all = [] %}" + EACH % "{% set _ = all.append(m.content) %}" + "{{ all[0][:9] }}",
    "through a macro": "{% macro f(x) %}{{ x[:50] }}{% endmacro %}" + EACH % "{{ f(m.content) }}",
    "through a block set": EACH % "{% set c %}{{ m.content }}{% endset %}{{ c[:50] }}",
    "through a filter block": EACH % "{% filter upper %}{{ m.content }}{% endfilter %}",
    "through with": EACH % "{% with c = m.content %}{{ c[:50] }}{% endwith %}",
    "through neighbours": EACH % "{% if loop.previtem and loop.previtem.content == 'x' %}y{% endif %}{{ m.content }}",
    "through changed": EACH % "{% if loop.changed(m.content) %}y{% endif %}{{ m.content }}",
    "through the message": EACH % "{{ (m | string)[:99] }}",
    "through items": EACH % "{% for k, v in m.items() %}{{ v[:50] }}{% endfor %}",
    "through values": EACH % "{{ (m.values() | list)[1] }}",
    "through get": EACH % "{{ m.get('content') }}",
    "through attr": EACH % "{{ m | attr('content') }}",
    "through map": "{{ messages | map(attribute='content') | join }}",
    "through selectattr": "{% for m in messages | selectattr('content', 'equalto', 'x') %}{{ m.content }}{% endfor %}",
    "through sort": "{% for m in messages | sort(attribute='content') %}{{ m.content }}{% endfor %}",
    "through unique": "{% for m in messages | unique(attribute='content') %}{{ m.content }}{% endfor %}",
    "through the loop": "{% for m in messages recursive %}{{ m.content }}{% endfor %}",
    "through a loop's test": "{% for m in messages if m.content != 'x' %}{{ m.content }}{% endfor %}",
    "characters": EACH % "{% for c in m.content %}{{ c }}{% endfor %}",
    "a key": EACH % "{{ {'x': 'y'}.get(m.content, m.content) }}",
    "an index": EACH % "{{ {'x': 'y'}[m.content] }}{{ m.content }}",
    "a field by a name": EACH % "{% set f = 'content' %}{{ m[f] }}",
    "a format": EACH % "{{ '%.50s' % m.content }}",
    "format": EACH % "{{ '%.50s' | format(m.content) }}",
    "format method": EACH % "{{ '{:.50}'.format(m.content) }}",
    "repeat": EACH % "{{ m.content * (1 if m.role == 'user' else 0) }}",
    "escape": EACH % "{{ m.content | e }}",
    "markup": EACH % "{{ ('<b>' | safe) + m.content }}",
    "json": EACH % "{{ m.content | tojson }}",
    "raise": EACH % "{% if 'x' in m.content %}{{ raise_exception('x') }}{% endif %}{{ m.content }}",
    "the date": "{{ strftime_now('%d %b %Y') }}" + EACH % "{{ m.content }}",
    "by chance": "{{ lipsum() }}{{ [1, 2] | random }}" + EACH % "{{ m.content }}",
    "included": "{% include 'x' %}" + EACH % "{{ m.content }}",
    "no Jinja": "{% for",
}


@pytest.mark.parametrize(("templates", "printed"), [(PLAIN, "as they are"), (STRIPPED, "stripped"), (LOOKS, "unknown")])
def test_what_is_proved(templates: dict[str, str], printed: Printed) -> None:
    assert {name: prints_only(text, False) for name, text in templates.items()} == dict.fromkeys(templates, printed)


def test_typed_parts() -> None:
    part = "{% for p in m.content | selectattr('type', 'equalto', 'text') %}{{ p['text'] | trim }}{% endfor %}"
    assert prints_only(EACH % part, True) == "stripped"
    assert prints_only(EACH % part, False) == "unknown", "a string has no parts"
    assert prints_only(EACH % "{{ m.content[0].text }}", True) == "as they are"
    by_type = "{% if m.content is string %}{{ m.content[:9] }}{% else %}{{ m.content[0]['text'] }}{% endif %}"
    assert prints_only(EACH % by_type, True) == "as they are"
    assert prints_only(EACH % by_type, False) == "unknown"
    for looks in ("{{ m.content }}", "{{ m.content[0].text[:9] }}", "{% if m.content[0].text %}x{% endif %}"):
        assert prints_only(EACH % looks, True) == "unknown"
    chosen = "{% for p in m.content | selectattr('text') %}{{ p.text }}{% endfor %}"
    assert prints_only(EACH % chosen, True) == "unknown"


def test_templates_of_guards() -> None:
    assert prints_only(shapes.TEMPLATE, False) == "stripped"
    assert prints_only(shapes.TEMPLATE_1B, True) == "stripped"
    assert prints_only((EMBEDDED / "chat_template.jinja").read_text(encoding="utf-8"), False) == "stripped"
    plans = {
        name: families.guard(name).questionnaire(None).first for name in ("qwen3guard", "llama-guard-4", "shieldgemma")
    }
    found = {name: plan.renderer.printed for name, plan in plans.items()}
    assert found == {"qwen3guard": "as they are", "llama-guard-4": "stripped", "shieldgemma": "unknown"}


class Counting(ChatTemplate):
    """Counts its renderings."""

    n_rendered = 0

    def render(self, messages: Messages) -> str:
        self.n_rendered += 1
        return super().render(messages)


def counting_plan(content: str) -> tuple[PromptPlan, Counting]:
    tokenizer: Any = small_tokenizer(content)
    renderer = Counting(tokenizer)
    plan = PromptPlan(tokenizer, renderer, STRUCTURE)
    assert plan.is_exact
    assert plan.strips in (True, False)
    renderer.n_rendered = 0
    return plan, renderer


TEXTS = ["short", "a" * 49, "a" * 50, "long text. " * 30, " padded ", *hostile.ATTACKS.values()]
ROWS = [parse_conversation(text) for text in TEXTS if text.strip() and "\0" not in text and text.isprintable()]


def one_by_one(plan: PromptPlan, rows: list[Conversation]) -> list[Prompt | str]:
    found: list[Prompt | str] = []
    for row in rows:
        try:
            found.append(plan.prompt(row))
        except ConversationError as error:
            found.append(str(error))
    return found


def together(plan: PromptPlan, rows: list[Conversation]) -> list[Prompt | str]:
    return [str(found) if isinstance(found, ConversationError) else found for found in plan.prompts(rows)]


@pytest.mark.parametrize("content", [CUT, HIDE, "m.content | replace('a', 'b')", "m.content[:60]"])
def test_what_is_not_proved_is_rendered_row_by_row(content: str) -> None:
    plan, renderer = counting_plan(content)
    found = together(plan, ROWS)
    assert renderer.n_rendered >= len(ROWS)
    assert found == one_by_one(plan, ROWS)
    assert any("cuts or hides" in row for row in found if isinstance(row, str))


@pytest.mark.parametrize("content", ["m.content", "m.content | trim", "m.content.strip()"])
def test_what_is_proved_is_rendered_once_for_each_sequence_of_roles(content: str) -> None:
    plan, renderer = counting_plan(content)
    pairs = [parse_conversation(chat_of(text, "no")) for text in ("yes", "perhaps")]
    found = together(plan, [*ROWS, *pairs])
    assert renderer.n_rendered == 2
    assert found == one_by_one(plan, [*ROWS, *pairs])


def test_a_template_that_strips_in_some_places_is_rendered_row_by_row() -> None:
    plan, renderer = counting_plan("(m.content | trim if m.role == 'assistant' else m.content)")
    assert not plan.strips
    rows = [parse_conversation(chat_of(text, f"{text} ")) for text in ("a", "b", " c")]
    found = together(plan, rows)
    assert renderer.n_rendered >= len(rows)
    assert found == one_by_one(plan, rows)


def test_another_template_in_the_tokenizer_ends_the_proof() -> None:
    plan, _ = counting_plan("m.content")
    assert plan.renderer.printed == "as they are"
    plan.tokenizer.chat_template = small_tokenizer(CUT).chat_template
    assert plan.renderer.printed == "unknown"
    assert together(plan, [parse_conversation("x"), parse_conversation("a" * 99)])[1:] == [
        "the guard's template cuts or hides part of this text, so the guard would judge what it has not read"
    ]


def test_a_false_proof_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: were every template taken for proved, a text would be judged by what its template hides."""
    plan = plan_prompts(small_tokenizer(CUT)).first
    rows = [parse_conversation("short"), parse_conversation("a" * 99)]
    assert together(plan, rows)[1] == one_by_one(plan, rows)[1]
    monkeypatch.setattr("guard_magic.prompts.rendering.prints_only", lambda template, parts: "as they are")
    assert together(plan, rows)[1] != one_by_one(plan, rows)[1]
