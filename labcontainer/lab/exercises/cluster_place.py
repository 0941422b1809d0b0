"""cluster.place: which node takes one more task of a service."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def place(memory: int, service: str, tasks: list[dict], nodes: dict[str, dict]) -> str | None:
    """The name of the node that takes one more task of a service; None where no node can.

    A node can take it if its "availability" is "active" and its "memory" has room beside what the
    tasks there reserve. Of those that can: the one with the fewest tasks of this service, then
    with the fewest tasks of all, then the first by name. A task has "service", "node", "memory".
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    able = {}
    for name, node in nodes.items():
        here = [task for task in tasks if task["node"] == name]
        room = node["memory"] - sum(task["memory"] for task in here)
        if node["availability"] == "active" and room >= memory:
            able[name] = (sum(task["service"] == service for task in here), len(here), name)
    return min(able, key=able.get, default=None)
""",
)

NO_ROOM = SOLUTION.replace(" and room >= memory", "")
ANY_AVAILABILITY = SOLUTION.replace('node["availability"] == "active" and ', "")
OTHER_NODES = SOLUTION.replace('if task["node"] == name]', "]").replace("tasks ]", "tasks]")
PACKED = SOLUTION.replace("min(able", "max(able")
BY_NUMBER = SOLUTION.replace('sum(task["service"] == service for task in here), ', "")
TIGHT = SOLUTION.replace("room >= memory", "room > memory")
RAISES = SOLUTION.replace(", default=None", "")

SCENE = """


def _places(cases):
    return [place(*case) for case in cases]
"""


def check(trial: Trial) -> Outcome:
    service, memory = trial.token("service"), 16 * trial.number("memory", 2, 5)
    active = {"memory": 4 * memory, "availability": "active"}
    asleep = active | {"availability": trial.choice("availability", ("drain", "pause"))}
    other = {"service": "log", "memory": memory // 2}
    mine = {"service": service, "memory": memory}
    two = {"one": active, "two": active}
    full = {"one": active | {"memory": memory - 1}, "two": active | {"memory": memory}}
    for what, tasks, nodes, wanted, hint in (
        ("one node, and it is asleep", [], {"one": asleep}, None,
         "`drain` and `pause` say: nothing new here."),
        ("one has 1 MB too little", [], {"one": full["one"]}, None,
         "What is reserved is promised: count it, and look what is left."),
        ("two has just enough", [], full, "two", "Just enough is enough."),
        ("one is taken", [mine | {"node": "one"}] * 4, two, "two",
         "Count on each node only what runs there."),
        ("one runs a task of this service, two runs two others",
         [mine | {"node": "one"}] + [other | {"node": "two"}] * 2, two, "two",
         "First the fewest of *this* service: a machine that dies takes few of one kind along."),
        ("two runs one other", [other | {"node": "one"}] * 2 + [other | {"node": "two"}], two,
         "two", "Where that is equal: the fewest tasks of all."),
        ("nobody runs anything", [], dict(reversed(two.items())), "one",
         "Where all is equal: by name. So the same question has the same answer each time."),
    ):  # fmt: skip
        said = trial.attempt("place", memory, service, tasks, nodes)
        if not said.returned or said.value != wanted:
            return not_yet(
                expected=f"{what}: {wanted}",
                observed=str(said.value) if said.returned else said.error,
                where="`place`",
                hint="No node can: that is an answer, None, and no error."
                if not said.returned
                else hint,
            )
    return _at_random(trial)


def _at_random(trial: Trial) -> Outcome:
    """Clusters of this student's own: nobody who could take it would be better."""
    trial.code += SCENE
    cases = [_case(trial.random(), number) for number in range(200)]
    for case, found in zip(cases, trial.call("_places", cases), strict=True):
        memory, service, tasks, nodes = case
        here = {name: [task for task in tasks if task["node"] == name] for name in nodes}
        used = {name: sum(task["memory"] for task in found) for name, found in here.items()}
        able = [
            name
            for name, node in nodes.items()
            if node["availability"] == "active" and node["memory"] - used[name] >= memory
        ]
        ranks = {name: [sum(task["service"] == service for task in here[name]), len(here[name]),
                        name] for name in able}  # fmt: skip
        better = [name for name in able if found not in able or ranks[name] < ranks[found]]
        if better or (found is not None and found not in able):
            return not_yet(
                expected=f"{memory} MB for {service}, {tasks} on {nodes}: {better or None}",
                observed=str(found),
                where="`place`",
                hint="Here the rules disagree with you: availability, room, then the three counts.",
            )
    return done("seven situations by hand, 200 clusters at random")


def _case(random: Any, number: int) -> list[Any]:
    random.seed(f"{random.random()}{number}")
    nodes = {name: {"memory": random.choice((96, 128, 192)), "availability":
                    random.choice(("active", "active", "active", "pause", "drain"))}
             for name in ("one", "two", "three", "four")[: random.randint(1, 4)]}  # fmt: skip
    tasks = [
        {"service": random.choice(("web", "db")), "memory": 32, "node": random.choice([*nodes])}
        for _ in range(random.randint(0, 9))
    ]
    return [random.choice((16, 32, 64)), random.choice(("web", "db")), tasks, nodes]


EXERCISE = Exercise(
    id="cluster.place",
    notebook="20_many_machines",
    title="Which node takes the next one",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "For each node: what runs there, what room is left, and may it take anything?",
        "Tuples are compared from the left: (of this service, of all, name) is the whole rule.",
        "Such a tuple for each node that can, by name: `min(able, key=able.get, default=None)`.",
    ),
    wrong=(
        Wrong(NO_ROOM, "look what is left"),
        Wrong(ANY_AVAILABILITY, "nothing new here"),
        Wrong(OTHER_NODES, "only what runs there"),
        Wrong(PACKED, "a machine that dies takes few of one kind along"),
        Wrong(BY_NUMBER, "a machine that dies takes few of one kind along"),
        Wrong(TIGHT, "Just enough is enough"),
        Wrong(RAISES, "and no error"),
    ),
)
