"""Layers of a stranger who means harm: out of the root, bombs, garbage; nothing outside."""

from __future__ import annotations

import io
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.image import compression, deleting, layers, tarformat, tarheader
from labcontainer.image.tarformat import Entry
from tests.unit import trees
from tests.unit.archives import ROOT, apply, archive, one_line, opened, slow_disk

LINK_OUT = Entry("out", tarformat.SYMLINK, 0o777, target="{outside}")


@pytest.mark.parametrize(
    "members",
    [
        [(Entry("../escaped"), b"x")],
        [(Entry("a/../../escaped"), b"x")],
        [LINK_OUT, (Entry("out/escaped"), b"x")],
        [Entry("a", tarformat.SYMLINK, target=".."), (Entry("a/a/escaped"), b"x")],
        [Entry("l", tarformat.LINK, target="../../outside/secret"), (Entry("l"), b"x")],
        [Entry("l", tarformat.LINK, target="{outside}/secret")],
        [LINK_OUT, Entry("l", tarformat.LINK, target="out/secret")],
        [LINK_OUT, Entry("out/d", tarformat.DIRECTORY, 0o755)],
        [LINK_OUT, Entry("out", tarformat.DIRECTORY, 0o700), (Entry("out/escaped"), b"x")],
        [LINK_OUT, Entry("out/.wh.secret")],
        [LINK_OUT, Entry("out/.wh..wh..opq")],
        [Entry(".wh..")], [Entry(".wh...")], [Entry("d/.wh...")],
        [(Entry("/escaped"), b"x")],
        [(Entry("f"), b"x"), (Entry("f/escaped"), b"x")],
    ],
)  # fmt: skip
@pytest.mark.parametrize("whiteouts", ["overlay", "apply"])
def test_nothing_is_written_outside(
    tmp_path: Path, members: list[Any], whiteouts: Literal["overlay", "apply"]
) -> None:
    outside = tmp_path / "outside"
    trees.build({"secret": (b"secret", 0o640)}, outside)
    before = trees.seen(outside), outside.stat().st_mode
    filled = []
    for member in members:
        entry = member if isinstance(member, Entry) else member[0]
        target = entry.target.format(outside=outside)
        new = Entry(entry.name, entry.kind, entry.mode, target=target)
        filled.append(new if isinstance(member, Entry) else (new, member[1]))
    one_line(lambda: apply(archive(*filled), tmp_path / "root", whiteouts=whiteouts))
    assert (trees.seen(outside), outside.stat().st_mode) == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]
    for path in (tmp_path / "root").rglob("*"):
        assert path.is_symlink() or b"secret" not in (path.read_bytes() if path.is_file() else b"")


@pytest.mark.parametrize(
    ("members", "limits", "said"),
    [
        ([(Entry("f"), bytes(5000))], {"size": 4000}, "more than 4000 bytes"),
        ([Entry(f"f{n}", tarformat.DIRECTORY) for n in range(20)], {"entries": 10}, "10 members"),
        ([Entry(f"n{n}", tarformat.CHAR, 0o666, major=1, minor=n) for n in range(9)],
         {"devices": 5}, "5 devices"),
        ([Entry("z", tarformat.CHAR, 0o666)], {}, "device 0:0"),
        ([Entry("/".join("a" * 300), tarformat.DIRECTORY)], {}, "a name of 599 letters"),
        ([Entry("a" * 5000, tarformat.DIRECTORY)], {}, "a name of 5000 letters"),
        ([Entry("a", tarformat.SYMLINK, target="a"), (Entry("a/b"), b"")], {}, "loop of links"),
        ([Entry("a", tarformat.SYMLINK, target="no"), (Entry("a/b"), b"")], {}, "is a link"),
        ([Entry("f", tarformat.LINK, target="nowhere")], {}, "hard link"),
    ],
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, members: list[Any], limits: dict[str, int], said: str
) -> None:
    with pytest.raises(errors.LabError, match=said) as caught:
        apply(archive(*members), tmp_path / "root", limits=layers.Limits(**limits))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_stopped_on_its_way(tmp_path: Path, kind: str) -> None:
    """In the middle of one member, not when the disk is full."""
    out = io.BytesIO()
    with compression.Writer(out, kind) as writer:
        writer.write(archive((Entry("zeros"), bytes(64 << 20))))
    reader = compression.Reader(io.BytesIO(out.getvalue()), ratio=100, small=1 << 20)
    (tmp_path / "root").mkdir()
    with opened(tmp_path / "root") as fd, pytest.raises(errors.LabError, match="over 100 times"):
        layers.apply(reader, fd, owners=False)
    assert (tmp_path / "root/zeros").stat().st_size < 32 << 20


def patched(header: bytes, at: int, value: bytes) -> bytes:
    """A header with other bytes in it, and the check sum that they make."""
    block = bytearray(header)
    block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


