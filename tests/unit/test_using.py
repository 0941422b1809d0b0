"""Which of a learner's functions take the place of the package's, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer import namespaces, rootfs
from labcontainer.errors import LabError
from labcontainer.runtime import using


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A learner's package; what it replaced is put back."""
    before = (rootfs.pivot_root, namespaces.reap, list(sys.path))
    folder = tmp_path / "minecontainer"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "chroot.py").write_text("def pivot(path):\n    return 'mine'\n")
    yield folder
    rootfs.pivot_root, namespaces.reap, sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("minecontainer")]:
        del sys.modules[name]


def replaces(folder: Path, table: object) -> None:
    (folder / "replaces.json").write_text(json.dumps(table))


def test_a_done_exercise_takes_the_place_of_its_function(mine: Path) -> None:
    replaces(mine, {"labcontainer.rootfs.pivot_root": "chroot.pivot"})
    assert using.install(str(mine)) == ("labcontainer.rootfs.pivot_root",)
    assert rootfs.pivot_root("x") == "mine"  # type: ignore[func-returns-value]


def test_all_or_none(mine: Path) -> None:
    before = rootfs.pivot_root
    table = {"labcontainer.rootfs.pivot_root": "chroot.pivot",
             "labcontainer.namespaces.reap": "namespaces.reap"}  # fmt: skip
    replaces(mine, table)
    with pytest.raises(LabError, match=r"namespaces\.py"):
        using.install(str(mine))
    assert rootfs.pivot_root is before


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([], "must map names"),
        ({"labcontainer.rootfs.pivot_root": 3}, "must map names"),
        ({"os.system": "chroot.pivot"}, "no function of the ladder"),
        ({"labcontainer.kernel.syscalls": "chroot.pivot"}, "no function of the ladder"),
        ({"labcontainer.rootfs.nothing": "chroot.pivot"}, "no function of the ladder"),
        ({"labcontainer.rootfs.pivot_root": "chroot.other"}, "has no function 'other'"),
    ],
)
def test_what_is_refused(mine: Path, table: object, words: str) -> None:
    replaces(mine, table)
    with pytest.raises(LabError, match=words):
        using.install(str(mine))


def test_a_missing_package_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="does not exist; the exercises"):
        using.install(str(tmp_path / "none"))


def test_a_torn_table_is_named(mine: Path) -> None:
    (mine / "replaces.json").write_text("{")
    with pytest.raises(LabError, match=r"replaces\.json"):
        using.install(str(mine))


def test_a_module_that_fails_is_named(mine: Path) -> None:
    (mine / "chroot.py").write_text("1/0\n")
    replaces(mine, {"labcontainer.rootfs.pivot_root": "chroot.pivot"})
    with pytest.raises(LabError, match=r"chroot\.py: ZeroDivisionError"):
        using.install(str(mine))
