"""What a user asks of one container, and the words they ask it with.

The words are Docker's (`64m`, `SRC:DST:ro`, `8080:80/udp`, `nofile=1024:2048`): each has one parser
here, which names the flag and the word when it is off.
"""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
CPU_PERIOD = 100_000  # microseconds; Docker's


class Volume(Record):
    """A directory or file put into the container. `source` "" is a fresh, empty one."""

    source: str
    target: str
    readonly: bool = False
    recursive: bool = True
    propagation: str = "rprivate"
    create: bool = False


class Tmpfs(Record):
    """A file system in memory, at `target`."""

    target: str
    options: tuple[str, ...] = ("rw", "nosuid", "nodev", "noexec")


class PublishedPort(Record):
    """A port of the host that leads to one of the container; `host_port` 0: any free one."""

    container_port: int
    host_port: int = 0
    host_ip: str = ""
    protocol: str = "tcp"


class HostDevice(Record):
    """A device node of the host, shown in the container."""

    source: str
    target: str
    access: str = "rwm"


class Request(Record):
    """One `labcontainer run`: sizes in bytes, times in microseconds, None or "" where not asked."""

    image: str
    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    name: str = ""
    hostname: str = ""
    domainname: str = ""
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    interactive: bool = False
    tty: bool = False
    init: bool = False
    stop_signal: str = ""
    volumes: tuple[Volume, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    read_only: bool = False
    shm_size: int = 64 << 20
    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    oom_score_adj: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    seccomp: str = ""
    no_new_privileges: bool = False
    unmasked: bool = False
    network: str = ""
    ports: tuple[PublishedPort, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_option: tuple[str, ...] = ()
    add_host: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    devices: tuple[HostDevice, ...] = ()
    userns: str = ""
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroupns: str = ""
    using: str = ""


def _bad(flag: str, word: object, why: str) -> NoReturn:
    raise errors.UsageError(f"invalid value {str(word)!r} for {flag}: {why}")


def size(flag: str, word: str) -> int:
    """Bytes from `512`, `64m`, `1.5g`, `64mb` or `64MiB`; Docker's units are powers of 1024."""
    text = word.strip().lower()
    number = text.rstrip("bkmgtpi")
    unit = text[len(number) :].strip()
    short = unit.removesuffix("ib") if len(unit) == 3 else unit
    short = short.removesuffix("b") if len(short) == 2 else short
    try:
        if number.startswith("-"):
            raise ValueError
        return int(float(number) * _UNITS[short])
    except (ValueError, KeyError, OverflowError):
        _bad(flag, word, "a size is a number with b, k, m or g, such as 64m")


def whole(flag: str, word: str, least: int = 0) -> int:
    """A whole number of at least `least`."""
    try:
        number = int(word)
    except ValueError:
        _bad(flag, word, "not a whole number")
    if number < least:
        _bad(flag, word, f"less than {least}")
    return number


def cpus(word: str) -> int:
    """Microseconds of processor time a period from a number of processors such as `0.5`."""
    try:
        number = float(word)
    except ValueError:
        _bad("--cpus", word, "not a number of processors, such as 0.5")
    most = os.cpu_count() or 1
    if not 0.01 <= number <= most:  # NaN is in no range
        _bad("--cpus", word, f"from 0.01 to {most}, as this machine has {most} processors")
    return int(number * CPU_PERIOD)


def environment(words: list[str], files: list[str]) -> tuple[str, ...]:
    """`NAME=VALUE` lines: the files' first, then the words; `NAME` alone takes the caller's."""
    lines = [line for file in files for line in _env_file(file)]
    found: dict[str, str] = {}
    for word in [*lines, *words]:
        name, equals, value = word.partition("=")
        if not name or "\0" in word:
            _bad("--env", word, "a variable is NAME=VALUE")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
        else:
            found.pop(name, None)
    return tuple(f"{name}={value}" for name, value in found.items())


def _env_file(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.lstrip().rstrip("\r\n") for line in file]
    except OSError as error:
        raise errors.UsageError(f"--env-file {path}: {os.strerror(error.errno or 0)}") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    for line in lines:
        if line[0] == "=" or any(letter in line.partition("=")[0] for letter in " \t"):
            _bad(f"--env-file {path}", line, "a variable's name has no space and is not empty")
    return lines


def volume(word: str) -> Volume:
    """`SRC:DST[:ro,…]`, or `DST` alone for a fresh, empty directory."""
    parts = word.split(":")
    if len(parts) == 1:
        return Volume("", _target("--volume", word, parts[0]))
    if len(parts) > 3 or not parts[0]:
        _bad("--volume", word, "it is SRC:DST[:ro]")
    source, target = parts[0], _target("--volume", word, parts[1])
    if "/" not in source and source not in (".", ".."):
        why = f"a named volume needs the daemon; a directory is ./{source}"
        _bad("--volume", word, why)
    found = Volume(os.path.abspath(source), target, create=True)
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "rw"):
            found = found.replace(readonly=option == "ro")
        elif option in _PROPAGATIONS:
            found = found.replace(propagation=option)
        elif option not in ("z", "Z", "nocopy", "cached", "delegated", "consistent"):
            _bad("--volume", word, f"unknown option {option!r}")
    return found


def _target(flag: str, word: str, target: str) -> str:
    if not target.startswith("/"):
        _bad(flag, word, f"{target!r} is no absolute path in the container")
    if os.path.normpath(target) == "/":
        _bad(flag, word, "the destination can't be '/'")
    return os.path.normpath(target)


def mount(word: str) -> Volume | Tmpfs:
    """`type=bind,source=…,target=…[,readonly]` or `type=tmpfs,target=…[,tmpfs-size=…]`."""
    found: dict[str, str] = {}
    for part in word.split(","):
        key, equals, value = part.partition("=")
        found[_MOUNT_KEYS.get(key, key)] = value if equals else "true"
    kind = found.pop("type", "volume")
    target = _target("--mount", word, found.pop("target", ""))
    if kind == "tmpfs":
        options = [*Tmpfs.options]
        if "tmpfs-size" in found:
            options.append(f"size={size('--mount', found.pop('tmpfs-size'))}")
        if "tmpfs-mode" in found:
            options.append(f"mode={found.pop('tmpfs-mode')}")
        result: Volume | Tmpfs = Tmpfs(target, tuple(options))
    elif kind == "bind" or (kind == "volume" and not found.get("source")):
        result = _bind(word, kind, target, found)
    else:
        _bad("--mount", word, "the type is bind or tmpfs; named volumes need the daemon")
    if found:
        _bad("--mount", word, f"unknown key {next(iter(found))!r}")
    return result


_MOUNT_KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}


