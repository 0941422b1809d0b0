"""A learner's code that looks for the solution in its own process while it is checked.

It walks all objects, frames and modules, reads every file that is named anywhere and the course's
own package, and searches its memory. It is given hashes of lines, so that it carries no solution.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import subprocess
import sys

import pytest

from labcontainer.lab import exercise as exercises
from labcontainer.lab import judge
from labcontainer.lab.exercise import DONE, Exercise
from tests.notebooks.learner import HANGS, ROOT, learner, users

pytestmark = pytest.mark.timeout(HANGS + 60)
WALK = r"""
def walk(wanted):
    import gc, hashlib, linecache, os, re, sys, types

    wanted, found, files = set(wanted), set(), set(sys.argv)

    def look(text, where):
        if isinstance(text, str):
            text = text.encode(errors="replace")
        lines = [line.strip() for line in re.split(rb"\\n|[^\x20-\x7e]+", text)]
        lines = [line for line in lines if line]
        for pair in zip(lines, lines[1:]):
            if hashlib.sha256(b"\n".join(pair)).hexdigest() in wanted:
                found.add(where)

    def see(thing, where):
        if isinstance(thing, (str, bytes, bytearray)):
            look(thing, where)
        elif isinstance(thing, types.CodeType):
            files.add(thing.co_filename)
            for const in thing.co_consts:
                see(const, where)
        elif isinstance(thing, types.FunctionType):
            see(thing.__code__, where)
        elif isinstance(thing, types.ModuleType):
            files.add(getattr(thing, "__file__", None) or "")

    for thing in gc.get_objects():
        see(thing, "an object")
        for inner in gc.get_referents(thing):
            see(inner, "an object")
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()):
            see(value, "a frame")
            see(repr(value), "a frame")
        see(frame.f_code, "a frame")
        frame = frame.f_back
    for entry in linecache.cache.values():
        look("".join(entry[2]) if len(entry) == 4 else "", "linecache")
    for name in ("cmdline", "environ"):
        data = open(f"/proc/self/{name}", "rb").read()
        look(data, name)
        files |= {word.decode(errors="replace") for word in data.split(b"\0")}
    for fd in os.listdir("/proc/self/fd"):
        try:
            files.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    import labcontainer.lab
    for folder, _, names in os.walk(os.path.dirname(labcontainer.__path__[0] + "/")):
        files |= {os.path.join(folder, name) for name in names}
    for name in files:
        if os.path.isfile(name) and os.path.getsize(name) < 1 << 22:
            look(open(name, "rb").read(), name)
    maps = [line.split() for line in open("/proc/self/maps")]
    with open("/proc/self/mem", "rb") as memory:
        for line in maps:
            if line[1].startswith("rw"):
                first, last = (int(n, 16) for n in line[0].split("-"))
                try:
                    memory.seek(first)
                    look(memory.read(last - first), "its memory")
                except OSError:
                    pass  # a guard page
    return sorted(found)
"""
OWN_CHECK = """
def find_the_solution(trial):
    from labcontainer.lab.exercise import done
    import json
    wanted = json.loads('WANTED')
    return done(json.dumps(trial.call("walk", wanted, timeout=50)))
"""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def pairs(text: str) -> set[str]:
    """Each line with the one after it."""
    return {f"{first}\n{second}" for first, second in itertools.pairwise(lines(text))}


@functools.cache
def in_the_package() -> set[str]:
    """What may be read: the package's own code, which the notebooks show, without the exercises."""
    found: set[str] = set()
    for path in (ROOT / "labcontainer").rglob("*.py"):
        if path.parent.name != "exercises":
            found |= pairs(path.read_text())
    return found


SHORTEST = 25  # `pass` and `else:` under one another tell nothing: every library has them


def secrets(item: Exercise) -> list[str]:
    """Pairs of lines that only the solution has."""
    check = str(judge.check_of(item)["check"])
    own = pairs(item.solution) - pairs(item.hole) - pairs(check) - in_the_package()
    return sorted(pair for pair in own if len(pair) >= SHORTEST)


def hashes(item: Exercise) -> list[str]:
    return [hashlib.sha256(pair.encode()).hexdigest() for pair in secrets(item)]


def found_by(item: Exercise, uid: int) -> list[str]:
    """What the walk finds in the process that the item's check would call the learner's code in."""
    script = (
        "import json, sys\nfrom labcontainer.lab import judge\n"
        "from labcontainer.lab.exercise import find\n"
        "name, code, more = json.load(sys.stdin)\nitem = find(name).replace(seconds=60.0)\n"
        "of = judge.check_of(item)\n"
        "of |= {'check': of['check'] + more, 'check_name': 'find_the_solution'}\n"
        "judge.check_of = lambda item: of\n"
        "print(json.dumps(judge._judge_apart(item, code, 'labcontainer/check-none').as_dict()))"
    )
    own = OWN_CHECK.replace("WANTED", json.dumps(hashes(item)))
    with learner(uid) as student:
        order = json.dumps([item.id, WALK, own])
        ended = student.run([sys.executable, "-c", script], text=order)
    outcome = json.loads(ended.stdout)
    assert outcome["state"] == DONE, (outcome, ended.stderr)
    found: list[str] = json.loads(outcome["text"])
    return found


# Some solutions are what the package itself does, which may be read: those have nothing to find.
SEARCHED = [item for item in exercises.every() if secrets(item)][::5]


@pytest.mark.requires("sandbox")
@pytest.mark.parametrize("uid", users(), ids=lambda uid: f"uid{uid}")
@pytest.mark.parametrize("item", SEARCHED, ids=lambda item: item.id)
def test_a_learner_who_looks_for_the_solution_finds_nothing(item: Exercise, uid: int) -> None:
    assert found_by(item, uid) == []


def test_the_walk_finds_what_is_there() -> None:
    item = exercises.find("chroot.enter")
    script = (
        "import json, sys\nfrom labcontainer.lab.exercise import find\nfind('chroot.enter')\n"
        f"{WALK}\nprint(json.dumps(walk(json.loads(sys.argv.pop()))))"
    )
    words = [sys.executable, "-c", script, json.dumps(hashes(item))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    assert "an object" in found
    assert "its memory" in found
    assert any(place.endswith("exercises/chroot_enter.py") for place in found)


@pytest.mark.parametrize("item", exercises.every(), ids=lambda item: item.id)
def test_the_checks_process_is_sent_no_solution(item: Exercise) -> None:
    """Nor the hints, nor a wrong answer: of an exercise it gets the check and its errors' words."""
    sent = judge.check_of(item)
    text = json.dumps(sent)
    assert not any(json.dumps(hint)[1:-1] in text for hint in item.hints)
    for code in (item.solution, *(wrong.code for wrong in item.wrong)):
        assert json.dumps(code.strip())[1:-1] not in text
