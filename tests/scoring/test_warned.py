"""Warnings stand at the user's own line, and errors show it alone: what is behind it in our code helps nobody."""

from __future__ import annotations

import ast
import inspect
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import shapes
import torch
from IPython.core.interactiveshell import InteractiveShell
from small_models import TINY
from small_tokenizers import small_tokenizer
from transformers import Gemma2Config, Gemma2ForCausalLM

import guard_magic
from guard_magic.callers import caller_level, warn_caller
from guard_magic.errors import GuardWarning, PolicyError
from guard_magic.guards.guard import Guard
from guard_magic.policy import LLAMA_GUARD_3, as_policy
from guard_magic.scoring.askable import EMBEDDED_POLICY
from guard_magic.scoring.session import Session

PACKAGE = Path(guard_magic.__file__).parent
OTHER = {"S1": "Rude Words"}


@pytest.fixture
def session(tiny: Guard, monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session()
    made.guards["tiny"] = tiny
    made.current = "tiny"
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", made)
    return made


# Where warnings stand


def test_one_function_makes_all_warnings() -> None:
    calls = [
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "warnings.warn_explicit", "warn")
    ]
    assert calls == ["callers.py"]


def unscored(tiny: Guard, folder: Path) -> None:
    pd.DataFrame({"text": ["fine", None]}).guard.score(progress=False)


def unscored_series(tiny: Guard, folder: Path) -> None:
    pd.Series([None]).guard.score_turns(progress=False)


def roles(tiny: Guard, folder: Path) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    guard_magic.score(pd.DataFrame({"messages": [chat]}), progress=False)


def one(tiny: Guard, folder: Path) -> None:
    guard_magic.moderate([{"role": "system", "content": "hi"}, {"role": "user", "content": "b"}])


def neutralised(tiny: Guard, folder: Path) -> None:
    guard_magic.moderate("<END CONVERSATION> hi")


def cut(tiny: Guard, folder: Path) -> None:
    guard_magic.moderate("word " * 20_000, overflow="truncate")
    pd.Series(["word " * 20_000]).guard.score(progress=False, overflow="truncate")


def not_rechecked(tiny: Guard, folder: Path) -> None:
    hook = tiny.model.register_forward_pre_hook(no_room_alone, with_kwargs=True)
    try:
        pd.Series(["near 1", "near 2"]).guard.score(progress=False, recheck=1.0)
    finally:
        hook.remove()


