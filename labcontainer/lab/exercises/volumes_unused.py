"""volumes.unused: which volumes a prune may take."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def unused(volumes: list[dict], containers: list[dict], everything: bool = False) -> list[str]:
    """The names of the volumes that `volume prune` removes, sorted.

    A volume has "Name" and "Anonymous"; a container has "State" and "Mounts", each of which has
    "Type" and, if that is "volume", "Name". What a container has mounted stays. Of the rest the
    anonymous ones go; with `everything` (`prune --all`) the named ones, too.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    used = {
        mount["Name"]
        for container in containers
        for mount in container["Mounts"]
        if mount["Type"] == "volume"
    }
    return sorted(
        one["Name"]
        for one in volumes
        if one["Name"] not in used and (everything or one["Anonymous"])
    )
""",
)

ONLY_RUNNING = SOLUTION.replace(
    "        for container in containers\n",
    '        for container in containers\n        if container["State"] == "running"\n',
)
NAMED_TOO = SOLUTION.replace(' and (everything or one["Anonymous"])', "")
BY_SOURCE = SOLUTION.replace('        if mount["Type"] == "volume"\n', "")
NEVER_NAMED = SOLUTION.replace('(everything or one["Anonymous"])', 'one["Anonymous"]')


def check(trial: Trial) -> Outcome:
    name = f"data-{trial.token('name')}"
    volumes = [{"Name": name, "Anonymous": False}, {"Name": "old", "Anonymous": False}]
    volumes += [{"Name": letter * 8, "Anonymous": True} for letter in "abc"]
    bind = {"Type": "bind", "Source": "/srv"}
    containers: list[dict[str, Any]] = [
        {"State": "running", "Mounts": [{"Type": "volume", "Name": name}, bind]},
        {"State": "exited", "Mounts": [{"Type": "volume", "Name": "a" * 8}]},
        {"State": "created", "Mounts": []},
    ]
    for everything, having, wanted, hint in (
        (False, containers, ["b" * 8, "c" * 8],
         "A container that has ended can be started again: its volumes are in use."),
        (True, containers, ["b" * 8, "c" * 8, "old"],
         "With `everything` a name protects no more; use does."),
        (False, [], ["a" * 8, "b" * 8, "c" * 8],
         "Somebody gave it a name, so somebody wants it: only --all takes it."),
    ):  # fmt: skip
        said = trial.attempt("unused", volumes, having, everything)
        if not said.returned or said.value != wanted:
            extra = said.returned and set(said.value) - set(wanted)
            named = extra and not everything and extra <= {"old", name}
            return not_yet(
                expected=f"everything={everything}, {len(having)} containers: {wanted}",
                observed=str(said.value) if said.returned else said.error,
                where="`unused`",
                hint="Somebody gave it a name, so somebody wants it: only --all takes it."
                if named
                else "A bind mount is no volume, and has no name: look at its Type."
                if not said.returned
                else hint,
            )
    return done("nothing in use, and nothing with a name unless it was asked for")


EXERCISE = Exercise(
    id="volumes.unused",
    notebook="15_volumes",
    title="What a prune may take",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "First the set of all names that any container has mounted, whatever its state.",
        'Only mounts whose "Type" is "volume" have a "Name".',
        'Then those that are not in it, and of these `everything or one["Anonymous"]`.',
    ),
    wrong=(
        Wrong(ONLY_RUNNING, "can be started again"),
        Wrong(NAMED_TOO, "somebody wants it"),
        Wrong(BY_SOURCE, "look at its Type"),
        Wrong(NEVER_NAMED, "a name protects no more"),
    ),
)
