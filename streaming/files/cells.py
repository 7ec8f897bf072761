"""What single fields of files mean: numbers, times, and how long a candle lasts; what cannot be read becomes NaN."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import timezone as dated_timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.errors import InputError

TIMEFRAMES = {
    60: "1m", 180: "3m", 300: "5m", 900: "15m", 1800: "30m", 3600: "1h", 7200: "2h", 14_400: "4h", 21_600: "6h",
    28_800: "8h", 43_200: "12h", 86_400: "1d", 259_200: "3d", 604_800: "1w",
}  # fmt: skip
"""Seconds between candles, and what files and exchanges call them."""


def epoch_seconds(column: Any) -> NDArray[np.float64]:
    """Seconds since the epoch from numbers (s, ms or µs, told apart by size), timestamps or ISO texts; NaN where unknown."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            column = column.cast(pa.timestamp("us", tz="UTC"), safe=False)
        except pa.ArrowInvalid:
            values = column.to_pylist()
            first = day_first(values)
            return np.array([moment(value, day_first=first) for value in values], np.float64)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64) / 1e6
    return _seconds(numbers(column))


def _seconds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = np.select([np.abs(values) > 1e14, np.abs(values) > 1e11], [1e6, 1e3], 1.0)
    seconds = np.asarray(values / scale, dtype=np.float64)
    return np.where(np.abs(seconds) < 1e15, seconds, np.nan)


_ZONES = {"UTC": 0, "GMT": 0, "Z": 0, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "IST": 5.5, "JST": 9,
          "KST": 9, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}  # fmt: skip
"""Hours that the zones' short names are ahead of UTC, as files of posts write them."""
_FORMS = ("%Y-%m-%d %I-%p", "%Y-%m-%d %I:%M %p", "%a %b %d %H:%M:%S %z %Y", "%b %d, %Y", "%Y.%m.%d %H:%M:%S")


_NUMBERED = re.compile(
    r"(\d{1,2})([/.])(\d{1,2})\2(\d{4}),?(?:[ T]+(\d{1,2}):(\d\d)(?::(\d\d))?(?:\.\d+)?\s*([ap]m)?)?", re.I
)
"""Days and months as numbers: ``01/13/2021``, ``13.01.2021 14:05``, ``1/13/2021, 2:05 PM``."""


def day_first(values: Iterable[object]) -> bool | None:
    """Whether dates with strokes (``01/02/2021``) name the day first; None where both readings fit equally well.

    A number above 12 tells it; else the reading whose days lie closer together, as neighbours in a file do.
    """
    found = {
        (int(hit[1]), int(hit[3]), int(hit[4])) for v in values if (hit := _NUMBERED.match(str(v))) and hit[2] == "/"
    }
    if any(one > 12 for one, _, _ in found) or any(two > 12 for _, two, _ in found):
        return not any(two > 12 for _, two, _ in found)
    days = [date(year, two, one) for one, two, year in found], [date(year, one, two) for one, two, year in found]
    spans = [(max(own) - min(own)).days if own else 0 for own in days]
    return None if spans[0] == spans[1] else spans[0] < spans[1]


def _numbered(text: str, first: bool | None) -> datetime:
    """The time of such a text; ValueError where it is none, or may be two."""
    hit = _NUMBERED.fullmatch(text)
    if hit is None or (hit[2] == "/" and first is None and hit[1] != hit[3]):
        raise ValueError(text)
    day, month = (hit[1], hit[3]) if hit[2] == "." or first else (hit[3], hit[1])
    hour = int(hit[5] or 0)
    if hit[8]:
        hour = hour % 12 + (12 if hit[8].lower() == "pm" else 0)
    return datetime(int(hit[4]), int(month), int(day), hour, int(hit[6] or 0), int(hit[7] or 0))  # noqa: DTZ001 - the caller adds the zone