def _bind(word: str, kind: str, target: str, found: dict[str, str]) -> Volume:
    source = found.pop("source", "")
    if kind == "bind" and not os.path.exists(source):
        _bad("--mount", word, f"bind source path does not exist: {source}")
    propagation = found.pop("bind-propagation", "rprivate")
    if propagation not in _PROPAGATIONS:
        _bad("--mount", word, f"unknown propagation {propagation!r}")
    return Volume(
        os.path.abspath(source) if source else "",
        target,
        readonly=found.pop("readonly", "false") in ("true", "1"),
        recursive=found.pop("bind-nonrecursive", "false") not in ("true", "1"),
        propagation=propagation,
    )


def tmpfs(word: str) -> Tmpfs:
    """`DST[:options]`, as `/run:size=64m,mode=755`."""
    target, _, options = word.partition(":")
    target = _target("--tmpfs", word, target)
    extra = tuple(option for option in options.split(",") if option)
    return Tmpfs(target, (*Tmpfs.options, *extra))


def ports(word: str) -> tuple[PublishedPort, ...]:
    """`[[IP:]HOST:]CONTAINER[/tcp|/udp]`, where both ports may be ranges of one length."""
    rest, _, protocol = word.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp"):
        _bad("--publish", word, "the protocol is tcp or udp")
    ip = ""
    if rest.startswith("["):
        ip, _, rest = rest[1:].partition("]:")
    elif rest.count(":") == 2:
        ip, _, rest = rest.partition(":")
    _check_ip("--publish", word, ip)
    host, _, container = rest.rpartition(":")
    inside = _range(word, container)
    outside = _range(word, host) if host else [0] * len(inside)
    if len(inside) != len(outside):
        _bad("--publish", word, "the two ranges have different lengths")
    return tuple(
        PublishedPort(inner, outer, ip, protocol)
        for inner, outer in zip(inside, outside, strict=True)
    )


