"""QEMU's machines with the verbs of a container: by KVM, or by QEMU's own processor (TCG).

With `accelerator` "kvm" the guest's instructions run on the processor, and only what leaves the
guest is QEMU's work; with "tcg" QEMU translates them one block after another, on any machine and
without any right. The devices are virtio's: made for guests that know that they are one.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Sequence

from labcontainer.errors import NotFoundError, UnsupportedError
from labcontainer.record import Record
from labcontainer.vm import guest, initramfs, kernels

TCG, KVM = "tcg", "kvm"
# accelerator -> QEMU's machine, and the bus of its virtio devices. microvm has no PCI, no BIOS and
# no clock but the processor's, whose speed KVM tells the guest. Under TCG a guest has to measure
# it, fails where the host is busy, and waits for a tick that never comes: so it gets a machine with
# an HPET.
MODELS = {KVM: ("microvm,acpi=on", "device"), TCG: ("q35", "pci")}
# Nothing that QEMU itself has no need for: another program, another user, …
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
APPEND = "console=ttyS0 quiet panic=-1 reboot=t"


class Machine(Record):
    """What to boot. `memory` as QEMU spells it (256M); `root` is where programs have their root: ""
    for busybox and Python from the initramfs, a disk image (disk.py), or a directory of the host,
    "/" too, which is shared read-only; `scratch` is a disk image that the guest may write to, at
    /scratch; `share_rw` are directories of the host that it may write to, where they are on the
    host; `uid` is who QEMU runs as on the host, None for the caller.
    """

    accelerator: str = TCG
    memory: str = "256M"
    root: str = ""
    scratch: str = ""
    share_rw: tuple[str, ...] = ()
    uid: int | None = None
    hostname: str = "vm"
    processors: int = 1


def program() -> str:
    """QEMU's path. Raises UnsupportedError where it is not installed."""
    path = shutil.which("qemu-system-x86_64")
    if path is None:
        raise UnsupportedError("QEMU", "it is not installed", "apt install qemu-system-x86")
    return path


def contents_of(machine: Machine) -> initramfs.Contents:
    """What goes into the guest's initramfs.

    Raises:
        UnsupportedError: no kernel, or one that can't share directories.
        NotFoundError: the root, or what is to be shared, does not exist.
    """
    kind = ""
    if machine.root:
        if not os.path.exists(machine.root):
            raise NotFoundError(f"the guest's root {machine.root} does not exist")
        kind = initramfs.TREE if stat.S_ISDIR(os.stat(machine.root).st_mode) else initramfs.DISK
    guest.check_shares(machine.share_rw)
    kernel = kernels.find("9p" if kind == initramfs.TREE or machine.share_rw else "")
    scratch = bool(machine.scratch)
    return initramfs.Contents(kernel, machine.hostname, kind, scratch, machine.share_rw)


def command_line(
    machine: Machine, contents: initramfs.Contents, channel: int, archive: int
) -> list[str]:
    """QEMU's argv; `channel` and `archive` are descriptors that it inherits."""
    model, bus = MODELS[machine.accelerator]
    return [
        program(), "-M", model, "-accel", machine.accelerator, "-cpu", "max",
        "-m", machine.memory, "-smp", str(machine.processors), "-sandbox", SANDBOX,
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-kernel", contents.kernel.image, "-initrd", f"/proc/self/fd/{archive}",
        "-append", APPEND,
        "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
        "-device", f"virtio-serial-{bus}",
        "-chardev", f"socket,id=line,fd={channel}", "-device", "virtserialport,chardev=line",
        *_root(machine.root, contents.root, bus), *_scratch(machine.scratch, bus),
        *_shares(machine.share_rw, bus),
    ]  # fmt: skip


def _shares(paths: Sequence[str], bus: str) -> list[str]:
    words = []
    for number, path in enumerate(paths):
        words += _directory(f"{initramfs.SHARE}{number}", path, bus, "readonly=off")
    return words


def _directory(tag: str, path: str, bus: str, mode: str) -> list[str]:
    """A directory by 9p. With security_model=none files that the guest makes belong to who runs
    QEMU, whoever makes them there."""
    where = os.path.abspath(path).replace(",", ",,")
    share = f"local,id={tag},path={where},security_model=none,{mode},multidevs=remap"
    return ["-fsdev", share, "-device", f"virtio-9p-{bus},fsdev={tag},mount_tag={tag}"]


def _scratch(path: str, bus: str) -> Sequence[str]:
    if not path:
        return ()
    where = os.path.abspath(path).replace(",", ",,")
    drive = f"id=scratch,if=none,format=raw,file={where}"
    return ("-drive", drive, "-device", f"virtio-blk-{bus},drive=scratch,serial=scratch")


def _root(path: str, kind: str, bus: str) -> Sequence[str]:
    """The device that brings the root of programs. A comma ends a value, two are one."""
    where = os.path.abspath(path).replace(",", ",,")
    if kind == initramfs.DISK:
        drive = f"id=root,if=none,format=raw,readonly=on,file={where}"
        return ("-drive", drive, "-device", f"virtio-blk-{bus},drive=root")
    if kind == initramfs.TREE:
        return _directory("root", path, bus, "readonly=on")
    return ()


class Guest(guest.Guest):
    """A machine of QEMU's."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def _launch(self, line: socket.socket) -> subprocess.Popen[bytes]:
        contents = contents_of(self.machine)
        archive = os.memfd_create("labcontainer-initramfs", 0)
        try:
            with open(archive, "wb", closefd=False) as file:
                file.write(initramfs.build(contents))
            inherited = (line.fileno(), archive)
            argv = command_line(self.machine, contents, *inherited)
            return guest.launch(argv, inherited, self.machine.uid, {})
        finally:
            os.close(archive)
