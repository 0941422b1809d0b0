"""cluster.actions: the difference between what there shall be and what there is, as steps."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def actions(wanted: dict[str, int], tasks: list[dict]) -> list[list]:
    """What is to be done so that each service has one task in each of its slots 1, 2, 3 …

    `wanted` has the number of slots of each service; a task has "service", "slot", "node" and
    "number". ["start", service, slot] for a slot without a task; ["stop", service, slot, node] for
    a task whose service or slot nobody wants. If a slot has several, the one with the highest
    number, which was started last, stays.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    steps, holder = [], {}
    for task in sorted(tasks, key=lambda task: -task["number"]):
        slot = (task["service"], task["slot"])
        if slot in holder or task["slot"] > wanted.get(task["service"], 0):
            steps.append(["stop", *slot, task["node"]])
        else:
            holder[slot] = task
    for service, slots in wanted.items():
        for slot in range(1, slots + 1):
            if (service, slot) not in holder:
                steps.append(["start", service, slot])
    return steps
""",
)

COUNTS = HOLE.replace(
    "    ...\n",
    """\
    steps = []
    for service, slots in wanted.items():
        there = [task for task in tasks if task["service"] == service]
        steps += [["start", service, slot] for slot in range(len(there) + 1, slots + 1)]
        steps += [["stop", service, task["slot"], task["node"]] for task in there[slots:]]
    return steps
""",
)
ANEW = HOLE.replace(
    "    ...\n",
    """\
    steps = [["stop", task["service"], task["slot"], task["node"]] for task in tasks]
    for service, slots in wanted.items():
        steps += [["start", service, slot] for slot in range(1, slots + 1)]
    return steps
""",
)
NEVER_STOPS = SOLUTION.replace(
    '            steps.append(["stop", *slot, task["node"]])\n', "            continue\n"
)
KEEPS_TWINS = SOLUTION.replace("slot in holder or ", "")
OLD_STAYS = SOLUTION.replace('-task["number"]', 'task["number"]')
UNKNOWN_RAISES = SOLUTION.replace('wanted.get(task["service"], 0)', 'wanted[task["service"]]')

SCENE = """


def _plans(cases):
    return [actions(*case) for case in cases]
"""


def check(trial: Trial) -> Outcome:
    web, gone = trial.token("web"), trial.token("gone")

    def task(service: str, slot: int, node: str, number: int) -> dict[str, Any]:
        return {"service": service, "slot": slot, "node": node, "number": number}

    three = [task(web, slot, "one", slot) for slot in (1, 2, 3)]
    for what, wanted, tasks, right, hint in (
        ("nothing runs", {web: 2}, [], [["start", web, 1], ["start", web, 2]],
         "A slot without a task is to be started."),
        ("all is as it should be", {web: 3}, three, [],
         "Nothing differs: nothing to do. A loop asks again and again, and must find rest."),
        ("slot 2 is empty", {web: 3}, [three[0], three[2]], [["start", web, 2]],
         "Look at slots, not at how many there are: the free one is filled."),
        ("one slot too many", {web: 2}, three, [["stop", web, 3, "one"]],
         "What nobody wants any more is stopped."),
        ("3 tasks, but in slots 1, 3 and 4", {web: 3},
         [three[0], three[2], task(web, 4, "two", 9)],
         [["start", web, 2], ["stop", web, 4, "two"]],
         "Look at slots, not at how many there are: the free one is filled."),
        ("a service that was removed", {web: 1}, [three[0], task(gone, 1, "two", 9)],
         [["stop", gone, 1, "two"]],
         "A service that is not in `wanted` has no slots at all: `wanted.get(service, 0)`."),
        ("slot 1 twice", {web: 1}, [three[0], task(web, 1, "two", 9)], [["stop", web, 1, "one"]],
         "A slot has one task. The one that was started last stays: the other was given up."),
    ):  # fmt: skip
        said = trial.attempt("actions", wanted, tasks)
        found = said.value if isinstance(said.value, list) else None
        if found is None or sorted(found, key=str) != sorted(right, key=str):
            return not_yet(
                expected=f"{what}, wanted {wanted}: {right}",
                observed=str(said.value) if said.returned else said.error,
                where="`actions`",
                hint=hint,
            )
    return _at_random(trial)


def _at_random(trial: Trial) -> Outcome:
    """Any cluster: after one round all is as wanted, and the next round has nothing to do."""
    trial.code += SCENE
    random = trial.random()
    cases: list[tuple[dict[str, int], list[dict[str, Any]]]] = []
    for _ in range(100):
        wanted = {name: random.randint(0, 4) for name in ("web", "db")}
        tasks = [{"service": random.choice(("web", "db", "old")), "slot": random.randint(1, 6),
                  "node": random.choice(("one", "two", "three")), "number": number}
                 for number in range(random.randint(0, 9))]  # fmt: skip
        cases.append((wanted, _apart(tasks)))
    plans = trial.call("_plans", cases)
    after = [
        (wanted, _done(tasks, plan)) for (wanted, tasks), plan in zip(cases, plans, strict=True)
    ]
    for (wanted, tasks), (_, left), plan, again in zip(
        cases, after, plans, trial.call("_plans", after), strict=True
    ):
        slots = [[service, slot] for service, many in wanted.items() for slot in range(1, many + 1)]
        held = [[task["service"], task["slot"]] for task in left]
        kept = len(tasks) - sum(step[0] == "stop" for step in plan)
        most = sum([one["service"], one["slot"]] in slots for one in _apart(tasks, ()))
        if sorted(held) != sorted(slots) or again or kept != most:
            return not_yet(
                expected=f"wanted {wanted}, there {tasks}: each slot held once, then nothing to do",
                observed=f"{plan}, and after that {again}",
                where="`actions`",
                hint="Carry your steps out with a pencil: is each slot held once? Was anybody "
                "stopped who could have stayed?",
            )
    return done("seven situations, then 100 clusters that find rest after one round")


def _apart(tasks: list[dict[str, Any]], more: tuple[str, ...] = ("node",)) -> list[dict[str, Any]]:
    """Those tasks that differ in service, slot and whatever else is named; the last of each."""
    keys = ("service", "slot", *more)
    return list({tuple(task[key] for key in keys): task for task in tasks}.values())


def _done(tasks: list[dict[str, Any]], plan: list[list[Any]]) -> list[dict[str, Any]]:
    """The tasks after the steps."""
    stopped = [step[1:] for step in plan if step[0] == "stop"]
    left = [one for one in tasks if [one["service"], one["slot"], one["node"]] not in stopped]
    started = [step for step in plan if step[0] == "start"]
    return left + [{"service": step[1], "slot": step[2], "node": "new", "number": 100 + at}
                   for at, step in enumerate(started)]  # fmt: skip


EXERCISE = Exercise(
    id="cluster.actions",
    notebook="20_many_machines",
    title="Desired minus observed",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "First decide for each task whether it may stay: then you know which slots are held.",
        "Go through the tasks from the highest number down: the first in a slot keeps it.",
        "Then `for slot in range(1, wanted[service] + 1)`: start those that nobody holds.",
    ),
    wrong=(
        Wrong(COUNTS, "not at how many there are"),
        Wrong(ANEW, "must find rest"),
        Wrong(NEVER_STOPS, "nobody wants any more is stopped"),
        Wrong(KEEPS_TWINS, "A slot has one task"),
        Wrong(OLD_STAYS, "A slot has one task"),
        Wrong(UNKNOWN_RAISES, "has no slots at all"),
    ),
)
