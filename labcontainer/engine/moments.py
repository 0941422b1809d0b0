"""Times as the API has them: RFC 3339 with nanoseconds, Unix seconds, or an age such as `10m`."""

from __future__ import annotations

import datetime
import time

from labcontainer import errors

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def now() -> str:
    """The time as RFC 3339, in UTC."""
    return of(time.time_ns())


def of(nanoseconds: int) -> str:
    """A time since 1970 as RFC 3339."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def parse(word: str, present: float) -> float:
    """Seconds since 1970 of a timestamp, of Unix seconds, or of an age before `present`.

    Raises:
        UsageError: it is none of them.
    """
    try:
        return float(word)
    except ValueError:
        pass
    try:
        return present - span(word)
    except errors.UsageError:
        return timestamp(word)


def span(word: str) -> float:
    """Seconds of Go's durations: `1h30m`, `10s`, `1.5h`.

    Raises:
        UsageError: it is none.
    """
    total, rest = 0.0, word
    while rest:
        number = ""
        while rest and (rest[0].isdigit() or rest[0] == "."):
            number, rest = number + rest[0], rest[1:]
        unit = next((one for one in ("ms", "ns", "us", "µs", "h", "m", "s")
                     if rest.startswith(one)), "")  # fmt: skip
        if not unit or not number or number.count(".") > 1 or number == ".":
            raise errors.UsageError(f"invalid duration {word!r}")
        total, rest = total + float(number) * _UNITS[unit], rest[len(unit) :]
    if not word:
        raise errors.UsageError("invalid duration ''")
    return total


def timestamp(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time, or of a date or local time as Docker takes them.

    Raises:
        UsageError: it is none.
    """
    head, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if dot else ""
    zone = rest[len(digits) :] if dot else ""
    try:
        moment = datetime.datetime.fromisoformat(head + zone)
    except ValueError:
        raise errors.UsageError(f"{text!r} is no time") from None
    if moment.tzinfo is None:
        moment = moment.astimezone()
    return moment.timestamp() + (float(f"0.{digits}") if digits else 0.0)
