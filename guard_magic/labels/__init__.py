"""What people decided: label files, with who, when, what was shown, and the whole history.

A label belongs to the content of a conversation (`conversation_key`), not to a row: it follows a frame that is
sorted anew or grows. This layer knows no guards, tables of the user's, widgets or notebooks.
"""

from guard_magic.labels.decisions import LABELS, Decision, Labelled, annotator_name, conversation_key
from guard_magic.labels.file import LabelFile
from guard_magic.labels.merging import adjudication, merge_labels, read_labels
from guard_magic.labels.paths import checked_path

__all__ = [
    "LABELS",
    "Decision",
    "LabelFile",
    "Labelled",
    "adjudication",
    "annotator_name",
    "checked_path",
    "conversation_key",
    "merge_labels",
    "read_labels",
]
