"""Decisions as values: what a person said about one conversation, and what was on the screen."""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import os
import re
import unicodedata
from dataclasses import KW_ONLY, dataclass
from datetime import datetime

import numpy as np

from guard_magic.conversations.conversation import Conversation, is_missing
from guard_magic.errors import LabelError, shorten

__all__ = ["LABELS", "MAX_NOTE", "Decision", "Labelled", "annotator_name", "checked_text", "conversation_key"]

LABELS = ("safe", "unsafe", "unsure", "skip")
"""What a conversation can be labelled, in the order of the categorical columns."""

MAX_NOTE = 10_000
"""Characters in a note."""

_MAX_NAME = 200
_KEY = re.compile(r"[0-9a-f]{64}")
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_NOBODY = {
    *("admin", "administrator", "azureuser", "codespace", "colab", "colab-user", "default", "docker", "ec2-user"),
    *("gitpod", "guest", "jovyan", "jupyter", "kaggle", "nobody", "node", "notebook", "onyxia", "root", "rstudio"),
    *("runner", "sagemaker-user", "studio-lab-user", "ubuntu", "user", "vagrant", "vscode", "work"),
}
"""Login names that machines give and that say nothing about who sits there."""


def conversation_key(conversation: Conversation) -> str:
    """Return what a label is kept under: the SHA-256 of the conversation's roles and contents, in hex.

    It is taken of the UTF-8 of the JSON ``[["user","…"],["assistant","…"]]``, without spaces between and without
    escapes for other scripts. Equal conversations have one key wherever they stand.
    """
    text = _ENCODER.encode([(message.role, message.content) for message in conversation.messages])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about one conversation, and what was seen while deciding.

    Attributes
    ----------
    key
        `conversation_key` of the conversation.
    label
        ``"safe"``, ``"unsafe"``, ``"unsure"`` or ``"skip"``; None where there is no label (taken away, or only a
        note or a flag).
    category
        Code of the hazard where the label is ``"unsafe"``; None where none was chosen.
    note
        What the person wrote; None for nothing.
    flag
        Whether the person set the conversation aside.
    unsafe_score, model_category, guard, threshold
        The model's verdict at that time, whether it was shown or not; None where there was none.
    order
        Order in which the conversations were gone through: ``"uncertainty"``, ``"random"`` …
    score_shown
        Whether the model's verdict was on the screen. A shown score anchors people, so this must be said.
    seconds
        Time from showing to deciding; None where it was not taken.

    Raises
    ------
    LabelError
        For a key that is no content hash, a label or number that cannot be, a category of what is not unsafe, or
        text that cannot be kept.
    """

    key: str
    label: str | None
    category: str | None = None
    note: str | None = None
    flag: bool = False
    _: KW_ONLY
    score_shown: bool
    unsafe_score: float | None = None
    model_category: str | None = None
    guard: str | None = None
    threshold: float | None = None
    order: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not _KEY.fullmatch(self.key):
            raise LabelError(
                f"{shorten(self.key)} is no key of a conversation", hint="conversation_key(conversation) makes it."
            )
        for name in ("label", "category", "model_category", "guard", "order"):
            value = getattr(self, name)
            if value is not None and not (type(value) is str and len(value) <= _MAX_NAME and value.isidentifier()):
                object.__setattr__(self, name, None if is_missing(value) else checked_text(value, name))
        for name in ("unsafe_score", "threshold", "seconds"):
            value = getattr(self, name)
            if value is not None and not (type(value) is float and 0.0 <= value <= 1.0):
                object.__setattr__(self, name, _number(value, name))
        if self.label is not None and self.label not in LABELS:
            raise LabelError(f"no label {shorten(self.label)}", hint=f"Labels: {', '.join(LABELS)}, None for none.")
        if self.category is not None and self.label != "unsafe":
            raise LabelError(
                f"a hazard ({shorten(self.category)}) with the label {self.label!r}",
                hint="Only what is unsafe has a hazard.",
            )
        if self.note is not None:
            object.__setattr__(self, "note", checked_text(self.note, "note", MAX_NOTE).strip() or None)
        for name in ("flag", "score_shown"):
            object.__setattr__(self, name, _truth(getattr(self, name), name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled(Decision):
    """A decision as it is kept.

    Attributes
    ----------
    step
        The step that kept it, counted from 1 in each file.
    labelled_at
        When it was kept, in UTC.
    """

    step: int
    labelled_at: datetime


def annotator_name(name: str | None = None) -> str:
    """Return who labels: `name`, or by default the login name.

    Raises
    ------
    LabelError
        For a name that is empty, longer than 200 characters or has control characters; and where the login name
        is one that machines give (``jovyan``, ``root`` …).
    """
    if name is not None:
        told = unicodedata.normalize("NFC", checked_text(name, "annotator", _MAX_NAME)).strip()
        if not told or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in told):
            raise LabelError(f"annotator={shorten(name)} is no name", hint='Pass one line: annotator="ann".')
        return told
    login = os.environ.get("JUPYTERHUB_USER") or _login()
    if login.strip().lower() in _NOBODY or not login.strip():
        raise LabelError(f"the login name {shorten(login)} does not say who labels", hint='Pass annotator="your name".')
    return annotator_name(login)


def checked_text(value: object, what: str, most: int = _MAX_NAME) -> str:
    """Return `value` if it is text that can be kept: at most `most` characters, no NUL, no lone surrogate."""
    if not isinstance(value, str):
        raise LabelError(f"the {what} is not text but {shorten(value)}", hint=f"Pass the {what} as a str.")
    if len(value) > most:
        raise LabelError(
            f"the {what} has {len(value):,} characters; at most {most:,} are kept", hint="Shorten it; nothing was kept."
        )
    if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        raise LabelError(f"the {what} has a character that is none: {shorten(value)}", hint="Remove it.")
    return value


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, in a container
        return ""


def _truth(value: object, name: str) -> bool:
    if isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise LabelError(f"{name}={shorten(value)} is neither True nor False", hint="Pass one of these.")


def _number(value: object, name: str) -> float | None:
    if is_missing(value):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise LabelError(f"{name} is not a number: {shorten(value)}", hint="Pass a float, or None for none.") from None
    if not math.isfinite(number) or number < 0 or (name == "unsafe_score" and number > 1):
        raise LabelError(
            f"{name}={number!r} cannot be", hint="A score is in [0, 1], a time not negative; None stands for none."
        )
    return number
