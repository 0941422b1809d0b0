"""Reads a JSON document field by field, and says where it is wrong: `process.args[2]: …`."""

from __future__ import annotations

from labcontainer.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Reader:
    """One object of a document. A field that is missing or null gives the default.

    Every method raises SpecError when a value is not of the kind asked for.
    """

    def __init__(self, value: Any, where: str = "") -> None:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise SpecError(where or "the document", f"must be an object, not {_kind(value)}")
        self.value: dict[str, Any] = value
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self.value.get(name) is not None

    def at(self, name: str) -> str:
        """The path of a field, for messages."""
        return f"{self.where}.{name}" if self.where else name

    def _get(self, name: str, kind: type | tuple[type, ...], default: Any, words: str) -> Any:
        value = self.value.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise SpecError(self.at(name), f"must be {words}, not {_kind(value)}")
        return value

    def string(self, name: str, default: str = "") -> str:
        """A string without NUL bytes, which no system call could take."""
        value: str = self._get(name, str, default, "a string")
        return _clean(value, self.at(name))

    def boolean(self, name: str, default: bool = False) -> bool:
        """true or false."""
        return bool(self._get(name, bool, default, "true or false"))

    def integer(self, name: str, default: int = 0, low: int = 0, high: int = 2**32 - 2) -> int:
        """A whole number within bounds."""
        value = self._get(name, (int, float), default, "a number")
        if isinstance(value, float):
            if not value.is_integer():
                raise SpecError(self.at(name), f"must be a whole number, not {value}")
            value = int(value)
        if not low <= value <= high:
            raise SpecError(self.at(name), f"must be from {low} to {high}, not {value}")
        return int(value)

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        items = self._get(name, list, [], "a list of strings")
        for index, item in enumerate(items):
            if not isinstance(item, str):
                where = f"{self.at(name)}[{index}]"
                raise SpecError(where, f"must be a string, not {_kind(item)}")
            _clean(item, f"{self.at(name)}[{index}]")
        return tuple(items)

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers that are no less than 0."""
        items = self._get(name, list, [], "a list of numbers")
        for index, item in enumerate(items):
            if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item < 2**32 - 1:
                raise SpecError(f"{self.at(name)}[{index}]", "must be from 0 to 4294967294")
        return tuple(items)

    def pairs(self, name: str) -> dict[str, str]:
        """An object whose values are strings."""
        items = self._get(name, dict, {}, "an object of strings")
        for key, item in items.items():
            if not isinstance(item, str):
                raise SpecError(f"{self.at(name)}.{key}", f"must be a string, not {_kind(item)}")
            _clean(key + item, f"{self.at(name)}.{key}")
        return dict(items)

    def child(self, name: str) -> Reader:
        """The object in a field; an empty one where the field is missing."""
        return Reader(self.value.get(name), self.at(name))

    def children(self, name: str) -> Iterator[Reader]:
        """The objects of a list."""
        for index, item in enumerate(self._get(name, list, [], "a list")):
            where = f"{self.at(name)}[{index}]"
            if not isinstance(item, dict):
                raise SpecError(where, f"must be an object, not {_kind(item)}")
            yield Reader(item, where)

    def need(self, name: str) -> None:
        """Refuse a document that does not have a field."""
        if name not in self:
            raise SpecError(self.at(name), "is missing")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    words = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return words.get(type(value), f"the number {value}")


def _clean(value: str, where: str) -> str:
    if "\0" in value:
        raise SpecError(where, "has a NUL byte")
    return value
