"""Moments as they are sent to a daemon."""

from __future__ import annotations

import time

from labcontainer.engine.moments import ago, moment, seconds, span

__all__ = ["ago", "moment", "seconds", "span", "stamp"]


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
