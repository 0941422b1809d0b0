"""The kernel's overlay: its mounts, its marks, and the union by hand as its equal."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from labcontainer import overlay, union
from labcontainer.errors import UnsupportedError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.overlay import Overlay
from labcontainer.union import Union
from tests.system import forked

kernel_overlay = pytest.mark.requires("root", "overlay")


def layers(top: Path, *names: str) -> list[str]:
    for name in names:
        (top / name).mkdir()
    return [str(top / name) for name in names]


def on_tmpfs(function: Callable[[Path], Any], place: Path) -> Any:
    """Run on a tmpfs of the child's own: the test's directory may be an overlay itself."""

    def run() -> Any:
        syscalls.mount("tmpfs", str(place), "tmpfs")
        return function(place)

    return forked.call(run, flags=int(CLONE.NEWNS))


@kernel_overlay
def test_mount_shows_all_layers_and_writes_to_the_upper(tmp_path: Path) -> None:
    def scene(top: Path) -> None:
        a, b, upper, work, merged = layers(top, "a", "b", "upper", "work", "merged")
        Path(a, "both").write_text("a")
        Path(b, "both").write_text("b")
        Path(a, "low").write_text("low")
        with overlay.Mounted(Overlay((b, a), upper, work), merged):
            assert sorted(os.listdir(merged)) == ["both", "low"]
            assert Path(merged, "both").read_text() == "b"
            os.unlink(f"{merged}/low")
            Path(merged, "new").touch()
        assert os.listdir(merged) == []
        assert union.is_whiteout(f"{upper}/low") and os.path.exists(f"{upper}/new")

    on_tmpfs(scene, tmp_path)


@kernel_overlay
def test_odd_characters_in_names(tmp_path: Path) -> None:
    def scene(top: Path) -> None:
        names = ("a:b", "c,d", "e\\f", "upper,:", "wo,rk", "merged")
        one, two, three, upper, work, merged = layers(top, *names)
        for number, layer in enumerate((one, two, three)):
            Path(layer, f"file{number}").touch()
        with overlay.Mounted(Overlay((one, two, three), upper, work), merged):
            assert sorted(os.listdir(merged)) == ["file0", "file1", "file2"]
            Path(merged, "new").touch()
        assert os.listdir(upper) == ["new"]

    on_tmpfs(scene, tmp_path)


@kernel_overlay
@pytest.mark.parametrize("way", ["by layers", "relative"])
def test_more_layers_than_a_page_of_options_holds(tmp_path: Path, way: str) -> None:
    def scene(top: Path) -> str:
        names = [f"{number:03}-{'x' * 60}" for number in range(80 if way == "by layers" else 55)]
        lowers = layers(top, *names)
        for layer in lowers:
            Path(layer, os.path.basename(layer)[:3]).touch()
        upper, work, merged = layers(top, "upper", "work", "merged")
        spec = Overlay(tuple(lowers), upper, work)
        assert len(overlay.options(spec)) > overlay.PAGE
        if way == "by layers":
            if not overlay._mount_by_layers(spec, merged):
                return "missing"
        else:
            overlay._mount_relative(spec, merged)
        assert len(os.listdir(merged)) == len(lowers)
        assert os.getcwd() != str(top)
        return ""

    place = tmp_path / "a-directory-with-a-long-name"
    place.mkdir()
    if on_tmpfs(scene, place) == "missing":
        pytest.skip("this kernel's overlayfs has no lowerdir+ (Linux 6.8)")


@kernel_overlay
def test_names_that_fit_no_page_even_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "_mount_by_layers", lambda *_args: False)

    def scene(top: Path) -> None:
        lowers = layers(top, *(f"{number:03}-{'x' * 100}" for number in range(50)))
        overlay.mount(Overlay(tuple(lowers)), str(top))

    with pytest.raises(UnsupportedError, match="more than a page; use shorter names"):
        on_tmpfs(scene, tmp_path)


def test_too_many_layers() -> None:
    with pytest.raises(UnsupportedError, match="501 layers: overlayfs takes 500"):
        overlay.mount(Overlay(tuple(map(str, range(501)))), "/nowhere")


@pytest.mark.requires("root", "overlay-userns")
def test_as_an_ordinary_user(tmp_path: Path) -> None:
    def scene() -> tuple[str, bool]:
        syscalls.mount("tmpfs", str(tmp_path), "tmpfs")
        lower, upper, work, merged = layers(tmp_path, "lower", "upper", "work", "merged")
        os.mkdir(f"{lower}/folder")
        Path(lower, "folder", "old").touch()
        with overlay.Mounted(Overlay((lower,), upper, work, user_xattr=True), merged):
            shutil.rmtree(f"{merged}/folder")
            os.mkdir(f"{merged}/folder")
            assert os.listdir(f"{merged}/folder") == []
        return upper, Union((lower,), upper, user_xattr=True).exists("folder/old")

    forked.open_to_all(tmp_path)
    flags = int(CLONE.NEWUSER | CLONE.NEWNS)
    if on_tmpfs(lambda place: overlay.try_mount(str(place), in_user_namespace=True), tmp_path):
        pytest.skip("a tmpfs keeps no user.* attributes before Linux 6.6")
    _, exists = forked.call(scene, flags=flags, uid=1000)
    assert exists is False


# --- choosing ------------------------------------------------------------------------------------


@kernel_overlay
def test_choose_as_root(tmp_path: Path) -> None:
    choice = on_tmpfs(lambda place: (overlay.choose(str(place)), os.listdir(place)), tmp_path)
    assert choice[0].kind == "overlay" and choice[1] == []


@pytest.mark.requires("root", "overlay-userns")
def test_choose_as_an_ordinary_user(tmp_path: Path) -> None:
    forked.open_to_all(tmp_path)
    os.chown(tmp_path, 1000, 1000)
    choice = forked.call(overlay.choose, str(tmp_path), uid=1000)
    assert choice.kind in ("user overlay", "copy")
    assert "this user may not mount" in choice.reason and os.listdir(tmp_path) == []


def test_choose_falls_back_to_a_copy_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_overlay(*_args: object) -> None:
        raise UnsupportedError("overlayfs", "not here")

    monkeypatch.setattr(overlay, "mount", no_overlay)
    choice = overlay.choose(str(tmp_path))
    assert choice.kind == "copy" and os.listdir(tmp_path) == []


# --- the union by hand against the kernel --------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "a/c", "a/d", "b/c", "a/c/e", "new", "new/x"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.binary(max_size=4)),
        st.tuples(st.just("append"), NAMES, st.binary(max_size=4)),
        st.tuples(st.just("mkdir"), NAMES),
        st.tuples(st.just("remove"), NAMES),
        st.tuples(st.just("rename"), NAMES, NAMES),
    ),
    max_size=12,
)


def by_hand(tree: Union, step: tuple[Any, ...]) -> int:
    """One step on our union; the errno, 0 where it went well."""
    action, path, *rest = step
    try:
        if action in ("write", "append"):
            tree.write(path, rest[0], append=action == "append")
        else:
            getattr(tree, action)(path, *rest)
    except OSError as error:
        return error.errno or -1
    return 0


def by_kernel(merged: str, step: tuple[Any, ...]) -> int:
    """The same step on the kernel's mount."""
    action, path, *rest = step
    real = f"{merged}/{path}"
    try:
        if action in ("write", "append"):
            with open(real, "ab" if action == "append" else "wb") as file:
                file.write(rest[0])
        elif action == "mkdir":
            os.mkdir(real)
        elif action == "remove":
            is_directory = stat.S_ISDIR(os.lstat(real).st_mode)
            (os.rmdir if is_directory else os.unlink)(real)
        else:
            os.rename(real, f"{merged}/{rest[0]}")
    except OSError as error:
        return error.errno or -1
    return 0


