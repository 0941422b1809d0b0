"""dockerfile.key: the name under which a step's result is remembered."""

from __future__ import annotations

import errno
import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import hashlib
import json
import os


def key(below: str, instruction: str, files: list[str]) -> str:
    """One word for all that a step's result depends on, and for nothing else.

    `below` is the key of the step before, `files` are the files that the step copies.
    """
    parts = [below, instruction]
    for path in files:
        ...
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
'''

_FILES = """\
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        parts += [os.path.basename(path), os.stat(path).st_mode, digest]
"""
SOLUTION = HOLE.replace("        ...\n", _FILES)

BY_TIME = SOLUTION.replace(", digest]", ", os.stat(path).st_mtime]")
BY_SIZE = SOLUTION.replace(", digest]", ", os.stat(path).st_size]")
NO_MODE = SOLUTION.replace("os.stat(path).st_mode, ", "")
NO_NAME = SOLUTION.replace("os.path.basename(path), ", "")
NO_BELOW = SOLUTION.replace("[below, instruction]", "[instruction]")


def check(trial: Trial) -> Outcome:
    text = trial.secret()
    folder = trial.directory("context", {"page": text, "other": text})
    page, below, words = f"{folder}/page", trial.secret(), "COPY page /srv/"
    os.chmod(page, 0o644)
    first = trial.call("key", below, words, [page])
    os.utime(page, (1_000_000_000, 1_000_000_000))
    if trial.call("key", below, words, [page]) != first:
        return not_yet(
            expected="the same key after a touch",
            observed="another key",
            where="what you take of a file",
            hint="A checkout has new times, and the same files: take the content, not the time.",
        )
    for what, hint in CHANGES.items():
        arguments = _changed(what, page, text, below, words)
        if trial.call("key", *arguments) == first:
            return not_yet(
                expected=f"another key after {what}",
                observed="the same key",
                where="`parts`",
                hint=hint,
            )
    return done("five changes of the result change the key, and a touch does not")


CHANGES = {
    "a change of the content, size and time kept": "Two contents may have one size and one time: "
    "hash what is in the file.",
    "chmod 755": "A program that can't be started is another result: the mode counts.",
    "a rename": "Another name gives another image: the name counts.",
    "other words": "The words of the instruction count.",
    "a change below": "On another base the same words give another result: `below` counts.",
}


def _changed(what: str, page: str, text: str, below: str, words: str) -> tuple[str, str, list[str]]:
    """Make the change; the arguments of the call after it."""
    content = text.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    with open(page, "w") as file:
        file.write(content if what.startswith("a change of") else text)
    os.chmod(page, 0o755 if what == "chmod 755" else 0o644)
    os.utime(page, (1_000_000_000, 1_000_000_000))
    other = os.path.join(os.path.dirname(page), "other")
    os.chmod(other, 0o644)
    os.utime(other, (1_000_000_000, 1_000_000_000))
    return (
        f"{below}0" if what == "a change below" else below,
        f"{words}x" if what == "other words" else words,
        [other if what == "a rename" else page],
    )


EXERCISE = Exercise(
    id="dockerfile.key",
    notebook="12_dockerfile",
    title="A cache key by content",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    errors=((errno.ENOENT, "`files` holds whole paths."),),
    hints=(
        "What of a file is in the image that comes out? What is not?",
        "Its name, its mode and its content; not the time at which you got it.",
        "`parts += [os.path.basename(path), os.stat(path).st_mode, <the content's digest>]`.",
    ),
    wrong=(
        Wrong(BY_TIME, "take the content, not the time"),
        Wrong(BY_SIZE, "hash what is in the file"),
        Wrong(NO_MODE, "the mode counts"),
        Wrong(NO_NAME, "the name counts"),
        Wrong(NO_BELOW, "`below` counts"),
    ),
)
