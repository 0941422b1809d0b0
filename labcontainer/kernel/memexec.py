"""The last step into a container: a program of 100 bytes that becomes the container's program.

Until a process calls execve(2), `/proc/PID/exe` leads to the program that it runs: the host's
Python. A container whose entry point is `#!/proc/self/exe` would get that file in its hands and,
as root, could overwrite it (CVE-2019-5736 did so to runc). So the host's Python never calls execve
on a path of the container. It becomes a tiny program in a sealed, anonymous file instead, and
that one calls execve: all that `/proc/self/exe` gives then is the sealed file.

    python (host's file) --execveat--> sealed memory file --execve--> the container's program

The tiny program gets the path as its first argument and the real arguments behind it. If execve
fails, it writes its result (8 bytes, -errno) to the status descriptor and exits with 255. If it
succeeds, the descriptor is closed, which the reader sees as the end of the file. An entry point
`#!/proc/self/exe` runs the tiny program again; finding that descriptor closed, it exits with 255.

A process that joins a container (`exec`) must not be seen by those that are in it before it is the
tiny program: one with CAP_SYS_PTRACE could look into it. So there the tiny program makes the
process (`trampoline.Birth`): its own parent is outside of the container's PID namespace.
"""

from __future__ import annotations

import fcntl
import os
import struct

from labcontainer.kernel import syscalls, trampoline
from labcontainer.kernel.flags import AT, F_SEAL, MFD
from labcontainer.kernel.trampoline import Birth

TYPE_CHECKING = False
if TYPE_CHECKING:
    Labels = tuple[tuple[str, str], ...]  # files of /proc/self/attr, and what each is to hold

_ELF = {"x86_64": 62, "aarch64": 183}  # elf(5), e_machine
_BASE = 0x400000
_HEADERS = 64 + 56


def image(
    status: int,
    birth: Birth | None = None,
    machine: str = syscalls.MACHINE,
    labels: Labels = (),
) -> bytes:
    """The whole ELF file: a header, one loadable segment, the code. See elf(5).

    Raises:
        ValueError: there is no code for this architecture.
    """
    if machine not in _ELF:
        raise ValueError(f"no exec trampoline for {machine}")
    code = trampoline.code(machine, status, birth, labels, _BASE + _HEADERS)
    size = _HEADERS + len(code)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    entry = _BASE + _HEADERS
    kind = _ELF[machine]
    header = struct.pack("<HHIQQQIHHHHHH", 2, kind, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return ident + header + segment + code


def prepare(status: int, birth: Birth | None = None, labels: Labels = ()) -> int:
    """A sealed file in memory that holds the tiny program; -1 where it can't be had.

    It can't on another architecture, or where `vm.memfd_noexec` forbids it.
    """
    try:
        program = image(status, birth, labels=labels)
        try:
            fd = syscalls.memfd_create("exec", MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.EXEC)
        except OSError:  # Linux before 6.3 does not know MFD_EXEC
            fd = syscalls.memfd_create("exec", MFD.CLOEXEC | MFD.ALLOW_SEALING)
    except (ValueError, OSError):
        return -1
    os.write(fd, program)
    seals = F_SEAL.SEAL | F_SEAL.SHRINK | F_SEAL.GROW | F_SEAL.WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, int(seals))
    return fd


class Exec:
    """Everything of an execve(2) made ready, so that the last step allocates nothing."""

    def __init__(
        self,
        path: str,
        args: tuple[str, ...],
        env: tuple[str, ...],
        status: int,
        birth: Birth | None = None,
        labels: Labels = (),
    ) -> None:
        self._trampoline = prepare(status, birth, labels)
        self.is_sealed = self._trampoline >= 0
        self._path = path
        self._argv = syscalls.string_array((path, *args) if self.is_sealed else args)
        self._envp = syscalls.string_array(env)

    def go(self) -> None:
        """Become the program. Returns only by an error.

        Raises:
            OSError: the kernel refused, before the tiny program ran.
        """
        if self.is_sealed:
            syscalls.execveat(self._trampoline, "", self._argv, self._envp, AT.EMPTY_PATH)
        syscalls.execveat(AT.FDCWD, self._path, self._argv, self._envp)
