"""Flags of `create` and `run` -> the body of Docker's ContainerCreate: a field for each flag."""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.cli import lifecycle
from labcontainer.engine import request, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Given = dict[str, Any]
    Body = dict[str, Any]

# flag: field, where the word is the value.
_TEXTS = {
    "hostname": "Hostname", "domainname": "Domainname", "user": "User", "workdir": "WorkingDir",
    "stop-signal": "StopSignal",
}  # fmt: skip
_HOST_TEXTS = {
    "network": "NetworkMode", "ipc": "IpcMode", "cgroupns": "CgroupnsMode", "pid": "PidMode",
    "uts": "UTSMode", "userns": "UsernsMode", "cidfile": "ContainerIDFile", "runtime": "Runtime",
    "cgroup-parent": "CgroupParent", "volume-driver": "VolumeDriver",
}  # fmt: skip
_HOST_SWITCHES = {
    "rm": "AutoRemove", "privileged": "Privileged", "publish-all": "PublishAllPorts",
    "read-only": "ReadonlyRootfs", "oom-kill-disable": "OomKillDisable", "init": "Init",
}  # fmt: skip
_HOST_LISTS = {
    "volumes-from": "VolumesFrom", "cap-add": "CapAdd", "cap-drop": "CapDrop", "dns": "Dns",
    "dns-option": "DnsOptions", "dns-search": "DnsSearch", "add-host": "ExtraHosts",
    "group-add": "GroupAdd", "link": "Links", "device-cgroup-rule": "DeviceCgroupRules",
}  # fmt: skip
_NUMBERS = {
    "blkio-weight": "BlkioWeight", "cpu-shares": "CpuShares", "oom-score-adj": "OomScoreAdj",
    "pids": "PidsLimit", "pids-limit": "PidsLimit", "memory-swappiness": "MemorySwappiness",
    "cpu-rt-period": "CpuRealtimePeriod", "cpu-rt-runtime": "CpuRealtimeRuntime",
}  # fmt: skip
# flag: field, and what a device's part after the colon is called.
_DISKS = {
    "blkio-weight-device": ("BlkioWeightDevice", "Weight"),
    "device-read-bps": ("BlkioDeviceReadBps", "Rate"),
    "device-read-iops": ("BlkioDeviceReadIOps", "Rate"),
    "device-write-bps": ("BlkioDeviceWriteBps", "Rate"),
    "device-write-iops": ("BlkioDeviceWriteIOps", "Rate"),
}


def body(given: Given, image: str, command: list[str]) -> Body:
    """The whole body.

    Raises:
        UsageError: a word is off.
    """
    words.name(given.get("name", ""))
    found = config(given, image, command)
    found["HostConfig"] = host_config(given)
    found["NetworkingConfig"] = networking(given)
    return found


def config(given: Given, image: str, command: list[str]) -> Body:
    """What the image could have said too: the program and its surroundings."""
    attach = {stream.lower() for stream in given.get("attach", ())}
    if attach - {"stdin", "stdout", "stderr"}:
        raise errors.UsageError("--attach takes stdin, stdout or stderr")
    stays = not given.get("detach")
    stdin = bool(given.get("interactive"))
    found: Body = {
        "Image": image,
        "Cmd": command or None,
        "Entrypoint": _entrypoint(given),
        "Env": list(words.environment(given.get("env", []), given.get("env-file", []))),
        "Labels": labels(given),
        "Tty": bool(given.get("tty")),
        "OpenStdin": stdin,
        "StdinOnce": stdin and stays,
        "AttachStdin": stays and ("stdin" in attach if attach else stdin),
        "AttachStdout": stays and (not attach or "stdout" in attach),
        "AttachStderr": stays and (not attach or "stderr" in attach),
        "ExposedPorts": {port: {} for port in exposed(given)},
        "Volumes": {word: {} for word in given.get("volume", ()) if ":" not in word},
        "Healthcheck": healthcheck(given),
    }
    found |= {field: given[flag] for flag, field in _TEXTS.items() if flag in given}
    words.hostname(found.get("Hostname", ""))
    words.workdir(found.get("WorkingDir", ""))
    words.stop_signal(found.get("StopSignal", ""))
    if "stop-timeout" in given:
        found["StopTimeout"] = words.whole("--stop-timeout", given["stop-timeout"], -1)
    return found


def _entrypoint(given: Given) -> list[str] | None:
    """`--entrypoint ""` takes the image's away: a list with one empty word says that."""
    return None if "entrypoint" not in given else [given["entrypoint"]]


