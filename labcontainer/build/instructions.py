"""Instructions with their meaning: flags checked, exec or shell form, names and values.

Variables are not expanded here: their values are known only where a stage is built. Every error
names the line. Source: Docker, "Dockerfile reference"; BuildKit, frontend/dockerfile/instructions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from labcontainer import durations
from labcontainer.build.dockerfile import KEYWORDS, Heredoc, Line, heredoc, split_flags, unknown
from labcontainer.build.errors import DockerfileError
from labcontainer.build.mounts import Mount, parse_mount
from labcontainer.build.words import Lexer
from labcontainer.errors import UsageError
from labcontainer.record import Record

Pairs = tuple[tuple[str, str], ...]


class Instruction(Record):
    """Any instruction; `line` is where it stands."""

    line: Line


class From(Instruction):
    """FROM: the base by name, the stage's own name ("" for none), the platform asked for."""

    image: str
    name: str = ""
    platform: str = ""


class Command(Instruction):
    """CMD, ENTRYPOINT and SHELL: `shell` is true of one text for the shell to read."""

    words: tuple[str, ...]
    shell: bool = False


class Run(Command):
    """RUN with its flags."""

    mounts: tuple[str, ...] = ()
    network: str = "default"
    security: str = "sandbox"


class Healthcheck(Instruction):
    """HEALTHCHECK: Docker's Test words, times in nanoseconds; 0 is the default."""

    test: tuple[str, ...]
    times: Mapping[str, int] = {}


class Assign(Instruction):
    """ENV, LABEL and ARG: names and values as written; an ARG without a value has None."""

    pairs: tuple[tuple[str, str | None], ...]


class Copy(Instruction):
    """COPY and ADD: `files` are the heredocs among the sources, by their word."""

    sources: tuple[str, ...]
    target: str
    add: bool = False
    origin: str = ""
    chown: str = ""
    chmod: str = ""
    checksum: str = ""
    link: bool = False
    parents: bool = False
    unpack: bool | None = None
    exclude: tuple[str, ...] = ()
    files: Mapping[str, Heredoc] = {}


class Words(Instruction):
    """EXPOSE and VOLUME."""

    words: tuple[str, ...]


class Text(Instruction):
    """USER, WORKDIR, STOPSIGNAL and MAINTAINER."""

    text: str


class Onbuild(Instruction):
    """ONBUILD: an instruction for whoever builds on this image."""

    trigger: str


