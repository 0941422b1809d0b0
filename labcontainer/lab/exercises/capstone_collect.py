"""capstone.collect: no more of a stranger's output than one can bear."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os
import select
import time


def collect(fd: int, most: int, deadline: float) -> tuple[bytes, str]:
    """What comes out of a pipe, no more than `most` bytes and no later than the deadline.

    With it why it ended: "" (the pipe did), "output" (there was more), "wall clock". `deadline` is
    a time of `time.monotonic()`.
    """
    said = b""
    while len(said) <= most:
        ...
    return said[:most], "output"
'''

SOLUTION = HOLE.replace(
    "        ...\n",
    """\
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return said, "wall clock"
        part = os.read(fd, min(most + 1 - len(said), 65536))
        if not part:
            return said, ""
        said += part
""",
)

NO_CLOCK = HOLE.replace(
    "        ...\n",
    """\
        part = os.read(fd, most + 1 - len(said))
        if not part:
            return said, ""
        said += part
""",
)
ALL_OF_IT = """\
import os
import select
import time


def collect(fd: int, most: int, deadline: float) -> tuple[bytes, str]:
    said = b""
    while select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0]:
        part = os.read(fd, 65536)
        if not part:
            return said[:most], "output" if len(said) > most else ""
        said += part
    return said[:most], "wall clock"
"""
ONE_SHORT = SOLUTION.replace("len(said) <= most", "len(said) < most")
ONCE = SOLUTION.replace("        said += part\n", '        return part[:most], ""\n')

# In the learner's process: a writer does what it does, `collect` reads; the answer, and how the
# writer ended when the reading end was closed.
SCENE = """
def _writes(out, does, most):
    import os, time
    if does == "silent":
        time.sleep(2)
    elif does == "flood":
        for _ in range(64): os.write(out, b"x" * most)
    elif does == "exact":
        os.write(out, b"x" * most)
    else:
        for word in (b"one ", b"two"): os.write(out, word); time.sleep(0.05)


def _scene(does, most):
    import os, time
    reads, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        _writes(out, does, most)
        os._exit(0)
    os.close(out)
    said, why = collect(reads, most, time.monotonic() + (0.2 if does == "silent" else 60))
    os.close(reads)
    if does == "silent": os.kill(pid, 9)
    return [len(said), why, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
"""


def check(trial: Trial) -> Outcome:
    most = trial.number("most", 4, 16) << 12
    scene = trial.with_code(trial.code + SCENE)
    asked: dict[str, tuple[list[Any], str, str]] = {
        "words": ([7, "", 0], "writes two words, one after the other, and closes",
                  "A read brings what is there now; the end is a read that brings nothing."),
        "exact": ([most, "", 0], f"writes {most} bytes, as many as it may, and closes",
                  "As many as allowed is not too many: try to read one byte more."),
        "flood": ([most, "output", -13], f"writes {64 * most} bytes",
                  ("You have read on: the writer came to its end, and had you held it all, "
                  "it would have been your memory. Stop at `most`; the writer then gets SIGPIPE.")),
        "silent": ([0, "wall clock", -9], "says nothing for 2 s; the deadline is 0.2 s away",
                   "read(2) waits as long as the pipe is open. select first, until the deadline."),
    }  # fmt: skip
    for does, (wanted, title, hint) in asked.items():
        seen = scene.call("_scene", does, most, timeout=30)
        if seen != wanted:
            return not_yet(
                expected=f"a writer that {title}: {told(wanted)}",
                observed=told(seen),
                where="the loop",
                hint=hint,
            )
    return done("bounded, and in time")


def told(seen: list[Any]) -> str:
    """The answer of a scene in words."""
    ends = {0: "the writer wrote all", -13: "the writer was ended by SIGPIPE", -9: "it waited"}
    return f"{seen[0]} bytes, {seen[1]!r}, {ends.get(seen[2], seen[2])}"


EXERCISE = Exercise(
    id="capstone.collect",
    notebook="21_capstone",
    title="Bounded output, in time",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.lab.capstone.collect",
    check=check,
    needs=("sandbox",),
    seconds=60,
    hints=(
        "In turn: how much time is left, is there something to read, read it, was it the end?",
        "`select.select([fd], [], [], left)[0]` is empty if nothing came in `left` seconds.",
        (
            'No time left: `return said, "wall clock"`. `part = os.read(fd, …)`. '
            'Empty: `return said, ""`.'
        ),
    ),
    wrong=(
        Wrong(NO_CLOCK, "select first"),
        Wrong(ALL_OF_IT, "You have read on"),
        Wrong(ONE_SHORT, "one byte more"),
        Wrong(ONCE, "brings nothing"),
    ),
)
