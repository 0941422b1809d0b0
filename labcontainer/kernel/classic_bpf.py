"""Classic BPF, the small machine that a seccomp filter runs on: assembler, text, installation.

The machine has one number A, loads 32-bit words of `struct seccomp_data` into it, compares, and
jumps forward only. Each instruction is 8 bytes: code, how far to jump if true, how far if false
(8 bits each), and a constant. See Documentation/userspace-api/seccomp_filter.rst, bpf(4).
"""

from __future__ import annotations

import struct

from labcontainer.kernel import foreign, syscalls
from labcontainer.kernel.flags import SECCOMP, SECCOMP_FILTER_FLAG

LD = 0x20  # BPF_LD  | BPF_W | BPF_ABS: A = the 32-bit word at offset k
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K: A &= k
JA = 0x05  # BPF_JMP | BPF_JA:          jump k instructions ahead
JEQ = 0x15  # BPF_JMP | BPF_JEQ | BPF_K: jump on A == k
JGT = 0x25  # BPF_JMP | BPF_JGT | BPF_K: jump on A > k, unsigned
JGE = 0x35  # BPF_JMP | BPF_JGE | BPF_K: jump on A >= k, unsigned
RET = 0x06  # BPF_RET | BPF_K:           end with the answer k

LONGEST = 4096  # BPF_MAXINSNS, linux/bpf_common.h
FARTHEST = 255  # the jump fields have 8 bits

Instruction = tuple[int, int, int, int]


class Assembler:
    """Writes a program from its last instruction to its first.

    All jumps lead forward, so written this way the place that a jump leads to is already known.
    A place is its number counted from the program's end; it never moves.
    """

    def __init__(self) -> None:
        self._reversed: list[Instruction] = []
        self._returns: dict[int, int] = {}

    def _add(self, code: int, if_true: int, if_false: int, k: int) -> int:
        self._reversed.append((code, if_true, if_false, k))
        return len(self._reversed) - 1

    def ret(self, answer: int) -> int:
        """A place that ends the program with this answer, near enough to jump to."""
        place = self._returns.get(answer, -1)
        if place < 0 or len(self._reversed) - place > FARTHEST - 8:
            place = self._returns[answer] = self._add(RET, 0, 0, answer)
        return place

    def _near(self, place: int) -> int:
        """The place itself, or one in reach that leads there.

        Two are kept in reserve: the other branch of the same jump may need a stepping stone too.
        """
        distance = len(self._reversed) - 1 - place
        if distance <= FARTHEST - 2:
            return place
        if self._reversed[place][0] == RET:
            return self.ret(self._reversed[place][3])
        return self._add(JA, 0, 0, distance)

    def jump(self, code: int, k: int, if_true: int, if_false: int) -> int:
        """A comparison of A with `k` that goes on at one place or the other."""
        if if_true == if_false:
            return if_true
        if_true, if_false = self._near(if_true), self._near(if_false)
        here = len(self._reversed)
        return self._add(code, here - 1 - if_true, here - 1 - if_false, k)

    def load(self, offset: int, then: int, mask: int = 0xFFFFFFFF) -> int:
        """Load the word at `offset`, keep the bits of `mask`, and go on at `then`."""
        if then != len(self._reversed) - 1:
            self._add(JA, 0, 0, len(self._reversed) - 1 - then)
        if mask != 0xFFFFFFFF:
            self._add(AND, 0, 0, mask)
        return self._add(LD, 0, 0, offset)

    def program(self) -> tuple[Instruction, ...]:
        """The whole, first instruction first."""
        return tuple(reversed(self._reversed))


def encode(instructions: tuple[Instruction, ...]) -> bytes:
    """The program as an array of `struct sock_filter`."""
    numbers = [number for instruction in instructions for number in instruction]
    return struct.pack("=" + "HBBI" * len(instructions), *numbers)


def decode(code: bytes) -> tuple[Instruction, ...]:
    """The instructions in an array of `struct sock_filter`."""
    return tuple(struct.iter_unpack("=HBBI", code))


def install(code: bytes, flags: int = 0) -> int:
    """Put this process under a filter, for good; with NEW_LISTENER in flags, its descriptor.

    Needs no_new_privs, or CAP_SYS_ADMIN in the process's user namespace: seccomp(2).
    """
    program = foreign.buffer(code)
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    fprog = struct.pack("HxxxxxxQ", len(code) // 8, foreign.addressof(program))
    return syscalls.seccomp(SECCOMP.SET_MODE_FILTER, SECCOMP_FILTER_FLAG(flags), fprog)


def disassemble(instructions: tuple[Instruction, ...], names: dict[int, str]) -> list[str]:
    """The program as lines; `names` tells what the answers (the k of RET) are called."""
    lines = []
    for here, (code, if_true, if_false, k) in enumerate(instructions):
        yes, no = here + 1 + if_true, here + 1 + if_false
        text = {
            LD: f"A = {_WORDS.get(k, f'data[{k}]')}",
            AND: f"A &= {k:#x}",
            JA: f"goto {here + 1 + k}",
            JEQ: f"if A == {k:#x} goto {yes} else {no}",
            JGT: f"if A > {k:#x} goto {yes} else {no}",
            JGE: f"if A >= {k:#x} goto {yes} else {no}",
            RET: f"return {names.get(k, hex(k))}",
        }.get(code, f"code {code:#x} {if_true} {if_false} {k:#x}")
        lines.append(f"{here:4}  {text}")
    return lines


# struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }
NUMBER, ARCH = 0, 4


def argument(index: int) -> tuple[int, int]:
    """The offsets of the high and the low word of an argument, on little-endian machines."""
    return 16 + 8 * index + 4, 16 + 8 * index


_WORDS = {NUMBER: "number", ARCH: "architecture"}
for _index in range(6):
    _high, _low = argument(_index)
    _WORDS[_high], _WORDS[_low] = f"argument {_index}, high", f"argument {_index}, low"
