"""A kernel for QEMU to boot: found on this machine, or fetched as Debian's cloud kernel package.

`fetch` installs nothing. It downloads the package by apt, takes the kernel and the few modules that
a guest of ours needs out of it, and puts them below labcontainer's own directory.
"""

from __future__ import annotations

import io
import os
import platform
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator

from labcontainer.errors import LabError, NotFoundError, SpecError, UnsupportedError
from labcontainer.image import roots
from labcontainer.record import Record
from labcontainer.undo import Undo

# The cloud kernel has what a machine of QEMU's needs and little else: it boots in a third of the
# time of the general one, which has 9p, by which a guest sees a directory of the host.
CLOUD, GENERAL = "linux-image-cloud-amd64", "linux-image-amd64"
# virtio is how a guest that knows that it is one speaks to its machine: a table in shared memory
# in place of a real device's registers. mmio, pci: how it is found; console: the line to the host.
WANTED = (
    "virtio_mmio",
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "overlay",
    "9pnet_virtio",
    "9p",
)
EVERYBODYS = "/var/cache/labcontainer/kernels"  # what root has fetched; its home is closed
FIX = "fetch one: labcontainer vm kernel"


class Kernel(Record):
    """A kernel's image, and its loadable modules by name."""

    release: str
    image: str
    modules: dict[str, str]


def find(module: str = "") -> Kernel:
    """A kernel that was fetched, else this machine's own; one that has a module, if it is named.

    Raises:
        UnsupportedError: there is none that this user may read.
    """
    if platform.machine() != "x86_64":
        raise UnsupportedError("QEMU", f"its machines here are x86-64, this one is a "
                               f"{platform.machine()}")  # fmt: skip
    for place in (_own(), EVERYBODYS):
        fetched = _fetched(place, module)
        if fetched:
            return fetched
    release = os.uname().release
    image = f"/boot/vmlinuz-{release}"
    if os.access(image, os.R_OK) and os.path.isdir(f"/lib/modules/{release}"):
        own = Kernel(release, image, _modules(f"/lib/modules/{release}"))
        if not module or module in own.modules:
            return own
    if module:
        raise UnsupportedError("QEMU", f"there is no kernel with {module}", f"{FIX} --general")
    raise UnsupportedError("QEMU", "there is no kernel to boot", FIX)


def _own() -> str:
    """Where this user keeps kernels: root for everybody, unless another home was chosen."""
    if os.geteuid() == 0 and not os.environ.get("LABCONTAINER_HOME"):
        return EVERYBODYS
    return f"{roots.home()}/kernels"


def _fetched(place: str, module: str = "") -> Kernel | None:
    """The newest of the cloud kernels, else of the others, that has a module."""
    names = [name for name in _names(place) if os.path.exists(f"{place}/{name}/vmlinuz")]
    for name in sorted(names, key=lambda one: ("cloud" in one, _version(one)), reverse=True):
        modules = _modules(f"{place}/{name}/modules")
        if not module or module in modules:
            return Kernel(name, f"{place}/{name}/vmlinuz", modules)
    return None


