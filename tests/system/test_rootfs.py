"""A whole root file system made by the kernel's calls, looked at from outside through /proc/PID."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from labcontainer import rootfs
from labcontainer.errors import SpecError
from labcontainer.kernel import confined, syscalls
from labcontainer.kernel import mounts as kernel_mounts
from labcontainer.kernel.flags import CLONE, MNT, MS
from labcontainer.rootfs import Device, Mount, Rootfs, parse_mount_options
from tests.system import forked

ISOLATED = CLONE.NEWNS | CLONE.NEWPID | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWNET | CLONE.NEWCGROUP
PROC = Mount("/proc", "proc", "proc", int(MS.NOSUID | MS.NODEV | MS.NOEXEC))
DEV = Mount("/dev", "tmpfs", "tmpfs", int(MS.NOSUID), "mode=755")

root_only = pytest.mark.requires("root")


@pytest.fixture
def image(tmp_path: Path) -> str:
    """A small root: a token that tells it from the host's, and nothing else."""
    for name in ("etc", "proc", "dev", "sys", "tmp"):
        (tmp_path / "image" / name).mkdir(parents=True)
    (tmp_path / "image" / "token").write_text("inside")
    (tmp_path / "image" / "tmp").chmod(0o1777)
    (tmp_path / "image").chmod(0o755)
    forked.open_to_all(tmp_path)
    return str(tmp_path / "image")


def build(spec: Rootfs) -> None:
    rootfs.prepare(spec)
    rootfs.mount_all(spec)
    rootfs.make_devices(spec)
    rootfs.pivot_root()
    rootfs.finish(spec)


