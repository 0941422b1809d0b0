"""Base root file systems in use: their programs run in a root of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labcontainer.image import hostbase

pytestmark = pytest.mark.requires("root")


def inside(root: Path, *words: str) -> str:
    """What a program prints with `root` as its root directory."""
    return subprocess.run(
        ["chroot", root, *words], capture_output=True, text=True, check=True
    ).stdout


def test_programs_with_their_closure_run(tmp_path: Path) -> None:
    root = tmp_path / "root"
    hostbase.build(hostbase.recipe("mine", ("bash", "ls", "id")), str(root))
    assert inside(root, "/bin/bash", "-c", "ls /etc/passwd; id -un") == "/etc/passwd\nroot\n"


@pytest.mark.requires("busybox")
def test_busybox_has_its_commands(tmp_path: Path) -> None:
    root = tmp_path / "root"
    hostbase.build(hostbase.recipe("busybox"), str(root))
    assert inside(root, "/bin/sh", "-c", "echo a b | awk '{print $2}'") == "b\n"


@pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="no system Python here")
def test_python_imports_its_standard_library(tmp_path: Path) -> None:
    root = tmp_path / "root"
    hostbase.build(hostbase.recipe("python", ("sh",), python=True), str(root))
    code = "import ssl, sqlite3, ctypes, json, asyncio, lzma; print('all')"
    assert inside(root, "/usr/bin/python3", "-c", code) == "all\n"
