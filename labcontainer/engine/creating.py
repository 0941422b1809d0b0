"""A new container: the image's words and the user's put together, and everything checked."""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.engine import hostconfig, launch
from labcontainer.engine.container import Container
from labcontainer.image import documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labcontainer.engine.engine import Engine

    Document = dict[str, Any]

# What an image's Healthcheck leaves open the container's own may say, and the other way.
_HEALTH = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


def create(
    engine: Engine, home: str, identity: str, name: str,
    asked: tuple[Document, Document, Document], platform: str,
) -> Container:  # fmt: skip
    """Make the container's directory and all that is known of it; nothing runs yet.

    Raises:
        NotFoundError: no such image, network or container. UsageError: a value is off.
    """
    config, host, networking = asked
    if not config["Image"]:
        raise errors.UsageError("config cannot be empty in order to create a container")
    with engine.store.lease():
        wanted = documents.parse_platform(platform) if platform else None
        image, lowers = engine.images.root(config["Image"], wanted)
        settled = merged(config, image.config.config)
        host = with_defaults(host)
        hostconfig.check(settled, host)
        program, args = command(settled)
        made = Container(
            home, id=identity, name=name, image=config["Image"], image_id=image.id,
            lowers=list(lowers), config=settled, host=host, program=program, args=args,
        )  # fmt: skip
        hostconfig.profile(hostconfig.request_of(made))
        made.endpoints = engine.networks.plan(config, host, networking)
        if not settled["Hostname"] and "host" not in (host["NetworkMode"], host["UTSMode"]):
            settled["Hostname"] = identity[:12]
        os.makedirs(home, mode=0o711)
        made.mounts = engine.volumes.resolve(identity, settled, host, engine.containers)
        try:
            launch.make_root(engine, made)
        except BaseException:
            engine.volumes.release(made, True)
            raise
    return made


def merged(config: Document, image: Mapping[str, Any]) -> Document:
    """The user's Config over the image's, by Docker's rules."""
    found = dict(config)
    found.pop("MacAddress", None)
    if not found["Entrypoint"] and found["Entrypoint"] != [""]:
        if not found["Cmd"]:
            found["Cmd"] = image.get("Cmd")
        if found["Entrypoint"] is None:
            found["Entrypoint"] = image.get("Entrypoint")
    if found["Entrypoint"] in ([""], ""):
        found["Entrypoint"] = None
    for key in ("Cmd", "Entrypoint"):
        if isinstance(found[key], str):
            found[key] = [found[key]]
    found["Env"] = environment(image.get("Env") or (), config["Env"])
    found["Labels"] = {**(image.get("Labels") or {}), **config["Labels"]}
    found["ExposedPorts"] = _ports({**(image.get("ExposedPorts") or {}), **config["ExposedPorts"]})
    found["Volumes"] = {**(image.get("Volumes") or {}), **config["Volumes"]} or None
    for key in ("User", "WorkingDir", "StopSignal"):
        found[key] = config[key] or image.get(key) or ""
    found["Shell"] = config["Shell"] or image.get("Shell")
    found["OnBuild"] = config["OnBuild"] or image.get("OnBuild")
    found["Healthcheck"] = _health(config["Healthcheck"], image.get("Healthcheck"))
    return found


def environment(image: list[str] | tuple[str, ...], own: list[str]) -> list[str]:
    """The user's variables, then those of the image that he does not set; `NAME` unsets one."""
    lines = dict(line.partition("=")[::2] for line in image)
    for line in own:
        name, equals, value = line.partition("=")
        if not name:
            raise errors.UsageError(f"invalid environment variable: {line}")
        if equals:
            lines[name] = value
        else:
            lines.pop(name, None)
    return [f"{name}={value}" for name, value in lines.items()]


