"""What a stage is at one point: its configuration, its layers, its history, and its key.

The instructions that only change the configuration are functions here, one for each, in a table.
They return the words of the history. ENTRYPOINT takes the base's CMD away, ENV wins over ARG, an
ARG ends with its stage. Source: BuildKit, dockerfile2llb/convert.go, whose history this is.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping, Sequence

from labcontainer.build.errors import DockerfileError
from labcontainer.build.instructions import (
    Assign,
    Command,
    Healthcheck,
    Instruction,
    Onbuild,
    Text,
    Words,
)
from labcontainer.build.words import Lexer
from labcontainer.image.documents import Descriptor, Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.image.packing import Layer

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = ("/bin/sh", "-c")
PROXIES = tuple(
    name for word in ("HTTP", "HTTPS", "FTP", "NO", "ALL")
    for name in (f"{word}_PROXY", f"{word.lower()}_proxy")
)  # fmt: skip


class State:
    """A stage on its way. `arguments` are the ARGs in sight, `given` those of --build-arg.

    `image_id` is the base image's, `foreign` how many of the layers are; `outer` has the ARGs
    before FROM and the platform's names; `keys` are those of the steps so far, for an inline cache.
    """

    def __init__(
        self, platform: Platform, key: str = "", config: dict[str, Any] | None = None,
        layers: Sequence[Layer] = (), history: Sequence[Mapping[str, Any]] = (), author: str = "",
    ) -> None:  # fmt: skip
        self.platform, self.key, self.author = platform, key, author
        self.config: dict[str, Any] = {} if config is None else config
        self.layers = list(layers)
        self.history = [dict(one) for one in history]
        self.foreign = len(self.layers)
        self.image_id = ""
        self.escape = "\\"
        self.arguments: dict[str, str] = {}
        self.given: Mapping[str, str] = {}
        self.outer: Mapping[str, str] = {}
        self.has_command = False
        self.keys: list[str] = []
        self.origin: Descriptor | None = None  # the image that this state still is

    def child(self) -> State:
        """A new stage on top of this one: configuration and layers, no arguments."""
        import copy

        new = copy.deepcopy(self)
        new.arguments, new.has_command, new.keys = {}, False, []
        new.origin = None if self.keys else self.origin
        new.image_id = "" if self.keys else self.image_id
        return new

    @property
    def environment(self) -> dict[str, str]:
        """The ENV of the configuration."""
        return dict(line.partition("=")[::2] for line in self.config.get("Env") or [])

    @property
    def variables(self) -> dict[str, str]:
        """What `$name` means in an instruction."""
        return {**self.arguments, **self.environment}

    @property
    def workdir(self) -> str:
        """Where relative paths begin."""
        return self.config.get("WorkingDir") or "/"

    @property
    def shell(self) -> tuple[str, ...]:
        """The words before a command in shell form."""
        return tuple(self.config.get("Shell") or SHELL)

    def expand(self, one: Instruction, text: str) -> str:
        """A word with its variables; an error names the line."""
        try:
            return Lexer(self.escape, self.variables).word(text)
        except DockerfileError as error:
            raise one.line.wrong(error.problem) from None

    def expand_many(self, one: Instruction, text: str) -> list[str]:
        """A word whose variables may be several words."""
        try:
            return Lexer(self.escape, self.variables).words(text)
        except DockerfileError as error:
            raise one.line.wrong(error.problem) from None

    def seen_by_run(self) -> dict[str, str]:
        """The arguments that a RUN has in its environment: those declared and not hidden by ENV."""
        hidden = self.environment
        return {name: value for name, value in self.arguments.items() if name not in hidden}

    def run_environment(self) -> list[str]:
        """All of a RUN's variables; the proxies' are there without being declared."""
        proxies = {name: self.given[name] for name in PROXIES if name in self.given}
        whole = {"PATH": PATH, **proxies, **self.seen_by_run(), **self.environment}
        return [f"{name}={value}" for name, value in whole.items()]

    def command(self, one: Command) -> list[str]:
        """The words of a command, the shell's before one in shell form."""
        return [*self.shell, *one.words] if one.shell else list(one.words)


def listed(words: Sequence[str]) -> str:
    """`["a" "b"]`, as Go prints a list of words."""
    return f"[{' '.join(json.dumps(word, ensure_ascii=False) for word in words)}]"


# --- the instructions that change no files --------------------------------------------------------


def _arg(state: State, one: Instruction) -> str:
    assert isinstance(one, Assign)
    said = []
    for name, default in one.pairs:
        value = None if default is None else state.expand(one, default)
        if name in state.given:
            value = state.given[name]
        elif value is None:
            value = state.outer.get(name)
        if value is not None:
            state.arguments[name] = value
        said.append(name if value is None else f"{name}={value}")
    return f"ARG {' '.join(said)}"


def _env(state: State, one: Instruction) -> str:
    assert isinstance(one, Assign)
    pairs = _expanded_pairs(state, one)
    lines = {name: f"{name}={value}" for name, value in state.environment.items()}
    lines |= {name: f"{name}={value}" for name, value in pairs}
    state.config["Env"] = list(lines.values())
    return f"ENV {' '.join(f'{name}={value}' for name, value in pairs)}"


