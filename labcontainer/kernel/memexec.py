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
"""

from __future__ import annotations

import fcntl
import os
import struct

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import AT, F_SEAL, MFD

_EM_X86_64, _EM_AARCH64 = 62, 183
_BASE = 0x400000
_HEADERS = 64 + 56


def _x86_64(status: int) -> bytes:
    """The machine code; `status` is the descriptor that gets the errno."""
    fd = struct.pack("<i", status)
    return b"".join(
        (
            b"\xbf" + fd,  #                 mov  edi, status
            b"\xbe\x02\x00\x00\x00",  #      mov  esi, F_SETFD
            b"\xba\x01\x00\x00\x00",  #      mov  edx, FD_CLOEXEC
            b"\xb8\x48\x00\x00\x00",  #      mov  eax, fcntl
            b"\x0f\x05",  #                  syscall
            b"\x85\xc0",  #                  test eax, eax
            b"\x78\x2f",  #                  js   exit             closed: we were here before
            b"\x48\x8b\x04\x24",  #          mov  rax, [rsp]         argc
            b"\x48\x8b\x7c\x24\x08",  #      mov  rdi, [rsp+8]       argv[0]: the path
            b"\x48\x8d\x74\x24\x10",  #      lea  rsi, [rsp+16]      &argv[1]
            b"\x48\x8d\x54\xc4\x10",  #      lea  rdx, [rsp+rax*8+16]  envp
            b"\xb8\x3b\x00\x00\x00",  #      mov  eax, execve
            b"\x0f\x05",  #                  syscall                 returns only if it failed
            b"\x50",  #                      push rax
            b"\xbf" + fd,  #                 mov  edi, status
            b"\x48\x89\xe6",  #              mov  rsi, rsp
            b"\xba\x08\x00\x00\x00",  #      mov  edx, 8
            b"\xb8\x01\x00\x00\x00",  #      mov  eax, write
            b"\x0f\x05",  #                  syscall
            b"\xbf\xff\x00\x00\x00",  # exit: mov  edi, 255
            b"\xb8\xe7\x00\x00\x00",  #      mov  eax, exit_group
            b"\x0f\x05",  #                  syscall
        )
    )


def _aarch64(status: int) -> bytes:
    """The same for 64-bit ARM: one word an instruction."""

    def movz(register: int, value: int) -> int:
        return 0xD2800000 | (value & 0xFFFF) << 5 | register

    svc = 0xD4000001
    words = (
        *(movz(0, status), movz(1, 2), movz(2, 1), movz(8, 25), svc),  # fcntl(status, F_SETFD, 1)
        0xB7F801C0,  # tbnz x0, #63, exit      closed: we were here before
        0xF94003E3,  # ldr x3, [sp]            argc
        0xF94007E0,  # ldr x0, [sp, #8]        argv[0]: the path
        0x910043E1,  # add x1, sp, #16         &argv[1]
        0x8B236FE2,  # add x2, sp, x3, lsl #3
        0x91004042,  # add x2, x2, #16         envp
        *(movz(8, 221), svc),  # execve
        0xF81F0FE0,  # str x0, [sp, #-16]!
        *(movz(0, status), 0x910003E1, movz(2, 8), movz(8, 64), svc),  # write(status, sp, 8)
        *(movz(0, 255), movz(8, 94), svc),  # exit_group(255)
    )
    return struct.pack(f"<{len(words)}I", *words)


def image(status: int, machine: str = syscalls.MACHINE) -> bytes:
    """The whole ELF file: a header, one loadable segment, the code. See elf(5).

    Raises:
        ValueError: there is no code for this architecture.
    """
    if machine == "x86_64":
        kind, code = _EM_X86_64, _x86_64(status)
    elif machine == "aarch64":
        kind, code = _EM_AARCH64, _aarch64(status)
    else:
        raise ValueError(f"no exec trampoline for {machine}")
    size = _HEADERS + len(code)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    entry = _BASE + _HEADERS
    header = struct.pack("<HHIQQQIHHHHHH", 2, kind, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return ident + header + segment + code


def prepare(status: int) -> int:
    """A sealed file in memory that holds the tiny program; -1 where it can't be had.

    It can't on another architecture, or where `vm.memfd_noexec` forbids it.
    """
    try:
        program = image(status)
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

    def __init__(self, path: str, args: tuple[str, ...], env: tuple[str, ...], status: int) -> None:
        self._trampoline = prepare(status)
        self._path = path
        self._argv = syscalls.string_array((path, *args) if self._trampoline >= 0 else args)
        self._envp = syscalls.string_array(env)

    def go(self) -> None:
        """Become the program. Returns only by an error.

        Raises:
            OSError: the kernel refused, before the tiny program ran.
        """
        if self._trampoline >= 0:
            syscalls.execveat(self._trampoline, "", self._argv, self._envp, AT.EMPTY_PATH)
        syscalls.execveat(AT.FDCWD, self._path, self._argv, self._envp)
