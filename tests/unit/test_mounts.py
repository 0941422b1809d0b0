"""A mount's words: what they set, take off, and leave as data."""

from __future__ import annotations

import pytest

from labcontainer import mounts
from labcontainer.kernel.flags import MOUNT_ATTR, MS
from labcontainer.mounts import Mount, parse_mount_options


def fields(*words: str) -> dict[str, object]:
    """What the words give, without the fields that are at rest."""
    return {name: value for name, value in parse_mount_options(words).items() if value}


def test_docker_bind_mount() -> None:
    assert fields("rbind", "rprivate", "ro", "nosuid") == {
        "flags": int(MS.BIND | MS.REC | MS.RDONLY | MS.NOSUID),
        "propagation": int(MS.PRIVATE | MS.REC),
    }


def test_unknown_words_are_data_in_their_order() -> None:
    found = fields("newinstance", "nosuid", "ptmxmode=0666", "mode=0620", "gid=5")
    assert found == {"flags": int(MS.NOSUID), "data": "newinstance,ptmxmode=0666,mode=0620,gid=5"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ro", "rw"), {"clear": int(MS.RDONLY)}),
        (("rw", "ro"), {"flags": int(MS.RDONLY)}),
        (("nosuid", "suid", "noexec"), {"flags": int(MS.NOEXEC), "clear": int(MS.NOSUID)}),
        (("defaults",), {}),
        (("", ""), {}),
        (("tmpcopyup",), {"copy_up": True}),
        (("bind", "ridmap"), {"flags": int(MS.BIND), "idmap": "ridmap"}),
        (("rro",), {"attr_set": int(MOUNT_ATTR.RDONLY)}),
        (("rro", "rrw"), {"attr_clr": int(MOUNT_ATTR.RDONLY)}),
        (
            ("rnoatime",),
            {"attr_set": int(MOUNT_ATTR.NOATIME), "attr_clr": int(MOUNT_ATTR.ATIME_MASK)},
        ),
        (("slave", "shared"), {"propagation": int(MS.SLAVE | MS.SHARED)}),
    ],
)
def test_words(words: tuple[str, ...], expected: dict[str, object]) -> None:
    assert fields(*words) == expected


def test_a_word_and_its_opposite_leave_no_trace_of_the_first() -> None:
    for word, opposite in (("ro", "rw"), ("noexec", "exec"), ("nodev", "dev")):
        assert "flags" not in fields(word, opposite)
        assert "clear" not in fields(opposite, word)


def test_a_mount_prints_as_one_line() -> None:
    entry = Mount("/dev/shm", "tmpfs", "shm", **parse_mount_options(("nosuid", "size=64k")))
    assert str(entry) == "mount tmpfs on /dev/shm (MS.NOSUID, size=64k)"
    assert str(Mount("/x", "bind", "/y", int(MS.BIND))) == "bind /y on /x"
    assert str(Mount("/x", "none", "/y", int(MS.BIND | MS.RDONLY))) == "bind /y on /x (MS.RDONLY)"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Mount("/dev", "tmpfs", flags=int(MS.RDONLY)), True),
        (Mount("/run", "tmpfs", flags=int(MS.RDONLY)), True),
        (Mount("/dev/", "devtmpfs", flags=int(MS.RDONLY)), True),
        (Mount("/sys", "sysfs", flags=int(MS.RDONLY)), False),
        (Mount("/run", "tmpfs"), False),
        (Mount("/dev", "bind", "/dev", int(MS.BIND | MS.RDONLY)), False),
    ],
)
def test_which_mounts_become_read_only_at_the_end(entry: Mount, expected: bool) -> None:
    assert mounts.delays_readonly(entry) is expected


def test_access_time_is_one_field() -> None:
    from labcontainer.kernel import mounts as kernel_mounts

    assert kernel_mounts.attributes(int(MS.NOSUID)) == (int(MOUNT_ATTR.NOSUID), 0)
    both = kernel_mounts.attributes(int(MS.RELATIME | MS.RDONLY))
    assert both == (int(MOUNT_ATTR.RDONLY), int(MOUNT_ATTR.ATIME_MASK))
    assert kernel_mounts.attributes(int(MS.STRICTATIME))[0] == int(MOUNT_ATTR.STRICTATIME)
