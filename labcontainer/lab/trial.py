"""A check at work: the learner's code in fresh children, the kernel's facts from outside.

`judge` starts `python -m labcontainer.lab.trial` with the code on its standard input. That process
enters a sandbox (`lab.sandbox`), runs the exercise's `check` there as PID 1 and prints the outcome
as one JSON line. When it ends, or is killed at its time limit, nothing of it is left.
"""

from __future__ import annotations

import ast
import json
import os
import random
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from labcontainer.kernel import files
from labcontainer.lab import child, sandbox, student
from labcontainer.lab.child import Job, Result, Running
from labcontainer.lab.exercise import NOT_ATTEMPTED, NOT_CHECKED, Exercise, Outcome, find, not_yet
from labcontainer.record import Record
from labcontainer.undo import Undo

T = TypeVar("T")
CALL_SECONDS = 5.0


class LearnerError(Exception):
    """The learner's code raised, ended or took too long; becomes *not yet* by itself."""

    def __init__(self, name: str, result: Result) -> None:
        super().__init__(result.error)
        self.name = name
        self.result = result


class Mount(Record):
    """One line of a mountinfo file (proc_pid_mountinfo(5))."""

    point: str
    fstype: str
    source: str
    options: tuple[str, ...]
    root: str = "/"
    propagation: tuple[str, ...] = ()


class Held:
    """The learner's process after its call, alive and waiting: look at it through /proc."""

    def __init__(self, running: Running, result: Result) -> None:
        self._running = running
        self.pid = running.pid
        self.value = result.value
        self.output = result.output

    def read(self, name: str) -> str:
        """The text of /proc/PID/<name>."""
        return files.read(f"/proc/{self.pid}/{name}")

    def status(self, field: str) -> str:
        """One field of /proc/PID/status, such as CapEff, Seccomp, NSpid."""
        for line in self.read("status").splitlines():
            if line.startswith(f"{field}:"):
                return line.partition(":")[2].strip()
        return ""

    def namespaces(self) -> dict[str, int]:
        """Kind -> inode number of each namespace that the process is in."""
        kinds = os.listdir(f"/proc/{self.pid}/ns")
        return {kind: os.stat(f"/proc/{self.pid}/ns/{kind}").st_ino for kind in kinds}

    def mounts(self) -> list[Mount]:
        """The mounts that the process sees, in order."""
        return [_mount(line) for line in self.read("mountinfo").splitlines()]

    def inside(self, path: str) -> str:
        """The path of a file as the process sees it, to be opened from outside."""
        return f"/proc/{self.pid}/root/{path.lstrip('/')}"

    def ask(self, expression: str) -> Any:
        """The value of a Python expression in that process."""
        return self._running.ask(expression)


def _mount(line: str) -> Mount:
    left, _, right = line.partition(" - ")
    fields, (fstype, source, superblock) = left.split(), right.split(" ", 2)
    options = tuple(fields[5].split(",")) + tuple(superblock.split(","))
    return Mount(fields[4], fstype, source, options, fields[3], tuple(fields[6:]))


