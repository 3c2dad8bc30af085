"""What stands beside the text of a message or beside the messages of a conversation, by its key and its shape.

Four kinds: what shows or plays something (refused by whoever reads it), what was done or thought (left out and
counted), what says nothing (ids, times, names, scores, settings: known by its name), and everything else, which is
counted where it could carry words.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from guard_magic.characters import is_blank
from guard_magic.conversations.plain_values import is_missing, listed, plain

__all__ = [
    "DEEDS",
    "MEDIA",
    "NOT_TEXT_HINT",
    "has",
    "is_harmless",
    "key_words",
    "may_say",
    "media_in",
    "n_given",
    "n_sentences",
    "n_unread",
]

MEDIA = (
    *("images", "image", "image_url", "audio", "audios", "input_audio", "video", "videos", "file", "files"),
    *("attachments", "experimental_attachments", "inlineData", "inline_data", "fileData", "file_data", "document"),
)
DEEDS = (
    *("tool_calls", "tool_call", "function_call", "functionCall", "toolInvocations", "tool_use", "toolUse"),
    *("reasoning_content", "reasoning", "reasoning_details", "thinking", "thoughts"),
)
NOT_TEXT_HINT = "Remove images and files, or leave the row out: nothing is scored as if they were not there."


def _split(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SHOWN = _split(
    "image images img photo photos picture pictures audio audios video videos voice sticker stickers attachment "
    "attachments gif gifs media embed embeds animation animations thumbnail screenshot screenshots document "
    "documents "
)
"""Words of a key under which something is shown or played, whatever its other words are."""
_SAID = _split(
    "caption captions alt quote quoted transcript transcription ocr description subject body comment comments "
    "note notes summary reply replies answer answers response responses completion translation translated "
    "original raw html markdown message messages text texts contents history thread forwarded forward poll query "
    "question prompt feedback context instruction instructions output outputs input inputs utterance said speech "
    "edited_content parts content value attachments quoted_message suggestions correction corrected choices "
    "candidates chosen rejected "
)
"""Words of a key under which even a single word may be what somebody said."""
_HARMLESS = _split(
    "id ids uuid guid key hash md5 sha index idx number num count counts n nr position order turn turns round "
    "step size length width height duration time times timestamp ts date datetime day year month created updated "
    "edited deleted sent received read at on unixtime epoch model models engine lang language languages locale "
    "score scores rating ratings rank label labels tag tags class category categories topic type types kind "
    "status state flag flags flagged toxic toxicity moderation redacted name names username nickname nick user "
    "author avatar color colour ip country region city timezone version source sources channel platform device "
    "app client tokens token usage cost price latency temperature top p k penalty seed stop reason finish "
    "metadata meta weight weights train mask loss logprobs logprob probability cache control annotation "
    "annotations citation citations signature emoji emojis emoji_name reaction reactions mention mentions likes "
    "votes vote upvotes downvotes parent children url_id page session conversation annotator synthetic quality "
    "review tools functions tool_choice choice parallel stream format config settings options parameters params "
    "schema header headers title subtitle slug split dataset license from sender recipient recipients phase end lock "
    "locked pinned public via visible hidden gender age sex team workspace bot system_fingerprint fingerprint "
    "service tier safety object logit logits embedding embeddings extra_info extra origin winner judge tstamp "
)
"""Words that end the keys of ids, times, names, scores and settings."""
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\dA-Za-z_]+")
_TWO_WORDS = re.compile(r"[^\W\d_]{2,}[\W_]+[^\W\d_]{2,}|[^\W\d_A-Za-zÀ-ɏ]{2,}")
_SENTENCE = re.compile(r"(?:[^\W\d_][\w'’-]*[\W_]+){2,}[^\W\d_]|[^\W\d_A-Za-zÀ-ɏ]{4,}")
_LONGER = re.compile(r"(?:[^\W\d_][\w'’-]*[\W_]+){3,}[^\W\d_]|[^\W\d_A-Za-zÀ-ɏ]{6,}")
_MAY_SAY = {**dict.fromkeys(("title", "subtitle", "headline", "metadata", "meta"), _SENTENCE), "label": _LONGER}
"""Keys of a message under which mostly names and settings stand, and what is more than one of these."""
_IS = re.compile(r"(?:is|has|was|can|num|n|no|total)[_A-Z]|n\Z")
_PLACE = re.compile(r"\S*(?:/\S*|\.\w{2,5}|:\d\d)\S*|[0-9a-f-]{8,}|\d+|<@?\w+>", re.I)


@functools.lru_cache(maxsize=4096)
def key_words(key: str) -> tuple[str, ...]:
    """Return the words of a key in lower case: ``("created", "at")`` for ``createdAt``."""
    return tuple(word.lower() for word in _WORD.findall(key[:100]))


@functools.lru_cache(maxsize=4096)
def _is_harmless(key: str) -> bool:
    words = key_words(key)
    if not words or key in MEDIA or key in DEEDS or key in _SAID or key in ("role", "from"):
        return False
    return bool(_IS.match(key)) or (words[-1] in _HARMLESS and not (len(words) == 1 and words[0] in _SAID))


def is_harmless(key: object) -> bool:
    """Say whether a key names an id, a time, a name, a score or a setting: nothing that is said or shown."""
    return type(key) is str and _is_harmless(key)


def may_say(key: object) -> bool:
    """Say whether a sentence may stand under a key that is harmless otherwise: a message's title, its metadata."""
    return type(key) is str and key in _MAY_SAY


