"""Control groups: what a group of processes may use, what it has used, and how to stop it.

A group is a directory that the kernel fills with files. Version 1 has a tree of directories for
each controller (memory, cpu, …), version 2 has one tree for all: so a container's group is one
directory there and ten or so in version 1. Which file takes which limit is `limits.TABLE`; all else
that differs is the few branches here.

    with Cgroup("/labcontainer/one", detect()) as group:    # create(); in the end kill(), delete()
        group.apply(Limits(memory=64 << 20, pids=64))
        group.add(pid)

Sources: cgroups(7); the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/*.rst.
"""

from __future__ import annotations

import errno
import os
import time

from labcontainer import hierarchy, limits
from labcontainer.errors import SpecError, StateError, UnsupportedError
from labcontainer.hierarchy import Layout as Layout
from labcontainer.hierarchy import detect as detect
from labcontainer.kernel import files
from labcontainer.kernel.signals import signal
from labcontainer.limits import Limits as Limits
from labcontainer.resources import from_oci as from_oci
from labcontainer.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer import usage

OURS = "/labcontainer"  # the group above the groups that nobody gave a path
PATIENCE = 5.0  # seconds in which all processes freeze
# Seconds in which killed processes end: of a group with a hundredth of a processor, each takes its
# share of that for its last steps in the kernel.
DYING = 30.0


# --- a group -------------------------------------------------------------------------------------


def for_container(path: str, container_id: str, wished: Limits) -> Cgroup | None:
    """The group of a container: at `linux.cgroupsPath`, or below ours.

    None where no group can be made and no limit was asked for; what a user namespace may do with
    devices needs no list.

    Raises:
        SpecError: the path leads to the top of the tree.
        UnsupportedError: a limit was asked for, and this user has no group to set it in.
    """
    place = os.path.normpath("/" + (path or f"{OURS}/{container_id}").lstrip("/"))
    if place == "/":
        raise SpecError("linux.cgroupsPath", f"{path!r} is the top of the tree, not a container's")
    layout = detect()
    if layout.kind != "none":
        return Cgroup(place, layout)
    asked = wished.replace(devices=None, check_before_update=False).asked()
    if asked:
        raise UnsupportedError(f"limits ({', '.join(asked)})", layout.why, hierarchy.DELEGATE)
    return None


def reopen(record: dict[str, Any]) -> Cgroup | None:
    """The group that `Cgroup.record` described, in another process."""
    if not record:
        return None
    layout = Layout(record["kind"], record["v1"], record["v2"])
    group = Cgroup(record["path"], layout)
    group.created = list(record["created"])
    group.parents = list(record["parents"])
    return group


