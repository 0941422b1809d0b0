"""The machine code of a tiny program that is to run in a container's place for a moment.

It holds a few system calls in a row, and no data but what stands behind them; memexec.py says what
it is for. The first register of each call is a number that was known when the code was made, so no
memory has to be trusted. Labels and jumps are put together by `_linked`.

    fcntl(status, F_SETFD, FD_CLOEXEC)       closed: we were here before, and end
    for one that is to be born in another PID namespace (`Birth`):
        clone(CLONE_PARENT)                  the parent tells the child's pid, and ends
        write(door, "0"), close(door)        into each cgroup of version 1
        setsid(), ioctl(0, TIOCSCTTY)
        read(status)                         until the runtime says go
        prlimit(RLIMIT_NPROC)
    open(file), write(label)                 for each security label
    seccomp()                                for a `Birth` whose filter comes last
    execve(argv[0], argv + 1, envp)
    write(status, result)                    8 bytes: why it failed
    exit_group(255)
"""

from __future__ import annotations

import struct

from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class _Machine(Protocol):
        """One architecture's way to write down the few things that are needed."""

        first: int  # bytes of code that set a call's first argument
        exec: bytes  # execve(argv[0], &argv[1], envp), from what the kernel left on the stack
        pass_on: bytes  # make the last result the first argument of the next call
        save: bytes  # put the last result on the stack
        restore: bytes

        def call(self, name: str, *args: int) -> bytes:
            """A system call with numbers for arguments."""

        def write_saved(self, status: int) -> bytes:
            """write(status, stack pointer, 8)."""

        def read_one(self, status: int) -> bytes:
            """read(status, below the stack, 1), and compare the result with 1."""

        def jump(self, condition: str, distance: int) -> bytes:
            """A jump over so many bytes, counted from its own beginning."""

    # Code, the label before some code as "name:", or a jump: its condition and its label.
    Part = bytes | str | tuple[str, str]

CLONE_PARENT, TIOCSCTTY, RLIMIT_NPROC, SET_MODE_FILTER = 0x8000, 0x540E, 6, 1
# Of each call, its number on x86-64 and on arm64.
_NUMBERS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "openat": (257, 56),
    "ioctl": (16, 29),
    "clone": (56, 220),
    "fcntl": (72, 25),
    "setsid": (112, 157),
    "exit_group": (231, 94),
    "prlimit64": (302, 261),
    "seccomp": (317, 277),
}


class Birth(Record):
    """What a process does between its birth in the container and its program.

    `filter` is a seccomp program as the kernel reads it, b"" for none; `flags` go with it. With
    `tells_listener` it tells the descriptor that the filter gave it, and waits again.
    """

    doors: tuple[int, ...] = ()
    terminal: bool = False
    processes: tuple[int, int] | None = None  # RLIMIT_NPROC: it would count the parent too
    filter: bytes = b""
    flags: int = 0
    tells_listener: bool = False


class _X86_64:
    first = 5
    exec = (
        b"\x48\x8b\x04\x24"  #          mov  rax, [rsp]            argc
        b"\x48\x8b\x7c\x24\x08"  #      mov  rdi, [rsp+8]          argv[0]: the path
        b"\x48\x8d\x74\x24\x10"  #      lea  rsi, [rsp+16]         &argv[1]
        b"\x48\x8d\x54\xc4\x10"  #      lea  rdx, [rsp+rax*8+16]   envp
        b"\xb8\x3b\x00\x00\x00"  #      mov  eax, execve
        b"\x0f\x05"  #                  syscall
    )
    pass_on = b"\x89\xc7"  #            mov  edi, eax
    save = b"\x50"  #                   push rax
    restore = b"\x58"  #                pop  rax
    jumps = {"negative": 0x880F, "not zero": 0x850F, "not equal": 0x850F}  # js, jnz, jne
    # mov to edi, esi, edx, r10d, r8d
    _registers = (b"\xbf", b"\xbe", b"\xba", b"\x41\xba", b"\x41\xb8")

    def call(self, name: str, *args: int) -> bytes:
        moves = zip(self._registers, args, strict=False)
        given = b"".join(move + struct.pack("<I", value) for move, value in moves)
        number = struct.pack("<I", _NUMBERS[name][0])
        return given + b"\xb8" + number + b"\x0f\x05" + b"\x85\xc0"  # syscall; test eax, eax

    def write_saved(self, status: int) -> bytes:
        call = self.call("write", status, 0, 8)
        return call[:5] + b"\x48\x89\xe6" + call[10:]  # mov rsi, rsp

    def read_one(self, status: int) -> bytes:
        call = self.call("read", status, 0, 1)
        # lea rsi, [rsp-16]; cmp eax, 1
        return call[:5] + b"\x48\x8d\x74\x24\xf0" + call[10:] + b"\x83\xf8\x01"

    def jump(self, condition: str, distance: int) -> bytes:
        return struct.pack("<Hi", self.jumps[condition], distance - 6)


