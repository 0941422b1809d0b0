"""The plan of a root file system: everything in it, in an order that works; no call is made."""

from __future__ import annotations

import pytest

from labcontainer import rootfs
from labcontainer.kernel import trace
from labcontainer.kernel.flags import MS
from labcontainer.rootfs import Device, Mount, Rootfs


def lines(spec: Rootfs) -> list[str]:
    with trace.Recorder() as recorder:
        planned = [str(step) for step in rootfs.plan(spec)]
    assert recorder.lines == []
    return planned


def index(planned: list[str], words: str) -> int:
    found = [number for number, line in enumerate(planned) if words in line]
    assert len(found) == 1, (words, planned)
    return found[0]


def test_the_order_of_a_plan() -> None:
    planned = lines(Rootfs("/image", readonly=True))
    order = (
        *("make / MS.REC|MS.SLAVE", "bind /image on itself", "mount proc on /proc"),
        *("mount tmpfs on /dev (", "mount devpts on /dev/pts", "mknod /dev/null c 1:3 mode 0666"),
        *("link /dev/fd -> /proc/self/fd", "make /image the root", "bind /proc/sys on itself"),
        *("cover /proc/kcore", "make / read-only"),
    )
    places = [index(planned, words) for words in order]
    assert places == sorted(places)


def test_a_bound_dev_gets_no_nodes() -> None:
    spec = Rootfs("/image", mounts=(Mount("/dev/", "bind", "/dev", int(MS.BIND | MS.REC)),))
    assert not rootfs.has_own_dev(spec)
    assert not [line for line in lines(spec) if "make_devices" in line]


def test_a_read_only_dev_is_closed_at_the_end() -> None:
    spec = Rootfs("/image", mounts=(Mount("/dev", "tmpfs", "tmpfs", int(MS.RDONLY)),))
    planned = lines(spec)
    closed = index(planned, "make /dev read-only")
    assert closed > index(planned, "mknod /dev/null") and closed > index(planned, "the root,")


def test_shared_propagation_is_set_after_the_pivot() -> None:
    planned = lines(Rootfs("/image", propagation=int(MS.SHARED | MS.REC)))
    made = [number for number, line in enumerate(planned) if "make / MS.REC|MS.SHARED" in line]
    assert len(made) == 2 and made[0] == 0 and made[1] > index(planned, "the root,")


def test_a_device_prints_as_one_line() -> None:
    shown = str(Device("/dev/fuse", "c", 10, 229, 0o600, 5, 6))
    assert shown == "mknod /dev/fuse c 10:229 mode 0600 owner 5:6"


@pytest.mark.parametrize("path", rootfs.MASKED_PATHS + rootfs.READONLY_PATHS)
def test_the_default_lists_hold_absolute_paths(path: str) -> None:
    assert path.startswith(("/proc/", "/sys/")) and not path.endswith("/")
