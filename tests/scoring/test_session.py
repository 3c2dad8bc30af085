"""The session: resident guards, choices, the cache, and tables scored end to end."""

from __future__ import annotations

import gc
import os
import signal
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapes
import torch

import guard_magic
from guard_magic.errors import (
    ColumnError,
    ConversationError,
    EmbeddedGuardWarning,
    GuardWarning,
    LoadError,
    PolicyError,
    ProtocolError,
    ScoreError,
    UnknownGuardError,
)
from guard_magic.guards.guard import Guard
from guard_magic.scoring.session import Session
from guard_magic.tables.score import score_frame
from guard_magic.verdict import Verdicts

TEXTS = ["Hello", "How do I bake bread?", "I hate everyone", "Hello", "a bomb", "日本語 🙂", "kill -9 " * 40]


@pytest.fixture
def saved(tmp_path_factory: pytest.TempPathFactory, llama3: Any, tiny: Guard) -> Path:
    """A guard on disk, as transformers saves one."""
    return shapes.save_guard(tmp_path_factory.mktemp("guards") / "tiny-guard", tiny.model, llama3)


def test_scores_are_the_guards(session: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"text": TEXTS})
    scored = score_frame(session, frame, progress=False)
    expected = tiny.score(TEXTS)
    assert np.allclose(scored["unsafe_score"].to_numpy(float), [v.unsafe_score for v in expected], atol=1e-5)
    assert scored["category"].tolist() == [v.category for v in expected]
    assert scored["guard_error"].isna().all()
    assert list(frame) == ["text"]


def test_empty_table(session: Session) -> None:
    scored = score_frame(session, pd.DataFrame({"text": pd.Series([], dtype="string")}))
    assert list(scored) == ["text", "unsafe_score", "category", "guard_error"]
    assert scored["unsafe_score"].dtype == "Float64"


def test_the_cache_answers_what_was_asked_before(session: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"text": TEXTS})
    first = score_frame(session, frame, progress=False)
    n_forwards = tiny.engine.n_forwards
    second = score_frame(session, frame.iloc[::-1], progress=False)
    assert tiny.engine.n_forwards == n_forwards
    pd.testing.assert_frame_equal(first, second.iloc[::-1])
    score_frame(session, frame, exclude="S1", progress=False)
    assert tiny.engine.n_forwards > n_forwards, "another policy is another prompt"


def test_unscored_rows_are_na_and_counted_once(session: Session) -> None:
    frame = pd.DataFrame({"text": ["fine", None, "", 3, "x" * 2_000_000, "a\0b", "\ud800"]})
    with pytest.warns(GuardWarning, match="6 of 7 rows were not scored") as caught:
        scored = score_frame(session, frame, progress=False)
    assert len(caught) == 1
    assert caught[0].filename == __file__, "the warning points at the caller"
    assert scored["category"].isna().tolist() == [False] + [True] * 6
    assert scored["unsafe_score"].isna().tolist() == [False] + [True] * 6
    reasons = ["missing", "empty", "expected text", "2,000,000 characters", "NUL", "lone surrogate"]
    for reason, error in zip(reasons, scored["guard_error"][1:], strict=True):
        assert reason in error


def test_errors_raise_keeps_what_was_scored(session: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"text": ["only here 1", None, "only here 2"]})
    with pytest.warns(GuardWarning), pytest.raises(ScoreError, match=r"1 of 3 rows.*row 1"):
        score_frame(session, frame, errors="raise", progress=False)
    n_forwards = tiny.engine.n_forwards
    assert score_frame(session, frame.dropna(), errors="raise", progress=False)["category"].notna().all()
    assert tiny.engine.n_forwards == n_forwards


def test_column_errors_come_before_any_work(session: Session, tiny: Guard) -> None:
    n_forwards = tiny.engine.n_forwards
    frame = pd.DataFrame({"text": ["never asked"], "category": ["mine"]})
    with pytest.raises(ColumnError, match="'category'"):
        score_frame(session, frame, progress=False)
    with pytest.raises(ColumnError, match="no extra column 'logodds'"):
        score_frame(session, frame[["text"]], extras=["logodds"], progress=False)
    with pytest.raises(ColumnError, match="score_S3"):
        score_frame(session, frame[["text"]].assign(score_S3=1), extras=["category_scores"], progress=False)
    assert tiny.engine.n_forwards == n_forwards


