"""The cpio archive: what other programs read of it, and what our reader says of a torn one."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer.errors import SpecError
from labcontainer.vm import cpio

NAMES = st.text("abcxyz.-_/", min_size=1, max_size=40).map(lambda name: name.strip("/") or "x")
MEMBERS = st.builds(
    cpio.Member,
    name=NAMES,
    mode=st.sampled_from([stat.S_IFREG | 0o644, stat.S_IFDIR | 0o700, stat.S_IFLNK | 0o777]),
    data=st.binary(max_size=60),
    mtime=st.integers(0, (1 << 32) - 1),
    uid=st.integers(0, 70000),
)


@given(st.lists(MEMBERS, max_size=6))
def test_what_is_packed_is_unpacked(members: list[cpio.Member]) -> None:
    assert list(cpio.unpack(cpio.pack(members))) == members


def test_an_entry_is_what_the_kernels_documentation_says() -> None:
    archive = cpio.pack([cpio.file("a", b"12345", 0o755, mtime=7)])
    head, rest = archive[:110], archive[110:]
    assert head.startswith(b"070701" + b"00000001" + b"000081ed")
    assert head[6 + 8 * 6 : 6 + 8 * 7] == b"00000005", "the size"
    # the head's 110 bytes and the name's 2 are a multiple of 4 already; the bytes are filled up
    assert rest.startswith(b"a\0" + b"12345\0\0\0" + b"070701")
    assert archive.rstrip(b"\0").endswith(b"TRAILER!!!")


@pytest.mark.requires("busybox")
def test_busybox_reads_it(tmp_path: Path) -> None:
    members = [cpio.directory("d", 0o711), cpio.file("d/f", b"hello\n", 0o640),
               cpio.link("d/l", "f")]  # fmt: skip
    words = ["busybox", "cpio", "-idm"]
    subprocess.run(words, input=cpio.pack(members), cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "d/l").read_text() == "hello\n"
    assert [stat.S_IMODE((tmp_path / one).stat().st_mode) for one in ("d", "d/f")] == [0o711, 0o640]


def test_the_console_is_a_character_device() -> None:
    (console,) = cpio.unpack(cpio.pack([cpio.device("dev/console", 5, 1)]))
    assert stat.S_ISCHR(console.mode) and console.device == (5, 1)


def test_same_members_same_bytes() -> None:
    members = [cpio.directory("d"), cpio.file("d/f", b"x")]
    assert cpio.pack(members) == cpio.pack(list(members))


@pytest.mark.parametrize("cut", [0, 50, 113, 116])
def test_a_torn_archive_is_told(cut: int) -> None:
    archive = cpio.pack([cpio.file("a", b"12345")])
    with pytest.raises(SpecError):
        list(cpio.unpack(archive[:cut]))


def test_another_form_is_told() -> None:
    archive = cpio.pack([cpio.file("a", b"")]).replace(b"070701", b"070707")
    with pytest.raises(SpecError, match="begins no newc entry"):
        list(cpio.unpack(archive))


def test_what_does_not_fit_into_its_digits_is_refused() -> None:
    with pytest.raises(SpecError, match="32 bits"):
        cpio.pack([cpio.file("late", b"", mtime=1 << 32)])