FILE = tarheader.header(Entry("f"))
DEVICE = tarheader.header(Entry("f", tarformat.CHAR, major=1))
UID, GID, SIZE, MTIME, MAJOR = 108, 116, 124, 136, 329


def pax(**records: str) -> bytes:
    named = {name.replace("_", "."): value.encode() for name, value in records.items()}
    return tarheader._pax(named) + FILE


def with_attribute(name: str, value: bytes = b"x") -> bytes:
    return tarheader.header(Entry("f", xattrs={name: value}))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (patched(FILE, UID, b"\x80" + b"\xff" * 7), "belongs to user"),
        (patched(FILE, GID, b"\xff" * 8), "group -1"),
        (patched(FILE, UID, b"\x80\0\0\0\xff\xff\xff\xff"), "user 4294967295"),
        (pax(uid="99999999999"), "user 99999999999"),
        (patched(FILE, MTIME, b"\x80" + b"\xff" * 11), "size or time"),
        (patched(FILE, MTIME, b"\xc0" + b"\0" * 11), "size or time"),
        (patched(FILE, SIZE, b"\xff" * 12), "negative size"),
        (patched(FILE, SIZE, b"\x80" + b"\xff" * 11), "size or time"),
        (patched(FILE, SIZE, b"77777777777\0"), "torn"),
        (patched(FILE, SIZE, b"\x80\0\0\0\0\1" + bytes(6)), "more than 137438953472 bytes"),
        (patched(DEVICE, MAJOR, b"\x80" + b"\xff" * 7), "is a device"),
        (pax(mtime="1.\u00b2"), "for a time"),
        (pax(path="a\0b"), "zero byte"),
        (pax(GNU_sparse_map="9300000000000000000,0", GNU_sparse_size="9999999999999999999"),
         "size or time"),
        (pax(GNU_sparse_map="", GNU_sparse_size="8999999999999999999"), "File too large"),
        (pax(GNU_sparse_map="5,5,0,5", GNU_sparse_size="10"), "not in order"),
        (pax(GNU_sparse_map="0,5", GNU_sparse_size="10"), "does not fit"),
        (with_attribute("user.a\0b"), "an attribute"),
        (with_attribute(""), "an attribute"),
        (with_attribute(f"user.{'a' * 300}"), "an attribute"),
        (with_attribute("user.a", bytes(70_000)), "an attribute"),
        (tarheader.header(Entry("f", tarformat.SYMLINK)), "can't be: No such file"),
        (tarheader.header(Entry("f", tarformat.LINK, target="/")), "hard link to '/'"),
        (tarheader.header(Entry("a" * 300)), "File name too long"),
        (tarheader.header(Entry("/".join(["\u00fc" * 120] * 30))), "File name too long"),
        (tarheader.header(Entry(f"{'a' * 300}/f")), "File name too long"),
        (patched(FILE, 156, b"?"), "unknown type"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("whiteouts", ["overlay", "apply"])
def test_what_no_system_call_takes(
    tmp_path: Path, data: bytes, said: str, whiteouts: Literal["overlay", "apply"]
) -> None:
    with pytest.raises(errors.LabError, match=said) as caught:
        apply(data + tarheader.END, tmp_path / "root", whiteouts=whiteouts)
    assert "\n" not in str(caught.value)


def extension(letter: bytes, data: bytes) -> bytes:
    block = patched(tarheader.header(Entry("x")), SIZE, b"%011o\0" % len(data))
    return patched(block, 156, letter) + data + bytes(-len(data) % tarformat.BLOCK)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (extension(b"x", bytes(2 << 20)), "more than 1048576 bytes"),
        (extension(b"L", b"a" * (2 << 20)), "more than 1048576 bytes"),
        (extension(b"x", b"600000 a=" + b"b" * 599_990 + b"\n") * 2, "more than 1048576 bytes"),
        (extension(b"L", b"a") * 100, "more than 64 headers"),
        (b"".join(extension(b"g", b"600008 k%06d=%b\n" % (n, b"b" * 599_992)) + FILE
                  for n in range(3)), "global headers"),
        (extension(b"x", b"9 a=b\n"), "torn"),
        (extension(b"x", b"5 a=b\n"), "torn"),
        (extension(b"x", b"no number"), "for a number"),
    ],
)  # fmt: skip
def test_headers_that_are_bombs_or_torn(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(errors.LabError, match=said):
        apply(data + FILE + tarheader.END, tmp_path / "root")


def test_directories_that_members_imply_are_counted(tmp_path: Path) -> None:
    members = [Entry(f"{n}/{'/'.join('a' * 200)}", tarformat.DIRECTORY) for n in range(9)]
    with pytest.raises(errors.LabError, match="more than 1000 members"):
        apply(archive(*members), tmp_path / "root", limits=layers.Limits(entries=1000))


def test_a_parent_that_is_replaced_is_found_anew(tmp_path: Path) -> None:
    """A link is turned to another directory between two members below it."""
    one, two = (Entry("s", tarformat.SYMLINK, target=name) for name in ("one", "two"))
    folders = [Entry(name, tarformat.DIRECTORY, 0o755) for name in ("one", "two")]
    apply(archive(*folders, one, (Entry("s/f"), b"1"), two, (Entry("s/g"), b"2")),
          tmp_path / "root")  # fmt: skip
    assert (tmp_path / "root/one/f").read_bytes() == b"1"
    assert (tmp_path / "root/two/g").read_bytes() == b"2"


def test_a_tree_deeper_than_descriptors_go_is_deleted(tmp_path: Path) -> None:
    """Each link leads to the end of what is there, and the next name goes on from it."""
    (tmp_path / "root").mkdir()
    deep = "/".join("d" * 240)
    members: list[Any] = [Entry(deep, tarformat.DIRECTORY, 0o755)]
    for number in range(6):
        start = deep if not number else f"l{number - 1}/{deep}"
        members.append(Entry(f"l{number}", tarformat.SYMLINK, target=start))
        members.append((Entry(f"l{number}/{deep}/f"), b"x"))
    apply(archive(*members), tmp_path / "root")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        with opened(tmp_path) as fd:
            deleting.remove(fd, "root")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(tmp_path) == []


@slow_disk
@given(st.data())
def test_any_change_of_a_byte_is_one_error_or_none(data: st.DataObject) -> None:
    good = archive((Entry("dir/file"), b"content" * 100), Entry("l", tarformat.SYMLINK, target="x"),
                   (Entry("n" * 150, xattrs={"user.a": b"b"}), b"x"))  # fmt: skip
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(bad)))
    with tempfile.TemporaryDirectory() as top:
        limits = layers.Limits(size=1 << 20)
        one_line(lambda: apply(bytes(bad[:cut]), Path(top, "root"), limits=limits))
        assert os.listdir(top) == ["root"]


