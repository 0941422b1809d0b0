"""The clean-machine check sees mounts, links and rules; in namespaces that nobody misses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE
from tests import machine
from tests.system import forked

pytestmark = pytest.mark.requires("root")
APART = int(CLONE.NEWNS | CLONE.NEWNET)


def left_by(*kinds: str, mount: str = "", command: tuple[str, ...] = ()) -> list[str]:
    before = machine.look()
    if mount:
        syscalls.mount("tmpfs", mount, "tmpfs")
    if command:
        subprocess.run(command, check=True)
    return machine.difference(before, machine.look(), kinds)


def test_sees_a_mount(tmp_path: Path) -> None:
    left = forked.call(lambda: left_by("mounts", mount=str(tmp_path)), flags=APART)
    assert left == [f"  + tmpfs on {tmp_path} (/)"]


def test_sees_a_link() -> None:
    command = ("ip", "link", "add", "lcleft0", "type", "bridge")
    left = forked.call(lambda: left_by("links", command=command), flags=APART)
    assert left == ["  + link lcleft0"]


@pytest.mark.requires("nft")
def test_sees_a_table() -> None:
    command = ("nft", "add", "table", "inet", "labcontainer_left")
    left = forked.call(lambda: left_by("rules", command=command), flags=APART)
    assert "  + nft: table inet labcontainer_left {" in left
