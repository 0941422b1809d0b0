"""The engine as a whole, in the shapes of the API: version, info, room on disk."""

from __future__ import annotations

import collections
import functools
import os
import platform
import socket

from labcontainer import errors
from labcontainer.engine import ancestry, filters, moments, showing, stats
from labcontainer.engine import container as states
from labcontainer.image import documents, inside
from labcontainer.kernel import files
from labcontainer.runtime.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from labcontainer.engine.engine import Engine

    Document = dict[str, Any]

EVENT_FILTERS = ("config container daemon event image label network node plugin scope secret "
                 "service type volume").split()  # fmt: skip
BUILT = "2026-01-01T00:00:00.000000000+00:00"
KINDS = ("container", "image", "volume", "build-cache")


def version(newest: str, oldest: str) -> Document:
    """`GET /version`."""
    kernel = os.uname()
    return {
        "Platform": {"Name": "labcontainer"},
        "Components": [
            {"Name": "Engine", "Version": VERSION,
             "Details": {"ApiVersion": newest, "Arch": _architecture(), "BuildTime": BUILT,
                         "Experimental": "false", "GitCommit": "", "GoVersion": "",
                         "KernelVersion": kernel.release, "MinAPIVersion": oldest, "Os": "linux"}},
            {"Name": "labcontainer-oci", "Version": VERSION, "Details": {"GitCommit": ""}},
        ],
        "Version": VERSION,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": "",
        "GoVersion": f"none: Python {platform.python_version()}",
        "Os": "linux",
        "Arch": _architecture(),
        "KernelVersion": kernel.release,
        "BuildTime": BUILT,
    }  # fmt: skip


def _architecture() -> str:
    return documents.host_platform().architecture


def info(engine: Engine, *, debug: bool = False) -> Document:
    """`GET /info`."""
    return {
        "ID": engine.identity,
        "Name": socket.gethostname(),
        "Images": len(engine.store.images()),
        "DockerRootDir": engine.home,
        "SystemTime": moments.now(),
        "Debug": debug,
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": len(os.listdir("/proc/self/task")),
        "NEventsListener": engine.events.listeners,
        **_counts(engine),
        **_machine(),
        **_parts(),
        **_abilities(),
        "LiveRestoreEnabled": engine.live_restore,
        **_nothing(),
        "Warnings": engine.networks.warnings(),
    }


def _counts(engine: Engine) -> Document:
    containers = engine.containers.all()
    running = sum(one.state.status == states.RUNNING for one in containers)
    paused = sum(one.state.status == states.PAUSED for one in containers)
    return {
        "Containers": len(containers),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(containers) - running - paused,
    }


def _machine() -> Document:
    kernel = os.uname()
    return {
        "KernelVersion": kernel.release,
        "OperatingSystem": _os_release("PRETTY_NAME", "Linux"),
        "OSVersion": _os_release("VERSION_ID"),
        "OSType": "linux",
        "Architecture": kernel.machine,
        "NCPU": os.cpu_count(),
        "MemTotal": stats.memory_of_machine(),
    }


def _parts() -> Document:
    """What it is made of."""
    local = {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}
    return {
        "ServerVersion": VERSION,
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "overlayfs layers"]],
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"],
                    "Authorization": None, "Log": ["json-file", "local", "none"]},
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": _cgroup_version(),
        "Runtimes": {"labcontainer": {"path": "labcontainer-oci"}},
        "DefaultRuntime": "labcontainer",
        "InitBinary": "docker-init",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"], "Mirrors": [],
                           "IndexConfigs": {"docker.io": local}},
    }  # fmt: skip


def _abilities() -> Document:
    security = ["name=seccomp,profile=builtin", "name=cgroupns"]
    security += ["name=rootless"] if inside.in_user_namespace() else []
    able = ("MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet",
            "PidsLimit", "IPv4Forwarding")  # fmt: skip
    return {
        **dict.fromkeys(able, True),
        "OomKillDisable": _cgroup_version() == "1",
        "BridgeNfIptables": _is_on("iptables"),
        "BridgeNfIp6tables": _is_on("ip6tables"),
        "ExperimentalBuild": False,
        "SecurityOptions": security,
    }


def _nothing() -> Document:
    """Fields of what there is not: clients ask for them all the same."""
    commit = {"ID": "", "Expected": ""}
    return {
        "GenericResources": None,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Labels": [],
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive",
                  "ControlAvailable": False, "Error": "", "RemoteManagers": None},
        "Isolation": "",
        "ContainerdCommit": commit,
        "RuncCommit": {"ID": VERSION, "Expected": VERSION},
        "InitCommit": {"ID": _init_version(), "Expected": _init_version()},
    }  # fmt: skip


def _is_on(tables: str) -> bool:
    """Whether frames between the ports of all bridges pass these rules; ours need it not."""
    path = f"/proc/sys/net/bridge/bridge-nf-call-{tables}"
    return files.exists(path) and files.read(path) == "1"


def _cgroup_version() -> str:
    from labcontainer import cgroupfs

    return "2" if cgroupfs.is_version_2() else "1"


def _os_release(name: str, default: str = "") -> str:
    """A value of os-release(5)."""
    try:
        lines = files.read("/etc/os-release").splitlines()
    except OSError:
        return default
    found = dict(line.partition("=")[::2] for line in lines)
    return found.get(name, default).strip('"')


@functools.cache
def _init_version() -> str:
    """What the program of `--init` says of itself: `tini version 0.19.0`."""
    import subprocess

    from labcontainer.engine import single

    try:
        words = [single.find_init(), "--version"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False)
    except (errors.LabError, OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.split() or [""])[-1]


def disk_usage(
    engine: Engine, kinds: Iterable[str], version: tuple[int, int] = (1, 44)
) -> Document:
    """`GET /system/df`, in the shape of an API's version.

    Raises:
        UsageError: a kind that there is not.
    """
    found: Document = {}
    for kind in kinds:
        if kind not in KINDS:
            raise errors.UsageError(f"unknown object type: {kind}")
    counts = collections.Counter(one.image_id for one in engine.containers.all())
    images = engine.images.usage(version, counts.__getitem__)
    if "image" in kinds:
        found |= {key: images[key] for key in ("LayersSize", "Images")}
    if "container" in kinds:
        names = ancestry.Names(engine.store)
        found["Containers"] = [
            showing.summary(engine, one, names, size=True) for one in engine.containers.all()
        ]
    if "volume" in kinds:
        found["Volumes"] = engine.volumes.usage()
    if "build-cache" in kinds:
        found["BuildCache"] = images["BuildCache"]
        found["BuilderSize"] = sum(one.get("Size", 0) for one in found["BuildCache"])
    return found


def event_filters(given: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    """The filters of `events`.

    Raises:
        UsageError: one that there is not.
    """
    filters.check(given, EVENT_FILTERS)
    return given