@slow_disk
@given(st.binary(max_size=3000))
def test_garbage_is_one_error(garbage: bytes) -> None:
    with tempfile.TemporaryDirectory() as top:
        try:
            apply(garbage, Path(top, "root"))
        except errors.LabError:
            pass
        assert os.listdir(Path(top, "root")) == [] or ROOT


def test_a_torn_archive_says_so(tmp_path: Path) -> None:
    data = archive((Entry("f"), bytes(4000)))
    with pytest.raises(errors.LabError, match="torn"):
        apply(data[:2000], tmp_path / "root")


def test_many_replaced_directories_take_linear_time(tmp_path: Path) -> None:
    """Each member replaces the one before: no step may look at all the others."""
    members: list[Any] = []
    for number in range(3000):
        members += [Entry(f"d{number}", tarformat.DIRECTORY, 0o755), (Entry("f"), b"x")]
    assert apply(archive(*members), tmp_path / "root").entries == 6000


def test_the_map_of_a_sparse_file_is_read_once(tmp_path: Path) -> None:
    """Four million bytes of map, which compress to a few thousand, took a minute to read."""
    lines = b"999999\n" + b"0\n" * 500_000
    entry = Entry("f", size=len(lines) + -len(lines) % 512)
    words = {"major": b"1", "minor": b"0", "name": b"f", "realsize": b"0"}
    extra = tarheader._pax({f"GNU.sparse.{name}": word for name, word in words.items()})
    data = extra + tarheader.header(entry) + lines + bytes(-len(lines) % 512 + 1024)
    before = time.process_time()
    with opened(tmp_path) as root, pytest.raises(errors.LabError, match="torn"):
        layers.apply(io.BytesIO(data), root)
    assert time.process_time() - before < 10


def _swapped(monkeypatch: pytest.MonkeyPatch, call: str, name: str, outside: Path) -> None:
    """As a process does that shares the directory: what was just made becomes a link."""
    make = getattr(os, call)

    def then_swap(path: str, *args: Any, dir_fd: int, **more: Any) -> None:
        make(path, *args, dir_fd=dir_fd, **more)
        if path == name:
            os.rename(path, f"{path}-moved", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            os.symlink(outside, path, dir_fd=dir_fd)

    monkeypatch.setattr(os, call, then_swap)


@pytest.mark.parametrize(
    ("call", "member"),
    [
        ("mkdir", (Entry("new/f"), b"x")),
        ("mkdir", Entry("new", tarformat.DIRECTORY, 0o777)),
        ("mkfifo", Entry("new", tarformat.FIFO, 0o777)),
    ],
)
def test_nothing_outside_gets_a_mode_when_a_name_is_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, member: Any
) -> None:
    """`docker cp` writes where a container's processes do: CVE-2018-15664."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (tmp_path / "root").mkdir()
    _swapped(monkeypatch, call, "new", outside)
    with opened(tmp_path / "root") as root:
        try:
            layers.apply(io.BytesIO(archive(member)), root, whiteouts="none", owners=False)
        except (OSError, errors.LabError):
            pass
    assert outside.stat().st_mode & 0o7777 == 0o700
