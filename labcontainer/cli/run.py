"""`labcontainer run [FLAG …] IMAGE [COMMAND …]`: one container in the foreground, no daemon.

A container that must be remembered (in the background, with a restart policy, a named volume, a
network of its own) is the daemon's: see create.

The flags are Docker's, and so is how they are written: `-it`, `-e A=1`, `-eA=1`, `--memory=64m`,
`--rm=false`. All after the image's name belongs to the program, also `--` and what looks like a
flag; argparse would swallow it, so the words are cut here, by the same table that makes `--help`.
"""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.engine import request, words
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, _ArgumentGroup
    from typing import Any

    Remembered = tuple[dict[str, Any], list[str]]  # flags, [image, command …]

# Docker's exit status when it is the engine, not the program, that fails.
FAILURE = 125


class Flag(Record):
    """One flag: `kind` is "switch", "text" (given once, the last counts) or "list"."""

    long: str
    kind: str
    meta: str
    help: str
    short: str = ""


FLAGS = (
    Flag("add-host", "list", "NAME:IP", "a line for /etc/hosts; the IP may be host-gateway"),
    Flag("cap-add", "list", "CAP", "add a capability, or ALL"),
    Flag("cap-drop", "list", "CAP", "drop a capability, or ALL"),
    Flag("cgroupns", "text", "MODE", "private (default) or host"),
    Flag("cpu-period", "text", "USEC", "the period of --cpu-quota"),
    Flag("cpu-quota", "text", "USEC", "processor time in each period"),
    Flag("cpu-shares", "text", "N", "relative weight, 1024 is the usual", "c"),
    Flag("cpus", "text", "N", "number of processors, such as 0.5"),
    Flag("cpuset-cpus", "text", "LIST", "processors that may be used, such as 0-3 or 0,1"),
    Flag("cpuset-mems", "text", "LIST", "memory nodes that may be used"),
    Flag("device", "list", "DEV", "a device of the host: /dev/SRC[:/dev/DST[:rwm]]"),
    Flag("dns", "list", "IP", "a name server"),
    Flag("dns-option", "list", "OPT", "an option of resolv.conf(5)"),
    Flag("dns-search", "list", "DOMAIN", "a search domain"),
    Flag("domainname", "text", "NAME", "the NIS domain name"),
    Flag("entrypoint", "text", "PROGRAM", "the program; COMMAND becomes its arguments"),
    Flag("env", "list", "NAME[=VALUE]", "an environment variable; NAME takes the caller's", "e"),
    Flag("env-file", "list", "FILE", "a file of environment variables"),
    Flag("group-add", "list", "GROUP", "one more group of the user"),
    Flag("hostname", "text", "NAME", "the host name in the container", "h"),
    Flag("init", "switch", "", "a small init as PID 1: passes signals on, reaps zombies"),
    Flag("interactive", "switch", "", "keep standard input connected", "i"),
    Flag("ipc", "text", "MODE", "private (default), none or host"),
    Flag("memory", "text", "SIZE", "memory limit, such as 64m", "m"),
    Flag("memory-reservation", "text", "SIZE", "memory kept for it under pressure"),
    Flag("memory-swap", "text", "SIZE", "memory and swap together; -1 is without limit"),
    Flag("mount", "list", "SPEC", "type=bind|tmpfs,source=…,target=…[,readonly]"),
    Flag("name", "text", "NAME", "the container's name; default: a random one"),
    Flag("network", "text", "MODE", "bridge (default as root), none, host, slirp4netns, pasta"),
    Flag("oom-score-adj", "text", "N", "-1000 to 1000: who goes first when memory runs out"),
    Flag("pid", "text", "MODE", "private (default) or host"),
    Flag("pids", "text", "N", "most processes at once; the same as --pids-limit"),
    Flag("pids-limit", "text", "N", "most processes at once; -1 is without limit"),
    Flag("privileged", "switch", "", "all capabilities and devices, nothing masked, no seccomp"),
    Flag("publish", "list", "PORTS", "[[IP:]HOST:]CONTAINER[/tcp|/udp]", "p"),
    Flag("pull", "text", "WHEN", "get the image: always, missing (default) or never"),
    Flag("read-only", "switch", "", "the root file system can't be written"),
    Flag("rm", "switch", "", "taken for Docker's sake: nothing is ever kept"),
    Flag("security-opt", "list", "OPT", "seccomp=FILE|unconfined, no-new-privileges, "
         "systempaths=unconfined"),
    Flag("shm-size", "text", "SIZE", "size of /dev/shm, 64m by default"),
    Flag("stop-signal", "text", "SIGNAL", "what a TERM from outside becomes inside"),
    Flag("sysctl", "list", "NAME=VALUE", "a kernel setting of the container's own namespaces"),
    Flag("tmpfs", "list", "DST[:OPTS]", "a file system in memory"),
    Flag("tty", "switch", "", "a terminal of the container's own", "t"),
    Flag("ulimit", "list", "NAME=SOFT[:HARD]", "a limit of setrlimit(2)"),
    Flag("user", "text", "USER[:GROUP]", "who runs the program: names or numbers", "u"),
    Flag("userns", "text", "MODE", "host, private, or keep-id (rootless)"),
    Flag("using", "text", "DIR", "run with the functions of your own package, as mycontainer"),
    Flag("uts", "text", "MODE", "private (default) or host"),
    Flag("volume", "list", "SRC:DST[:ro]", "a directory of the host; DST alone: a fresh one", "v"),
    Flag("workdir", "text", "DIR", "where the program starts", "w"),
)  # fmt: skip
NETWORKS = ("bridge", "none", "host", "slirp4netns", "pasta")


