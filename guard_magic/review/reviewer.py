"""The reviewer: the widget on one side, the label file on the other.

With ipykernel 7 what the browser sends is answered on another thread than the one that runs cells, so everything
is done with a lock held. An error in such a call would be swallowed: it is caught here and shown in the widget.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from guard_magic.callers import warn_caller
from guard_magic.checks import checked_share
from guard_magic.conversations.conversation import Conversation
from guard_magic.errors import GuardError, LabelError, shorten
from guard_magic.labels import LabelFile
from guard_magic.policy import Policy
from guard_magic.review.records import Records
from guard_magic.review.requests import checked_keys
from guard_magic.review.review import Review, explain
from guard_magic.review.rows import ORDERS
from guard_magic.review.static_view import MAX_ROWS, StaticReview
from guard_magic.review.views import View

if TYPE_CHECKING:
    from guard_magic.review.review_widget import ReviewWidget

__all__ = ["Reviewer"]

_REPEATS = (
    "the table's index repeats: joining by it would give labels to other rows; df.guard.labels(reviewer) joins them by "
    "the content of conversations"
)
_COLUMNS = ["label", "label_category", "note", "flag", "annotator", "labelled_at", "order", "score_shown"]


class Reviewer:
    """Look through scored conversations and label them, in the output of a cell.

    Every decision is in the label file before it is shown as kept. Labels belong to the content of a
    conversation: rows of equal content share theirs, and a frame that is sorted anew or grows keeps them.

    Parameters
    ----------
    scored
        The frame that ``df.guard.score()`` returned, without a prefix. It is not changed. ``score_S1`` … (the
        extra ``category_scores``) give the hazards' distribution, and the hazard of rows that are flagged only
        after the threshold was lowered; ``generated_text``, ``log_odds`` and ``guard`` are shown where they are.
    conversations
        The conversations of the rows, in order; None where a row has none that can be read.
    policy
        The hazards that can be chosen, in order.
    labels
        Where decisions are kept. It stays open: closing it is the caller's.
    threshold
        Where flagged begins, in [0, 1]; it moves with the slider.
    show_scores
        Whether the model's verdict is shown. Where not, nothing on the screen depends on it, and the file says
        so of every label. Every text is then blurred unless `blur` is empty: a blur by hazard would tell.
    order
        ``"uncertainty"``, ``"random"``, ``"stratified"``, ``"score"`` (highest first), ``"hazard"``, ``"length"``,
        ``"label"`` or ``"row"``. Where scores are hidden, uncertainty, score and hazard become random.
    blur
        Codes of the hazards whose text is hidden until asked for; those that the policy lacks are passed over. None
        for those that the policy calls distressing.
    keys
        Action -> key, or a list of keys, for those that are to be other than usual.
    seed
        Of the random orders, which go by content and not by row.
    guard
        Name of the guard that scored, where the frame has no column ``guard``.

    Raises
    ------
    ColumnError
        For a frame without scores, or of another length than `conversations`.
    LabelError
        For an order, blur or key that cannot be, or labels that cannot be read.
    ScoreError
        For a threshold that is not a number in [0, 1].
    """

    def __init__(
        self,
        scored: pd.DataFrame,
        conversations: Sequence[Conversation | None],
        policy: Policy,
        labels: LabelFile,
        *,
        threshold: float = 0.5,
        show_scores: bool = True,
        order: str = "uncertainty",
        blur: Collection[str] | None = None,
        keys: Mapping[str, str | Sequence[str]] | None = None,
        seed: int = 0,
        guard: str | None = None,
    ) -> None:
        if not isinstance(order, str) or order not in ORDERS:
            raise LabelError(f"no order {shorten(order)}", hint=f"Orders: {', '.join(ORDERS)}.")
        if not isinstance(show_scores, bool):
            raise LabelError(f"show_scores={shorten(show_scores)} is neither True nor False", hint="Pass one of these.")
        if not isinstance(seed, int):
            raise LabelError(f"seed={shorten(seed)} is not a whole number", hint="For instance seed=0.")
        self._lock = threading.RLock()
        self._widget: ReviewWidget | None = None
        self._review = Review(
            Records(scored, conversations, policy),
            labels,
            View(
                threshold=checked_share("threshold", threshold), sort=order, descending=order == "score" and show_scores
            ),
            show_scores=show_scores,
            blur=_hidden(blur, policy, show_scores=show_scores),
            keys=checked_keys(keys),
            guard=guard,
            seed=seed,
        )

    @property
    def widget(self) -> ReviewWidget:
        """The widget; one, however often it is shown."""
        with self._lock:
            if self._widget is None:
                from guard_magic.review.review_widget import ReviewWidget

                self._widget = ReviewWidget(head=self._review.head(), view=self._review.view.to_dict())
                self._widget.on_msg(self._receive)
                self._widget.observe(self._look, names="view")
            return self._widget

    @property
    def threshold(self) -> float:
        """Where the slider stands, in [0, 1]."""
        with self._lock:
            return self._review.view.threshold

    @property
    def label_file(self) -> LabelFile:
        """Where the decisions are kept."""
        return self._review.labels

    def labels(self) -> pd.DataFrame:
        """Return what was decided so far, a row for each of the frame's, with its index.

        It is for looking. A table gets its labels by ``df.guard.labels(reviewer)``, which goes by the content of
        conversations: a join by the index gives labels to other rows where the index repeats or was made anew.

        Columns: ``label`` (categorical: safe, unsafe, unsure, skip), ``label_category``, ``note``, ``flag``,
        ``annotator``, ``labelled_at`` (UTC), ``order``, ``score_shown``; NA where nothing was decided.

        Warns
        -----
        GuardWarning
            Where the index repeats.
        """
        with self._lock:
            if not self._review.records.index.is_unique:
                warn_caller(_REPEATS)
            decided = self._review.labels.to_frame().set_index("key")[_COLUMNS]
            result = decided.reindex([key or "" for key in self._review.rows.keys])
            result.index = self._review.records.index
            return result

    def static(self) -> StaticReview:
        """Return a picture of the review as it is now: the first rows as a table, escaped, without script.

        It shows at most 20 rows and their text: saved with a notebook, they are in it.
        """
        with self._lock:
            return StaticReview(self._review.head(), self._review.first(MAX_ROWS))

    def __repr__(self) -> str:
        with self._lock:
            head = self._review.head()
        return f"<Reviewer: {head['done']:,} of {head['total']:,} labelled by {head['annotator']}>"

    def _ipython_display_(self) -> None:
        """Publish a picture of the review, and the widget that hides it where it is alive.

        They are two outputs: front ends rank a widget above HTML in one output, and show nothing where it is dead.
        """
        from IPython.display import display

        display(self.static())
        bundle = self._repr_mimebundle_()
        content, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        display(content, metadata=metadata, raw=True)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = self.widget._repr_mimebundle_(**kwargs)
        first = bundle[0] if isinstance(bundle, tuple) else bundle
        if isinstance(first, dict) and "text/plain" in first:
            first["text/plain"] = repr(self)
        return bundle

    def _receive(self, _widget: object, content: object, _buffers: object) -> None:
        """Answer a message from the browser."""
        message = content if isinstance(content, Mapping) else {}
        with self._lock:
            try:
                answer, has_changed = self._review.answer(message)
            except Exception as error:
                answer, has_changed = {"type": "error", "error": explain(error)}, False
            self.widget.send({**answer, "id": message.get("id")})
            if has_changed:
                self._show()

    def _look(self, change: Mapping[str, Any]) -> None:
        """Take over what the browser looks at."""
        seen = change["new"]
        with self._lock:
            if seen == self._review.view.to_dict():
                return
            try:
                has_changed = self._review.look(seen)
            except Exception as error:
                self._review.error, has_changed = explain(error), True
            if has_changed or seen != self._review.view.to_dict():
                self._show()

    def _show(self) -> None:
        """Bring the widget's traits up to the review; new dicts, for a changed one is not noticed."""
        view = self._review.view.to_dict()
        if self.widget.view != view:
            self.widget.view = view
        try:
            self.widget.head = self._review.head()
        except GuardError as error:  # a label file that cannot be read
            self.widget.head = {**self.widget.head, "error": explain(error)}


def _hidden(blur: object, policy: Policy, *, show_scores: bool) -> tuple[str, ...]:
    """Return the hazards whose text is hidden. Where scores are, any code stands for every text."""
    if blur is None:
        return policy.distressing if show_scores else policy.codes
    codes = list(blur) if isinstance(blur, Iterable) and not isinstance(blur, str) else [blur]
    if isinstance(blur, str) or not all(isinstance(code, str) for code in codes):
        raise LabelError(f"blur={shorten(blur)} is not a list of hazards", hint='For instance blur=["S3"], or [].')
    chosen = tuple(str(code) for code in codes)
    return tuple(code for code in policy.codes if code in chosen) if show_scores else chosen
