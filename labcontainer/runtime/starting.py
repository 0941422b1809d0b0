"""`start`: a container that waits at its gate is let go.

A module of its own, with the little that it takes: an engine waits for each start.
"""

from __future__ import annotations

import os

from labcontainer.errors import StepError
from labcontainer.kernel import sockets
from labcontainer.kernel.signals import signal
from labcontainer.runtime import handshake, jsontext, lifecycle, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.runtime.spec import Spec


def start(root: str, container_id: str) -> None:
    """Let the program of a created container run; returns when it does.

    Raises:
        StateError: the container is not created.
        StepError: a startContainer hook failed, or the program could not be executed.
    """
    directory = state.Directory(root, container_id)
    lock = directory.lock()
    try:
        remembered = directory.load()
        lifecycle.check(directory.status(remembered), "start", container_id)
        problem = _open_gate(directory.gate)
        os.unlink(directory.gate)
        if problem:
            raise problem
    finally:
        os.close(lock)
    if remembered.hooks.get("poststart"):
        from labcontainer.runtime.spec import read_spec

        document = jsontext.load(f"{directory.path}/config.json")
        poststart(directory, read_spec(document, remembered.bundle))


def _open_gate(path: str) -> StepError | None:
    """Connect to the first process; wait for it to say what went wrong, or nothing."""
    try:
        fd = sockets.connect(path)
    except ConnectionRefusedError:
        return StepError("start", "the container's first process has ended")
    try:
        data = b""
        while part := os.read(fd, 65536):
            data += part
    except ConnectionResetError:
        pass
    finally:
        os.close(fd)
    return handshake.read_outcome(data)


def poststart(directory: state.Directory, spec: Spec) -> None:
    """Run the poststart hooks: the program runs already, so a failure ends the container."""
    found = spec.hooks_of("poststart")
    if not found:
        return
    from labcontainer.runtime import hooks

    remembered = directory.load()
    text = jsontext.dumps(state.to_oci(directory, remembered)).encode()
    try:
        hooks.run_all("poststart", found, text)
    except StepError:
        _end(remembered)
        raise


def _end(remembered: state.State) -> None:
    if (pidfd := remembered.open()) < 0:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has just ended
    finally:
        os.close(pidfd)
