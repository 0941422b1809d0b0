"""breakouts.environment: the variables of a container's program, and none of the engine's."""

from __future__ import annotations

import shutil

from labcontainer.kernel import files
from labcontainer.lab import box
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def environment(image: list[str], asked: list[str], caller: dict[str, str]) -> dict[str, str]:
    """The variables of a container's program.

    `image` and `asked` (by `run -e`) have lines NAME=value; what is asked for wins. One that is
    only NAME, without `=`, asks for the caller's own value, if there is one.
    """
    found = {"PATH": "/bin:/usr/bin"}
    for line in [*image, *asked]:
        name, equals, value = line.partition("=")
        ...
    return found
'''

_TAKE = """\
        if equals:
            found[name] = value
        elif name in caller:
            found[name] = caller[name]
"""
SOLUTION = HOLE.replace("        ...\n", _TAKE)

ALL = SOLUTION.replace('{"PATH"', '{**caller, "PATH"')
NAMES = SOLUTION.replace(
    '{"PATH": "/bin:/usr/bin"}',
    '{n: v for n, v in caller.items() if "PASSWORD" not in n and "SECRET" not in n}\n'
    '    found["PATH"] = "/bin:/usr/bin"',
)
EMPTY = SOLUTION.replace(_TAKE, "        found[name] = value\n")
NEVER = SOLUTION.replace(
    "        elif name in caller:\n            found[name] = caller[name]\n", ""
)

# A real program with these variables: the kernel tells what it was given.
SCENE = """

import os

def _program(path, image, asked, caller):
    variables = environment(image, asked, caller)
    pid = os.fork()
    if pid == 0:
        os.execve(path, ["sleep", "60"], variables)
    return pid
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    secret, word = trial.secret(), trial.token("word")
    name = trial.choice("name", ["REGISTRY_LOGIN", "API_TOKEN", "AWS_KEY"])
    caller = {name: secret, "DB_PASSWORD": secret, "LANG": word, "PATH": "/opt/engine", "HOME": "/"}
    image = ["MODE=image", "EMPTY=", f"WORD={word}=1"]
    path = shutil.which("sleep") or "/bin/sleep"
    with trial.hold("_program", path, image, ["MODE=asked", "LANG", "GONE"], caller) as process:
        lines = _environ(process.value)
    found = dict(line.partition("=")[::2] for line in lines if line)
    wanted = {"PATH": "/bin:/usr/bin", "MODE": "asked", "EMPTY": "", "WORD": f"{word}=1"}
    wanted |= {"LANG": word}
    if found == wanted:
        return done("/proc/PID/environ of the program: what was asked for, and nothing else")
    return _other(found, wanted, secret)


def _environ(pid: int) -> list[str]:
    """The variables that the kernel gave to the program, when it runs."""
    box.asleep(pid)
    return files.read(f"/proc/{pid}/environ").split("\0")


def _other(found: dict[str, str], wanted: dict[str, str], secret: str) -> Outcome:
    leaked = [name for name, value in found.items() if value == secret]
    if leaked:
        return not_yet(
            expected="nothing of the caller's in /proc/PID/environ but what was asked for",
            observed=f"{', '.join(leaked)} of the caller's",
            where="where `found` begins",
            hint="A list of bad names is never whole. Begin with nothing, and add what is wanted."
            if len(leaked) == 1
            else "Begin with nothing of the caller's.",
        )
    name = next(n for n in {**wanted, **found} if found.get(n) != wanted.get(n))
    hints = {
        "LANG": "`-e LANG`, without `=`, asks for the caller's own value: an honest program's.",
        "GONE": "The caller has no GONE, so the program has none either; not an empty one.",
        "MODE": "What is asked for comes after the image's, and wins.",
    }
    return not_yet(
        expected=f"{name}={wanted[name]}" if name in wanted else f"no {name}",
        observed=f"{name}={found[name]}" if name in found else f"no {name}",
        where="the loop",
        hint=hints.get(name, "A line NAME=value is taken as it is, with all that follows the `=`."),
    )


EXERCISE = Exercise(
    id="breakouts.environment",
    notebook="19_breakouts",
    title="Begin with nothing",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "Two kinds of lines: with an `=` the value stands there, without it is the caller's.",
        "`equals` is `=` or nothing. Without it, look whether `name in caller`.",
        "`if equals: found[name] = value`, and `elif name in caller: found[name] = caller[name]`.",
    ),
    wrong=(
        Wrong(ALL, "Begin with nothing of the caller's"),
        Wrong(NAMES, "A list of bad names is never whole"),
        Wrong(EMPTY, "asks for the caller's own value"),
        Wrong(NEVER, "LANG"),
    ),
)