class Trial:
    """What a check may use. See docs/exercises.md."""

    def __init__(self, exercise: Exercise, code: str, mode: str, room: str, group: str) -> None:
        self.exercise = exercise
        self.code = code
        self.room = room
        self.group = group
        self.privileged = mode == "root"
        self.undo = Undo()
        self._file = f"<{exercise.id}>"

    # --- the learner's code -------------------------------------------------------------------

    def attempt(
        self,
        name: str,
        *args: Any,
        namespaces: tuple[str, ...] = (),
        as_user: bool = False,
        timeout: float = CALL_SECONDS,
    ) -> Result:
        """Call the learner's function in a fresh child and tell what came of it."""
        running = child.start(self._job(name, args, namespaces, as_user))
        try:
            return running.wait(timeout)
        finally:
            running.kill()

    def call(
        self,
        name: str,
        *args: Any,
        namespaces: tuple[str, ...] = (),
        as_user: bool = False,
        timeout: float = CALL_SECONDS,
    ) -> Any:
        """The value of the learner's function; LearnerError if it has none."""
        result = self.attempt(
            name, *args, namespaces=namespaces, as_user=as_user, timeout=timeout
        )
        if not result.returned:
            raise LearnerError(name, result)
        return result.value

    def value(self, name: str) -> Any:
        """The value that the cell gave to a name."""
        return self.call(name)

    @contextmanager
    def hold(
        self,
        name: str,
        *args: Any,
        namespaces: tuple[str, ...] = (),
        as_user: bool = False,
        timeout: float = CALL_SECONDS,
    ) -> Iterator[Held]:
        """Call the learner's function and keep its process to be looked at from outside."""
        job = self._job(name, args, namespaces, as_user).replace(hold=True)
        running = child.start(job)
        try:
            result = running.wait(timeout)
            if not result.returned:
                raise LearnerError(name, result)
            yield Held(running, result)
        finally:
            running.kill()

    def _job(
        self, name: str, args: tuple[Any, ...], namespaces: tuple[str, ...], as_user: bool
    ) -> Job:
        path = (str(student.home()),)
        return Job(source=self.code, file=self._file, call=name, args=args,
                   namespaces=namespaces, as_user=as_user, path=path)  # fmt: skip

    # --- the stage ----------------------------------------------------------------------------

    def directory(self, name: str, content: Mapping[str, str | bytes | None] = {}) -> str:
        """Make a directory in the sandbox with these files (None: a directory); its path."""
        top = Path(self.room, name)
        top.mkdir(parents=True)
        for path, data in content.items():
            target = top / path.lstrip("/")
            if data is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(top)

    def token(self, name: str) -> str:
        """This student's word of that name, the same in every run."""
        return student.token(f"{self.exercise.id}/{name}")

    def number(self, name: str, low: int, high: int) -> int:
        """This student's number of that name."""
        return student.number(f"{self.exercise.id}/{name}", low, high)

    def choice(self, name: str, values: Sequence[T]) -> T:
        """This student's choice of that name."""
        return student.choice(f"{self.exercise.id}/{name}", values)

    def secret(self) -> str:
        """A word that is new in every run: it can't be known beforehand."""
        return secrets.token_hex(8)

    def random(self) -> random.Random:
        """This student's source of numbers for the exercise."""
        return random.Random(self.token("random"))


# --- what every exercise has in common ----------------------------------------------------------


def look_first(exercise: Exercise, code: str) -> Outcome | None:
    """What can be said without running the code; None if it can be run."""
    if exercise.untouched(code):
        return Outcome(NOT_ATTEMPTED)
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        return not_yet(
            expected="Python that can be read",
            observed=f"{type(error).__name__}: {error.msg}",
            where=f"line {error.lineno} of the cell",
            hint="Python stops reading there; the cause is there or just before it.",
        )
    return _hole_left(tree) or _not_a_definition(tree) or _names_missing(exercise, tree)