def _label(state: State, one: Instruction) -> str:
    assert isinstance(one, Assign)
    pairs = _expanded_pairs(state, one)
    state.config["Labels"] = {**(state.config.get("Labels") or {}), **dict(pairs)}
    return f"LABEL {' '.join(f'{name}={value}' for name, value in pairs)}"


def _expanded_pairs(state: State, one: Assign) -> list[tuple[str, str]]:
    """All of one instruction see the variables as they were before it."""
    return [(state.expand(one, name), state.expand(one, text or "")) for name, text in one.pairs]


def _cmd(state: State, one: Instruction) -> str:
    assert isinstance(one, Command)
    state.config["Cmd"] = state.command(one)
    state.has_command = True
    return f"CMD {listed(state.config['Cmd'])}"


def _entrypoint(state: State, one: Instruction) -> str:
    assert isinstance(one, Command)
    state.config["Entrypoint"] = state.command(one)
    if not state.has_command:
        state.config.pop("Cmd", None)  # the base's made sense with the base's entry point only
    return f"ENTRYPOINT {listed(state.config['Entrypoint'])}"


def _shell(state: State, one: Instruction) -> str:
    assert isinstance(one, Command)
    state.config["Shell"] = list(one.words)
    return f"SHELL {listed(one.words)}"


def _expose(state: State, one: Instruction) -> str:
    assert isinstance(one, Words)
    ports = [port for word in one.words for port in state.expand_many(one, word)]
    try:
        known: dict[str, object] = {name: {} for port in ports for name in port_names(port)}
    except ValueError as error:
        raise one.line.wrong(str(error)) from None
    state.config["ExposedPorts"] = {**(state.config.get("ExposedPorts") or {}), **known}
    return f"EXPOSE map[{' '.join(f'{name}:{{}}' for name in sorted(known))}]"


def port_names(word: str) -> list[str]:
    """`80/tcp` of `80`; each port of `8000-8002/udp`.

    Raises:
        ValueError: it is no port, with Docker's words.
    """
    ports, _, protocol = word.partition("/")
    protocol = (protocol or "tcp").lower()
    ports = ports.rpartition(":")[2]  # a port of the host is left out, as in Docker
    first, dash, last = ports.partition("-")
    numbers = (first, last if dash else first)
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    if not all(one.isdecimal() and 0 < int(one) < 65536 for one in numbers):
        raise ValueError(f"invalid containerPort: {word}")
    if int(numbers[0]) > int(numbers[1]):
        raise ValueError(f"invalid range specified for the port: {word}")
    return [f"{port}/{protocol}" for port in range(int(numbers[0]), int(numbers[1]) + 1)]


def _volume(state: State, one: Instruction) -> str:
    assert isinstance(one, Words)
    paths = [state.expand(one, word) for word in one.words]
    if "" in paths:
        raise one.line.wrong("VOLUME specified can not be an empty string")
    state.config["Volumes"] = {**(state.config.get("Volumes") or {}), **{p: {} for p in paths}}
    return f"VOLUME [{' '.join(paths)}]"


def _user(state: State, one: Instruction) -> str:
    assert isinstance(one, Text)
    state.config["User"] = state.expand(one, one.text)
    return f"USER {state.config['User']}"


def _stopsignal(state: State, one: Instruction) -> str:
    import signal

    assert isinstance(one, Text)
    word = state.expand(one, one.text)
    name = word.upper().removeprefix("SIG")
    known = word.isdecimal() and 0 < int(word) < 65
    if not known and not name.startswith("RT") and f"SIG{name}" not in signal.Signals.__members__:
        raise one.line.wrong(f"Invalid signal: {word}")
    state.config["StopSignal"] = word
    return f"STOPSIGNAL {word}"


def _maintainer(state: State, one: Instruction) -> str:
    assert isinstance(one, Text)
    state.author = one.text
    return f"MAINTAINER {one.text}"


def _onbuild(state: State, one: Instruction) -> str:
    assert isinstance(one, Onbuild)
    state.config["OnBuild"] = [*(state.config.get("OnBuild") or []), one.trigger]
    return f"ONBUILD {one.trigger}"


def _healthcheck(state: State, one: Instruction) -> str:
    assert isinstance(one, Healthcheck)
    state.config["Healthcheck"] = {"Test": list(one.test), **one.times}
    return f"HEALTHCHECK {json.dumps(state.config['Healthcheck'])}"


def set_workdir(state: State, one: Instruction) -> str:
    """WORKDIR's half that is no file: relative to the one before."""
    assert isinstance(one, Text)
    state.config["WorkingDir"] = posixpath.normpath(
        posixpath.join(state.workdir, state.expand(one, one.text))
    )
    return f"WORKDIR {state.config['WorkingDir']}"


SETTERS: Mapping[str, Callable[[State, Instruction], str]] = {
    "ARG": _arg, "ENV": _env, "LABEL": _label, "CMD": _cmd, "ENTRYPOINT": _entrypoint,
    "SHELL": _shell, "EXPOSE": _expose, "VOLUME": _volume, "USER": _user,
    "STOPSIGNAL": _stopsignal, "MAINTAINER": _maintainer, "ONBUILD": _onbuild,
    "HEALTHCHECK": _healthcheck,
}  # fmt: skip
