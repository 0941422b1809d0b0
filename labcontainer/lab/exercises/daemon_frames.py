"""daemon.frames: two streams in one, by frames with a head of eight bytes."""

from __future__ import annotations

import random

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def frames(waiting: bytearray) -> list[tuple[int, bytes]]:
    """The whole frames at the front of `waiting`, as (stream, bytes); they are taken out of it.

    A frame has a head of 8 bytes: the stream's number (1 is stdout, 2 stderr), three zeros, and the
    length of what follows, 4 bytes, the highest first. What is not whole yet stays in `waiting`.
    """
    found = []
    ...
    return found
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    while len(waiting) >= 8:
        end = 8 + int.from_bytes(waiting[4:8], "big")
        if len(waiting) < end:
            break
        found.append((waiting[0], bytes(waiting[8:end])))
        del waiting[:end]
""",
)

LITTLE = SOLUTION.replace('"big"', '"little"')
NO_WAIT = SOLUTION.replace("        if len(waiting) < end:\n            break\n", "")
FORGETS = SOLUTION.replace("    return found\n", "    waiting.clear()\n    return found\n")
ONLY_ONE = SOLUTION.replace("while len(waiting) >= 8:", "if len(waiting) >= 8:").replace(
    "        if len(waiting) < end:\n            break\n",
    "        if len(waiting) < end:\n            return found\n",
)
BY_LINES = HOLE.replace(
    "    ...\n",
    """\
    for part in bytes(waiting).splitlines(True):
        found.append((part[0], part[8:]))
    waiting.clear()
""",
)

SCENE = '''


def _scene(pieces):
    """What a client with `frames` makes of a connection that delivers these pieces."""
    waiting, found = bytearray(), []
    for piece in pieces:
        waiting += bytes.fromhex(piece)
        found.append([[stream, bytes(data).hex()] for stream, data in frames(waiting)])
    return found, waiting.hex()
'''


def _frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    chance, word = trial.random(), trial.token("word").encode()
    sent = [
        (1, b"hello\n"),
        (2, word),
        (1, b""),
        (2, b"two\nlines\n"),
        (1, bytes(300)),
        (1, b"end"),
    ]
    stream = b"".join(_frame(number, data) for number, data in sent)
    # In one piece, with half a frame after it, byte by byte, and cut anywhere.
    for what, pieces, hint in (
        ("all at once", [stream], "There may be many frames in what a read brings: go on."),
        ("the second half of a frame comes later", [stream[:-2], stream[-2:]],
         "What is not whole stays, until the rest has come."),
        ("cut in the middle of a head", [stream[:17], stream[17:]],
         "Fewer than 8 bytes are no head: its length is not known yet."),
        ("byte by byte", [stream[i : i + 1] for i in range(len(stream))],
         "A read may bring one byte. Keep what is not whole."),
        ("cut at random", _cut(stream, chance), "Where the pieces end means nothing."),
    ):  # fmt: skip
        result = trial.attempt("_scene", [piece.hex() for piece in pieces])
        wrong = _compare(result.value, sent, what, hint) if result.returned else None
        if not result.returned:
            wrong = not_yet(expected=f"{what}: 6 frames", observed=result.error,
                            where="`frames`", hint=hint)  # fmt: skip
        if wrong:
            return wrong
    return done("six frames, however they were cut")


def _cut(stream: bytes, chance: random.Random) -> list[bytes]:
    places = sorted(chance.sample(range(1, len(stream)), 9))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def _compare(
    value: tuple[list[list[list[object]]], str], sent: list[tuple[int, bytes]], what: str, hint: str
) -> Outcome | None:
    rounds, left = value
    found = [(frame[0], bytes.fromhex(str(frame[1]))) for one in rounds for frame in one]
    if found == sent and not left:
        return None
    shown = [(number, len(data)) for number, data in found]
    big = what == "all at once" and not found and left
    return not_yet(
        expected=f"{what}: frames (stream, length) {[(n, len(d)) for n, d in sent]}",
        observed=f"{shown[:8]}, {len(left) // 2} bytes left",
        where="`frames`",
        hint="The length's highest byte comes first: big-endian." if big else hint,
    )


EXERCISE = Exercise(
    id="daemon.frames",
    notebook="14_daemon",
    title="The 8-byte frames",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "As long as there are 8 bytes, the length is known: `int.from_bytes(waiting[4:8], …)`.",
        "If fewer than 8 + length bytes are there, stop and leave them.",
        "`found.append((waiting[0], bytes(waiting[8:end])))`, then `del waiting[:end]`.",
    ),
    wrong=(
        Wrong(LITTLE, "big-endian"),
        Wrong(NO_WAIT, "until the rest has come"),
        Wrong(FORGETS, "until the rest has come"),
        Wrong(ONLY_ONE, "many frames"),
        Wrong(BY_LINES, "many frames"),
    ),
)