def test_roles_are_merged_and_counted_or_refused(session: Session) -> None:
    chats = [
        [{"role": "system", "content": "be nice"}, {"role": "user", "content": "a"}],
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "a"}],
        [{"role": "user", "content": "a"}],
        [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}],
    ]
    frame = pd.DataFrame({"messages": chats})
    with pytest.warns(GuardWarning) as caught:
        scored = score_frame(session, frame, progress=False)
    said = " | ".join(str(w.message) for w in caught)
    assert "1 joined" in said
    assert "1 left out" in said
    assert "1 dropped" in said
    assert scored["category"].isna().tolist() == [False] * 4 + [True], "a tool message is never assessed as a user's"
    assert scored["unsafe_score"][0] == scored["unsafe_score"][3]
    with pytest.warns(GuardWarning, match="4 of 5"):
        strict = score_frame(session, frame, roles="strict", progress=False)
    assert strict["category"].notna().tolist() == [False, False, False, True, False]


def test_low_mass_is_never_safe(llama3: Any) -> None:
    model = shapes.random_model("tiny", seed=3)
    with pytest.raises(ProtocolError, match="verdict mass"):
        Guard(model, llama3, name="thin")
    thin = Guard(model, llama3, name="thin", min_verdict_mass=0)
    assert thin.score(["hello"])[0].unsafe_score is not None
    thin.min_verdict_mass = 0.9
    verdict = thin.score(["hello"])[0]
    assert verdict.unsafe_score is None
    assert verdict.category is None
    assert verdict.flagged is None
    assert "verdict mass" in str(verdict.error)


def test_thresholds(session: Session) -> None:
    score = session.moderate("Hello", session.request()).unsafe_score
    assert score is not None
    assert session.moderate("Hello", session.request(threshold=score)).flagged is True
    assert session.moderate("Hello", session.request(threshold=score + 1e-9)).category == "safe"
    session.set_threshold(0.0)
    assert session.moderate("Hello", session.request()).flagged is True
    for wrong in (1.5, -0.1, float("nan"), "high", None):
        with pytest.raises(ScoreError, match="threshold"):
            session.set_threshold(wrong)  # type: ignore[arg-type]


def test_policies(session: Session) -> None:
    verdict = session.moderate("Hello", session.request(threshold=0, exclude=["S1", "S2"]))
    assert set(verdict.category_scores) == set(session.guards["tiny"].policy.codes) - {"S1", "S2"}
    assert sum(verdict.category_scores.values()) == pytest.approx(verdict.unsafe_score)
    with pytest.raises(PolicyError, match="S99"):
        session.request(exclude=["S99"])
    session.set_policy({"S1": "Rude Words", "S2": "Spoilers"})
    assert list(session.moderate("Hello", session.request()).category_scores) == ["S1", "S2"]
    assert "Rude Words" in session.guards["tiny"].render("x", policy=session.policy)
    session.set_policy(None)
    with pytest.raises(PolicyError, match="no policy 'nonsense'"):
        session.set_policy("nonsense")


@pytest.mark.parametrize("text", ['[{"role": "user", "content": "hi"}]', "user: hi\nassistant: hello"])
def test_a_text_that_hides_a_conversation_is_said_once(session: Session, text: str) -> None:
    with pytest.warns(GuardWarning, match="reads like a conversation and is scored as one user message") as caught:
        assert session.moderate(text, session.request()).assessed_role == "user"
    assert [warning.filename for warning in caught] == [__file__]


def test_moderate_raises_for_what_cannot_be_read(session: Session) -> None:
    with pytest.raises(ConversationError, match="empty"):
        session.moderate("  ", session.request())
    with pytest.raises(ConversationError, match="too long"):
        session.moderate("word " * 20_000, session.request())


def test_unknown_guards_are_never_replaced(session: Session) -> None:
    with pytest.raises(UnknownGuardError, match=r"no guard .nobody. is resident \(resident: tiny\)"):
        session.request(guard="nobody")
    with pytest.raises(UnknownGuardError, match="is not a guard"):
        session.request(guard=3)
    with pytest.raises(UnknownGuardError):
        session.use("nobody")


