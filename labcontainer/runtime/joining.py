"""`exec`: one more process in a container that runs already.

It goes the way of the first process (init.py) from the point where the container stands: its
helper joins the namespaces of the first process, and it confines itself as that one did. Until the
program runs, it keeps its memory and its executable out of sight of the container's processes,
and loads no code from where the image's files now are.
"""

from __future__ import annotations

import os

from labcontainer import cgroups, namespaces
from labcontainer.errors import StepError
from labcontainer.kernel import sockets, terminal
from labcontainer.record import Record
from labcontainer.runtime import birth, container, handshake, init, jsontext, lifecycle, state
from labcontainer.runtime.confine import Confinement, hide_from_container, load_no_more_code
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
    """The process that joins, on its own side of the channel."""

    def __init__(self, process: Process, spec: Spec, pid: int, console: int) -> None:
        self.process, self.spec, self.pid, self.console = process, spec, pid, console
        self.mine, self.theirs = handshake.Channel.pair()
        warn: Callable[[str], None] = lambda text: self.theirs.send("warning", text)  # noqa: E731
        # Everything that it takes is loaded and compiled here, while the files are the host's.
        self.confinement = Confinement(process, spec.seccomp, warn)

    def enter(self) -> None:
        """In the helper: stand in the container's namespaces."""
        kinds = (*self.spec.namespaces.new, *dict(self.spec.namespaces.join))
        load_no_more_code()
        hide_from_container()
        namespaces.enter_process(self.pid, kinds)

    def main(self, about: bytes, preserve_fds: int) -> NoReturn:
        """In the process: confine, wait, become the program."""
        step = "exec"
        try:
            self.mine.close()
            os.setsid()
            self.theirs.expect("mapped")
            self._take_terminal()
            confinement = self.confinement
            confinement.set_personality(self.spec.personality)
            confinement.take_stdio()
            confinement.become_user()
            confinement.find_program()
            self.theirs.send("ready")
            self.theirs.expect("go")
            step = "run the program"
            confinement.run(self.theirs.fd, preserve_fds, about)
        except BaseException as error:  # a child must not go on as its parent
            init.fail(self.theirs.fd, step, error)
        os._exit(1)

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
        joining = Joining(process, spec, remembered.pid, console)
        pid, pidfd = birth.new_process(
            (), joining.enter, lambda: joining.main(about, asked.preserve_fds)
        )
        undo.push(container.end, pidfd)
        joining.theirs.close()
        _let_run(asked, joining, pid, remembered)
        undo.commit()
        if console != asked.console:
            os.close(console)
    return pid, pidfd


def _let_run(asked: Exec, joining: Joining, pid: int, remembered: state.State) -> None:
    """Put it into the container's cgroup, wait until it is ready, tell its pid, let it go."""
    channel = joining.mine
    group = cgroups.reopen(remembered.cgroup)
    if group is not None:
        group.add(pid)
    init.set_oom_score(pid, joining.process.oom_score_adj)
    channel.send("mapped")
    channel.expect("ready")
    if asked.pid_file:
        state.write_pid(asked.pid_file, pid)
    channel.send("go")
    data, _ = sockets.receive(channel.fd, 65536)
    while data.startswith(b"warning"):
        data, _ = sockets.receive(channel.fd, 65536)
    channel.close()
    if problem := handshake.read_outcome(data):
        raise problem
