"""images.pack: the same files, the same bytes."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import io
import os
import tarfile


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take away what says when, where and by whom a file was made, and not what it is."""
    ...
    return member


def pack(root: str) -> bytes:
    """The files below `root` as a tar archive: the same files give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in os.listdir(root):
            archive.add(f"{root}/{name}", name, filter=plain)
    return out.getvalue()
'''

_PLAIN = """\
    member.mtime = 0
    member.uid = member.gid = 0
    member.uname = member.gname = ""
"""
SOLUTION = HOLE.replace("    ...\n", _PLAIN).replace("os.listdir(root)", "sorted(os.listdir(root))")

NO_SORT = SOLUTION.replace("sorted(os.listdir(root))", "os.listdir(root)")
KEEPS_TIME = SOLUTION.replace("    member.mtime = 0\n", "")
NO_MODE = SOLUTION.replace(_PLAIN, _PLAIN + "    member.mode = 0o644\n")

SCENE = """

def _pack(root, target):
    original, backwards = os.listdir, target.endswith("second")
    os.listdir = lambda path: sorted(original(path), reverse=backwards)
    data = pack(root)
    with open(target, "wb") as file:
        file.write(data)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    trial.directory("out")
    word = trial.token("word")
    files: dict[str, str | bytes | None] = {
        "bin/tool": f"#!/bin/sh\necho {word}\n", "etc/motd": word, "z": ""
    }  # fmt: skip
    archives = {}
    for name, when in (("first", 1_000_000_000), ("second", 1_500_000_000)):
        root = trial.directory(name, files)
        os.chmod(f"{root}/bin/tool", 0o755)
        for folder, _, inside in os.walk(root, topdown=False):
            for path in [*(f"{folder}/{one}" for one in inside), folder]:
                os.utime(path, (when, when))
        trial.call("_pack", root, f"/mnt/out/{name}")
        with open(f"/mnt/out/{name}", "rb") as file:
            archives[name] = file.read()
    return (
        _whole(archives["first"], word)
        or _same(archives)
        or done(
            f"twice the same digest, sha256:{_digits(archives['first'])[:8]}…",
            f"{len(archives['first'])} bytes",
        )
    )


def _digits(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _whole(data: bytes, word: str) -> Outcome | None:
    """Nothing that a file is may be missing."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {one.name: one for one in archive.getmembers()}
        tool = members.get("bin/tool")
        if tool is None or "etc/motd" not in members or "z" not in members:
            return not_yet(
                expected="bin/tool, etc/motd and z in the archive",
                observed=", ".join(sorted(members)) or "an empty archive",
                where="`pack`",
            )
        file = archive.extractfile("etc/motd")
        if file is None or file.read() != word.encode():
            return not_yet(expected="the content of etc/motd", observed="another")
    if tool.mode & 0o777 != 0o755:
        return not_yet(
            expected="bin/tool with mode 755",
            observed=f"mode {tool.mode & 0o777:o}",
            where="`plain`",
            hint="The mode is part of what a file is: without it no program can be started.",
        )
    owners = {(one.uid, one.gid, one.uname, one.gname) for one in members.values()}
    if owners != {(0, 0, "", "")}:
        return not_yet(
            expected="every member owned by 0:0, without names",
            observed=f"{len(owners)} owners, such as uid {max(one[0] for one in owners)}"
            if max(owners)[:2] != (0, 0)
            else "names of users",
            where="`plain`",
            hint="Who packs must not matter: uid, gid, uname, gname.",
        )
    return None


def _same(archives: dict[str, bytes]) -> Outcome | None:
    if len(set(archives.values())) == 1:
        return None
    lists, times = [], []
    for data in archives.values():
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            lists.append([one.name for one in archive])
            times.append({one.mtime for one in archive})
    order = lists[0] != lists[1]
    return not_yet(
        expected="the same bytes for the same files",
        observed="members in another order" if order else "other times",
        where="the loop" if order else "`plain`",
        hint="os.listdir gives names in any order that the file system likes."
        if order
        else "The time of the last change is in each header: mtime.",
    )


EXERCISE = Exercise(
    id="images.pack",
    notebook="10_images",
    title="The same files, the same bytes",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Compare two headers of a file: time, numbers and names of the owner. And the order.",
        "`member.mtime = 0`, `member.uid = member.gid = 0`, and uname and gname empty.",
        "And `sorted(os.listdir(root))` in the loop.",
    ),
    wrong=(
        Wrong(NO_SORT, "in any order that the file system likes"),
        Wrong(KEEPS_TIME, "The time of the last change"),
        Wrong(NO_MODE, "part of what a file is"),
    ),
)
