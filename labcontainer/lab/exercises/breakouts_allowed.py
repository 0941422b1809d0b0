"""breakouts.allowed: what of the engine's API a container may ask for."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import re


def allowed(method: str, path: str) -> bool:
    """Whether a program that only lists the containers may ask the engine this.

    It may GET, or HEAD, two paths: /_ping and /containers/json, after a version such as /v1.47 or
    none, and with a query after `?` or none. Nothing else.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    asked = re.fullmatch(r"(/v1\\.\\d+)?/(_ping|containers/json)(\\?.*)?", path)
    return method in ("GET", "HEAD") and asked is not None
""",
)

READS = SOLUTION.replace(" and asked is not None", "")
BEGINS = SOLUTION.replace("re.fullmatch", "re.match")
SOMEWHERE = SOLUTION.replace(
    'asked = re.fullmatch(r"(/v1\\.\\d+)?/(_ping|containers/json)(\\?.*)?", path)',
    'asked = re.search("/_ping|/containers/json", path)',
)
NO_VERSION = SOLUTION.replace("(/v1\\.\\d+)?", "")
NO_METHOD = SOLUTION.replace('method in ("GET", "HEAD") and ', "")

SCENE = """

from labcontainer.lab import attacks_engine, box

def _tried(treasure):
    box.furnish(treasure)
    return attacks_engine.engine(allowed)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    secret = trial.secret()
    found: dict[str, Any] = trial.call("_tried", secret, timeout=20)
    through = [line.split(" -> ")[0] for line in found["told"].splitlines() if secret in line]
    if through:
        return _leak(through)
    refused = [line for line in found["answer"].splitlines() if "403" in line]
    if refused or not found["honest"]:
        return not_yet(
            expected="the two paths are answered, with and without version and query",
            observed=refused[0] if refused else found["answer"],
            where="`allowed`",
            hint="Too strict: an honest client, such as docker ps, asks so.",
        )
    return done("the list of containers, and no container")


def _leak(through: list[str]) -> Outcome:
    hints = (
        ("DELETE", "Reading shows little, other methods change the engine: look at the method."),
        ("POST", "Reading shows little, other methods change the engine: look at the method."),
        ("/..", "The engine resolves `..`: what begins well may end elsewhere. Match it whole."),
        ("logs?", "What comes after ? is no path. Match the path from its beginning to its end."),
        ("", "A container's variables and files can be read by GET, too: name the paths."),
    )
    methods = {line.split()[0] for line in through}
    plain = [line for line in through if ".." not in line and "logs?" not in line]
    told = next(line for line in (*plain, *through))
    hint = next(hint for mark, hint in hints if mark in told)
    if methods == {"GET"} and not plain:
        told = next((line for line in through if "logs?" in line), through[0])
        hint = next(hint for mark, hint in hints[2:] if mark in told)
    return not_yet(
        expected="403 for all but the two paths",
        observed=f"{told} was let through",
        where="`allowed`",
        hint=hint,
    )


EXERCISE = Exercise(
    id="breakouts.allowed",
    notebook="19_breakouts",
    title="What may be asked",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    seconds=45,
    hints=(
        "Say what is allowed, and compare the whole path with it, not a part.",
        "`re.fullmatch(pattern, path)`: an optional version, one of two paths, an optional query.",
        r'The pattern: `r"(/v1\.\d+)?/(_ping|containers/json)(\?.*)?"`; and look at the method.',
    ),
    wrong=(
        Wrong(READS, "can be read by GET"),
        Wrong(BEGINS, "Match it whole"),
        Wrong(SOMEWHERE, "no path"),
        Wrong(NO_VERSION, "Too strict"),
        Wrong(NO_METHOD, "look at the method"),
    ),
)
