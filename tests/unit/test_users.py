"""Id maps, subordinate ranges, and the container's own tables of users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labcontainer import users
from labcontainer.errors import NotFoundError, SpecError, UnsupportedError
from labcontainer.users import IdMap, User

MAPS = (IdMap(0, 1000), IdMap(1, 100_000, 65_536))


@pytest.mark.parametrize(
    ("inside", "outside"), [(0, 1000), (1, 100_000), (65_536, 165_535), (65_537, None), (-1, None)]
)
def test_both_sides_of_a_map(inside: int, outside: int | None) -> None:
    assert users.to_host(MAPS, inside) == outside
    if outside is not None:
        assert users.to_container(MAPS, outside) == inside


@pytest.mark.parametrize(
    ("maps", "problem"),
    [
        ((), "has 0 ranges"),
        (tuple(IdMap(n, n) for n in range(341)), "has 341 ranges"),
        ((IdMap(0, 0, 0),), "is empty"),
        ((IdMap(0, -1),), "is empty or outside"),
        ((IdMap(0, 0xFFFFFFFF, 1),), "outside of the 32-bit ids"),
        ((IdMap(0, 100, 10), IdMap(9, 200, 10)), "ranges 0 100 10 and 9 200 10 overlap"),
        ((IdMap(0, 100, 10), IdMap(10, 105, 10)), "ranges 0 100 10 and 10 105 10 overlap"),
    ],
)
def test_maps_that_the_kernel_would_refuse(maps: tuple[IdMap, ...], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        users.check_maps(maps)


def test_good_maps_pass() -> None:
    users.check_maps(MAPS)
    users.check_maps((IdMap(10, 0, 5), IdMap(0, 10, 5), IdMap(5, 5, 5)))


def test_subordinate_ranges(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text(
        "ada:100000:65536\n1000:300000:10\nbob:5:5\nada:x:1\nada:7\n\nada:500000:0\nada:400000:2"
    )
    assert users.subordinate_ranges("ada", str(table)) == ((100_000, 65_536), (400_000, 2))
    assert users.subordinate_ranges(1000, str(table))[0] == (300_000, 10)
    assert users.subordinate_ranges("ada", str(tmp_path / "none")) == ()
    maps = users.maps_with_ranges(1000, ((100_000, 10), (400_000, 2)))
    assert maps == (IdMap(0, 1000), IdMap(1, 100_000, 10), IdMap(11, 400_000, 2))


def test_without_the_helpers_rootless_has_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "subordinate_ranges", lambda *_args: ((100_000, 65_536),))
    monkeypatch.setenv("PATH", "/nowhere")
    assert users.rootless_maps(1000, 100) == ((IdMap(0, 1000),), (IdMap(0, 100),))


def test_the_plan_names_the_way_of_each_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_may_write_any_map", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    single = [str(step) for step in users.plan((IdMap(0, 1000),), (IdMap(0, 1000),))]
    assert single[0].startswith("write 'deny' to setgroups")
    assert single[1].startswith("write '0 1000 1' to gid_map")
    ranges = [str(step) for step in users.plan(MAPS, MAPS)]
    assert ranges[1].startswith("newuidmap PID 0 1000 1; 1 100000 65536")
    monkeypatch.setattr(users, "_may_write_any_map", lambda: True)
    assert "CAP_SETUID" in str(users.plan(MAPS, MAPS)[0])


def test_a_missing_helper_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_may_write_any_map", lambda: False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnsupportedError, match=r"newgidmap is not installed.*package uidmap"):
        users.write_maps(os.getpid(), MAPS, MAPS)


# --- who is `--user name` ------------------------------------------------------------------------

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
# a comment
torn:x:12
web:x:33:33:web:/var/www:/bin/sh
big:x:99999999999:0::/:/bin/sh
minus:x:-1:0::/:/bin/sh
nohome:x:40:41:::
web:x:77:77:second:/other:/bin/sh
last:x:50:50::/home/last"""
GROUP = """\
root:x:0:
www:x:33:
staff:x:50:web,daemon
admin:x:51:daemon,web
torn:x
audio:x:29:web"""


@pytest.fixture
def root_fd(tmp_path: Path) -> int:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text(GROUP)
    return os.open(tmp_path, os.O_PATH)


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("", User(0, 0, (), "/root", "root")),
        ("0", User(0, 0, (), "/root", "root")),
        ("web", User(33, 33, (50, 51, 29), "/var/www", "web")),
        ("33", User(33, 33, (50, 51, 29), "/var/www", "web")),
        ("web:staff", User(33, 50, (), "/var/www", "web")),
        ("web:1234", User(33, 1234, (), "/var/www", "web")),
        ("1234", User(1234, 0, (), "/", "")),
        ("1234:staff", User(1234, 50, (), "/", "")),
        (":staff", User(0, 50, (), "/root", "root")),
        ("nohome", User(40, 41, (), "/", "nohome")),
    ],
)
def test_who_is_meant(root_fd: int, who: str, expected: User) -> None:
    assert users.lookup_user(who, root_fd) == expected


@pytest.mark.parametrize(
    "who", ["nobody-here", "web:nogroup", "torn", "last", "big", "minus", "-1"]
)
def test_who_is_not_there(root_fd: int, who: str) -> None:
    with pytest.raises(NotFoundError, match="unable to find"):
        users.lookup_user(who, root_fd)


@pytest.mark.parametrize("who", ["4294967295", "99999999999999999999", "0:2147483648"])
def test_numbers_out_of_range(root_fd: int, who: str) -> None:
    with pytest.raises(SpecError, match="is outside of 0 to 2147483647"):
        users.lookup_user(who, root_fd)


def test_groups_by_name_and_number(root_fd: int) -> None:
    assert users.lookup_groups(("audio", "1234"), root_fd) == (29, 1234)


def test_without_tables_numbers_still_work(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    assert users.lookup_user("5:6", fd) == User(5, 6)
    with pytest.raises(NotFoundError):
        users.lookup_user("web", fd)


def test_a_link_out_of_the_root_is_read_inside(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("spy:x:7:7::/:/bin/sh\n")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").symlink_to("../../passwd")
    with pytest.raises(NotFoundError):
        users.lookup_user("spy", os.open(root, os.O_PATH))


def test_a_fifo_or_an_endless_table_does_not_hold_us(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc" / "passwd")
    fd = os.open(tmp_path, os.O_PATH)
    with pytest.raises(SpecError, match="is not a regular file"):
        users.lookup_user("web", fd)
    (tmp_path / "etc" / "passwd").unlink()
    with open(tmp_path / "etc" / "passwd", "wb") as file:
        file.write(b"root:x:0:0::/root:/bin/sh\n")
        file.truncate(1 << 34)
    assert users.lookup_user("root", fd).home == "/root"
