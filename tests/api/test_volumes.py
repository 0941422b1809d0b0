"""Volumes, binds and memory by the docker command; what survives, and what does not."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.api import plain, shapes
from tests.api.world import Daemon

pytestmark = pytest.mark.requires("root", "docker", "busybox")

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def no_volumes(daemon: Daemon) -> Any:
    yield
    daemon.clean()
    daemon.remove_volumes()


def sh(daemon: Daemon, script: str, *flags: str) -> str:
    return daemon.docker("run", "--rm", *flags, "busybox", "sh", "-c", script)


def names(daemon: Daemon, *flags: str) -> list[str]:
    return daemon.docker("volume", "ls", "-q", *flags).split()


def test_a_volume_survives_its_containers(daemon: Daemon) -> None:
    sh(daemon, "echo kept > /data/f", "-v", "kept:/data")
    assert sh(daemon, "cat /data/f", "-v", "kept:/data:ro") == "kept"
    where = daemon.docker("volume", "inspect", "-f", "{{.Mountpoint}}", "kept")
    assert Path(where, "f").read_text() == "kept\n"
    assert "Read-only file system" in sh(daemon, "touch /d/x 2>&1 || true", "-v", "kept:/d:ro")


def test_a_volume_in_use_stays(daemon: Daemon) -> None:
    identity = daemon.docker("create", "-v", "used:/data", "busybox")
    assert f"volume is in use - [{identity}]" in daemon.fails("volume", "rm", "used")[1]
    daemon.docker("rm", "-v", identity)
    assert names(daemon) == ["used"]  # it has a name: -v is about those without
    daemon.docker("volume", "rm", "used")
    assert "no such volume" in daemon.fails("volume", "rm", "used")[1].lower()


def test_a_fresh_volume_gets_what_the_image_has_there(daemon: Daemon) -> None:
    assert "busybox" in sh(daemon, "ls /usr/bin", "-v", "filled:/usr/bin")
    assert sh(daemon, "ls /d | grep -c busybox", "-v", "filled:/d") == "1"
    assert sh(daemon, "ls /usr/local", "-v", "bare:/usr/local:nocopy") == ""


def test_volumes_without_a_name_go_with_their_container(daemon: Daemon) -> None:
    sh(daemon, "true", "-v", "/anonymous")
    assert names(daemon) == []
    identity = daemon.docker("run", "-d", "-v", "/anonymous", "busybox", "true")
    (name,) = names(daemon)
    assert len(name) == 64
    daemon.docker("wait", identity)
    daemon.docker("rm", identity)
    assert names(daemon, "--filter", "dangling=true") == [name]
    assert name in daemon.docker("volume", "prune", "-f")


def test_binds(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("the host's\n")
    assert sh(daemon, "cat /h/f", "-v", f"{tmp_path}:/h") == "the host's"
    sh(daemon, "echo from inside > /h/g", "-v", f"{tmp_path}:/h")
    assert (tmp_path / "g").read_text() == "from inside\n"
    assert sh(daemon, "cat /one", "-v", f"{tmp_path}/f:/one:ro") == "the host's"
    sh(daemon, "true", "-v", f"{tmp_path}/made:/h")
    assert (tmp_path / "made").is_dir()
    said = daemon.fails("run", "--mount", f"type=bind,src={tmp_path}/nosuch,dst=/h", "busybox")[1]
    assert f"bind source path does not exist: {tmp_path}/nosuch" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-v", "x:relative"), "mount path must be absolute"),
        (("-v", "/tmp:/"), "destination can't be '/'"),
        (("-v", "/tmp:/a", "-v", "/var:/a"), "Duplicate mount point: /a"),
        (("-v", "a/b:/x"), "includes invalid characters"),
        (("--mount", "type=nosuch,dst=/x"), "mount type unknown"),
        (("--volumes-from", "nosuch"), "No such container"),
    ],
)
def test_mounts_that_can_not_be(daemon: Daemon, flags: tuple[str, ...], words: str) -> None:
    assert words in daemon.fails("create", *flags, "busybox")[1]
    assert daemon.docker("ps", "-aq") == ""


def test_memory(daemon: Daemon) -> None:
    script = "df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /t"
    flags = ("--mount", "type=tmpfs,dst=/t,tmpfs-size=2m,tmpfs-mode=0700")
    assert sh(daemon, script, *flags) == "2048\n700"


def test_memory_that_the_image_has_no_place_for_is_for_everybody(daemon: Daemon) -> None:
    flags = ("--user", "1234", "--read-only", "--tmpfs", "/fresh", "--tmpfs", "/root")
    said = sh(daemon, "touch /fresh/x && ls /fresh; stat -c %a /fresh /root", *flags)
    assert said.split() == ["x", "1777", "700"]  # the image's own directory gives its mode


def test_a_place_behind_a_link_of_the_image(daemon: Daemon) -> None:
    """The link stays: what is mounted appears where it leads, and the image's files are copied."""
    script = "mkdir -p /real/deep && echo x > /real/deep/f && ln -s /real /link"
    daemon.docker("run", "--name", "linked", "busybox", "sh", "-c", script)
    image = daemon.docker("commit", "linked")
    told = daemon.docker("run", "--rm", "-v", "vol:/link/deep", image, "sh", "-c",
                         "readlink /link; cat /real/deep/f; mount | grep -c real/deep")  # fmt: skip
    daemon.docker("rmi", "-f", image)
    assert told.split() == ["/real", "x", "1"]


