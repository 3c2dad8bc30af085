"""Times written as text, read only to be compared: ISO and other forms, where all readings give one order.

``1/2/2024`` is in February or in January; what matters here is which message came first.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import pandas as pd

__all__ = ["is_clock", "looks_like_time", "time_readings"]

_ZONE = re.compile(r"\d\s*(Z|[+-]\d\d:?\d\d|UTC|GMT)\s*$")
_MONTH = r"[^\W\d_]{3,9}\.?"
_CLOCK = r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?"
_FORMS = (
    r"\d{4}-\d\d-\d\d([T ].*)?",
    r"\d{4}(?P<one>[-/.])\d{1,2}(?P=one)\d{1,2}\b.*",
    r"\d{1,2}(?P<other>[-/.])\d{1,2}(?P=other)\d{2}(\d\d)?\b.*",
    rf"({_MONTH},?\s+)?{_MONTH}\s+\d{{1,2}}(st|nd|rd|th)?,?\s+(\d{{4}}|\d\d:).*",
    rf"({_MONTH},?\s+)?\d{{1,2}}[\s-]{_MONTH},?[\s-]\d{{2,4}}\b.*",
    _CLOCK,
)
_TIME = re.compile(rf"\s*({'|'.join(_FORMS)})\s*")
_OF_DAY = re.compile(rf"\s*{_CLOCK}\s*")
_NUMBERS = re.compile(r"\s*(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})\b,?\s*(.*?)\s*")
_USUAL = (
    "%b %d, %Y %I:%M %p",
    "%B %d, %Y %I:%M %p",
    "%b %d, %Y, %I:%M %p",
    "%Y-%m-%d %I:%M %p",
    "%Y-%m-%d %I:%M:%S %p",
)
"""Forms that pandas does not guess."""
_MOST_MIXED = 20_000
"""Texts that are read one by one where no one form fits them all."""


def looks_like_time(text: str) -> bool:
    """Say whether a text is written as times are."""
    return len(text) < 60 and _TIME.fullmatch(text) is not None


def is_clock(text: str) -> bool:
    """Say whether a text is a time of day without the day."""
    return len(text) < 60 and _OF_DAY.fullmatch(text) is not None


def time_readings(texts: Sequence[str]) -> list[list[int]]:
    """Return numbers that grow with the times that texts are; twice where day and month could be either of two numbers.

    Raises
    ------
    ValueError
        Where they are not times, or some of them have a zone and others have none.
    """
    if len({_ZONE.search(text) is not None for text in texts}) > 1:
        raise ValueError("times with and without zone")
    try:
        return [_as_numbers(pd.to_datetime(pd.Series(texts, dtype=object), format="ISO8601", utc=True))]
    except ValueError:
        pass
    if not all(map(looks_like_time, texts)):
        raise ValueError("not times")
    if all(map(is_clock, texts)):
        return [_parsed([f"2000-01-01 {text.strip()}" for text in texts])]
    found = [_parsed(written) for written in _written(texts)]
    return found[:1] if len(found) == 2 and found[0] == found[1] else found


def _written(texts: Sequence[str]) -> list[list[str]]:
    """Return texts with their dates as ISO has them; once for each reading of day and month that fits all of them."""
    parts = [_NUMBERS.fullmatch(text) for text in texts]
    if not any(parts):
        return [list(texts)]
    if not all(parts):
        raise ValueError("times in several forms")
    split = [(part[1], part[3], part[4], part[2], part[5]) for part in parts if part]
    if all(len(first) == 4 for first, *_ in split):
        return [[f"{year}-{int(month):02}-{int(day):02} {rest}" for year, month, day, _, rest in split]]
    found = []
    for month_at, day_at in ((1, 0), (0, 1)):
        is_read = all(int(one[month_at]) <= 12 and int(one[day_at]) <= 31 for one in split)
        if is_read and not (month_at == 0 and split[0][3] == "."):  # dots: the day comes first wherever they are used
            found.append([f"{_year(one[2])}-{int(one[month_at]):02}-{int(one[day_at]):02} {one[4]}" for one in split])
    if not found:
        raise ValueError("dates that no one order of day and month fits")
    return found


def _year(text: str) -> str:
    return text if len(text) == 4 else f"20{text:0>2}"


def _parsed(texts: Sequence[str]) -> list[int]:
    """Read texts in one form, that of the first; where one does not have it, each in its own, if they are not many."""
    series = pd.Series(texts, dtype=object).str.strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        guessed = pd.tseries.api.guess_datetime_format(str(series.iloc[0]))
        for form in (*_USUAL, guessed):
            try:
                return _as_numbers(pd.to_datetime(series, format=form, utc=True)) if form else _each(series)
            except (ValueError, OverflowError):
                continue
        return _each(series)


def _each(series: pd.Series) -> list[int]:
    different = series.drop_duplicates()
    if len(different) > _MOST_MIXED:
        raise ValueError("times in several forms")
    read = pd.to_datetime(different, format="mixed", utc=True)
    found: list[int] = series.map(dict(zip(different, _as_numbers(read), strict=True))).tolist()
    return found


def _as_numbers(times: pd.Series) -> list[int]:
    numbers: list[int] = times.dt.as_unit("ns").astype("int64").tolist()
    return numbers
