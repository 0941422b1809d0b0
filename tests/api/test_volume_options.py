"""Volumes with a file system of their own, by the machine's mount table and the kernel's words."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")


@pytest.fixture(autouse=True)
def no_volumes(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.clean()
    daemon.remove_volumes()
    assert mounted(daemon) == []


def mounted(daemon: Daemon) -> list[str]:
    """The machine's mounts below the daemon's home."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if f"{daemon.home}/" in line]


def create(daemon: Daemon, name: str, **options: str) -> str:
    """Make a volume; where its files are."""
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    daemon.docker("volume", "create", *words, name)
    return daemon.docker("volume", "inspect", "-f", "{{.Mountpoint}}", name)


def sh(daemon: Daemon, script: str, *flags: str) -> str:
    return daemon.docker("run", "--rm", *flags, "busybox", "sh", "-c", script)


def test_memory_that_two_containers_share(daemon: Daemon) -> None:
    path = create(daemon, "mem", type="tmpfs", device="tmpfs", o="size=1m,uid=1000,mode=0750")
    daemon.docker("run", "-d", "--name", "one", "-v", "mem:/d", "busybox", "sleep", "1000")
    daemon.docker("exec", "one", "sh", "-c", "echo given > /d/x")
    said = sh(daemon, "cat /d/x; df -k /d | tail -1; stat -c %u:%a /d; echo back > /d/y",
              "-v", "mem:/d").splitlines()  # fmt: skip
    assert (said[0], said[1].split()[1], said[2]) == ("given", "1024", "1000:750")
    assert daemon.docker("exec", "one", "cat", "/d/y") == "back"
    assert Path(path, "x").read_text() == "given\n"
    assert len(mounted(daemon)) == 1
    assert "volume is in use" in daemon.fails("volume", "rm", "mem")[1]
    daemon.docker("rm", "-f", "one")
    assert mounted(daemon) == []
    assert sh(daemon, "ls /d", "-v", "mem:/d") == ""


def test_another_name_for_a_directory(daemon: Daemon, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "f").write_text("the host's\n")
    create(daemon, "dir", type="none", o="bind", device=str(tmp_path))
    create(daemon, "look", type="none", o="bind,ro", device=str(tmp_path))
    script = "cat /a/f; touch /a/g; touch /b/x 2>&1; true"
    said = sh(daemon, script, "-v", "dir:/a", "-v", "look:/b")
    assert "the host's" in said and "Read-only file system" in said
    assert {one.name for one in tmp_path.iterdir()} == {"f", "g"}
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    daemon.docker("volume", "rm", "dir", "look")
    assert (tmp_path / "f").exists()


def test_a_block_device(daemon: Daemon, tmp_path: Path) -> None:
    """A file system in a file stands for a disk: mount(2) is given the loop device."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", image], check=False, capture_output=True)
    found = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True)
    if made.returncode or found.returncode:
        pytest.skip(f"no loop device here: {found.stderr}")
    device = found.stdout.strip()
    try:
        create(daemon, "disk", type="ext4", device=device, o="noatime")
        sh(daemon, "echo kept > /d/f", "-v", "disk:/d")
        assert mounted(daemon) == []
        assert sh(daemon, "cat /d/f; grep ' /d ' /proc/mounts", "-v", "disk:/d").startswith("kept")
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"type": "none", "o": "bind", "device": "/nosuch/dir"},
         "mount /nosuch/dir:{path}, flags: 0x1000: no such file or directory"),
        ({"type": "nosuchfs", "device": "x"}, "mount x:{path}: no such device"),
        ({"type": "ext4", "device": "/dev/nosuch", "o": "ro,data=journal"},
         "mount /dev/nosuch:{path}, flags: 0x1, data: data=journal: no such file or directory"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "size=x,password=secret"},
         "mount tmpfs:{path}, data: size=x,password=********: invalid argument"),
    ],
)  # fmt: skip
def test_what_the_kernel_refuses(daemon: Daemon, options: dict[str, str], why: str) -> None:
    path = create(daemon, "off", **options)
    words = f"error while mounting volume '{path}': failed to mount local volume: "
    for flags in ("off:/d", "off:/d:nocopy"):
        status, said = daemon.fails("run", "--name", "no", "-v", flags, "busybox", "true")
        assert status in (125, 127)  # the docker command's number for "no such file"
        assert words + why.format(path=path) in said
        daemon.call("docker", "rm", "no")


def test_a_server_is_told_to_the_kernel_by_its_address(daemon: Daemon) -> None:
    path = create(daemon, "net", type="nfs", device=":/x", o="addr=localhost,ro,soft,retry=0")
    said = daemon.fails("run", "--rm", "-v", "net:/d", "busybox", "true")[1]
    assert f"mount :/x:{path}, flags: 0x1, data: addr=127.0.0.1," in said
    create(daemon, "gone", type="cifs", device="//x/y", o="addr=nosuch.invalid,password=secret")
    said = daemon.fails("run", "--rm", "-v", "gone:/d", "busybox", "true")[1]
    assert "error resolving passed in network volume address: lookup nosuch.invalid" in said
    assert "secret" not in said


def test_copying_to_and_from_one_of_a_container_that_does_not_run(
    daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "shown").mkdir()
    create(daemon, "dir", type="none", o="bind", device=str(tmp_path / "shown"))
    daemon.docker("create", "--name", "still", "-v", "dir:/d", "busybox")
    (tmp_path / "f").write_text("copied")
    daemon.docker("cp", str(tmp_path / "f"), "still:/d/f")
    assert (tmp_path / "shown" / "f").read_text() == "copied"
    assert mounted(daemon) == []


def test_the_images_files_come_to_an_empty_one(daemon: Daemon, tmp_path: Path) -> None:
    create(daemon, "dir", type="none", o="bind", device=str(tmp_path))
    assert "passwd" in sh(daemon, "ls /etc", "-v", "dir:/etc")
    assert (tmp_path / "passwd").exists()


def test_nothing_stays_mounted_after_a_kill_or_an_end(daemon: Daemon) -> None:
    create(daemon, "mem", type="tmpfs", device="tmpfs")
    create(daemon, "left", type="tmpfs", device="tmpfs")
    for name, volume in (("one", "mem"), ("two", "left")):
        daemon.docker("run", "-d", "--name", name, "-v", f"{volume}:/d", "busybox", "sh", "-c",
                      "echo kept > /d/x; sleep 1000")  # fmt: skip
    pid = daemon.docker("inspect", "-f", "{{.State.Pid}}", "two")
    daemon.kill()
    subprocess.run(["kill", "-9", pid], check=True)
    assert len(mounted(daemon)) == 2
    daemon.start()
    wait_for(lambda: len(mounted(daemon)) == 1)  # who watched the other may not have ended yet
    assert sh(daemon, "cat /d/x", "-v", "mem:/d") == "kept"
    assert daemon.stop() == 0
    assert mounted(daemon) == []
    daemon.start()
    assert sh(daemon, "ls /d", "-v", "mem:/d") == ""
