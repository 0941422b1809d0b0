"""What an exercise is, and where to find one by its id.

Each lies in one file of `lab/exercises`, which sets `EXERCISE`. How to write one is in
docs/exercises.md.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from labcontainer.errors import NotFoundError
from labcontainer.record import Record

if TYPE_CHECKING:
    from labcontainer.lab.trial import Trial

NOT_ATTEMPTED, NOT_YET, DONE, NOT_CHECKED = "not attempted", "not yet", "done", "not checked"

# Ids that were renamed: notebooks that learners saved long ago go on working.
ALIASES: dict[str, str] = {}


class Outcome(Record):
    """What a check found. `state` is an answer, or NOT_CHECKED: it can't run here."""

    state: str
    text: str = ""
    expected: str = ""
    observed: str = ""
    where: str = ""
    hint: str = ""
    score: str = ""


def done(text: str = "", score: str = "") -> Outcome:
    """The answer is right; `score` is what there is to beat, with its unit."""
    return Outcome(DONE, text=text, score=score)


def not_yet(*, expected: str, observed: str, where: str = "", hint: str = "") -> Outcome:
    """Something else was observed than wanted; the hint fits what was observed."""
    seen = observed or "nothing"
    return Outcome(NOT_YET, expected=expected, observed=seen, where=where, hint=hint)


def by_instructor(_: Trial | None = None) -> Outcome:
    """The check of an exercise in a release that gives no check out."""
    return Outcome(NOT_CHECKED, text="your instructor checks this one, when you have handed it in")


class Wrong(Record):
    """A wrong answer that learners give, and words of the message that it must get."""

    code: str
    message: str


class Exercise(Record):
    """One exercise. The names are explained in docs/exercises.md."""

    id: str
    notebook: str
    title: str
    hole: str
    solution: str
    check: Callable[[Trial], Outcome]
    own: str = ""
    replaces: str = ""
    names: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    needs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    errors: tuple[tuple[int, str], ...] = ()
    seconds: float = 10

    @property
    def module(self) -> str:
        """The file of `mycontainer/` that a done answer goes to."""
        return self.id.partition(".")[0]

    @property
    def bound(self) -> tuple[str, ...]:
        """The names that the cell gives to the notebook."""
        return self.names or (self.id.partition(".")[2],)

    def untouched(self, code: str) -> bool:
        """Whether the code is the hole, apart from comments and blanks."""
        try:
            return ast.dump(ast.parse(code)) == ast.dump(ast.parse(self.hole))
        except SyntaxError:
            return False

    def run_check(self, trial: Trial) -> Outcome:
        """The check's outcome (a Record's function attribute is not bound to it)."""
        check = self.__dict__["check"]
        outcome: Outcome = check(trial)
        return outcome


def find(name: str) -> Exercise:
    """The exercise of an id, an old id too.

    Raises:
        NotFoundError: there is none; near ones are named.
    """
    current = ALIASES.get(name, name)
    try:
        module = importlib.import_module(f"{_package()}.{current.replace('.', '_')}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(_package()):
            raise
        import difflib

        near = difflib.get_close_matches(current, ids())
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise NotFoundError(f"exercise {name!r} does not exist{hint}") from None
    exercise: Exercise = module.EXERCISE
    return exercise


def ids() -> list[str]:
    """The ids of all exercises."""
    return sorted(exercise.id for exercise in every())


def every() -> list[Exercise]:
    """All exercises, by file name."""
    folder = importlib.import_module(_package())
    names = sorted(info.name for info in pkgutil.iter_modules(folder.__path__))
    return [importlib.import_module(f"{_package()}.{name}").EXERCISE for name in names]


def _package() -> str:
    return "labcontainer.lab.exercises"
