"""`exec`: one more process in a container that runs already.

    runtime ──fork──> helper: joins the namespaces, confines itself, becomes the tiny program
       │                 └──clone(CLONE_PARENT)──> the process, in the container's PID namespace
       └── its parent ──────────────────────────────┘

The helper goes the way of the first process (init.py) from the point where the container stands,
but for the PID namespace: that it does not enter, only its child does. And the child is the tiny
sealed program (memexec.py) from its first instruction on. So nobody in the container ever sees a
process that has the runtime's memory, descriptors or executable, not with CAP_SYS_PTRACE either.

    runtime                          helper                        child
       │ <───────────────── ready ─── │  confined                     │
       │ ─── go ────────────────────> │  execveat, clone              │
       │ <──────────────── its pid ── │  ends                         │  cgroups, session, terminal
       │  writes the pid file                                         │  waits
       │ ─── 1 ─────────────────────────────────────────────────────> │  filter, execve
"""

from __future__ import annotations

import os

from labcontainer import cgroups, namespaces
from labcontainer.errors import StateError, StepError
from labcontainer.kernel import sockets, syscalls, terminal
from labcontainer.record import Record
from labcontainer.runtime import birth, container, handshake, init, jsontext, lifecycle, state
from labcontainer.runtime.confine import (
    Confinement,
    compiled,
    hide_from_container,
    leave_keyring,
    load_no_more_code,
)
from labcontainer.runtime.spec import Process, Spec, read_spec
from labcontainer.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

PIDFD = tuple[int, int]


class Exec(Record):
    """What is asked of `exec`. `process` is made from the container's own by the caller's words."""

    id: str
    root: str
    process: Callable[[dict[str, Any]], Process]
    pid_file: str = ""
    console: str | int = -1
    preserve_fds: int = 0
    ignore_paused: bool = False


class Joining:
    """The helper, on its own side of the channel."""

    def __init__(self, process: Process, spec: Spec, remembered: state.State, console: int) -> None:
        self.process, self.spec, self.console = process, spec, console
        self.remembered = remembered
        self.mine, self.theirs = handshake.Channel.pair()
        warn: Callable[[str], None] = lambda text: self.theirs.send("warning", text)  # noqa: E731
        # Everything that it takes is loaded and compiled here, while the files are the host's.
        self.filter = compiled(spec.seccomp) if spec.seccomp else None
        if self.filter is not None:
            from labcontainer.kernel import classic_bpf  # noqa: F401
        self.confinement = Confinement(process, warn, self.filter)

    def main(self, about: bytes, preserve_fds: int, doors: tuple[int, ...]) -> NoReturn:
        """Join, confine, wait, become the program that bears the process."""
        step = "exec"
        try:
            self.mine.close()
            self.confinement.pid = os.getpid()  # before the container's own numbers
            self._enter()
            self._take_terminal()
            confinement = self.confinement
            confinement.set_personality(self.spec.personality)
            confinement.set_scheduling()
            confinement.take_stdio()
            confinement.become_user()
            confinement.find_program()
            self.theirs.send("ready")
            self.theirs.expect("go")
            step = "run the program"
            confinement.run(self.theirs.fd, preserve_fds, about, confinement.birth(doors))
        except BaseException as error:  # a child must not go on as its parent
            init.fail(self.theirs.fd, step, error)
        os._exit(1)

    def _enter(self) -> None:
        """Stand in the container's namespaces; of the PID namespace only its child will be."""
        kinds = (*self.spec.namespaces.new, *dict(self.spec.namespaces.join))
        load_no_more_code()
        hide_from_container()  # for a container that shares the host's processes
        first = self.remembered.open()
        if first < 0:
            raise StateError("cannot exec in a stopped container: it has just ended")
        namespaces.enter_process(self.remembered.pid, kinds, first)
        if self.remembered.new_keyring:
            leave_keyring()

    def _take_terminal(self) -> None:
        if self.process.terminal:
            master, slave, name = terminal.open_pair()
            init.take_terminal(slave, self.process)
            sockets.send(self.console, name.encode(), (master,))
            os.close(master)
            os.close(slave)


