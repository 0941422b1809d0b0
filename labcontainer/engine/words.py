"""The words that a container is asked for with, each parsed in one place.

They are Docker's: `64m`, `SRC:DST:ro`, `8080:80/udp`, `nofile=1024:2048`. A word that is off is
told with its flag and what would be right.
"""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.engine import request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from labcontainer.ports import Port

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
CPU_PERIOD = 100_000  # microseconds; Docker's


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


def memory(limit: str | None, swap: str | None, reservation: str | None) -> dict[str, int]:
    """The memory fields of a Request, checked against one another.

    With a limit and no word on swap Docker allows as much swap again.
    """
    found: dict[str, int] = {}
    if limit is not None:
        found["memory"] = size("--memory", limit)
        if found["memory"] == 0:
            return {}  # Docker: 0 is without limit
        found["memory_swap"] = 2 * found["memory"]
    if swap is not None:
        found["memory_swap"] = -1 if swap == "-1" else size("--memory-swap", swap)
        if "memory" not in found:
            _bad("--memory-swap", swap, "it needs --memory")
        if -1 < found["memory_swap"] < found["memory"]:
            _bad("--memory-swap", swap, "it counts memory and swap together: less than --memory")
    if reservation is not None:
        found["memory_reservation"] = size("--memory-reservation", reservation)
        if found["memory_reservation"] > found.get("memory", found["memory_reservation"]):
            _bad("--memory-reservation", reservation, "more than --memory")
    return found


def processor(number: str | None, quota: str | None, period: str | None) -> dict[str, int]:
    """The fields of a Request for processor time, from --cpus or from quota and period."""
    found: dict[str, int] = {}
    if number is not None:
        if quota is not None or period is not None:
            _bad("--cpus", number, "it can't be given together with --cpu-quota or --cpu-period")
        return {"cpu_quota": cpus(number), "cpu_period": CPU_PERIOD}
    if quota is not None:
        found["cpu_quota"] = whole("--cpu-quota", quota, -1)
        found["cpu_period"] = CPU_PERIOD
    if period is not None:
        found["cpu_period"] = whole("--cpu-period", period, 1000)
    return found


def number_list(flag: str, word: str) -> str:
    """A list as the kernel's cpuset files take it: `0-3,5`."""
    for part in word.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            _bad(flag, word, "it is a list such as 0-3 or 0,1")
    return word


def name(word: str) -> str:
    """A container's name: Docker's letters."""
    letters = word.replace("_", "a").replace(".", "a").replace("-", "a")
    if word and not (letters.isalnum() and word.isascii() and word[0].isalnum()):
        _bad("--name", word, "letters, digits, '_', '.', '-', a letter or digit first")
    return word


def hostname(word: str) -> str:
    """A host name: sethostname(2) takes 64 bytes."""
    if len(word.encode()) > 64 or "\0" in word or "/" in word or any(c.isspace() for c in word):
        _bad("--hostname", word, "at most 64 bytes, no space and no '/'")
    return word


def workdir(word: str) -> str:
    """An absolute path in the container."""
    if word and not word.startswith("/"):
        _bad("--workdir", word, "it is an absolute path in the container")
    return word


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


def volume(word: str) -> request.Volume:
    """`SRC:DST[:ro,…]`, or `DST` alone for a fresh, empty directory."""
    parts = word.split(":")
    if len(parts) == 1:
        return request.Volume("", _target("--volume", word, parts[0]))
    if len(parts) > 3 or not parts[0]:
        _bad("--volume", word, "it is SRC:DST[:ro]")
    source, target = parts[0], _target("--volume", word, parts[1])
    if "/" not in source and source not in (".", ".."):
        why = f"a named volume needs the daemon; a directory is ./{source}"
        _bad("--volume", word, why)
    found = request.Volume(os.path.abspath(source), target, create=True)
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


def pairs(words: Iterable[str]) -> dict[str, str]:
    """`KEY=VALUE` words by their keys; a KEY alone has the value ""."""
    return dict(word.partition("=")[::2] for word in words)


def mount_keys(word: str) -> dict[str, str]:
    """The keys of a `--mount`, each by one name whichever was written; one alone is "true"."""
    found: dict[str, str] = {}
    for part in word.split(","):
        key, equals, value = part.partition("=")
        found[_MOUNT_KEYS.get(key, key)] = value if equals else "true"
    return found


