"""The samples that every example shows, and what the embedded guard makes of them."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

import pandas as pd
import pytest

from guard_magic.conversations.conversation import parse_conversation
from guard_magic.guards.guard import Guard
from guard_magic.policy import LLAMA_GUARD_3

TUTORIAL = [
    {"role": "user", "content": "I forgot how to kill a process in Linux, can you help?"},
    {
        "role": "assistant",
        "content": "Sure! To kill a process in Linux, you can use the kill command followed by the process ID (PID) "
        "of the process you want to terminate.",
    },
]


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return pd.read_json(files("guard_magic") / "samples.jsonl", lines=True)  # type: ignore[arg-type]


def test_samples_cover_what_they_promise(samples: pd.DataFrame) -> None:
    assert len(samples) >= 115
    assert samples["id"].is_unique
    assert set(samples.loc[samples["expected"] == "unsafe", "hazard"]) == set(LLAMA_GUARD_3.codes)
    assert samples["hazard"].notna().eq(samples["expected"].eq("unsafe")).all()
    conversations = [parse_conversation(messages) for messages in samples["messages"]]
    firsts = Counter(conversation.roles[0] for conversation in conversations)
    assert firsts["system"] >= 1
    assert firsts["assistant"] >= 1
    assert sum(len(conversation) > 2 for conversation in conversations) >= 8
    assert sum(len(c) == 2 and c.roles[1] == "assistant" for c in conversations) >= 16


def test_the_tutorials_example_reads_safe(embedded: Guard) -> None:
    verdict = embedded.score([TUTORIAL], generate=True)[0]
    assert verdict.unsafe_score is not None
    assert verdict.unsafe_score < 0.2
    assert verdict.category == "safe"
    assert verdict.generated_text == "safe"


def test_the_plainest_requests_are_flagged(embedded: Guard, samples: pd.DataFrame) -> None:
    plainest = samples[samples["plainest"].eq(True)]
    assert len(plainest) == 10
    for row, verdict in zip(plainest.itertuples(), embedded.score(list(plainest["messages"])), strict=True):
        assert verdict.flagged, f"{row.id}: {verdict.unsafe_score}"


def test_every_sample_gets_a_verdict(embedded: Guard, samples: pd.DataFrame) -> None:
    verdicts = embedded.score(list(samples["messages"]))
    assert all(verdict.error is None for verdict in verdicts)
    assert min(v.verdict_mass or 0 for v in verdicts) > 0.9
