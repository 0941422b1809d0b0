"""`docker run` with unusual flags at our daemon and at Debian's dockerd: the same end and words."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from tests.engines import test_same_answers
from tests.engines.test_same_answers import Both

pytestmark = pytest.mark.requires("root", "dockerd", "docker", "busybox")

both = test_same_answers.both

STAT = "grep -E '^(CapEff|NoNewPrivs|Seccomp|Cpus_allowed_list):' /proc/self/status"
# Flags, and what runs.
SAME = [
    ("--cap-add NOSUCH", "true"),
    ("--cap-drop ALL --cap-add CHOWN", STAT),
    ("--cgroupns nosuch", "true"),
    ("--cpu-period 5", "true"),
    ("--cpu-quota 5", "true"),
    ("--cpus 100", "true"),
    ("--cpuset-cpus 0", STAT),
    ("--cpuset-cpus 77", "true"),
    ("--cpuset-cpus a", "true"),
    ("--cpuset-mems 5", "true"),
    ("--device /dev/null:/dev/x:r", "ls -l /dev/x | cut -c1-10"),
    ("--device /dev/nosuch", "true"),
    ("--device /etc", "true"),
    ("--device-cgroup-rule x", "true"),
    ("--entrypoint /etc/passwd", ""),
    ("--gpus all", "true"),
    ("--group-add 1234", "id -G"),
    ("--health-cmd true --health-interval 1us", "true"),
    ("--ipc none", "ls /dev/shm"),
    ("--ipc container:nosuch", "true"),
    ("--isolation hyperv", "true"),
    ("--log-driver nosuch", "true"),
    ("--log-opt nosuch=1", "true"),
    ("--memory 1m", "true"),
    ("--memory 100m --memory-swap 50m", "true"),
    ("--memory-swap 50m", "true"),
    ("--memory-reservation 200m --memory 100m", "true"),
    ("--memory-swappiness 200", "true"),
    ("--mount type=bind,src=/nosuch,dst=/x", "true"),
    ("--mount type=nosuch,dst=/x", "true"),
    ("--mount type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=0700", "stat -c %a /x"),
    ("-v /tmp:rel", "true"),
    ("-v a:/x:zz", "true"),
    ("-v /tmp:/x:ro,rw", "true"),
    ("-v /tmp:/", "true"),
    ("--oom-kill-disable", "true"),
    ("--oom-score-adj -1500", "true"),
    ("--oom-score-adj 500", "cat /proc/self/oom_score_adj"),
    ("--pid container:nosuch", "true"),
    ("--read-only", "touch /x"),
    ("--restart nosuch", "true"),
    ("--security-opt nosuch", "true"),
    ("--security-opt no-new-privileges", STAT),
    ("--security-opt seccomp=unconfined", STAT),
    ("--security-opt apparmor=docker-default", "true"),
    ("--shm-size 1k", "df -k /dev/shm | tail -1 | awk '{print $2}'"),
    ("--stop-signal SIGRTMIN+3", "true"),
    ("--storage-opt size=1g", "true"),
    ("--sysctl kernel.msgmax=1000", "cat /proc/sys/kernel/msgmax"),
    ("--sysctl vm.swappiness=1", "true"),
    ("--tmpfs /x:size=1m,mode=0700", "stat -c %a /x; grep ' /x ' /proc/mounts"),
    ("--tmpfs /x:nosuch", "true"),
    ("--tmpfs rel", "true"),
    ("--tmpfs /x -v /tmp:/x", "true"),
    ("--ulimit nofile=20:10", "true"),
    ("--user nosuch", "id"),
    ("--user 1000:2000", "id -u; id -g; id -G"),
    ("--userns nosuch", "true"),
    ("--uts host --hostname x", "true"),
    ("--volumes-from nosuch", "true"),
    ("--workdir rel", "pwd"),
    ("--add-host a:zz", "true"),
    ("--detach-keys zz", "true"),
]


def without_chance(text: str) -> str:
    """What an engine says, but for ids, its own paths and the names of its parts."""
    text = re.sub(r"\b[0-9a-f]{12}\b|\b[0-9a-f]{64}\b", "ID", text)
    text = text.replace("failed to create task for container: ", "")
    text = text.replace("runc create failed: unable to start container process: ", "")
    return text.replace(": unknown\n", "\n")


@pytest.mark.parametrize(("flags", "script"), SAME)
def test_a_run_ends_the_same(both: Both, flags: str, script: str) -> None:
    words = ["run", "--rm", "--network", "none", *flags.split(), "base"]
    words += ["sh", "-c", script] if script else []
    done = [one.call("docker", *words) for one in (both.ours, both.theirs)]
    ours, theirs = (
        (one.returncode, one.stdout.decode(), without_chance(one.stderr.decode())) for one in done
    )
    assert ours == theirs


def test_a_directory_of_devices(both: Both, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("null", "inner/zero"):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, 3 if name == "null" else 5))
    (tmp_path / "plain").touch()
    script = "cd /dev/lab; find . -type c | sort; head -c 3 inner/zero | wc -c; test ! -e plain"
    said = [
        one.docker("run", "--rm", "--network", "none", "--device", f"{tmp_path}:/dev/lab:rw",
                   "base", "sh", "-c", script)
        for one in (both.ours, both.theirs)
    ]  # fmt: skip
    assert said[0] == said[1] == "./inner/zero\n./null\n3"
