"""Docker's `--filter`: `{"label": ["a=b"], "status": ["running"]}`; of one key any, of two both."""

from __future__ import annotations

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def check(filters: Mapping[str, list[str]], allowed: Collection[str]) -> None:
    """Refuse a filter that this list does not have.

    Raises:
        UsageError: one is not allowed.
    """
    for name in filters:
        if name not in allowed:
            raise errors.UsageError(f"invalid filter '{name}'")


def labels(have: Mapping[str, str], wanted: list[str]) -> bool:
    """Whether all of `key` or `key=value` are there."""
    for word in wanted:
        key, equals, value = word.partition("=")
        if key not in have or (equals and have[key] != value):
            return False
    return True


def no_labels(have: Mapping[str, str], unwanted: list[str]) -> bool:
    """Whether none of `key` or `key=value` is there (`label!`)."""
    return not any(labels(have, [word]) for word in unwanted)


def is_true(filters: Mapping[str, list[str]], name: str, default: bool = False) -> bool:
    """A filter that is a yes or no, such as `dangling`.

    Raises:
        UsageError: it is neither.
    """
    words = {word.lower() for word in filters.get(name, ())}
    if not words:
        return default
    if words <= {"1", "true", "t"}:
        return True
    if words <= {"0", "false", "f"}:
        return False
    raise errors.UsageError(f"invalid filter '{name}={min(words)}'")


def until(filters: Mapping[str, list[str]], now: float) -> float | None:
    """The time (seconds) that an `until` filter names, by a timestamp or by an age.

    Raises:
        UsageError: it is neither.
    """
    from labcontainer.engine import moments

    words = filters.get("until", [])
    if not words:
        return None
    if len(words) > 1:
        raise errors.UsageError("more than one until filter specified")
    return moments.parse(words[0], now)
