"""The clean-machine check itself: it sees what it is for."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests import machine
from tests.system.lab_home import eventually


def test_sees_a_process_of_the_run_and_its_orphans() -> None:
    before = machine.look()
    leave = ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"]
    orphan = int(subprocess.run(leave, stdout=subprocess.PIPE, check=True).stdout)
    try:
        # It lets go of the pipe before it calls execve: until then it has its shell's words.
        left = [f"  + process {orphan}: sleep 60"]
        assert eventually(lambda: machine.difference(before, machine.look(), ["processes"]) == left)
    finally:
        os.kill(orphan, 9)


def test_strangers_are_not_blamed() -> None:
    before = machine.look()
    with subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]}) as stranger:
        try:
            assert machine.difference(before, machine.look(), ["processes"]) == []
        finally:
            stranger.kill()


def test_sees_a_descriptor_of_a_namespace() -> None:
    before = machine.look()
    fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
    try:
        left = machine.difference(before, machine.look(), ["descriptors"])
        assert len(left) == 1 and f"descriptor {fd} -> uts:[" in left[0]
    finally:
        os.close(fd)


def test_sees_a_file_of_ours() -> None:
    with tempfile.TemporaryDirectory(prefix="lc-left-", dir="/tmp") as folder:
        Path(folder, "state.json").touch()
        Path(folder, "network.lock").touch()  # a lock file may stay: removing it would be a race
        seen = {line for line in machine.files() if line.startswith(folder)}  # others run here too
        assert seen == {folder, f"{folder}/state.json"}


def test_difference_tells_what_came_and_what_went() -> None:
    before = {"settings": {"net/ipv4/ip_forward = 0"}}
    after = {"settings": {"net/ipv4/ip_forward = 1"}}
    assert machine.difference(before, after, ["settings"]) == [
        "  + net/ipv4/ip_forward = 1",
        "  - net/ipv4/ip_forward = 0",
    ]