def shown(top: str) -> dict[str, bytes | None]:
    """Every path below a directory, with its contents."""
    found: dict[str, bytes | None] = {}
    for folder, names, files in os.walk(top):
        for name in names:
            found[os.path.relpath(f"{folder}/{name}", top)] = None
        for name in files:
            path = f"{folder}/{name}"
            found[os.path.relpath(path, top)] = Path(path).read_bytes()
    return found


def run_both(steps: list[tuple[Any, ...]], top: Path) -> None:
    a, b, upper, work, merged, mine = layers(top, "a", "b", "upper", "work", "merged", "mine")
    for path, data in (("a/c", b"low c"), ("a/d", b"low d"), ("b", b"low b")):
        Path(a, path).parent.mkdir(exist_ok=True)
        Path(a, path).write_bytes(data)
    os.makedirs(f"{b}/a/c")
    Path(b, "a", "c", "e").write_bytes(b"top e")
    union.make_whiteout(f"{b}/a/d")
    tree = Union((b, a), mine)
    overlay.mount(Overlay((b, a), upper, work, extra=("redirect_dir=off",)), merged)
    for step in steps:
        assert bool(by_hand(tree, step)) == bool(by_kernel(merged, step)), step
        ours = {path: _contents(tree, path) for path in tree.walk()}
        assert ours == shown(merged), step
    overlay.unmount(merged)
    # The kernel reads our upper, and we read the kernel's.
    overlay.mount(Overlay((mine, b, a)), merged)
    assert shown(merged) == ours_after(tree)
    assert ours_after(Union((b, a), upper)) == ours_after(tree)
    overlay.unmount(merged)


def ours_after(tree: Union) -> dict[str, bytes | None]:
    return {path: _contents(tree, path) for path in tree.walk()}


def _contents(tree: Union, path: str) -> bytes | None:
    return None if os.path.isdir(tree.find(path)[0]) else tree.read(path)


@kernel_overlay
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
@example(steps=[("remove", "a/c/e"), ("remove", "a/c"), ("mkdir", "a/c")])  # opaque, by mkdir
@example(steps=[("mkdir", "new"), ("remove", "b"), ("rename", "new", "b")])
@example(
    steps=[
        *(("mkdir", "new"), ("write", "new/x", b"1"), ("remove", "a/c/e"), ("remove", "a/c")),
        ("rename", "new", "a/c"),  # opaque, by rename
    ]
)
@example(steps=[("write", "a/d", b"2"), ("rename", "a/d", "b"), ("append", "b", b"3")])
@example(steps=[("rename", "a", "new"), ("remove", "a/c/e"), ("rename", "a/c", "new")])
def test_the_union_by_hand_equals_the_kernels(tmp_path: Path, steps: list[tuple[Any, ...]]) -> None:
    on_tmpfs(lambda top: run_both(steps, top), tmp_path)


@kernel_overlay
def test_nothing_is_left_mounted_by_a_failed_block(tmp_path: Path) -> None:
    def scene(top: Path) -> list[str]:
        lower, merged = layers(top, "lower", "merged")
        try:
            with overlay.Mounted(Overlay((lower, lower + "/.")), merged):
                raise KeyError
        except (KeyError, OSError):
            pass
        syscalls.mount(None, "/", None, MS.PRIVATE | MS.REC)
        return [
            line for line in Path("/proc/self/mountinfo").read_text().split() if "merged" in line
        ]

    assert on_tmpfs(scene, tmp_path) == []
