"""Layers and the kernel: what an upper directory says, attributes, mounts, no privilege."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from labcontainer import overlay
from labcontainer.image import deleting, diff
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.overlay import Overlay
from tests.system import forked
from tests.unit import trees
from tests.unit.archives import apply, archive, opened, packed

pytestmark = pytest.mark.requires("root", "overlay")
ROOT = Path(__file__).resolve().parents[2]


def on_tmpfs(function: Callable[[Path], Any], place: Path) -> Any:
    """Run on a tmpfs of the child's own: the test's directory may be an overlay itself."""

    def run() -> Any:
        syscalls.mount("tmpfs", str(place), "tmpfs")
        return function(place)

    return forked.call(run, flags=int(CLONE.NEWNS))


def become(path: Path, tree: dict[str, Any]) -> None:
    """Change a directory into what the tree says, as a program in a container would."""
    for name in os.listdir(path):
        place = path / name
        if not place.is_dir() or place.is_symlink():
            place.unlink()
        elif not isinstance(tree.get(name), dict):
            shutil.rmtree(place)
    for name, what in tree.items():
        if isinstance(what, dict) and (path / name).is_dir():
            become(path / name, what)
        else:
            trees.build({name: what}, path)


def facts(path: Path) -> dict[str, Any]:
    return trees.without_times(trees.seen(path))


@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(old=trees.TREES, new=trees.TREES)
def test_what_a_container_changed_is_the_same_elsewhere(
    tmp_path: Path, old: dict[str, Any], new: dict[str, Any]
) -> None:
    """From the kernel's upper directory to a layer, and from that over the same tree again."""

    def scene(top: Path) -> None:
        for name in ("upper", "work", "merged"):
            (top / name).mkdir()
        trees.build(old, top / "lower")
        lower, upper, work, merged = (str(top / n) for n in ("lower", "upper", "work", "merged"))
        with overlay.Mounted(Overlay((lower,), upper, work), merged):
            become(top / "merged", new)
            wanted = facts(top / "merged")
        out = io.BytesIO()
        with opened(top / "upper") as fd:
            diff.pack_upper(fd, out)
        apply(out.getvalue(), top / "layer")
        with overlay.Mounted(Overlay((str(top / "layer"), lower)), merged):
            assert facts(top / "merged") == wanted
        apply(out.getvalue(), top / "lower", whiteouts="apply")
        assert facts(top / "lower") == wanted

    on_tmpfs(scene, tmp_path)


@pytest.mark.requires("setcap")
def test_capabilities_of_files_come_back(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    program = tmp_path / "one/ping"
    program.write_text("x")
    program.chmod(0o755)
    subprocess.run(["setcap", "cap_net_raw+ep", program], check=True)
    apply(packed(tmp_path / "one")[0], tmp_path / "two")
    shown = subprocess.run(["getcap", tmp_path / "two/ping"], capture_output=True, text=True,
                           check=True)  # fmt: skip
    assert "cap_net_raw" in shown.stdout
    made = subprocess.run(["tar", "-C", tmp_path / "one", "--xattrs", "--xattrs-include=*", "-c",
                           "."], capture_output=True, check=True)  # fmt: skip
    apply(made.stdout, tmp_path / "three")
    name = "security.capability"
    assert os.getxattr(tmp_path / "three/ping", name) == os.getxattr(program, name)


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_mount_in_a_tree_is_not_emptied(tmp_path: Path, kind: str) -> None:
    """A volume that is still mounted in a container's files is not the container's to delete."""

    def scene(top: Path) -> None:
        for name in ("tree/a/volume", "host"):
            (top / name).mkdir(parents=True)
        volume = top / "tree/a/volume"
        if kind == "bind":
            syscalls.mount(str(top / "host"), str(volume), None, MS.BIND)
        else:
            syscalls.mount("tmpfs", str(volume), "tmpfs")
        (volume / "precious").write_text("x")
        with opened(top) as fd:
            try:
                deleting.remove(fd, "tree")
            except OSError as error:
                said = os.strerror(error.errno or 0)
        assert said == "Invalid cross-device link"
        assert (volume / "precious").exists()
        syscalls.umount2(str(volume))
        with opened(top) as fd:
            deleting.remove(fd, "tree")
        assert not (top / "tree").exists()

    on_tmpfs(scene, tmp_path)


UNPACK = """
import os, sys
from labcontainer.image import layers
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
layers.apply(sys.stdin.buffer, fd, owners=False, user_xattr=True)
"""


def test_an_ordinary_user_unpacks_what_belongs_to_others(tmp_path: Path) -> None:
    """Without a range of ids: files are the user's own, devices are left out, marks are user's."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "shadow").write_text("x")
    os.chown(one / "shadow", 0, 42)
    (one / "shadow").chmod(0o640)
    os.mknod(one / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    made = packed(one)[0][:-1024]  # without the archive's end
    marks = archive(diff.whiteout("gone"), diff.whiteout("d/.wh..opq"))
    two.mkdir()
    os.chown(two, 1000, 1000)
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o755)
    drop = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--"]
    done = subprocess.run([*drop, sys.executable, "-c", UNPACK, two], input=made + marks,
                          capture_output=True, check=False,
                          env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(two)) == ["d", "gone", "shadow"]
    shadow, gone = (two / "shadow").stat(), (two / "gone").stat()
    assert (shadow.st_uid, shadow.st_gid, stat.S_IMODE(shadow.st_mode)) == (1000, 1000, 0o640)
    assert (stat.S_ISCHR(gone.st_mode), gone.st_rdev) == (True, 0)
    assert os.getxattr(two / "d", "user.overlay.opaque") == b"y"
