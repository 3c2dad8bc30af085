from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
import regex
from browser import missing
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from guard_magic import display
from guard_magic.characters import HIDDEN, unseen_characters
from guard_magic.conversations.conversation import Conversation, Message, Role
from guard_magic.display.as_html import STYLE
from guard_magic.display.wording import visible
from guard_magic.guards.guard import Guard
from guard_magic.policy import LLAMA_GUARD_3, Category, Policy
from guard_magic.verdict import Reading, Verdict, Verdicts, judge, unscored

GUARD = "embedded@3f1c0a9d"
SHARES = {"S2": 0.76, "S9": 0.17}
HOSTILE = (
    "\x1b]0;\x07<script>alert(1)</script> \"'><img src=x onerror=alert(1)> &amp; "
    "\x1b[2J\x07\x9b31m \u202etxt\u2066 z\u200bw\r!"
)
CONTROLS = [chr(c) for c in [*range(32), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)]]
CONTROLS = [c for c in CONTROLS if c not in "\n\t"]
TAGS = {"div", "style", "p", "b", "i", "small", "bdi", "mark", "span", "details", "summary", "pre"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}
VOID = {"br", "hr", "img", "link", "input", "meta"}


def conversation(*turns: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(cast(Role, role), content) for role, content in turns))


def verdict(score: float = 0.9312, *turns: tuple[str, str], threshold: float = 0.5, mass: float = 0.9991) -> Verdict:
    said = conversation(*turns or [("user", "How do I kill a process in Linux?")])
    rest = (1 - sum(SHARES.values())) / (len(LLAMA_GUARD_3) - len(SHARES))
    codes = tuple(math.log(SHARES.get(code, rest)) for code in LLAMA_GUARD_3.codes)
    return judge(
        Reading(math.log(score), math.log(mass - score), codes, 213),
        LLAMA_GUARD_3,
        threshold=threshold,
        guard=GUARD,
        assessed_role=said.assessed.role,
        min_verdict_mass=0.9,
        generated_text="\n\nunsafe\nS2" if score >= threshold else None,
        conversation=said,
    )


LOST = unscored("the conversation is missing (nan)", threshold=0.5, guard=GUARD, policy=LLAMA_GUARD_3)
HOSTILE_VERDICT = dataclasses.replace(
    verdict(0.9, ("user", HOSTILE)),
    guard=HOSTILE,
    generated_text=HOSTILE,
    category="S2",
    assessed_role=cast(Role, HOSTILE),
    conversation=conversation((HOSTILE, HOSTILE), *[("user", HOSTILE * 300)] * 7, (HOSTILE, HOSTILE * 300)),
    policy=Policy("hostile", (Category("S1", "x"), Category("S2", "\"a' onclick=b & \u202e"))),
)
HOSTILE_LOST = dataclasses.replace(HOSTILE_VERDICT, error=HOSTILE, unsafe_score=None, category=None, flagged=None)
TABLE = Verdicts([verdict(0.93), LOST, *[verdict(0.01, ("user", "word " * 90))] * 98], LLAMA_GUARD_3)
HOSTILE_TABLE = Verdicts([HOSTILE_VERDICT, HOSTILE_LOST], LLAMA_GUARD_3)
STATUS = [{"name": "lg3", "memory": "16.1 GB"}, {"name": "embedded", "memory": "94 MB"}]
HOSTILE_STATUS = [{HOSTILE: HOSTILE, "name": HOSTILE}]

HTML = {
    "safe": display.verdict_html(verdict(0.0004)),
    "unsafe": display.verdict_html(verdict()),
    "lost": display.verdict_html(LOST),
    "hostile": display.verdict_html(HOSTILE_VERDICT),
    "hostile lost": display.verdict_html(HOSTILE_LOST),
    "table": display.verdicts_html(TABLE),
    "hostile table": display.verdicts_html(HOSTILE_TABLE),
    "empty table": display.verdicts_html(Verdicts([], LLAMA_GUARD_3)),
    "status": display.status_html(STATUS),
    "hostile status": display.status_html(HOSTILE_STATUS),
    "no status": display.status_html([]),
}
TEXT = {
    "safe": display.verdict_text(verdict(0.0004)),
    "wide": display.verdict_text(verdict(0.2, ("user", "长文本测试" * 90), ("assistant", "👩‍👩‍👧 " * 60 + "x" * 300))),
    "lost": display.verdict_text(LOST),
    "hostile": display.verdict_text(HOSTILE_VERDICT),
    "hostile lost": display.verdict_text(HOSTILE_LOST),
    "table": display.verdicts_text(TABLE),
    "hostile table": display.verdicts_text(HOSTILE_TABLE),
    "empty table": display.verdicts_text(Verdicts([], LLAMA_GUARD_3)),
    "status": display.status_text([{f"column {i}": "长" * 30 for i in range(6)}]),
    "hostile status": display.status_text(HOSTILE_STATUS),
    "no status": display.status_text([]),
}


