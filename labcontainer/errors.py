"""The errors of labcontainer; imports nothing.

An error that the kernel gives stays an `OSError` whose text shows the call. These classes are for
what labcontainer itself finds: a bad document, a wrong state, a machine that can't.
"""

from __future__ import annotations


class LabError(Exception):
    """Base of all: one line that says what was tried, on what, and what to do.

    `exit_status` is what a command line should end with.
    """

    exit_status = 1


class UsageError(LabError):
    """The words of a call are off."""


class SpecError(LabError):
    """A document (config.json, process.json, a profile) asks for what it may not."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class NotFoundError(LabError):
    """A thing that was named is not there. Engines look for the words `does not exist`."""


class ExistsError(LabError):
    """A thing of that name is there already."""


class StateError(LabError):
    """The verb does not fit the state, such as `start` of a running container."""


class UnsupportedError(LabError):
    """This kernel, machine or user can't; says why, and what would help."""

    def __init__(self, what: str, why: str, fix: str = "") -> None:
        super().__init__(f"{what}: {why}" + (f"; {fix}" if fix else ""))
        self.what = what
        self.why = why
        self.fix = fix


class StepError(LabError):
    """A step between fork and exec failed in the child; raised in the parent."""

    def __init__(self, step: str, problem: str, errno: int = 0) -> None:
        super().__init__(f"{step}: {problem}" if step else problem)
        self.step = step
        self.problem = problem
        self.errno = errno


class CommandNotFoundError(StepError):
    """The program to run is not in the container; engines make exit status 127 of it."""

    exit_status = 127


class CommandNotExecutableError(StepError):
    """The program is there and can't be run; engines make exit status 126 of it."""

    exit_status = 126
