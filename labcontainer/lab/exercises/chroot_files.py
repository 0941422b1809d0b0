"""chroot.files: the smallest set of files with which a program runs in an empty root."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import re
import shutil
import subprocess


def files() -> tuple[list[str], list[str]]:
    """The host's files to copy into an empty root, and the command that prints /token there."""
    program = shutil.which("cat")
    needed = ...
    return [program, *needed], [program, "/token"]
'''

SOLUTION = '''\
import re
import shutil
import subprocess


def files() -> tuple[list[str], list[str]]:
    """The host's files to copy into an empty root, and the command that prints /token there."""
    program = shutil.which("cat")
    listing = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    needed = re.findall(r"/\\S+", listing)
    return [program, *needed], [program, "/token"]
'''

ONLY_PROGRAM = SOLUTION.replace("[program, *needed],", "[program],")
NO_LIBRARIES = SOLUTION.replace(
    "    return [", '    needed = [path for path in needed if "/ld-" in path]\n    return ['
)
OTHER_FILE = SOLUTION.replace('"/token"]', '"/etc/token"]')


def check(trial: Trial) -> Outcome:
    answer = trial.call("files")
    wrong = _not_an_answer(answer)
    if wrong:
        return not_yet(
            expected="two lists of strings: paths to copy, and a command",
            observed=wrong,
            where="the return of `files`",
        )
    paths, command = answer
    secret = trial.secret()
    root = trial.directory("root", {"token": secret})
    try:
        size = sum(_copy(path, root) for path in dict.fromkeys(paths))
    except OSError as error:
        return not_yet(
            expected="paths of files of this machine",
            observed=f"{error.filename}: {error.strerror}",
            where="what you made of ldd's listing",
            hint="ldd names some libraries without a path: `linux-vdso` is no file.",
        )
    return _run(command, root, secret, size)


def _not_an_answer(answer: Any) -> str:
    if not isinstance(answer, list) or len(answer) != 2:
        return repr(answer)[:60]
    for part in answer:
        if not (isinstance(part, list) and part and all(isinstance(word, str) for word in part)):
            return repr(part)[:60]
    return ""


def _copy(path: str, root: str) -> int:
    """Copy a file of the host to the same path below the root; its size."""
    target = os.path.join(root, os.path.abspath(path).lstrip("/"))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(path, target)
    return os.path.getsize(target)


def _run(command: list[str], root: str, secret: str, size: int) -> Outcome:
    def enter() -> None:
        os.chroot(root)
        os.chdir("/")

    try:
        ended = subprocess.run(
            command,
            preexec_fn=enter,
            env={},
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return not_yet(expected="the command ends", observed="it still ran after 5 s")
    except OSError as error:
        there = os.path.exists(os.path.join(root, command[0].lstrip("/")))
        hint = "The path of the command is not among the files that you copy."
        if error.errno == errno.ENOENT and there:
            hint = "The program is there. Its loader, the ELF interpreter, is not: `ldd` names it."
        return not_yet(
            expected=f"{' '.join(command)} prints the token",
            observed=f"execve: {error.strerror}",
            where="the list of files",
            hint=hint,
        )
    if secret in ended.stdout:
        return done("the program ran on your files alone and read a token that is new each time",
                    score=f"{size} bytes")  # fmt: skip
    said = (ended.stderr or ended.stdout).strip().splitlines() or ["nothing"]
    hint = "The loader runs now, and looks for libraries that are not in the root."
    if "shared librar" not in said[-1]:
        hint = "The program runs. Does it read /token?"
    return not_yet(
        expected=f"{' '.join(command)} prints the token",
        observed=f"exit status {ended.returncode}: {said[-1]}",
        where="the list of files" if "shared librar" in said[-1] else "the command",
        hint=hint,
    )


EXERCISE = Exercise(
    id="chroot.files",
    notebook="02_chroot",
    title="The smallest root that works",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "`ldd PROGRAM` prints one line for each file that the loader would open, and the loader.",
        'Run it: `subprocess.run(["ldd", program], capture_output=True, text=True).stdout`.',
        "`re.findall(r'/\\S+', text)` takes out the paths. Would a smaller program do?",
    ),
    wrong=(
        Wrong(ONLY_PROGRAM, "Its loader, the ELF interpreter, is not"),
        Wrong(NO_LIBRARIES, "looks for libraries that are not in the root"),
        Wrong(OTHER_FILE, "Does it read /token"),
    ),
)
