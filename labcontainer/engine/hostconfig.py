"""Docker's Config and HostConfig as a Request, each value looked at: what `create` refuses.

The words of an error are Docker's: its clients show them, and some look for them.
"""

from __future__ import annotations

import os
import signal
import stat

from labcontainer import capabilities, errors
from labcontainer.engine import hostlimits, request, words
from labcontainer.engine.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Document = dict[str, Any]

LOG_DRIVERS = ("", "json-file", "local", "none")
OTHER_LOG_DRIVERS = ("awslogs", "fluentd", "gcplogs", "gelf", "journald", "splunk", "syslog")
POLICIES = ("", "no", "always", "unless-stopped", "on-failure")
LOG_OPTIONS = ("max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex",
               "tag", "mode", "max-buffer-size")  # fmt: skip


def request_of(container: Container) -> request.Request:
    """All that one container is asked to be, but its volumes and its network.

    Raises:
        UsageError, UnsupportedError: a value is off, or asks for what this engine can't do.
    """
    config, host = container.config, container.host
    privileged = bool(host["Privileged"])
    asked = request.Request(
        image=container.image,
        entrypoint=container.program,
        command=tuple(container.args),
        name=container.name,
        hostname=config["Hostname"],
        domainname=config["Domainname"],
        env=tuple(config["Env"]),
        workdir=config["WorkingDir"],
        user=config["User"],
        group_add=tuple(str(group) for group in host["GroupAdd"] or ()),
        interactive=config["OpenStdin"],
        tty=config["Tty"],
        init=bool(host["Init"]),
        stop_signal=signal_number(config["StopSignal"], 0),
        read_only=host["ReadonlyRootfs"],
        shm_size=host["ShmSize"] or request.Request.shm_size,
        cap_add=_capabilities("CapAdd", host["CapAdd"]),
        cap_drop=_capabilities("CapDrop", host["CapDrop"]),
        privileged=privileged,
        ulimits=tuple(_ulimit(one) for one in host["Ulimits"]),
        sysctls=tuple(_sysctls(host)),
        devices=tuple(found for one in host["Devices"] for found in _devices(one)),
        device_rules=tuple(host["DeviceCgroupRules"] or ()),
        oom_score_adj=host["OomScoreAdj"] or None,
        pid=_shared(host["PidMode"]),
        ipc=_shared(host["IpcMode"]),
        uts=_shared(host["UTSMode"]),
        cgroupns=_shared(host["CgroupnsMode"]) or ("host" if privileged else ""),
        annotations=tuple(host["Annotations"].items()),
        masked_paths=_paths(host["MaskedPaths"]),
        readonly_paths=_paths(host["ReadonlyPaths"]),
        **hostlimits.of(host),
        **_security(host),
    )
    if asked.workdir and not asked.workdir.startswith("/"):
        raise errors.UsageError(
            f"the working directory '{asked.workdir}' is invalid, it needs to be an absolute path"
        )
    return asked


