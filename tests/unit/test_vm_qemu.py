"""What QEMU is started with, the guest's first steps, and kernels: without booting one."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from labcontainer.errors import LabError, NotFoundError, SpecError, UnsupportedError
from labcontainer.vm import boot, cpio, disk, initramfs, kernels, qemu

RELEASE = "6.1.0-9-cloud-amd64"


def module(*needs: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0vermagic=6\0"


def ar(members: dict[str, bytes]) -> bytes:
    """An archive as dpkg-deb writes it."""
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n"
        parts += [head.encode(), data, b"\n" * (len(data) % 2)]
    return b"".join(parts)


@pytest.fixture
def package() -> bytes:
    """A small package of a kernel."""
    files = {
        f"./boot/vmlinuz-{RELEASE}": b"a kernel",
        f"./lib/modules/{RELEASE}/kernel/drivers/virtio/virtio_mmio.ko": module("virtio"),
        f"./lib/modules/{RELEASE}/kernel/drivers/virtio/virtio.ko": module(),
        f"./lib/modules/{RELEASE}/kernel/fs/other.ko": module("virtio"),
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as tree:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tree.addfile(entry, io.BytesIO(data))
    data = stream.getvalue()
    return ar({"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data})


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: bytes) -> Path:
    """A machine that has fetched that kernel."""
    monkeypatch.setenv("LABCONTAINER_HOME", str(tmp_path))
    monkeypatch.setattr(kernels, "EVERYBODYS", f"{tmp_path}/kernels")
    kernels._keep(package, RELEASE, f"{tmp_path}/kernels")
    return tmp_path


def test_of_the_package_only_what_a_guest_needs_is_kept(home: Path) -> None:
    folder = home / "kernels" / RELEASE
    kept = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert kept == ["modules/virtio.ko", "modules/virtio_mmio.ko", "vmlinuz"]
    assert sorted(path.name for path in (home / "kernels").iterdir()) == [RELEASE]


def test_modules_come_after_what_they_need(home: Path) -> None:
    found = kernels.find()
    assert found.release == RELEASE
    assert list(found.modules) == ["virtio", "virtio_mmio"]


def test_the_newest_kernel_is_taken(home: Path, package: bytes) -> None:
    kernels._keep(package, "6.1.0-10-cloud-amd64", f"{home}/kernels")
    assert kernels.find().release == "6.1.0-10-cloud-amd64"


def test_what_root_fetched_serves_users_who_may_not_enter_its_home(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("LABCONTAINER_HOME", f"{home}/of-a-user")
    assert kernels.find().release == RELEASE
    monkeypatch.delenv("LABCONTAINER_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert kernels._own() == f"{home}/kernels", "where it was looked for"
    monkeypatch.undo()
    assert not kernels.EVERYBODYS.startswith("/var/lib/labcontainer")


def test_a_module_that_needs_nothing() -> None:
    assert kernels.depends(module()) == ()
    assert kernels.depends(module("virtio-ring", "fuse")) == ("virtio_ring", "fuse")


def test_a_package_that_is_none_is_refused() -> None:
    with pytest.raises(SpecError, match="no ar archive"):
        list(kernels.ar_members(b"PK"))


def test_without_a_kernel_the_fix_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABCONTAINER_HOME", str(tmp_path))
    monkeypatch.setattr(kernels, "EVERYBODYS", f"{tmp_path}/kernels")
    monkeypatch.setattr("os.uname", lambda: type("U", (), {"release": "none"}))
    with pytest.raises(UnsupportedError, match="labcontainer vm kernel"):
        kernels.find()


def test_apts_own_words_are_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match=r"^false ended with 1: no word$"):
        kernels._apt("false")
    with pytest.raises(UnsupportedError, match="there is no no-such-apt"):
        kernels._apt("no-such-apt")


# --- the machine


@pytest.fixture
def _qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "program", lambda: "qemu")


@pytest.mark.usefixtures("_qemu")
def test_the_command_line_names_descriptors_and_no_file(home: Path) -> None:
    machine = qemu.Machine()
    words = qemu.command_line(machine, qemu.contents_of(machine), 5, 6)
    assert {"q35", "virtio-serial-pci", "tcg", "256M", "/proc/self/fd/6"} <= set(words)
    assert "socket,id=line,fd=5" in words
    assert words[words.index("-kernel") + 1].endswith(f"{RELEASE}/vmlinuz")
    assert "spawn=deny" in words[words.index("-sandbox") + 1]


@pytest.mark.usefixtures("_qemu")
def test_with_kvm_it_is_the_smallest_machine(home: Path) -> None:
    machine = qemu.Machine(accelerator=qemu.KVM)
    words = qemu.command_line(machine, qemu.contents_of(machine), 5, 6)
    assert {"microvm,acpi=on", "virtio-serial-device", "kvm"} <= set(words)


@pytest.mark.usefixtures("_qemu")
def test_a_disk_is_read_only_and_its_name_may_have_a_comma(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a,b").write_bytes(b"")
    machine = qemu.Machine(root=str(tmp_path / "a,b"))
    words = qemu.command_line(machine, qemu.contents_of(machine), 5, 6)
    drive = words[words.index("-drive") + 1]
    assert "readonly=on" in drive and drive.endswith("/a,,b")


def test_a_root_that_is_missing_is_told(home: Path) -> None:
    with pytest.raises(NotFoundError, match="/no/such does not exist"):
        qemu.contents_of(qemu.Machine(root="/no/such"))


def test_a_kernel_that_cannot_share_directories_says_so(home: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"no kernel with 9p; .*vm kernel --general"):
        qemu.contents_of(qemu.Machine(root="/usr"))


@pytest.mark.usefixtures("_qemu")
def test_a_directory_is_shared_read_only_by_a_kernel_that_can(home: Path) -> None:
    general = home / "kernels/6.1.0-9-amd64"
    (general / "modules").mkdir(parents=True)
    (general / "vmlinuz").write_bytes(b"general")
    (general / "modules/9p.ko").write_bytes(module())
    assert kernels.find().release == RELEASE, "the cloud kernel boots faster"
    machine = qemu.Machine(root="/usr")
    words = qemu.command_line(machine, qemu.contents_of(machine), 5, 6)
    assert words[words.index("-kernel") + 1] == str(general / "vmlinuz")
    share = words[words.index("-fsdev") + 1]
    assert "path=/usr," in share and "readonly=on" in share


@pytest.mark.usefixtures("_qemu")
def test_a_scratch_disk_is_found_by_its_serial_number(home: Path, tmp_path: Path) -> None:
    disk.empty(str(tmp_path / "scratch"), 8)
    machine = qemu.Machine(scratch=str(tmp_path / "scratch"))
    contents = qemu.contents_of(machine)
    words = qemu.command_line(machine, contents, 5, 6)
    assert "readonly" not in words[words.index("-drive") + 1]
    assert "serial=scratch" in words[words.index("-drive") + 3]
    assert b"grep -l scratch /sys/block/vd*/serial" in initramfs.script(contents)


# --- the initramfs


@pytest.mark.parametrize("root", ["", initramfs.DISK, initramfs.TREE])
def test_the_first_process_is_a_script_that_a_shell_reads(home: Path, root: str) -> None:
    text = initramfs.script(initramfs.Contents(kernels.find(), "vm", root))
    subprocess.run(["sh", "-n"], input=text, check=True)
    lines = text.decode().splitlines()
    assert lines[0] == "#!/bin/sh"
    assert lines[-1].startswith("hostname vm; exec ")
    assert (f" {initramfs.LINE} . " in lines[-1]) == bool(root)
    assert any(line.startswith("mount --move . /") for line in lines) == bool(root)


def test_modules_are_loaded_in_order_before_the_disk_is_mounted(home: Path) -> None:
    what = [step.what for step in initramfs.plan(initramfs.Contents(kernels.find(), root="disk"))]
    assert what.index("module virtio") < what.index("module virtio_mmio")
    assert what.index("module virtio_mmio") < what.index("the root that is shared")


@pytest.mark.requires("busybox")
def test_the_archive_has_parents_first_and_all_that_the_agent_needs(home: Path) -> None:
    archive = initramfs.build(initramfs.Contents(kernels.find()))
    found = {member.name: member for member in cpio.unpack(archive)}
    names = list(found)
    for name in names:
        above = name.rpartition("/")[0]
        assert not above or above in names[: names.index(name)], name
    assert {"init", "agent/agent.py", "agent/frames.py", "modules/00-virtio.ko"} <= set(names)
    assert found["init"].mode & 0o111
    assert any(name.endswith("/json/decoder.py") for name in names)
    assert any(name.endswith("/libc.so.6") for name in names)


def test_a_step_that_fails_ends_the_boot_and_says_its_name() -> None:
    line = boot.line_of(boot.Step("a thing", "false"))
    done = subprocess.run(["sh", "-c", f"{line}; echo on"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "labcontainer: boot failed at: a thing\n")


# --- the disk


def test_a_disk_holds_the_files_of_a_tree(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/name").write_text("lab\n")
    (tree / "big").write_bytes(bytes(3 << 20))
    for number in range(300):
        (tree / f"etc/{number}").write_text("x")
    size = disk.of_tree(str(tree), str(tmp_path / "disk"))
    assert size == (tmp_path / "disk").stat().st_size > 3 << 20
    words = ["/usr/sbin/debugfs", "-R", "cat /etc/name", str(tmp_path / "disk")]
    assert subprocess.run(words, capture_output=True, text=True).stdout == "lab\n"


def test_a_disk_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="mke2fs ended with 1"):
        disk.of_tree(str(tmp_path / "none"), str(tmp_path / "disk"))
    assert not (tmp_path / "disk").exists()
