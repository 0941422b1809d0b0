"""A Compose file as plain data, with the line of every key.

    text ──PyYAML──> nodes ──here──> mappings, lists, words; places; what is to be reset

Words are read by YAML 1.2's core schema, so `22:22`, `yes` and `2026-01-02` stay text (YAML 1.1
made 1342, true and a date of them). One thing is kept of 1.1, since Docker Compose keeps it: a
number with a leading zero is octal, as in `mode: 0440`. Sources: YAML 1.2.2, 10.3.2; "Merge Key
Language-Independent Type"; Compose Specification, "Fragments" and "Merge".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from labcontainer import errors

Path = tuple[str | int, ...]

LARGEST = 4 << 20  # bytes of a file
MOST = 100_000  # values after aliases are written out: a few nested ones can make billions
_PLAIN = "plain"
_STRING = "tag:yaml.org,2002:str"
_MERGE = "<<"
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OCTAL = re.compile(r"[-+]?0o?([0-7]+)")
_WHOLE = re.compile(r"[-+]?\d+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's parser; a plain word is only marked as one, and read here."""

    def resolve(self, kind: type, value: str | None, implicit: Any) -> str:
        """The tag of a node that has none."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _STRING
        return str(super().resolve(kind, value, implicit))


@dataclass(frozen=True)
class Document:
    """One file: `data`, the line of each path, and the paths tagged `!reset` and `!override`.

    What is to be reset is not in `data`: its value means nothing.
    """

    name: str
    data: dict[str, Any]
    lines: dict[Path, int] = field(default_factory=dict)
    resets: frozenset[Path] = frozenset()
    overrides: frozenset[Path] = frozenset()

    def place(self, path: Path) -> str:
        """`compose.yaml:12`: where a key stands, or the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"

    def refuse(self, path: Path, problem: str) -> errors.SpecError:
        """The error for what is wrong at a key."""
        return errors.SpecError(self.place(path), f"{dotted(path)}: {problem}")


def dotted(path: Path) -> str:
    """A path for people: `services.web.ports[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def parse(text: str, name: str) -> Document:
    """Read one file.

    Raises:
        SpecError: it is no YAML, has a key twice, or is no mapping.
    """
    if len(text) > LARGEST:
        raise errors.SpecError(name, f"{len(text)} letters are more than {LARGEST}")
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise errors.SpecError(where, f"yaml: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise errors.SpecError(name, f"yaml: {' '.join(str(error).split())}") from None
    if node is None:
        raise errors.SpecError(name, "empty compose file")
    reader = _Reader(name)
    data = reader.value(node, ())
    if not isinstance(data, dict):
        raise errors.SpecError(f"{name}:1", "top-level object must be a mapping")
    return Document(name, data, reader.lines, frozenset(reader.resets), frozenset(reader.overrides))


class _Reader:
    """Walks over nodes once and remembers where everything stood."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path, int] = {}
        self.resets: set[Path] = set()
        self.overrides: set[Path] = set()
        self._open: set[int] = set()  # nodes that we are inside of
        self._count = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        """The data of a node."""
        self._count += 1
        if self._count > MOST:
            raise self._refuse(node, f"more than {MOST} values once its aliases are written out")
        if id(node) in self._open:
            raise self._refuse(node, "an alias inside of its own anchor")
        self._tag(node, path)
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(one, (*path, place)) for place, one in enumerate(node.value)]
            assert isinstance(node, yaml.ScalarNode)
            return self._word(node)
        finally:
            self._open.discard(id(node))

    def _tag(self, node: yaml.Node, path: Path) -> None:
        if node.tag == "!reset":
            self.resets.add(path)
        elif node.tag == "!override":
            self.overrides.add(path)
        elif node.tag.startswith("!"):
            raise self._refuse(node, f"unknown tag {node.tag}")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, (key_node, value_node) in self._entries(node).items():
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            value = self.value(value_node, (*path, key))
            if (*path, key) not in self.resets:
                found[key] = value
        return found

    def _entries(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Keys with the nodes of their values: its own, then those that `<<` brings in."""
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: list[yaml.MappingNode] = []
        for key_node, value_node in node.value:
            if key_node.tag == _PLAIN and key_node.value == _MERGE:
                merged += self._merged(value_node)
                continue
            key = self._key(key_node)
            if key in found:
                line = found[key][0].start_mark.line + 1
                raise self._refuse(key_node, f'mapping key "{key}" already defined at line {line}')
            found[key] = key_node, value_node
        for one in merged:
            for key, pair in self._entries(one).items():
                found.setdefault(key, pair)
        return found

    def _merged(self, node: yaml.Node) -> list[yaml.MappingNode]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(one, yaml.MappingNode) for one in nodes):
            raise self._refuse(node, "map merge requires map or sequence of maps as the value")
        if any(id(one) in self._open for one in nodes):
            raise self._refuse(node, "an alias inside of its own anchor")
        return list(nodes)

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._refuse(node, "a key must be a word")
        return str(node.value)

    def _word(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text = node.value
        if kind in ("str", "binary") or (node.tag[0] == "!" and node.style):
            return text
        found = plain(text)
        fits = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}.get(kind)
        if fits is not None and not isinstance(found, fits):  # type: ignore[arg-type]
            raise self._refuse(node, f"{text!r} is no {kind}")
        return found

    def _refuse(self, node: yaml.Node, why: str) -> errors.SpecError:
        return errors.SpecError(f"{self.name}:{node.start_mark.line + 1}", why)


def plain(text: str) -> Any:
    """What a word without quotes means: None, a truth, a number, or itself."""
    if _NULL.fullmatch(text):
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if octal := _OCTAL.fullmatch(text):
        number = int(octal[1], 8)
        return -number if text[0] == "-" else number
    if _WHOLE.fullmatch(text):
        return int(text) if len(text) < 4000 else text  # Python reads no longer ones
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return {".inf": float("inf"), "-.inf": float("-inf")}.get(text, text)
