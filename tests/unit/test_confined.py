"""No path leads out of the directory that plays root: by the kernel's walk and by our own."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.kernel import confined, syscalls
from labcontainer.kernel.flags import RESOLVE

Open = Callable[..., int]


@pytest.fixture(params=["openat2", "walk"])
def open_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """`confined.open_in`, on this kernel and as on one without openat2."""
    monkeypatch.setattr(confined._Kernel, "has_openat2", True)
    if request.param == "walk":

        def missing(*_args: object) -> int:
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(syscalls, "openat2", missing)
    return confined.open_in


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A directory full of ways out, its descriptor; beside it a file that must not be reached."""
    (tmp_path / "secret").write_text("host")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc" / "passwd").write_text("container")
    (inside / "secret").write_text("container")
    (inside / "absolute").symlink_to("/etc/passwd")
    (inside / "climbing").symlink_to("../../../../../../secret")
    (inside / "out").symlink_to("/..")
    (inside / "loop").symlink_to("loop")
    (inside / "chain").symlink_to("etc/../absolute")
    (inside / "dangling").symlink_to("/new/place")
    (inside / "dangling-out").symlink_to("../../made")
    fd = os.open(inside, os.O_PATH)
    yield fd
    os.close(fd)


def contents(fd: int) -> str:
    with os.fdopen(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)) as file:
        os.close(fd)
        return file.read()


@pytest.mark.parametrize(
    "path",
    [
        *("absolute", "/absolute", "climbing", "../secret", "/../../secret", "etc/../../secret"),
        *("out/secret", "out/../out/secret", "chain", "//etc///passwd", "./etc/./passwd"),
    ],
)
def test_every_way_ends_inside(root: int, open_in: Open, path: str) -> None:
    assert contents(open_in(root, path)) == "container"


def test_errors_are_those_of_open(root: int, open_in: Open) -> None:
    with pytest.raises(FileNotFoundError):
        open_in(root, "missing")
    with pytest.raises(NotADirectoryError):
        open_in(root, "etc/passwd/more")
    with pytest.raises(NotADirectoryError):
        open_in(root, "etc/passwd", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError) as caught:
        open_in(root, "loop")
    assert caught.value.errno == errno.ELOOP


def test_links_can_be_refused(root: int, open_in: Open) -> None:
    for path in ("absolute", "out/etc"):
        with pytest.raises(OSError) as caught:
            open_in(root, path, os.O_PATH, RESOLVE.NO_SYMLINKS)
        assert caught.value.errno == errno.ELOOP


def test_the_last_link_itself_can_be_opened(root: int, open_in: Open) -> None:
    fd = open_in(root, "absolute", os.O_PATH | os.O_NOFOLLOW)
    assert os.readlink("", dir_fd=fd) == "/etc/passwd"
    os.close(fd)


def test_reading_flags(root: int, open_in: Open) -> None:
    fd = open_in(root, "absolute", os.O_RDONLY)
    assert os.read(fd, 100) == b"container"
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("a/b/c", "a/b/c"),
        ("/a/b/c/", "a/b/c"),
        ("../a", "a"),
        ("dangling", "new/place"),
        ("dangling/more", "new/place/more"),
        ("dangling-out", "made"),
        ("etc", "etc"),
    ],
)
def test_what_is_missing_is_made_inside(
    root: int, open_in: Open, path: str, made: str, tmp_path: Path
) -> None:
    fd = confined.open_or_make(root, path, directory=True)
    assert os.readlink(f"/proc/self/fd/{fd}") == str(tmp_path / "root" / made)
    assert os.path.isdir(f"/proc/self/fd/{fd}")
    os.close(fd)
    assert sorted(os.listdir(tmp_path)) == ["root", "secret"]


def test_a_file_is_made_where_a_file_is_wanted(root: int, open_in: Open, tmp_path: Path) -> None:
    os.close(confined.open_or_make(root, "run/lock", directory=False))
    assert (tmp_path / "root" / "run" / "lock").read_bytes() == b""
    assert (tmp_path / "root" / "run").is_dir()


def test_making_through_a_loop_or_a_refused_link_fails(root: int, open_in: Open) -> None:
    for path, resolve in (("loop/x", 0), ("dangling", int(RESOLVE.NO_SYMLINKS))):
        with pytest.raises(OSError) as caught:
            confined.open_or_make(root, path, directory=True, resolve=resolve)
        assert caught.value.errno == errno.ELOOP


def test_no_descriptor_is_left_open(root: int, open_in: Open) -> None:
    before = os.listdir("/proc/self/fd")
    for path in ("absolute", "missing/x", "loop", "etc/passwd/x"):
        try:
            os.close(open_in(root, path))
        except OSError:
            pass
    os.close(confined.open_or_make(root, "dangling/x/y", directory=False))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("refusals", [1, 1000])
def test_again_is_tried_again_and_then_walked(
    root: int, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    """openat2 gives EAGAIN for a path with `..` whenever anybody renames or mounts meanwhile."""
    real, asked = syscalls.openat2, [0]

    def racing(*args: Any) -> int:
        asked[0] += 1
        if asked[0] <= refusals:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return int(real(*args))

    monkeypatch.setattr(syscalls, "openat2", racing)
    assert contents(confined.open_in(root, "etc/../absolute")) == "container"
    assert 1 < asked[0] < 100
