"""breakouts.mount_inside: a mount that no link of the container's leads outside."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os
from collections.abc import Callable

from labcontainer.kernel import confined, syscalls
from labcontainer.kernel.flags import MS


def mount_inside(
    root: str, source: str, target: str, meanwhile: Callable[[], object]
) -> None:
    """Bind the directory `source` on `target`, a path in the container with the root `root`.

    `meanwhile()` is what the container does between our look and our mount.
    """
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    ...
    meanwhile()
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n    meanwhile()\n    ...\n",
    """\
    place = confined.open_in(root_fd, target)
    meanwhile()
    syscalls.mount(source, f"/proc/self/fd/{place}", None, MS.BIND)
""",
)

BY_NAME = SOLUTION.replace('f"/proc/self/fd/{place}"', 'f"{root}{target}"')
LOOKS_FIRST = HOLE.replace(
    "    ...\n    meanwhile()\n    ...\n",
    """\
    if not os.path.realpath(f"{root}{target}").startswith(f"{root}/"):
        raise ValueError(target)
    meanwhile()
    syscalls.mount(source, f"{root}{target}", None, MS.BIND)
""",
)
LEAVES = SOLUTION.replace(
    "confined.open_in(root_fd, target)", 'os.open(f"{root}{target}", os.O_PATH)'
)
NO_LINKS = SOLUTION.replace(
    "open_in(root_fd, target)", "open_in(root_fd, target, os.O_PATH, RESOLVE.NO_SYMLINKS)"
).replace("import MS", "import MS, RESOLVE")

ALONE = SOLUTION.replace("    meanwhile()\n", "")

SCENE = """

from labcontainer.lab import attacks_engine, box

def _tried(treasure):
    box.furnish(treasure)
    return attacks_engine.link(mount_inside)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    found: dict[str, Any] = trial.call("_tried", trial.secret(), timeout=20)
    if found["attack"]:
        return _led_out(found["told"])
    if not found["honest"]:
        return not_yet(
            expected="the volume is in the container at /run, and at /var, a link to /run",
            observed=found["answer"] or "no file there",
            where="how the path is walked",
            hint="Every image has links, also to paths with / in front: its own root is meant.",
        )
    return done("a descriptor, walked inside the root: no name is looked up twice")


def _led_out(told: str) -> Outcome:
    hint = (
        "You looked, and then named the place once more: by then it is a link. "
        "A descriptor stays what it is."
    )
    if "link: attacker" in told:
        hint = (
            "A link was there from the beginning, and your way followed it out of the root: "
            "confined.open_in walks inside."
        )
    elif "not tried" in told:
        hint = "The container is at work, too: `meanwhile()` comes between look and mount."
    return not_yet(
        expected="the host reads its own file, whatever the container does",
        observed=f"the host reads: {told}",
        where="what you give to mount as the place",
        hint=hint,
    )


EXERCISE = Exercise(
    id="breakouts.mount_inside",
    notebook="19_breakouts",
    title="By descriptor, not by name",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    seconds=45,
    hints=(
        "Walk the path once, inside the root, and hold on to what you find.",
        "`confined.open_in(root_fd, target)` gives a descriptor: openat2 with RESOLVE_IN_ROOT.",
        "A descriptor has a name for mount: `/proc/self/fd/NUMBER`.",
    ),
    wrong=(
        Wrong(BY_NAME, "named the place once more"),
        Wrong(LOOKS_FIRST, "named the place once more"),
        Wrong(LEAVES, "A link was there from the beginning"),
        Wrong(NO_LINKS, "Every image has links"),
        Wrong(ALONE, "comes between look and mount"),
    ),
)