def labels(given: Given) -> dict[str, str]:
    """All labels: those of the files first."""
    lines: list[str] = []
    for path in given.get("label-file", ()):
        try:
            with open(path, encoding="utf-8") as file:
                lines += [line.strip() for line in file]
        except OSError as error:
            raise errors.UsageError(
                f"--label-file {path}: {os.strerror(error.errno or 0)}"
            ) from None
    lines = [line for line in lines if line and not line.startswith("#")]
    return words.pairs([*lines, *given.get("label", ())])


def healthcheck(given: Given) -> Body | None:
    """The Healthcheck of the flags; None leaves the image's."""
    if given.get("no-healthcheck"):
        if any(flag.startswith("health-") for flag in given):
            raise errors.UsageError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    found: Body = {}
    if given.get("health-cmd"):
        found["Test"] = ["CMD-SHELL", given["health-cmd"]]
    spans = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod",
             "start-interval": "StartInterval"}  # fmt: skip
    for flag, field in spans.items():
        if f"health-{flag}" in given:
            from labcontainer import durations

            found[field] = durations.parse(given[f"health-{flag}"])
    if "health-retries" in given:
        found["Retries"] = words.whole("--health-retries", given["health-retries"])
    return found or None


def exposed(given: Given) -> list[str]:
    """`80/tcp` of each port that is exposed or published."""
    found: list[str] = []
    for word in given.get("expose", ()):
        numbers, _, protocol = word.partition("/")
        first, _, last = numbers.partition("-")
        try:
            ports = range(int(first), int(last or first) + 1)
        except ValueError:
            raise errors.UsageError(f"invalid value {word!r} for --expose: a port") from None
        found += [f"{port}/{protocol or 'tcp'}" for port in ports]
    for one in words.ports(given.get("publish", [])):
        found.append(f"{one.container_port}/{one.protocol}")
    return found


# --- HostConfig -----------------------------------------------------------------------------------


def host_config(given: Given) -> Body:
    """What only this host's engine decides: limits, isolation, ports, volumes."""
    found: Body = {field: given[flag] for flag, field in _HOST_TEXTS.items() if flag in given}
    found |= {field: given[flag] for flag, field in _HOST_SWITCHES.items() if flag in given}
    found |= {field: given[flag] for flag, field in _HOST_LISTS.items() if flag in given}
    for flag, field in _NUMBERS.items():
        if flag in given:
            found[field] = words.whole(f"--{flag}", given[flag], -1000)
    found |= limits(given)
    found |= {_DISKS[flag][0]: [_disk(flag, word) for word in given[flag]]
              for flag in _DISKS if flag in given}  # fmt: skip
    found["Binds"] = [_bind(word) for word in given.get("volume", ()) if ":" in word]
    found["Mounts"] = [_mount(word) for word in given.get("mount", ())]
    found["Tmpfs"] = dict(word.partition(":")[::2] for word in given.get("tmpfs", ()))
    found["PortBindings"] = port_bindings(given)
    found["RestartPolicy"] = lifecycle.restart_policy(given.get("restart", "no"))
    if found["RestartPolicy"]["Name"] != "no" and given.get("rm"):
        raise errors.UsageError("conflicting options: --restart and --rm")
    found["LogConfig"] = {
        "Type": given.get("log-driver", ""),
        "Config": words.pairs(given.get("log-opt", ())),
    }
    found["Sysctls"] = dict(words.sysctl(word) for word in given.get("sysctl", ()))
    found["Ulimits"] = [
        {"Name": name, "Soft": soft, "Hard": hard}
        for name, soft, hard in map(words.ulimit, given.get("ulimit", ()))
    ]
    found["Devices"] = [_device(words.device(word)) for word in given.get("device", ())]
    found["Annotations"] = words.pairs(given.get("annotation", ()))
    words.security(given.get("security-opt", []))
    return found | words.security_options(given.get("security-opt", ()), "--security-opt")


def limits(given: Given) -> Body:
    """Memory in bytes, processor time in nanoseconds of a second or in Linux's own fields."""
    memory = words.memory(
        given.get("memory"), given.get("memory-swap"), given.get("memory-reservation")
    )
    names = {"memory": "Memory", "memory_swap": "MemorySwap",
             "memory_reservation": "MemoryReservation"}  # fmt: skip
    found: Body = {names[name]: value for name, value in memory.items()}
    if "memory-swap" not in given:
        found.pop("MemorySwap", None)
    if "cpus" in given:
        found["NanoCpus"] = words.cpus(given["cpus"]) * 10_000  # of a period of 100 ms
        words.processor(given["cpus"], given.get("cpu-quota"), given.get("cpu-period"))
    else:
        time = words.processor(None, given.get("cpu-quota"), given.get("cpu-period"))
        names = {"cpu_quota": "CpuQuota", "cpu_period": "CpuPeriod"}
        found |= {names[name]: value for name, value in time.items()}
    for flag, field in (("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems")):
        if flag in given:
            found[field] = words.number_list(f"--{flag}", given[flag])
    if "shm-size" in given:
        found["ShmSize"] = words.size("--shm-size", given["shm-size"])
    return found