def execute(asked: Exec) -> PIDFD:
    """Start a process in a container; (pid, pidfd) once its program runs.

    Raises:
        NotFoundError, StateError: no such container, or none that could take it.
        SpecError: the process is off.
        StepError: a step failed; nothing runs.
    """
    directory = state.Directory(asked.root, asked.id)
    remembered = directory.load()
    status = directory.status(remembered)
    if not (status == lifecycle.PAUSED and asked.ignore_paused):
        lifecycle.check(status, "exec", asked.id)
    document = jsontext.load(f"{directory.path}/config.json")
    spec = read_spec(document, remembered.bundle)
    process = asked.process(document.get("process") or {})
    if process.terminal and asked.console == -1:
        raise StepError("process.terminal", "needs --console-socket, to pass the terminal on")
    about = jsontext.dumps(state.to_oci(directory, remembered)).encode()
    with Undo() as undo:
        console = container.open_console(asked.console)
        if console != asked.console:
            undo.push(os.close, console)
        joining = Joining(process, spec, remembered, console)
        helper = _fork(asked, joining, about, remembered)
        undo.push(_call_off, joining, helper)
        init.set_oom_score(helper, process.oom_score_adj)
        pid, pidfd = _bear(joining, helper, undo)
        if asked.pid_file:
            state.write_pid(asked.pid_file, pid)
        _let_run(joining, pid, pidfd, about)
        undo.commit()
        if joining.filter is not None and joining.filter.listener >= 0:
            os.close(joining.filter.listener)
        joining.mine.close()
        if console != asked.console:
            os.close(console)
    return pid, pidfd


def _fork(asked: Exec, joining: Joining, about: bytes, remembered: state.State) -> int:
    """Start the helper, in the container's group of version 2; into version 1's its child goes."""
    group = cgroups.reopen(remembered.cgroup)
    doors = group.doors() if group is not None else ()
    inside = group.descriptor() if group is not None else -1
    main: Callable[[], NoReturn] = lambda: joining.main(about, asked.preserve_fds, doors)  # noqa: E731
    try:
        helper, pidfd = birth.new_process((), None, main, inside)
    finally:
        for fd in (*doors, *((inside,) if inside >= 0 else ())):
            os.close(fd)
        joining.theirs.close()
    os.close(pidfd)
    return helper


def _call_off(joining: Joining, helper: int) -> None:
    """The end of the conversation ends the helper, and a child that still waits."""
    joining.mine.close()
    try:
        os.waitpid(helper, 0)
    except ChildProcessError:
        pass  # it has ended as it should


def _bear(joining: Joining, helper: int, undo: Undo) -> PIDFD:
    """Let the helper bear the process; (pid, pidfd) of it."""
    channel = joining.mine
    channel.expect("ready")
    channel.send("go")
    number = _hear_number(channel)
    pidfd = syscalls.pidfd_open(number)
    undo.push(container.end, pidfd)
    os.waitpid(helper, 0)
    return number, pidfd


def _hear_number(channel: handshake.Channel) -> int:
    """A number from the tiny program.

    Raises:
        StepError: it tells of a failure, or the helper did.
    """
    data, _ = sockets.receive(channel.fd, 65536)
    while data.startswith(b"warning"):
        channel.warn(handshake.decode(data)[1][0])
        data, _ = sockets.receive(channel.fd, 65536)
    if not data:
        raise StepError("exec", "the process ended before its program ran")
    number = int.from_bytes(data, "little", signed=True)
    if len(data) != 8 or number < 0:
        raise handshake.read_outcome(data) or StepError("exec", "torn message")
    return number


def _let_run(joining: Joining, pid: int, pidfd: int, about: bytes) -> None:
    """Let the process become its program; returns when it has."""
    channel = joining.mine
    channel.send_raw(b"1")
    if joining.filter is not None and joining.confinement.birth(()).tells_listener:
        descriptor = syscalls.pidfd_getfd(pidfd, _hear_number(channel))
        joining.confinement.tell_listener(joining.filter, descriptor, pid, about)
        channel.send_raw(b"1")
    data, _ = sockets.receive(channel.fd, 65536)
    if problem := handshake.read_outcome(data):
        raise problem
