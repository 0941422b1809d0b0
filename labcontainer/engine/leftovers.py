"""A running container's own directory, and the promise that nothing of it stays.

    single/ID/
        owners       "pid starttime" of those who will clean up: the command, then its watcher
        upper, work  what the container writes;  root  where the overlay is mounted
        runtime/     the runtime's state: the init process, the cgroup
        …            files made for the container (hosts, resolv.conf, …)

Who started the container cleans up. If that process is killed, its watcher, a fork that waits for
exactly this, does; if that one is killed too, the next start does. All three call `clean`, which
may be called again at any point.
"""

from __future__ import annotations

import errno
import os
import select
import signal

from labcontainer import errors
from labcontainer.image import roots
from labcontainer.kernel import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30_000  # milliseconds that a killed program may take to be gone


def folder() -> str:
    """Where the directories of this user's running containers are. Ask before the user changes."""
    return f"{roots.home()}/single"


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot: with its pid, its identity; "" if gone.

    Field 22 of /proc/PID/stat: proc(5). The second field, a name in parentheses, may have spaces.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def identity(pid: int) -> str:
    """The line that names a process in `owners`."""
    return f"{pid} {start_time(pid)}"


def end(line: str) -> bool:
    """Kill the process that a line of `identity` names, and wait for its end; whether it ran.

    Another process of that number is left alone. Its parent still has to reap it.
    """
    pid, _, ticks = line.partition(" ")
    if not ticks:
        return False
    try:
        pidfd = syscalls.pidfd_open(int(pid))
    except ProcessLookupError:
        return False
    try:
        if start_time(int(pid)) != ticks:
            return False
        syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(PATIENCE)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)


def claim(folder: str, name: str) -> str:
    """Make the directory of a new container in `folder`; its path.

    Raises:
        ExistsError: a container of this name is running.
    """
    path = f"{folder}/{name}"
    making = f"{folder}/.new-{os.getpid()}"
    roots.make(folder)
    os.mkdir(making, 0o711)
    try:
        add_owner(making, os.getpid())
        os.rename(making, path)
    except OSError as error:
        _remove(making)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise errors.ExistsError(f"a container of the name {name} is running") from None
    return path


def add_owner(path: str, pid: int) -> None:
    """Let one more process be known as one that will clean up."""
    fd = os.open(f"{path}/owners", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, f"{identity(pid)}\n".encode())
    finally:
        os.close(fd)


def is_owned(path: str) -> bool:
    """Whether one who will clean up is alive."""
    try:
        with open(f"{path}/owners") as file:
            lines = file.read().splitlines()
    except OSError:
        lines = []
    return any(
        pid.isdigit() and ticks and start_time(int(pid)) == ticks
        for pid, _, ticks in (line.partition(" ") for line in lines)
    )


def abandoned(folder: str) -> Iterator[str]:
    """The directories of containers whose owners are all dead."""
    for name in _names(folder):
        path = f"{folder}/{name}"
        maker = name.removeprefix(".new-")
        if not is_owned(path) and not (maker != name and start_time(int(maker))):
            yield path


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def in_use(root: str) -> bool:
    """Whether a running container of this user has the directory `root` below it."""
    for name in _names(folder()):
        path = f"{folder()}/{name}"
        try:
            if os.readlink(f"{path}/lower") == root and is_owned(path):
                return True
        except OSError:
            continue
    return False


def watch(path: str, clean: Callable[[], None]) -> int:
    """Fork the watcher of a container; the descriptor whose closing, unless told, wakes it.

    Write one byte to it when all is cleaned up. The kernel closes it when this process dies.
    """
    waiting, alive = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(waiting)
        add_owner(path, child)
        return alive
    status = 1
    try:
        os.close(alive)
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            signal.signal(number, signal.SIG_IGN)
        _leave_descriptors(waiting)
        if not os.read(waiting, 1):
            clean()
        status = 0
    finally:
        os._exit(status)


def _leave_descriptors(keep: int) -> None:
    """Give up the caller's terminal, pipes and directory: their other ends wait for the last."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 16)
    os.chdir("/")


def remove(path: str) -> None:
    """Delete a container's directory, `owners` last: until then it can be found again."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return
    for name in names:
        if name != "owners":
            _remove(f"{path}/{name}")
    _remove(path)


def _remove(path: str) -> None:
    """rm -rf that takes no notice of what has gone meanwhile, and opens closed directories."""
    try:
        if not os.path.isdir(path) or os.path.islink(path):
            os.unlink(path)
            return
        os.chmod(path, 0o700)
        while not _emptied(path):
            pass
    except FileNotFoundError:
        pass


def _emptied(path: str) -> bool:
    """Whether a directory is gone; false where somebody wrote to it meanwhile.

    That is the monitor of a process that has just ended with its container. It writes little, and
    nothing after that.
    """
    for name in os.listdir(path):
        _remove(f"{path}/{name}")
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True