def check(config: Document, host: Document) -> None:
    """What is off in the words that no Request has.

    Raises:
        UsageError, UnsupportedError: a value is off.
    """
    words.hostname(config["Hostname"])
    policy = host["RestartPolicy"]
    if policy["Name"] not in POLICIES:
        raise errors.UsageError(
            f"invalid restart policy: unknown policy '{policy['Name']}'; use one of 'no', "
            "'always', 'on-failure', or 'unless-stopped'"
        )
    if policy["MaximumRetryCount"] and policy["Name"] != "on-failure":
        raise errors.UsageError(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if policy["MaximumRetryCount"] < 0:
        raise errors.UsageError("invalid restart policy: maximum retry count cannot be negative")
    if host["AutoRemove"] and policy["Name"] not in ("", "no"):
        raise errors.UsageError("can't create 'AutoRemove' container with restart policy")
    for word in host["ExtraHosts"] or ():
        if ":" not in word.replace("=", ":", 1):
            raise errors.UsageError(f'bad format for add-host: "{word}"')
    check_log(host["LogConfig"])
    _check_health(config["Healthcheck"])
    if host["UTSMode"] == "host" and config["Hostname"]:
        raise errors.UsageError("conflicting options: hostname and the UTS mode")
    if host["Isolation"].lower() not in ("", "default"):
        raise errors.UsageError(
            f"Invalid isolation: \"{host['Isolation']}\" - linux only supports 'default'"
        )
    if not -1000 <= host["OomScoreAdj"] <= 1000:
        raise errors.UsageError(
            f"Invalid value {host['OomScoreAdj']}, range for oom score adj is [-1000, 1000]"
        )
    if host["UsernsMode"] not in ("", "host"):
        raise errors.UsageError(f"invalid user namespace mode: {host['UsernsMode']}")
    if host["Runtime"] not in ("", "labcontainer", "runc"):
        raise errors.UsageError(f"unknown or invalid runtime name: {host['Runtime']}")
    if host["DeviceRequests"]:
        raise errors.UsageError('could not select device driver "" with capabilities: [[gpu]]')
    if host["StorageOpt"]:
        raise errors.UsageError(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
        )
    for name in ("PidMode", "IpcMode", "UTSMode", "CgroupnsMode"):
        _check_mode(name, host[name])


_MODES = {
    "PidMode": ("", "host", "container:"),
    "IpcMode": ("", "host", "none", "private", "shareable", "container:"),
    "UTSMode": ("", "host"),
    "CgroupnsMode": ("", "host", "private"),
}
_MODE_WORDS = {
    "PidMode": "PID",
    "IpcMode": "IPC",
    "UTSMode": "UTS",
    "CgroupnsMode": "cgroup namespace",
}


def _check_mode(name: str, mode: str) -> None:
    kind, colon, other = mode.partition(":")
    if kind + colon not in _MODES[name] or (colon and not other):
        raise errors.UsageError(f"invalid {_MODE_WORDS[name]} mode: {mode}")


def check_log(log: Document) -> None:
    """The log driver and its options.

    Raises:
        UsageError: it is not here, or does not know an option.
    """
    if log["Type"] not in (*LOG_DRIVERS, *OTHER_LOG_DRIVERS):
        name = log["Type"]
        raise errors.UsageError(
            f'error looking up logging plugin {name}: plugin "{name}" not found'
        )
    if log["Type"] not in LOG_DRIVERS:
        raise errors.UsageError(
            f"logger: no log driver named '{log['Type']}' is registered; use json-file or none"
        )
    for name in log["Config"]:
        if name not in LOG_OPTIONS:
            raise errors.UsageError(
                f"unknown log opt '{name}' for {log['Type'] or 'json-file'} log driver"
            )
    log_bounds(log)


def log_bounds(log: Document) -> tuple[int, int]:
    """(bytes of a log file, how many); 0 bytes is without a bound, -1 no log.

    Raises:
        UsageError: a bound is off.
    """
    if log["Type"] == "none":
        return -1, 1
    options = log["Config"]
    size = options.get("max-size", "")
    most = words.size("max-size", size) if size not in ("", "-1") else 0
    if log["Type"] == "local" and not most:
        most = 20 << 20
    count = words.whole("max-file", options.get("max-file") or "1", 1)
    if count > 1 and not most:
        raise errors.UsageError("max-file cannot be greater than 1 when max-size is not set")
    return most, count


def _check_health(check: Document | None) -> None:
    """The command and the numbers of a health check: Docker's bounds, in nanoseconds."""
    given = check or {}
    test = given.get("Test") or []
    if not isinstance(test, list) or not all(isinstance(word, str) for word in test):
        raise errors.UsageError("Test in Healthcheck must be a list of words")
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        value = given.get(name) or 0
        if not isinstance(value, int) or 0 < value < 10**6 or value < 0:
            raise errors.UsageError(f"{name} in Healthcheck cannot be less than 1ms")
        if value >= 2**63:
            raise errors.UsageError(f"{name} in Healthcheck is longer than 292 years")
    retries = given.get("Retries") or 0
    if not isinstance(retries, int) or retries < 0:
        raise errors.UsageError("Retries in Healthcheck cannot be negative")


def _paths(found: list[str] | None) -> tuple[str, ...] | None:
    return None if found is None else tuple(found)


def _shared(mode: str) -> str:
    """`host` and `none` are the configuration's words; another container is the engine's."""
    return mode if mode in ("host", "none") else ""


def _capabilities(field: str, found: list[str] | str | None) -> tuple[str, ...]:
    names = (found,) if isinstance(found, str) else tuple(found or ())
    try:
        capabilities.choose(names, (), privileged=False)
    except errors.LabError as error:
        what, _, name = str(error).rpartition(" ")
        shown = name.strip("'")
        raise errors.UsageError(f'invalid {field}: {what}: "{shown}"') from None
    return names


def _ulimit(one: Document) -> tuple[str, int, int]:
    try:
        soft = int(one["Soft"])
        hard = int(one["Hard"]) if "Hard" in one else soft
        return words.ulimit(f"{one['Name']}={soft}:{hard}")
    except (KeyError, TypeError, ValueError):
        raise errors.UsageError(f"invalid ulimit: {one}") from None


def _devices(one: Document) -> list[request.HostDevice]:
    """A device, or all that are in a directory such as /dev/snd."""
    source = str(one.get("PathOnHost", ""))
    if not os.path.exists(source):
        raise errors.UsageError(
            f'error gathering device information while adding custom device "{source}": '
            "no such file or directory"
        )
    target, access = one.get("PathInContainer") or source, one.get("CgroupPermissions") or "rwm"
    found = list(_nodes(source)) if os.path.isdir(source) else [source]
    if not found or not _is_node(found[0]):
        raise errors.UsageError(
            f'error gathering device information while adding custom device "{source}": '
            "not a device node"
        )
    return [request.HostDevice(path, target + path[len(source) :], access) for path in found]


def _nodes(folder: str) -> Iterator[str]:
    for path, _, names in os.walk(folder):
        yield from (f"{path}/{name}" for name in sorted(names) if _is_node(f"{path}/{name}"))


def _is_node(path: str) -> bool:
    mode = os.stat(path).st_mode if os.path.exists(path) else 0
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _sysctls(host: Document) -> list[tuple[str, str]]:
    own = {"net": host["NetworkMode"] != "host", "kernel": host["IpcMode"] != "host",
           "fs": host["IpcMode"] != "host"}  # fmt: skip
    for name in host["Sysctls"]:
        if not own.get(name.partition(".")[0], True):
            raise errors.UsageError(
                f"sysctl '{name}' is not allowed as it is the host's: its namespace is shared"
            )
    return list(host["Sysctls"].items())


def of_build(host: Document) -> dict[str, Any]:
    """The limits of a build's RUNs: fields of a Request, and the cgroup's parent.

    Raises:
        UsageError: Docker's checks of them.
    """
    found = {name: value for name, value in hostlimits.of(host).items() if value}
    found |= _security(host)
    found["ulimits"] = [_ulimit(one) for one in host["Ulimits"]]
    found["cgroup_parent"] = host["CgroupParent"]
    return found | ({"shm_size": host["ShmSize"]} if host["ShmSize"] else {})


# --- security -------------------------------------------------------------------------------------


def _security(host: Document) -> dict[str, Any]:
    """no-new-privileges and what is hidden; the seccomp profile is `profile`'s."""
    found: dict[str, Any] = {}
    for word in host["SecurityOpt"] or ():
        key, equals, value = word.partition("=")
        if not equals:
            key, _, value = word.partition(":")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            found["no_new_privileges"] = value != "false"
        elif key == "systempaths" and value == "unconfined":
            found["unmasked"] = True
        elif key == "seccomp":
            found["seccomp"] = value
        elif key == "apparmor":
            found["apparmor"] = "" if value == "unconfined" else value
        elif (key, value) != ("label", "disable"):
            raise errors.UsageError(f'invalid --security-opt 2: "{word}"')
    return found


def profile(asked: request.Request) -> Document | None:
    """The seccomp profile: the one that was sent, none, or Docker's default.

    Raises:
        UsageError: what was sent is no profile.
    """
    from labcontainer import seccomp_default
    from labcontainer.engine import ociconfig

    if asked.seccomp == "unconfined" or (asked.privileged and not asked.seccomp):
        return None
    if not asked.seccomp or asked.seccomp == "builtin":
        return seccomp_default.default_profile(ociconfig.granted(asked))
    import json

    try:
        found = json.loads(asked.seccomp)
    except ValueError as error:
        raise errors.UsageError(f"Decoding seccomp profile failed: {error}") from None
    if not isinstance(found, dict):
        raise errors.UsageError("Decoding seccomp profile failed: it is no JSON object")
    return found


def signal_number(word: str, default: int = signal.SIGTERM) -> int:
    """The number of `KILL`, `SIGKILL` or `9`.

    Raises:
        UsageError: there is no such signal.
    """
    if not word:
        return default
    try:
        return words.stop_signal(word)
    except errors.UsageError:
        raise errors.UsageError(f"invalid signal: {word}") from None
