"""users.owner: which number a file's owner has on the other side of a map."""

from __future__ import annotations

import os

from labcontainer import users
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial
from labcontainer.users import IdMap

HOLE = '''\
def outside(maps: list[tuple[int, int, int]], uid: int) -> int | None:
    """The host's number for `uid` of the container; None if the maps have no place for it."""
    for inside, host, count in maps:
        ...
    return None


def inside(maps: list[tuple[int, int, int]], uid: int) -> int:
    """What the container shows for the host's `uid`; 65534, nobody, if it has no place."""
    ...
'''

SOLUTION = '''\
def outside(maps: list[tuple[int, int, int]], uid: int) -> int | None:
    """The host's number for `uid` of the container; None if the maps have no place for it."""
    for inside, host, count in maps:
        if inside <= uid < inside + count:
            return host + uid - inside
    return None


def inside(maps: list[tuple[int, int, int]], uid: int) -> int:
    """What the container shows for the host's `uid`; 65534, nobody, if it has no place."""
    for first, host, count in maps:
        if host <= uid < host + count:
            return first + uid - host
    return 65534
'''

ONE_TOO_MANY = SOLUTION.replace("uid < inside + count", "uid <= inside + count")
ADDED = SOLUTION.replace("host + uid - inside", "host + uid")
UNCHANGED = SOLUTION.replace("    return 65534\n", "    return uid\n")
FIRST_LINE = SOLUTION.replace("    return None\n", "        return None\n", 1)


def check(trial: Trial) -> Outcome:
    maps = _maps(trial)
    for (name, uid), answer in _questions(maps):
        found = trial.call(name, maps, uid)
        if found != answer:
            return not_yet(
                expected=f"{name}(maps, {uid}) = {answer}",
                observed=repr(found),
                where=f"the maps were {maps}",
                hint=_hint(found, answer),
            )
    if not trial.privileged:
        return done("both ways, at every edge of the maps")
    return _by_the_kernel(trial, maps)


def _maps(trial: Trial) -> list[tuple[int, int, int]]:
    """This student's maps: a user, and two ranges with a gap between."""
    start, count = trial.number("start", 100, 900) * 1000, trial.number("count", 20, 90)
    first, second = (0, trial.number("uid", 1001, 1999), 1), (1, start, count)
    return [first, second, (count + 11, start + 5000, 10)]


def _questions(
    maps: list[tuple[int, int, int]],
) -> list[tuple[tuple[str, int], int | None]]:
    (_, uid, _), (one, start, count), (late, other, few) = maps
    return [
        (("outside", 0), uid),
        (("outside", late), other),
        (("outside", one + 5), start + 5),
        (("outside", one + count), None),
        (("outside", late + few), None),
        (("inside", uid), 0),
        (("inside", other + few - 1), late + few - 1),
        (("inside", start + count), users.OVERFLOW_ID),
        (("inside", 0), users.OVERFLOW_ID),
    ]


def _hint(found: object, answer: int | None) -> str:
    """What the wrong number tells."""
    if answer == users.OVERFLOW_ID:
        return "An owner without a place in the map is shown as 65534, the overflow id."
    if answer is None:
        return "A range of COUNT ids ends at first + COUNT - 1; the next id is not in it."
    if found is None or found == users.OVERFLOW_ID:
        return "One line has no place for it; look at the others too before you give up."
    return "Count from the first of the range: host + uid - inside, or the other way round."


def _by_the_kernel(trial: Trial, maps: list[tuple[int, int, int]]) -> Outcome:
    """The same question to the kernel: a file made in such a namespace, looked at from here."""
    folder = trial.directory("files")
    os.chmod(folder, 0o777)
    uid = maps[2][0] + 3
    there, here = os.pipe()
    mapped, go = os.pipe()
    child = os.fork()
    if child == 0:
        syscalls.unshare(CLONE.NEWUSER)
        os.write(here, b".")
        os.read(mapped, 1)
        os.setresuid(uid, uid, uid)
        os.close(os.open(f"{folder}/made", os.O_CREAT | os.O_WRONLY, 0o600))
        os._exit(0)
    os.read(there, 1)
    lines = tuple(IdMap(*line) for line in maps)
    users.write_maps(child, lines, (IdMap(0, 0, 1),))
    os.write(go, b".")
    os.waitpid(child, 0)
    owner = os.stat(f"{folder}/made").st_uid
    answer = trial.call("outside", maps, uid)
    if answer != owner:
        return not_yet(expected=f"{owner}, says the kernel", observed=str(answer))
    return done(f"a file of {uid} inside belongs to {owner} on the host: the kernel agrees")


EXERCISE = Exercise(
    id="users.owner",
    notebook="04_users",
    title="Predict the owner on the other side",
    hole=HOLE,
    solution=SOLUTION,
    names=("outside", "inside"),
    check=check,
    needs=("sandbox",),
    hints=(
        "A line (inside, host, count) is a range of ids and its shift.",
        "`inside <= uid < inside + count` says whether a line has a place for the id.",
        "Outside: `host + uid - inside`. The other way round is the same with the sides changed.",
    ),
    wrong=(
        Wrong(ONE_TOO_MANY, "the next id is not in it"),
        Wrong(ADDED, "Count from the first of the range"),
        Wrong(UNCHANGED, "the overflow id"),
        Wrong(FIRST_LINE, "look at the others too"),
    ),
)