def mount(word: str) -> request.Volume | request.Tmpfs:
    """`type=bind,source=…,target=…[,readonly]` or `type=tmpfs,target=…[,tmpfs-size=…]`."""
    found = mount_keys(word)
    kind = found.pop("type", "volume")
    target = _target("--mount", word, found.pop("target", ""))
    if kind == "tmpfs":
        options = [*request.Tmpfs.options]
        if "tmpfs-size" in found:
            options.append(f"size={size('--mount', found.pop('tmpfs-size'))}")
        if "tmpfs-mode" in found:
            options.append(f"mode={found.pop('tmpfs-mode')}")
        result: request.Volume | request.Tmpfs = request.Tmpfs(target, tuple(options))
    elif kind == "bind" or (kind == "volume" and not found.get("source")):
        result = _bind(word, kind, target, found)
    else:
        _bad("--mount", word, "the type is bind or tmpfs; named volumes need the daemon")
    if found:
        _bad("--mount", word, f"unknown key {next(iter(found))!r}")
    return result


_MOUNT_KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}


def _bind(word: str, kind: str, target: str, found: dict[str, str]) -> request.Volume:
    source = found.pop("source", "")
    if kind == "bind" and not os.path.exists(source):
        _bad("--mount", word, f"bind source path does not exist: {source}")
    propagation = found.pop("bind-propagation", "rprivate")
    if propagation not in _PROPAGATIONS:
        _bad("--mount", word, f"unknown propagation {propagation!r}")
    return request.Volume(
        os.path.abspath(source) if source else "",
        target,
        readonly=found.pop("readonly", "false") in ("true", "1"),
        recursive=found.pop("bind-nonrecursive", "false") not in ("true", "1"),
        propagation=propagation,
    )


def tmpfs(word: str) -> request.Tmpfs:
    """`DST[:options]`, as `/run:size=64m,mode=755`."""
    target, _, options = word.partition(":")
    target = _target("--tmpfs", word, target)
    extra = tuple(option for option in options.split(",") if option)
    return request.Tmpfs(target, (*request.Tmpfs.options, *extra))


def ports(words: list[str]) -> tuple[Port, ...]:
    """The ports of all `--publish`."""
    if not words:
        return ()
    from labcontainer import ports

    return tuple(port for word in words for port in ports.parse(word))


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


def device(word: str) -> request.HostDevice:
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
    return request.HostDevice(source, target or source, access or "rwm")


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


def security_options(
    words: Iterable[str], flag: str, kept: tuple[str, ...] = ("unconfined",)
) -> dict[str, Any]:
    """The words as HostConfig has them; a seccomp profile goes whole: the daemon has not our files.

    `kept` are names of profiles that the daemon knows.

    Raises:
        UsageError: a profile can't be read; `flag` is how it was given.
    """
    options: list[str] = []
    found: dict[str, Any] = {"SecurityOpt": options}
    for word in words:
        key, _, value = word.replace(":", "=", 1).partition("=")
        if (key, value) == ("systempaths", "unconfined"):
            found |= {"MaskedPaths": [], "ReadonlyPaths": []}
        elif key == "seccomp" and value not in kept:
            options.append(f"seccomp={_profile(flag, value)}")
        else:
            options.append(word)
    return found


def _profile(flag: str, path: str) -> str:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            return json.dumps(json.load(file), separators=(",", ":"))
    except (OSError, ValueError) as error:
        raise errors.UsageError(f"{flag} seccomp={path}: {error}") from None


def stop_signal(word: str) -> int:
    """The number of `--stop-signal`: `SIGINT`, `INT`, `2` or `SIGRTMIN+3`; 0 for none.

    Raises:
        UsageError: there is no such signal.
    """
    if not word:
        return 0
    import signal

    if word.isdigit() and int(word) in signal.valid_signals():
        return int(word)
    name = word.upper() if word.upper().startswith("SIG") else f"SIG{word.upper()}"
    base, sign, more = name.partition("+" if "+" in name else "-")
    found = getattr(signal, base, None)
    if not isinstance(found, signal.Signals):
        _bad("--stop-signal", word, "no such signal")
    if not sign:
        return int(found)
    number = found + int(f"{sign}{more}") if more.isascii() and more.isdecimal() else 0
    real_time = (signal.SIGRTMIN, signal.SIGRTMAX)
    if found not in real_time or not real_time[0] <= number <= real_time[1]:
        _bad("--stop-signal", word, "no such signal")
    return number
