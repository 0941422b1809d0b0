"""machines.kind: tell from the facts of two places what one is to the other."""

from __future__ import annotations

import ast

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def kind(host: dict[str, str], there: dict[str, str]) -> str:
    """What `there` is, seen from the host: "machine", "container" or "process".

    Both have the facts of the table above: boot, release, processors, memory, name,
    pid_namespace, processes.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    if there["boot"] != host["boot"]:
        return "machine"
    return "process" if there["pid_namespace"] == host["pid_namespace"] else "container"
""",
)
RELEASE = SOLUTION.replace('"boot"', '"release"')
NAMESPACE_FIRST = HOLE.replace(
    "    ...\n",
    """\
    if there["pid_namespace"] == host["pid_namespace"]:
        return "process"
    return "container" if there["boot"] == host["boot"] else "machine"
""",
)
NAME = SOLUTION.replace('"pid_namespace"', '"name"')


def check(trial: Trial) -> Outcome:
    host = {
        "boot": trial.token("host"), "release": "6.1.0-17-amd64", "processors": "4",
        "memory": "8000000", "name": "lab", "pid_namespace": "pid:[4026531836]",
        "processes": "210",
    }  # fmt: skip
    own = {"pid_namespace": "pid:[4026532511]", "processes": "1"}
    guest = {"boot": trial.token("guest"), "processors": "1", "memory": "120000"}
    cases = [
        ("a process", "process", host),
        ("a container with a name of its own", "container", host | own | {"name": "web"}),
        ("a container that kept the host's name", "container", host | own),
        ("a machine with another kernel", "machine", host | guest | {"release": "6.6.9"}),
        ("a machine with the host's kernel version", "machine", host | guest),
        ("a container in a machine", "machine", host | guest | own),
    ]
    for what, wanted, there in cases:
        said = trial.call("kind", host, there)
        if said != wanted:
            return not_yet(
                expected=f"{what}: {wanted!r}",
                observed=repr(said),
                where="which facts you compare",
                hint=_hint(what),
            )
    return done("six places told apart", score=f"{_facts_used(trial.code)} facts")


def _hint(what: str) -> str:
    if "version" in what:
        return "A guest may run the same version. What is new each time that a kernel boots?"
    if "another kernel" in what:
        return (
            "Each kernel numbers its first namespaces alike: the same number is not the same one."
        )
    if "kept" in what:
        return "A name can be any name. The kernel's own number of a namespace can't."
    return "boot is one for each start of a kernel; pid_namespace is compared under one kernel."


def _facts_used(code: str) -> int:
    """How many different facts the answer looks at: the less, the clearer."""
    names = {"boot", "release", "processors", "memory", "name", "pid_namespace", "processes"}
    found = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    return len({value for value in found if value in names})


EXERCISE = Exercise(
    id="machines.kind",
    notebook="17_virtual_machines",
    title="Process, container or machine?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    hints=(
        "Which fact differs whenever there is another kernel, whatever its version?",
        "`boot` is drawn anew by each kernel that starts. Ask that first.",
        "Another boot: a machine. Else the same pid_namespace: a process. Else: a container.",
    ),
    wrong=(
        Wrong(RELEASE, "the same version"),
        Wrong(NAMESPACE_FIRST, "the same number is not the same one"),
        Wrong(NAME, "any name"),
    ),
)
