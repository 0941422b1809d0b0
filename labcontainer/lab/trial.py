"""A check at work: the learner's code in fresh children, the kernel's facts from outside.

`lab.judge` starts `python -m labcontainer.lab.trial` with an order on its standard input. That
process enters a sandbox (`lab.sandbox`), runs the text of the exercise's check there as PID 1 and
prints the outcome as one JSON line. When it ends, or is killed at its time limit, nothing of it is
left. The learner's code is a fork of it: what must not be read must not be here.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from labcontainer.kernel import files
from labcontainer.lab import child, limits, sandbox, student
from labcontainer.lab.child import Job, Result, Running
from labcontainer.lab.exercise import Outcome, not_yet
from labcontainer.record import Record
from labcontainer.undo import Undo

T = TypeVar("T")
CALL_SECONDS = 5.0
EXERCISES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exercises")


class Order(Record):
    """What is to be checked, and where. Of the exercise only what the check needs."""

    id: str
    check: str  # source text
    check_name: str
    code: str
    room: str
    group: str
    seed: str
    writes: tuple[str, ...] = ()
    errors: tuple[tuple[int, str], ...] = ()


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
        found = {}
        for kind in os.listdir(f"/proc/{self.pid}/ns"):
            try:
                found[kind] = os.stat(f"/proc/{self.pid}/ns/{kind}").st_ino
            except FileNotFoundError:
                continue  # pid_for_children, until the first child is there
        return found

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

    def __init__(self, order: Order, mode: str) -> None:
        self.order = order
        self.code = order.code
        self.room = order.room
        self.group = order.group
        self.privileged = mode == "root"
        self.undo = Undo()
        self._file = f"<{order.id}>"

    def with_code(self, code: str) -> Trial:
        """The same trial of other code: what the machine does by itself, to compare with."""
        return type(self)(self.order.replace(code=code), "root" if self.privileged else "user")

    def failed(self, error: LearnerError) -> Outcome:
        """A call that brought no value and that the check has no words for."""
        return _failed(self.order, error)

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
            return running.wait(timeout * limits.busy())
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
        result = self.attempt(name, *args, namespaces=namespaces, as_user=as_user, timeout=timeout)
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
            result = running.wait(timeout * limits.busy())
            if not result.returned:
                raise LearnerError(name, result)
            yield Held(running, result)
        finally:
            running.kill()

    def namespaces(self) -> dict[str, int]:
        """Kind -> inode number of the namespaces that the learner's code begins in."""
        running = child.start(Job(hold=True))
        try:
            return Held(running, running.wait(CALL_SECONDS)).namespaces()
        finally:
            running.kill()

    def mountinfo(self) -> str:
        """The text of mountinfo for the mount namespace that the learner's code begins in."""
        return files.read("/proc/self/mountinfo")

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
        return student.token(f"{self.order.id}/{name}")

    def number(self, name: str, low: int, high: int) -> int:
        """This student's number of that name."""
        return student.number(f"{self.order.id}/{name}", low, high)

    def choice(self, name: str, values: Sequence[T]) -> T:
        """This student's choice of that name."""
        return student.choice(f"{self.order.id}/{name}", values)

    def secret(self) -> str:
        """A word that is new in every run: it can't be known beforehand."""
        return secrets.token_hex(8)

    def random(self) -> random.Random:
        """This student's source of numbers for the exercise."""
        return random.Random(self.token("random"))


def _slip(name: str, error: str) -> str:
    """A hint for a mistake that can be made in any exercise; "" for others."""
    if error.startswith("NameError"):
        return (
            "Nothing in this cell has that name: a slip of the pen, or an import that is missing "
            "(the cell is a program of its own)."
        )
    if error.startswith(f"TypeError: {name}()"):
        return "Keep the `def` line as it was: the check calls it with these arguments."
    return ""


def _failed(order: Order, error: LearnerError) -> Outcome:
    """A call that brought no value, in words."""
    result = error.result
    # A check may call the function by a helper of its own, `_scene`: the learner wrote the other.
    name = order.id.partition(".")[2] if error.name.startswith("_") else error.name
    where = f"line {result.line} of the cell" if result.line else f"`{name}`"
    hints = dict(order.errors)
    if result.timed_out:
        observed, hint = "it was still running", "A loop or a wait that nothing ends?"
    elif result.error:
        observed, hint = result.error, hints.get(result.errno, _slip(name, result.error))
    elif result.status < 0:
        observed, hint = f"the process was killed by signal {-result.status}", ""
    else:
        observed = f"the process ended (status {result.status})"
        hint = "The function must return: nothing in it may end or replace the process."
    return not_yet(expected=f"`{name}` returns", observed=observed, where=where, hint=hint)


def main() -> None:
    """The check's process: enter the sandbox, check, print the outcome."""
    order = as_order(json.load(sys.stdin))
    os.environ["LABCONTAINER_SEED"] = order.seed
    os.environ["LABCONTAINER_WORK"] = str(student.home())
    writable = tuple(f"/sys/fs/{name}" for name in order.writes)
    mode = sandbox.enter(int(sys.argv[1]), read_only=True, writable=writable)
    if mode != "none":
        order = order.replace(room=sandbox.ROOM)
        sandbox.hide(EXERCISES)
    os.chdir(order.room)
    outcome = outcome_of(Trial(order, mode))
    print(json.dumps(outcome.as_dict(), default=repr), flush=True)


def outcome_of(trial: Trial) -> Outcome:
    """Run the check of the trial's order; what it says."""
    try:
        return _check(trial.order)(trial)
    except LearnerError as error:
        return trial.failed(error)
    finally:
        trial.undo.run()


def as_order(fields: dict[str, Any]) -> Order:
    """An order from its JSON form."""
    errors = tuple((number, hint) for number, hint in fields.pop("errors"))
    return Order(**fields | {"errors": errors, "writes": tuple(fields["writes"])})


def _check(order: Order) -> Callable[[Trial], Outcome]:
    """The check as a function, in a module that has no file."""
    file = f"<check of {order.id}>"
    space: dict[str, Any] = {"__name__": "__check__", "__file__": file}
    exec(compile(order.check, file, "exec"), space)
    found: Callable[[Trial], Outcome] = space[order.check_name]
    return found


if __name__ == "__main__":
    # By its own name, so that a check that imports LearnerError from here gets the same class.
    from labcontainer.lab import trial

    trial.main()
