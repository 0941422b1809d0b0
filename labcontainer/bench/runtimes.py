"""The subjects: OCI runtimes that start `true` from one bundle.

crun refuses a machine whose control groups are of both versions, so it gets a mount namespace of
its own in which /sys/fs/cgroup is version 2 alone. It is entered once, by the
measuring process and so for all subjects, before the clock starts.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from labcontainer.errors import LabError, UnsupportedError
from labcontainer.record import Record

if TYPE_CHECKING:
    from labcontainer.runtime.maker import Request
    from labcontainer.runtime.zygote import Zygote

CGROUPS = "/sys/fs/cgroup"


class Runtime(Record):
    """A runtime's name, and the words that start its command line."""

    name: str
    words: tuple[str, ...]


def bundle(place: Path) -> Path:
    """A bundle whose program is busybox's `true`, with Docker's usual isolation."""
    from labcontainer.rootfs import MASKED_PATHS, READONLY_PATHS

    busybox = shutil.which("busybox")
    if busybox is None:
        raise UnsupportedError("the benchmark", "there is no busybox", "apt install busybox-static")
    for folder in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        (place / "rootfs" / folder).mkdir(parents=True, exist_ok=True)
    for name in ("true", "sleep"):
        shutil.copy(busybox, place / "rootfs/bin" / name)
    document = configuration(list(MASKED_PATHS), list(READONLY_PATHS))
    (place / "config.json").write_text(json.dumps(document))
    return place


def configuration(masked: list[str], read_only: list[str]) -> dict[str, object]:
    """The bundle's config.json: as dockerd writes it, but for the network's hook.

    And without `resources.devices`, for which crun wants to raise RLIMIT_MEMLOCK: not every
    machine's root may. The others make their default device list all the same.
    """
    from labcontainer import capabilities
    from labcontainer.seccomp_default import default_profile

    safe = ["nosuid", "noexec", "nodev"]
    kept = list(capabilities.DEFAULT)
    pty = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {kind: kept for kind in ("bounding", "effective", "permitted")},
        },
        "mounts": [
            mount("/proc", "proc", safe),
            mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", pty),
            mount("/dev/shm", "tmpfs", [*safe, "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", safe),
            mount("/sys", "sysfs", [*safe, "ro"]),
        ],
        "linux": {
            "namespaces": [{"type": one} for one in ("pid", "mount", "ipc", "uts", "network")],
            "maskedPaths": masked,
            "readonlyPaths": read_only,
            "seccomp": default_profile(capabilities.DEFAULT),
        },
    }


def mount(where: str, kind: str, options: list[str]) -> dict[str, object]:
    """One entry of config.json's mounts."""
    return {"destination": where, "type": kind, "source": kind, "options": options}


def installed(place: Path) -> list[Runtime]:
    """Our runtime, and those that the machine has."""
    found = [Runtime("labcontainer", (str(launcher(place)),))]
    for name in ("runc", "crun"):
        path = shutil.which(name)
        if path:
            found.append(Runtime(name, (path,)))
    return found


def launcher(place: Path) -> Path:
    """Our command as an installation writes it, byte code and all."""
    from labcontainer.runtime import launcher as writer

    path = place / "labcontainer-oci"
    writer.write(str(path))
    return path


def run_once(runtime: Runtime, state: Path, where: Path) -> Callable[[], None]:
    """An action: `run`, from start to the exit of the runtime."""

    def action() -> None:
        call(runtime, state, "run", "--bundle", str(where), fresh())

    return action


def three_calls(runtime: Runtime, state: Path, where: Path) -> Callable[[], None]:
    """An action: `create`, `start`, and `delete` once the program has ended."""

    def action() -> None:
        name = fresh()
        call(runtime, state, "create", "--bundle", str(where), name)
        call(runtime, state, "start", name)
        call(runtime, state, "delete", "--force", name)

    return action


def from_zygote(zygote: Zygote, place: Path, where: Path) -> Callable[[], None]:
    """An action: a container from the warm zygote, from the request to its end seen."""

    def action() -> None:
        with zygote.run(_request(place, where)) as handle:
            handle.start()
            ended = handle.wait()
        if ended.status:
            raise LabError(f"the container ended with {ended.status}: {ended.error}")

    return action


def monitor_memory(zygote: Zygote, place: Path, where: Path) -> int:
    """Bytes that one monitor has for itself alone (Private_* of smaps_rollup, proc(5)).

    Of a container that runs: while it is created a second process is beside it, for that moment.
    """
    living = place / "living"
    living.mkdir()
    document = json.loads((where / "config.json").read_text())
    document["root"]["path"] = str(where / "rootfs")
    document["process"]["args"] = ["/bin/sleep", "1000"]
    (living / "config.json").write_text(json.dumps(document))
    with zygote.run(_request(place, living)) as handle:
        handle.start()
        monitor = _parent(handle.pid)
        while _parent(monitor) != zygote.pid:
            time.sleep(0.01)
            monitor = _parent(handle.pid)
        with open(f"/proc/{monitor}/smaps_rollup") as file:
            private = [int(line.split()[1]) for line in file if line.startswith("Private_")]
        os.kill(handle.pid, signal.SIGKILL)
        handle.wait()
    return 1024 * sum(private)


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def _request(place: Path, where: Path) -> Request:
    from labcontainer.runtime.maker import Request

    name = fresh()
    folder = place / "homes" / name
    folder.mkdir(parents=True)
    return Request(name, str(where), f"{place}/labcontainer", str(folder), remove=True)


def fresh() -> str:
    """A container's name that nobody has."""
    return f"lcbench-{uuid.uuid4().hex[:10]}"


def call(runtime: Runtime, state: Path, *words: str) -> None:
    """One call of a runtime; its own words are the error where it fails."""
    argv = [*runtime.words, "--root", f"{state}/{runtime.name}", *words]
    # a file, not a pipe: what `create` leaves running would hold a pipe open
    with open(state / "said", "w+b") as said:
        null = subprocess.DEVNULL
        done = subprocess.run(argv, stdin=null, stdout=null, stderr=said, check=False)
        if done.returncode:
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            raise LabError(f"{runtime.name} {words[0]} ended with {done.returncode}: {text}")


@contextmanager
def version_2_only() -> Iterator[None]:
    """Stand in a mount namespace where control groups are version 2 alone, for crun's sake.

    For the calling process, which is a command line of its own; does nothing on a pure machine.
    """
    from labcontainer.kernel import flags, syscalls

    if os.path.exists(f"{CGROUPS}/cgroup.controllers"):
        yield
        return
    syscalls.unshare(flags.CLONE.NEWNS)
    syscalls.mount("none", "/", None, flags.MS.REC | flags.MS.PRIVATE)
    syscalls.mount("cgroup2", CGROUPS, "cgroup2", 0)
    yield


def machine() -> Mapping[str, object]:
    """What the samples were taken on."""
    said = {}
    for name in ("runc", "crun"):
        if shutil.which(name):
            text = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
            said[name] = text.stdout.partition("\n")[0]
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": models[0] if models else "unknown",
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "load": list(os.getloadavg()),
        "runtimes": said,
    }
