"""The union by hand: what it shows after each change, and what that leaves in the upper."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from labcontainer import union
from labcontainer.union import Union


@pytest.fixture
def tree(tmp_path: Path) -> Union:
    """Two lower layers and an empty upper."""
    for layer in ("top", "base", "upper"):
        (tmp_path / layer).mkdir()
    base, top = tmp_path / "base", tmp_path / "top"
    (base / "etc" / "conf.d").mkdir(parents=True)
    (base / "etc" / "hosts").write_text("base")
    (base / "etc" / "conf.d" / "one").write_text("1")
    (base / "gone").write_text("removed by top")
    (base / "kind").mkdir()
    (base / "kind" / "inner").touch()
    (top / "etc").mkdir()
    (top / "etc" / "hosts").write_text("top")
    (top / "etc" / "motd").write_text("hello")
    (top / "kind").write_text("a file here, a directory below")
    (top / "link").symlink_to("/etc/passwd")
    union.make_whiteout(str(top / "gone"))
    return Union((str(top), str(base)), str(tmp_path / "upper"), user_xattr=True)


def upper(tree: Union) -> list[str]:
    """What is in the upper: names, `!` after a whiteout."""
    found = []
    for folder, names, files in os.walk(tree.upper):
        for name in (*names, *files):
            path = os.path.join(folder, name)
            mark = "!" if union.is_whiteout(path) else ""
            found.append(os.path.relpath(path, tree.upper) + mark)
    return sorted(found)


def test_what_the_layers_show_together(tree: Union) -> None:
    assert tree.listdir() == ["etc", "kind", "link"]
    assert tree.listdir("etc") == ["conf.d", "hosts", "motd"]
    assert tree.read("etc/hosts") == b"top"
    assert tree.read("etc/conf.d/one") == b"1"
    assert not tree.exists("gone") and not tree.exists("kind/inner")
    assert len(tree.find("etc")) == 2
    assert tree.walk() == [
        *("etc", "etc/conf.d", "etc/conf.d/one", "etc/hosts", "etc/motd", "kind", "link")
    ]
    with pytest.raises(FileNotFoundError):
        tree.read("gone")


def test_a_write_copies_up_and_leaves_the_layers_alone(tree: Union) -> None:
    tree.write("etc/hosts", b"+", append=True)
    assert tree.read("etc/hosts") == b"top+"
    assert upper(tree) == ["etc", "etc/hosts"]
    assert (Path(tree.lowers[0]) / "etc" / "hosts").read_text() == "top"


def test_a_removed_file_stays_away_by_a_whiteout(tree: Union) -> None:
    tree.remove("etc/hosts")
    assert not tree.exists("etc/hosts") and upper(tree) == ["etc", "etc/hosts!"]
    tree.write("etc/hosts", b"new")
    assert tree.read("etc/hosts") == b"new" and upper(tree) == ["etc", "etc/hosts"]
    tree.write("only-up", b"")
    tree.remove("only-up")
    assert "only-up!" not in upper(tree)


def test_a_directory_made_again_is_opaque(tree: Union) -> None:
    tree.remove("etc/conf.d/one")
    tree.remove("etc/conf.d")
    try:
        tree.mkdir("etc/conf.d")
    except OSError as error:
        pytest.skip(f"no user attributes on this file system: {error.strerror}")
    assert tree.listdir("etc/conf.d") == []
    assert tree.is_opaque(f"{tree.upper}/etc/conf.d")
    assert len(tree.find("etc/conf.d")) == 1


def test_rename_is_a_copy_and_a_whiteout(tree: Union) -> None:
    tree.rename("etc/hosts", "etc/names")
    assert tree.read("etc/names") == b"top" and not tree.exists("etc/hosts")
    assert upper(tree) == ["etc", "etc/hosts!", "etc/names"]
    tree.rename("etc/names", "etc/motd")
    assert tree.read("etc/motd") == b"top" and upper(tree) == ["etc", "etc/hosts!", "etc/motd"]


@pytest.mark.parametrize(
    ("action", "args", "code"),
    [
        ("rename", ("etc", "other"), errno.EXDEV),
        ("rename", ("etc/hosts", "etc/conf.d"), errno.EISDIR),
        ("rename", ("missing", "etc/x"), errno.ENOENT),
        ("remove", ("etc",), errno.ENOTEMPTY),
        ("remove", ("gone",), errno.ENOENT),
        ("mkdir", ("etc",), errno.EEXIST),
    ],
)
def test_refusals(tree: Union, action: str, args: tuple[str, ...], code: int) -> None:
    with pytest.raises(OSError) as caught:
        getattr(tree, action)(*args)
    assert caught.value.errno == code and upper(tree) == []


def test_a_directory_of_the_upper_can_be_renamed(tree: Union) -> None:
    tree.mkdir("new")
    tree.write("new/file", b"x")
    with pytest.raises(OSError) as caught:
        tree.rename("new", "new/inside")
    assert caught.value.errno == errno.EINVAL
    tree.rename("new", "moved")
    assert tree.read("moved/file") == b"x" and not tree.exists("new")


def test_links_are_entries(tree: Union) -> None:
    tree.rename("link", "other")
    assert os.readlink(f"{tree.upper}/other") == "/etc/passwd"


def test_a_flat_copy_is_what_the_union_shows(tree: Union, tmp_path: Path) -> None:
    tree.remove("etc/motd")
    os.utime(f"{tree.lowers[1]}/etc/conf.d", ns=(5, 6))
    flat = tmp_path / "flat"
    flat.mkdir()
    tree.copy_to(str(flat))
    assert sorted(str(path.relative_to(flat)) for path in flat.rglob("*")) == tree.walk()
    assert (flat / "etc" / "hosts").read_text() == "top"
    assert (flat / "etc" / "conf.d").stat().st_mtime_ns == 6
