"""What an ordinary user's containers share: /dev/shm, and volumes with their own file system."""

from __future__ import annotations

from pathlib import Path

from tests.api import test_rootless, test_shared_memory
from tests.api.world import Daemon

pytestmark = test_rootless.pytestmark

running = test_rootless.running
test_shared_memory_of_a_size = test_shared_memory.test_it_is_memory_of_that_size_and_both_see_it
test_shared_memory_begins_anew = test_shared_memory.test_it_begins_anew_with_its_container


def sh(daemon: Daemon, script: str) -> str:
    return daemon.docker("run", "--rm", "-v", "mem:/d", "busybox", "sh", "-c", script)


def test_memory_that_two_containers_share(daemon: Daemon) -> None:
    words = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m")
    daemon.docker("volume", "create", *words, "mem")
    daemon.docker("run", "-d", "--name", "one", "-v", "mem:/d", "busybox", "sleep", "1000")
    daemon.docker("exec", "one", "sh", "-c", "echo given > /d/x")
    said = sh(daemon, "cat /d/x; df -k /d | tail -1; echo back > /d/y").splitlines()
    assert (said[0], said[1].split()[1]) == ("given", "1024")
    assert daemon.docker("exec", "one", "cat", "/d/y") == "back"
    assert str(daemon.home) not in Path("/proc/self/mountinfo").read_text()  # it is not root's
    daemon.kill()
    daemon.start()
    assert sh(daemon, "cat /d/x") == "given"
    daemon.docker("rm", "-f", "one")
    assert sh(daemon, "ls /d") == ""
    daemon.docker("volume", "rm", "mem")
