"""A copy is like the original: kinds, modes, times, links between files, and no link followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from labcontainer.kernel import trees


def copy(source: Path, target: Path) -> None:
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target)]
    try:
        trees.copy(*fds)
    finally:
        for fd in fds:
            os.close(fd)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub" / "deep").mkdir(parents=True)
    target.mkdir()
    (source / "file").write_bytes(b"x" * 100_000)
    (source / "empty").touch()
    os.link(source / "file", source / "sub" / "twin")
    (source / "link").symlink_to("/etc/shadow")
    os.mkfifo(source / "sub" / "pipe")
    (source / "sub" / "deep" / "script").write_text("#!/bin/sh")
    os.chmod(source / "sub" / "deep" / "script", 0o4751)
    os.chmod(source / "sub", 0o1777)
    os.utime(source / "file", ns=(1_000_000_001, 2_000_000_002))
    os.utime(source / "sub", ns=(3, 4))
    return source, target


def test_copy(both: tuple[Path, Path]) -> None:
    source, target = both
    copy(source, target)
    for path in sorted(source.rglob("*")):
        old, new = path.lstat(), (target / path.relative_to(source)).lstat()
        assert (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid), path
        assert new.st_mtime_ns == old.st_mtime_ns, path
    assert (target / "file").read_bytes() == b"x" * 100_000
    assert os.readlink(target / "link") == "/etc/shadow"
    assert (target / "file").stat().st_ino == (target / "sub" / "twin").stat().st_ino
    assert stat.S_ISFIFO((target / "sub" / "pipe").stat().st_mode)


def test_extended_attributes(both: tuple[Path, Path]) -> None:
    source, target = both
    try:
        os.setxattr(source / "file", "user.color", b"blue")
    except OSError as error:
        pytest.skip(f"this file system has no user attributes: {error.strerror}")
    copy(source, target)
    assert os.getxattr(target / "file", "user.color") == b"blue"


def test_an_error_names_the_entry(both: tuple[Path, Path]) -> None:
    source, target = both
    (target / "sub").mkdir()
    with pytest.raises(FileExistsError) as caught:
        copy(source, target)
    assert caught.value.filename == "sub"


def test_a_pseudo_file_is_read_to_its_end(tmp_path: Path) -> None:
    proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    into = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    trees.copy_file(proc, "status", into, "status")
    os.close(proc)
    os.close(into)
    assert (tmp_path / "status").read_text().startswith("Name:")
