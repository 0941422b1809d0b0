"""Who is measured: the same small root file system and program, on machines of many kinds.

A subject can `start` a program and tell the seconds until its first byte, `run` a program to its
end, and be `held`: several idle instances at once, whose memory is counted. Subjects that are a
command (a process, a container) do each by a process of their own; a virtual machine is booted for
`start`, and stays up for `run`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO

from labcontainer.bench import memory
from labcontainer.errors import LabError
from labcontainer.vm import guest

FIRST = ("/bin/busybox", "echo", "here")
IDLE = ("/bin/busybox", "sleep", "1000")
PYTHON = ("/usr/bin/python3", "-I", "-S", "-E", "-")
PATIENCE = 120  # seconds for one run of the worker


class Subject(ABC):
    """One kind of machine. `disk`: a directory on a disk, as a program in it sees that; `most`: of
    how many instances at once the memory is counted."""

    most = 100

    def __init__(self, name: str, disk: str = "") -> None:
        self.name = name
        self.disk = disk

    @abstractmethod
    def start(self) -> float:
        """Seconds from asking for a program to its first byte."""

    @abstractmethod
    def run(self, argv: Sequence[str], stdin: bytes) -> bytes:
        """What a program prints. Raises LabError where it fails."""

    @abstractmethod
    def held(self, number: int) -> AbstractContextManager[list[int]]:
        """Keep idle instances; the host's processes that they begin with."""

    def close(self) -> None:  # noqa: B027  a command has nothing to let go of
        """Let go of what is kept up."""


# --- commands -----------------------------------------------------------------------------------


class Command(Subject):
    """A process, or what a command line puts around it: `words` are given the program's argv."""

    def __init__(
        self, name: str, words: Callable[[Sequence[str]], list[str]], disk: str = ""
    ) -> None:
        super().__init__(name, disk)
        self._words = words

    def start(self) -> float:
        begun = time.perf_counter()
        with self._begin(FIRST, subprocess.DEVNULL) as process:
            assert process.stdout
            first = process.stdout.read(1)
            seconds = time.perf_counter() - begun
            self._end(process, *process.communicate())
        if not first:
            raise LabError(f"{self.name}: the program said nothing")
        return seconds

    def run(self, argv: Sequence[str], stdin: bytes) -> bytes:
        with self._begin(argv, subprocess.PIPE) as process:
            out, err = process.communicate(stdin, PATIENCE)
            self._end(process, out, err)
        return out

    def _begin(self, argv: Sequence[str], stdin: int) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self._words(argv), stdin=stdin, stdout=pipe, stderr=pipe)

    def _end(self, process: subprocess.Popen[bytes], out: bytes, err: bytes) -> None:
        if process.returncode:
            said = (err or out).decode(errors="replace").strip()
            raise LabError(f"{self.name} ended with {process.returncode}: {said[-300:]}")

    @contextmanager
    def held(self, number: int) -> Iterator[list[int]]:
        with ExitStack() as stack:
            found: list[int] = []
            mark = uuid.uuid4().hex
            # A program that says when it is there, and then waits for its input's end.
            program = ("/bin/busybox", "sh", "-c", f"echo up; read _; : {mark}")
            for _ in range(number):
                process = self._begin(program, subprocess.PIPE)
                stack.callback(_let_go, process)
                _await_byte(process.stdout, self.name)
                found.append(process.pid)
            yield [*found, *memory.monitors(found, mark)]


