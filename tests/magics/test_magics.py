"""The magics, in a real IPython shell."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import shapes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import guard_magic
from guard_magic.errors import EmbeddedGuardWarning, GuardWarning, ScoringInterrupted
from guard_magic.guards.guard import Guard
from guard_magic.magics import parse_moderate
from guard_magic.magics.options import GUARD, LOAD_OPTIONS, HelpShown, parse_guard
from guard_magic.policy import BUILT_IN, LLAMA_GUARD_3, as_policy
from guard_magic.scoring.session import Session
from guard_magic.verdict import Verdict, Verdicts

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


@pytest.fixture
def session(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session()
    made.guards["tiny"] = tiny
    made.current = "tiny"
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", made)
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


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%moderate one \\\n  two\nafter = 1", "one    two"),
        ("%moderate is this \\\nallowed?\nafter = 1", "is this  allowed?"),
        ("%moderate a \\\nb \\\nc = {1}\nafter = 1", "a  b  c = {1}"),
        ("v = %moderate a \\\n  raise SystemExit\nafter = 1", "a    raise SystemExit"),
        ("if True:\n    v = %moderate a \\\n        b\n    after = 1", "a          b"),
        ("if True:\n    %moderate -o v a \\\n    b?\n    after = 1", "a      b?"),
        ("v = \\\n    %moderate a?\nafter = 1", "a?"),
        ("%moderate\\\na\nafter = 1", "a"),
        ("%moderate a \\\r\nb\nafter = 1", "a  b"),
        ("%moderate ends with one \\\n\nafter = 1", "ends with one"),
        ("after = 1\n%moderate ends with one \\", "ends with one \\"),
        ("%moderate a\u2028raise SystemExit\nafter = 1", "a\u2028raise SystemExit"),
        ("v = %moderate a\x0cb\x85c?\nafter = 1", "a\x0cb\x85c?"),
    ],
)
def test_a_continued_line_is_one_line(shell: InteractiveShell, code: str, said: str) -> None:
    """As IPython joins it; before, the second line ran as Python."""
    run(shell, code if "v" in code else code.replace("%moderate", "v = %moderate"))
    assert shell.user_ns["v"].conversation.assessed.content == said
    assert shell.user_ns["after"] == 1


@pytest.mark.parametrize(
    "code",
    [
        "%time %moderate {}",
        "v = %time %moderate {}",
        "%time v = %moderate {}",
        "%timeit -n1 -r1 %moderate -o v {}",
        "%timeit -n1 -r1 -q %moderate -o v {}",
        "%%time\n%moderate -o v {}",
        "x = 1; %moderate -o v {}",
        "x = [1, 2]; v = %moderate {}",
        "if True: %moderate -o v {}",
        "for x in (1,): v = %moderate {}",
        "v: object = %moderate {}",
        "d = {{}}; d[';'] = %moderate -o v {}",
        "def f():\n    return %moderate -o v {}\nf()",
        "if True:\n    %time %moderate -o v {}\n    x = 3",
    ],
)
@pytest.mark.parametrize("text", ["Is this allowed?", "what's up?", "a; b = c?", "no question"])
def test_what_stands_before_changes_nothing(shell: InteractiveShell, code: str, text: str) -> None:
    """Such a line that ended in "?" was help on its last word, and nothing was scored."""
    result = run(shell, code.format(text))
    assert shell.user_ns.get("v", result).conversation.assessed.content == text


@pytest.mark.parametrize(
    "code",
    [
        "%moderate?",
        "%%moderate?",
        "%time %moderate?",
        "moderate?",
        "x = 5 %moderate",
        "x = (5\n %moderate )",
        "print('%moderate hi?')",
        "!echo %moderate hi",
        "%guard status",
        "%time 5 %moderate",
        "x = [i for i in range(3)\n %moderate ]",
    ],
)
def test_other_lines_are_ipython_s(shell: InteractiveShell, code: str) -> None:
    ours = shell.transform_cell(code)
    shell.run_line_magic("unload_ext", "guard_magic")
    assert ours == shell.transform_cell(code)
    shell.run_line_magic("load_ext", "guard_magic")


def calls(shell: InteractiveShell, code: str) -> list[tuple[str, ...]]:
    """Return the magics that a cell calls, and what it does else, without running them."""
    found: list[tuple[str, ...]] = []

    class Shell:
        def run_line_magic(self, name: str, line: str) -> None:
            found.append((name, line))

    exec(compile(shell.transform_cell(code), "cell", "exec"), {"get_ipython": Shell, "did": found.append})
    return found


LINES = st.text(st.characters(exclude_characters="\n\r\\", exclude_categories=["Cs"])).filter(lambda t: t[:1] != "?")


@given(text=LINES, before=st.sampled_from(["", "v = ", "did(1); ", "if 1: "]), tail=st.booleans())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_verbatim(shell: InteractiveShell, text: str, before: str, tail: bool) -> None:
    code = f"{before}%moderate {text}" + ("\ndid(2)" if tail else "")
    expected = [("moderate", text.strip())] + ([2] if tail else [])
    assert calls(shell, code) == ([1, *expected] if "did" in before else expected)


@given(pieces=st.lists(LINES.filter(lambda t: "?" not in t), min_size=2, max_size=4))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_continued_line_is_run(shell: InteractiveShell, pieces: list[str]) -> None:
    whole = " ".join(pieces)
    assert calls(shell, "%moderate " + "\\\n".join(pieces) + "\ndid(2)") == [("moderate", whole.strip()), 2]


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
        ("%moderate -t 2 hi", "is not a number in [0, 1]"),
        ("%moderate -g nobody hi", "no guard 'nobody' is resident"),
        ("%moderate -i nothing", "no variable 'nothing'"),
        ("%moderate -i shell_text extra", "both -i and text"),
        ("%moderate -x S99 hi", "no hazard 'S99'"),
        ("%moderate -x profanity hi", "no hazard 'profanity'"),
        ("%moderate -p nonsense hi", "no policy 'nonsense'"),
        ("%moderate -p none.yaml hi", "policy file 'none.yaml': it cannot be read: No such file"),
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
        ("%guard threshold 7", "is not a number in [0, 1]"),
        ("%guard policy nonsense", "no policy 'nonsense': neither a built-in one (%guard policy list), nor a variable"),
        ("%guard policy none.json", "policy file 'none.json': it cannot be read: No such file"),
        ("%guard policy a b", "unrecognized arguments: b"),
        ("%guard load x --quantization int3", "invalid choice: 'int3'"),
        ("%guard load x --quantization", "expected one argument"),
        ("%guard cache burn", "invalid choice"),
        ("%moderate -x -- window S99", "-x: a value is missing"),
        ("%moderate --exclude=-- window", "--exclude: a value is missing"),
        ("%moderate -g -- hi", "-g: a value is missing"),
        ("%moderate -t -- hi", "-t: a value is missing"),
        ("%moderate -o --", "-o: a value is missing"),
        ("%moderate --guard= hi", "-g/--guard: a value is missing"),
        ("%moderate --thresh .5 hi", "unrecognized arguments: --thresh"),
        ("%moderate -t nan hi", "threshold nan is not a number"),
        ("%moderate -t 50% hi", "invalid float value: '50%'"),
        ("%moderate -x S6, S13 how do I", "'S6,' lacks a code; codes are joined by commas without spaces"),
        ("%moderate -xS6, S13 how do I", "lacks a code"),
        ("%moderate --exclude=S6, S13 how", "lacks a code"),
        ("%moderate -x S6 ,S13 how do I", "',S13 how do I' follows -x"),
        ("%moderate -x S6 , S13 how do I", "follows -x"),
        ("%moderate -x S6 S13 how do I", "'S13' follows -x and is a hazard's code"),
        ("%moderate -x S6 S13, how do I", "'S13' follows -x"),
        ("%moderate -x S6,,S13 how", "lacks a code"),
        ("%moderate -x , how", "lacks a code"),
        ("%%moderate -x S6, S13\nhi", "lacks a code"),
        ("%%moderate -x S6 S13\nhi", "unexpected 'S13'"),
        ("%moderate -o class hi", "'class' is not a variable name"),
        ("%moderate -o None hi", "is not a variable name"),
        ("%moderate -o a.b hi", "is not a variable name"),
        ("%moderate -o= hi", "is not a variable name"),
        ("%moderate -o --show hi", "'--show' is not a variable name"),
        ("%moderate \u2014show hi", "begins with another dash"),
        ("%moderate \u2013t .5 hi", "begins with another dash"),
        ("%moderate \u2212\u2212threshold=.5 hi", "begins with another dash"),
        ("%moderate --x\ud800 hi", "unrecognized arguments: --x\\ud800"),
        ("%moderate -i a.b", "no variable 'a'"),
        ("%%moderate", "the cell body is empty"),
        ("%%moderate -x", "the cell body is empty"),
        ("%guard load --name -- x", "expected one argument"),
        ("%guard load x --name=--", "--name: a value is missing"),
        ("%guard load x\\", "No escaped character"),
    ],
)
def test_mistakes_are_one_line(shell: InteractiveShell, code: str, says: str) -> None:
    assert says in usage_error(shell, code)


def test_what_only_looks_like_options_is_text(shell: InteractiveShell) -> None:
    shell.user_ns["q"] = 1
    for text, said in {
        "-x S6 -- S13 how": "S13 how",
        "-x S6 S99 how": "S99 how",
        "-x S6 -t .5 S13 how": "S13 how",
        "-- \u2014show me": "\u2014show me",
        "\u2014 she said": "\u2014 she said",
        "\u2013threshold-free": "\u2013threshold-free",
        "-- -- a": "-- a",
        "'-x' is an option": "'-x' is an option",
    }.items():
        assert run(shell, f"%moderate {text}").conversation.assessed.content == said
    verdict = run(shell, "%moderate -x S6 -x S13,S1 how")
    assert not {"S1", "S6", "S13"} & set(verdict.category_scores), "both lists count"


def test_names_are_python_s(shell: InteractiveShell) -> None:
    """Python reads ﬁt as fit: a result under the other spelling could not be reached."""
    run(shell, "%moderate -o ﬁt hi")
    assert isinstance(run(shell, "ﬁt"), Verdict)
    run(shell, "ﬂaws = {'S1': 'Rude Words'}")
    assert list(run(shell, "%moderate -p ﬂaws hi").category_scores) == ["S1"]
    run(shell, "ﬁt_text = 'a b'")
    assert run(shell, "%moderate -i ﬁt_text").conversation.assessed.content == "a b"


WORDS = """
a , = -- - ? {q} $q ' S6 S6, 0.5 nan ﬁ user window --text --show -h -x -xS6 --exclude= --exclude=-- -t -t= --threshold
-g -p -i -o -oclass --assess --overflow load use policy cache threshold --name --name=-- --compile --min-verdict-mass
"""


@given(words=st.lists(st.sampled_from([*WORDS.split(), "\ud800"]) | st.text(max_size=5), max_size=7))
@settings(deadline=None, max_examples=500)
def test_a_line_is_read_or_a_usage_error(words: list[str]) -> None:
    line = " ".join(words)
    for parse in (parse_moderate, parse_guard):
        try:
            read = parse(line)
        except HelpShown:
            continue
        except UsageError as error:
            str(error).encode()
            continue
        if parse is parse_moderate:
            assert all(isinstance(code, str) and code.strip() for code in read.exclude)
            assert isinstance(read.guard, str | None)
            assert read.output is None or read.output.isidentifier()
        else:
            assert not any(isinstance(value, list) for value in vars(read).values())


def test_faults_of_ours_keep_their_traceback(
    shell: InteractiveShell, tiny: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ValueError("a fault within")

    hook = tiny.model.register_forward_pre_hook(broken)
    try:
        with pytest.raises(ValueError, match="a fault within") as caught:
            run(shell, "%moderate a text that was never asked before, either")
    finally:
        hook.remove()
    assert type(caught.value) is ValueError
    assert len(caught.traceback) > 3


@pytest.mark.parametrize(
    "code", ["%moderate -t 2 hi", "%moderate -x S99 hi", "%guard use nobody", "%%moderate\n[{broken"]
)
def test_no_message_has_two_names(shell: InteractiveShell, code: str) -> None:
    assert not re.match(r"\w*Error", usage_error(shell, code))


def test_the_embedded_guard_refuses_a_policy_without_a_traceback(shell: InteractiveShell) -> None:
    shell.user_ns["mine"] = {"S1": "Rude Words"}
    assert "policy" in usage_error(shell, "%moderate -g embedded -p mine hi")


@pytest.mark.parametrize("code", ["%moderate {q}", "%moderate $q", "%moderate ${q}", "%moderate q", "%%moderate\n$q\n"])
@pytest.mark.parametrize("value", ["a text", CHAT, pd.Series(["a"])])
def test_a_text_that_names_a_variable_is_scored_and_said(shell: InteractiveShell, code: str, value: object) -> None:
    shell.user_ns["q"] = value
    with pytest.warns(GuardWarning, match="is scored as it stands. To score what a variable holds: %moderate -i q"):
        verdict = run(shell, code)
    assert verdict.conversation.assessed.content == code.replace("%%moderate", "%moderate")[10:].strip()


def test_texts_that_name_parts_of_variables(shell: InteractiveShell) -> None:
    shell.user_ns["q"] = {"a": 1}
    for text in ("{q['a']}", "$q.a", "{q.a}", "{ q }"):
        with pytest.warns(GuardWarning, match="-i q"):
            run(shell, f"%moderate {text}")


@pytest.mark.parametrize(
    "text", ["{nothing}", "$nothing", "say {q}", "$q is mine", "quit", "In", "pd", "{q} {q}", "{}", "$", "--text {q}"]
)
def test_other_texts_say_nothing(shell: InteractiveShell, text: str) -> None:
    shell.user_ns.update(q="a text", pd=pd)
    assert run(shell, f"%moderate {text}").conversation.assessed.content == text.removeprefix("--text ")


def test_loading_is_said_once(
    shell: InteractiveShell, session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.guards.clear()
    session.current = None
    with pytest.warns(EmbeddedGuardWarning):
        run(shell, "%moderate hi")
    run(shell, "%moderate hi, again")
    assert capsys.readouterr().err.count("loading guard embedded …\n") == 1


@pytest.mark.parametrize("use_jedi", [False, True])
def test_completion_lists_public_names(shell: InteractiveShell, use_jedi: bool) -> None:
    shell.Completer.use_jedi = use_jedi
    run(shell, "import guard_magic")
    assert {text.lstrip(".") for text in complete(shell, "guard_magic.")} == set(guard_magic.__all__)


def test_the_message_assessed_is_chosen(shell: InteractiveShell) -> None:
    body = "user: hello there\nassistant: good morning"
    assert run(shell, f"%%moderate\n{body}").assessed_role == "assistant"
    verdict = run(shell, f"%%moderate --assess user\n{body}")
    assert verdict.assessed_role == "user"
    assert len(verdict.conversation) == 1
    assert complete(shell, "%moderate --assess u") == ["user"]
    assert complete(shell, "%moderate --overflow w") == ["window"]


def test_what_is_too_long_is_cut_on_request(
    shell: InteractiveShell, tiny: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.model.config, "max_position_embeddings", 400)
    text = "word " * 400
    assert "too long" in run(shell, f"%moderate {text}").error
    for how, says in (("truncate", "left out"), ("window", "window")):
        with pytest.warns(GuardWarning, match="too long"):
            verdict = run(shell, f"%moderate --overflow {how} {text}")
        assert verdict.unsafe_score is not None
        assert says in verdict.cut
        assert "only a part was read" in shell.display_formatter.format(verdict)[0]["text/plain"]


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
        with pytest.raises(ScoringInterrupted, match="nothing is kept yet: run the cell again"):
            run(shell, "%moderate a text that was never asked before")
    finally:
        hook.remove()


def test_help(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shell, "%moderate -h") is None
    assert "--exclude S6,S13" in capsys.readouterr().out
    assert run(shell, "%%moderate --help\nbody") is None
    for alone in ("%%moderate -h", "%%moderate --help", "%%moderate -x S1 -h\n", "%%moderate -h\n\n"):
        capsys.readouterr()
        assert run(shell, alone) is None
        assert "--exclude S6,S13" in capsys.readouterr().out, alone
    assert run(shell, "%guard -h") is None
    assert "threshold" in capsys.readouterr().out
    inspected = shell.inspector._mime_format(shell.object_inspect_text("%moderate"))["text/plain"]
    assert "--generate" in inspected
    assert run(shell, "%guard policy -h") is None
    assert "zero-shot" in capsys.readouterr().out
    assert run(shell, "%guard load --help") is None
    assert "--quantization {int8,int4,fp8}" in capsys.readouterr().out
    assert "--quantization int8|int4|fp8" in shell.object_inspect_text("%guard")
    assert "%guard load SOURCE" in shell.object_inspect_text("%guard")


def test_guard_commands(shell: InteractiveShell, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "%guard")
    run(shell, "%guard status")
    assert capsys.readouterr().out.count("tiny") >= 2
    run(shell, "%guard threshold 0.25")
    assert session.threshold == 0.25
    run(shell, "%moderate cached")
    run(shell, "%guard cache")
    assert "1 scores cached" in capsys.readouterr().out
    run(shell, "%guard cache clear")
    assert len(session.cache) == 0
    assert run(shell, "%guard use tiny") is session.guards["tiny"]


YAML = """\
name: house rules
hazards:
  rude: Rude Words
  ads:
    name: Advertising
    description: |
      Should not
      - sell things