def _range(word: str, text: str) -> list[int]:
    first, dash, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not dash)):
        _bad("--publish", word, "it is [[IP:]HOST:]CONTAINER[/tcp|/udp]")
    low, high = int(first), int(last or first)
    if not 0 < low <= high < 65536:
        _bad("--publish", word, "a port is a number from 1 to 65535")
    return list(range(low, high + 1))


def _check_ip(flag: str, word: str, ip: str) -> str:
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            if ip:
                socket.inet_pton(family, ip)
            return ip
        except OSError:
            continue
    _bad(flag, word, f"{ip!r} is no IP address")


def address(flag: str, word: str) -> str:
    """An IP address."""
    return _check_ip(flag, word, word or "?")


def host_line(word: str) -> tuple[str, str]:
    """`NAME:IP` as (name, ip); the ip `host-gateway` is kept for the engine to replace."""
    name, _, ip = word.partition(":")
    if not name or not ip:
        _bad("--add-host", word, "it is NAME:IP")
    return name, ip if ip == "host-gateway" else _check_ip("--add-host", word, ip)


def ulimit(word: str) -> tuple[str, int, int]:
    """`nofile=SOFT[:HARD]` as (name, soft, hard); -1 is without limit."""
    name, equals, values = word.partition("=")
    soft, _, hard = values.partition(":")
    if not equals or name not in RLIMITS:
        _bad("--ulimit", word, f"it is NAME=SOFT[:HARD] with a NAME of {', '.join(RLIMITS)}")
    low, high = whole("--ulimit", soft, -1), whole("--ulimit", hard or soft, -1)
    if high != -1 and (low > high or low == -1):
        _bad("--ulimit", word, "the soft limit is above the hard limit")
    return name, low, high


RLIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile"),
    *("nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)


def sysctl(word: str) -> tuple[str, str]:
    """`net.ipv4.ip_forward=1` as (name, value)."""
    name, equals, value = word.partition("=")
    if not name or not equals:
        _bad("--sysctl", word, "it is NAME=VALUE")
    return name, value


def device(word: str) -> HostDevice:
    """`/dev/SRC[:/dev/DST[:rwm]]`."""
    source, _, rest = word.partition(":")
    target, _, access = rest.partition(":")
    if target and not target.startswith("/"):
        target, access = "", target
    if not source.startswith("/"):
        _bad("--device", word, "it is /dev/SRC[:/dev/DST[:rwm]]")
    if not os.path.exists(source):
        _bad("--device", word, f"{source} does not exist")
    if not set(access) <= set("rwm"):
        _bad("--device", word, f"access {access!r} is not of the letters r, w and m")
    return HostDevice(source, target or source, access or "rwm")


def security(words: list[str]) -> dict[str, Any]:
    """The fields of a Request that `--security-opt` sets."""
    found: dict[str, Any] = {}
    for word in words:
        key, _, value = word.replace(":", "=", 1).partition("=")
        if key == "seccomp" and value:
            found["seccomp"] = value
        elif key == "no-new-privileges" and value in ("", "true", "false"):
            found["no_new_privileges"] = value != "false"
        elif (key, value) == ("systempaths", "unconfined"):
            found["unmasked"] = True
        elif (key, value) not in (("apparmor", "unconfined"), ("label", "disable")):
            _bad("--security-opt", word, "seccomp=FILE, seccomp=unconfined, no-new-privileges"
                 " or systempaths=unconfined")  # fmt: skip
    return found