def _bind(word: str) -> str:
    """A `-v SRC:DST[:options]` whose path is absolute."""
    source, _, rest = word.partition(":")
    if "/" in source or source in (".", ".."):
        words.volume(word)
        source = os.path.abspath(source)
    elif not rest.startswith("/"):
        raise errors.UsageError(f"invalid value {word!r} for --volume: it is SRC:DST[:ro]")
    return f"{source}:{rest}"


def _mount(word: str) -> Body:
    """`--mount` as the API has it."""
    keys = words.mount_keys(word)
    kind = keys.pop("type", "volume")
    found: Body = {"Type": kind, "Target": keys.pop("target", "")}
    if kind not in ("bind", "volume", "tmpfs") or not found["Target"].startswith("/"):
        why = "type=bind|volume|tmpfs,source=…,target=/…[,readonly]"
        raise errors.UsageError(f"invalid value {word!r} for --mount: {why}")
    if source := keys.pop("source", ""):
        found["Source"] = os.path.abspath(source) if kind == "bind" else source
    found["ReadOnly"] = keys.pop("readonly", "false").lower() in ("true", "1")
    found |= _mount_options(kind, keys)
    if keys:
        raise errors.UsageError(f"invalid value {word!r} for --mount: unknown key {min(keys)!r}")
    return found


def _mount_options(kind: str, keys: dict[str, str]) -> Body:
    if kind == "bind":
        options: Body = {}
        if "bind-propagation" in keys:
            options["Propagation"] = keys.pop("bind-propagation")
        if "bind-nonrecursive" in keys:
            options["NonRecursive"] = keys.pop("bind-nonrecursive") in ("true", "1")
        return {"BindOptions": options} if options else {}
    if kind == "tmpfs":
        options = {}
        if "tmpfs-size" in keys:
            options["SizeBytes"] = words.size("--mount", keys.pop("tmpfs-size"))
        if "tmpfs-mode" in keys:
            options["Mode"] = int(keys.pop("tmpfs-mode"), 8)
        return {"TmpfsOptions": options} if options else {}
    if "volume-nocopy" in keys:
        return {"VolumeOptions": {"NoCopy": keys.pop("volume-nocopy") in ("true", "1")}}
    return {}


def port_bindings(given: Given) -> Body:
    """PortBindings of all `--publish`: each container port with its places on the host."""
    found: dict[str, list[dict[str, str]]] = {}
    for one in words.ports(given.get("publish", [])):
        places = found.setdefault(f"{one.container_port}/{one.protocol}", [])
        places.append(
            {"HostIp": one.host_ip, "HostPort": str(one.host_port) if one.host_port else ""}
        )
    return found


def _disk(flag: str, word: str) -> Body:
    """`/dev/sda:1mb` of a limit for one disk."""
    path, colon, value = word.rpartition(":")
    if not colon or not path.startswith("/"):
        raise errors.UsageError(f"invalid value {word!r} for --{flag}: it is /dev/NAME:NUMBER")
    read = words.size if flag.endswith("bps") else words.whole
    return {"Path": path, _DISKS[flag][1]: read(f"--{flag}", value)}


def _device(one: request.HostDevice) -> Body:
    return {
        "PathOnHost": one.source,
        "PathInContainer": one.target,
        "CgroupPermissions": one.access,
    }


def networking(given: Given) -> Body:
    """EndpointsConfig: what only the container's place in its network has."""
    place: Body = {}
    addresses = {"ip": "IPv4Address", "ip6": "IPv6Address"}
    ipam = {field: given[flag] for flag, field in addresses.items() if flag in given}
    if ipam:
        place["IPAMConfig"] = ipam
    if "network-alias" in given:
        place["Aliases"] = given["network-alias"]
    if "mac-address" in given:
        place["MacAddress"] = given["mac-address"]
    network = given.get("network", "bridge")
    if network in ("none", "host") or network.startswith("container:"):
        if place:
            raise errors.UsageError(f"--network {network} has no address or name of its own")
        return {"EndpointsConfig": {}}
    return {"EndpointsConfig": {network: place} if place or network != "bridge" else {}}
