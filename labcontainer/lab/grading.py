"""`labcontainer lab grade`: every student's answers against the checks, in containers.

    collected folder ── answers ──▶ cases ── lab.isolation, N at once ──▶ results ──▶ lab.gradebook

First the course's own solution and known-wrong answers go the same way: a check that does not tell
them apart in these containers, on this machine, says nothing of a student either, and is left out.
Each result is written down at once, so a grading that was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from labcontainer.errors import LabError, UsageError
from labcontainer.lab import answers, collect, exercise, gradebook, isolation, judge
from labcontainer.lab.answers import Submission
from labcontainer.lab.exercise import (
    DONE,
    NOT_ATTEMPTED,
    NOT_CHECKED,
    NOT_YET,
    Exercise,
    Outcome,
)
from labcontainer.lab.gradebook import REFUSED, Book, Result
from labcontainer.lab.isolation import Case, Container, Ended, Limits, Room
from labcontainer.record import Record

LONGEST = 64 << 10  # bytes of one answer
MEMORY_ERRORS = ("MemoryError", "Cannot allocate memory")
KEPT = ".grading"
OUR_SEED = "grading"

# What an honest answer seldom needs: where it is done, a person should read it.
_UNUSUAL = re.compile(
    r"_getframe|f_back|f_locals|inspect\.(stack|currentframe)|gc\.get_|ctypes|sys\.modules|"
    r"__builtins__|/proc/(1|self/fd|self/mem|thread-self)\b|labcontainer\.lab|linecache|"
    r"sys\.settrace|sys\.argv"
)
# A check that asks the learner's own process believes it; the others look from outside.
_BESIDE = re.compile(r"trial\.code \+=|with_code\(|\.ask\(")


class Task(Record):
    """One answer to be checked."""

    exercise: Exercise
    code: str
    seed: str
    work: str = ""


class Options(Record):
    """How to grade."""

    only: tuple[str, ...] = ()
    jobs: int = 1
    seeds: str = ""  # "progress", "name" or a file of `student,seed` lines
    limits: Limits = Limits()
    again: bool = False


def grade(folder: Path, options: Options, tell: Callable[[str], None]) -> Book:
    """Grade a collected folder.

    Raises:
        NotFoundError, SpecError, UsageError: `folder` was not collected; an exercise or a student
            of the seeds' file is not there.
        UnsupportedError, LabError: no container can be made here.
    """
    manifest = collect.load(folder)
    chosen = _chosen(options.only)
    seeds = Seeds(options.seeds)
    students: dict[str, Submission] = {}
    tasks: dict[tuple[str, str], Task] = {}
    for name in sorted(manifest["students"]):
        students[name] = submission = answers.read(folder / name, chosen)
        seed = seeds.of(name, submission.seed)
        for item in chosen.values():
            if answer := submission.answers.get(item.id):
                work = folder.resolve() / name / "mycontainer"
                shown = str(work) if work.is_dir() else ""
                tasks[name, item.id] = Task(item, answer.code, seed, shown)
    memory = Memory(folder / KEPT / "results.jsonl", options.again)
    found = _run_all(tasks, memory, options, tell)
    return _book(manifest, students, chosen, found, seeds)


def _chosen(only: Sequence[str]) -> dict[str, Exercise]:
    """The exercises of these ids and notebooks, in the course's order.

    Raises:
        UsageError: a word is neither.
    """
    every = sorted(exercise.every(), key=lambda item: (item.notebook, item.id))
    words = {word.removesuffix(".ipynb") for word in only}
    unknown = words - {item.id for item in every} - {item.notebook for item in every}
    if unknown:
        raise UsageError(f"--only {', '.join(sorted(unknown))}: no exercise and no notebook")
    return {item.id: item for item in every if not words or words & {item.id, item.notebook}}


class Seeds:
    """Whose right answers are which."""

    def __init__(self, kind: str) -> None:
        self.kind = kind or "progress"
        self.given: dict[str, list[str]] = {}
        self._file: dict[str, str] = {}
        if self.kind not in ("progress", "name"):
            for line in Path(self.kind).read_text().splitlines():
                name, _, seed = line.partition(",")
                if name.strip() and not name.startswith("#"):
                    self._file[name.strip()] = seed.strip() or name.strip()

    def of(self, student: str, own: str) -> str:
        """The seed of a student, whose progress file says `own`.

        Raises:
            UsageError: the file of seeds does not name the student.
        """
        seed = {"progress": own or student, "name": student}.get(self.kind)
        if seed is None:
            seed = self._file.get(student, "")
            if not seed:
                raise UsageError(f"--seed-from {self.kind}: {student} is not in it")
        self.given.setdefault(seed, []).append(student)
        return seed

    def note(self, student: str) -> list[str]:
        """A word where two students have one seed: a progress file was passed on."""
        shared = [names for names in self.given.values() if student in names and len(names) > 1]
        return [f"same seed as {', '.join(sorted(set(names) - {student}))}" for names in shared]


# --- what is known already ----------------------------------------------------------------------


class Memory:
    """Verdicts by the digest of all that they depend on, one JSON line each."""

    def __init__(self, path: Path, again: bool) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if again:
            path.unlink(missing_ok=True)
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                entry = json.loads(line)
                self._known[entry["key"]] = entry["verdict"]
            except (ValueError, KeyError, TypeError):
                continue  # the line that an interrupted grading left half-written

    def get(self, key: str) -> dict[str, Any] | None:
        """A verdict that is known."""
        return self._known.get(key)

    def put(self, key: str, verdict: dict[str, Any]) -> None:
        """Keep one; on disk not what another time may be otherwise."""
        self._known[key] = verdict
        if verdict["limit"] == isolation.WALL_TIME or verdict["outcome"]["state"] == NOT_CHECKED:
            return
        with self._path.open("a") as file:
            file.write(json.dumps({"key": key, "verdict": verdict}) + "\n")


def _key(task: Task, options: Options) -> str:
    """What a verdict depends on: another of any of these is another key."""
    parts = [judge.check_of(task.exercise), task.exercise.hole, task.exercise.seconds, task.code,
             task.seed, options.limits.as_dict(), os.uname().release, os.geteuid() == 0,
             _digest_of(task.work)]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _digest_of(work: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(work).glob("*.py")) if work else []:
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


# --- running ------------------------------------------------------------------------------------


def _run_all(
    tasks: dict[tuple[str, str], Task],
    memory: Memory,
    options: Options,
    tell: Callable[[str], None],
) -> dict[tuple[str, str], dict[str, Any]]:
    """The verdict of each task."""
    keys = {name: _key(task, options) for name, task in tasks.items()}
    open_tasks = {name: task for name, task in tasks.items() if memory.get(keys[name]) is None}
    if open_tasks:
        if len(open_tasks) < len(tasks):
            tell(f"{len(tasks) - len(open_tasks)} answers are known from before")
        with isolation.opened(options.limits, options.jobs) as room:
            if room.no_groups:
                tell(f"no control groups ({room.no_groups}): memory is limited for each process")
            unfit = calibrate(room, open_tasks.values(), memory, options, tell)
            fit = {n: t for n, t in open_tasks.items() if t.exercise.id not in unfit}
            for name, verdict in _verdicts(room, fit, options):
                memory.put(keys[name], verdict)
                tell(f"{' '.join(name)}: {_word(verdict)}")
            left = open_tasks.keys() - fit.keys()
        found = {name: memory.get(keys[name]) or {} for name in tasks.keys() - left}
        return found | {name: _not_checked(unfit[tasks[name].exercise.id]) for name in left}
    return {name: memory.get(key) or {} for name, key in keys.items()}


def calibrate(
    room: Room,
    tasks: Iterable[Task],
    memory: Memory,
    options: Options,
    tell: Callable[[str], None],
) -> dict[str, str]:
    """Exercises whose check does not work in these containers: id -> why."""
    items = {task.exercise.id: task.exercise for task in tasks}
    trials: dict[tuple[str, str], Task] = {}
    for item in items.values():
        trials[item.id, "its own solution"] = Task(item, item.solution, OUR_SEED)
        for number, wrong in enumerate(item.wrong, 1):
            trials[item.id, f"known-wrong answer {number}"] = Task(item, wrong.code, OUR_SEED)
    keys = {name: _key(task, options) for name, task in trials.items()}
    unknown = {name: task for name, task in trials.items() if memory.get(keys[name]) is None}
    if unknown:
        tell(f"trying the checks of {len(items)} exercises on {len(unknown)} known answers")
    for one, verdict in _verdicts(room, unknown, options):
        if verdict["outcome"]["state"] == NOT_CHECKED:
            raise LabError(verdict["outcome"]["text"])
        memory.put(keys[one], verdict)
    unfit: dict[str, str] = {}
    for (name, what), key in sorted(keys.items(), reverse=True):
        verdict = memory.get(key) or {}
        if verdict["outcome"]["state"] != (DONE if what == "its own solution" else NOT_YET):
            seen = verdict["outcome"]["observed"] or verdict["outcome"]["text"] or "no verdict"
            unfit[name] = f"{what} is {_word(verdict)!r} in a grading container: {seen}"
    for name, why in sorted(unfit.items()):
        tell(f"{name} is not checked: {why[:200]}")
    return unfit


def _word(verdict: dict[str, Any]) -> str:
    state: str = verdict["outcome"]["state"]
    return f"{REFUSED} ({verdict['limit']})" if verdict["limit"] else state


def _not_checked(why: str) -> dict[str, Any]:
    return _verdict(Outcome(NOT_CHECKED, text=why))


def _verdict(outcome: Outcome, limit: str = "", seconds: float = 0) -> dict[str, Any]:
    return {"outcome": outcome.as_dict(), "limit": limit, "seconds": round(seconds, 2)}


def _verdicts(
    room: Room, tasks: dict[tuple[str, str], Task], options: Options
) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Run the tasks, so many at once as there are slots; each verdict when it is there."""
    waiting = deque(tasks.items())
    free = list(range(options.jobs))
    running: dict[Container, tuple[str, str]] = {}
    try:
        while waiting or running:
            while waiting and free:
                name, task = waiting.popleft()
                if len(task.code.encode(errors="replace")) > LONGEST:
                    yield name, _verdict(Outcome(NOT_YET), limit="code size")
                    continue
                with isolation.uninterrupted():
                    running[Container(room, free.pop(), _case(task, options.limits))] = name
            for container in isolation.wait(list(running)) if running else []:
                name = running.pop(container)
                ended = container.end()
                free.append(container.slot)
                yield name, _judged(ended)
    finally:
        for container in running:  # interrupted: nothing of them stays
            container.kill()
            container.end()