def _ports(found: Document) -> Document:
    """Exposed ports with their protocol: `80` is `80/tcp`."""
    settled: Document = {}
    for word in found:
        port, _, protocol = word.partition("/")
        first, _, last = port.partition("-")
        if not all(one.isdecimal() and 0 < int(one) < 65536 for one in (first, last or first)):
            raise errors.UsageError(f'invalid port specification: "{word}"')
        for number in range(int(first), int(last or first) + 1):
            settled[f"{number}/{(protocol or 'tcp').lower()}"] = {}
    return settled


def _health(own: Document | None, image: Document | None) -> Document | None:
    if not own:
        return dict(image) if image else None
    found = {key: own.get(key) or (image or {}).get(key) for key in _HEALTH}
    return {key: value for key, value in found.items() if value}


def command(config: Document) -> tuple[str, list[str]]:
    """The program and its words.

    Raises:
        UsageError: neither the user nor the image says what to run.
    """
    found = [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]
    if not found:
        raise errors.UsageError("no command specified")
    return found[0], found[1:]


def with_defaults(host: Document) -> Document:
    """HostConfig with what Docker fills in."""
    found = dict(host)
    found["NetworkMode"] = host["NetworkMode"] or "default"
    found["IpcMode"] = host["IpcMode"] or "private"
    found["CgroupnsMode"] = host["CgroupnsMode"] or ("host" if host["Privileged"] else "private")
    found["ShmSize"] = host["ShmSize"] or 64 << 20
    swappiness, processes = host["MemorySwappiness"], host["PidsLimit"]
    found["MemorySwappiness"] = None if swappiness == -1 else swappiness
    found["PidsLimit"] = processes if processes and processes > 0 else None
    found["Runtime"] = host["Runtime"] or "labcontainer"
    found["LogConfig"] = {"Type": host["LogConfig"]["Type"] or "json-file",
                          "Config": host["LogConfig"]["Config"]}  # fmt: skip
    policy = host["RestartPolicy"]
    found["RestartPolicy"] = {**policy, "Name": policy["Name"] or "no"}
    for key in ("CapAdd", "CapDrop"):
        if isinstance(host[key], str):
            found[key] = [host[key]]
    if host["MaskedPaths"] is None or host["ReadonlyPaths"] is None:
        from labcontainer import rootfs

        hidden = not host["Privileged"] and "systempaths=unconfined" not in (
            host["SecurityOpt"] or ()
        )
        if host["MaskedPaths"] is None:
            found["MaskedPaths"] = list(rootfs.MASKED_PATHS) if hidden else None
        if host["ReadonlyPaths"] is None:
            found["ReadonlyPaths"] = list(rootfs.READONLY_PATHS) if hidden else None
    return found


_WEIGHTS = (
    ("BlkioWeight", "weight", "Weight"),
    ("BlkioWeightDevice", "weight_device", "Weight-device"),
)


def warnings(container: Container) -> list[str]:
    """What could not be had and was left out."""
    found = []
    host = container.host
    if host["NetworkMode"] == "host" and host["PortBindings"]:
        found.append("Published ports are discarded when using host network mode")
    if host["KernelMemoryTCP"] or host["KernelMemory"]:
        found.append(
            "Specifying a kernel memory limit is deprecated and will be removed in a future "
            "release."
        )
    if not _has_block_weight():
        found += [
            f"Your kernel does not support Block I/O {name} or the cgroup is not mounted. {short} "
            "discarded."
            for field, name, short in _WEIGHTS if host[field]
        ]  # fmt: skip
    if host["OomKillDisable"] and not host["Memory"]:
        found.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can "
            "result in the system running out of resources."
        )
    return found


def _has_block_weight() -> bool:
    """Whether this kernel's scheduler of disks knows weights; version 2 tells it in no root."""
    from labcontainer import cgroupfs

    folder = "/sys/fs/cgroup/blkio"
    names = ("blkio.weight", "blkio.bfq.weight")
    return cgroupfs.is_version_2() or any(os.path.exists(f"{folder}/{name}") for name in names)
