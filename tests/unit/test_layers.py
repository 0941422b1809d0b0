"""Layers packed and unpacked: round trips, whiteouts, and other tools' archives."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.image import diff, tarformat
from labcontainer.image.tarformat import Entry
from tests.unit import trees
from tests.unit.archives import ROOT, apply, archive, opened, packed, slow_disk

# --- round trips --------------------------------------------------------------------------------


@slow_disk
@given(trees.TREES)
def test_a_tree_comes_back(tree: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as top:
        trees.build(tree, Path(top, "one"))
        data, found = packed(Path(top, "one"))
        applied = apply(data, Path(top, "two"))
        assert trees.seen(Path(top, "two")) == trees.seen(Path(top, "one"))
        assert (applied.diff_id, applied.entries) == (found.diff_id, found.entries)
        assert packed(Path(top, "two"))[1].diff_id == found.diff_id


@slow_disk
@given(trees.TREES)
def test_gnu_tar_and_pythons_tarfile_read_what_we_write(tree: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as top:
        trees.build(tree, Path(top, "one"))
        data, _ = packed(Path(top, "one"))
        with tarfile.open(fileobj=io.BytesIO(data)) as file:
            file.extraction_filter = lambda member, _path: member  # all of it; Python before 3.12
            file.extractall(Path(top, "two"))
        os.mkdir(f"{top}/three")
        subprocess.run(["tar", "-C", f"{top}/three", "-xp"], input=data, check=True)
        assert trees.seen(Path(top, "two")) == trees.seen(Path(top, "one"))
        assert trees.seen(Path(top, "three")) == trees.seen(Path(top, "one"))


@slow_disk
@given(trees.TREES, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_we_read_what_pythons_tarfile_writes(tree: dict[str, Any], form: int) -> None:
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as top:
        trees.build(tree, Path(top, "one"))
        with tarfile.open(fileobj=out, mode="w", format=form) as file:
            file.add(Path(top, "one"), ".")
        apply(out.getvalue(), Path(top, "two"))
        assert trees.seen(Path(top, "two")) == trees.seen(Path(top, "one"))


@slow_disk
@given(trees.TREES, st.sampled_from(["gnu", "posix", "ustar"]))
def test_we_read_what_gnu_tar_writes(tree: dict[str, Any], form: str) -> None:
    with tempfile.TemporaryDirectory() as top:
        trees.build(tree, Path(top, "one"))
        made = subprocess.run(["tar", "-C", f"{top}/one", f"--format={form}", "-c", "."],
                              capture_output=True, check=False)  # fmt: skip
        if made.returncode:
            return  # ustar has no room for every name
        apply(made.stdout, Path(top, "two"))
        assert trees.seen(Path(top, "two")) == trees.seen(Path(top, "one"))


@pytest.mark.parametrize("form", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1",
                                  "posix --sparse-version=1.0"])  # fmt: skip
def test_sparse_files_keep_their_holes(tmp_path: Path, form: str) -> None:
    (tmp_path / "one").mkdir()
    with open(tmp_path / "one/holes", "wb") as file:
        for place in range(0, 60 << 20, 2 << 20):
            file.seek(place)
            file.write(b"data")
        file.truncate(64 << 20)
    made = subprocess.run(["tar", "-C", tmp_path / "one", *f"--format={form}".split(), "-S", "-c",
                           "."], capture_output=True, check=True)  # fmt: skip
    assert len(made.stdout) < 4 << 20
    apply(made.stdout, tmp_path / "two")
    one, two = tmp_path / "one/holes", tmp_path / "two/holes"
    assert two.read_bytes() == one.read_bytes()
    assert two.stat().st_blocks * 512 < 8 << 20


def test_hard_links_are_one_file_again(tmp_path: Path) -> None:
    trees.build({"a": (b"x", 0o644), "d": {}}, tmp_path / "one")
    os.link(tmp_path / "one/a", tmp_path / "one/d/b")
    data, found = packed(tmp_path / "one")
    apply(data, tmp_path / "two")
    assert (tmp_path / "two/a").stat().st_ino == (tmp_path / "two/d/b").stat().st_ino
    assert found.size == 1


def test_attributes_come_back_but_not_those_of_overlayfs(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/f").write_text("x")
    os.setxattr(tmp_path / "one/f", "user.colour", b"blue\0\n")
    data, _ = packed(tmp_path / "one")
    apply(data, tmp_path / "two")
    assert os.getxattr(tmp_path / "two/f", "user.colour") == b"blue\0\n"
    redirects = {f"{kind}.overlay.redirect": b"/etc" for kind in ("user", "trusted")}
    led = Entry("d", tarformat.DIRECTORY, 0o755, xattrs=redirects)
    apply(archive(led), tmp_path / "three")
    assert os.listxattr(tmp_path / "three/d") == []


@pytest.mark.skipif(not ROOT, reason="devices and owners are root's")
def test_devices_owners_and_set_user_id(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    os.mknod(one / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(one / "pipe")
    (one / "null").chmod(0o666)
    (one / "pipe").chmod(0o620)
    (one / "su").write_text("x")
    os.chown(one / "su", 3_000_000, 7)
    (one / "su").chmod(0o6755)
    data, _ = packed(one)
    apply(data, tmp_path / "two")
    null, pipe, su = ((tmp_path / "two" / name).stat() for name in ("null", "pipe", "su"))
    assert (null.st_rdev, stat.S_IMODE(null.st_mode)) == (os.makedev(1, 3), 0o666)
    assert (stat.S_ISFIFO(pipe.st_mode), stat.S_IMODE(pipe.st_mode)) == (True, 0o620)
    assert (su.st_uid, su.st_gid, stat.S_IMODE(su.st_mode)) == (3_000_000, 7, 0o6755)


def test_a_time_before_the_epoch_and_no_later_than_asked(tmp_path: Path) -> None:
    trees.build({"old": (b"", 0o644), "new": (b"", 0o644)}, tmp_path / "one")
    os.utime(tmp_path / "one/old", (-5, -5))
    data, _ = packed(tmp_path / "one", newest=1000)
    apply(data, tmp_path / "two")
    assert (tmp_path / "two/old").stat().st_mtime == -5
    assert (tmp_path / "two/new").stat().st_mtime == 1000


# --- changes ------------------------------------------------------------------------------------


@slow_disk
@given(trees.TREES, trees.TREES)
def test_old_and_changes_make_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as top:
        trees.build(old, Path(top, "old"))
        trees.build(new, Path(top, "new"))
        for path in Path(top, "new").rglob("*"):  # as if it were written later
            os.utime(path, (trees.WHEN + 9, trees.WHEN + 9), follow_symlinks=False)
        out = io.BytesIO()
        with opened(Path(top, "old")) as before, opened(Path(top, "new")) as after:
            diff.pack_changes(before, after, out)
        apply(packed(Path(top, "old"))[0], Path(top, "tree"))
        apply(out.getvalue(), Path(top, "tree"), whiteouts="apply")
        assert trees.without_times(trees.seen(Path(top, "tree"))) == trees.without_times(
            trees.seen(Path(top, "new")))  # fmt: skip


def test_no_change_is_an_empty_layer(tmp_path: Path) -> None:
    trees.build({"a": (b"x", 0o644), "d": {"l": "a"}}, tmp_path / "one")
    out = io.BytesIO()
    with opened(tmp_path / "one") as fd:
        assert diff.pack_changes(fd, fd, out).entries == 0


def test_a_directory_with_changes_is_a_member_too(tmp_path: Path) -> None:
    """A layer by itself says the mode of /root, though only a file in it is new."""
    for name in ("old", "new"):
        trees.build({"root": {"a": (b"", 0o644)}, "etc": {}, "z": {"gone": {}}}, tmp_path / name)
        (tmp_path / name / "root").chmod(0o700)
    trees.build({"b": (b"", 0o644)}, tmp_path / "new/root")
    (tmp_path / "new/z/gone").rmdir()
    for path in (tmp_path / "new").rglob("*"):
        os.utime(path, (trees.WHEN, trees.WHEN))
    out = io.BytesIO()
    with opened(tmp_path / "old") as before, opened(tmp_path / "new") as after:
        diff.pack_changes(before, after, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as file:
        assert file.getnames() == ["root", "root/b", "z", "z/.wh.gone"]
        assert file.getmember("root").mode == 0o700


def test_a_directory_that_was_renamed_by_reference_is_refused(tmp_path: Path) -> None:
    (tmp_path / "upper/d").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/d", "user.overlay.redirect", b"/old")
    with opened(tmp_path / "upper") as fd, pytest.raises(errors.UnsupportedError, match="redirect"):
        diff.pack_upper(fd, io.BytesIO())


@pytest.mark.parametrize("pack", [diff.pack, diff.pack_upper])
def test_a_tree_too_deep_for_a_layer_is_one_error(tmp_path: Path, pack: Any) -> None:
    (tmp_path / "tree" / "/".join("d" * 300)).mkdir(parents=True)
    with opened(tmp_path / "tree") as fd, pytest.raises(errors.LabError, match="too deep"):
        pack(fd, io.BytesIO())


def test_directories_that_only_names_imply_are_open_to_all(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        apply(archive((Entry("usr/bin/f", mode=0o755), b"")), tmp_path / "root")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / "root" / name).stat().st_mode)
             for name in ("usr", "usr/bin", "usr/bin/f")]  # fmt: skip
    assert modes == [0o755, 0o755, 0o755]


def marks(path: Path) -> dict[str, Any]:
    return {name: facts[0] for name, facts in trees.seen(path).items()}


def test_whiteouts_become_overlayfs_marks_and_come_back(tmp_path: Path) -> None:
    data = archive(Entry("d/", tarformat.DIRECTORY, 0o755), Entry("d/.wh..wh..opq"),
                   (Entry("d/new"), b"n"), Entry(".wh.gone"))  # fmt: skip
    apply(data, tmp_path / "upper")
    assert marks(tmp_path / "upper") == {"d": stat.S_IFDIR, "d/new": stat.S_IFREG, "gone": "gone"}
    name = "trusted.overlay.opaque" if ROOT else "user.overlay.opaque"
    assert os.getxattr(tmp_path / "upper/d", name) == b"y"
    out = io.BytesIO()
    with opened(tmp_path / "upper") as fd:
        diff.pack_upper(fd, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as file:
        assert file.getnames() == ["d", "d/.wh..wh..opq", "d/new", ".wh.gone"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_whiteout_and_the_same_name_in_one_layer(tmp_path: Path, turned: bool) -> None:
    """Only what is below is hidden, in whichever order they come."""
    members = [Entry(".wh.d"), Entry("d", tarformat.DIRECTORY, 0o755)]
    apply(archive(*(reversed(members) if turned else members)), tmp_path / "upper")
    assert marks(tmp_path / "upper") == {"d": stat.S_IFDIR}
    assert os.listxattr(tmp_path / "upper/d")
    trees.build({"d": {"old": (b"", 0o644)}}, tmp_path / "tree")
    apply(archive(*members, (Entry("d/new"), b"")), tmp_path / "tree", whiteouts="apply")
    assert marks(tmp_path / "tree") == {"d": stat.S_IFDIR, "d/new": stat.S_IFREG}


def test_an_opaque_directory_over_a_tree(tmp_path: Path) -> None:
    trees.build({"d": {"old": (b"", 0o644), "kept": {"old": (b"", 0o644)}}}, tmp_path / "tree")
    data = archive((Entry("d/kept/new"), b""), Entry("d/.wh..wh..opq"))
    apply(data, tmp_path / "tree", whiteouts="apply")
    assert "d/old" not in trees.seen(tmp_path / "tree")
    assert "d/kept/new" in trees.seen(tmp_path / "tree")
