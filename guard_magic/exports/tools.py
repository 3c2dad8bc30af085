"""Tasks of Label Studio and records of Argilla."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from html import escape

from guard_magic.exports.tasks import Said, Task
from guard_magic.labels import LABELS
from guard_magic.verdict import SAFE

__all__ = ["argilla_record", "label_studio_config", "label_studio_task"]

_PEOPLE = uuid.UUID("6f1f0a52-6b0c-5d0e-9a6e-0d6a2f4f7c11")


def label_studio_config(codes: Iterable[str]) -> str:
    """Return the labelling configuration of a Label Studio project for exported tasks.

    Parameters
    ----------
    codes
        The policy's hazard codes.
    """

    def choices(values: Iterable[str]) -> str:
        return "".join(f'<Choice value="{escape(value)}"/>' for value in values)

    return (
        '<View><Paragraphs name="conversation" value="$messages" layout="dialogue" nameKey="role" textKey="content"/>'
        '<Choices name="verdict" toName="conversation" choice="single">'
        f"{choices(label for label in LABELS if label != 'skip')}</Choices>"
        f'<Choices name="hazard" toName="conversation" choice="single">{choices(codes)}</Choices>'
        '<TextArea name="note" toName="conversation"/></View>'
    )


def label_studio_task(task: Task, users: Mapping[str, object]) -> dict[str, object]:
    """Return one task for import: the model's verdict as a prediction, each person's label as an annotation."""
    shown = {"messages": task.conversation.to_list(), "key": task.key, **task.facts}
    shown["annotators"] = ", ".join(one.annotator for one in task.said)
    built: dict[str, object] = {"data": shown, "predictions": [], "annotations": []}
    if task.category is not None:
        verdict, hazard = _model_choice(task)
        built["predictions"] = [
            {"model_version": task.guard, "score": _confidence(task), "result": _regions(verdict, hazard, None)}
        ]
    built["annotations"] = [_annotation(one, users) for one in task.said]
    return built


def _annotation(one: Said, users: Mapping[str, object]) -> dict[str, object]:
    skipped = one.label == "skip"
    built: dict[str, object] = {
        "result": _regions(None if skipped else one.label, one.category, one.note),
        "was_cancelled": skipped,
        "ground_truth": one.final,
    }
    if one.labelled_at is not None:
        built["created_at"] = one.labelled_at
    if one.seconds is not None:
        built["lead_time"] = one.seconds
    if one.annotator in users:
        built["completed_by"] = users[one.annotator]
    return built


def _regions(verdict: str | None, hazard: str | None, note: str | None) -> list[dict[str, object]]:
    values = {
        "verdict": ("choices", verdict),
        "hazard": ("choices", hazard),
        "note": ("text", note),
    }
    return [
        {
            "id": uuid.uuid4().hex[:10],
            "from_name": name,
            "to_name": "conversation",
            "type": "textarea" if kind == "text" else kind,
            "value": {kind: [value]},
        }
        for name, (kind, value) in values.items()
        if value is not None
    ]


def argilla_record(task: Task, users: Mapping[str, object]) -> dict[str, object]:
    """Return one record as ``argilla.Record.from_dict`` reads it: suggestions, and a response for each person."""
    suggestions: dict[str, object] = {}
    if task.category is not None:
        verdict, hazard = _model_choice(task)
        suggestions["verdict"] = {"value": verdict, "score": _confidence(task), "agent": task.guard}
        if hazard is not None:
            suggestions["hazard"] = {"value": hazard, "agent": task.guard}
    responses: dict[str, list[dict[str, object]]] = {}
    for one in task.said:
        user = str(users.get(one.annotator) or uuid.uuid5(_PEOPLE, one.annotator))
        answers = {"verdict": None if one.label == "skip" else one.label, "hazard": one.category, "note": one.note}
        for question, value in answers.items():
            if value is not None:
                responses.setdefault(question, []).append({"value": value, "user_id": user})
    return {
        "id": task.key,
        "fields": {"conversation": task.conversation.to_list()},
        "metadata": {**task.facts, "annotators": ", ".join(one.annotator for one in task.said)},
        "suggestions": suggestions,
        "responses": responses,
        "vectors": {},
    }


def _model_choice(task: Task) -> tuple[str, str | None]:
    return (SAFE, None) if task.category == SAFE else ("unsafe", task.category)


def _confidence(task: Task) -> float | None:
    """Return how sure the model is of its own verdict; `unsafe_score` itself stands beside it."""
    if task.unsafe_score is None:
        return None
    return 1.0 - task.unsafe_score if task.category == SAFE else task.unsafe_score
