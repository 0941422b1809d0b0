"""Moments and spans in the words of Docker: `10m`, `2026-01-02T13:00:00Z`, a Unix time."""

from __future__ import annotations

import time

from labcontainer import errors

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_SPANS = ((60, "second"), (60, "minute"), (24, "hour"))


def seconds(word: str) -> float:
    """The length of a Go duration such as `1h30m`, `500ms`.

    Raises:
        UsageError: it is none.
    """
    total, rest = 0.0, word.removeprefix("-")
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("abcdefghijklmnopqrstuvwxyzµ"))]
        rest = rest[len(unit) :]
        try:
            total += float(number) * UNITS[unit]
        except (ValueError, KeyError):
            raise errors.UsageError(f"{word!r} is no duration, such as 1h30m or 10s") from None
    return -total if word.startswith("-") else total


def stamp(word: str) -> str | None:
    """The Unix time that a word means, for a query: None for "", now less a duration.

    Raises:
        UsageError: it is neither a time nor a duration.
    """
    if not word:
        return None
    if word.replace(".", "", 1).isdecimal():
        return word
    if word[0].isdecimal() and word[-1] in "smh" and "T" not in word:
        return f"{time.time() - seconds(word):.9f}"
    return f"{moment(word):.9f}"


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
