"""Times as Docker has them: RFC 3339 with nanoseconds, Unix seconds, an age such as `10m`."""

from __future__ import annotations

import time

from labcontainer import durations, errors

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
_LAST = 253402300800  # seconds to the end of the year 9999


def now() -> str:
    """The time as RFC 3339, in UTC."""
    return of(time.time_ns())


def of(nanoseconds: int) -> str:
    """A time since 1970 as RFC 3339."""
    whole, rest = divmod(nanoseconds, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{rest:09d}Z"


def parse(word: str, present: float) -> float:
    """Seconds since 1970 of a date, of Unix seconds, or of an age before `present`.

    Raises:
        UsageError: it is none of them.
    """
    if word.replace(".", "", 1).isdecimal() and float(word) < _LAST:
        return float(word)
    try:
        return present - seconds(word)
    except errors.UsageError:
        return moment(word)


def stamp(word: str) -> str | None:
    """The Unix time that a word means, for a query: None for "", now less a duration.

    Raises:
        UsageError: it is neither a time nor a duration.
    """
    if not word:
        return None
    if word.replace(".", "", 1).isdecimal():
        return word
    return f"{parse(word, time.time()):.9f}"


def seconds(word: str) -> float:
    """The length of a Go duration such as `1h30m`, `500ms`.

    Raises:
        UsageError: it is none.
    """
    return durations.parse(word) / 1e9


def moment(word: str) -> float:
    """The Unix time of an RFC 3339 date; one without a zone is local, as Docker has it.

    Raises:
        UsageError: it is no date.
    """
    from datetime import datetime

    text = word.strip()
    head, dot, fraction = text.partition(".")
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    zone = fraction[len(digits) :]
    try:
        found = datetime.fromisoformat((head + zone) if dot else text)
    except ValueError:
        raise errors.UsageError(f"{word!r} is no time, such as 2026-01-02T13:00:00Z") from None
    return found.timestamp() + (float(f"0.{digits}") if digits else 0)


def ago(then: float, now: float | None = None) -> str:
    """How long ago, in Docker's words: `5 minutes`, `About an hour`, `3 days`."""
    return span(max(0.0, (time.time() if now is None else now) - then))


def span(length: float) -> str:
    """A length of time in Docker's words (docker/go-units, HumanDuration)."""
    whole = int(length)
    minutes, hours = int(length / 60), int(length / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for most, unit, each in ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 168, "weeks"),
                             (24 * 365 * 2, 720, "months")):  # fmt: skip
        if hours < most:
            return f"{hours // unit} {each}"
    return f"{int(length / 3600 / 24 / 365)} years"
