"""JSON by the interpreter's own C code, without importing `json`: that would cost 8 ms a start.

`json` is a thin layer over `_json`, and imports `re` for it. Where `_json` is not as we know it,
`json` does the work. See docs/decisions/import-budget.md.
"""

from __future__ import annotations

import os

from labcontainer.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    make_scanner: Any
    make_encoder: Any
    encode_basestring_ascii: Any
else:
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner
    except ImportError:  # a Python without it, or with other names in it
        encode_basestring_ascii = make_encoder = make_scanner = None

SIZE_LIMIT = 16 << 20  # bytes of a document that are read


class _Rules:
    """What the C scanner looks up: how each kind of value is made."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


def loads(text: str, where: str) -> Any:
    """The value of a JSON text.

    Args:
        text: one JSON value, with white space around it.
        where: what the text is, for the message of an error.

    Raises:
        SpecError: the text is no JSON, is torn, or is nested too deeply.
    """
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = scan(text, start)
    except StopIteration as stop:
        place = f"at character {stop.value} of {len(text)}"
        raise SpecError(where, f"is no JSON: a value was expected {place}") from None
    except RecursionError:
        raise SpecError(where, "is nested too deeply") from None
    except ValueError as error:
        raise SpecError(where, f"is no JSON: {error}") from None
    if text[end:].strip(" \t\r\n"):
        raise SpecError(where, f"has text behind its JSON value, at character {end}")
    return value


def scan(text: str, start: int = 0) -> tuple[Any, int]:
    """One value that begins at `start`, and where it ends.

    Raises:
        StopIteration, ValueError: there is none, or not the whole of it.
    """
    try:
        found: tuple[Any, int] = make_scanner(_Rules())(text, start)
        return found
    except (AttributeError, TypeError, SystemError):
        # SystemError: text that is no JSON, and `json`, whose error the scanner wants to raise,
        # is not loaded.
        import json

        return json.JSONDecoder().raw_decode(text, start)


def load(path: str, where: str | None = None) -> Any:
    """The value in a JSON file.

    Raises:
        SpecError: it is no JSON, not UTF-8, or larger than SIZE_LIMIT.
        OSError: it can't be read.
    """
    return loads(_read(path, where or path), where or path)


def _read(path: str, where: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_fd(fd, where)
    finally:
        os.close(fd)


def read_fd(fd: int, where: str) -> str:
    """The whole text behind a descriptor, within SIZE_LIMIT."""
    parts, size = [], 0
    while part := os.read(fd, 1 << 18):
        parts.append(part)
        size += len(part)
        if size > SIZE_LIMIT:
            raise SpecError(where, f"is larger than {SIZE_LIMIT >> 20} MiB")
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError as error:
        raise SpecError(where, f"is not UTF-8: {error.reason} at byte {error.start}") from None


def dumps(value: Any, indent: int = 0) -> str:
    """A value as JSON text; on one line, or with `indent` spaces a level for people."""
    if not indent:
        try:
            make = make_encoder(
                *(None, _refuse, encode_basestring_ascii, None, ":", ","), *(False, False, True)
            )
            return "".join(make(value, 0))
        except TypeError:
            pass
    import json

    return json.dumps(value, indent=indent or None, separators=None if indent else (",", ":"))


def _refuse(value: object) -> None:
    raise ValueError(f"{type(value).__name__} is not JSON")
