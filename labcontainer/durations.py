"""Lengths of time as Go writes them, and so Docker's flags and files: `1h30m`, `1.5s`, `200ms`.

Source: Go, time.ParseDuration.
"""

from __future__ import annotations

from labcontainer.errors import UsageError

NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
               "h": 3600 * 10**9}  # fmt: skip
_DIGITS, _UNITS = "0123456789", "hmnsuµ"


def parse(text: str) -> int:
    """Nanoseconds, exactly; less than one is cut off.

    Raises:
        UsageError: it is no duration.
    """
    rest, total = text[1:] if text[:1] in ("+", "-") else text, 0
    if rest == "0":
        return 0
    if not rest:
        raise _wrong(text)
    while rest:
        whole, rest = _span(rest, _DIGITS)
        part = ""
        if rest.startswith("."):
            part, rest = _span(rest[1:], _DIGITS)
        unit, rest = _span(rest, _UNITS)
        if unit not in NANOSECONDS or not (whole or part):
            raise _wrong(text)
        total += int(whole or 0) * NANOSECONDS[unit]
        total += int(part or 0) * NANOSECONDS[unit] // 10 ** len(part)
    return -total if text.startswith("-") else total


def _span(text: str, letters: str) -> tuple[str, str]:
    """The letters that a text begins with, and the rest."""
    rest = text.lstrip(letters)
    return text[: len(text) - len(rest)], rest


def _wrong(text: str) -> UsageError:
    return UsageError(f"{text!r} is no duration, such as 1h30m or 10s")


def text(nanoseconds: int) -> str:
    """The duration as Go prints it: `1h0m0s`, `1m30s`, `1.5s`, `200ms`, `0s`."""
    sign, rest = "-" if nanoseconds < 0 else "", abs(nanoseconds)
    for unit, larger in (("ns", "us"), ("µs", "ms"), ("ms", "s")):
        if 0 < rest < NANOSECONDS[larger]:
            return f"{sign}{_decimal(rest, NANOSECONDS[unit])}{unit}"
    minutes, rest = divmod(rest, NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    before = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{before}{_decimal(rest, NANOSECONDS['s'])}s"


def _decimal(number: int, unit: int) -> str:
    """So many of a unit, without the noughts at the end of a fraction."""
    whole, part = divmod(number, unit)
    digits = f"{part:0{len(str(unit)) - 1}}".rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)