"""


@pytest.mark.filterwarnings("ignore:guard 'tiny' is current and cannot be asked about the session's policy")
def test_guard_policy_shows_what_is_asked_and_whose(
    shell: InteractiveShell, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shell, "%guard policy")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "policy llama-guard-3, the own policy of guard tiny"
    assert said[1] == "  S1   Violent Crimes"
    assert said[14:] == ["  S14  Code Interpreter Abuse"]
    shell.user_ns["mine"] = {"rude": {"name": "Rude Words", "description": "Insults.\nSlurs."}, "x": "X"}
    run(shell, "%guard policy mine")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "policy custom, set for this session (%guard policy reset: each guard's own)"
    assert said[1:] == ["  rude  Rude Words  Insults. …", "  x     X"]
    assert session.policy == as_policy(shell.user_ns["mine"])
    run(shell, "%guard policy reset")
    assert session.policy is None
    assert capsys.readouterr().out.startswith("policy llama-guard-3, the own policy of guard tiny")
    session.current = None
    run(shell, "%guard policy")
    assert capsys.readouterr().out.startswith("policy llama-guard-3, as no guard is loaded yet")


@pytest.mark.filterwarnings("ignore:guard 'tiny' is current and cannot be asked about the session's policy")
@pytest.mark.parametrize("name", list(BUILT_IN))
def test_guard_policy_takes_every_built_in_one(
    shell: InteractiveShell, session: Session, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    shell.user_ns["shieldgemma"] = shell.user_ns["qwen3guard"] = {"S1": "another"}
    run(shell, f"%guard policy {name}")
    assert session.policy == BUILT_IN[name]
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(BUILT_IN[name].codes)
    assert max(map(len, lines)) <= 140
    assert all(category.name in line for category, line in zip(BUILT_IN[name], lines, strict=True))


def test_guard_policy_list(shell: InteractiveShell, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "%guard policy list")
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == list(BUILT_IN)
    assert said[0].split() == ["llama-guard-1", "6", "hazards:", "O1", "…", "O6"]
    assert said[2].split() == ["llama-guard-3", "14", "hazards:", "S1", "…", "S14"]
    assert session.policy is None


@pytest.mark.filterwarnings("ignore:guard 'tiny' is current and cannot be asked about the session's policy")
def test_policies_of_variables_and_files(
    shell: InteractiveShell, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("house rules.yaml").write_text(YAML, encoding="utf-8")
    Path("more.json").write_text('{"S1": "Spam"}', encoding="utf-8")
    run(shell, "%guard policy 'house rules.yaml'")
    assert session.policy is not None
    assert session.policy.name == "house rules"
    assert session.policy.category("ads").description == "Should not\n- sell things"
    shell.user_ns["frame"] = session.policy.to_frame()
    run(shell, "%guard policy frame")
    assert session.policy.name == "custom"
    assert session.policy.codes == ("rude", "ads")
    assert list(run(shell, "%moderate -p more.json hi").category_scores) == ["S1"]
    assert session.policy.codes == ("rude", "ads"), "-p is for one call"
    shell.user_ns["less"] = LLAMA_GUARD_3.only(["S1", "S2", "S3"])
    assert list(run(shell, "%moderate -p less -x S2 hi").category_scores) == ["S1", "S3"]
    assert len(run(shell, "%moderate -p llama-guard-4 hi").category_scores) == 14


def test_a_bad_policy_changes_nothing(shell: InteractiveShell, session: Session, tmp_path: Path) -> None:
    run(shell, "%guard policy llama-guard-3-1b")
    path = tmp_path / "p.yaml"
    path.write_text("S1: Spam\nS1: Ads\n", encoding="utf-8")
    shell.user_ns["number"] = 3
    assert "it has 'S1' twice" in usage_error(shell, f"%guard policy {path}")
    assert "no policy 3" in usage_error(shell, "%guard policy number")
    assert session.policy is BUILT_IN["llama-guard-3-1b"]


def test_quantization_reaches_the_loader(
    shell: InteractiveShell, session: Session, tiny: Guard, tmp_path: Path
) -> None:
    """The folder is loaded for real, with quantized weights; random weights answer with no verdict to speak of."""
    folder = shapes.save_guard(tmp_path / "small", tiny.model, tiny.tokenizer)
    run(shell, f"%guard load {folder} --name small --quantization int8 --min-verdict-mass 0")
    assert session.guards["small"].revision.endswith("-int8")
    assert session.guards["small"].nbytes < tiny.nbytes


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
    assert complete(shell, "%moderate -p llama-guard-3") == ["llama-guard-3", "llama-guard-3-1b"]
    assert complete(shell, "%guard policy ") == sorted([*BUILT_IN, "list", "reset"])
    assert complete(shell, "%guard policy sh") == ["shieldgemma"]
    assert complete(shell, "%moderate -p granite-guardian -x s") == ["sexual_content", "social_bias"]
    assert complete(shell, "%guard load some/guard --qu") == ["--quantization"]
    assert complete(shell, "%guard load some/guard --quantization int") == ["int4", "int8"]
    assert complete(shell, "%guard load some/guard --quantization f") == ["fp8"]
    shell.user_ns["policy_of_mine"] = {"S1": "Spam"}
    assert "policy_of_mine" in complete(shell, "%guard policy policy_of"), "variables are IPython's to complete"
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
        list(shell.input_transformer_manager.line_transforms),
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


def test_load_options_that_are_completed_are_those_that_are_read() -> None:
    values = {"--quantization": ["int8"], "--compile": []}
    words = [word for option in LOAD_OPTIONS for word in (option, *values.get(option, ["1"]))]
    read = GUARD.parse_args(["load", "some/guard", *words])
    given = {option.removeprefix("--").replace("-", "_") for option in LOAD_OPTIONS}
    assert {name for name in vars(read) if name not in ("help", "command", "source")} == given


@pytest.mark.parametrize(
    ("value", "roles"),
    [
        ({"messages": CHAT}, [("user", "assistant")]),
        ([{"messages": CHAT}, {"conversations": CHAT[:1]}], [("user", "assistant"), ("user",)]),
        ([list(message.items()) for message in CHAT], [("user", "assistant")]),
        ({"role": ["user", "assistant"], "content": ["hi", "hello"]}, [("user", "assistant")]),
        ([{"type": "reasoning", "summary": []}, *CHAT], [("user", "assistant")]),
    ],
)
@pytest.mark.filterwarnings("ignore:messages that do not fit")
def test_a_variable_holds_other_forms_of_conversations(
    shell: InteractiveShell, value: object, roles: list[tuple[str, ...]]
) -> None:
    shell.user_ns["v"] = value
    found = run(shell, "%moderate -i v")
    verdicts = [found] if isinstance(found, Verdict) else list(found)
    assert [verdict.conversation.roles for verdict in verdicts] == roles


def test_texts_that_hide_conversations_are_said(shell: InteractiveShell) -> None:
    shell.user_ns["texts"] = ["hi", "user: hi\nassistant: hello"]
    shell.user_ns["series"] = pd.Series(shell.user_ns["texts"], name="said")
    for line in ("-i texts", "-i series"):
        with pytest.warns(GuardWarning, match="1 of 2 texts read like conversations"):
            run(shell, f"%moderate {line}")
    with pytest.warns(GuardWarning, match="the text reads like a conversation"):
        run(shell, '%moderate [{"role": "user", "content": "hi"}]')


def test_a_line_like_an_unknown_marker_is_a_usage_error(shell: InteractiveShell) -> None:
    told = usage_error(shell, "%%moderate\nuser: hi\nwizard: hello")
    assert "line 2 looks like a marker of an unknown speaker: 'wizard'" in told
    assert "--text" in told
    assert run(shell, "%%moderate --text\nuser: hi\nwizard: hello").assessed_role == "user"


@pytest.mark.parametrize("body", ["Ann: hi\nBen: x y\nAnn: why?", "Support Agent: hello there", "Q: hi\nA: hello"])
def test_a_cell_that_may_be_a_conversation_says_so(shell: InteractiveShell, body: str) -> None:
    with pytest.warns(GuardWarning, match="reads like a conversation and is scored as one user message.*--text"):
        verdict = run(shell, f"%%moderate\n{body}")
    assert verdict.conversation.roles == ("user",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(shell, f"%%moderate --text\n{body}").conversation.assessed.content == body


@pytest.mark.parametrize("body", ["Model: Golf", "AI: friend or foe?", "System: Windows 10"])
def test_a_text_that_only_begins_like_a_turn_names_the_way_out(shell: InteractiveShell, body: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run(shell, f"%%moderate\n{body}")
            told = " ".join(str(one.message) for one in caught)
        except UsageError as error:
            told = str(error)
    assert "--text" in told
    assert run(shell, f"%%moderate --text\n{body}").conversation.assessed.content == body


def test_a_part_of_a_variable_is_scored(shell: InteractiveShell) -> None:
    shell.user_ns["chats"] = [["skip"], [{"role": "user", "content": "hi"}]]
    shell.user_ns["i"] = 1
    for name in ("chats[1]", "chats[-1]", "chats[i]"):
        assert run(shell, f"%moderate -i {name}").conversation.assessed.content == "hi"
    shell.user_ns["frame"] = pd.DataFrame({"messages": [shell.user_ns["chats"][1]]})
    assert run(shell, "%moderate -i frame.messages[0]").conversation.assessed.content == "hi"
    assert run(shell, '%moderate -i frame["messages"].iloc[0]').conversation.assessed.content == "hi"
    assert "IndexError" in usage_error(shell, "%moderate -i chats[7]")
    assert "assign it to a variable first" in usage_error(shell, "%moderate -i len(chats)")
    assert "assign it to a variable first" in usage_error(shell, "%moderate -i chats[0+1]")
    assert "no variable 'nothing'" in usage_error(shell, "%moderate -i nothing[0]")


def test_a_threshold_from_a_report_or_a_choice(
    shell: InteractiveShell, session: Session, tiny: Guard, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(80)]}).guard.score(progress=False)
    unsafe = frame["unsafe_score"] > frame["unsafe_score"].median()
    report = frame.assign(label=unsafe).guard.evaluate(n_bootstrap=200)
    shell.user_ns.update(report=report, choice=report.threshold(fpr=0.3), number=0.5)
    run(shell, "%guard threshold --from choice")
    assert session.threshold == shell.user_ns["choice"].threshold
    assert f"chosen for scores of guard {tiny.label}" in capsys.readouterr().out
    assert "not tiny@" not in usage_error(shell, "%moderate -x S1 hi")
    assert "was chosen for policy" in usage_error(shell, "%moderate -x S1 hi")
    assert run(shell, "%moderate -x S1 -t 0.3 hi").threshold == 0.3
    run(shell, "%guard threshold --from report --recall 0.8")
    assert session.threshold == report.threshold(recall=0.8).threshold
    run(shell, "%guard threshold 0.5")
    assert session.threshold_for is None
    assert run(shell, "%moderate -x S1 hi").threshold == 0.5
    assert "from which a threshold is to be chosen" in usage_error(shell, "%guard threshold --from report")
    assert "leave --fpr out" in usage_error(shell, "%guard threshold --from choice --fpr .1")
    assert "neither a Choice nor a Report" in usage_error(shell, "%guard threshold --from number")
    assert "a number, or --from VAR" in usage_error(shell, "%guard threshold 0.3 --from choice")
    assert "a number, or --from VAR" in usage_error(shell, "%guard threshold --fpr .1")
    assert "you need about" in usage_error(shell, "%guard threshold --from report --fpr .01")
    assert session.threshold == 0.5


def test_reports_are_shown_as_cards(shell: InteractiveShell, session: Session) -> None:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(20)]}).guard.score(progress=False)
    frame = frame.assign(label=[True, False] * 10, label_a=[True, False] * 10, label_b=[True] * 20, other=0.3)
    report = frame.guard.evaluate(n_bootstrap=0)
    shown = {
        "report": report,
        "threshold": report.threshold(best="f1"),
        "comparison": frame.guard.compare(["unsafe_score", "other"], n_bootstrap=0),
        "agreement": frame.guard.agreement(labels=["label_a", "label_b"], n_bootstrap=0),
    }
    for name, value in shown.items():
        formats, _ = shell.display_formatter.format(value)
        assert f'aria-label="{name}"' in formats["text/html"], name
        assert all(len(line) <= 80 for line in formats["text/plain"].splitlines()), name
        assert len(formats["text/plain"].splitlines()) > 1, name
    formats, _ = shell.display_formatter.format([report])
    assert len(formats["text/plain"].splitlines()) == 1
    picture, _ = shell.display_formatter.format(report.plot())
    assert picture["image/png"]
