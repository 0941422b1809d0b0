"""Docker's `--format`: the part of Go's text/template that people use, on parsed JSON.

    {{.Name}} {{json .State}} {{range .Mounts}}{{.Source}} {{end}} {{index .Labels "a"}}
    {{if .Running}}up{{else}}down{{end}}   {{.Names | upper}}   {{range $k, $v := .Ports}}…

A template is parsed into a tree once and printed for each value. Source: Go, package text/template;
the functions beside Go's own are docker's ("Format command and log output").
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)"""
    r"""|(?P<field>(?:\$\w*)?(?:\.\w+)+|\$\w*|\.)|(?P<word>\w+)|(?P<mark>:=|=|\||\(|\)|,))"""
)
_ENTITY = {"true": True, "false": False, "nil": None}


class TemplateError(errors.UsageError):
    """The template is off, or asks for what is not there."""


# --- the tree -------------------------------------------------------------------------------------


@dataclass
class Command:
    """A function or field with its arguments: `index .A "b"`."""

    operands: list[Any]


@dataclass
class Field:
    """`.A.B` or `$x.A`, or the same behind a parenthesis."""

    start: Any  # "" for the dot, "$x" for a variable, a Pipeline for a parenthesis
    names: list[str]


@dataclass
class Pipeline:
    """`a | b | c`, perhaps put into variables."""

    commands: list[Command]
    variables: list[str] = field(default_factory=list)


@dataclass
class Block:
    """`if`, `range` or `with`: what is printed when, and what else."""

    kind: str
    pipeline: Pipeline
    body: list[Any]
    otherwise: list[Any]


# --- reading --------------------------------------------------------------------------------------


class Parser:
    """Text and actions, one after another, into the tree."""

    def __init__(self, text: str) -> None:
        self._parts = _split(text)
        self._place = 0

    def nodes(self, *ends: str) -> tuple[list[Any], str]:
        """Nodes up to one of the actions `ends`, and that action."""
        found: list[Any] = []
        while self._place < len(self._parts):
            is_action, text = self._parts[self._place]
            self._place += 1
            word = text.split(None, 1)[0] if is_action and text else ""
            if not is_action:
                found.append(text)
            elif word in ("end", "else"):
                if word not in ends:
                    raise TemplateError(f"template parsing error: unexpected {{{{{text}}}}}")
                return found, text
            elif word in ("if", "range", "with"):
                found.append(self._block(word, text[len(word) :]))
            elif not text.startswith("/*"):
                found.append(Words(text).pipeline())
        if ends:
            raise TemplateError("template parsing error: unexpected end, an {{end}} is missing")
        return found, ""

    def _block(self, kind: str, head: str) -> Block:
        pipeline = Words(head).pipeline()
        body, end = self.nodes("end", "else")
        if end == "end":
            return Block(kind, pipeline, body, [])
        rest = end[len("else") :].strip()
        if rest.startswith("if"):
            return Block(kind, pipeline, body, [self._block("if", rest[2:])])
        return Block(kind, pipeline, body, self.nodes("end")[0])


def _split(text: str) -> list[tuple[bool, str]]:
    """(is it an action, its text), with the white space that `{{-` and `-}}` eat gone."""
    found: list[tuple[bool, str]] = []
    place, trim = 0, False
    for match in _ACTION.finditer(text):
        before = text[place : match.start()]
        before = before.lstrip() if trim else before
        found.append((False, before.rstrip() if match[1] else before))
        found.append((True, match[2].strip()))
        place, trim = match.end(), bool(match[3])
    rest = text[place:]
    if "{{" in rest:
        raise TemplateError("template parsing error: unclosed action: a '}}' is missing")
    return [*found, (False, rest.lstrip() if trim else rest)]