def _names(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except OSError:
        return []


def _version(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


def _modules(top: str) -> dict[str, str]:
    """Name -> path of the modules that are wanted, and of those that they need."""
    every = {}
    for folder, _, files in os.walk(top):
        for name in files:
            if ".ko" in name:
                every[name.partition(".ko")[0].replace("-", "_")] = f"{folder}/{name}"
    return {name: every[name] for name in in_order(every, WANTED)}


def in_order(every: dict[str, str], wanted: tuple[str, ...]) -> list[str]:
    """The names of modules, each after all that it needs. What is no module is built in."""
    found: list[str] = []
    for name in wanted:
        if name in every:
            needs = depends(read_module(every[name]))
            found += [one for one in (*in_order(every, needs), name) if one not in found]
    return found


def depends(module: bytes) -> tuple[str, ...]:
    """What a module needs, as its section .modinfo says (modinfo(8))."""
    said = re.search(rb"(?:^|\0)depends=([^\0]*)\0", module)
    names = said[1].decode().split(",") if said else []
    return tuple(name.replace("-", "_") for name in names if name)


def read_module(path: str) -> bytes:
    """A module's bytes, unpacked: distributions pack theirs in several ways."""
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".xz"):
        import lzma

        return lzma.decompress(data)
    if path.endswith(".gz"):
        import gzip

        return gzip.decompress(data)
    if path.endswith(".zst"):
        from labcontainer.image import compression

        stream, parts = compression.Reader(io.BytesIO(data)), []
        while part := stream.read():
            parts.append(part)
        return b"".join(parts)
    return data


# --- fetching -----------------------------------------------------------------------------------


def fetch(name: str = CLOUD) -> Kernel:
    """Download a kernel of Debian's and keep it; at once if the newest one is here already.

    Raises:
        UnsupportedError: there is no apt. LabError: apt can't get it.
    """
    package = _newest_package(name)
    release = package.removeprefix("linux-image-")
    place = _own()
    if not os.path.exists(f"{place}/{release}/vmlinuz"):
        with tempfile.TemporaryDirectory(prefix="labcontainer-kernel-") as folder:
            _apt("apt-get", "download", package, folder=folder)
            (archive,) = os.listdir(folder)
            with open(f"{folder}/{archive}", "rb") as file:
                _keep(file.read(), release, place)
    image = f"{place}/{release}/vmlinuz"
    if not os.path.exists(image):
        raise NotFoundError(f"{package} has no kernel: {image} does not exist")
    return Kernel(release, image, _modules(f"{place}/{release}/modules"))


def _newest_package(name: str) -> str:
    """The package that a name without a version stands for."""
    said = _apt("apt-cache", "depends", name)
    found = re.search(r"Depends: (linux-image-\d\S+-amd64)", said)
    if not found:
        raise LabError(f"apt knows no {name}; try: apt-get update")
    return found[1]


def _apt(*words: str, folder: str = "/") -> str:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)  # fmt: skip
    except FileNotFoundError:
        why = f"it is a package of Debian's, and there is no {words[0]}"
        raise UnsupportedError("a kernel", why, "QEMU boots /boot's too") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise LabError(f"{' '.join(words)} ended with {done.returncode}: {last}")
    return done.stdout


def ar_members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of an ar archive, which a .deb file is (deb(5), ar(5))."""
    if not archive.startswith(b"!<arch>\n"):
        raise SpecError("the package", "it is no ar archive")
    at = 8
    while at + 60 <= len(archive):
        name, size = archive[at : at + 16].decode().strip(" /"), int(archive[at + 48 : at + 58])
        yield name, archive[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def _keep(package: bytes, release: str, place: str) -> None:
    """Take kernel and modules out of the package: whole or not at all."""
    import shutil

    data = next(body for name, body in ar_members(package) if name.startswith("data.tar"))
    os.makedirs(place, exist_ok=True)
    with Undo() as undo, tempfile.TemporaryDirectory(prefix="labcontainer-modules-") as folder:
        fresh = tempfile.mkdtemp(prefix=".new-", dir=place)
        undo.push(shutil.rmtree, fresh)
        os.chmod(fresh, 0o755)
        with tarfile.open(fileobj=io.BytesIO(data)) as tree:
            for member in tree:
                if member.isfile() and os.path.basename(member.name).startswith("vmlinuz-"):
                    _write(tree, member, f"{fresh}/vmlinuz")
                elif member.isfile() and ".ko" in member.name:
                    _write(tree, member, f"{folder}/{os.path.basename(member.name)}")
        os.mkdir(f"{fresh}/modules")
        for path in _modules(folder).values():
            shutil.copy(path, f"{fresh}/modules")
        os.rename(fresh, f"{place}/{release}")


def _write(tree: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
    source = tree.extractfile(member)
    assert source is not None
    with open(target, "wb") as file:
        file.write(source.read())
