"""layers.group: two images of few bytes; what may share a layer, and what must not."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from labcontainer import union
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def group(common: list, web: list, worker: list) -> tuple[list[list], list[list]]:
    """The layers of two images, each layer a list of steps.

    Both images need the steps `common`, then each its own. A step is ("write", path, kilobytes)
    or ("remove", path). A layer that both images have in common is stored once.
    """
    return (
        ...,
        ...,
    )
'''

SOLUTION = '''\
def group(common: list, web: list, worker: list) -> tuple[list[list], list[list]]:
    """The layers of two images, each layer a list of steps.

    Both images need the steps `common`, then each its own. A step is ("write", path, kilobytes)
    or ("remove", path). A layer that both images have in common is stored once.
    """
    return (
        [common, web],
        [common, worker],
    )
'''

ONE_EACH = SOLUTION.replace("[common, web]", "[common + web]").replace(
    "[common, worker]", "[common + worker]"
)
STEP_BY_STEP = SOLUTION.replace("[common, web]", "[[step] for step in common + web]").replace(
    "[common, worker]", "[[step] for step in common + worker]"
)
FORGOTTEN = SOLUTION.replace("[common, worker]", "[worker]")
NOT_REMOVED = SOLUTION.replace("[common, w", "[[s for s in common if s[0] == 'write'], w")


def check(trial: Trial) -> Outcome:
    common, web, worker = _steps(trial)
    answer = trial.call("group", common, web, worker)
    if not (isinstance(answer, list) and len(answer) == 2):
        return not_yet(expected="two lists of layers", observed=repr(answer)[:60], where="return")
    stored: dict[str, int] = {}
    for number, (layers, own) in enumerate(zip(answer, (web, worker), strict=True)):
        shown = _build(trial, number, layers, stored)
        wanted = _files([*common, *own])
        if shown != wanted:
            return _other_files(shown, wanted)
    size, best = sum(stored.values()), _least(common, web, worker)
    if size > best:
        return _too_much(stored, size, best, common)
    return done("both images have their files, and no byte is stored twice", f"{size >> 10} KiB")


def _steps(trial: Trial) -> tuple[list[Any], list[Any], list[Any]]:
    """Unpack an archive and remove it; each image then adds, and web cleans up, something."""
    size = trial.number("size", 100, 300)
    common = [("write", "tmp/archive", size), ("write", "usr/python", 2 * size),
              ("remove", "tmp/archive")]  # fmt: skip
    web = [("write", "srv/page", 20), ("write", "tmp/cache", 50), ("remove", "tmp/cache")]
    return common, web, [("write", "srv/job", trial.number("job", 10, 40))]


def _files(steps: list[Any]) -> dict[str, int]:
    """Path -> kilobytes after the steps."""
    files: dict[str, int] = {}
    for action, path, *size in steps:
        if action == "write":
            files[path] = size[0]
        else:
            files.pop(path, None)
    return files


def _least(*parts: list[Any]) -> int:
    return sum(sum(_files(part).values()) for part in parts) << 10


def _build(trial: Trial, number: int, layers: list[Any], stored: dict[str, int]) -> dict[str, int]:
    """Carry out the layers of one image by a real union; what the image shows at the end."""
    lowers: tuple[str, ...] = ()
    for depth, steps in enumerate(layers):
        upper = trial.directory(f"image{number}-layer{depth}")
        tree = union.Union(lowers, upper, user_xattr=True)
        for action, path, *size in steps:
            if action == "write":
                folder = os.path.dirname(path)
                if not tree.exists(folder):
                    tree.mkdir(folder)
                tree.write(path, bytes(size[0] << 10))
            elif tree.exists(path):
                tree.remove(path)
        name, bytes_in = _weigh(upper)
        stored[name] = bytes_in
        lowers = (upper, *lowers)
    empty = trial.directory(f"image{number}-view")
    tree = union.Union(lowers, empty, user_xattr=True)
    return {
        path: len(tree.read(path)) >> 10
        for path in tree.walk()
        if not os.path.isdir(tree.find(path)[0])
    }


def _weigh(upper: str) -> tuple[str, int]:
    """A layer's name, from what is in it, and its bytes of files."""
    lines, total = [], 0
    for folder, _, names in sorted(os.walk(upper)):
        for name in sorted(names):
            path = f"{folder}/{name}"
            size = 0 if union.is_whiteout(path) else os.path.getsize(path)
            lines.append(f"{os.path.relpath(path, upper)} {size} {union.is_whiteout(path)}")
            total += size
    return hashlib.sha256("\n".join(lines).encode()).hexdigest(), total


def _other_files(shown: dict[str, int], wanted: dict[str, int]) -> Outcome:
    more = sorted(set(shown) - set(wanted))
    forgotten = "Each image needs the steps of `common` too."
    hint = "The steps remove something that is still there: leave no step out."
    return not_yet(
        expected=f"an image with {', '.join(sorted(wanted))}",
        observed=", ".join(sorted(shown)) or "an empty one",
        where="the layers of one image",
        hint=hint if more else forgotten,
    )


def _too_much(stored: dict[str, int], size: int, best: int, common: list[Any]) -> Outcome:
    """Too many bytes: because of a removed file that is stored, or of one that is stored twice."""
    twice = size - best == sum(_files(common).values()) << 10
    return not_yet(
        expected=f"{best >> 10} KiB in all layers together",
        observed=f"{size >> 10} KiB in {len(stored)} layers",
        where="how the steps are grouped",
        hint="What both images need is in two different layers, so it is stored twice."
        if twice
        else "A file that a later layer removes is still stored in the layer that wrote it.",
    )


EXERCISE = Exercise(
    id="layers.group",
    notebook="09_layers",
    title="Fewest bytes",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "A layer remembers a whole step sequence: what is written and removed in it is not stored.",
        "A layer is shared only if it is the same, to the byte, in both images.",
        "Each image has two layers: the common steps, and its own.",
    ),
    wrong=(
        Wrong(ONE_EACH, "stored twice"),
        Wrong(STEP_BY_STEP, "still stored in the layer that wrote it"),
        Wrong(FORGOTTEN, "needs the steps of `common` too"),
        Wrong(NOT_REMOVED, "leave no step out"),
    ),
)