def _hole_left(tree: ast.Module) -> Outcome | None:
    subscripted = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    subscripts = {id(part) for node in subscripted for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value is ... and id(node) not in subscripts:
            return not_yet(
                expected="every `...` replaced",
                observed="one is left",
                where=f"line {node.lineno} of the cell",
                hint="Fill that hole too, or go back with lab.reset.",
            )
    return None


def _not_a_definition(tree: ast.Module) -> Outcome | None:
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for node in tree.body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (text or isinstance(node, kinds)):
            return not_yet(
                expected="imports, definitions and assignments only",
                observed=ast.unparse(node).splitlines()[0],
                where=f"line {node.lineno} of the cell",
                hint="The check calls your function itself. Try things out in a cell of their own.",
            )
    return None


def _names_missing(exercise: Exercise, tree: ast.Module) -> Outcome | None:
    given = {getattr(node, "name", "") for node in tree.body}
    for node in tree.body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        given |= {n.id for t in targets if t for n in ast.walk(t) if isinstance(n, ast.Name)}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            given |= {alias.asname or alias.name for alias in node.names}
    for name in exercise.bound:
        if name not in given:
            return not_yet(
                expected=f"the cell defines `{name}`",
                observed=", ".join(sorted(given - {""})) or "nothing",
                where="the name after def",
                hint=f"Keep the name `{name}`; the check and later cells call it.",
            )
    return None


def _failed(exercise: Exercise, error: LearnerError) -> Outcome:
    """A call that brought no value, in words."""
    result = error.result
    where = f"line {result.line} of the cell" if result.line else f"`{error.name}`"
    hints = dict(exercise.errors)
    if result.timed_out:
        observed, hint = "it was still running", "A loop or a wait that nothing ends?"
    elif result.error:
        observed, hint = result.error, hints.get(result.errno, "")
    elif result.status < 0:
        observed, hint = f"the process was killed by signal {-result.status}", ""
    else:
        observed = f"the process ended (status {result.status})"
        hint = "The function must return: nothing in it may end or replace the process."
    return not_yet(expected=f"`{error.name}` returns", observed=observed, where=where, hint=hint)


# --- the two processes --------------------------------------------------------------------------


def judge(exercise: Exercise, code: str) -> Outcome:
    """Check a learner's code in a fresh, sandboxed process; leaves nothing behind."""
    if early := look_first(exercise, code):
        return early
    from labcontainer.lab import doctor

    for fact in exercise.needs:
        ok, reason = doctor.probe(fact)
        if not ok:
            return Outcome(NOT_CHECKED, text=f"{fact}: {reason}")
    group = f"labcontainer/check-{secrets.token_hex(6)}"
    try:
        return _judge_apart(exercise, code, group)
    finally:
        _remove_groups(group)


def _judge_apart(exercise: Exercise, code: str, group: str) -> Outcome:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="labcontainer-check-") as room:
        order = {"id": exercise.id, "code": code, "room": room, "group": group,
                 "seed": student.seed()}  # fmt: skip
        line = [sys.executable, "-m", "labcontainer.lab.trial", str(os.getpid())]
        try:
            ended = subprocess.run(line, input=json.dumps(order), capture_output=True, text=True,
                                   timeout=exercise.seconds, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            return not_yet(
                expected=f"an answer within {exercise.seconds:g} s",
                observed="the check was still waiting",
                where="a loop, or a wait for something that never comes",
                hint="Which call blocks? What would wake it?",
            )
    try:
        return Outcome(**json.loads(ended.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        reason = (ended.stderr.strip().splitlines() or ["no word"])[-1]
        return not_yet(
            expected="the check comes to an end",
            observed=f"its process ended early: {reason}",
            where="a kill or exit that reached more than your own process",
        )


def _remove_groups(group: str) -> None:
    """Remove the cgroups that a check made under its own name, deepest first."""
    for mount in _cgroup_mounts():
        top = os.path.join(mount, group)
        for folder, _, _ in os.walk(top, topdown=False):
            for fact in ("cgroup.kill",):
                if os.path.exists(os.path.join(folder, fact)):
                    files.write(os.path.join(folder, fact), "1")
            _remove_group(folder)
        try:
            if os.path.isdir(os.path.dirname(top)):
                os.rmdir(os.path.dirname(top))
        except OSError:
            pass  # others have groups in labcontainer/ too


def _remove_group(folder: str) -> None:
    """rmdir of a cgroup; killed processes need a moment to leave it."""
    import time

    for _ in range(50):
        try:
            os.rmdir(folder)
            return
        except OSError:
            time.sleep(0.02)


def _cgroup_mounts() -> list[str]:
    rows = [line.split() for line in files.read("/proc/self/mounts").splitlines()]
    return [row[1] for row in rows if row[2] in ("cgroup", "cgroup2")]


def main() -> None:
    """The check's process: enter the sandbox, check, print the outcome."""
    order = json.load(sys.stdin)
    exercise = find(order["id"])
    os.environ["LABCONTAINER_SEED"] = order["seed"]
    os.environ["LABCONTAINER_HOME"] = str(student.home())
    writable = tuple(f"/sys/fs/{name}" for name in exercise.writes)
    mode = sandbox.enter(int(sys.argv[1]), read_only=True, writable=writable)
    room = sandbox.ROOM if mode != "none" else order["room"]
    os.chdir(room)
    trial = Trial(exercise, order["code"], mode, room, order["group"])
    try:
        outcome = exercise.run_check(trial)
    except LearnerError as error:
        outcome = _failed(exercise, error)
    finally:
        trial.undo.run()
    print(json.dumps(outcome.as_dict(), default=repr), flush=True)


if __name__ == "__main__":
    # By its own name, so that a check that imports LearnerError from here gets the same class.
    from labcontainer.lab import trial

    trial.main()
