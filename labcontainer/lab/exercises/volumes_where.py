"""volumes.where: which directory a write in a container really goes to."""

from __future__ import annotations

import os

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def where(mounts: dict[str, str], path: str) -> str:
    """The source of the mount that a path of a container lies on.

    `mounts` maps mount points to sources; "/" is always among them. A mount point covers all that
    is below it, as far as no other one does.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    while path not in mounts:
        path = path.rpartition("/")[0] or "/"
    return mounts[path]
""",
)

PREFIX = HOLE.replace(
    "    ...\n",
    """\
    found = [point for point in mounts if path.startswith(point)]
    return mounts[max(found, key=len)]
""",
)
FIRST = HOLE.replace(
    "    ...\n",
    """\
    for point, source in mounts.items():
        if path == point or path.startswith(point.rstrip("/") + "/"):
            return source
""",
)
ROOT_ONLY = HOLE.replace(
    "    ...\n", '    return mounts.get("/" + path.split("/")[1], mounts["/"])\n'
)


def check(trial: Trial) -> Outcome:
    """Mounts them really, writes a word by each path, and sees in which source it lies."""
    names = ["image", "volume", "inner", "host"]
    sources = {name: trial.directory(f"sources/{name}") for name in names}
    os.makedirs(f"{sources['image']}/data")
    os.makedirs(f"{sources['image']}/database")
    os.makedirs(f"{sources['image']}/srv/www")
    os.makedirs(f"{sources['volume']}/cache/deep")
    root = trial.directory("root")
    mounts = {"/": "image", "/data": "volume", "/data/cache": "inner", "/srv/www": "host"}
    for point, name in mounts.items():
        syscalls.mount(sources[name], root + point, None, MS.BIND)
    os.makedirs(f"{root}/data/cache/deep", exist_ok=True)
    syscalls.mount(None, "/", None, MS.PRIVATE | MS.REC)
    order = sorted(mounts, key=lambda point: trial.token(point))
    for path, hint in (
        ("/etc", "No mount but / holds it."),
        ("/data/note", "/data covers it, and it is longer than /."),
        ("/data/cache/deep/x", "Two mounts are above it: the nearest one counts."),
        ("/data", "The mount point itself is on its mount."),
        ("/database/x", "/database is no part of /data, however alike they look."),
        ("/srv/x", "/srv/www begins below /srv; /srv itself is the image's."),
        ("/srv/www/x", "Mount points may be deep."),
    ):
        wanted = _goes_to(root, path, sources)
        said = trial.attempt("where", {point: mounts[point] for point in order}, path)
        if not said.returned or said.value != wanted:
            return not_yet(
                expected=f"what is written at {path} turns up in {wanted!r}",
                observed=repr(said.value) if said.returned else said.error,
                where="`where`",
                hint=hint,
            )
    return done("seven writes, and each was found where you said")


def _goes_to(root: str, path: str, sources: dict[str, str]) -> str:
    """In which source a new file below a path turns up."""
    folder = root + path if os.path.isdir(root + path) else os.path.dirname(root + path)
    token = f"{folder}/token"
    os.makedirs(folder, exist_ok=True)
    with open(token, "w"):
        pass
    inode = os.stat(token)
    try:
        for name, source in sources.items():
            for top, _, files in os.walk(source):
                if "token" in files and os.path.samestat(os.stat(f"{top}/token"), inode):
                    return name
    finally:
        os.unlink(token)
    raise AssertionError(path)


EXERCISE = Exercise(
    id="volumes.where",
    notebook="15_volumes",
    title="Where does a write go?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    hints=(
        "The longest mount point that is the path itself or a directory above it.",
        "Go up from the path, one directory at a time, until you stand on a mount point.",
        '`path.rpartition("/")[0] or "/"` is one directory up; `/` is always in `mounts`.',
    ),
    wrong=(
        Wrong(PREFIX, "is no part of /data"),
        Wrong(FIRST, "turns up in"),
        Wrong(ROOT_ONLY, "the nearest one counts"),
    ),
)