class Words:
    """The inside of one action."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None:
                raise TemplateError(f"template parsing error: unexpected {text[place:]!r}")
            behind = place > 0 and text[place - 1] == ")" and match[0].startswith(".")
            kind = "chain" if behind else match.lastgroup or ""
            self._tokens.append((kind, match[0].strip()))
            place = match.end()

    def pipeline(self) -> Pipeline:
        """The whole action."""
        found = self._pipeline()
        if self._tokens:
            raise TemplateError(f"template parsing error: unexpected {self._tokens[0][1]!r}")
        return found

    def _pipeline(self) -> Pipeline:
        variables = self._variables()
        commands = [self._command()]
        while self._tokens and self._tokens[0][1] == "|":
            self._tokens.pop(0)
            commands.append(self._command())
        return Pipeline(commands, variables)

    def _variables(self) -> list[str]:
        words = [word for _, word in self._tokens]
        if not any(mark in words for mark in (":=", "=")):
            return []
        end = next(place for place, word in enumerate(words) if word in (":=", "="))
        names = [word for word in words[:end] if word != ","]
        if not names or not all(name.startswith("$") for name in names):
            raise TemplateError(f"template parsing error: bad variable in {self._text!r}")
        del self._tokens[: end + 1]
        return names

    def _command(self) -> Command:
        operands: list[Any] = []
        while self._tokens and self._tokens[0][1] not in ("|", ")"):
            operands.append(self._operand())
        if not operands:
            raise TemplateError(f"template parsing error: missing value in {{{{{self._text}}}}}")
        return Command(operands)

    def _operand(self) -> Any:
        kind, word = self._tokens.pop(0)
        if word == "(":
            inner = self._pipeline()
            if not self._tokens or self._tokens.pop(0)[1] != ")":
                raise TemplateError("template parsing error: a ')' is missing")
            if self._tokens and self._tokens[0][0] == "chain":
                return Field(inner, self._tokens.pop(0)[1].split(".")[1:])
            return inner
        if kind == "string":
            return Literal(word[1:-1] if word[0] == "`" else json.loads(word))
        if kind == "number":
            return Literal(float(word) if "." in word else int(word))
        if kind == "field":
            start, *names = word.split(".")
            return Field(start, [name for name in names if name])
        if word in _ENTITY:
            return Literal(_ENTITY[word])
        if kind == "word" and word in FUNCTIONS:
            return FUNCTIONS[word]
        raise TemplateError(f"template parsing error: function {word!r} not defined")


@dataclass
class Literal:
    """A constant."""

    value: Any


# --- printing -------------------------------------------------------------------------------------


class Template:
    """A parsed template. `missing_is_error` as `docker inspect` has it."""

    def __init__(self, text: str, *, missing_is_error: bool = False) -> None:
        self._nodes, _ = Parser(text).nodes()
        self._strict = missing_is_error

    def render(self, value: Any) -> str:
        """The text for a value.

        Raises:
            TemplateError: it asks for what is not there.
        """
        return self._print(self._nodes, value, {"$": value})

    def _print(self, nodes: list[Any], dot: Any, names: dict[str, Any]) -> str:
        out: list[str] = []
        for node in nodes:
            if isinstance(node, str):
                out.append(node)
            elif isinstance(node, Block):
                out.append(self._block(node, dot, dict(names)))
            else:
                value = self._pipeline(node, dot, names)
                out.append("" if node.variables else text_of(value))
        return "".join(out)

    def _block(self, block: Block, dot: Any, names: dict[str, Any]) -> str:
        value = self._pipeline(block.pipeline, dot, names)
        if block.kind == "range":
            return self._range(block, value, dot, names)
        if not truth(value):
            return self._print(block.otherwise, dot, names)
        return self._print(block.body, value if block.kind == "with" else dot, names)

    def _range(self, block: Block, value: Any, dot: Any, names: dict[str, Any]) -> str:
        pairs: Iterable[tuple[Any, Any]]
        pairs = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value or ()))
        if not pairs:
            return self._print(block.otherwise, dot, names)
        out: list[str] = []
        for key, one in pairs:
            own = dict(names)
            variables = block.pipeline.variables
            own.update(zip(variables, [one] if len(variables) == 1 else [key, one], strict=False))
            out.append(self._print(block.body, one, own))
        return "".join(out)

    def _pipeline(self, pipeline: Pipeline, dot: Any, names: dict[str, Any]) -> Any:
        value: Any = _NOTHING
        for command in pipeline.commands:
            value = self._command(command, dot, names, value)
        if len(pipeline.variables) == 1:
            names[pipeline.variables[0]] = value
        return value

    def _command(self, command: Command, dot: Any, names: dict[str, Any], piped: Any) -> Any:
        first, *rest = command.operands
        arguments = [self._value(one, dot, names) for one in rest]
        if piped is not _NOTHING:
            arguments.append(piped)
        called = first if callable(first) else self._value(first, dot, names)
        if callable(called):
            return _called(called, arguments)
        if arguments:
            raise TemplateError("template error: can't give an argument to what is no function")
        return called

    def _value(self, operand: Any, dot: Any, names: dict[str, Any]) -> Any:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Pipeline):
            return self._pipeline(operand, dot, names)
        if not isinstance(operand, Field):
            return _called(operand, [])
        if isinstance(operand.start, Pipeline):
            value = self._pipeline(operand.start, dot, names)
        elif operand.start and operand.start not in names:
            raise TemplateError(f"template parsing error: undefined variable {operand.start!r}")
        else:
            value = names[operand.start] if operand.start else dot
        for name in operand.names:
            value = self._member(value, name)
        return value

    def _member(self, value: Any, name: str) -> Any:
        if isinstance(value, dict) and name in value:
            return value[name]
        if self._strict and value is not None:
            what = "map has no entry for key" if isinstance(value, dict) else "can't find field"
            raise TemplateError(f"template parsing error: at <.{name}>: {what} {name!r}")
        return None


_NOTHING = object()


def _called(function: Callable[..., Any], arguments: list[Any]) -> Any:
    try:
        return function(*arguments)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        name = getattr(function, "__name__", "function").strip("_")
        raise TemplateError(f"template error: calling {name}: {error}") from None


def truth(value: Any) -> bool:
    """Go's: false, 0, nil and what is empty are false."""
    return bool(value)