def _await_byte(stream: IO[bytes] | None, name: str) -> None:
    if stream is None or not stream.read(1):
        raise LabError(f"{name}: an instance ended at once")


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """The end of its input ends it."""
    try:
        process.communicate(b"\n", 20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def process() -> Command:
    """A plain process of the host."""
    return Command("process", list, "/tmp")


def namespace(name: str, flag: str, *more: str) -> Command:
    """A process with one namespace of its own."""
    return Command(name, lambda argv: ["unshare", flag, *more, "--", *argv], "/tmp")


def namespaces() -> list[Command]:
    """Each kind alone. An ordinary user's need a user namespace around them."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    kinds = [("mnt", "--mount", ()), ("pid", "--pid", ("--fork",)), ("uts", "--uts", ()),
             ("ipc", "--ipc", ()), ("net", "--net", ()), ("cgroup", "--cgroup", ())]  # fmt: skip
    found = [namespace(f"{kind} namespace", flag, *more, *user) for kind, flag, more in kinds]
    return [*found, namespace("user namespace", "--user", "--map-root-user")]


def bubblewrap(root: Path) -> Command:
    """All namespaces, by the tool behind Flatpak."""
    words = ["bwrap", "--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all",
             "--die-with-parent", "--"]  # fmt: skip
    return Command("bubblewrap", lambda argv: [*words, *argv], "/work")


def runtime(name: str, words: Sequence[str], bundle: Path, state: Path) -> Command:
    """An OCI runtime: each program gets a bundle's config.json of its own, on the same root."""
    document = json.loads((bundle / "config.json").read_text())
    document["root"] = {"path": str(bundle / "rootfs"), "readonly": False}

    def line(argv: Sequence[str]) -> list[str]:
        fresh = f"lcbench-{uuid.uuid4().hex[:10]}"
        place = state / fresh
        place.mkdir()
        own = document | {"process": document["process"] | {"args": list(argv)}}
        (place / "config.json").write_text(json.dumps(own))
        return [*words, "--root", f"{state}/{name}", "run", "--bundle", str(place), fresh]

    return Command(name, line, "/work")


def podman(root: Path, place: Path, outside: Sequence[str] = ()) -> Command:
    """podman on that root itself, without a network of its own.

    `outside` enters the machine's own mounts: podman needs all of its control groups.
    Its usual limits (ulimit) are more than every machine's root may give: it gets none to raise.
    """
    config = place / "containers.conf"
    limits = 'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]'
    config.write_text(f"[containers]\n{limits}\n")
    store = [
        "--storage-driver=vfs",
        "--root",
        f"{place}/podman",
        "--runroot",
        f"{place}/podman-run",
    ]
    how = ["--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc"]
    line = ["run", "--rm", "--interactive", "--network=none", "--log-driver=none", "--rootfs"]
    words = [*outside, "env", f"CONTAINERS_CONF={config}", "podman", *store, *how, *line, str(root)]
    return Command("podman", lambda argv: [*words, *argv], "/work")


def unmount_below(place: str, outside: Sequence[str]) -> None:
    """Take away what podman leaves mounted: its store, bound to itself."""
    known = subprocess.run(
        [*outside, "cat", "/proc/self/mounts"], stdout=subprocess.PIPE, check=True
    )
    for line in known.stdout.decode().splitlines():
        path = line.split()[1]
        if path.startswith(f"{place}/"):
            subprocess.run([*outside, "umount", "--lazy", path], check=True)


def docker(words: Sequence[str], image: str) -> Command:
    """The docker command with dockerd, without a network of its own."""
    line = [*words, "run", "--rm", "--interactive", "--network=none", image]
    return Command("dockerd", lambda argv: [*line, *argv], "/work")


# --- virtual machines ---------------------------------------------------------------------------


class Machine(Subject):
    """A virtual machine: `make` gives one that is off."""

    most = 10

    def __init__(
        self,
        name: str,
        make: Callable[[], guest.Guest],
        disk: str = "",
        patience: float = guest.BOOT_SECONDS,
    ) -> None:
        super().__init__(name, disk)
        self._make = make
        self.kept = make  # the one that stays up for `run`
        self._patience = patience
        self._up: guest.Guest | None = None

    def start(self) -> float:
        heard: list[float] = []
        begun = time.perf_counter()
        machine = self._make()
        machine.start(self._patience)
        with machine:
            sink = lambda _: heard.append(time.perf_counter() - begun)  # noqa: E731
            machine.wait(machine.exec(guest.Program(FIRST), sink), PATIENCE)
        return heard[0]

    def run(self, argv: Sequence[str], stdin: bytes) -> bytes:
        if self._up is None:
            self._up = self.kept()
            self._up.start()
        status, out, err = guest.run_in(self._up, guest.Program(tuple(argv)), PATIENCE, stdin)
        if status:
            said = err.decode(errors="replace").strip()[-300:]
            raise LabError(f"{self.name}: the program ended with {status}: {said}")
        return out

    @contextmanager
    def held(self, number: int) -> Iterator[list[int]]:
        with ExitStack() as stack:
            machines = [stack.enter_context(self._make()) for _ in range(number)]
            for machine in machines:
                machine.exec(guest.Program(IDLE))
            time.sleep(0.5)
            yield [machine.pid for machine in machines]

    def close(self) -> None:
        if self._up is not None:
            self._up.delete()
            self._up = None


def user_mode_linux(place: Path) -> Machine:
    """Debian's kernel as a process. Its disk is a directory of the host."""
    from labcontainer.vm import uml

    share = place / "uml"
    share.mkdir(exist_ok=True)
    spec = uml.Machine(memory="128M", share_rw=(str(share),))
    return Machine("UML", lambda: uml.Guest(spec), str(share))


def qemu(accelerator: str, place: Path) -> Machine:
    """QEMU, by TCG or KVM. Its disk is a file of the host: only the one that stays up has it."""
    from labcontainer.vm import disk
    from labcontainer.vm import qemu as machines

    scratch = place / f"{accelerator}.disk"
    disk.empty(str(scratch), 32)
    spec = machines.Machine(accelerator, memory="128M")
    # Under KVM a guest is up in a second, or hangs for ever.
    patience = 10 if accelerator == machines.KVM else guest.BOOT_SECONDS
    name = f"QEMU {accelerator.upper()}"
    found = Machine(name, lambda: machines.Guest(spec), "/scratch", patience)
    found.kept = lambda: machines.Guest(spec.replace(scratch=str(scratch)))
    return found


# --- the root -----------------------------------------------------------------------------------


def make_root(place: Path) -> Path:
    """The root of all containers: busybox and Python, the same files as a guest's initramfs."""
    from labcontainer.image import entries
    from labcontainer.vm import initramfs

    entries.put(initramfs.userland(), str(place))
    (place / "work").mkdir(mode=0o777)
    return place


def sizes(root: Path) -> dict[str, float]:
    """Bytes on the disk: what an image brings, and what a machine needs besides."""
    from labcontainer.vm import kernels

    found = {"image: busybox and Python": float(_size(root))}
    uml = shutil.which("linux.uml")
    if uml:
        found["UML: its kernel"] = float(os.stat(uml).st_size)
    try:
        kernel = kernels.find()
    except LabError:
        return found
    modules = sum(os.stat(path).st_size for path in kernel.modules.values())
    found["QEMU: the guest's kernel and modules"] = float(os.stat(kernel.image).st_size + modules)
    return found


def _size(top: Path) -> int:
    return sum(path.lstat().st_size for path in top.rglob("*") if not path.is_dir())
