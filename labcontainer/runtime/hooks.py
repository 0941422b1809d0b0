"""Hooks: programs that run at points of a container's life, with its state on standard input.

See runtime-spec config.md, "POSIX-platform Hooks", for the six kinds and where each runs.
"""

from __future__ import annotations

import os
import select

from labcontainer.errors import StepError
from labcontainer.kernel.signals import signal
from labcontainer.runtime import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labcontainer.runtime.spec import Hook

_OUTPUT_LIMIT = 4096  # bytes of a hook's output that an error shows


def run_all(
    kind: str, hooks: Sequence[Hook], state: bytes, become: Callable[[Hook], object] | None = None
) -> None:
    """Run the hooks of one kind, one after the other; the first that fails ends it.

    Args:
        kind: their name in config.json.
        hooks: the programs.
        state: the container's state as JSON, which each gets on its standard input.
        become: how each child becomes its hook, where that takes more than an execve(2).

    Raises:
        StepError: a hook could not be run, failed, or took longer than its timeout.
    """
    for index, hook in enumerate(hooks):
        problem = run(hook, state, become)
        if problem:
            raise StepError(f"{kind} hook #{index} ({hook.path})", problem)


def run(hook: Hook, state: bytes, become: Callable[[Hook], object] | None = None) -> str:
    """Run one hook to its end; what went wrong, or an empty text."""
    stdin, state_in = os.pipe2(os.O_CLOEXEC)
    output, output_in = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _become(hook, stdin, output_in, become or _execve)
    os.close(stdin)
    os.close(output_in)
    pidfd = os.pidfd_open(child)
    try:
        text, in_time = _converse(hook, state, state_in, output, pidfd)
    finally:
        os.close(output)
        os.close(pidfd)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not in_time:
        return f"took longer than its timeout of {hook.timeout} s"
    if status == 0:
        return ""
    reason = f"exit status {status}" if status > 0 else f"signal {-status}"
    said = _decoded(text).strip()
    return f"{reason}: {said}" if said else reason


def _decoded(text: bytes) -> str:
    """What a hook said; or, in 8 bytes of the sealed file (memexec.py), why it could not be run."""
    code = -int.from_bytes(text, "little", signed=True) if len(text) == 8 else 0
    if 0 < code < 4096:
        return str(handshake.exec_error(code))
    return text.decode(errors="replace")


def _become(hook: Hook, stdin: int, output: int, become: Callable[[Hook], object]) -> None:
    """In the child: take the pipes, become the hook."""
    try:
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        become(hook)
    except BaseException as error:  # a child must not go on as its parent
        os.write(2, str(error).encode(errors="replace"))
    os._exit(127)


def _execve(hook: Hook) -> None:
    env = dict(item.partition("=")[::2] for item in hook.env)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these two
        signal.signal(number, signal.SIG_DFL)
    os.execve(hook.path, hook.args or (hook.path,), env)


def _converse(
    hook: Hook, state: bytes, state_in: int, output: int, pidfd: int
) -> tuple[bytes, bool]:
    """Give the state, collect the output until the hook ends: (output, whether it was in time)."""
    import time

    os.set_blocking(state_in, False)
    poll, text, left = select.poll(), b"", memoryview(state)
    poll.register(state_in, select.POLLOUT)
    poll.register(output, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    deadline = time.monotonic() + hook.timeout if hook.timeout else None
    try:
        while True:
            wait = max(0, deadline - time.monotonic()) * 1000 if deadline else None
            events = dict(poll.poll(wait))
            if not events:
                return text, False
            if output in events:
                part = os.read(output, 65536)
                text = (text + part)[:_OUTPUT_LIMIT]
                if not part:
                    poll.unregister(output)
            if state_in >= 0 and state_in in events:
                left = _feed(state_in, left)
                if not left:
                    poll.unregister(state_in)
                    os.close(state_in)
                    state_in = -1
            if pidfd in events and output not in events:
                return text, True
    finally:
        if state_in >= 0:
            os.close(state_in)


def _feed(fd: int, left: memoryview) -> memoryview:
    """Write what goes in; nothing is left where nobody reads any more."""
    try:
        return left[os.write(fd, left) :]
    except BrokenPipeError:
        return left[:0]