def text_of(value: Any) -> str:
    """A value as Go's fmt prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        pairs = (f"{key}:{_inner(one)}" for key, one in sorted(value.items()))
        return f"map[{' '.join(pairs)}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(_inner, value))}]"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e21 else f"{value:e}"
    return str(value)


def _inner(value: Any) -> str:
    return "<nil>" if value is None else text_of(value)


# --- functions ------------------------------------------------------------------------------------


def to_json(value: Any) -> str:
    """JSON in one line, as docker prints it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif value is not None:
            value = value[key]
    return value


def _printf(form: str, *values: Any) -> str:
    texts = tuple(text_of(value) if isinstance(value, bool | dict | list) else value
                  for value in values)  # fmt: skip
    return re.sub(r"%v", "%s", form).replace("%q", '"%s"') % texts


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda one, other: test(one, other)


def _and(*values: Any) -> Any:
    return next((value for value in values if not truth(value)), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if truth(value)), values[-1])


FUNCTIONS: dict[str, Any] = {
    "json": to_json,
    "index": _index,
    "join": lambda values, by: by.join(map(text_of, values or ())),
    "split": lambda text, by: text.split(by),
    "lower": lambda text: text_of(text).lower(),
    "upper": lambda text: text_of(text).upper(),
    "title": lambda text: text_of(text).title(),
    "pad": lambda text, before, after: " " * before + text + " " * after if text else text,
    "truncate": lambda text, most: text_of(text)[:most],
    "len": lambda value: len(value or ()),
    "print": lambda *values: "".join(map(text_of, values)),
    "println": lambda *values: " ".join(map(text_of, values)) + "\n",
    "printf": _printf,
    "slice": lambda value, *ends: value[slice(*ends)],
    "not": lambda value: not truth(value),
    "and": _and,
    "or": _or,
    "eq": lambda one, *others: one in others,
    "ne": _compare(lambda one, other: bool(one != other)),
    "lt": _compare(lambda one, other: bool(one < other)),
    "le": _compare(lambda one, other: bool(one <= other)),
    "gt": _compare(lambda one, other: bool(one > other)),
    "ge": _compare(lambda one, other: bool(one >= other)),
}
