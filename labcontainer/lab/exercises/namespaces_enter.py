"""namespaces.enter: join the namespaces of a process, in the order that works."""

from __future__ import annotations

import errno
import os

from labcontainer import namespaces
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import LearnerError, Trial

HOLE = '''\
import os

from labcontainer import namespaces
from labcontainer.kernel import syscalls


def enter(pid: int, names: list[str]) -> None:
    """Join these namespaces of a process, as an ordinary user, whatever the order of `names`."""
    for name in names:
        path = f"/proc/{pid}/ns/{namespaces.kind(name).file}"
        ...
'''

SOLUTION = '''\
import os

from labcontainer import namespaces
from labcontainer.kernel import syscalls


def enter(pid: int, names: list[str]) -> None:
    """Join these namespaces of a process, as an ordinary user, whatever the order of `names`."""
    opened = []
    for name in sorted(names, key=namespaces.ORDER.index):
        path = f"/proc/{pid}/ns/{namespaces.kind(name).file}"
        opened.append(os.open(path, os.O_RDONLY))
    for fd in opened:
        syscalls.setns(fd)
'''

_ALL_AT_ONCE = SOLUTION[SOLUTION.index("    opened = []") :]
AS_GIVEN = SOLUTION.replace("sorted(names, key=namespaces.ORDER.index)", "names")
OPENS_LATE = SOLUTION.replace(
    _ALL_AT_ONCE,
    """\
    for name in sorted(names, key=lambda name: name != "user"):
        path = f"/proc/{pid}/ns/{namespaces.kind(name).file}"
        syscalls.setns(os.open(path, os.O_RDONLY))
""",
)
NOT_ALL = SOLUTION.replace("for fd in opened:", "for fd in opened[:2]:")
OWN = SOLUTION.replace("/proc/{pid}/ns", "/proc/self/ns")

# The target's own /proc is empty: whoever has joined its mount namespace finds no path there.
SCENE = """

def _scene(names):
    import time

    from labcontainer.kernel import files
    from labcontainer.kernel.flags import CLONE, MS

    read, write = os.pipe()
    target = os.fork()
    if target == 0:
        uid, gid = os.geteuid(), os.getegid()
        syscalls.unshare(CLONE.NEWUSER | CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC)
        files.write("/proc/self/setgroups", "deny")
        files.write("/proc/self/gid_map", f"0 {gid} 1")
        files.write("/proc/self/uid_map", f"0 {uid} 1")
        syscalls.mount(None, "/", None, MS.PRIVATE | MS.REC)
        syscalls.mount("tmpfs", "/proc", "tmpfs")
        os.write(write, b"x")
        time.sleep(60)
    os.read(read, 1)
    calls, real = [], syscalls.setns
    syscalls.setns = lambda *words: (calls.append(words), real(*words))
    enter(target, names)
    syscalls.setns = real
    return target, len(calls)
"""

NAMES = ["ipc", "mount", "uts", "user"]


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    names = [name for name in NAMES if name != "user"]
    names = [*trial.random().sample(names, len(names)), "user"]
    if names[0] != "mount" and names[1] != "mount":
        names = [names[2], *names[:2], "user"]
    try:
        with trial.hold("_scene", names, as_user=True) as process:
            target, calls = process.value
            for name in names:
                kind = namespaces.kind(name).file
                wanted = os.stat(f"/proc/{target}/ns/{kind}").st_ino
                if process.namespaces()[kind] != wanted:
                    return not_yet(
                        expected=f"/proc/PID/ns/{kind} is the other process's",
                        observed="it is another one",
                        where="the namespace that is joined last"
                        if name in ("mount", "uts")
                        else "the file that you open",
                        hint="Each of the names must be joined: one setns each, or one for all.",
                    )
    except LearnerError as error:
        raise LearnerError("enter", error.result) from None
    return done("all four numbers under /proc/PID/ns are the other's", score=f"{calls} setns calls")


EXERCISE = Exercise(
    id="namespaces.enter",
    notebook="03_namespaces",
    title="Enter, in the order that works",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.namespaces.enter_one_by_one",
    check=check,
    needs=("sandbox",),
    hints=(
        "Two traps: what gives you the right to join the rest, and what takes the paths away.",
        "The user namespace comes first. Open every file before the first setns.",
        "Open all in the order of `namespaces.ORDER`, then setns all. One call? setns(2), pidfd.",
    ),
    errors=(
        (
            errno.EPERM,
            "You have no rights over these until you are in the user namespace: that one first.",
        ),
        (
            errno.ENOENT,
            "The other mount namespace has another /proc. Open all the files before you join any.",
        ),
        (errno.EINVAL, "That is your own namespace already; /proc/self is you."),
    ),
    wrong=(
        Wrong(AS_GIVEN, "that one first"),
        Wrong(OPENS_LATE, "Open all the files before you join any"),
        Wrong(NOT_ALL, "Each of the names must be joined"),
        Wrong(OWN, "/proc/self is you"),
    ),
)
