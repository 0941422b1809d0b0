"""What the OCI command line may import: an engine starts it several times for each container.

Bare Python takes 7 ms; typing adds 5, dataclasses 14, json 8: docs/decisions/import-budget.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import source

# Cheap: built in, or loaded by every start of Python anyway.
ALLOWED = {
    "__future__", "_ctypes", "_frozen_importlib", "_json", "_signal", "_socket", "errno", "fcntl",
    "marshal", "os", "posix", "resource", "select", "stat", "struct", "sys", "termios", "time",
}  # fmt: skip
# Of the package: the hot path itself.
LADDER = {
    "capabilities", "cgroupfs", "cgroups", "devices", "errors", "hierarchy", "landlock", "limits",
    "mounts", "namespaces", "overlay", "record", "refusals", "resources", "rootfs", "seccomp",
    "seccomp_default", "seccomp_profile", "undo", "usage", "users",
}  # fmt: skip
# Not on the hot path though they lie in one of its rooms: the parent's side of networks, and what
# runs once, at the installation.
ELSEWHERE = {"firewall.py", "netlink.py", "rtnetlink.py", "launcher.py", "archive.py"}
HEAVY = {
    "argparse", "asyncio", "collections", "contextlib", "dataclasses", "datetime", "enum", "json",
    "functools", "logging", "pathlib", "re", "shutil", "socket", "subprocess", "tempfile",
    "threading", "typing",
}  # fmt: skip


def hot(path: Path) -> bool:
    first, *rest = path.relative_to(source.PACKAGE).parts
    if rest:
        return first in ("kernel", "runtime") and rest[0] not in ELSEWHERE
    return path.stem in LADDER


HOT = [path for path in source.files() if hot(path)]


@pytest.mark.parametrize("path", HOT, ids=source.name)
def test_module_level_imports(path: Path) -> None:
    foreign = [
        f"line {line}: {name}"
        for line, name in source.imports(path, at_start=True)
        if name.split(".")[0] not in ALLOWED | {"labcontainer"}
    ]
    assert not foreign


def test_every_ladder_name_is_a_module() -> None:
    assert {name for name in LADDER if not (source.PACKAGE / f"{name}.py").exists()} == set()


def loaded(module: str) -> set[str]:
    """What a fresh interpreter has loaded after importing a module."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(source.ROOT)}
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-c", f"import {module}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))


def test_the_command_line_loads_nothing_heavy() -> None:
    # What Python itself loads at every start is no part of the budget.
    own = loaded("labcontainer.runtime.oci") - loaded("os")
    assert {name.split(".")[0] for name in own} & HEAVY == set()
    assert "labcontainer.runtime.oci" in own
