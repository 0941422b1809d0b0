"""COPY and ADD: which files land where, and what they are by digest.

Names, kinds, modes, owners and contents count for the digest, times do not.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import stat
import time
from collections.abc import Callable, Iterator

from labcontainer import errors
from labcontainer.build.digests import Digests
from labcontainer.build.ignore import Ignore
from labcontainer.build.sources import Files, Member
from labcontainer.build.tree import Tree
from labcontainer.record import Record


def made(mode: int = stat.S_IFDIR | 0o755) -> os.stat_result:
    """What stat(2) would say of a file that is not there yet: root's, made now."""
    facts = {"st_mtime_ns": time.time_ns(), "st_rdev": 0, "st_nlink": 1, "st_size": 0}
    return os.stat_result((mode, *(0,) * 9), facts)


class Target(Record):
    """Where files go: a resolved path, and whether the words say that it is a directory.

    `owner` and `mode` are None where the files keep their own.
    """

    path: str
    directory: bool
    owner: tuple[int, int] | None = (0, 0)
    mode: Callable[[os.stat_result], int] | None = None


def target_of(word: str, workdir: str, tree: Tree | None) -> Target:
    """The destination of a COPY; without `tree` (--link) links on the way are not followed."""
    whole = posixpath.join(workdir or "/", word)
    says = word.endswith("/") or word.rpartition("/")[2] in (".", "..", "")
    if tree is None:
        return Target(posixpath.normpath(whole).strip("/").removeprefix("."), says)
    path = tree.resolve(whole)
    return Target(path, says or tree.is_directory(path))


# --- which files ----------------------------------------------------------------------------------


def members(
    files: Files, source: str, target: Target, exclude: Ignore, *, parents: bool = False
) -> Iterator[Member]:
    """The files that one source brings, with their paths in the image."""
    for path in files.named(source):
        above = _parents(source, path) if parents else ""
        name = posixpath.basename(path)  # of a link that was named: its own, not its target's
        resolved = files.tree.resolve(path)
        real = files.tree.find(resolved)[0]
        about = os.lstat(real)
        place = _join(target.path, above)
        if stat.S_ISDIR(about.st_mode):
            top = _join(place, name) if parents else place
            yield Member(top, real, about)
            for inner, below, found in files.below(resolved, exclude):
                yield Member(_join(top, inner), below, found)
        elif not exclude.excludes(name):
            yield Member(_join(place, name) if target.directory or above else place, real, about)


def _parents(source: str, path: str) -> str:
    """What --parents keeps of a source's own directories: those after `/./`, else all."""
    _, pivot, kept = source.rpartition("/./")
    folder = posixpath.dirname(path)
    if not pivot:
        return folder
    depth = len([part for part in kept.split("/") if part]) - 1
    return "/".join(folder.split("/")[len(folder.split("/")) - depth :]) if depth > 0 else ""


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def with_parents(found: list[Member], tree: Tree | None) -> list[Member]:
    """The members with the directories above them, each once.

    A layer says whose each directory on the way is: without that, unpacking it would make them
    anew, as root's, over what the image has there. Those that the image has stay what they are.

    Raises:
        LabError: a file would have to be a directory, or the other way round.
    """
    known: dict[str, Member] = {}
    for member in found:
        for parent in _above(member.path):
            if parent not in known:
                known[parent] = _directory(parent, tree)
        _check_kind(member, tree)
        there = tree is not None and _is_there(member, tree)
        known[member.path] = _directory(member.path, tree) if there else member
    return list(known.values())


def _above(path: str) -> list[str]:
    """The directories on the way to a path, the top one first."""
    return [path[:at] for at, letter in enumerate(path) if letter == "/"]


def _directory(path: str, tree: Tree | None) -> Member:
    """A directory as the image has it, or a new one."""
    about = tree.lstat(path) if tree else None
    if tree is None or about is None:
        return Member(path, "", made())
    if not stat.S_ISDIR(about.st_mode):
        raise errors.LabError(f"cannot copy to non-directory: /{path}")
    return Member(path, tree.find(path)[0], about, keeps=True)