def test_load_from_a_folder(saved: Path, tiny: Guard) -> None:
    session = Session()
    guard = session.load(str(saved), min_verdict_mass=0)
    assert (guard.name, guard.device, guard.dtype, guard.is_embedded) == ("tiny-guard", "cpu", "float32", False)
    assert session.load(str(saved), min_verdict_mass=0) is guard, "the same again is not loaded twice"
    with pytest.raises(LoadError, match="resident already"):
        session.load(str(saved), min_verdict_mass=0.1)
    other = session.load(str(saved), name="half", dtype="bfloat16", min_verdict_mass=0)
    assert session.current == "half"
    assert other.revision == guard.revision
    assert [row["guard"] for row in session.status()] == ["tiny-guard", "half"]
    full, half = (g.score(TEXTS) for g in (guard, other))
    assert [v.unsafe_score for v in full] == pytest.approx([v.unsafe_score for v in tiny.score(TEXTS)], abs=1e-5)
    assert [v.unsafe_score for v in half] == pytest.approx([v.unsafe_score for v in full], abs=0.2)


def test_unload_gives_the_memory_back(saved: Path) -> None:
    session = Session()
    guard = session.load(str(saved), min_verdict_mass=0)
    session.moderate("Hello", session.request())
    model = weakref.ref(guard.model)
    weights = weakref.ref(guard.model.lm_head.weight)
    assert session.unload() == "tiny-guard"
    gc.collect()
    assert model() is None
    assert weights() is None
    assert session.status() == []
    with pytest.raises(UnknownGuardError, match="was unloaded"):
        guard.score(["x"])
    with pytest.raises(UnknownGuardError, match="no guard is resident"):
        session.unload()


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("/no/such/folder", {}, "no folder or GGUF file"),
        ("nothing-here", {}, "no folder or GGUF file"),
        ("", {}, "no guard to load"),
        ("embedded", {"quantization": "int4"}, "not supported yet"),
        ("embedded", {"device": "cuda:7"}, "cannot be used"),
        ("embedded", {"dtype": "int8"}, "no number format"),
    ],
)
def test_what_cannot_be_loaded(source: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(LoadError, match=says) as caught:
        Session().load(source, **options)
    assert caught.value.hint


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LoadError, match=r"hub cannot be reached|cannot be loaded") as caught:
        Session().load("meta-llama/Llama-Guard-3-8B")
    assert "embedded" in caught.value.hint


def test_folders_that_are_no_guards(tmp_path: Path, llama3: Any, tiny: Guard) -> None:
    with pytest.raises(LoadError):
        Session().load(str(tmp_path))
    plain = shapes.llama3_tokenizer()
    plain.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(ProtocolError, match="that of no known guard"):
        Guard(tiny.model, plain, name="plain")
    plain.chat_template = None
    with pytest.raises(ProtocolError, match="no chat template"):
        Guard(tiny.model, plain, name="plain")
    tiny.model.train()
    try:
        with pytest.raises(ProtocolError, match="training mode"):
            Guard(tiny.model, llama3, name="training")
    finally:
        tiny.model.eval()


def test_interrupt_stops_between_batches_and_loses_nothing(session: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"text": [f"interrupted row number {i}" for i in range(64)]})
    tiny.engine.budget = 256
    n_before = tiny.engine.n_forwards
    hook = tiny.model.register_forward_hook(
        lambda *args: os.kill(os.getpid(), signal.SIGINT) if tiny.engine.n_forwards == n_before + 5 else None
    )
    try:
        with pytest.raises(KeyboardInterrupt):
            score_frame(session, frame, progress=False)
        assert tiny.engine.n_forwards == n_before + 5, "stopped at the end of the batch under way"
        n_cached = len(session.cache)
        assert n_cached > 0
        scored = score_frame(session, frame, progress=False)
    finally:
        hook.remove()
        tiny.engine.budget = None
    assert scored["category"].notna().all()
    assert session.cache.n_hits == n_cached, "going on reused every finished batch"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_scoring_works_outside_the_main_thread(session: Session) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(session.moderate("Hello", session.request())))
    thread.start()
    thread.join()
    assert found[0].unsafe_score is not None


