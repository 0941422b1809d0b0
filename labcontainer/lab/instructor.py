"""What `labcontainer lab release|collect|grade` print, and with which status they end.

Standard output has the result, standard error how it goes. 0: all was done; 1: a submission was
refused, or a student's answers could not all be checked.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from labcontainer.errors import UsageError
from labcontainer.lab import collect, gradebook, grading
from labcontainer.lab.exercise import DONE, NOT_CHECKED
from labcontainer.lab.gradebook import Book
from labcontainer.lab.isolation import Limits


def run(args: Namespace) -> int:
    """Do what one of the three commands says."""
    verbs: dict[str, Callable[[Namespace], int]] = {"release": _release, "collect": _collect,
                                                    "grade": _grade}  # fmt: skip
    return verbs[args.what](args)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _tell(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """A student's words in one line that no terminal obeys."""
    return "".join(char if char.isprintable() else " " for char in text)


def _release(args: Namespace) -> int:
    from labcontainer.lab import release

    made = release.release(Path(args.target), _words(args.only), _words(args.hide), args.seed_from)
    print(f"{args.target}: {made.notebooks} notebooks, {made.exercises} exercises")
    if made.by_instructor:
        print(f"checked by you alone: {', '.join(made.by_instructor)}")
    if made.students:
        print(f"seeds of {made.students} students: {args.target}/students")
    return 0


def _collect(args: Namespace) -> int:
    taken = collect.collect(
        Path(args.source), Path(args.folder), args.layout, args.until, args.replace
    )
    for one in taken:
        late, why = " (late)" if one.late else "", f": {one.why}" if one.why else ""
        print(printable(f"{one.student}: {one.state}{late}{why}"))
    if not taken:
        raise UsageError(f"no submission in {args.source}: see --layout")
    return int(any(one.state == "refused" for one in taken))


def _grade(args: Namespace) -> int:
    book = grading.grade(Path(args.folder), _options(args), _tell)
    outputs = (
        (args.csv, gradebook.results_csv),
        (args.totals, gradebook.totals_csv),
        (args.json, gradebook.as_json),
    )
    for target, text in outputs:
        if target == "-":
            print(text(book), end="")
        elif target:
            _write(Path(target), text(book))
    if "-" not in (args.csv, args.totals, args.json):
        _print(book)
    return int(any(one.state == NOT_CHECKED for one in book.results))


def _options(args: Namespace) -> grading.Options:
    import os

    from labcontainer.engine import words

    jobs = args.jobs if args.jobs is not None else len(os.sched_getaffinity(0))
    if jobs < 1 or args.processes < 16:
        raise UsageError("--jobs is at least 1, --processes at least 16")
    memory = words.size("--memory", args.memory)
    if memory < 256 << 20:
        raise UsageError("--memory is at least 256m: a check is a Python program")
    return grading.Options(
        only=_words(args.only),
        jobs=jobs,
        seeds=args.seed_from,
        limits=Limits(memory=memory, processes=args.processes),
        again=args.again,
    )


def _write(target: Path, text: str) -> None:
    """Whole or not at all; closed to others, for it is about people."""
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(target)


def _print(book: Book) -> None:
    from labcontainer.lab.cards import table_text

    rows = [("student", "points", "seconds", "not done", "notes")]
    for line in book.students:
        own = [one for one in book.results if one.student == line.student and one.state != DONE]
        rest = ", ".join(f"{one.exercise} {one.state}" for one in own[:3])
        more = f" and {len(own) - 3} more" if len(own) > 3 else ""
        notes = "; ".join([*(["late"] if line.late else []), *line.notes])
        rows.append((line.student, f"{line.points} of {line.of}", f"{line.seconds:.1f}",
                     rest + more, notes))  # fmt: skip
    print(printable_lines(table_text(rows)))
    for one in book.results:
        if one.review:
            print(printable(f"read {one.student}'s {one.exercise}: {one.review}"))


def printable_lines(text: str) -> str:
    """`printable`, line by line."""
    return "\n".join(printable(line) for line in text.splitlines())
