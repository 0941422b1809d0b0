"""The container's first process, from its birth in new namespaces to the program that it becomes.

It is a fork of the runtime, so it finds everything in `Launch` already read and opened. `STEPS` is
the whole of it, in order; whatever fails is told to the runtime with the step's name, and nothing
is executed. The conversation with the runtime is drawn in handshake.py.
"""

from __future__ import annotations

import os

from labcontainer import cgroups, namespaces, rootfs, users
from labcontainer.devices import bind_console
from labcontainer.errors import StepError
from labcontainer.kernel import confined, files, sockets, syscalls
from labcontainer.kernel.flags import CLONE, PR
from labcontainer.record import Record
from labcontainer.rootfs import Rootfs
from labcontainer.runtime import handshake
from labcontainer.runtime.confine import (
    Confinement,
    Filter,
    leave_keyring,
    load_no_more_code,
)
from labcontainer.runtime.spec import Process, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


class Launch(Record):
    """What the runtime has made ready for the first process. A descriptor of -1 is not there."""

    spec: Spec
    process: Process
    root: Rootfs  # the spec's, with bind sources opened where the container may not see them
    state: bytes = b"{}"  # the container's state, for hooks that run inside
    root_fd: int = -1
    gate: int = -1  # a listening socket: `start` connects to it
    console: int = -1  # a connected socket that gets the terminal's master
    preserve_fds: int = 0
    no_pivot: bool = False
    new_keyring: bool = True
    die_with_parent: bool = False
    doors: tuple[int, ...] = ()  # into the container's cgroups


class Init:
    """The first process, and what it carries from one step to the next."""

    def __init__(self, launch: Launch, channel: handshake.Channel) -> None:
        self.launch = launch
        self.spec = launch.spec
        self.channel = channel
        self.status = channel.fd  # who learns whether the program could be started
        self.confinement: Confinement

    def enter_groups(self) -> None:
        """The container's cgroups, before anything is made that would count."""
        cgroups.enter(self.launch.doors)

    def new_session(self) -> None:
        """A session of its own: signals from the caller's terminal don't reach it."""
        os.setsid()

    def prepare_confinement(self) -> None:
        """Load all code that will be needed, while the host's files are at their paths."""
        self.confinement = Confinement(self.launch.process, self.warn)
        load_for(self.spec)

    def wait_for_maps(self) -> None:
        """Until `mapped`: no id has a meaning before, and no limit holds."""
        self.channel.expect("mapped")

    def become_root(self) -> None:
        """Be root of the new user namespace, so that what is made belongs to it."""
        if "user" in (*self.spec.namespaces.new, *dict(self.spec.namespaces.join)):
            if users.to_host(self.spec.uid_maps, 0) is not None or not self.spec.uid_maps:
                users.become(0, 0)

    def enter_late_namespaces(self) -> None:
        """The cgroup namespace, whose top is where we are now, and the shifted clocks."""
        if self.spec.has_new("cgroup"):
            syscalls.unshare(CLONE.NEWCGROUP)
        if self.spec.has_new("time"):
            syscalls.unshare(CLONE.NEWTIME)
            offsets = {clock: (secs, nanos) for clock, secs, nanos in self.spec.time_offsets}
            namespaces.set_time_offsets(offsets)
            fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(fd, CLONE.NEWTIME)
            os.close(fd)

    def new_keyring(self) -> None:
        """A session keyring of its own, unless `--no-new-keyring` says otherwise."""
        if self.launch.new_keyring:
            leave_keyring()

    def prepare_root(self) -> None:
        """Make the root directory a mount of its own and stand in it."""
        # Born standing in it, unless the mount namespace is one that was there before.
        standing = self.spec.has_new("mount")
        rootfs.prepare(self.launch.root, confined.HERE if standing else -1)

    def mount_all(self) -> None:
        """Attach everything that config.json lists."""
        rootfs.mount_all(self.launch.root)

    def make_devices(self) -> None:
        """Fill /dev."""
        rootfs.make_devices(self.launch.root)

    def make_directory(self) -> None:
        """Make the working directory where the image has none, as Docker does."""
        try:
            cwd = self.launch.process.cwd
            os.close(confined.open_or_make(confined.HERE, cwd, directory=True))
        except OSError:
            pass  # told when the process is to stand in it

    def run_hooks(self) -> None:
        """Let the runtime run its hooks now, then run createContainer's."""
        if self.spec.hooks_of("prestart") or self.spec.hooks_of("createRuntime"):
            self.channel.send("mounted")
            self.channel.expect("hooked")
        found = self.spec.hooks_of("createContainer")
        if found:
            from labcontainer.runtime import hooks

            hooks.run_all("createContainer", found, self.launch.state)

    def change_root(self) -> None:
        """The container's files become `/`."""
        load_no_more_code()
        if self.launch.no_pivot:
            rootfs.move_root(".")
        else:
            rootfs.pivot_root(".")

    def set_names(self) -> None:
        """Host name and domain name of the UTS namespace."""
        if self.spec.hostname:
            namespaces.set_hostname(self.spec.hostname)
        if self.spec.domainname:
            namespaces.set_domainname(self.spec.domainname)

    def raise_loopback(self) -> None:
        """127.0.0.1 answers in a network namespace of its own, whatever else it is connected to."""
        if self.spec.has_new("network"):
            sockets.raise_loopback()

    def set_sysctls(self) -> None:
        """Kernel settings that belong to the container's namespaces."""
        for key, value in self.spec.sysctl:
            rootfs.write_proc("/proc/sys/" + sysctl_path(key), value)

    def take_terminal(self) -> None:
        """Make a terminal in the container, be its session leader, pass its master on."""
        if self.launch.process.terminal:
            from labcontainer.kernel import terminal

            master, slave, name = terminal.open_pair()
            take_terminal(slave, self.launch.process)
            terminal.make_controlling(0)
            bind_console(slave)
            sockets.send(self.launch.console, name.encode(), (master,))
            os.close(master)
            os.close(slave)

    def finish_root(self) -> None:
        """Masked and read-only paths, the read-only root."""
        rootfs.finish(self.launch.root)

    def confine(self) -> None:
        """Become the user, with no more rights than the program is to have."""
        self.confinement.set_personality(self.spec.personality)
        self.confinement.set_scheduling()
        self.confinement.take_stdio()
        self.confinement.become_user()
        if self.launch.die_with_parent:
            syscalls.prctl(PR.SET_PDEATHSIG, 9)

    def find_program(self) -> None:
        """Find the program before the container counts as created."""
        self.confinement.find_program()

    def wait_for_start(self) -> None:
        """Tell that all is ready; take the filter; wait for `created`, then for `start`."""
        self.channel.send("ready")
        if self.spec.seccomp:
            _, (flags, pid, metadata), listener = self.channel.expect("filter")
            code, _ = sockets.receive(self.channel.fd, handshake.LIMIT)
            found = Filter(code, int(flags), listener[0] if listener else -1, metadata)
            self.confinement.filter, self.confinement.pid = found, int(pid)
        self.channel.expect("created")
        if self.launch.gate >= 0:
            self.status = sockets.accept(self.launch.gate)
            os.close(self.launch.gate)
            self.channel.close()
        else:
            self.channel.expect("go")

    def run_start_hooks(self) -> None:
        """Hooks of the container's own, with no more rights than its program."""
        found = self.spec.hooks_of("startContainer")
        if found:
            from labcontainer.runtime import hooks

            state = self.launch.state
            become = lambda hook: self.confinement.become_hook(hook, state)  # noqa: E731
            hooks.run_all("startContainer", found, state, become)

    def run_program(self) -> None:
        """The last step: from here on it is the program."""
        self.confinement.run(self.status, self.launch.preserve_fds, self.launch.state)

    def warn(self, text: str) -> None:
        """Tell the runtime of something that could not be granted."""
        if self.status == self.channel.fd:
            self.channel.send("warning", text)


