"""images.put: keep content under the name that it has by itself, its digest."""

from __future__ import annotations

import hashlib
import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import hashlib
import os


def put(store: str, data: bytes) -> str:
    """Keep `data` as store/blobs/sha256/<64 digits>; returns its digest, "sha256:<64 digits>".

    Whoever looks sees all of it or nothing, even when the disk is full in the middle.
    """
    digits = ...
    folder = f"{store}/blobs/sha256"
    os.makedirs(folder, exist_ok=True)
    ...
    return f"sha256:{digits}"
'''

_WRITE = """\
    with open(f"{folder}/.part-{os.getpid()}", "wb") as file:
        file.write(data)
    os.rename(file.name, f"{folder}/{digits}")
"""
SOLUTION = HOLE.replace("= ...", "= hashlib.sha256(data).hexdigest()").replace("    ...\n", _WRITE)

IN_PLACE = SOLUTION.replace(
    _WRITE, '    with open(f"{folder}/{digits}", "wb") as file:\n        file.write(data)\n'
)
OTHER_HASH = SOLUTION.replace("hashlib.sha256(", "hashlib.md5(")
ONLY_PART = SOLUTION.replace('    os.rename(file.name, f"{folder}/{digits}")\n', "")
OWN_HASH = SOLUTION.replace("hashlib.sha256(data).hexdigest()", 'f"{hash(data) % 2**256:064x}"')

SCENE = """

def _put(store, text, limit):
    import resource
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return put(store, text.encode())
"""
BIG, ROOM = 200_000, 4096


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    store, text = trial.directory("store"), trial.secret() + "\n"
    digits = hashlib.sha256(text.encode()).hexdigest()
    for _ in range(2):  # the same content again is the same blob
        digest = trial.call("_put", store, text, 0)
        if digest != f"sha256:{digits}":
            return not_yet(
                expected=f"the digest sha256:{digits[:12]}…",
                observed=str(digest)[:20] + "…",
                where="`digits`",
                hint="The digest is computed from the content alone: hashlib.sha256 of the bytes.",
            )
        wrong = _stored(store, digits, text)
        if wrong:
            return wrong
    return _full(trial, store)


def _stored(store: str, digits: str, text: str) -> Outcome | None:
    """What lies in the store, seen from outside."""
    folder = f"{store}/blobs/sha256"
    names = os.listdir(folder)
    if digits not in names:
        return not_yet(
            expected=f"a file blobs/sha256/{digits[:12]}…",
            observed=", ".join(name[:20] for name in names) or "an empty folder",
            where="after writing",
            hint="Written it is; who gives it its name? os.rename.",
        )
    with open(f"{folder}/{digits}") as file:
        if file.read() == text and len(names) == 1:
            return None
    return not_yet(
        expected="one file with the content, and nothing else",
        observed=f"{len(names)} files",
        where="what you write",
        hint="Write the bytes as they came, and leave nothing beside the blob.",
    )


def _full(trial: Trial, store: str) -> Outcome:
    """The kernel refuses to write more: as on a full disk."""
    text = trial.secret() * (BIG // 16)
    digits = hashlib.sha256(text.encode()).hexdigest()
    trial.attempt("_put", store, text, ROOM)
    path = f"{store}/blobs/sha256/{digits}"
    if os.path.exists(path):
        return not_yet(
            expected=f"no blob when only {ROOM} of {BIG} bytes can be written",
            observed=f"a blob of {os.path.getsize(path)} bytes under the whole one's name",
            where="the name that you open for writing",
            hint="Write under another name first; a rename shows the whole file or nothing.",
        )
    return done("kept under its digest; half a blob is never seen")


EXERCISE = Exercise(
    id="images.put",
    notebook="10_images",
    title="A name that is the content",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "`hashlib.sha256(data).hexdigest()` are the 64 digits.",
        "Write to another name in the same folder. Then?",
        '`os.rename(part, f"{folder}/{digits}")`: the kernel does it in one step.',
    ),
    wrong=(
        Wrong(IN_PLACE, "a rename shows the whole file or nothing"),
        Wrong(OTHER_HASH, "computed from the content alone"),
        Wrong(OWN_HASH, "computed from the content alone"),
        Wrong(ONLY_PART, "who gives it its name"),
    ),
)
