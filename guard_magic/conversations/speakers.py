"""Whether a label could say who speaks: decided by its words alone, and in doubt yes.

A label of up to four words could be a name. It is none where one of its words heads a remark or a list ("Key points",
"Step 3", "Monday"), or only belongs into a sentence ("The answer is"). A word for a speaker settles it the other way:
"Support Agent", "The bot", "my_bot".
"""

from __future__ import annotations

import re

import regex

from guard_magic.conversations.role_names import PEOPLE, ROLE_ALIASES

__all__ = ["could_be_speaker", "is_common", "is_datum", "names_role", "split", "words_of"]

_WORDS = regex.compile(r"[^\W_]+")
_MOST_WORDS = 4
_LOG_LEVELS = frozenset(
    {"debug", "info", "warning", "warn", "error", "fatal", "critical", "trace", "notice", "verbose"}
)


def split(words: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(words.split())


_LOG_LEVELS = split("debug info warning warn error fatal critical trace notice verbose")
_DETERMINERS = split("a an the this that my your our their his her its der die das ein eine le la el un une ")
_IN_SENTENCES = split(
    "a an the is are was were be been of to for and or in on at with from by as if so not this that these those "
    "my your our their his her its it i you we they he she here there how what why when where which one all any "
    "some each every no more most other another than then but can could should would will do does did have has "
    "had used also follows following like including such about into over under between und oder der die das ist "
    "für mit von zu et le la les des de du pour avec est el los las del con para "
)
_PRONOUNS = split("i you we they he she me him her them it ich du wir sie er moi toi yo tú")
_SAID = split("said says asked asks wrote writes replied replies answered")
_TITLES = split("dr mr mrs ms prof professor sir madam captain officer judge lord lady sergeant detective father ")
_HEADINGS = split(
    "note notes nb ps warning caution important attention tip tips hint hints example examples eg ie subject re "
    "date time times from to cc bcc title name names summary source sources reference references result results "
    "total step steps task tasks ingredients directions instructions method methods description location address "
    "phone email website url link links edit update updates tldr todo fixme error errors exception traceback "
    "conclusion introduction overview background pros cons also remember disclaimer translation definition "
    "meaning author chapter scene option options code usage however finally first second third next last then "
    "http https ftp mailto file files problem problems solution solutions question questions topic topics goal "
    "goals aim purpose reason reasons cause causes effect effects symptoms treatment fact facts myth key points "
    "point idea ideas advantages disadvantages benefits risks features requirements requirement rule rules type "
    "types kind category value values version number size weight height length width price cost budget age level "
    "part section paragraph figure fig table appendix line page slide item items list day week month year monday "
    "tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december morning afternoon evening night breakfast lunch dinner snack chorus "
    "verse bridge intro outro refrain lyrics materials equipment tools servings serving yield prep preparation "
    "hypothesis theorem proof lemma given formula equation calculation explanation analysis discussion "
    "methodology abstract keywords context details detail status priority id ids language format plot setting "
    "genre theme themes character characters strengths weaknesses opportunities threats experience education "
    "skills objective objectives hobbies contact deadline agenda exercise lesson unit module phase stage round "
    "act episode class function parameters parameter args arguments returns raises raise try except else elif "
    "default while case test tests assumption assumptions recommendation recommendations quote correct wrong "
    "bonus challenge focus effort duration quantity amount color colour shape brand interface settings "
    "permissions preferences zutaten zubereitung hinweis beispiel frage lösung montag dienstag mittwoch "
    "donnerstag freitag samstag sonntag betreff datum thema quelle remarque exemple ingrédients ingredientes "
    "ejemplo nota apiversion metadata spec port host image environment volumes services build script stages env "
    "config path "
)
_NEVER_COMMON = split("answer answers response reply says said")
_DATUM = re.compile(
    r"""\s*(?:[-+~<>≈$€£#/.\\\[{("'`|&*]|[\d.,%]+(?:\W|\w{0,3}\b)|(?:true|false|null|none)\s*\Z|\w+://)""", re.I
)


def words_of(name: str) -> list[str]:
    """Return the words of a label in lower case; dots, underscores and hyphens part them."""
    return [word.lower() for word in _WORDS.findall(name)]


def names_role(name: str) -> bool:
    """Say whether a label of several words names a speaker by a word that is a role.

    Words for people and programs do so wherever they stand; what is also a thing (system, model, tool) only at the end.
    Sentences ("Tell the user") and headings ("User name") do not.
    """
    words = words_of(name)
    if not words or not ({*words} & PEOPLE or words[-1] in ROLE_ALIASES):
        return False
    inner = words[1:] if words[0] in _DETERMINERS else words
    return not ((words[-1] in _HEADINGS and words[-1] not in ROLE_ALIASES) or {*inner} & _IN_SENTENCES)


def could_be_speaker(name: str) -> bool:
    """Say whether a label may be the name of somebody who speaks."""
    words = words_of(name)
    if not words or names_role(name) or words[0] in _TITLES or (len(words) <= _MOST_WORDS and words[-1] in _SAID):
        return bool(words)
    if {*words} & _LOG_LEVELS or is_common(name):
        return False
    if len(words) == 1:
        return words[0] not in _IN_SENTENCES or words[0] in _PRONOUNS or len(words[0]) == 1
    return len(words) <= _MOST_WORDS and not {*words} & _IN_SENTENCES


def is_common(name: str) -> bool:
    """Say whether a word of a label heads a remark, a list or a value, and none of them names a speaker."""
    words = {*words_of(name)}
    return bool(words & _HEADINGS) and not words & _NEVER_COMMON and not names_role(name)


def is_datum(text: str) -> bool:
    """Say whether what stands behind a label begins like a value: a number, a quotation, a path, yes or no."""
    return _DATUM.match(text) is not None
