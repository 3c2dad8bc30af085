"""The magics, in a real IPython shell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from guard_magic.engine.guard import Guard
from guard_magic.magics import parse_moderate
from guard_magic.session import Session
from guard_magic.verdict import Verdict, Verdicts

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


@pytest.fixture
def session(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session()
    made.guards["tiny"] = tiny
    made.current = "tiny"
    monkeypatch.setattr("guard_magic.session._SESSION", made)
    return made


@pytest.fixture
def shell(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    made.history_manager.enabled = False
    made.Completer.use_jedi = False
    made.run_line_magic("load_ext", "guard_magic")
    yield made
    made.run_line_magic("unload_ext", "guard_magic")
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, code: str) -> Any:
    result = shell.run_cell(code)
    result.raise_error()
    return result.result


def usage_error(shell: InteractiveShell, code: str) -> str:
    with pytest.raises(UsageError) as caught:
        run(shell, code)
    assert type(caught.value) is UsageError, "a subclass would print a whole traceback"
    return str(caught.value)


@pytest.mark.parametrize(
    ("body", "roles"),
    [
        ("just text", ("user",)),
        ("user: a\nassistant: b", ("user", "assistant")),
        ("Human: a\nAI: b\nHuman: c", ("user", "assistant", "user")),
        ('[{"role": "user", "content": "a"}, {"from": "gpt", "value": "b"}]', ("user", "assistant")),
        ('{"messages": [{"role": "user", "content": "a"}]}', ("user",)),
    ],
)
def test_a_cell_is_one_conversation(shell: InteractiveShell, body: str, roles: tuple[str, ...]) -> None:
    verdict = run(shell, f"%%moderate\n{body}")
    assert isinstance(verdict, Verdict)
    assert verdict.conversation is not None
    assert verdict.conversation.roles == roles
    assert verdict.assessed_role == roles[-1]


def test_the_body_is_verbatim(shell: InteractiveShell) -> None:
    shell.user_ns["x"] = "EXPANDED"
    body = "say {x} $x %timeit !ls\n\\n  indented ? \t; # not a comment"
    assert run(shell, f"%%moderate\n{body}").conversation.assessed.content == body
    assert run(shell, f"%%moderate --text\nuser: {body}").conversation.assessed.content == f"user: {body}"
    assert run(shell, "%moderate say {x} $x -t 3 --show").conversation.assessed.content == "say {x} $x -t 3 --show"
    assert run(shell, "%moderate -- -t is text").conversation.assessed.content == "-t is text"
    assert run(shell, "%moderate -5 degrees").conversation.assessed.content == "-5 degrees"


@pytest.mark.parametrize(
    "text",
    [
        "Is this allowed?",
        "What?? Really??",
        "what's up?",
        'he said "why?"',
        "is f(x) = [1, 2?",
        "why {x} $x?",
        "a # b?",
        "ends with a backslash \\",
        "¿Qué pasa?",
        "-- -t is what?",
    ],
)
def test_questions_reach_the_guard(shell: InteractiveShell, text: str) -> None:
    """IPython takes a line that ends in "?" for a request for help on its last word."""
    said = text.removeprefix("-- ")
    assert run(shell, f"%moderate {text}").conversation.assessed.content == said
    run(shell, f"x = 1\nif x:\n    v = %moderate {text}\n\nafter = x")
    assert shell.user_ns["v"].conversation.assessed.content == said
    assert shell.user_ns["after"] == 1


def test_help_and_strings_are_left_alone(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "%moderate?")
    assert "Score a conversation with a guard model" in capsys.readouterr().out
    run(shell, 's = """\n%moderate what?\n"""')
    assert shell.user_ns["s"] == "\n%moderate what?\n"
    run(shell, "moderate = 7; y = 15 %moderate")
    assert shell.user_ns["y"] == 1


def test_json_lines_make_several(shell: InteractiveShell) -> None:
    verdicts = run(shell, '%%moderate\n{"role": "user", "content": "a"}\n[{"role": "user", "content": "b"}]')
    assert isinstance(verdicts, Verdicts)
    assert [v.conversation.assessed.content for v in verdicts if v.conversation] == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "n"),
    [
        ("text", 1),
        (CHAT, 1),
        ([CHAT, "two", CHAT], 3),
        (pd.Series(["a", "b"]), 2),
        (CHAT[0], 1),
        (tuple(CHAT), 1),
    ],
)
def test_input_from_a_variable(shell: InteractiveShell, value: object, n: int) -> None:
    shell.user_ns["v"] = value
    result = run(shell, "%moderate -i v")
    assert (len(result) if isinstance(result, Verdicts) else 1) == n


def test_output_stores_and_hides(shell: InteractiveShell) -> None:
    assert run(shell, "%%moderate -o kept\nhi") is None
    assert isinstance(shell.user_ns["kept"], Verdict)
    assert run(shell, "%moderate -o kept --show hi") is shell.user_ns["kept"]
    assert "variable name" in usage_error(shell, "%moderate -o 1x hi")


def test_options_reach_the_guard(shell: InteractiveShell) -> None:
    verdict = run(shell, "%moderate -t 0 -x S1,S2 --generate -g tiny hi")
    assert verdict.threshold == 0
    assert verdict.flagged is True
    assert "S1" not in verdict.category_scores
    assert verdict.generated_text
    shell.user_ns["mine"] = {"S1": "Rude Words"}
    assert list(run(shell, "%moderate -p mine hi").category_scores) == ["S1"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("%moderate", "no text"),
        ("%moderate --nonsense hi", "unrecognized arguments: --nonsense"),
        ("%moderate -t", "expected one argument"),
        ("%moderate -t high hi", "invalid float value: 'high'"),
        ("%moderate -t 2 hi", "no number in [0, 1]"),
        ("%moderate -g nobody hi", "no guard 'nobody' is resident"),
        ("%moderate -i nothing", "no variable 'nothing'"),
        ("%moderate -i shell_text extra", "both -i and text"),
        ("%moderate -x S99 hi", "no hazard 'S99'"),
        ("%moderate -p nonsense hi", "no variable 'nonsense'"),
        ("%%moderate stray\nhi", "the text goes below"),
        ("%%moderate -i x\nhi", "the text goes below"),
        ("%%moderate\n[{broken", "--text"),
        ("%%moderate\nuser: hi\nassistant:  ", "empty"),
        ("%guard frob", "invalid choice: 'frob'"),
        ("%guard load", "source"),
        ("%guard load /no/such", "no folder or GGUF file"),
        ("%guard load 'x", "No closing quotation"),
        ("%guard use nobody", "no guard 'nobody'"),
        ("%guard unload nobody", "no guard 'nobody'"),
        ("%guard threshold 7", "no number in [0, 1]"),
        ("%guard policy nonsense", "no variable 'nonsense'"),
        ("%guard cache burn", "invalid choice"),
    ],
)
def test_mistakes_are_one_line(shell: InteractiveShell, code: str, says: str) -> None:
    assert says in usage_error(shell, code)


def test_a_table_is_sent_to_the_accessor(shell: InteractiveShell) -> None:
    shell.user_ns["df"] = pd.DataFrame({"text": ["a"]})
    assert "df.guard.score()" in usage_error(shell, "%moderate -i df")
    shell.user_ns["some"] = ["fine", None]
    assert "some[1]: the conversation is missing" in usage_error(shell, "%moderate -i some")


def test_interrupts_go_through(shell: InteractiveShell, tiny: Guard) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    hook = tiny.model.register_forward_pre_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(shell, "%moderate a text that was never asked before")
    finally:
        hook.remove()


def test_help(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shell, "%moderate -h") is None
    assert "--exclude S6,S13" in capsys.readouterr().out
    assert run(shell, "%%moderate --help\nbody") is None
    assert run(shell, "%guard -h") is None
    assert "threshold" in capsys.readouterr().out
    inspected = shell.inspector._mime_format(shell.object_inspect_text("%moderate"))["text/plain"]
    assert "--generate" in inspected
    assert "%guard load SOURCE" in shell.object_inspect_text("%guard")


def test_guard_commands(shell: InteractiveShell, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "%guard")
    run(shell, "%guard status")
    assert capsys.readouterr().out.count("tiny") >= 2
    run(shell, "%guard threshold 0.25")
    assert session.threshold == 0.25
    run(shell, "%guard policy")
    assert "S9 Indiscriminate Weapons" in capsys.readouterr().out
    shell.user_ns["mine"] = {"S1": "Rude Words"}
    run(shell, "%guard policy mine")
    assert session.policy is not None
    run(shell, "%guard policy reset")
    assert session.policy is None
    run(shell, "%moderate cached")
    run(shell, "%guard cache")
    assert "1 scores cached" in capsys.readouterr().out
    run(shell, "%guard cache clear")
    assert len(session.cache) == 0
    assert run(shell, "%guard use tiny") is session.guards["tiny"]


def complete(shell: InteractiveShell, line: str) -> list[str]:
    with provisionalcompleter():
        return [c.text for c in shell.Completer.completions(line, len(line))]


def test_completion(shell: InteractiveShell) -> None:
    assert complete(shell, "%moderate -g ") == ["embedded", "tiny"]
    assert complete(shell, "%%moderate -g t") == ["tiny"]
    assert complete(shell, "%%moderate --gen") == ["--generate"]
    assert complete(shell, "%moderate -x S1") == ["S1", "S10", "S11", "S12", "S13", "S14"]
    assert complete(shell, "%guard ") == sorted(["load", "status", "use", "unload", "threshold", "policy", "cache"])
    assert complete(shell, "%guard use t") == ["tiny"]
    assert complete(shell, "%guard load emb") == ["embedded"]
    assert "--generate" not in complete(shell, "%moderate some text --gen")
    body = "%%moderate\n-g t"
    with provisionalcompleter():
        assert "tiny" not in [c.text for c in shell.Completer.completions(body, len(body))]


def snapshot(shell: InteractiveShell) -> tuple[Any, ...]:
    manager = shell.magics_manager
    formatters = {
        mime: (dict(f.type_printers), dict(f.deferred_printers))
        for mime, f in shell.display_formatter.formatters.items()
    }
    return (
        sorted(manager.magics["line"]),
        sorted(manager.magics["cell"]),
        sorted(manager.registry),
        list(shell.configurables),
        list(shell.Completer.custom_matchers),
        list(shell.input_transformer_manager.token_transformers),
        formatters,
    )


def test_unload_leaves_no_trace_and_reload_is_idempotent(session: Session) -> None:
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    shell.run_line_magic("load_ext", "autoreload")  # IPython makes its own extension magics on first use
    before = snapshot(shell)
    shell.run_line_magic("load_ext", "guard_magic")
    loaded = snapshot(shell)
    assert "moderate" in loaded[1]
    shell.run_line_magic("reload_ext", "guard_magic")
    again = snapshot(shell)
    assert again[:3] == loaded[:3]
    assert len(again[4]) == len(loaded[4]) == len(before[4]) + 1
    assert session.guards, "a reload keeps guards resident"
    shell.run_line_magic("unload_ext", "guard_magic")
    assert snapshot(shell) == before
    InteractiveShell.clear_instance()


def test_parsing() -> None:
    options = parse_moderate("--guard=a -t.5 --exclude S1,S2 -o v --show the  rest -g b")
    assert (options.guard, options.threshold, options.exclude, options.output) == ("a", 0.5, ("S1", "S2"), "v")
    assert options.text == "the  rest -g b"
    assert parse_moderate("").text == ""
