"""How a container ends: signals to its processes, and `delete`, which leaves nothing of it."""

from __future__ import annotations

import os
import select

from labcontainer import cgroups
from labcontainer.errors import NotFoundError, StateError
from labcontainer.kernel import syscalls
from labcontainer.kernel.signals import signal
from labcontainer.runtime import lifecycle, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def kill(root: str, container_id: str, number: int, everyone: bool = False) -> None:
    """Send a signal to the first process, or to every process of the container's cgroup.

    Raises:
        StateError: the container is not running.
    """
    directory = state.Directory(root, container_id)
    remembered = directory.load()
    status = directory.status(remembered)
    if everyone:
        _signal_everyone(cgroups.reopen(remembered.cgroup), number)
        return
    lifecycle.check(status, "kill", container_id)
    if not _signal(remembered.open(), number):
        raise StateError("os: process already finished")
    if status == lifecycle.PAUSED and number == signal.SIGKILL:
        group = cgroups.reopen(remembered.cgroup)
        if group is not None:
            group.thaw()  # a frozen process of cgroup v1 does not die before


def _signal_everyone(group: cgroups.Cgroup | None, number: int) -> None:
    """Open all first: who is in the group then still is who was listed."""
    opened: dict[int, int] = {}
    for pid in group.procs() if group is not None else ():
        try:
            opened[pid] = syscalls.pidfd_open(pid)
        except ProcessLookupError:
            continue
    members = group.procs() if group is not None and opened else ()
    for pid, pidfd in opened.items():
        if pid in members:
            _signal(pidfd, number)
        else:
            os.close(pidfd)


def _signal(pidfd: int, number: int) -> bool:
    """Send a signal and close the descriptor; false where there is none, or it has ended."""
    if pidfd < 0:
        return False
    try:
        syscalls.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def delete(root: str, container_id: str, force: bool = False) -> None:
    """Forget a container that has stopped; with `force` end it first.

    Raises:
        NotFoundError: there is none (with `force` that is no failure).
        StateError: it is running.
    """
    directory = state.Directory(root, container_id)
    try:
        lock = directory.lock()
        try:
            _delete(directory, force)
        finally:
            os.close(lock)
    except NotFoundError:
        if not force:
            raise


def _delete(directory: state.Directory, force: bool) -> None:
    try:
        remembered = directory.load()
    except NotFoundError:  # a create that was killed before it had written the state
        directory.remove()
        return
    status = directory.status(remembered)
    if not force:
        lifecycle.check(status, "delete", directory.id)
    group = cgroups.reopen(remembered.cgroup)
    if status != lifecycle.STOPPED:
        _kill_and_wait(remembered.open(), group)
    if group is not None:
        group.kill()  # what shares the host's process numbers outlives the first process
        group.delete()
    about = state.to_oci(directory, remembered) | {"status": lifecycle.STOPPED, "pid": 0}
    directory.remove()
    _poststop(remembered, about)


def _kill_and_wait(pidfd: int, group: cgroups.Cgroup | None) -> None:
    if pidfd < 0:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if group is not None:
            group.thaw()
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(10_000)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def _poststop(remembered: state.State, about: dict[str, Any]) -> None:
    """Run the poststop hooks; their failures are told and stop nothing (runtime.md, "Delete")."""
    if not remembered.hooks.get("poststop"):
        return
    from labcontainer.runtime import hooks, jsontext
    from labcontainer.runtime.reader import Reader
    from labcontainer.runtime.spec import read_hooks

    for hook in read_hooks(Reader({"hooks": remembered.hooks}).child("hooks"), "poststop"):
        if problem := hooks.run(hook, jsontext.dumps(about).encode()):
            os.write(2, f"warning: poststop hook {hook.path}: {problem}\n".encode())
