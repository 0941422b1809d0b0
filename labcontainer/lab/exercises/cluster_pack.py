"""cluster.pack: as much as possible onto the machines that there are."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def pack(tasks: dict[str, int], nodes: dict[str, int]) -> dict[str, str]:
    """A node for each task that is placed, by the task's name.

    `tasks` has the memory that each needs, `nodes` the memory of each. Not all fit: place as many
    megabytes as you can.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    room, placed = dict(nodes), {}
    for task in sorted(tasks, key=lambda name: (-tasks[name], name)):
        able = [node for node in room if room[node] >= tasks[task]]
        if able:
            tightest = min(able, key=lambda node: (room[node], node))
            room[tightest] -= tasks[task]
            placed[task] = tightest
    return placed
""",
)

OVERFULL = SOLUTION.replace(
    "            room[tightest] -= tasks[task]\n", "            room[tightest] -= 0\n"
)
GIVES_UP = SOLUTION.replace(
    "            placed[task] = tightest\n",
    "            placed[task] = tightest\n        else:\n            break\n",
)
SMALL_FIRST = SOLUTION.replace("(-tasks[name], name)", "(tasks[name], name)")
BY_TASK = SOLUTION.replace("placed[task] = tightest", "placed[tightest] = task")

SCENE = """


def _packs(clusters):
    return [pack(dict(tasks), dict(nodes)) for tasks, nodes in clusters]
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    random = trial.random()
    clusters = []
    for _ in range(20):
        nodes = {name: random.randrange(160, 320, 16) for name in ("one", "two", "three", "four")}
        sizes = [random.randrange(16, 144, 4) for _ in range(18)]
        clusters.append([{f"t{at}": size for at, size in enumerate(sizes)}, nodes])
    placed, simple = 0, 0
    for (tasks, nodes), found in zip(clusters, trial.call("_packs", clusters), strict=True):
        wrong = _broken(found, tasks, nodes)
        if wrong:
            return not_yet(expected=f"tasks {tasks} on nodes {nodes}, none overfull",
                           observed=wrong, where="`pack`",
                           hint="Each task once at most, on a node of the list, and what lies on a "
                                "node may not be more than its memory.")  # fmt: skip
        placed += sum(tasks[task] for task in found)
        simple += _as_they_come(tasks, nodes)
    whole = sum(sum(nodes.values()) for _, nodes in clusters)
    if placed < simple:
        return not_yet(
            expected=f"at least {simple} of {whole} MB, as who takes the tasks as they come and "
            "puts each onto the first node with room",
            observed=f"{placed} of {whole} MB",
            where="the order in which you take the tasks",
            hint="What is large fits in few places: while there is room, take it first. And who "
            "does not fit is no reason to send the smaller ones behind it away.",
        )
    return done(f"20 clusters, {whole} MB", score=f"{100 * placed / whole:.2f} % full")


def _broken(found: object, tasks: dict[str, int], nodes: dict[str, int]) -> str:
    """What is wrong with a placement, in words; "" if nothing is."""
    if not isinstance(found, dict) or not set(found) <= set(tasks):
        return f"{found}: its keys are not names of tasks"
    if not set(found.values()) <= set(nodes):
        return f"{found}: its values are not names of nodes"
    for node, memory in nodes.items():
        there = sum(tasks[task] for task, on in found.items() if on == node)
        if there > memory:
            return f"{there} MB on {node}, which has {memory}"
    return ""


def _as_they_come(tasks: dict[str, int], nodes: dict[str, int]) -> int:
    """The megabytes that the simplest way places."""
    room, placed = dict(nodes), 0
    for memory in tasks.values():
        node = next((name for name in room if room[name] >= memory), None)
        if node:
            room[node] -= memory
            placed += memory
    return placed


EXERCISE = Exercise(
    id="cluster.pack",
    notebook="20_many_machines",
    title="The fullest packing",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "Keep the room that is left on each node in a dict of your own, and lower it.",
        "Take the tasks by size, the largest first; whatever does not fit is left out.",
        "Of the nodes with room take the tightest. To beat that: try many orders, keep the best.",
    ),
    wrong=(
        Wrong(OVERFULL, "which has"),
        Wrong(GIVES_UP, "no reason to send the smaller ones"),
        Wrong(SMALL_FIRST, "What is large fits in few places"),
        Wrong(BY_TASK, "not names of tasks"),
    ),
)