def _is_there(member: Member, tree: Tree) -> bool:
    """A directory that the image has keeps what it is."""
    return stat.S_ISDIR(member.about.st_mode) and tree.is_directory(member.path)


def _check_kind(member: Member, tree: Tree | None) -> None:
    is_directory = stat.S_ISDIR(member.about.st_mode)
    if not member.path and not is_directory:
        raise errors.LabError("cannot copy a file over the root directory")
    there = tree.lstat(member.path) if tree else None
    if there is None:
        return
    if stat.S_ISDIR(there.st_mode) and not is_directory:
        raise errors.LabError(f"cannot copy a file over the directory /{member.path}")
    if not is_directory or stat.S_ISDIR(there.st_mode) or stat.S_ISLNK(there.st_mode):
        return
    raise errors.LabError(f"cannot copy to non-directory: /{member.path}")


# --- their digest ---------------------------------------------------------------------------------


def digest(found: list[Member], target: Target, digests: Digests) -> str:
    """One digest of all members as they will be in the image."""
    whole = hashlib.sha256()
    for member in found:
        line = [member.path, *described(member, target), _content(member, digests)]
        whole.update(json.dumps(line).encode() + b"\n")
    return whole.hexdigest()


def described(member: Member, target: Target) -> list[int]:
    about = member.about
    if member.keeps:
        target = Target(target.path, target.directory, owner=None)
    mode = target.mode(about) if target.mode else stat.S_IMODE(about.st_mode)
    uid, gid = target.owner or (about.st_uid, about.st_gid)
    if stat.S_ISLNK(about.st_mode):
        mode = 0o777
    return [stat.S_IFMT(about.st_mode), mode, uid, gid, about.st_rdev]


def _content(member: Member, digests: Digests) -> str:
    if member.data is not None:
        return hashlib.sha256(member.data).hexdigest()
    if stat.S_ISREG(member.about.st_mode):
        return digests.of(member.real, member.about)
    return os.readlink(member.real) if stat.S_ISLNK(member.about.st_mode) else ""


# --- modes ----------------------------------------------------------------------------------------


def mode_of(text: str) -> Callable[[os.stat_result], int] | None:
    """What `--chmod` makes of a file's mode: octal digits, or `u=rwX,go+r`; None for "".

    Raises:
        UsageError: it is neither.
    """
    if not text:
        return None
    if re.fullmatch(r"0*[0-7]{1,4}", text):
        mode = int(text, 8)
        return lambda _about: mode
    clauses = [re.fullmatch(r"([ugoa]*)([-+=])([rwxXst]*)", one) for one in text.split(",")]
    if not all(clauses):
        raise errors.UsageError(
            f"invalid chmod parameter: {text!r}: it is octal (0-07777) or u=rwX,go=rX"
        )

    def changed(about: os.stat_result) -> int:
        mode = stat.S_IMODE(about.st_mode)
        for one in clauses:
            assert one is not None
            mode = _change(mode, stat.S_ISDIR(about.st_mode), *one.groups())
        return mode

    return changed


def _change(mode: int, directory: bool, who: str, operator: str, letters: str) -> int:
    """One clause of a symbolic mode: chmod(1)."""
    execute = directory or mode & 0o111
    bits = 0
    for letter in letters:
        bits |= {"r": 0o444, "w": 0o222, "x": 0o111, "t": 0o1000, "s": 0o6000}.get(letter, 0)
        bits |= 0o111 if letter == "X" and execute else 0
    mask = 0o7777
    if who and "a" not in who:
        mask = sum({"u": 0o4700, "g": 0o2070, "o": 0o1007}[one] for one in set(who))
    if operator == "+":
        return mode | (bits & mask)
    if operator == "-":
        return mode & ~(bits & mask)
    return (mode & ~(mask & 0o777)) | (bits & mask)