class Page(HTMLParser):
    """What a reader sees where style, class and script are gone, and what the markup was made of."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.classes: set[str] = set()
        self.words = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.classes.update((dict(attrs).get("class") or "").split())
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def n_cells(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@pytest.mark.parametrize("name", HTML)
def test_html_is_well_formed_and_inert(name: str) -> None:
    page = Page(HTML[name])
    assert page.open == []
    assert set(page.tags) <= TAGS
    assert {key for key, _ in page.attributes} <= {"class", "style", "role", "aria-label"}
    assert all(value is not None and not set(value) & set("<>\"'&") for _, value in page.attributes)
    assert page.tags.count("style") == 1
    assert all(one.startswith("gm-") for one in page.classes)


@pytest.mark.parametrize("name", HTML)
def test_html_loads_nothing(name: str) -> None:
    style = HTML[name].partition("<style>")[2].partition("</style>")[0]
    assert not any(word in style for word in ("url(", "@import", "expression", "http"))


@pytest.mark.parametrize("name", [name for name in HTML if "hostile" in name])
def test_untrusted_text_is_shown_and_not_run(name: str) -> None:
    words = Page(HTML[name]).words
    assert "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> &amp;" in words
    assert r"\x1b[2J\x07\x9b31m \u202etxt\u2066 z\u200bw" in words


def test_every_field_is_escaped() -> None:
    bare = HTML["hostile"] + HTML["hostile lost"] + HTML["hostile table"]
    assert "<script" not in bare
    assert "<img" not in bare
    assert HTML["hostile"].count("&lt;script&gt;") > 10
    assert "S2 &quot;a&#x27; onclick=b &amp; <mark>" in HTML["hostile"]


@pytest.mark.parametrize("name", [*HTML, *TEXT])
def test_no_control_character_is_left(name: str) -> None:
    shown = HTML.get(name, "") + TEXT.get(name, "")
    assert not [c for c in CONTROLS if c in shown]


MARKS = [*"\u200c\u200d\u200e\u200f\u061c\u034f\u3164\u115f\u1160\uffa0\u2800\ufe00\ufe0f\u17b4\U000e0100\U0001d173"]


@pytest.mark.parametrize("control", [*CONTROLS, *MARKS, "\ufeff", "\U000e0041", "\ud800", "\u00ad"])
def test_each_control_is_spelled_out(control: str) -> None:
    lost = dataclasses.replace(LOST, error=f"a{control}b")
    spelled = "a" + control.encode("unicode_escape").decode() + "b"
    assert spelled in display.verdict_text(lost)
    assert spelled in Page(display.verdict_html(lost)).words


ORDINARY = [
    "tab\tand\nline",
    "שלום (2.1)",
    "👩‍👩‍👧‍👦 🇨🇭 ❤️ 1️⃣ 👩🏽‍🚀 🏳️‍🌈 ☎︎",
    "می‌خواهم",
    "क्‍ष ක්‍ර",
    "葛\U000e0100飾区",
    "é e\u0301 ย\u0e4a",
    "\u0600\u0661\u0662",
    "  indented\n\n\nlines  ",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert text in Page(display.verdict_html(verdict(0.2, ("user", text)))).words


HIDING = [
    "❤\ufe0f\ufe0f\ufe0f",
    "a\u200db",
    "👩\u200d\u200d👩",
    "می\u200c\u200cخواهم",
    "葛\U000e0100\U000e0101",
    "🏴\U000e0067\U000e0062\U000e007f",
    "\u200fשלום",
    "1\ufe0f2",
]


@pytest.mark.parametrize("text", HIDING)
def test_more_than_writing_needs_is_told(text: str) -> None:
    assert "\\" in Page(display.verdict_html(verdict(0.2, ("user", text)))).words


def test_every_unseen_character_is_told() -> None:
    """But for white space, and marks that stand on a letter."""
    spaces = {c for c in unseen_characters() if unicodedata.category(c) == "Zs"} | set("\n\t")
    told = {c for c in unseen_characters() if visible(f"a{c}b") != f"a{c}b"}
    left = unseen_characters() - told - spaces - {"\r"}
    assert all(regex.match(r"[\p{M}\p{Prepended_Concatenation_Mark}]", c) for c in left)
    assert len(told) > 4_000


def test_the_widget_tells_the_same() -> None:
    if shutil.which("node") is None:
        missing("node is not installed: it runs the widget's own code here")
    source = (Path(display.__file__).parents[1] / "review" / "static" / "dom.js").read_text(encoding="utf-8")
    texts = [f"a{c}b" for c in sorted(unseen_characters()) if ord(c) < 0xE000 or ord(c) > 0xE0FFF] + HIDING + ORDINARY
    script = source.replace("export ", "") + "\nconst texts = JSON.parse(require('fs').readFileSync(0));\n"
    script += "console.log(JSON.stringify(texts.map((t) => t.search(HIDDEN) >= 0)));"
    done = subprocess.run(["node", "-e", script], input=json.dumps(texts), capture_output=True, text=True, check=True)
    ours = [HIDDEN.search(text) is not None for text in texts]
    assert [t for t, one, other in zip(texts, json.loads(done.stdout), ours, strict=True) if one is not other] == []


def test_names_are_shown_on_one_line(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "name", "a\n\x1b[2J\u202eb")
    assert repr(tiny).startswith(r"<Guard a\n\x1b[2J\u202eb@")
    found = Verdicts([dataclasses.replace(LOST, guard=tiny.name)], LLAMA_GUARD_3)
    assert r"by a\n\x1b[2J\u202eb, " in repr(found)


def test_not_scored_never_looks_safe() -> None:
    half = [
        LOST,
        HOSTILE_LOST,
        dataclasses.replace(verdict(0.01), error="out of memory"),
        dataclasses.replace(verdict(0.01), unsafe_score=None),
        dataclasses.replace(verdict(0.01), unsafe_score=math.nan),
        dataclasses.replace(verdict(0.01), flagged=None),
    ]
    for one in half:
        for markup in (display.verdict_html(one), display.verdicts_html(Verdicts([one], LLAMA_GUARD_3))):
            page = Page(markup)
            assert not {"gm-safe", "gm-unsafe"} & page.classes
            assert "not scored" in page.words
            assert "safe" not in page.words.replace("unsafe\\n", "")
        assert display.verdict_text(one).startswith("not scored\n")
        assert "0 flagged, 1 not scored" in display.verdicts_text(Verdicts([one], LLAMA_GUARD_3))


def test_not_scored_gives_its_reason() -> None:
    for shown in (Page(HTML["lost"]).words, TEXT["lost"], Page(HTML["table"]).words):
        assert "the conversation is missing (nan)" in shown
    silent = dataclasses.replace(verdict(), flagged=None, error=None)
    assert "no reason was given" in display.verdict_text(silent)
    assert "the guard answered neither safe nor unsafe" in display.verdict_text(verdict(0.2, mass=0.31))


def test_card_reads_as_text_without_style() -> None:
    words = " ".join(Page(HTML["unsafe"]).words.split())
    assert words.startswith(
        "unsafe score 0.931 S2 Non-Violent Crimes S2 Non-Violent Crimes 0.708 S9 Indiscriminate Weapons"
    )
    assert "1 message, the user's is assessed user (assessed) How do I kill a process in Linux?" in words
    assert "the guard wrote: unsafe ↵ S2" in words
    assert words.endswith("guard embedded@3f1c0a9d · threshold 0.5 · log-odds +2.62 · verdict mass 0.999 · 213 tokens")


def test_table_reads_as_text_without_style() -> None:
    words = " ".join(Page(HTML["table"]).words.split())
    assert words.startswith("100 verdicts: 1 flagged, 1 not scored · guard embedded@3f1c0a9d · threshold 0.5")
    assert "0 0.930 S2 Non-Violent Crimes user How do I kill a process" in words
    assert "1 – not scored the conversation is missing (nan)" in words
    assert words.endswith("… and 80 more")


def test_table_shows_at_most_the_limit() -> None:
    assert Page(HTML["table"]).tags.count("tr") == 21
    assert Page(display.verdicts_html(TABLE, limit=3)).tags.count("tr") == 4
    assert len(TEXT["table"].splitlines()) == 23
    assert TEXT["table"].endswith("\n… and 80 more")
    assert "more" not in display.verdicts_text(TABLE, limit=100)


def test_table_without_conversations_has_no_text_column() -> None:
    bare = Verdicts([dataclasses.replace(verdict(), conversation=None)], LLAMA_GUARD_3)
    assert display.verdicts_text(bare).splitlines()[1].split() == ["#", "score", "category", "role"]


def test_empty_table_and_status_are_sentences() -> None:
    assert TEXT["empty table"] == "0 verdicts: 0 flagged, 0 not scored"
    assert TEXT["no status"].startswith("No guard is resident yet")
    assert TEXT["no status"] in HTML["no status"]


def test_text_of_a_card() -> None:
    lines = display.verdict_text(verdict()).splitlines()
    assert lines[0] == "unsafe  score 0.931 ██████████│████████·  S2 Non-Violent Crimes"
    assert lines[1] == "  S2 Non-Violent Crimes            0.708    ██████████████······"
    assert lines[3:5] == ["  12 other hazards, each at most 0.005", "1 message, the user's is assessed"]
    assert lines[5:7] == ["> user       How do I kill a process in Linux?", "the guard wrote: unsafe ↵ S2"]
    assert TEXT["safe"].startswith("safe  score 0.0004 ··········│·········\n")


def test_hostile_names_keep_to_their_columns() -> None:
    roles = [line for line in TEXT["hostile"].splitlines() if line.startswith("> ")]
    assert roles == [line for line in roles if line.startswith(r"> \x1b]0;\x… \x1b]0;\x07<script>")]
    assert len(roles) == 1


def test_status_keeps_the_order_of_columns_and_empty_ones() -> None:
    rows = [{"b": "1", "a": ""}, {"b": "2", "a": ""}]
    assert display.status_text(rows).splitlines() == ["b  a", "1", "2"]
    assert Page(display.status_html(rows)).words.split() == ["b", "a", "1", "2"]


def test_hazards_of_a_safe_row_wait_behind_a_click() -> None:
    head, _, rest = HTML["safe"].partition("<details>")
    assert "S2 Non-Violent" not in head
    assert "14 hazards, each at most 0.0003" in rest
    assert "S14 Code Interpreter Abuse" in rest
    assert "S2 Non-Violent Crimes" in display.verdict_html(verdict(0.42)).partition("<details>")[0]


@pytest.mark.parametrize(
    ("score", "threshold", "shown"),
    [
        (0.5, 0.5, "0.500"),
        (0.4999997, 0.5, "0.4999997"),
        (0.50000004, 0.5, "0.500"),
        (4.006e-5, 0.5, "0.00004"),
        (1.2e-9, 0.5, "1.2e-09"),
        (0.99996, 0.5, "0.99996"),
        (1.0, 0.5, "1.000"),
        (0.0, 0.5, "0.000"),
        (0.7004, 0.7003, "0.7004"),
    ],
)
def test_numbers_stay_on_their_side(score: float, threshold: float, shown: str) -> None:
    one = dataclasses.replace(verdict(), unsafe_score=score, flagged=score >= threshold, threshold=threshold)
    assert f"score {shown} " in display.verdict_text(one)
    assert f"score {shown} " in Page(display.verdict_html(one)).words


@pytest.mark.parametrize("threshold", [-0.1, 0.0, 1e-9, 1.0, 1.5])
def test_bars_stay_in_their_box(threshold: float) -> None:
    one = dataclasses.replace(verdict(), threshold=threshold, unsafe_score=1.0000001)
    styles = [value for key, value in Page(display.verdict_html(one)).attributes if key == "style"]
    assert all(0 <= float(str(style).partition(":")[2].rstrip("%")) <= 100 for style in styles)
    bar = display.verdict_text(one).split()[3]
    assert len(bar) == 20
    assert bar.count("│") == 1


def test_what_was_read() -> None:
    two = verdict(0.2, ("user", "a"), ("assistant", "b"))
    assert "2 turns, the assistant's is assessed" in display.verdict_text(two)
    assert "the assistant's message is assessed" in display.verdict_text(dataclasses.replace(two, conversation=None))
    assert "1 message, the user's was to be assessed" in display.verdict_text(verdict(0.2, mass=0.3))
    assert "assessed" not in TEXT["lost"]


def test_long_messages_are_cut_and_complete() -> None:
    text = "".join(f"{i} word\n" for i in range(900))
    markup = display.verdict_html(verdict(0.2, ("user", text)))
    shown = Page(markup.replace("<summary>", "<style>").replace("</summary>", "</style>")).words
    assert text in shown
    assert "899 word" in markup.partition(" more characters")[2]
    assert "899 word" not in display.verdict_text(verdict(0.2, ("user", text)))
    assert " more characters" in display.verdict_text(verdict(0.2, ("user", text)))


def test_turns_are_all_there() -> None:
    turns = [("user" if i % 2 == 0 else "assistant", f"turn {i}.") for i in range(13)]
    words = Page(display.verdict_html(verdict(0.2, *turns))).words
    assert all(f"turn {i}." in words for i in range(13))
    assert "8 earlier turns" in words
    assert words.count("(assessed)") == 1
    assert "earlier" not in display.verdict_text(verdict(0.2, *turns[:5]))


@pytest.mark.parametrize("name", TEXT)
def test_text_is_at_most_80_wide(name: str) -> None:
    assert max(map(n_cells, TEXT[name].split("\n"))) <= 80


def test_a_long_guard_name_wraps() -> None:
    long = dataclasses.replace(verdict(), guard="g" * 300)
    lines = display.verdict_text(long).split("\n")
    assert max(map(len, lines)) <= 80
    assert "".join(lines).count("g" * 20) == 300 // 20


def test_size_budgets() -> None:
    assert len(STYLE.encode()) < 3072
    assert max(len(HTML[name].encode()) for name in ("safe", "unsafe", "lost")) < 8192
    assert len(HTML["table"].encode()) < 24_000
    assert len(display.verdict_html(verdict(0.2, ("user", "x" * 1_000_000)))) < 60_000


@pytest.fixture
def shell() -> InteractiveShell:
    return InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))


def formats(shell: InteractiveShell, value: object) -> dict[str, Any]:
    return cast(dict[str, Any], cast(Any, shell).display_formatter.format(value)[0])


def printers(shell: InteractiveShell) -> list[dict[Any, Any]]:
    formatters = cast(Any, shell).display_formatter.formatters
    return [dict(formatters[kind].type_printers) for kind in ("text/html", "text/plain")]


def test_a_shell_shows_cards_and_forgets_them(shell: InteractiveShell) -> None:
    one, many = verdict(), Verdicts([verdict()], LLAMA_GUARD_3)
    before = printers(shell)
    restore = display.register_formatters(shell)
    assert formats(shell, one) == {"text/html": display.verdict_html(one), "text/plain": display.verdict_text(one)}
    assert formats(shell, many) == {"text/html": display.verdicts_html(many), "text/plain": display.verdicts_text(many)}
    restore()
    assert printers(shell) == before
    assert formats(shell, one) == {"text/plain": repr(one)}


def test_a_shell_gets_back_the_formatters_it_had(shell: InteractiveShell) -> None:
    rich = cast(Any, shell).display_formatter.formatters["text/html"]
    rich.for_type(object, lambda obj: "anything")
    rich.for_type(Verdict, lambda obj: "mine")
    rich.for_type_by_name("guard_magic.verdict", "Verdicts", lambda obj: "named")
    restore = display.register_formatters(shell)
    assert formats(shell, verdict())["text/html"] != "mine"
    restore()
    assert formats(shell, verdict())["text/html"] == "mine"
    assert formats(shell, Verdicts([], LLAMA_GUARD_3))["text/html"] == "named"
    assert formats(shell, 1)["text/html"] == "anything"


def test_a_verdict_in_a_list_is_one_line(shell: InteractiveShell) -> None:
    restore = display.register_formatters(shell)
    shown = formats(shell, [verdict(), LOST])["text/plain"]
    restore()
    assert shown.startswith("[<unsafe  score 0.931 ")
    assert shown.endswith("<not scored>]")