class _Aarch64:
    first = 8
    pass_on = b""  # it is there
    save = struct.pack("<I", 0xF81F0FE0)  #     str x0, [sp, #-16]!
    restore = struct.pack("<I", 0xF84107E0)  #  ldr x0, [sp], #16
    exec = struct.pack(
        "<7I",
        0xF94003E3,  # ldr x3, [sp]            argc
        0xF94007E0,  # ldr x0, [sp, #8]        argv[0]: the path
        0x910043E1,  # add x1, sp, #16         &argv[1]
        0x8B236FE2,  # add x2, sp, x3, lsl #3
        0x91004042,  # add x2, x2, #16         envp
        0xD2801BA8,  # mov x8, execve
        0xD4000001,  # svc #0
    )
    # tbnz x0, #63; cbnz x0; b.ne
    jumps = {"negative": 0xB7F80000, "not zero": 0xB5000000, "not equal": 0x54000001}

    def _move(self, register: int, value: int) -> tuple[int, int]:
        low = 0xD2800000 | (value & 0xFFFF) << 5 | register  # movz
        return low, 0xF2A00000 | (value >> 16) << 5 | register  # movk, lsl 16

    def call(self, name: str, *args: int) -> bytes:
        words = [word for place, value in enumerate(args) for word in self._move(place, value)]
        words += [*self._move(8, _NUMBERS[name][1]), 0xD4000001]
        return struct.pack(f"<{len(words)}I", *words)

    def write_saved(self, status: int) -> bytes:
        call = self.call("write", status, 0, 8)
        return call[:8] + struct.pack("<I", 0x910003E1) + call[16:]  # mov x1, sp

    def read_one(self, status: int) -> bytes:
        call = self.call("read", status, 0, 1)
        # sub x1, sp, #16; cmp x0, #1
        below, compare = struct.pack("<I", 0xD10043E1), struct.pack("<I", 0xF100041F)
        return call[:8] + below + call[16:] + compare

    def jump(self, condition: str, distance: int) -> bytes:
        bits = 0x3FFF if condition == "negative" else 0x7FFFF
        return struct.pack("<I", self.jumps[condition] | (distance // 4 & bits) << 5)


MACHINES: dict[str, _Machine] = {"x86_64": _X86_64(), "aarch64": _Aarch64()}


def code(
    machine: str,
    status: int,
    birth: Birth | None,
    labels: tuple[tuple[str, str], ...],
    address: int,
) -> bytes:
    """The program, and the data behind it.

    Args:
        machine: a name of MACHINES.
        status: the descriptor that is told, and that tells to go on.
        birth: None for a process that is where it is to be.
        labels: files, and what is to be written to each before the program.
        address: where the program will stand in memory.
    """
    of = MACHINES[machine]
    length = len(_linked(of, _parts(of, status, birth, labels, 0)))
    length += -length % 8
    data = _data(birth, address + length)
    texts = [f"{text}\0".encode(errors="surrogateescape") for pair in labels for text in pair]
    linked = _linked(of, _parts(of, status, birth, labels, address + length))
    return linked.ljust(length, b"\0") + data + b"".join(texts)


def _call_with_result(of: _Machine, name: str, *args: int) -> bytes:
    """A system call whose first argument is the last one's result."""
    return of.pass_on + of.call(name, 0, *args)[of.first :]


def _parts(
    of: _Machine,
    status: int,
    birth: Birth | None,
    labels: tuple[tuple[str, str], ...],
    data: int,
) -> Iterable[Part]:
    yield of.call("fcntl", status, 2, 1)
    yield "negative", "exit"
    if birth is not None:
        yield from _born(of, status, birth, data)
    place = data + len(_data(birth, 0))
    for file, label in labels:
        size = len(label.encode(errors="surrogateescape"))
        yield of.call("openat", 0, place, 0o2000001)  # O_WRONLY | O_CLOEXEC; the path is absolute
        yield "negative", "tell"
        place += len(file.encode(errors="surrogateescape")) + 1
        yield _call_with_result(of, "write", place, size)
        yield "negative", "tell"
        place += size + 1
    if birth is not None:
        yield from _filtered(of, status, birth, data)
    yield of.exec
    yield "tell:"
    yield of.save
    yield of.write_saved(status)
    yield "exit:"
    yield of.call("exit_group", 255)


# What stands behind the code, and where: "0", RLIMIT_NPROC's two values, struct sock_fprog.
_ZERO, _LIMIT, _FILTER, _INSTRUCTIONS = 0, 8, 24, 40


def _born(of: _Machine, status: int, birth: Birth, data: int) -> Iterable[Part]:
    yield of.call("clone", CLONE_PARENT, 0, 0, 0, 0)
    yield "not zero", "tell"
    for door in birth.doors:
        yield of.call("write", door, data + _ZERO, 1)
        yield "negative", "tell"
        yield of.call("close", door)
    yield of.call("setsid")
    if birth.terminal:
        yield of.call("ioctl", 0, TIOCSCTTY, 0)
    yield of.read_one(status)
    yield "not equal", "exit"
    if birth.processes is not None:
        yield of.call("prlimit64", 0, RLIMIT_NPROC, data + _LIMIT, 0)
        yield "negative", "tell"


def _filtered(of: _Machine, status: int, birth: Birth, data: int) -> Iterable[Part]:
    if birth.filter:
        yield of.call("seccomp", SET_MODE_FILTER, birth.flags, data + _FILTER)
        yield "negative", "tell"
    if birth.tells_listener:
        yield of.save
        yield of.write_saved(status)
        yield of.restore
        yield of.read_one(status)
        yield "not equal", "exit"


def _data(birth: Birth | None, address: int) -> bytes:
    if birth is None:
        return b""
    limit = struct.pack("<2Q", *(birth.processes or (0, 0)))
    program = struct.pack("<HxxxxxxQ", len(birth.filter) // 8, address + _INSTRUCTIONS)
    return b"0".ljust(8) + limit + program + birth.filter


def _linked(of: _Machine, parts: Iterable[Part]) -> bytes:
    """The code with its jumps: all jumps of a machine have one length."""
    parts = list(parts)
    length = len(of.jump("negative", 0))
    places, place = {}, 0
    for part in parts:
        if isinstance(part, str):
            places[part.rstrip(":")] = place
        else:
            place += len(part) if isinstance(part, bytes) else length
    linked = b""
    for part in parts:
        if isinstance(part, bytes):
            linked += part
        elif isinstance(part, tuple):
            linked += of.jump(part[0], places[part[1]] - len(linked))
    return linked