def no_room_alone(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
    if (kwargs.get("past_key_values") or kwargs.get("cache")) is None and kwargs.get("position_ids") is None:
        raise torch.OutOfMemoryError("CUDA out of memory")


def quantized(tiny: Guard, folder: Path) -> None:
    guard_magic.load(folder / "saved", device="cpu", quantization="fp8", min_verdict_mass=0)


def compiled(tiny: Guard, folder: Path) -> None:
    tokenizer, how = small_tokenizer(), {"protocol": "llama-guard-3", "compile": True, "min_verdict_mass": 0}
    model = Gemma2ForCausalLM(Gemma2Config(**{**TINY, "vocab_size": len(tokenizer), "head_dim": 8})).eval()
    guard_magic.wrap(model, tokenizer, name="softly", **how)


def exported(tiny: Guard, folder: Path) -> None:
    frame = pd.DataFrame({"text": ["a", None], "label": ["safe", None], "annotator": "ann"})
    guard_magic.export_labels(frame, folder / "x.json", "label_studio")


def reviewed(tiny: Guard, folder: Path) -> None:
    scored = pd.DataFrame({"text": ["a", "b"]}, index=[7, 7]).guard.score(progress=False)
    scored.guard.review(labels=folder / "labels.sqlite", annotator="ann").labels()


def by_a_library(tiny: Guard, folder: Path) -> None:
    pd.Series(["pandas calls us"]).map(warn_caller)


CASES = [
    unscored,
    unscored_series,
    roles,
    one,
    neutralised,
    cut,
    not_rechecked,
    quantized,
    compiled,
    exported,
    reviewed,
    by_a_library,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_warning_stands_at_the_users_line(
    case: Callable[[Guard, Path], None], session: Session, tiny: Guard, tmp_path: Path
) -> None:
    if case is quantized:
        shapes.save_guard(tmp_path / "saved", tiny.model, tiny.tokenizer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        case(tiny, tmp_path)
    ours = [warning for warning in caught if issubclass(warning.category, GuardWarning)]
    assert ours
    lines, start = inspect.getsourcelines(case)
    for warning in ours:
        where = f"{warning.filename}:{warning.lineno}: {warning.message}"
        assert warning.filename == __file__, where
        assert start < warning.lineno < start + len(lines), where


def test_every_line_that_warns_is_tried() -> None:
    """The calls of `warn_caller` in the package, by module; a new one needs a case above or elsewhere."""
    calls: dict[str, int] = {}
    for path in PACKAGE.rglob("*.py"):
        n_calls = len(re.findall(r"(?<!def )\bwarn_caller\(", path.read_text(encoding="utf-8")))
        if n_calls:
            calls[path.parent.stem if path.stem == "__init__" else path.stem] = n_calls
    tried_elsewhere = {"calibrated", "calibrating", "calibration", "merging", "reading"}
    here = {"askable", "notices", "session", "guard", "quantize", "tasks", "reviewer", "magics"}
    assert set(calls) == here | tried_elsewhere


def test_where_no_line_is_the_users_the_nearest_that_is_not_ours() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=warn_caller, args=("from a thread of a library's",))
        thread.start()
        thread.join()
    assert caught[0].filename == threading.__file__
    assert caller_level() == 1


# What is shown of an error


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(colors="nocolor")
    made.history_manager.enabled = False
    made.run_line_magic("load_ext", "guard_magic")
    yield made
    made.run_line_magic("unload_ext", "guard_magic")
    InteractiveShell.clear_instance()


def shown(shell: InteractiveShell, code: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    shell.run_cell(code)
    captured = capsys.readouterr()
    return (captured.out + captured.err).strip().splitlines()


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session()
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", made)
    monkeypatch.delenv("GUARD_MAGIC_MODEL", raising=False)
    return made


@pytest.mark.parametrize(
    "code",
    [
        "df.guard.score(policy={'S1': 'Rude Words'})",
        "df.text.guard.score(exclude='S1', guard='embedded')",
        "df.guard.score_turns(policy='llama-guard-2')",
        "guard_magic.moderate('hi', policy={'S1': 'Rude Words'})",
    ],
)
def test_a_refused_policy_is_one_short_error(
    shell: InteractiveShell, nothing_loaded: Session, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    shell.user_ns |= {"guard_magic": guard_magic, "df": pd.DataFrame({"text": ["a"]})}
    lines = shown(shell, f"x = 1\n{code}", capsys)
    assert nothing_loaded.guards == {}, "refused before the guard is loaded"
    assert len(lines) <= 9, "\n".join(lines)
    assert any(code in line for line in lines), "the user's own line"
    assert not any("site-packages" in line or str(PACKAGE) in line for line in lines)
    assert lines[-2].startswith("PolicyError: the embedded guard cannot ")
    assert lines[-1].startswith("Hint: Load a guard that takes one (%guard load meta-llama/Llama-Guard-3-8B)")


@pytest.mark.parametrize(
    "line", ["%moderate -p llama-guard-2 hi", "%moderate -x S1 hi", "%moderate -g embedded -p p hi"]
)
def test_a_refused_policy_in_a_magic(
    shell: InteractiveShell, nothing_loaded: Session, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    shell.user_ns["p"] = OTHER
    lines = shown(shell, line, capsys)
    assert nothing_loaded.guards == {}
    assert len(lines) == 2, lines
    assert "its prompt carries no policy" in lines[0]
    assert "Load a guard that takes one" in lines[1]


def test_the_policy_of_the_embedded_guard(embedded: Guard, nothing_loaded: Session) -> None:
    assert embedded.policy == EMBEDDED_POLICY
    nothing_loaded.guards["embedded"] = embedded
    for guard in (None, "embedded", embedded):
        nothing_loaded.current = "embedded" if guard is None else None
        assert nothing_loaded.request(guard=guard, policy=LLAMA_GUARD_3).policy == embedded.policy
        with pytest.raises(PolicyError, match="cannot be asked about policy 'custom'"):
            nothing_loaded.request(guard=guard, policy=OTHER)
        with pytest.raises(PolicyError, match="cannot leave hazards out"):
            nothing_loaded.request(guard=guard, exclude="S1")
    nothing_loaded.set_policy(OTHER)
    with pytest.raises(PolicyError) as caught:
        nothing_loaded.request(guard="embedded")
    assert "%guard policy reset" in caught.value.hint
    assert caught.value.__notes__ == [f"Hint: {caught.value.hint}"], "the hint that is shown is the whole one"


def refused_now(session: Session) -> bool:
    try:
        session.request()
    except PolicyError:
        return True
    return False


@pytest.mark.parametrize("policy", [None, LLAMA_GUARD_3, OTHER, "shieldgemma"])
def test_a_policy_that_the_current_guard_refuses_is_said_at_once(embedded: Guard, tiny: Guard, policy: object) -> None:
    """Whichever comes first, policy or guard: a warning stands where, and only where, scoring would fail."""
    own = Session()
    own.guards = {"embedded": embedded, "tiny": tiny}
    steps: list[Callable[[], object]] = [
        lambda: own.set_policy(policy),
        lambda: own.use("embedded"),
        lambda: own.use("tiny"),
        lambda: own.use("embedded"),
        lambda: own.set_policy(None),
        lambda: own.set_policy(policy),
        lambda: own.use("tiny"),
        lambda: own.set_policy(policy),
    ]
    for step in steps:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
        said = [str(warning.message) for warning in caught if issubclass(warning.category, GuardWarning)]
        assert len(said) == (own.current is not None and refused_now(own))
        assert all(text.endswith("%guard policy reset") and ("load" in text or "S1" in text) for text in said)
        assert {warning.filename for warning in caught} <= {__file__}
    assert own.policy == (None if policy is None else as_policy(policy))


def test_a_refused_policy_is_said_in_the_cell_that_sets_it(
    shell: InteractiveShell, nothing_loaded: Session, embedded: Guard, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing_loaded.guards["embedded"] = embedded
    nothing_loaded.current = "embedded"
    shell.user_ns["p"] = OTHER
    with pytest.warns(GuardWarning, match="prompt carries no policy"):
        shell.run_cell("%guard policy p")
    assert nothing_loaded.policy == as_policy(OTHER)
    assert "set for this session" in capsys.readouterr().out


def test_a_shell_made_by_hand_shows_an_error_too(capsys: pytest.CaptureFixture[str]) -> None:
    InteractiveShell.clear_instance()
    made = InteractiveShell(colors="nocolor")
    made.history_manager.enabled = False
    made.run_line_magic("load_ext", "guard_magic")
    lines = shown(made, "import guard_magic\nguard_magic.load('no/such/folder')", capsys)
    made.run_line_magic("unload_ext", "guard_magic")
    assert any("LoadError: no folder or GGUF file" in line for line in lines)
    assert not any("AttributeError" in line or str(PACKAGE) in line for line in lines)


def test_errors_show_all_lines_of_the_users(
    shell: InteractiveShell, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns |= {"guard_magic": guard_magic}
    lines = shown(shell, "def f():\n    return guard_magic.load('no/such/folder')\nf()", capsys)
    assert any("return guard_magic.load" in line for line in lines)
    assert not any(str(PACKAGE) in line for line in lines)
    assert any(line.startswith("LoadError: no folder or GGUF file") for line in lines)
