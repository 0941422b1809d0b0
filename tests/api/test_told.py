"""Small fields that clients show: when an image was tagged, what the engine says of itself."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from labcontainer.engine import moments
from tests.api.plain import ask
from tests.api.world import Daemon

pytestmark = pytest.mark.requires("root", "docker", "busybox")


def shown(daemon: Daemon, path: str) -> Any:
    status, data = ask(daemon, "GET", path)
    assert status == 200, data
    return json.loads(data)


def tagged(daemon: Daemon, name: str) -> float:
    found = shown(daemon, f"/images/{name}/json")["Metadata"]["LastTagTime"]
    return moments.moment(found)


def test_when_an_image_got_its_last_name(daemon: Daemon) -> None:
    daemon.docker("tag", "busybox", "one:1")
    first = tagged(daemon, "busybox")
    assert first > moments.moment(shown(daemon, "/images/busybox/json")["Created"])
    daemon.docker("tag", "busybox", "one:2")
    assert tagged(daemon, "one:1") > first  # it is the image's time, not the name's
    daemon.docker("rmi", "one:1", "one:2")
    daemon.docker("build", "-t", "made", "-", stdin=b"FROM busybox\nENV A=b\n")
    made = tagged(daemon, "made")
    assert made > first
    daemon.kill()
    daemon.start()
    assert tagged(daemon, "made") == made
    daemon.docker("rmi", "made")


def test_what_the_engine_says_of_the_machine(daemon: Daemon) -> None:
    info = shown(daemon, "/info")
    release = platform.freedesktop_os_release()
    assert info["OperatingSystem"] == release.get("PRETTY_NAME", "Linux")
    assert info["OSVersion"] == release.get("VERSION_ID", "")
    assert info["LiveRestoreEnabled"] is False
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    assert info["BridgeNfIptables"] == (setting.exists() and setting.read_text() == "1\n")
    for command in ("docker", "/usr/bin/docker"):
        if Path(command).exists() or command == "docker":
            done = daemon.call(command, "info")
            assert (done.returncode, b"WARNING" in done.stdout + done.stderr) == (0, False)


def test_unset_limits_are_null_as_with_docker(daemon: Daemon) -> None:
    flags = ("--pids-limit", "-1", "--memory-swappiness", "-1", "-v", "named:/n", "-v", "/alone")
    daemon.docker("create", "--name", "plain", *flags, "busybox")
    found = shown(daemon, "/containers/plain/json")
    assert found["HostConfig"]["PidsLimit"] is None
    assert found["HostConfig"]["MemorySwappiness"] is None
    assert {one["Destination"]: one["Mode"] for one in found["Mounts"]} == {"/n": "z", "/alone": ""}
    daemon.clean()
    daemon.remove_volumes()


def test_the_default_bridge_tells_its_options(daemon: Daemon) -> None:
    found = shown(daemon, "/networks/bridge")["Options"]
    assert found["com.docker.network.bridge.default_bridge"] == "true"
    assert found["com.docker.network.bridge.name"] == "lcbr0"


def test_sizes_for_clients_of_an_older_api(daemon: Daemon) -> None:
    assert "VirtualSize" in shown(daemon, "/v1.41/system/df")["Images"][0]
    assert "VirtualSize" not in shown(daemon, "/v1.44/system/df")["Images"][0]


@pytest.mark.parametrize(
    ("flags", "program", "status", "why"),
    [
        ((), "nosuch", 127, "executable file not found in $PATH"),
        ((), "/etc/passwd", 126, "permission denied"),
        (("-u", "nosuch"), "true", 126, "unable to find user nosuch"),
        (("-w", "/nosuch"), "true", 126, "no such file or directory"),
        (("-w", "relative"), "true", 126, "must be absolute"),
    ],
)
def test_how_an_exec_ends_that_could_not_be_started(
    daemon: Daemon, flags: tuple[str, ...], program: str, status: int, why: str
) -> None:
    daemon.docker("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    done = daemon.fails("exec", *flags, "one", program)
    assert done[0] == status
    assert why in done[1]


def test_a_kill_names_the_container_that_does_not_run(daemon: Daemon) -> None:
    identity = daemon.docker("create", "--name", "still", "busybox")
    said = daemon.fails("kill", "still")[1]
    assert f"cannot kill container: still: container {identity} is not running" in said
