"""Id maps as the kernel holds them, and what they do to the owners of files."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from labcontainer import users
from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.users import IdMap
from tests.system import forked

pytestmark = pytest.mark.requires("root", "userns")

WIDE = (IdMap(0, 100_000, 1000), IdMap(1000, 5000, 10))


def with_maps(uid_maps: tuple[IdMap, ...], gid_maps: tuple[IdMap, ...]) -> Any:
    """As a parent does: a child in a new user namespace, its maps, and what /proc says of them."""
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        syscalls.unshare(CLONE.NEWUSER)
        os.write(here, b".")
        signal.pause()
    os.read(there, 1)
    try:
        users.write_maps(child, uid_maps, gid_maps)
        return [
            [line.split() for line in Path(f"/proc/{child}/{name}").read_text().splitlines()]
            for name in ("uid_map", "gid_map", "setgroups")
        ]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_root_writes_any_map() -> None:
    uids, gids, setgroups = forked.call(with_maps, WIDE, (IdMap(0, 7, 3),))
    assert uids == [["0", "100000", "1000"], ["1000", "5000", "10"]]
    assert gids == [["0", "7", "3"]] and setgroups == [["allow"]]


def test_an_ordinary_user_maps_the_own_id_and_loses_setgroups() -> None:
    single = (IdMap(0, 1000),)
    uids, gids, setgroups = forked.call(with_maps, single, single, uid=1000)
    assert uids == gids == [["0", "1000", "1"]] and setgroups == [["deny"]]


def give_ranges(place: Path) -> None:
    """In a mount namespace of the child's own: uid 1000 exists and owns sub-ids."""
    forked.open_to_all(place)
    for name, line in (
        ("passwd", "learner:x:1000:1000::/:/bin/sh"),
        ("subuid", "learner:200000:65536"),
        ("subgid", "learner:300000:65536"),
    ):
        (place / name).write_text(f"root:x:0:0::/:/bin/sh\n{line}\n" if name == "passwd" else line)
        if not os.path.exists(f"/etc/{name}"):
            Path(f"/etc/{name}").touch()
        syscalls.mount(str(place / name), f"/etc/{name}", None, MS.BIND)


@pytest.mark.requires("newuidmap")
def test_an_ordinary_user_maps_sub_ids_by_the_helpers(tmp_path: Path) -> None:
    def maps() -> Any:
        give_ranges(tmp_path)
        forked.become_user(1000)
        return with_maps(*users.rootless_maps(1000, 1000))

    uids, gids, setgroups = forked.call(maps, flags=int(CLONE.NEWNS))
    assert uids == [["0", "1000", "1"], ["1", "200000", "65536"]]
    assert gids == [["0", "1000", "1"], ["1", "300000", "65536"]]
    assert setgroups == [["allow"]]


@pytest.mark.requires("newuidmap")
def test_helpers_refuse_what_the_user_does_not_own() -> None:
    with pytest.raises(UnsupportedError, match="give the user a range in /etc/subgid"):
        forked.call(with_maps, WIDE, WIDE, uid=1000)


def test_owners_seen_from_both_sides(tmp_path: Path) -> None:
    forked.open_to_all(tmp_path)
    (tmp_path / "theirs").touch()
    tmp_path.chmod(0o777)
    os.chown(tmp_path / "theirs", 33, 33)

    def inside() -> tuple[int, int]:
        Path(tmp_path, "mine").touch()
        return os.stat(tmp_path / "mine").st_uid, os.stat(tmp_path / "theirs").st_uid

    assert forked.call(inside, flags=int(CLONE.NEWUSER), uid=1000) == (0, users.OVERFLOW_ID)
    assert (tmp_path / "mine").stat().st_uid == 1000


def test_a_namespace_for_mounts_has_the_maps_and_leaves_no_process() -> None:
    def opened() -> tuple[list[str], int]:
        fd = users.open_mapped_namespace(WIDE, WIDE)
        syscalls.setns(fd, CLONE.NEWUSER)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        return Path("/proc/self/uid_map").read_text().split(), len(os.listdir("/proc/self/fd"))

    assert forked.call(opened)[0] == ["0", "100000", "1000", "1000", "5000", "10"]


def test_bad_maps_are_refused_before_the_kernel_sees_them() -> None:
    with pytest.raises(SpecError, match="overlap"):
        users.open_mapped_namespace((IdMap(0, 0, 5), IdMap(4, 10, 5)), WIDE)


# --- becoming someone ----------------------------------------------------------------------------


def test_become_sets_every_id_for_good() -> None:
    with forked.held(users.become, 1234, 5678, (11, 22)) as process:
        fields = dict(line.split(":\t", 1) for line in process.read("status").splitlines())
        assert fields["Uid"].split() == ["1234"] * 4
        assert fields["Gid"].split() == ["5678"] * 4
        assert fields["Groups"].split() == ["11", "22"]
        assert int(fields["CapEff"], 16) == 0


def test_become_in_a_single_id_namespace() -> None:
    flags = int(CLONE.NEWUSER)
    forked.call(users.become, 0, 0, flags=flags, uid=1000)
    with pytest.raises(UnsupportedError, match="setgroups"):
        forked.call(users.become, 0, 0, (5,), flags=flags, uid=1000)
    with pytest.raises(SpecError, match=r"user 0, group 7: is not in the id map"):
        forked.call(users.become, 0, 7, flags=flags, uid=1000)


def test_an_ordinary_user_can_become_nobody_else() -> None:
    with pytest.raises(PermissionError) as caught:
        forked.call(users.become, 0, 0, uid=1000)
    assert caught.value.errno == errno.EPERM