def _case(task: Task, limits: Limits) -> Case:
    item = task.exercise
    order = {
        **judge.check_of(item),
        "hole": item.hole,
        "names": item.bound,
        "code": task.code,
        "seed": task.seed,
        "limits": limits.replace(seconds=max(2, math.ceil(item.seconds / 2))).as_dict(),
    }
    return Case(json.dumps(order).encode(errors="replace"), item.seconds, task.work)


def _judged(ended: Ended) -> dict[str, Any]:
    """What a container's end says. Only the check's process can have written a verdict."""
    try:
        verdict = json.loads(ended.output)
        outcome = Outcome(**verdict["outcome"])
        limit = "" if outcome.state == DONE else ended.limit or str(verdict["limit"])
        return _verdict(outcome, limit, ended.seconds)
    except (ValueError, TypeError, KeyError):
        pass
    said = ended.errors.strip()
    last = said.rpartition("\n")[2]
    if ended.status == isolation.NOT_STARTED:
        return _not_checked(f"a grading container did not start: {last or 'no word'}")
    limit = ended.limit or (isolation.MEMORY if last.startswith(MEMORY_ERRORS) else "")
    if limit:
        return _verdict(Outcome(NOT_YET), limit, ended.seconds)
    return _verdict(judge.broken_off(said), seconds=ended.seconds)