def test_a_socket_of_the_host(daemon: Daemon, tmp_path: Path) -> None:
    """As for those who give a container the engine's own socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/s")
        mounted = f"{tmp_path}/s:/run/docker.sock"
        assert sh(daemon, "stat -c %F /run/docker.sock", "-v", mounted) == "socket"


def test_a_volume_that_is_a_directory_of_the_host_which_is_gone(daemon: Daemon) -> None:
    daemon.docker("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/no/such",
                  "gone")  # fmt: skip
    _, said = daemon.fails("run", "--rm", "-v", "gone:/x", "busybox", "true")
    assert "failed to mount local volume: mount /no/such" in said
    assert not Path("/no").exists()


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"Name": "v"}, 400, "create v: volume name is too short"),
        ({"Name": "../v"}, 400, "includes invalid characters for a local volume name"),
        ({"Name": "v1", "Driver": "nosuch"}, 404, 'plugin "nosuch" not found'),
        ({"Name": "v1", "DriverOpts": {"x": "1"}}, 400, 'create v1: invalid option: "x"'),
        ({"Name": "v1", "DriverOpts": {"type": "tmpfs"}}, 400, 'missing required option: "device"'),
    ],
)
def test_volumes_that_can_not_be(
    daemon: Daemon, asked: dict[str, Any], status: int, words: str
) -> None:
    told = plain.refused(daemon, "POST", "/volumes/create", json.dumps(asked).encode(), JSON)
    assert told[0] == status
    assert words in told[1]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"Binds": ["v1:rel"]}, "invalid mount path: 'rel' mount path must be absolute"),
        ({"Binds": ["v1:/x:zz"]}, "invalid mode: zz"),
        ({"Binds": ["/a:/b:ro:x"]}, "invalid volume specification: '/a:/b:ro:x'"),
        ({"Mounts": [{"Type": "zz", "Target": "/x"}]}, 'for type "zz": mount type unknown'),
        ({"Mounts": [{"Type": "bind", "Target": "/x"}]}, "field Source must not be empty"),
        ({"Mounts": [{"Type": "volume", "Target": ""}]}, "field Target must not be empty"),
        ({"Mounts": [{"Type": "tmpfs", "Target": "/x", "BindOptions": {"NonRecursive": True}}]},
         "field BindOptions must not be specified"),
        ({"Tmpfs": {"rel": ""}}, "mount path must be absolute"),
        ({"VolumesFrom": ["x:zz"]}, "invalid mode: zz"),
    ],
)  # fmt: skip
def test_words_of_mounts_that_can_not_be(daemon: Daemon, host: dict[str, Any], words: str) -> None:
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": host}
    told = plain.refused(daemon, "POST", "/containers/create", json.dumps(body).encode(), JSON)
    assert told[0] == 400
    assert words in told[1]


def test_volumes_of_another_container(daemon: Daemon) -> None:
    daemon.docker("create", "--name", "holder", "-v", "shared:/data", "-v", "/own", "busybox")
    sh(daemon, "echo x > /data/f", "--volumes-from", "holder")
    assert sh(
        daemon, "cat /data/f; touch /data/g 2>&1 || true", "--volumes-from", "holder:ro"
    ).startswith("x")
    found = json.loads(daemon.docker("inspect", "-f", "{{json .Mounts}}", "holder"))
    assert {(one["Type"], one["Destination"]) for one in found} == {
        ("volume", "/data"),
        ("volume", "/own"),
    }


def test_options_labels_filters(daemon: Daemon, tmp_path: Path) -> None:
    daemon.docker("volume", "create", "--label", "a=b", "-o", "type=none", "-o", "o=bind", "-o",
                  f"device={tmp_path}", "bound")  # fmt: skip
    sh(daemon, "echo x > /d/f", "-v", "bound:/d")
    assert (tmp_path / "f").read_text() == "x\n"
    daemon.docker(
        "volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "mem"
    )
    assert "1024" in sh(daemon, "df -k /d", "-v", "mem:/d")
    assert names(daemon, "--filter", "label=a=b") == ["bound"]
    assert names(daemon, "--filter", "name=mem") == ["mem"]
    assert "plugin" in daemon.fails("volume", "create", "-d", "nosuch", "v1")[1]
    assert "too short" in daemon.fails("volume", "create", "a")[1]


def test_copying_into_a_volume_of_a_stopped_container(daemon: Daemon, tmp_path: Path) -> None:
    daemon.docker("create", "--name", "still", "-v", "cold:/data", "busybox")
    (tmp_path / "f").write_text("copied")
    daemon.docker("cp", str(tmp_path / "f"), "still:/data/")
    assert sh(daemon, "cat /d/f", "-v", "cold:/d") == "copied"
    daemon.docker("create", "--name", "closed", "-v", "cold:/data:ro", "busybox")
    assert "read-only" in daemon.fails("cp", str(tmp_path / "f"), "closed:/data/")[1]


def test_backup_and_restore(daemon: Daemon) -> None:
    sh(daemon, "mkdir /d/sub; echo 1 > /d/sub/f; chown 5:6 /d/sub/f", "-v", "source:/d")
    archive = daemon.call(
        "docker", "run", "--rm", "-v", "source:/d:ro", "busybox", "tar", "c", "-C", "/d", "."
    )
    assert archive.returncode == 0
    daemon.docker(
        "run",
        "--rm",
        "-i",
        "-v",
        "target:/d",
        "busybox",
        "tar",
        "x",
        "-C",
        "/d",
        stdin=archive.stdout,
    )
    assert sh(daemon, "cat /d/sub/f; stat -c %u:%g /d/sub/f", "-v", "target:/d") == "1\n5:6"


def test_disk_usage(daemon: Daemon) -> None:
    sh(daemon, "head -c 100000 /dev/urandom > /d/f", "-v", "big:/d")
    found = daemon.docker("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}")
    assert "Local Volumes 1 100kB" in found
    assert os.path.isdir(daemon.docker("volume", "inspect", "-f", "{{.Mountpoint}}", "big"))


def test_kinds_of_mounts_and_what_a_prune_tells(daemon: Daemon) -> None:
    daemon.docker("create", "--name", "one", "-v", "own:/a", "-v", "/b", "-v", "/tmp:/c", "busybox")
    mounts = json.loads(plain.ask(daemon, "GET", "/containers/one/json")[1])["Mounts"]
    assert [one["Type"] for one in mounts] == ["volume", "volume", "bind"]
    daemon.docker("rm", "one")
    pruned = json.loads(plain.ask(daemon, "POST", "/volumes/prune")[1])
    shapes.check(pruned, shapes.VOLUMES_PRUNED)
    assert pruned["VolumesDeleted"] == [mounts[1]["Name"]]
