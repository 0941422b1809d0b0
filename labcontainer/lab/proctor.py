"""The first process of a grading container: sets limits, runs one check, tells its verdict.

    grading, outside ── order, on standard input ──▶ proctor
                                                        ├─ limits, then lab.sandbox
                     ◀── verdict, on standard output ── └─ the check (PID 1) ── lab.apart: learner

The check's process alone has the pipe to the outside. See docs/instructor.md for what a learner's
code may do here and what comes of it.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import signal
import sys
from typing import Any

from labcontainer.errors import LabError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import PR
from labcontainer.lab import apart, child, judge, sandbox, trial
from labcontainer.lab.child import Result
from labcontainer.lab.exercise import Exercise, Outcome
from labcontainer.lab.trial import LearnerError, Trial

LONGEST = 2000  # characters of one text of a verdict
TIME, MEMORY, PROCESSES, FILE_SIZE = "processor time", "memory", "processes", "file size"

# What a limit looks like from inside: the exception's name, its errno, the signal.
_BY_KIND = {"MemoryError": MEMORY, "BlockingIOError": PROCESSES}
_BY_ERRNO = {12: MEMORY, 27: FILE_SIZE}  # ENOMEM, EFBIG
_BY_SIGNAL = {-signal.SIGXCPU: TIME, -signal.SIGXFSZ: FILE_SIZE}


class _Way:
    """The descriptor that leads outside. Not 1: programs that a check starts would have it."""

    out = -1

    @classmethod
    def keep(cls) -> None:
        """Let nothing but `_tell` write there."""
        cls.out = os.dup(1)  # not inheritable
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)


class Graded(Trial):
    """A trial that tells which limit a learner's code met, where the check did not expect it."""

    stage: apart.Stage
    limit = ""

    def failed(self, error: LearnerError) -> Outcome:
        """Note a limit that shows in what became of the call."""
        self.limit = limit_of(error.result)
        return super().failed(error)

    def mountinfo(self) -> str:
        """The mounts of the learner's processes are not those of the check."""
        return self.stage.mountinfo()

    def with_code(self, code: str) -> Trial:
        """The same trial of other code, on the same stage."""
        other = super().with_code(code)
        assert isinstance(other, Graded)
        other.stage = self.stage
        return other


def limit_of(result: Result) -> str:
    """Which limit ended the learner's code; "" for none."""
    if "can't start new thread" in result.error:
        return PROCESSES
    return (
        _BY_SIGNAL.get(result.status)
        or _BY_KIND.get(result.kind)
        or _BY_ERRNO.get(result.errno)
        or ""
    )


def set_limits(limits: dict[str, int]) -> None:
    """Resource limits of this process and all that it starts: getrlimit(2). Never to be raised."""
    seconds = limits["seconds"]
    # A core dump's limit of 1 byte also stops dumps to a program of the host's (core(5)).
    for number, low, high in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),  # SIGXCPU, then SIGKILL
        (resource.RLIMIT_AS, limits["memory"], limits["memory"]),
        (resource.RLIMIT_NPROC, limits["processes"], limits["processes"]),
        (resource.RLIMIT_FSIZE, limits["file"], limits["file"]),
        (resource.RLIMIT_NOFILE, 4096, 4096),
        (resource.RLIMIT_CORE, 1, 1),
    ):
        resource.setrlimit(number, (low, high))


def main() -> None:
    """Do what the order on standard input says."""
    order: dict[str, Any] = json.load(sys.stdin)
    _Way.keep()
    exercise = Exercise(id=order["id"], notebook="", title="", hole=order.pop("hole"), solution="",
                        check=_no_check, names=tuple(order.pop("names")))  # fmt: skip
    early = judge.look_first(exercise, order["code"])
    if early:
        _tell({"outcome": shortened(early), "limit": ""})
        return
    set_limits(order.pop("limits"))
    _tell(_checked(order))


def _no_check(_: Trial) -> Outcome:
    raise AssertionError("the check comes with the order")


def _enter(writes: tuple[str, ...] = ()) -> None:
    """Into the sandbox, in a user namespace of its own: read-only mounts are locked in it."""
    writable = tuple(f"/sys/fs/{name}" for name in writes)
    if sandbox.enter(0, read_only=True, writable=writable, apart=True) != "user":
        raise LabError("no user namespace can be made inside a grading container")
    os.chdir(sandbox.ROOM)


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    os.environ["LABCONTAINER_SEED"] = fields["seed"]
    _enter(tuple(fields["writes"]))
    os.register_at_fork(after_in_child=_be_a_helper)
    child.becoming = stage = apart.Stage()
    group = f"labcontainer/check-{secrets.token_hex(6)}"
    graded = Graded(trial.as_order({**fields, "room": sandbox.ROOM, "group": group}), "user")
    graded.stage = stage
    outcome = trial.outcome_of(graded)
    return {"outcome": shortened(outcome), "limit": graded.limit}


def _be_a_helper() -> None:
    """A fork of the check: it can be looked at by the check, and has no way to the outside."""
    os.close(_Way.out)
    syscalls.prctl(PR.SET_DUMPABLE, 1)


def shortened(outcome: Outcome) -> dict[str, str]:
    """The outcome's texts; what is observed is the learner's, and may be long."""
    return {name: str(text)[:LONGEST] for name, text in outcome.as_dict().items()}


def _tell(verdict: dict[str, Any]) -> None:
    os.write(_Way.out, json.dumps(verdict).encode())