# --- the book -----------------------------------------------------------------------------------


def _book(
    manifest: dict[str, Any],
    students: dict[str, Submission],
    chosen: dict[str, Exercise],
    found: dict[tuple[str, str], dict[str, Any]],
    seeds: Seeds,
) -> Book:
    lines, results = [], []
    for name, submission in students.items():
        own = [_result(name, item, submission, found.get((name, item.id)))
               for item in chosen.values()]  # fmt: skip
        notes = [*submission.notes, *seeds.note(name)]
        lines.append(gradebook.total(name, own, manifest["students"][name], notes))
        results += own
    return Book(tuple(lines), tuple(results), tuple(chosen))


def _result(
    student: str, item: Exercise, submission: Submission, verdict: dict[str, Any] | None
) -> Result:
    if verdict is None:
        return Result(student, item.id, item.notebook, NOT_ATTEMPTED)
    outcome, limit = verdict["outcome"], verdict["limit"]
    answer = submission.answers[item.id]
    texts = {
        key: outcome[key] for key in ("score", "expected", "observed", "where", "hint", "text")
    }
    if limit:
        texts["observed"] = f"{texts['observed']} (the limit of {limit})".strip()
    return Result(
        student,
        item.id,
        item.notebook,
        REFUSED if limit else outcome["state"],
        limit=limit,
        review=_review(item, answer.code) if outcome["state"] == DONE else "",
        source=answer.source,
        seconds=verdict["seconds"],
        **texts,
    )


def _review(item: Exercise, code: str) -> str:
    """Why a person should read an answer that is done; "" for most."""
    given = item.solution + item.hole
    unusual = sorted(word for word in _words(code) if word not in _words(given))
    if not unusual:
        return ""
    beside = _BESIDE.search(str(judge.check_of(item)["check"]))
    how = "the check asks the answer's own process" if beside else "the check looks from outside"
    return f"mentions {', '.join(unusual)}; {how}"


def _words(code: str) -> set[str]:
    return {match.group() for match in _UNUSUAL.finditer(code)}