def moment(value: object, zone: tzinfo = UTC, *, day_first: bool | None = None) -> float:
    """A time as epoch seconds, NaN where it is none: numbers (s, ms, µs), ISO, RFC 2822, Twitter's and CryptoDataDownload's.

    ``zone``: of texts that name none. ``day_first``: of dates with strokes, as :func:`day_first` finds it in a column.
    """
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or zone).timestamp()
    text = str(value if value is not None else "").strip()
    with suppress(ValueError):
        return float(_seconds(np.array([float(text)], np.float64))[0])
    words, _, last = text.rpartition(" ")
    if last.upper() in _ZONES and words:
        text, zone = words, dated_timezone(timedelta(hours=_ZONES[last.upper()]))
    reads: list[Callable[[str], datetime]] = [
        datetime.fromisoformat,
        partial(_numbered, first=day_first),
        parsedate_to_datetime,
        *(partial(_by_form, form) for form in _FORMS),
    ]
    for read in reads:
        with suppress(ValueError, TypeError, OverflowError):
            found = read(text)
            return float(found.replace(tzinfo=found.tzinfo or zone).timestamp())
    return float("nan")


def _by_form(form: str, text: str) -> datetime:
    return datetime.strptime(text, form)  # noqa: DTZ007 - the caller adds the zone


def offset(text: str) -> tzinfo | None:
    """The zone of a text such as ``+0200``, ``+02:00``, ``UTC`` or ``CEST``; None where it is none."""
    if text.upper() in _ZONES:
        return dated_timezone(timedelta(hours=_ZONES[text.upper()]))
    with suppress(ValueError):
        return datetime.strptime(text, "%z").tzinfo
    return None


def whole(value: object) -> int | None:
    """A count such as ``12``, ``12.0``, ``1,204`` or ``1.2K``; None where it cannot be read."""
    text = str(value if value is not None else "").strip().upper().replace(",", "")
    scale = {"K": 1e3, "M": 1e6, "B": 1e9}.get(text[-1:], 1.0)
    read = number(text[:-1] if scale > 1 else text) * scale
    return round(read) if abs(read) < 2**53 else None


def numbers(column: Any) -> NDArray[np.float64]:
    """A column's numbers; NaN where there is none."""
    values = column.to_numpy(zero_copy_only=False)
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        return np.array([number(str(value)) for value in values], dtype=np.float64)


_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+\.\d+|[-+]?\d{1,3}(?:,\d{3}){2,}")
_COMMA = re.compile(r"[-+]?(?:0|\d{4,}),\d+|[-+]?\d+,(?:\d{1,2}|\d{4,})")
_SCALES = {"K": 1e3, "M": 1e6, "B": 1e9}


def number(text: str) -> float:
    """The number of a field; what is none becomes NaN, and its row is refused.

    ``44,943.7`` and ``1,234,567`` have commas between thousands, ``36000,5`` a decimal one; ``36,005`` may be either, and
    is none. ``97.84K`` is 97,840.
    """
    plain = text.strip()
    scale = _SCALES.get(plain[-1:].upper(), 1.0) if plain[:1] in "-+0123456789" else 1.0
    plain = plain[:-1] if scale > 1 else plain
    if _THOUSANDS.fullmatch(plain):
        plain = plain.replace(",", "")
    elif _COMMA.fullmatch(plain):
        plain = plain.replace(",", ".")
    try:
        return float(plain) * scale
    except ValueError:
        return float("nan")


def timeframe_of(at: NDArray[np.int64], others: NDArray[np.int64]) -> str:
    """The timeframe by the commonest distance of neighbours; of a single candle by that of the ``others`` in its file.

    Raises:
        InputError: it is none that is known.
    """
    for moments in (at[at >= 0], others[others >= 0]):
        steps, counts = np.unique(np.diff(np.unique(moments)), return_counts=True)
        if len(steps):
            timeframe = TIMEFRAMES.get(int(steps[np.argmax(counts)]))
            if timeframe is None:
                break
            return timeframe
    raise InputError("The candles do not tell how long each of them lasts; say it: --timeframe 1m.")


def timeframe_in(stem: str) -> str:
    """The timeframe in a file's name like ``BTCUSDT-1d-2024-01-01``; empty where there is none."""
    words = re.split(r"[-_. ]+", stem)
    return next((word for word in words if word in TIMEFRAMES.values()), "")