class Cgroup:
    """A group of processes: a directory in each hierarchy of the layout."""

    def __init__(self, path: str, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self.directories = {names: top + path for names, top in layout.v1.items()}
        if layout.v2:
            self.directories[""] = layout.v2 + path
        self.created: list[str] = []  # only these are ever removed
        self.parents: list[str] = []  # made on the way, removed when empty
        self._descriptor = -1

    def __str__(self) -> str:
        return self.path

    def __enter__(self) -> Cgroup:
        self.create()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.delete()

    def directory(self, controller: str) -> str:
        """The directory with a controller's files.

        Raises:
            UnsupportedError: the machine has no such controller.
        """
        for names, directory in self.directories.items():
            if controller in names.split(","):
                return directory
        if "" in self.directories:
            return self.directories[""]
        raise UnsupportedError(f"the cgroup controller {controller}", "it is not mounted here")

    def _is_v1(self, controller: str) -> bool:
        return any(controller in names.split(",") for names in self.layout.v1)

    # --- create, delete ---

    def create(self) -> None:
        """Make the directories; an empty group of that path is taken as it is, and not removed.

        Raises:
            ExistsError: the group is there and holds processes, or groups of somebody.
            UnsupportedError: no right to make it, or no controllers can be had there.
        """
        with Undo() as undo:
            undo.push(self.delete)
            for names, directory in self.directories.items():
                cpuset = "cpuset" in names.split(",")
                if hierarchy.make(directory, cpuset, self.parents):
                    self.created.append(directory)
            if self.layout.kind == "v2":
                hierarchy.enable_controllers(self.layout.v2, self.directories[""])

    def delete(self) -> None:
        """Remove the directories that `create` made, and what was made below them; no others.

        Raises:
            StateError: processes are still in it.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        while self.created:
            hierarchy.remove(self.created[-1])
            self.created.pop()
        shared = [top + OURS for top in (*self.layout.v1.values(), self.layout.v2)]
        for parent in (*reversed(self.parents), *shared):
            try:
                os.rmdir(parent)
            except OSError:
                pass  # others have groups there, or have taken it away
        self.parents.clear()

    def record(self) -> dict[str, Any]:
        """What another process needs to act on this group (`reopen`), as JSON has it.

        `freezer` says which file holds which word while the group is frozen.
        """
        directory, version = self._freezer()
        file, word = ("freezer.state", "FROZEN") if version == 1 else ("cgroup.freeze", "1")
        return {
            "path": self.path,
            "kind": self.layout.kind,
            "v1": self.layout.v1,
            "v2": self.layout.v2,
            "created": list(self.created),
            "parents": list(self.parents),
            "freezer": {f"{directory}/{file}": word},
        }

    # --- limits ---

    def plan(self, wished: Limits) -> tuple[limits.Write | limits.Program, ...]:
        """The writes that `apply` makes, in order."""
        return limits.plan(wished, self.layout.controllers())

    def apply(self, wished: Limits) -> tuple[str, ...]:
        """Set limits, before processes enter or while they run. Returns what was left out, and why.

        Raises:
            UnsupportedError: the kernel has not the controller, or refused a value.
            SpecError: limits that contradict each other.
        """
        wished, memsw_now = self._completed(wished)
        steps = limits.plan(wished, self.layout.controllers(), memsw_now)
        index = 0
        while index < len(steps):
            step = steps[index]
            if isinstance(step, limits.Program):
                self._attach(step)
                index += 1
                continue
            same = [step]
            for other in steps[index + 1 :]:
                if not isinstance(other, limits.Write) or other.file != step.file:
                    break
                same.append(other)
            self._write(same)
            index += len(same)
        return limits.left_out(wished, self.layout.controllers())

    def _completed(self, wished: Limits) -> tuple[Limits, int | None]:
        """Add what stands already where the kernel wants two values at once, or an order of two."""
        memsw_now = None
        if self._is_v1("memory"):
            if wished.memory is not None and wished.memory_swap is not None:
                memsw_now = self._now("memory", "memory.memsw.limit_in_bytes")
        else:
            if wished.memory is None and (wished.memory_swap or 0) > 0:
                wished = wished.replace(memory=self._now("memory", "memory.max"))
            if wished.check_before_update and wished.memory:
                self._check_usage(wished.memory)
        if not self._is_v1("cpu") and (wished.cpu_quota is None) != (wished.cpu_period is None):
            quota, period = files.read(f"{self.directory('cpu')}/cpu.max").split()
            had = Limits(cpu_quota=-1 if quota == "max" else int(quota), cpu_period=int(period))
            wished = wished.replace(
                cpu_quota=had.cpu_quota if wished.cpu_quota is None else wished.cpu_quota,
                cpu_period=had.cpu_period if wished.cpu_period is None else wished.cpu_period,
            )
        return wished, memsw_now

    def _now(self, controller: str, file: str) -> int | None:
        try:
            text = files.read(f"{self.directory(controller)}/{file}")
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return limits.UNLIMITED if text == "max" else int(text)

    def _check_usage(self, memory: int) -> None:
        used = self._now("memory", "memory.current") or 0
        if 0 < memory < used:
            raise UnsupportedError(
                f"memory limit {memory}", f"the group uses {used} bytes", "choose a higher limit"
            )

    def _write(self, writes: list[limits.Write]) -> None:
        first = writes[0]
        path = f"{self.directory(first.controller)}/{first.file}"
        if first.version == "v2" and not self.directories.get(""):
            raise UnsupportedError(
                first.limit, f"{first.file} is of cgroup v2, and this machine has v1", ""
            )
        try:
            files.write_each(path, [write.value for write in writes])
        except OSError as error:
            if error.errno == errno.ENOENT:
                if first.fallback is not None:
                    return self._write([w.fallback for w in writes if w.fallback is not None])
                from labcontainer import usage

                vacuous = first.limit == "memory_swap" and not usage.machine_has_swap()
                if vacuous or all(write.optional for write in writes):
                    return None
            from labcontainer import refusals

            raise refusals.of_write(error, first) from error
        return None

    def _attach(self, program: limits.Program) -> None:
        from labcontainer.kernel import bpf

        rules = [rule.as_tuple() for rule in program.rules]
        try:
            bpf.set_device_program(self.directory("devices"), rules)
        except OSError as error:
            # In a user namespace nobody makes device nodes, and the host's own keep their rights.
            if error.errno != errno.EPERM or _is_first_user_namespace():
                raise

    # --- processes ---

    def descriptor(self) -> int:
        """A descriptor of the version 2 directory for CLONE_INTO_CGROUP, or -1; ours to close."""
        if self._descriptor < 0 and "" in self.directories:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._descriptor = os.open(self.directories[""], flags)
        return self._descriptor

    def add(self, pid: int) -> None:
        """Move a process into the group, all its threads with it.

        A process that was born in version 2's directory (`descriptor`) is there already.

        Raises:
            ProcessLookupError, UnsupportedError: it has ended; the kernel refused.
        """
        for names, directory in self.directories.items():
            if not names and self._descriptor >= 0:
                continue
            try:
                files.write(f"{directory}/cgroup.procs", pid)
            except OSError as error:
                from labcontainer import refusals

                raise refusals.of_process(error, names, directory, pid) from error

    def doors(self) -> tuple[int, ...]:
        """Descriptors for `enter`: with `descriptor`, all that a process of our own needs.

        For a process that goes in by itself the kernel need not stop all forks and exits of the
        machine, which is what it waits 6 to 10 ms for at an `add` (cgroup_threadgroup_rwsem).
        """
        return tuple(
            os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC)
            for names, directory in self.directories.items()
            if names
        )

    def procs(self) -> tuple[int, ...]:
        """Every process of the group and of the groups below it."""
        found: dict[int, None] = {}
        for directory in hierarchy.tree(self._main()):
            try:
                found.update(
                    dict.fromkeys(map(int, files.read(f"{directory}/cgroup.procs").split()))
                )
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                    raise
        return tuple(found)

    def _main(self) -> str:
        """The directory to look for processes in: version 2's, which also tells of changes."""
        if "" in self.directories:
            return self.directories[""]
        return self.directory("freezer" if self._is_v1("freezer") else "pids")

    def kill(self) -> None:
        """End every process of the group, also those that fork meanwhile; waits for their end.

        Raises:
            StateError: some are still there after DYING.
        """
        deadline = time.monotonic() + DYING
        file = f"{self.directories.get('', '')}/cgroup.kill"
        if self.directories.get("") and files.exists(file):  # Linux 5.14 and later
            files.write(file, 1)
            self.thaw()  # version 1's freezer keeps even the killed
            return self._wait_until_empty(deadline)
        while pids := self.procs():
            if time.monotonic() > deadline:
                raise StateError(f"cgroup {self.path}: {len(pids)} processes outlive SIGKILL")
            self._kill_frozen()
            self._wait_until_empty(time.monotonic() + 0.05, complain=False)
        return None

    def _kill_frozen(self) -> None:
        """Frozen processes can't fork, so the list is complete."""
        try:
            self.freeze()
        except StateError:
            pass  # what does not freeze is killed as it is; the next round finds the rest
        for pid in self.procs():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.thaw()

    def _wait_until_empty(self, deadline: float, complain: bool = True) -> None:
        main = self._main()
        if "" in self.directories:
            empty = files.wait_for(f"{main}/cgroup.events", "populated 0", deadline)
        else:
            empty = files.look_again(lambda: not self.procs(), deadline)
        if not empty and complain:
            raise StateError(f"cgroup {self.path}: {len(self.procs())} processes outlive SIGKILL")

    # --- freeze, thaw ---

    def freeze(self) -> None:
        """Stop every process of the group where it stands; returns when all do."""
        freeze(*self._freezer())

    def thaw(self) -> None:
        """Let them go on."""
        thaw(*self._freezer())

    def _freezer(self) -> tuple[str, int]:
        return self.directory("freezer"), 1 if self._is_v1("freezer") else 2

    def frozen(self) -> bool:
        """Whether the group is frozen."""
        return any(files.read(file) == word for file, word in self.record()["freezer"].items())

    # --- what it has used ---

    def stats(self) -> dict[str, Any]:
        """What the group uses and has used, shaped as the `data` of `runc events --stats`."""
        from labcontainer import usage

        return usage.read(self.directory, self._is_v1)

    def oom_kills(self) -> int:
        """How many processes of the group the kernel has killed for want of memory."""
        from labcontainer import usage

        return usage.oom_kills(self._oom_file())

    def _oom_file(self) -> str:
        name = "memory.oom_control" if self._is_v1("memory") else "memory.events"
        return f"{self.directory('memory')}/{name}"

    def watch_oom(self) -> usage.OomWatch:
        """A descriptor that tells of the OOM killer's work in this group."""
        from labcontainer import usage

        control = f"{self.directory('memory')}/cgroup.event_control"
        return usage.OomWatch(self._oom_file(), control if self._is_v1("memory") else "")


# --- verbs on their own: a learner's version can stand in their place ----------------------------


def enter(doors: tuple[int, ...]) -> None:
    """Go into a group of version 1 by `Cgroup.doors`; the calling process has one thread only.

    Raises:
        UnsupportedError: the kernel refused.
    """
    for door in doors:
        try:
            os.write(door, b"0")  # 0 is whoever writes
        except OSError as error:
            from labcontainer import refusals

            directory = os.path.dirname(os.readlink(f"/proc/self/fd/{door}"))
            names = os.path.relpath(directory, hierarchy.HOST).split("/")[0]
            raise refusals.of_process(error, names, directory, 0) from error
        os.close(door)


def freeze(directory: str, version: int) -> None:
    """Stop every process of a group where it stands; returns when all do.

    Version 2 has `cgroup.freeze`, and `cgroup.events` tells when it is done. Version 1 has a
    controller for it; the state is FREEZING while a process is not yet stopped, and is read again.

    Raises:
        StateError: a process did not stop within PATIENCE; the group is thawed again.
    """
    deadline = time.monotonic() + PATIENCE
    if version == 1:
        path = f"{directory}/freezer.state"
        files.write(path, "FROZEN")
        stopped = files.look_again(lambda: files.read(path) == "FROZEN", deadline)
    else:
        files.write(f"{directory}/cgroup.freeze", 1)
        stopped = files.wait_for(f"{directory}/cgroup.events", "frozen 1", deadline)
    if not stopped:
        thaw(directory, version)
        raise StateError(f"cgroup {directory}: a process does not let itself be frozen")


def thaw(directory: str, version: int) -> None:
    """Let the processes of a frozen group go on."""
    if version == 1:
        files.write(f"{directory}/freezer.state", "THAWED")
    else:
        files.write(f"{directory}/cgroup.freeze", 0)


def _is_first_user_namespace() -> bool:
    return files.read("/proc/self/uid_map").split() == ["0", "0", "4294967295"]