STEPS: tuple[tuple[str, Callable[[Init], None]], ...] = (
    ("enter the cgroups", Init.enter_groups),
    ("start a session", Init.new_session),
    ("wait for the id maps", Init.wait_for_maps),
    ("prepare the confinement", Init.prepare_confinement),
    ("become root of the user namespace", Init.become_root),
    ("enter the cgroup and time namespaces", Init.enter_late_namespaces),
    ("make a session keyring", Init.new_keyring),
    ("prepare the root file system", Init.prepare_root),
    ("mount", Init.mount_all),
    ("make devices", Init.make_devices),
    ("make the working directory", Init.make_directory),
    ("run hooks", Init.run_hooks),
    ("change the root", Init.change_root),
    ("set the host name", Init.set_names),
    ("raise the loopback link", Init.raise_loopback),
    ("set sysctls", Init.set_sysctls),
    ("make a terminal", Init.take_terminal),
    ("finish the root file system", Init.finish_root),
    ("confine the process", Init.confine),
    ("find the program", Init.find_program),
    ("wait for start", Init.wait_for_start),
    ("run startContainer hooks", Init.run_start_hooks),
    ("run the program", Init.run_program),
)


def main(launch: Launch, channel: handshake.Channel) -> NoReturn:
    """Be the container's first process. Never returns: it becomes the program, or ends."""
    init = Init(launch, channel)
    name = ""
    try:
        for name, step in STEPS:  # noqa: B007  (an error names its step)
            step(init)
    except BaseException as error:  # a child must not go on as its parent
        fail(init.status, name, error)
    os._exit(1)


def fail(status: int, step: str, error: BaseException) -> NoReturn:
    """Tell the reason to whoever waits, and end."""
    if isinstance(error, OSError) and step == "run the program" and error.errno:
        error = handshake.exec_error(error.errno) if "execve" in str(error) else error
    quiet = ("wait for the id maps", "wait for start", "find the program", "run the program")
    try:
        shown = "" if step in quiet and isinstance(error, StepError) else step
        os.write(status, handshake.failure(shown, error))
    except OSError:
        pass  # the runtime is gone: nobody is left to tell
    os._exit(1)


def load_for(spec: Spec) -> None:
    """Load the code that only some containers need."""
    if spec.seccomp:
        from labcontainer.kernel import classic_bpf  # noqa: F401
    if spec.hooks_of("createContainer") or spec.hooks_of("startContainer"):
        from labcontainer.runtime import hooks  # noqa: F401
    if spec.process is not None and spec.process.terminal:
        from labcontainer.kernel import terminal  # noqa: F401


def sysctl_path(key: str) -> str:
    """The path below /proc/sys: dots part the words, unless slashes do (sysctl.d(5))."""
    first = min((key.find(mark) for mark in "./" if mark in key), default=-1)
    if first >= 0 and key[first] == "/":
        return key
    return key.translate({ord("."): "/", ord("/"): "."})


def take_terminal(slave: int, process: Process) -> None:
    """Make a terminal the standard streams."""
    from labcontainer.kernel import terminal

    if process.console_size != (0, 0):
        terminal.set_size(slave, *process.console_size)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)


def set_oom_score(pid: int, value: int | None) -> None:
    """How likely the kernel is to end this process when memory runs out: proc(5)."""
    if value is not None:
        path = f"/proc/{pid}/oom_score_adj"
        if files.read_int(path) != value:
            files.write(path, str(value))
