"""machines.entry: one entry of the archive that a kernel unpacks as its first root."""

from __future__ import annotations

import stat

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def entry(name: str, mode: int, data: bytes, inode: int) -> bytes:
    """One file of a newc archive: a head of 110 letters, the name, the bytes.

    Of the 13 numbers all but inode, mode, links (1), size and name_size are 0. The name ends with
    a NUL, which name_size counts. What stands before the bytes, and the bytes too, are each filled
    up with NULs to a multiple of 4.
    """
    ended = name.encode() + b"\\0"
    numbers = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(ended), 0]
    head = b"070701" + ...
    front = head + ended
    ...
'''

SOLUTION = HOLE.replace("+ ...", '+ b"".join(b"%08x" % number for number in numbers)').replace(
    "    ...\n",
    '    return front + b"\\0" * (-len(front) % 4) + data + b"\\0" * (-len(data) % 4)\n',
)
DECIMAL = SOLUTION.replace("%08x", "%08d")
NAME_ALONE = SOLUTION.replace("(-len(front) % 4)", "(-len(ended) % 4)")
NOT_FILLED = SOLUTION.replace(' + b"\\0" * (-len(data) % 4)', "")


# JSON, which arguments and results are, has no bytes.
CALLER = """

def entry_hex(name, mode, data, inode):
    return entry(name, mode, bytes.fromhex(data), inode).hex()
"""


def check(trial: Trial) -> Outcome:
    text = trial.token("text").encode()
    cases = [("init", 0o755, b"#!/bin/sh\n" + text), ("etc/motd", 0o644, text + b"!" * 11),
             ("a", 0o600, b"")]  # fmt: skip
    called = trial.with_code(trial.code + CALLER)
    for number, (name, mode, data) in enumerate(cases, 1):
        made = called.call("entry_hex", name, stat.S_IFREG | mode, data.hex(), number)
        if problem := _problem(bytes.fromhex(made), name, mode, data, number):
            return problem
    return done("three files, each as it was put in")


def _problem(made: bytes, name: str, mode: int, data: bytes, number: int) -> Outcome | None:
    """The first part that is not as the form wants it: head, name, bytes, end."""
    ended = name.encode() + b"\0"
    numbers = [number, stat.S_IFREG | mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(ended), 0]
    head = b"070701" + b"".join(b"%08x" % one for one in numbers)
    if made[:110] != head:
        return not_yet(
            expected=f"{name}: a head {head[:38].decode()}…",
            observed=f"{made[:38].decode(errors='replace')}…",
            where="how the numbers are written",
            hint="Each number is eight digits, and they are hexadecimal.",
        )
    begins = 110 + len(ended) + -(110 + len(ended)) % 4
    if made[110:begins] != ended + bytes(begins - 110 - len(ended)) or (
        data and made[begins : begins + len(data)] != data
    ):
        return not_yet(
            expected=f"{name}: its bytes from byte {begins} on",
            observed=f"from byte {made.find(data)} on" if data in made else "they are not there",
            where="the padding after the name",
            hint="Not the name alone: head and name together are filled up to a multiple of 4.",
        )
    if len(made) != begins + len(data) + -len(data) % 4:
        return not_yet(
            expected=f"{name}: an entry of {begins + len(data) + -len(data) % 4} bytes",
            observed=f"{len(made)} bytes",
            where="after the bytes",
            hint="The next entry begins at a multiple of 4: fill the bytes up too.",
        )
    return None


EXERCISE = Exercise(
    id="machines.entry",
    notebook="17_virtual_machines",
    title="One file of the first root",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    hints=(
        "Thirteen numbers, each as eight hexadecimal digits, one after the other.",
        '`b"%08x" % 33188` is `b"000081a4"`; join them.',
        '`b"\\0" * (-len(front) % 4)` fills up. Twice: after the name, and after the bytes.',
    ),
    wrong=(
        Wrong(DECIMAL, "hexadecimal"),
        Wrong(NAME_ALONE, "head and name together"),
        Wrong(NOT_FILLED, "fill the bytes up too"),
    ),
)
