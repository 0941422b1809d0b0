"""cluster.drain: empty a node, so that nobody misses more than one task at any moment."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def drain(name: str, tasks: list[dict], nodes: dict[str, dict]) -> list[list]:
    """The steps that empty a node: ["stop", service, slot, node], ["start", service, slot, node].

    At every moment each service misses one task at most, no slot is held twice and no node has more
    than its "memory". Nothing is started where "availability" is not "active". A task that fits
    nowhere else stays where it is.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    steps = []
    room = {node: found["memory"] for node, found in nodes.items()
            if found["availability"] == "active" and node != name}
    for task in tasks:
        if task["node"] in room:
            room[task["node"]] -= task["memory"]
    for task in sorted(tasks, key=lambda task: -task["memory"]):
        able = [node for node in room if room[node] >= task["memory"]]
        if task["node"] == name and able:
            target = max(able, key=lambda node: (room[node], node))
            room[target] -= task["memory"]
            steps.append(["stop", task["service"], task["slot"], name])
            steps.append(["start", task["service"], task["slot"], target])
    return steps
""",
)

ALL_AT_ONCE = SOLUTION.replace("    return steps\n", "    return sorted(steps, reverse=True)\n")
START_FIRST = SOLUTION.replace(
    '            steps.append(["stop", task["service"], task["slot"], name])\n', ""
).replace(
    '"], target])\n',
    '"], target])\n            steps.append(["stop", task["service"], task["slot"], name])\n',
)
ANYWHERE = SOLUTION.replace('found["availability"] == "active" and ', "")
BACK_HOME = SOLUTION.replace(" and node != name", "")
OVERFULL = SOLUTION.replace(
    '        if task["node"] in room:\n', '        if task["node"] in room and task["slot"] < 0:\n'
)
FORGETS_OWN = SOLUTION.replace('            room[target] -= task["memory"]\n', "")
SMALL_FIRST = SOLUTION.replace('-task["memory"])', 'task["memory"])')
STOPS_ANYWAY = SOLUTION.replace(
    'able = [node for node in room if room[node] >= task["memory"]]\n',
    'able = [node for node in room if room[node] >= task["memory"]]\n'
    '        if task["node"] == name and not able:\n'
    '            steps.append(["stop", task["service"], task["slot"], name])\n',
)

SCENE = """


def _drains(cases):
    return [drain(*case) for case in cases]