def test_one_bar_that_names_what_it_does(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    score_frame(session, pd.DataFrame({"q": ["bar 1", "bar 2"]}), {"text": "q"})
    printed = capsys.readouterr().err
    assert "tiny · q" in printed
    assert "0/2 rows [00:00<?]" in printed
    assert printed.endswith("\r"), "gone when done"


def test_the_embedded_guard_warns(embedded: Guard) -> None:
    session = Session()
    session.guards["embedded"] = embedded
    session.current = "embedded"
    with pytest.warns(EmbeddedGuardWarning, match="1 rows are scored by the small embedded guard"):
        score_frame(session, pd.DataFrame({"text": ["hi"]}), progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(session.moderate_many([], session.request()), Verdicts)


@pytest.fixture
def public(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr("guard_magic.scoring.session._SESSION", session)
    return session


def test_public_functions_use_the_session(public: Session, tiny: Guard) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"], "response": ["x", "y"]}, index=[7, 7])
    by_accessor = frame.guard.score(progress=False, extras=["assessed_role"])
    pd.testing.assert_frame_equal(guard_magic.score(frame, progress=False, extras=["assessed_role"]), by_accessor)
    assert by_accessor["assessed_role"].tolist() == ["assistant", "assistant"]
    series = frame["prompt"].guard.score(progress=False)
    assert series.index.tolist() == [7, 7]
    assert list(series) == ["unsafe_score", "category", "guard_error"]
    assert guard_magic.moderate("a", generate=True).generated_text
    assert guard_magic.status()["guard"].tolist() == ["tiny"]
    assert guard_magic.use("tiny") is tiny
    guard_magic.set_threshold(0.25)
    assert guard_magic.moderate("a").threshold == 0.25
    with pytest.raises(ColumnError, match="got list"):
        guard_magic.score([1])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        bool(guard_magic.moderate("a"))


def test_wrap_never_changes_the_model(llama3: Any) -> None:
    model = shapes.answering_model(llama3, seed=5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    backend = llama3.backend_tokenizer.to_str()
    session = Session()
    session.wrap(model, llama3, name="mine", min_verdict_mass=0)
    session.moderate("Hello", session.request(generate=True))
    with pytest.raises(LoadError, match="resident already"):
        session.wrap(model, llama3, name="mine", min_verdict_mass=0)
    session.unload("mine")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert llama3.backend_tokenizer.to_str() == backend
    assert not model.get_output_embeddings()._forward_pre_hooks
    assert not model.get_output_embeddings()._forward_hooks


def test_default_guard_from_the_environment(monkeypatch: pytest.MonkeyPatch, embedded: Guard) -> None:
    folder = Path(guard_magic.__file__).parent / "embedded"
    monkeypatch.setenv("GUARD_MAGIC_MODEL", str(folder / "guard.gguf"))
    guard = Session().guard()
    assert guard.name == "guard.gguf"
    assert guard.score(["Hello"])[0].unsafe_score == pytest.approx(embedded.score(["Hello"])[0].unsafe_score, abs=1e-5)


def test_without_any_guard_the_embedded_one_says_so(monkeypatch: pytest.MonkeyPatch, embedded: Guard) -> None:
    monkeypatch.delenv("GUARD_MAGIC_MODEL", raising=False)
    session = Session()
    with pytest.warns(EmbeddedGuardWarning, match="no guard is loaded") as caught:
        guard = session.guard()
    assert caught[0].filename == __file__
    assert (guard.name, guard.is_embedded, session.current) == ("embedded", True, "embedded")
    with pytest.raises(PolicyError, match="carries no policy"):
        session.request(exclude=["S1"])
    with pytest.warns(GuardWarning, match="cannot be asked about the session's policy 'custom'"):
        session.set_policy({"S1": "Rude Words"})
    with pytest.raises(PolicyError) as refused:
        session.request()
    assert "%guard policy reset" in refused.value.hint
    assert f"Hint: {refused.value.hint}" in refused.value.__notes__, "what a traceback shows is what the error says"
    again = Session()
    assert again.guard("embedded").label == guard.label, "by name it is loaded without a word"


def test_options_that_change_nothing_are_no_other_way_of_loading() -> None:
    own = Session()
    first = own.load("embedded")
    assert own.load("embedded", device=None, revision=None, min_verdict_mass=0.9) is first
    with pytest.raises(LoadError, match="loaded in another way"):
        own.load("embedded", min_verdict_mass=0.5)