@pytest.fixture(params=["new calls", "mount(2)"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As on this kernel, and as on one before openat2 and mount_setattr."""
    new = request.param == "new calls"
    monkeypatch.setattr(kernel_mounts._Kernel, "has_mount_setattr", None if new else False)
    monkeypatch.setattr(confined._Kernel, "has_openat2", new)
    return str(request.param)


# --- the default container -----------------------------------------------------------------------


@root_only
def test_the_default_mounts(image: str, kernel: str) -> None:
    with forked.held(build, Rootfs(image, readonly=True), flags=ISOLATED) as process:
        mounts = process.mounts()
        assert os.readlink(f"/proc/{process.pid}/root") == "/"
        assert Path(process.path("/token")).read_text() == "inside"
        expected = {
            "/": ("", "ro"),
            "/proc": ("proc", "rw,nosuid,nodev,noexec"),
            "/dev": ("tmpfs", "rw,nosuid"),
            "/dev/pts": ("devpts", "rw,nosuid,noexec"),
            "/dev/shm": ("tmpfs", "rw,nosuid,nodev,noexec"),
            "/dev/mqueue": ("mqueue", "rw,nosuid,nodev,noexec"),
            "/sys": ("sysfs", "ro,nosuid,nodev,noexec"),
            "/proc/sys": ("proc", "ro,nosuid,nodev,noexec"),
        }
        for target, (fstype, options) in expected.items():
            found = mounts[target]
            assert fstype in ("", found["fstype"]), target
            assert set(options.split(",")) <= set(found["options"].split(",")), target
        assert "ro" in mounts["/sys/fs/cgroup"]["options"].split(",")
        assert set(os.listdir(process.path("/"))) == {
            *("dev", "etc", "proc", "sys", "tmp", "token")
        }


@root_only
def test_the_old_root_is_gone(image: str) -> None:
    with forked.held(build, Rootfs(image), flags=ISOLATED) as process:
        host = os.stat("/")
        inside = {entry["device"] for entry in process.mounts().values() if entry["root"] == "/"}
        if f"{os.major(host.st_dev)}:{os.minor(host.st_dev)}" in inside:
            pytest.fail("the host's root is still mounted in the container")
        for climb in ("/..", "/../../..", "/proc/1/root/..", "/proc/1/cwd/.."):
            assert Path(process.path(climb)).joinpath("token").read_text() == "inside"


@root_only
def test_masked_paths(image: str, kernel: str) -> None:
    with forked.held(build, Rootfs(image), flags=ISOLATED) as process:
        covered = 0
        for path in rootfs.MASKED_PATHS:
            seen = process.path(path)
            if not os.path.exists(path):
                continue
            covered += 1
            if os.path.isdir(seen):
                assert os.listdir(seen) == [] and os.statvfs(seen).f_flag & os.ST_RDONLY
            else:
                about = os.stat(seen)
                assert stat.S_ISCHR(about.st_mode) and about.st_rdev == os.makedev(1, 3)
        assert covered >= 2


@root_only
def test_only_one_empty_directory_covers_all(image: str) -> None:
    paths = [path for path in rootfs.MASKED_PATHS if os.path.isdir(path)]
    if len(paths) < 2:
        paths = ["/proc/fs", "/proc/bus"]
    with forked.held(build, Rootfs(image, masked=tuple(paths)), flags=ISOLATED) as process:
        assert len({process.mounts()[path]["device"] for path in paths}) == 1


@root_only
def test_default_devices(image: str) -> None:
    fuse = Device("/dev/net/fuse", "c", 10, 229, 0o640, 3, 4)
    pipe = Device("/dev/pipe", "p", mode=0o600)
    devices = (*rootfs.DEFAULT_DEVICES, fuse, pipe)
    with forked.held(build, Rootfs(image, devices=devices), flags=ISOLATED) as process:
        for device in devices[:-1]:
            about = os.stat(process.path(device.path))
            assert stat.S_IMODE(about.st_mode) == device.mode, device
            assert about.st_rdev == os.makedev(device.major, device.minor), device
            assert (about.st_uid, about.st_gid) == (device.uid, device.gid), device
        assert stat.S_ISFIFO(os.stat(process.path("/dev/pipe")).st_mode)
        assert os.readlink(process.path("/dev/fd")) == "/proc/self/fd"
        assert os.readlink(process.path("/dev/ptmx")) == "pts/ptmx"


@root_only
def test_nothing_reaches_the_host(image: str) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    for propagation in (0, MS.PRIVATE | MS.REC, MS.SHARED | MS.REC):
        spec = Rootfs(image, propagation=int(propagation))
        with forked.held(build, spec, flags=ISOLATED):
            assert Path("/proc/self/mountinfo").read_text() == before


@root_only
@pytest.mark.parametrize(
    ("propagation", "word"),
    [(MS.SHARED, "shared:"), (MS.PRIVATE, ""), (MS.UNBINDABLE, "unbindable")],
)
def test_root_propagation(image: str, propagation: int, word: str) -> None:
    spec = Rootfs(image, propagation=int(propagation))
    with forked.held(build, spec, flags=ISOLATED) as process:
        assert word in process.mounts()["/"]["shared"]
        assert word or not process.mounts()["/"]["shared"]


@root_only
def test_a_read_only_dev_still_gets_its_nodes(image: str, kernel: str) -> None:
    dev = DEV.replace(flags=int(MS.NOSUID | MS.RDONLY))
    spec = Rootfs(image, mounts=(PROC, dev, Mount("/dev/shm", "tmpfs", data="mode=1777")))
    with forked.held(build, spec, flags=ISOLATED) as process:
        options = process.mounts()["/dev"]["options"].split(",")
        assert "ro" in options and "nosuid" in options
        assert stat.S_ISCHR(os.stat(process.path("/dev/null")).st_mode)
        assert "rw" in process.mounts()["/dev/shm"]["options"]


# --- as an ordinary user -------------------------------------------------------------------------


@pytest.mark.requires("root", "userns")
def test_the_same_as_uid_1000_in_a_user_namespace(image: str, kernel: str) -> None:
    spec = Rootfs(image, readonly=True)
    flags = ISOLATED | CLONE.NEWUSER
    os.chown(image, 1000, 1000)
    for name in os.listdir(image):
        os.chown(os.path.join(image, name), 1000, 1000)
    with forked.held(build, spec, flags=flags, uid=1000) as process:
        mounts = process.mounts()
        assert (
            mounts["/dev/pts"]["fstype"] == "devpts" and "gid=5" not in mounts["/dev/pts"]["super"]
        )
        about = os.stat(process.path("/dev/null"))
        assert about.st_rdev == os.makedev(1, 3) and "/dev/null" in mounts
        assert "ro" in mounts["/"]["options"].split(",")
        assert "1000" in process.read("uid_map").split()


@pytest.mark.requires("root", "userns")
def test_without_a_network_namespace_sysfs_is_the_hosts(image: str, kernel: str) -> None:
    flags = (ISOLATED & ~CLONE.NEWNET) | CLONE.NEWUSER
    sys = Mount("/sys", "sysfs", "sysfs", int(MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC))
    spec = Rootfs(image, mounts=(PROC, DEV, sys))
    os.chown(image, 1000, 1000)
    with forked.held(build, spec, flags=flags, uid=1000) as process:
        assert process.mounts()["/sys"]["fstype"] == "sysfs"
        assert "ro" in process.mounts()["/sys"]["options"].split(",")


# --- hostile images ------------------------------------------------------------------------------


@root_only
@pytest.mark.parametrize("fstype", ["proc", "sysfs"])
def test_a_link_in_the_place_of_proc_or_sys_is_refused(image: str, fstype: str) -> None:
    place = "/proc" if fstype == "proc" else "/sys"
    os.rmdir(image + place)
    os.symlink("/tmp", image + place)
    spec = Rootfs(image, mounts=(Mount(place, fstype, fstype),))
    with pytest.raises(SpecError, match="must go on an ordinary directory"):
        forked.call(build, spec, flags=ISOLATED)


@root_only
@pytest.mark.parametrize("link", ["/etc/../../../../../../etc", "../../../../../../../etc", "/etc"])
def test_a_target_link_stays_inside(image: str, kernel: str, link: str, tmp_path: Path) -> None:
    """CVE-2021-30465: the target of a mount leads to the host."""
    os.symlink(link, image + "/data")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "mine").touch()
    bind = Mount("/data", "bind", str(tmp_path / "volume"), int(MS.BIND))
    with forked.held(build, Rootfs(image, mounts=(PROC, DEV, bind)), flags=ISOLATED) as process:
        assert "/etc" in process.mounts()
        assert os.listdir(process.path("/etc")) == ["mine"]


@root_only
def test_a_dev_full_of_traps(image: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    os.symlink(str(victim), image + "/dev/null")
    os.symlink("../../victim", image + "/dev/zero")
    Path(image, "dev", "full").write_text("a regular file")
    os.mknod(image + "/dev/random", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    os.symlink("/etc", image + "/dev/fd")
    with forked.held(build, Rootfs(image, mounts=(PROC,)), flags=ISOLATED) as process:
        for device in rootfs.DEFAULT_DEVICES:
            about = os.lstat(process.path(device.path))
            assert stat.S_ISCHR(about.st_mode), device
            assert about.st_rdev == os.makedev(device.major, device.minor), device
        assert os.readlink(process.path("/dev/fd")) == "/proc/self/fd"
    assert victim.read_text() == "untouched"


@root_only
@pytest.mark.parametrize("fake", ["file", "link", "zero"])
def test_masking_with_a_false_null_device_is_refused(image: str, fake: str) -> None:
    """CVE-2025-31133: what is bound over the masked path must be the null device."""
    place = image + "/dev/null"
    if fake == "file":
        Path(place).touch()
    elif fake == "link":
        os.symlink("/proc/sys/kernel/core_pattern", place)
    else:
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    spec = Rootfs(image, mounts=(PROC,), devices=(), masked=("/proc/uptime",))
    with pytest.raises(SpecError, match="is not the null device"):
        forked.call(build, spec, flags=ISOLATED)


@root_only
@pytest.mark.parametrize("target", ["/proc/self", "/proc/self/attr", "/proc/sys", "/via/attr"])
def test_nothing_is_mounted_inside_proc(image: str, target: str) -> None:
    """CVE-2019-16884, CVE-2019-19921: a false /proc takes the labels that are written to it."""
    os.symlink("/proc/self", image + "/via")
    spec = Rootfs(image, mounts=(PROC, Mount(target, "tmpfs", "tmpfs")))
    with pytest.raises(SpecError, match="nothing may be mounted inside /proc"):
        forked.call(build, spec, flags=ISOLATED)


@root_only
def test_what_tools_put_over_proc_files_is_allowed(image: str, tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("1.00 1.00\n")
    bind = Mount("/proc/uptime", "bind", str(tmp_path / "uptime"), int(MS.BIND))
    spec = Rootfs(image, mounts=(PROC, DEV, bind), masked=())
    with forked.held(build, spec, flags=ISOLATED) as process:
        assert Path(process.path("/proc/uptime")).read_text() == "1.00 1.00\n"


@root_only
def test_masked_and_read_only_paths_that_are_links_or_missing(image: str) -> None:
    os.symlink("/token", image + "/masked")
    os.symlink("../../../../../etc", image + "/kept")
    spec = Rootfs(
        image,
        mounts=(PROC, DEV),
        masked=("/masked", "/missing", "/token/x"),
        readonly_paths=("/kept", "/missing/too"),
    )
    with forked.held(build, spec, flags=ISOLATED) as process:
        assert process.mounts()["/token"]["fstype"] in ("tmpfs", "devtmpfs")
        assert "ro" in process.mounts()["/etc"]["options"].split(",")


@root_only
def test_write_proc(image: str) -> None:
    def write(what: str) -> Any:
        build(Rootfs(image, mounts=(PROC, DEV), masked=(), readonly_paths=()))
        if what == "covered":
            syscalls.mount("tmpfs", "/proc/sys/kernel", "tmpfs")
            Path("/proc/sys/kernel/hostname").touch()
        elif what == "false":
            syscalls.umount2("/proc", MNT.DETACH)
            os.makedirs("/proc/sys/kernel")
        rootfs.write_proc("/proc/sys/kernel/hostname", "renamed")
        return os.uname().nodename

    assert forked.call(write, "honest", flags=ISOLATED) == "renamed"
    with pytest.raises(
        OSError, match="cannot write 'renamed' to /proc/sys/kernel/hostname"
    ) as caught:
        forked.call(write, "covered", flags=ISOLATED)
    assert caught.value.errno == errno.EXDEV
    with pytest.raises(SpecError, match="is not procfs"):
        forked.call(write, "false", flags=ISOLATED)


# --- console, other roots ------------------------------------------------------------------------


@root_only
@pytest.mark.parametrize("given", ["path", "descriptor"])
def test_console(image: str, given: str) -> None:
    def with_console() -> int:
        spec = Rootfs(image)
        rootfs.prepare(spec)
        rootfs.mount_all(spec)
        rootfs.make_devices(spec)
        rootfs.pivot_root()
        master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        from fcntl import ioctl

        ioctl(master, 0x40045431, b"\0\0\0\0")  # TIOCSPTLCK: unlock
        slave = os.open("/dev/pts/0", os.O_RDWR | os.O_NOCTTY)
        rootfs.bind_console("/dev/pts/0" if given == "path" else slave)
        rootfs.finish(spec)
        return os.fstat(slave).st_rdev

    with forked.held(with_console, flags=ISOLATED) as process:
        assert os.stat(process.path("/dev/console")).st_rdev == process.value
        assert process.mounts()["/dev/console"]["fstype"] == "devpts"


@root_only
def test_a_console_that_is_a_link_is_refused(image: str) -> None:
    os.symlink("/token", image + "/dev/console")

    def with_console() -> None:
        rootfs.prepare(Rootfs(image))
        rootfs.bind_console("/dev/null")

    with pytest.raises(SpecError, match="/dev/console: is a symbolic link"):
        forked.call(with_console, flags=ISOLATED)


@root_only
def test_no_pivot(image: str) -> None:
    def moved() -> None:
        spec = Rootfs(image, mounts=(PROC, DEV))
        rootfs.prepare(spec)
        rootfs.mount_all(spec)
        rootfs.make_devices(spec)
        rootfs.move_root()
        rootfs.finish(spec)

    with forked.held(moved, flags=ISOLATED) as process:
        assert Path(process.path("/token")).read_text() == "inside"
        assert Path(process.path("/../token")).read_text() == "inside"


@pytest.mark.requires("root", "userns")
def test_a_root_whose_parent_is_closed_is_entered_by_its_directory(
    image: str, tmp_path: Path
) -> None:
    """The process stands in the root before it becomes somebody who could not find it by name."""
    closed = tmp_path / "closed"
    closed.mkdir()
    os.rename(image, closed / "image")
    closed.chmod(0o700)

    def enter() -> list[str]:
        os.chdir(closed / "image")
        forked.become_user(1000)
        forked._enter(CLONE.NEWUSER | CLONE.NEWNS | CLONE.NEWPID, 0)
        spec = Rootfs("/nowhere", mounts=())
        rootfs.prepare(spec, confined.HERE)
        rootfs.pivot_root()
        return os.listdir("/")

    assert "token" in forked.call(enter)


@root_only
def test_chroot_by_hand(image: str) -> None:
    with forked.held(rootfs.enter_chroot, image, flags=CLONE.NEWNS) as process:
        assert os.readlink(f"/proc/{process.pid}/root") == image
        assert os.readlink(f"/proc/{process.pid}/cwd") == image


@root_only
def test_a_mount_that_fails_says_which(image: str) -> None:
    missing = Mount("/data", "bind", "/no/such/source", int(MS.BIND))

    def notes() -> list[str]:
        try:
            build(Rootfs(image, mounts=(PROC, missing)))
        except FileNotFoundError as error:
            return error.__notes__
        return []

    assert forked.call(notes, flags=ISOLATED) == [
        "while making the mount: bind /no/such/source on /data"
    ]


def test_parse_is_reexported_for_the_runtime() -> None:
    assert parse_mount_options(("ro",))["flags"] == int(MS.RDONLY)