FLAGS: Mapping[str, tuple[str, ...]] = {
    "FROM": ("platform",),
    "RUN": ("mount", "network", "security"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "ADD": ("chown", "chmod", "link", "checksum", "keep-git-dir", "unpack", "exclude"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}
SWITCHES = ("link", "parents", "keep-git-dir", "unpack")
REPEATED = ("mount", "exclude")


def read(line: Line, escape: str = "\\") -> Instruction:
    """The instruction that a line is.

    Raises:
        DockerfileError: it is none.
    """
    try:
        flags = _flags(line)
        return READERS[line.keyword](line, flags, escape)
    except DockerfileError as error:
        if error.line:
            raise
        raise line.wrong(error.problem) from None


# --- what all have --------------------------------------------------------------------------------


def _flags(line: Line) -> dict[str, list[str]]:
    """Flag -> its values."""
    found: dict[str, list[str]] = {}
    allowed = FLAGS.get(line.keyword, ())
    for flag in line.flags:
        name, equals, value = flag[2:].partition("=")
        if name not in allowed:
            raise line.wrong(f"unknown flag: --{name}{_near(name, allowed)}")
        if not equals and name not in SWITCHES:
            raise line.wrong(f"missing a value on flag: --{name}")
        if name in found and name not in REPEATED:
            raise line.wrong(f"duplicate flag specified: {name}")
        found.setdefault(name, []).append(value if equals else "true")
    return found


def _near(name: str, known: tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean --{close[0]}?)" if close else ""


def _one(flags: Mapping[str, list[str]], name: str, default: str = "") -> str:
    return flags.get(name, [default])[0]


def _switch(flags: Mapping[str, list[str]], name: str) -> bool:
    value = _one(flags, name, "false")
    if value not in ("true", "false", "1", "0"):
        raise DockerfileError(f"expecting boolean value for flag {name}, not: {value}")
    return value in ("true", "1")


def exec_form(rest: str) -> tuple[str, ...] | None:
    """The words of a JSON list of texts; None for anything else, which is the shell's then."""
    if not rest.startswith("["):
        return None
    try:
        found = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        return None
    return tuple(found)


# --- one reader for each --------------------------------------------------------------------------

Flags = Mapping[str, list[str]]


def _from(line: Line, flags: Flags, _escape: str) -> From:
    words = line.rest.split()
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not re.fullmatch(r"[a-z][a-z0-9_.-]*", name):
            raise line.wrong(f"invalid name for build stage: {words[2]!r}, name can't start with a "
                             "number or contain symbols")  # fmt: skip
    elif len(words) == 1:
        name = ""
    else:
        raise line.wrong("FROM requires either one or three arguments")
    return From(line, words[0], name, _one(flags, "platform"))


def _command(line: Line, _flags: Flags, _escape: str) -> Command:
    words = exec_form(line.rest)
    return Command(line, (line.rest,), True) if words is None else Command(line, words)


def _shell(line: Line, _flags: Flags, _escape: str) -> Command:
    words = exec_form(line.rest)
    if not words:
        raise line.wrong("SHELL requires the arguments to be in JSON form")
    return Command(line, words)


def _run(line: Line, flags: Flags, _escape: str) -> Run:
    network = _one(flags, "network", "default")
    security = _one(flags, "security", "sandbox")
    if network not in ("default", "none", "host"):
        raise line.wrong(f"unsupported network mode {network!r}: default, none or host")
    if security not in ("sandbox", "insecure"):
        raise line.wrong(f"security {security!r} is not valid: sandbox or insecure")
    mounts = tuple(flags.get("mount", ()))
    for mount in mounts:
        if "$" not in mount:
            parse_mount(mount)
    words = None if line.heredocs else exec_form(line.rest)
    if words == ():
        raise line.wrong("RUN requires at least one argument")
    shell = words is None
    return Run(line, (line.rest,) if words is None else words, shell, mounts, network, security)


def mounts_of(run: Run, expand: Callable[[str], str]) -> tuple[Mount, ...]:
    """The mounts of a RUN, their variables expanded."""
    return tuple(parse_mount(expand(mount)) for mount in run.mounts)


def _assign(line: Line, _flags: Flags, escape: str) -> Assign:
    """`name=value …`, or the old `name the rest of the line`."""
    words = Lexer(escape, raw=True).words(line.rest)
    if "=" not in words[0]:
        name, *value = re.split(r"\s+", line.rest, maxsplit=1)
        if not value:
            raise line.wrong(f"{line.keyword} must have two arguments")
        return Assign(line, ((name, value[0]),))
    pairs = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise line.wrong(f"Syntax error - can't find = in {word!r}. "
                             "Must be of the form: name=value")  # fmt: skip
        if not name:
            raise line.wrong(f"{line.keyword} names can not be blank")
        pairs.append((name, text))
    return Assign(line, tuple(pairs))


def _arg(line: Line, _flags: Flags, escape: str) -> Assign:
    pairs: list[tuple[str, str | None]] = []
    for word in Lexer(escape, raw=True).words(line.rest):
        name, equals, text = word.partition("=")
        if not name:
            raise line.wrong("ARG names can not be blank")
        pairs.append((name, text if equals else None))
    return Assign(line, tuple(pairs))


def _copy(line: Line, flags: Flags, escape: str) -> Copy:
    words = exec_form(line.rest)
    if words is None:
        words = tuple(Lexer(escape, raw=True).words(line.rest))
    if len(words) < 2:
        raise line.wrong(f"{line.keyword} requires at least two arguments, but only one was "
                         "provided. Destination could not be determined")  # fmt: skip
    if _switch(flags, "keep-git-dir"):
        raise line.wrong("ADD --keep-git-dir is not supported: clone it in a RUN")
    names = [word for word in words[:-1] if heredoc(word, escape) is not None]
    if len(names) != len(line.heredocs):
        raise line.wrong(f"{line.keyword} cannot have a heredoc as its destination")
    return Copy(
        line, words[:-1], words[-1], line.keyword == "ADD",
        origin=_one(flags, "from"), chown=_one(flags, "chown"), chmod=_one(flags, "chmod"),
        checksum=_one(flags, "checksum"), link=_switch(flags, "link"),
        parents=_switch(flags, "parents"), exclude=tuple(flags.get("exclude", ())),
        unpack=_switch(flags, "unpack") if "unpack" in flags else None,
        files=dict(zip(names, line.heredocs, strict=True)),
    )  # fmt: skip


def _words(line: Line, _flags: Flags, escape: str) -> Words:
    words = exec_form(line.rest) if line.keyword == "VOLUME" else None
    if words is None:
        words = tuple(Lexer(escape, raw=True).words(line.rest))
    if not words:
        raise line.wrong(f"{line.keyword} requires at least one argument")
    if line.keyword == "VOLUME" and "" in words:
        raise line.wrong("VOLUME specified can not be an empty string")
    return Words(line, words)


def _text(line: Line, _flags: Flags, escape: str) -> Text:
    words = Lexer(escape, raw=True).words(line.rest)
    if line.keyword in ("USER", "STOPSIGNAL") and len(words) != 1:
        raise line.wrong(f"{line.keyword} requires exactly one argument")
    return Text(line, line.rest)


def _onbuild(line: Line, _flags: Flags, escape: str) -> Onbuild:
    trigger = line.text[len("ONBUILD") :].strip()
    keyword = trigger.split()[0].upper()
    if keyword == "ONBUILD":
        raise line.wrong("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("FROM", "MAINTAINER"):
        raise line.wrong(f"{keyword} isn't allowed as an ONBUILD trigger")
    read(line_of(trigger, line), escape)  # refused now, not when somebody builds on it
    return Onbuild(line, trigger)


def line_of(trigger: str, near: Line) -> Line:
    """The line that a trigger makes; its errors point at `near`."""
    keyword, *rest = trigger.split(None, 1)
    if keyword.upper() not in KEYWORDS:
        raise near.wrong(unknown(keyword.upper()))
    flags, words = split_flags(rest[0] if rest else "")
    if not words:
        raise near.wrong(f"{keyword.upper()} requires at least one argument")
    return Line(keyword.upper(), flags, words, near.number, near.text, near.heredocs)


# --- HEALTHCHECK ----------------------------------------------------------------------------------

_TIMES = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod",
          "start-interval": "StartInterval"}  # fmt: skip


def _healthcheck(line: Line, flags: Flags, _escape: str) -> Healthcheck:
    kind, _, rest = line.rest.partition(" ")
    if kind.upper() == "NONE":
        if rest.strip() or flags:
            raise line.wrong("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(line, ("NONE",))
    if kind.upper() != "CMD":
        raise line.wrong(f"unknown type {kind!r} in HEALTHCHECK (try CMD)")
    if not rest.strip():
        raise line.wrong("Missing command after HEALTHCHECK CMD")
    words = exec_form(rest.strip())
    test = ("CMD-SHELL", rest.strip()) if words is None else ("CMD", *words)
    return Healthcheck(line, test, _times(line, flags))


def _times(line: Line, flags: Flags) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, key in _TIMES.items():
        if name in flags:
            try:
                found[key] = durations.parse(_one(flags, name))
            except UsageError as error:
                raise line.wrong(str(error)) from None
            if found[key] and found[key] < 10**6:
                raise line.wrong(f"{key} {_one(flags, name)!r} cannot be less than 1ms")
    if "retries" in flags:
        text = _one(flags, "retries")
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise line.wrong(f"--retries {text!r} is no number from 0 up")
        found["Retries"] = int(text)
    return {name: value for name, value in found.items() if value}


READERS: Mapping[str, Callable[[Line, Flags, str], Instruction]] = {
    "FROM": _from, "RUN": _run, "CMD": _command, "ENTRYPOINT": _command, "SHELL": _shell,
    "ENV": _assign, "LABEL": _assign, "ARG": _arg, "COPY": _copy, "ADD": _copy,
    "EXPOSE": _words, "VOLUME": _words, "USER": _text, "WORKDIR": _text, "STOPSIGNAL": _text,
    "MAINTAINER": _text, "ONBUILD": _onbuild, "HEALTHCHECK": _healthcheck,
}  # fmt: skip
