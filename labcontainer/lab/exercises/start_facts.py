"""start.facts: read three facts of a process from /proc."""

from __future__ import annotations

import ast
import os

from labcontainer.lab import child
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os


def facts(pid: int) -> dict[str, object]:
    """The name, the user's number and the root directory of a process: name, uid, root."""
    ...
'''

SOLUTION = '''\
import os


def facts(pid: int) -> dict[str, object]:
    """The name, the user's number and the root directory of a process: name, uid, root."""
    with open(f"/proc/{pid}/comm") as file:
        name = file.read().strip()
    uid = os.stat(f"/proc/{pid}").st_uid
    return {"name": name, "uid": uid, "root": os.readlink(f"/proc/{pid}/root")}
'''

OWN = SOLUTION.replace('f"/proc/{pid}', '"/proc/self')
NEWLINE = SOLUTION.replace(".strip()", "")
TWO_FACTS = SOLUTION.replace(', "root": os.readlink(f"/proc/{pid}/root")', "")
MY_UID = SOLUTION.replace('os.stat(f"/proc/{pid}").st_uid', "str(os.getuid())")

def check(trial: Trial) -> Outcome:
    name = f"lab-{trial.token('name')}"
    root = trial.directory("world", {"flag": "inside"})
    source = (  # a process to be read: of its own name, in a root directory of its own
        "import os\n"
        f"open('/proc/self/comm', 'w').write({name!r})\n"
        f"os.chroot({root!r})\nos.chdir('/')\n"
    )
    running = child.start(child.Job(source=source, hold=True))
    try:
        running.wait(5)
        uid = os.stat(f"/proc/{running.pid}").st_uid
        wanted = {"name": name, "uid": uid, "root": root}
        seen = trial.call("facts", running.pid)
    finally:
        running.kill()
    return _compare(trial, wanted, seen)


def _compare(trial: Trial, wanted: dict[str, object], seen: object) -> Outcome:
    if not isinstance(seen, dict):
        return not_yet(
            expected="a dictionary with name, uid and root",
            observed=f"{seen!r}",
            where="the return line",
            hint='Return `{"name": …, "uid": …, "root": …}`.',
        )
    for fact, value in wanted.items():
        if seen.get(fact) != value:
            return not_yet(
                expected=f"{fact}: {value!r}, as the kernel says",
                observed=f"{fact}: {seen[fact]!r}" if fact in seen else f"no {fact!r}",
                where=f"where `{fact}` comes from",
                hint=_hint(fact, value, seen),
            )
    return done("three facts, each straight from the kernel", score=_lines(trial.code))


def _hint(fact: str, value: object, seen: dict[str, object]) -> str:
    given = seen.get(fact)
    if fact not in seen:
        return f"`{fact}` is missing. `/proc/PID` has a file or link for each of the three."
    if isinstance(given, str) and given.strip() == str(value).strip():
        if fact == "uid":
            return "That is the number as text. `os.stat(…).st_uid` is a number."
        return "Nearly: a file in /proc ends with a newline, which is not part of the name."
    if fact == "name":
        return "That is another process's name. `/proc/self` is you; the argument is who is meant."
    return "Read it from `/proc/PID` of the process that was asked for."


def _lines(code: str) -> str:
    """How many statements the learner needed."""
    body = next(n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef))
    docstring = ast.get_docstring(body) is not None
    count = sum(isinstance(node, ast.stmt) for node in ast.walk(body)) - 1 - docstring
    return f"{count} statements"


EXERCISE = Exercise(
    id="start.facts",
    notebook="00_start_here",
    title="Three facts from /proc",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "`/proc/PID` is a directory of the process with that number; three entries are enough.",
        (
            "The name is in the file `comm`, the root is the link `root`, and the directory "
            "itself belongs to the process's user."
        ),
        (
            '`open(f"/proc/{pid}/comm").read().strip()`, `os.stat(f"/proc/{pid}").st_uid`, '
            '`os.readlink(f"/proc/{pid}/root")`.'
        ),
    ),
    wrong=(
        Wrong(OWN, "another process's name"),
        Wrong(NEWLINE, "ends with a newline"),
        Wrong(TWO_FACTS, "`root` is missing"),
        Wrong(MY_UID, "the number as text"),
    ),
)