"""
ONLY_ACTIVE = "Only an active node takes anything new, and never the one that is to be emptied."
LOOK_FIRST = "Look for its new place before you stop it: a task that fits nowhere stays."
LARGE_FIRST = "Take the largest first: it fits in few places, and small ones may take those away."
ONE_BY_ONE = "Stop one, start it elsewhere, and only then stop the next."
NEVER_TWICE = "First stop, then start: two at a time would both believe that the slot is theirs."
LOWER = "Lower the room by what runs there already, and again with each task that you send there."
Tasks = list[dict[str, Any]]
Nodes = dict[str, dict[str, Any]]


def check(trial: Trial) -> Outcome:
    moves = 0
    for what, name, tasks, nodes, stay in _situations(trial):
        steps = trial.call("drain", name, tasks, nodes)
        wrong = _judge(steps, name, tasks, nodes, stay)
        if wrong:
            return not_yet(
                expected=what, observed=f"{steps}: {wrong[0]}", where="`drain`", hint=wrong[1]
            )
        moves += sum(step[0] == "start" for step in steps)
    trial.code += SCENE
    random = trial.random()
    cases = [_case(random) for _ in range(40)]
    for case, steps in zip(cases, trial.call("_drains", cases), strict=True):
        name, tasks, nodes = case
        wrong = _judge(steps, name, tasks, nodes, 0)
        if wrong:
            return not_yet(
                expected=f"{name} is emptied, of {tasks} on {nodes}",
                observed=f"{steps}: {wrong[0]}", where="`drain`", hint=wrong[1],
            )  # fmt: skip
        moves += sum(step[0] == "start" for step in steps)
    return done("never more than one task missing, in 44 clusters", score=f"{moves} moves")


def _situations(trial: Trial) -> list[tuple[str, str, Tasks, Nodes, int]]:
    """(what is to be seen, the node to empty, tasks, nodes, how many must stay there)."""
    web, size = trial.token("web"), 16 * trial.number("size", 2, 5)
    active = {"memory": 8 * size, "availability": "active"}
    four = [{"service": web, "slot": slot, "memory": size, "node": "two" if slot > 1 else "one"}
            for slot in (1, 2, 3, 4)]  # fmt: skip
    small = {"service": web, "slot": 1, "memory": 2 * size, "node": "two"}
    large = {"service": "db", "slot": 1, "memory": 3 * size, "node": "two"}
    held = [{"service": "log", "slot": slot, "memory": size, "node": "one"} for slot in (1, 2)]
    paused = active | {"availability": "pause"}
    return [
        ("three of four tasks move, one by one", "two", four,
         {"one": active, "two": active | {"availability": "drain"}}, 0),
        ("three tasks leave `two`, and `three` is paused", "two", four,
         {"one": active, "two": active, "three": paused}, 0),
        (f"two tasks, {2 * size} and {3 * size} MB, just fit into what `one` and `three` have left",
         "two", [small, large, *held],
         {"one": active | {"memory": 4 * size}, "two": active,
          "three": active | {"memory": 3 * size}}, 0),
        (f"the task of {3 * size} MB fits nowhere else", "two", [large, *held],
         {"one": active | {"memory": 4 * size}, "two": active}, 1),
    ]  # fmt: skip


def _case(random: Any) -> list[Any]:
    """A cluster in which there is room enough."""
    nodes = {name: {"memory": 512, "availability": "active"} for name in ("one", "two", "three")}
    slots = [
        [service, slot] for service in ("web", "db") for slot in range(1, random.randint(2, 5))
    ]
    tasks = [{"service": service, "slot": slot, "memory": random.choice((32, 48, 64)),
              "node": random.choice(sorted(nodes))} for service, slot in slots]  # fmt: skip
    name = random.choice(sorted(nodes))
    nodes[name]["availability"] = "drain"
    return [name, tasks, nodes]


def _judge(steps: Any, name: str, tasks: Tasks, nodes: Nodes, stay: int) -> tuple[str, str] | None:
    """Carry the steps out on paper: (what went wrong, a hint), or None."""
    if not isinstance(steps, list) or any(len(step) != 4 for step in steps):
        return "no list of four words each", 'A step is ["stop" or "start", service, slot, node].'
    there = {(task["service"], task["slot"], task["node"]) for task in tasks}
    memory = {(task["service"], task["slot"]): task["memory"] for task in tasks}
    for verb, service, slot, node in steps:
        if verb == "stop":
            there.discard((service, slot, node))
        elif nodes.get(node, {}).get("availability") != "active" or node == name:
            return f"{service}.{slot} was started on {node}", ONLY_ACTIVE
        else:
            there.add((service, slot, node))
        wrong = _moment(there, memory, nodes)
        if wrong:
            return f"after {verb} {service}.{slot} {wrong[0]}", wrong[1]
    missing = set(memory) - {(service, slot) for service, slot, _ in there}
    if missing:
        return f"{len(missing)} were stopped and not started again", LOOK_FIRST
    left = sum(node == name for _, _, node in there)
    if left > stay:
        return f"{left} stayed on {name} that would fit elsewhere", LARGE_FIRST
    return None


def _moment(
    there: set[tuple[str, int, str]], memory: dict[tuple[str, int], int], nodes: Nodes
) -> tuple[str, str] | None:
    held = [(service, slot) for service, slot, _ in there]
    for service in sorted({service for service, _ in memory}):
        missing = {one for one in memory if one[0] == service} - set(held)
        if len(missing) > 1:
            return f"{len(missing)} tasks of {service} are missing", ONE_BY_ONE
    if len(held) > len(set(held)):
        return "a slot is held twice", NEVER_TWICE
    for name, node in nodes.items():
        used = sum(memory[service, slot] for service, slot, on in there if on == name)
        if used > node["memory"]:
            return f"{name} holds {used} of {node['memory']} MB", LOWER
    return None


EXERCISE = Exercise(
    id="cluster.drain",
    notebook="20_many_machines",
    title="Drain a node",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "First a dict with the room that is left on each other active node.",
        "For each task of the node: room somewhere? Stop it, start it there, lower the room.",
        "The largest first, each to the node with the most room; what fits nowhere is left out.",
    ),
    wrong=(
        Wrong(ALL_AT_ONCE, "only then stop the next"),
        Wrong(START_FIRST, "First stop, then start"),
        Wrong(ANYWHERE, "Only an active node"),
        Wrong(BACK_HOME, "never the one that is to be emptied"),
        Wrong(OVERFULL, "Lower the room"),
        Wrong(FORGETS_OWN, "Lower the room"),
        Wrong(SMALL_FIRST, "Take the largest first"),
        Wrong(STOPS_ANYWAY, "Look for its new place"),
    ),
)
