"""The root file system of grading containers: this machine's programs, and the course.

It is a small tree of its own (`/etc` is ours, and says nothing of the machine), into which the
directories of `make`'s list are to be mounted read-only. The exercises are not in it, whichever way
the course is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from labcontainer import capabilities, seccomp_default
from labcontainer.lab import apart

Shown = tuple[str, str]  # a directory of this machine, and where it is shown

COURSE, WORK = "/course", "/submitted"
NOT_TAKEN = ("exercises", "questions", "__pycache__")  # of the course: solutions, guesses' answers

_PLACES = ("dev", "proc", "sys", "tmp", "mnt", "run", "root", "var/tmp", "etc", "empty",
           f"{WORK[1:]}/mycontainer")  # fmt: skip
_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
student:x:1000:1000::/:/bin/sh
nobody:x:65534:65534:nobody:/:/usr/sbin/nologin
"""
_GROUP = "root:x:0:\ntty:x:5:\nstudent:x:1000:\nnogroup:x:65534:\n"
_ETC = {"passwd": _PASSWD, "group": _GROUP, "hostname": "lab\n", "resolv.conf": "",
        "hosts": "127.0.0.1 localhost\n", "nsswitch.conf": "hosts: files\n"}  # fmt: skip
_FROM_HOST = ("ld.so.cache", "alternatives", "services", "protocols")


def make(tree: str) -> list[Shown]:
    """Make the tree; the directories of this machine that are to be shown in it."""
    for name in _PLACES:
        os.makedirs(f"{tree}/{name}")
    for name, text in _ETC.items():
        Path(f"{tree}/etc/{name}").write_text(text)
    for name in _FROM_HOST:
        _copy(f"/etc/{name}", f"{tree}/etc/{name}")
    _copy_course(tree)
    shown: list[Shown] = []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{tree}/{name}")
        elif os.path.isdir(f"/{name}"):
            _show(f"/{name}", tree, shown)
    for path in ("/usr", sys.base_prefix, sys.prefix):
        _show(os.path.realpath(path), tree, shown)
    _show_package(tree, shown)
    _cover_exercises(tree, shown)
    _open_to_all(tree)
    return shown


def write_profile(path: str) -> None:
    """Write Docker's seccomp filter for a container with every capability, and pivot_root in it:
    a lesson is about that, and no such container can do it outside a mount namespace of its own."""
    profile = seccomp_default.default_profile(capabilities.names(capabilities.bounding()))
    profile["syscalls"].append({"names": ["pivot_root"], "action": "SCMP_ACT_ALLOW"})
    Path(path).write_text(json.dumps(profile))
    os.chmod(path, 0o644)


def _copy(source: str, target: str) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True)
    elif os.path.exists(source):
        shutil.copyfile(source, target)


def _copy_course(tree: str) -> None:
    """The package without the exercises; compiled, for nobody can write there later."""
    import compileall

    target = f"{tree}{COURSE}/labcontainer"
    shutil.copytree(f"{apart.COURSE}/labcontainer", target, ignore=_not_taken)
    for part in ("lab", "kernel", "runtime"):
        compileall.compile_dir(f"{target}/{part}", quiet=2)
    compileall.compile_dir(target, maxlevels=0, quiet=2)


def _not_taken(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in NOT_TAKEN]


def _open_to_all(tree: str) -> None:
    """Whatever the umask: the containers' users are not us."""
    for folder, _, names in os.walk(tree):
        os.chmod(folder, 0o755)
        for name in names:
            if not os.path.islink(f"{folder}/{name}"):
                os.chmod(f"{folder}/{name}", 0o644)


def _is_shown(path: str, shown: list[Shown]) -> bool:
    return any(path == target or path.startswith(f"{target}/") for _, target in shown)


def _show(path: str, tree: str, shown: list[Shown]) -> None:
    """Show a directory of this machine at the same place in the tree, unless one above it is."""
    if not _is_shown(path, shown):
        os.makedirs(f"{tree}{path}", exist_ok=True)
        shown.append((path, path))


def _show_package(tree: str, shown: list[Shown]) -> None:
    """The package again, where this Python's `.pth` files look for it, if that is not shown:
    a program that a check starts has no PYTHONPATH of ours."""
    if not _is_shown(apart.COURSE, shown):
        os.makedirs(f"{tree}{apart.COURSE}", exist_ok=True)
        os.symlink(f"{COURSE}/labcontainer", f"{tree}{apart.COURSE}/labcontainer")


def _cover_exercises(tree: str, shown: list[Shown]) -> None:
    """An installed labcontainer has the exercises, too: an empty directory over each of them."""
    for folder in {os.path.realpath(folder) for folder in sys.path if folder}:
        exercises = f"{folder}/labcontainer/lab/exercises"
        if _is_shown(exercises, shown) and os.path.isdir(exercises):
            shown.append((f"{tree}/empty", exercises))
