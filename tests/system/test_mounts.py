"""Single mounts: attributes, propagation, copies, id maps; read back from mountinfo."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from labcontainer import mounts, rootfs, users
from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.kernel import mounts as kernel_mounts
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.mounts import Mount, parse_mount_options
from tests.system import forked

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def places(tmp_path: Path) -> tuple[str, str]:
    """A root and a source directory with a file, and a directory for a nested mount."""
    root, source = tmp_path / "root", tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "file").write_text("shared")
    root.mkdir()
    forked.open_to_all(tmp_path)
    return str(root), str(source)


@pytest.fixture(params=["new calls", "mount(2)"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    new = request.param == "new calls"
    monkeypatch.setattr(kernel_mounts._Kernel, "has_mount_setattr", None if new else False)
    return str(request.param)


def bind(source: str, *words: str) -> Mount:
    return Mount("/data", "bind", source, **parse_mount_options(words))


def place(root: str, *entries: Mount, nested: str = "") -> None:
    """In a mount namespace: a nested tmpfs in the source, then the mounts in the root."""
    if nested:
        syscalls.mount("tmpfs", nested, "tmpfs")
    os.chdir(root)
    for entry in entries:
        mounts.mount(entry)


def options(process: forked.Process, target: str) -> set[str]:
    return set(process.mounts()[target]["options"].split(","))


def test_attributes_of_a_bind(places: tuple[str, str], kernel: str) -> None:
    root, source = places
    entry = bind(source, "bind", "ro", "nosuid", "nodev", "noexec", "noatime")
    with forked.held(place, root, entry, flags=CLONE.NEWNS) as process:
        wanted = {"ro", "nosuid", "nodev", "noexec", "noatime"}
        assert wanted <= options(process, f"{root}/data")
        assert sorted(os.listdir(process.path(f"{root}/data"))) == ["below", "file"]


def test_a_bind_without_words_changes_nothing(places: tuple[str, str], kernel: str) -> None:
    root, source = places
    with forked.held(place, root, bind(source, "bind"), flags=CLONE.NEWNS) as process:
        assert "rw" in options(process, f"{root}/data")


def test_a_file_is_bound_on_a_file(places: tuple[str, str], kernel: str) -> None:
    root, source = places
    entry = bind(f"{source}/file", "bind", "ro").replace(target="/etc/resolv.conf")
    with forked.held(place, root, entry, flags=CLONE.NEWNS) as process:
        assert Path(process.path(f"{root}/etc/resolv.conf")).read_text() == "shared"
        assert "ro" in options(process, f"{root}/etc/resolv.conf")
    assert Path(root, "etc", "resolv.conf").read_bytes() == b""


def test_rbind_takes_what_is_mounted_below(places: tuple[str, str], kernel: str) -> None:
    root, source = places
    below = f"{root}/data/below"
    for words, expected in ((("rbind",), True), (("bind",), False)):
        nested = f"{source}/below"
        with forked.held(place, root, bind(source, *words), flags=CLONE.NEWNS) as process:
            assert below not in process.mounts()

        def nest(words: tuple[str, ...] = words, nested: str = nested) -> None:
            place(root, bind(source, *words), nested=nested)

        with forked.held(nest, flags=CLONE.NEWNS) as process:
            assert (below in process.mounts()) is expected


def test_ro_is_for_the_top_only_and_rro_for_all(places: tuple[str, str]) -> None:
    root, source = places

    def nest(*words: str) -> None:
        place(root, bind(source, *words), nested=f"{source}/below")

    with forked.held(nest, "rbind", "ro", "rprivate", flags=CLONE.NEWNS) as process:
        assert "ro" in options(process, f"{root}/data")
        assert "rw" in options(process, f"{root}/data/below")
    with forked.held(nest, "rbind", "rro", "rnosuid", flags=CLONE.NEWNS) as process:
        for target in (f"{root}/data", f"{root}/data/below"):
            assert {"ro", "nosuid"} <= options(process, target)


def test_rw_of_a_read_only_source(places: tuple[str, str], kernel: str) -> None:
    root, source = places

    def from_readonly(*words: str) -> None:
        syscalls.mount(source, source, None, MS.BIND)
        syscalls.mount(None, source, None, MS.BIND | MS.REMOUNT | MS.RDONLY | MS.NODEV)
        place(root, bind(source, *words))

    with forked.held(from_readonly, "bind", "nosuid", flags=CLONE.NEWNS) as process:
        assert {"ro", "nodev", "nosuid"} <= options(process, f"{root}/data")
    with forked.held(from_readonly, "bind", "rw", flags=CLONE.NEWNS) as process:
        assert {"rw", "nodev"} <= options(process, f"{root}/data")


@pytest.mark.requires("userns")
def test_locked_flags_are_kept_in_a_user_namespace(places: tuple[str, str], kernel: str) -> None:
    root, source = places
    os.chown(root, 1000, 1000)

    def locked(*words: str) -> None:
        syscalls.mount("tmpfs", source, "tmpfs", MS.NODEV | MS.NOSUID | MS.NOATIME)
        os.chmod(source, 0o777)
        os.chdir(root)
        forked.become_user(1000)
        syscalls.unshare(CLONE.NEWUSER | CLONE.NEWNS)
        for name, line in (("setgroups", "deny"), ("uid_map", "0 1000 1"), ("gid_map", "0 1000 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)
        mounts.mount(bind(source, *words))

    with forked.held(locked, "bind", "ro", flags=CLONE.NEWNS) as process:
        assert {"ro", "nodev", "nosuid", "noatime"} <= options(process, f"{root}/data")
    with pytest.raises(OSError) as caught:
        forked.call(locked, "bind", "dev", flags=CLONE.NEWNS)
    assert caught.value.errno == errno.EPERM


@pytest.mark.parametrize(
    ("word", "shown"),
    [("rshared", "shared:"), ("rslave", ""), ("private", ""), ("unbindable", "un")],
)
def test_propagation(places: tuple[str, str], kernel: str, word: str, shown: str) -> None:
    root, source = places
    entry = bind(source, "rbind", word)
    with forked.held(place, root, entry, flags=CLONE.NEWNS) as process:
        found = process.mounts()[f"{root}/data"]["shared"]
        assert shown in found and (shown or not found)


def test_a_slave_of_a_shared_source(places: tuple[str, str], kernel: str) -> None:
    root, source = places

    def shared_source() -> None:
        syscalls.mount(source, source, None, MS.BIND)
        syscalls.mount(None, source, None, MS.SHARED)
        place(root, bind(source, "rbind", "rslave", "ro"))

    with forked.held(shared_source, flags=CLONE.NEWNS) as process:
        assert "master:" in process.mounts()[f"{root}/data"]["shared"]


def test_tmpfs_size_and_mode(places: tuple[str, str]) -> None:
    root, _ = places
    os.mkdir(f"{root}/run", 0o751)
    os.chmod(f"{root}/run", 0o1751)
    sized = Mount("/sized", "tmpfs", "tmpfs", 0, "size=64k,mode=700")
    with forked.held(place, root, sized, Mount("/run", "tmpfs"), flags=CLONE.NEWNS) as process:
        about = os.statvfs(process.path(f"{root}/sized"))
        assert about.f_blocks * about.f_frsize == 65536
        assert stat.S_IMODE(os.stat(process.path(f"{root}/sized")).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(process.path(f"{root}/run")).st_mode) == 0o1751


def test_tmpcopyup(places: tuple[str, str]) -> None:
    root, _ = places
    covered = Path(root, "var")
    (covered / "sub").mkdir(parents=True)
    (covered / "sub" / "file").write_text("from the image")
    (covered / "link").symlink_to("/etc/passwd")
    os.chown(covered / "sub" / "file", 12, 34)
    os.chmod(covered / "sub", 0o2750)
    os.chmod(covered, 0o1777)
    entry = Mount("/var", "tmpfs", "tmpfs", **parse_mount_options(("tmpcopyup", "ro", "size=1m")))

    def copied() -> None:
        rootfs.prepare(rootfs.Rootfs(root, mounts=(entry,)))
        rootfs.mount_all(rootfs.Rootfs(root, mounts=(entry,)))
        rootfs.finish(rootfs.Rootfs(root, mounts=(entry,), masked=(), readonly_paths=()))

    with forked.held(copied, flags=CLONE.NEWNS) as process:
        seen = process.path(f"{root}/var")
        assert process.mounts()[f"{root}/var"]["fstype"] == "tmpfs"
        assert "ro" in options(process, f"{root}/var")
        about = os.stat(f"{seen}/sub/file")
        assert (about.st_uid, about.st_gid, about.st_size) == (12, 34, 14)
        assert stat.S_IMODE(os.stat(f"{seen}/sub").st_mode) == 0o2750
        assert stat.S_IMODE(os.stat(seen).st_mode) == 0o1777
        assert os.readlink(f"{seen}/link") == "/etc/passwd"
    assert (covered / "sub" / "file").read_text() == "from the image"


def test_a_copy_that_does_not_fit_says_so(places: tuple[str, str]) -> None:
    root, _ = places
    os.mkdir(f"{root}/var")
    Path(root, "var", "big").write_bytes(b"x" * 300_000)
    entry = Mount("/var", "tmpfs", "tmpfs", 0, "size=64k", copy_up=True)
    with pytest.raises(OSError) as caught:
        forked.call(place, root, entry, flags=CLONE.NEWNS)
    assert caught.value.errno == errno.ENOSPC


# --- id-mapped -----------------------------------------------------------------------------------


def mapped() -> int:
    maps = (users.IdMap(0, 100_000, 1000),)
    return users.open_mapped_namespace(maps, maps)


@pytest.mark.requires("idmapped-mounts")
@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_an_id_mapped_mount_shows_shifted_owners(places: tuple[str, str], word: str) -> None:
    root, source = places

    def shifted() -> list[int]:
        place(root, bind(source, "bind", word).replace(idmap_fd=mapped()))
        return [os.stat(f"{root}/data/file").st_uid]

    with forked.held(shifted, flags=CLONE.NEWNS) as process:
        assert process.value == [100_000]
        assert "idmapped" in process.mounts()[f"{root}/data"]["options"]


@pytest.mark.requires("idmapped-mounts")
def test_sources_are_opened_before_a_user_namespace_is_entered(places: tuple[str, str]) -> None:
    root, source = places
    os.chmod(source, 0o700)
    os.chown(root, 100_000, 100_000)

    def enter() -> list[int]:
        spec = rootfs.Rootfs(
            root, mounts=(bind(source, "bind", "idmap").replace(idmap_fd=mapped()),)
        )
        opened = rootfs.open_sources(spec)
        assert len(rootfs.opened_sources(opened)) == 2
        namespace = mapped()
        os.setgroups([])
        syscalls.setns(namespace, CLONE.NEWUSER)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.unshare(CLONE.NEWNS)
        rootfs.prepare(opened)
        rootfs.mount_all(opened)
        rootfs.pivot_root()
        about = os.stat("/data/file")
        return [about.st_uid, about.st_gid]

    assert forked.call(enter) == [0, 0]


@pytest.mark.requires("userns")
def test_a_closed_bundle_of_a_shared_host_works_and_hears_but_does_not_tell(
    places: tuple[str, str],
) -> None:
    """The root and the sources are out of reach by name; none of them stays the host's peer."""
    root, source = places
    top = Path(root).parent
    os.mkdir(f"{root}/dev")
    os.chown(root, 100_000, 100_000)

    def enter() -> None:
        syscalls.mount("tmpfs", "/mnt", "tmpfs")
        syscalls.mount(str(top), str(top), None, MS.BIND)
        syscalls.mount(None, str(top), None, MS.SHARED)
        top.chmod(0o700)
        spec = rootfs.Rootfs(root, mounts=(bind(source, "rbind"), Mount("/dev", "tmpfs")))
        opened = rootfs.open_sources(spec)
        maps = (users.IdMap(0, 100_000, 1000),)
        namespace = users.open_mapped_namespace(maps, maps)
        os.setgroups([])
        syscalls.setns(namespace, CLONE.NEWUSER)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.unshare(CLONE.NEWNS)
        assert not os.path.exists(root)
        rootfs.prepare(opened)
        rootfs.mount_all(opened)
        rootfs.pivot_root()

    try:
        with forked.held(enter, flags=CLONE.NEWNS) as process:
            mounts = process.mounts()
            assert set(mounts) == {"/", "/data", "/dev"}
            assert not [one for one in mounts.values() if "shared:" in one["shared"]]
            assert sorted(os.listdir(process.path("/data"))) == ["below", "file"]
    finally:
        top.chmod(0o755)


def test_idmap_without_maps_or_on_an_old_kernel(
    places: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, source = places
    with pytest.raises(SpecError, match="idmap needs id mappings"):
        forked.call(place, root, bind(source, "bind", "idmap"), flags=CLONE.NEWNS)
    monkeypatch.setattr(kernel_mounts._Kernel, "has_mount_setattr", False)
    for words in (("bind", "idmap"), ("bind", "rro")):
        entry = bind(source, *words).replace(idmap_fd=0)
        with pytest.raises(UnsupportedError, match=r"use Linux 5\.12"):
            forked.call(place, root, entry, flags=CLONE.NEWNS)
