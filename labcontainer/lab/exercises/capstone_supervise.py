"""capstone.supervise: wait for the program, and for no other."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os
from typing import Any


def supervise(pid: int) -> dict[str, Any]:
    """Be PID 1 until the program `pid` has ended; what it ended with, and used.

    `status`: the exit code, or minus the number of the signal. `seconds` of the processor, in user
    and system mode. `peak`: bytes of memory at the most (the kernel counts in KiB).
    """
    while True:
        ended, status, used = os.wait3(0)
        ...
'''

SOLUTION = HOLE.replace(
    "        ...\n",
    """\
        if ended == pid:
            seconds = used.ru_utime + used.ru_stime
            status = os.waitstatus_to_exitcode(status)
            return {"status": status, "seconds": seconds, "peak": used.ru_maxrss << 10}
""",
)

FIRST_ONE = SOLUTION.replace("if ended == pid:", "if ended:")
RAW_STATUS = SOLUTION.replace("os.waitstatus_to_exitcode(status)", "status")
KIBIBYTES = SOLUTION.replace("used.ru_maxrss << 10", "used.ru_maxrss")

# PID 1 and its program: that leaves an orphan, which ends first, and goes on when PID 1 has
# collected it (or has not, after a second). It computes, fills memory and ends as asked.
SCENE = """
def _program(how):
    import os, time
    reads, out = os.pipe()
    if os.fork() == 0:
        orphan = os.fork()
        if orphan: os.write(out, b"%d" % orphan)
        os._exit(0)
    os.wait()
    orphan, ends = int(os.read(reads, 20)), time.monotonic() + 1
    while os.path.exists(f"/proc/{orphan}") and time.monotonic() < ends: time.sleep(0.005)
    while time.process_time() < 0.2: pass
    room = b"x" * (48 << 20)
    os.kill(os.getpid(), how) if how == 9 else os._exit(how)


def _scene(how):
    import os
    pid = os.fork()
    if pid == 0:
        _program(how)
    return supervise(pid)
"""


def check(trial: Trial) -> Outcome:
    code = trial.number("code", 2, 8)
    scene = trial.with_code(trial.code + SCENE)
    for how, status in ((code, code), (9, -9)):
        told = scene.call("_scene", how, namespaces=("pid", "mnt"), timeout=30)
        if outcome := _wrong(told, status):
            return outcome
    return done("status, seconds and peak of the program itself")


def _wrong(told: Any, status: int) -> Outcome | None:
    ends = f"ends with code {status}" if status > 0 else "is ended by signal 9"
    if not isinstance(told, dict) or set(told) != {"status", "seconds", "peak"}:
        return not_yet(
            expected="a dict with status, seconds and peak",
            observed=repr(told),
            where="the return line",
            hint="wait3 has all three: a status, and of `used` ru_utime, ru_stime, ru_maxrss.",
        )
    facts = (
        (told["status"] == 0, "status", status, ("An orphan of the program ended first, and PID 1 "
         "is its parent now. Whose end was it? Look at `ended`.")),
        (told["status"] != status, "status", status, ("A wait status holds code and signal in one "
         "number: `os.waitstatus_to_exitcode`.")),
        (told["seconds"] < 0.15, "seconds", "0.2 or more", "Computing is user mode: ru_utime."),
        (told["peak"] < 32 << 20, "peak", "48 MiB or more, in bytes", "ru_maxrss is in KiB."),
    )  # fmt: skip
    for wrong, name, wanted, hint in facts:
        if wrong:
            seen = told[name]
            return not_yet(
                expected=f"the program {ends}, with 0.2 s computed and 48 MiB filled: "
                f"{name} {wanted}",
                observed=f"{name} {'less' if name != 'status' else seen}",
                where="the loop",
                hint=hint,
            )
    return None


EXERCISE = Exercise(
    id="capstone.supervise",
    notebook="21_capstone",
    title="Whose end was it?",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.lab.capstone.supervise",
    check=check,
    needs=("sandbox",),
    seconds=60,
    hints=(
        "`os.wait3(0)` waits for *any* child. There all orphans are children of PID 1.",
        "Go on with the loop until `ended == pid`.",
        (
            "`status` by `os.waitstatus_to_exitcode`, `seconds` is ru_utime and ru_stime, "
            "`peak` is `used.ru_maxrss << 10`."
        ),
    ),
    wrong=(
        Wrong(FIRST_ONE, "Whose end was it"),
        Wrong(RAW_STATUS, "waitstatus_to_exitcode"),
        Wrong(KIBIBYTES, "in KiB"),
    ),
)