def by_name(flags: tuple[Flag, ...]) -> dict[str, Flag]:
    """The flags by the words that ask for them."""
    found = {f"--{flag.long}": flag for flag in flags}
    found |= {f"-{flag.short}": flag for flag in flags if flag.short}
    return found | ({"--net": found["--network"]} if "--network" in found else {})


_BY_NAME = by_name(FLAGS)
# Flags of `create` that a container alone knows what to do with.
_ALONE = frozenset(("sig-proxy",))
_TRUTH = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer run`, for `--help` and for the test of the documentation."""
    from labcontainer.cli import create

    parser.usage = "labcontainer run [FLAG …] IMAGE [COMMAND …]"
    describe(parser, FLAGS)
    title = "flags of a container that the daemon runs, and remembers"
    add_flags(parser.add_argument_group(title), create.FLAGS)


def describe(parser: ArgumentParser, flags: tuple[Flag, ...]) -> None:
    """Add flags, the image and the command to a parser that only prints its help."""
    add_flags(parser, flags)
    parser.add_argument("image", help="the name or id of an image, or a directory (./rootfs) "
                        "that holds a root file system")  # fmt: skip
    parser.add_argument("command", nargs="*", help="the program and its arguments")


def add_flags(parser: ArgumentParser | _ArgumentGroup, flags: tuple[Flag, ...]) -> None:
    """Add flags alone."""
    for flag in flags:
        names = [f"--{flag.long}"] + ([f"-{flag.short}"] if flag.short else [])
        if flag.kind == "switch":
            parser.add_argument(*names, action="store_true", help=flag.help)
        else:
            parser.add_argument(*names, metavar=flag.meta, help=flag.help)


def parse(given_words: list[str]) -> request.Request | Remembered | None:
    """What the words of a command line ask for: a container alone, or one that the daemon is to
    remember; None when they ask for help.

    Raises:
        UsageError: an unknown flag, a missing or bad value, no image.
    """
    given, rest = cut(given_words)
    if "help" in given:
        return None
    if not rest:
        raise errors.UsageError("run needs the name of an image; see labcontainer run --help")
    if needs_daemon(given):
        return given, rest
    return to_request(given, rest[0], tuple(rest[1:]))


def needs_daemon(given: dict[str, Any]) -> bool:
    """Whether a container asked for like this must be remembered by a daemon."""
    alone = {flag.long for flag in FLAGS} | _ALONE
    if not alone >= set(given) or given.get("rm") is False or "LABCONTAINER_HOST" in os.environ:
        return True
    if given.get("network", "bridge") not in NETWORKS:
        return True
    others = (given.get(name, "").partition(":")[0] for name in ("pid", "ipc"))
    return "container" in others or any(map(_is_named, _sources(given)))


def _sources(given: dict[str, Any]) -> list[str]:
    """The sources of all volumes: paths, names, and "" for fresh ones."""
    found = [word.split(":")[0] for word in given.get("volume", ()) if ":" in word]
    for word in given.get("mount", ()):
        keys = words.mount_keys(word)
        if keys.get("type", "volume") == "volume":
            found.append(keys.get("source", ""))
    return found


def _is_named(source: str) -> bool:
    return bool(source) and "/" not in source and source not in (".", "..")


def cut(given_words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The flags before the image's name with their values, and all words from there on."""
    given: dict[str, Any] = {}
    rest = list(given_words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word == "--help":
            given["help"] = True
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            _take(given, name, value if equals else None, rest)
        else:
            _short(given, word, rest)
    return given, rest


def _short(given: dict[str, Any], word: str, rest: list[str]) -> None:
    """`-it`, `-p80:80`, `-e=A=1`, or `-m 64m`: letters, the last of which may have a value."""
    letters = word[1:]
    while letters:
        name, letters = f"-{letters[0]}", letters[1:]
        flag = _flag(name)
        if flag is not None and flag.kind != "switch":
            _take(given, name, letters.removeprefix("=") if letters else None, rest)
            return
        if letters.startswith("="):
            _take(given, name, letters[1:], rest)
            return
        _take(given, name, None, rest)


def _flag(name: str) -> Flag | None:
    """A flag of ours, or one for which the daemon is needed: those are looked up last."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    from labcontainer.cli import create

    return create.BY_NAME.get(name)


def _take(given: dict[str, Any], name: str, value: str | None, rest: list[str]) -> None:
    flag = _flag(name)
    if flag is None:
        raise errors.UsageError(f"unknown flag {name}; see labcontainer run --help")
    if flag.kind == "switch":
        truth = _TRUTH.get((value or "true").lower())
        if truth is None:
            raise errors.UsageError(f"invalid value {value!r} for {name}: true or false")
        given[flag.long] = truth
        return
    if value is None:
        if not rest:
            raise errors.UsageError(f"flag {name} needs a value: {flag.meta}")
        value = rest.pop(0)
    if flag.kind == "list":
        given.setdefault(flag.long, []).append(value)
    else:
        given[flag.long] = value


def _mode(given: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = str(given.get(name, ""))
    if value and value not in allowed:
        raise errors.UsageError(f"invalid value {value!r} for --{name}: {', '.join(allowed)}")
    return value


def to_request(given: dict[str, Any], image: str, command: tuple[str, ...]) -> request.Request:
    """The words of each flag, parsed and checked together."""
    mounts = [words.mount(word) for word in given.get("mount", ())]
    volumes = [words.volume(word) for word in given.get("volume", ())]
    volumes += [one for one in mounts if isinstance(one, request.Volume)]
    tmpfs = [words.tmpfs(word) for word in given.get("tmpfs", ())]
    tmpfs += [one for one in mounts if isinstance(one, request.Tmpfs)]
    return request.Request(
        image=image,
        pull=_mode(given, "pull", ("always", "missing", "never")) or "missing",
        command=command,
        entrypoint=given.get("entrypoint"),
        name=words.name(given.get("name", "")),
        hostname=words.hostname(given.get("hostname", "")),
        domainname=given.get("domainname", ""),
        env=words.environment(given.get("env", []), given.get("env-file", [])),
        workdir=words.workdir(given.get("workdir", "")),
        user=given.get("user", ""),
        group_add=tuple(given.get("group-add", ())),
        interactive=given.get("interactive", False),
        tty=given.get("tty", False),
        init=given.get("init", False),
        stop_signal=words.stop_signal(given.get("stop-signal", "")),
        volumes=tuple(volumes),
        tmpfs=tuple(tmpfs),
        read_only=given.get("read-only", False),
        privileged=given.get("privileged", False),
        cap_add=tuple(given.get("cap-add", ())),
        cap_drop=tuple(given.get("cap-drop", ())),
        ports=words.ports(given.get("publish", [])),
        dns=tuple(words.address("--dns", word) for word in given.get("dns", ())),
        dns_search=tuple(given.get("dns-search", ())),
        dns_option=tuple(given.get("dns-option", ())),
        add_host=tuple(words.host_line(word) for word in given.get("add-host", ())),
        ulimits=tuple(words.ulimit(word) for word in given.get("ulimit", ())),
        sysctls=tuple(words.sysctl(word) for word in given.get("sysctl", ())),
        devices=tuple(words.device(word) for word in given.get("device", ())),
        network=_mode(given, "network", NETWORKS),
        userns=_mode(given, "userns", ("host", "private", "keep-id")),
        pid=_mode(given, "pid", ("private", "host")),
        ipc=_mode(given, "ipc", ("private", "none", "host")),
        uts=_mode(given, "uts", ("private", "host")),
        cgroupns=_mode(given, "cgroupns", ("private", "host")),
        using=given.get("using", ""),
        **limits(given),
        **words.security(given.get("security-opt", [])),
    )


def limits(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Request that limit resources."""
    found: dict[str, Any] = words.memory(
        given.get("memory"), given.get("memory-swap"), given.get("memory-reservation")
    )
    found |= words.processor(given.get("cpus"), given.get("cpu-quota"), given.get("cpu-period"))
    if "cpu-shares" in given:
        found["cpu_shares"] = words.whole("--cpu-shares", given["cpu-shares"])
    for name in ("cpuset-cpus", "cpuset-mems"):
        if name in given:
            found[name.replace("-", "_")] = words.number_list(f"--{name}", given[name])
    for name in ("pids", "pids-limit"):
        if name in given:
            found["pids"] = words.whole(f"--{name}", given[name], -1)
    if "shm-size" in given:
        found["shm_size"] = words.size("--shm-size", given["shm-size"])
    if "oom-score-adj" in given:
        found["oom_score_adj"] = words.whole("--oom-score-adj", given["oom-score-adj"], -1000)
    return found


def run(args: request.Request | Remembered) -> int:
    """Run the container; its program's exit status."""
    if not isinstance(args, request.Request):
        from labcontainer.cli import create

        return create.run_remembered(*args)
    from labcontainer.engine import single

    return single.run(args)
