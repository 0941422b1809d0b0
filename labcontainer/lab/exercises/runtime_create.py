"""runtime.create: a process that is set up from both sides before its program may begin."""

from __future__ import annotations

import os
import time

from labcontainer.kernel.flags import CLONE
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Held, Trial

HOLE = '''\
import os
import socket

from labcontainer.kernel import syscalls


def create(flags: int, outside, inside, gate: int) -> int:
    """Make a process, set it up from both sides and leave it waiting; its PID.

    `outside(pid)` is our half of the work. `inside()` is the new process's: it begins when ours is
    done, and gives back the words of the program. When `create` returns, both halves are done. The
    program begins when a byte can be read from the descriptor `gate`.

    Raises:
        ChildProcessError: the new process ended before it was ready.
    """
    os.get_exec_path()  # loads what execvp needs, as long as there is a Python to load it from
    ours, theirs = socket.socketpair()
    pid, _ = syscalls.clone3(flags)
    if pid == 0:
        try:
            ours.close()
            ...
            program = inside()
            ...
            os.execvp(program[0], program)
        except BaseException as error:
            os.write(2, f"{error}\\n".encode())
        finally:
            os._exit(127)
    theirs.close()
    outside(pid)
    ...
    return pid
'''

_WAIT = "            theirs.recv(16)\n"
_READY = '            theirs.send(b"ready")\n'
_GATE = "            os.read(gate, 1)\n"
_MAPPED = '    ours.send(b"mapped")\n'
_MET = '    if ours.recv(16) != b"ready":\n        raise ChildProcessError("it ended too early")\n'
SOLUTION = (
    HOLE.replace("            ...\n            program", f"{_WAIT}            program")
    .replace("            ...\n", f"{_READY}{_GATE}")
    .replace("    ...\n", f"{_MAPPED}{_MET}")
)

RACES = SOLUTION.replace(_WAIT, "").replace(_MAPPED, "")
NOT_MET = SOLUTION.replace(_MET, "")
NO_GATE = SOLUTION.replace(_GATE, "")
BELIEVES = SOLUTION.replace(_MET, "    ours.recv(16)\n")

SCENE = """

import time


def _note(place, name, text=""):
    with open(f"{place}/{name}", "w") as file:
        file.write(str(text))


def _scene(flags, place, fails):
    outer = os.geteuid(), os.getegid()

    def outside(pid):
        time.sleep(0.15)
        for name, text in (("setgroups", "deny"), ("gid_map", f"0 {outer[1]} 1"),
                           ("uid_map", f"0 {outer[0]} 1")):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)
        _note(place, "outside")

    def inside():
        _note(place, "after-ours", os.path.exists(f"{place}/outside"))
        if fails:
            raise OSError(28, "no room for another mount")
        time.sleep(0.15)
        _note(place, "inside", os.getuid())
        return ["/bin/sh", "-c", f"echo > {place}/ran; exec sleep 30"]

    os.mkfifo(f"{place}/gate")
    pid = create(flags, outside, inside, os.open(f"{place}/gate", os.O_RDWR))
    return [pid, os.path.exists(f"{place}/inside")]
"""


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    place = trial.directory("scene")
    os.chmod(place, 0o777)
    with trial.hold("_scene", int(CLONE.NEWUSER | CLONE.NEWUTS), place, False) as process:
        return _races(place, process) or _gate(place, process) or _failure(trial)


def _races(place: str, process: Held) -> Outcome | None:
    """Whether the two halves came one after the other, before `create` returned."""
    _, inside_done = process.value
    if _read(f"{place}/after-ours") == "False":
        return not_yet(
            expected="`inside` begins when `outside` is done",
            observed="it began while the id map was still being written",
            where="what the new process does before `inside()`",
            hint="Fork returns on both sides at once. The new one must wait for a word of ours.",
        )
    if not inside_done:
        return not_yet(
            expected="`create` returns when both halves are done",
            observed="it returned while `inside` was still at work",
            where="what we do after `outside(pid)`",
            hint="Wait until the new process says that it is ready.",
        )
    return None


def _gate(place: str, process: Held) -> Outcome | None:
    """Whether the program waits for the gate, and goes when it opens."""
    time.sleep(0.3)
    pid = process.value[0]
    if _read(f"{place}/ran"):
        return not_yet(
            expected="the program waits for a byte in `gate`",
            observed="it ran as soon as `create` was done",
            where="the line before `os.execvp`",
            hint="create is not start: `os.read(gate, 1)` waits until somebody opens the gate.",
        )
    uid = _read(f"{place}/inside")
    if uid != "0":
        return not_yet(
            expected="inside, user 0 by the map", observed=f"user {uid}", where="`inside()`"
        )
    with open(f"{place}/gate", "w") as file:
        file.write("g")
    limit = time.monotonic() + 3
    while not _read(f"{place}/ran") and time.monotonic() < limit:
        time.sleep(0.02)
    if not _read(f"{place}/ran"):
        return not_yet(
            expected="after the gate has opened, the process becomes the program",
            observed="nothing was executed",
            where="the line before `os.execvp`",
            hint="Read one byte from the gate, no more, and go on.",
        )
    assert pid > 0
    return None


def _failure(trial: Trial) -> Outcome:
    """Whether a set-up that fails is told to whoever called."""
    place = trial.directory("failing")
    os.chmod(place, 0o777)
    found = trial.attempt("_scene", int(CLONE.NEWUSER | CLONE.NEWUTS), place, True)
    if found.returned or found.kind != "ChildProcessError":
        return not_yet(
            expected="ChildProcessError when `inside` fails",
            observed="a PID, as if all were well" if found.returned else found.error,
            where="what we make of the answer",
            hint="When the other end is closed, `recv` gives b'' and not the word you wait for.",
        )
    return done("ours, then theirs, then the gate; and a failure is told")


EXERCISE = Exercise(
    id="runtime.create",
    notebook="13_runtime",
    title="The handshake",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "Three waits: the child for our half, we for its half, the child for the gate.",
        "`theirs.recv(16)` in the child waits for `ours.send(b'mapped')`; `ready` goes back.",
        (
            "After `inside()`: `theirs.send(b'ready')`, `os.read(gate, 1)`. We: "
            "`if ours.recv(16) != b'ready': raise ChildProcessError(…)`."
        ),
    ),
    wrong=(
        Wrong(RACES, "must wait for a word of ours"),
        Wrong(NOT_MET, "while `inside` was still at work"),
        Wrong(NO_GATE, "create is not start"),
        Wrong(BELIEVES, "as if all were well"),
    ),
)