def media_in(value: Mapping[Any, Any]) -> str | None:
    """Return the first key under which something is shown or played, or None."""
    for key in value:
        if (
            isinstance(key, str)
            and not is_harmless(key)
            and ({*key_words(key)} & _SHOWN or key in MEDIA)
            and has(value, key)
        ):
            return plain(key)
    return None


def n_unread(value: Mapping[Any, Any], known: Iterable[object], said: str = "") -> int:
    """Return under how many keys something stands that could carry words and is not read.

    Parameters
    ----------
    value
        A message, a part of one, or what holds the messages.
    known
        Keys that are read.
    said
        What was read: the same text once more is not counted.
    """
    known = {*known}
    keys = [key for key in value if key not in known and not is_harmless(key)]
    return sum(_carries_words(key, value[key], said) for key in keys)


def n_sentences(value: Mapping[Any, Any], said: str = "") -> int:
    """Return under how many keys of a message that name or set something a sentence stands which is not `said`."""
    return sum(_has_sentence(value[key], _MAY_SAY[key], said.strip()) for key in value if may_say(key))


def _has_sentence(value: object, form: re.Pattern[str], said: str, depth: int = 0) -> bool:
    if isinstance(value, str):
        text = plain(value).strip()
        return text != said and bool(form.search(text[:10_000])) and not _PLACE.fullmatch(text)
    if depth > 3 or isinstance(value, bytes):
        return False
    if isinstance(value, Mapping):
        inner: Iterable[object] = [one for key, one in value.items() if may_say(key) or not is_harmless(key)]
    else:
        inner = listed(value) or ()
    return any(_has_sentence(one, form, said, depth + 1) for one in inner)


def _carries_words(key: object, value: object, said: str) -> bool:
    """Say whether words may stand under a key: prose, anything of text where the name says so, or nested texts."""
    if isinstance(value, str):
        text = plain(value)
        if is_blank(text) or text.strip() == said.strip():
            return False
        words = key_words(key) if type(key) is str else ()
        return bool({*words} & _SAID) or (bool(_TWO_WORDS.search(text)) and not _PLACE.fullmatch(text.strip()))
    return not isinstance(value, bytes) and n_given(value) > 0 and _holds_text(value)


def _holds_text(value: object, depth: int = 0) -> bool:
    if isinstance(value, str):
        return not is_blank(value) and not _PLACE.fullmatch(value.strip())
    if depth > 3:
        return True
    if isinstance(value, Mapping):
        inner: Iterable[object] | None = [one for key, one in value.items() if not is_harmless(key)]
    else:
        inner = listed(value)
    return any(_holds_text(one, depth + 1) for one in inner or ())


def has(value: Mapping[Any, Any], key: str) -> bool:
    """Say whether something stands under a key: no missing value, nothing empty or blank, not False."""
    return key in value and n_given(value[key]) > 0


def n_given(value: object, depth: int = 0) -> int:
    """Return how many things a value holds: nothing for what is missing, blank, empty or False."""
    if is_missing(value) or value is False:
        return 0
    if isinstance(value, str):
        return 0 if is_blank(value) else 1
    if depth > 3:
        return 1
    if isinstance(value, Mapping):
        return int(any(n_given(one, depth + 1) for one in value.values()))
    elements = listed(value)
    return 1 if elements is None else sum(n_given(one, depth + 1) > 0 for one in elements)
