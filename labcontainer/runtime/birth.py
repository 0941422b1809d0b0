"""How a process comes to be in a container's namespaces, and yet is our child.

With new namespaces only, one clone3(2) does it. To join others, somebody has to enter them first
and fork there; the runtime itself may not, for it still has work to do outside:

    runtime ──fork──> helper: setns(…), clone3(CLONE_PARENT) ──> the container's process
       └── its parent, by CLONE_PARENT ──────────────────────────────┘

When the runtime ends, the process becomes a child of the nearest subreaper: of conmon, of
containerd's shim. That is what an engine waits for.
"""

from __future__ import annotations

import os

from labcontainer import namespaces
from labcontainer.errors import StepError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

# Entered by the process itself, later: see init.Init.enter_late_namespaces.
_LATE = ("cgroup", "time")


def new_process(
    new: Sequence[str],
    enter: Callable[[], object] | None,
    main: Callable[[], NoReturn],
    cgroup: int = -1,
) -> tuple[int, int]:
    """Fork a process that is in new namespaces, and in those that `enter` joins; runs `main`.

    Args:
        new: the kinds of namespaces it gets for its own.
        enter: what the helper does to be where the process is to be born; None for nowhere.
        main: the process's own work, which must not return.
        cgroup: a descriptor of the cgroup v2 directory to be born in, or -1.

    Returns:
        Its pid and a pidfd.

    Raises:
        UnsupportedError, OSError: the kernel refused.
    """
    flags = int(namespaces.clone_flags([name for name in new if name not in _LATE]))
    if enter is not None:
        return _through_helper(new, flags, enter, main, cgroup)
    try:
        pid, pidfd = syscalls.clone3(flags, cgroup=cgroup, want_pidfd=True)
    except OSError as error:
        raise namespaces.explain(error, list(new)) from error
    if pid == 0:
        main()
    return pid, pidfd


def _through_helper(
    new: Sequence[str],
    flags: int,
    enter: Callable[[], object],
    main: Callable[[], NoReturn],
    cgroup: int,
) -> tuple[int, int]:
    answer, answer_there = os.pipe2(os.O_CLOEXEC)
    helper = os.fork()
    if helper == 0:
        os.close(answer)
        _help(new, flags, enter, main, cgroup, answer_there)
    os.close(answer_there)
    try:
        text = os.read(answer, 4096).decode(errors="replace")
    finally:
        os.close(answer)
        os.waitpid(helper, 0)
    if not text.isdecimal():
        code, _, problem = text.partition(" ")
        raise StepError(
            "join namespaces", problem or "the helper ended without a word", int(code or 0)
        )
    return int(text), syscalls.pidfd_open(int(text))


def _help(
    new: Sequence[str],
    flags: int,
    enter: Callable[[], object],
    main: Callable[[], NoReturn],
    cgroup: int,
    answer: int,
) -> NoReturn:
    """In the helper: enter, make the runtime a child, tell its pid."""
    pid = -1
    try:
        enter()
        # exit_signal must be 0 beside CLONE_PARENT: the child takes over the helper's (SIGCHLD).
        pid, _ = syscalls.clone3(flags | CLONE.PARENT, exit_signal=0, cgroup=cgroup)
        if pid > 0:
            os.write(answer, str(pid).encode())
    except BaseException as error:  # a child must not go on as its parent
        shown = namespaces.explain(error, list(new)) if isinstance(error, OSError) else error
        os.write(answer, f"{getattr(error, 'errno', 0) or 0} {shown}".encode()[:4096])
        os._exit(1)
    if pid == 0:
        os.close(answer)
        main()
    os._exit(0)
