"""The device list of cgroup version 2: an eBPF program, put together by hand, and bpf(2).

The kernel runs the program at each mknod(2) and open(2) of a device node in the group. It sees a
`struct bpf_cgroup_dev_ctx`: access and type in one word, major, minor (linux/bpf.h), and answers
1 for yes. One instruction is 8 bytes: code, two registers, jump offset, constant
(the kernel's bpf/standardization/instruction-set.rst).
"""

from __future__ import annotations

import os
import struct

from labcontainer.kernel import foreign, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    # allow, kind ("c" "b" "a"), major, minor (-1: any), access (of "rwm")
    Rule = tuple[bool, str, int, int, str]

PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY = 5, 8, 9, 13, 16
PROG_TYPE_CGROUP_DEVICE, CGROUP_DEVICE = 15, 6
F_ALLOW_MULTI, F_REPLACE = 2, 4
KINDS = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, _CHAR
ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, _READ, _WRITE

# Instruction codes: class, operation and source of the operand added up.
LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
MOVE, MOVE_REGISTER, AND, SHIFT_RIGHT = 0xB4, 0xBC, 0x54, 0x74
JUMP_EQUAL, JUMP_NOT_EQUAL, EXIT = 0x15, 0x55, 0x95
RESULT, SCRATCH, KIND, WANTED, MAJOR, MINOR = 0, 1, 2, 3, 4, 5  # registers


def _instruction(
    code: int, dst: int = 0, src: int = 0, offset: int = 0, constant: int = 0
) -> bytes:
    return struct.pack("<BBhi", code, dst | src << 4, offset, constant)


_PROLOGUE = b"".join(
    (
        _instruction(LOAD_WORD, KIND, 1, 0),
        _instruction(MOVE_REGISTER, WANTED, KIND),
        _instruction(AND, KIND, constant=0xFFFF),
        _instruction(SHIFT_RIGHT, WANTED, constant=16),
        _instruction(LOAD_WORD, MAJOR, 1, 4),
        _instruction(LOAD_WORD, MINOR, 1, 8),
    )
)


def _answer(allow: bool) -> bytes:
    return _instruction(MOVE, RESULT, constant=int(allow)) + _instruction(EXIT)


def assemble(rules: Iterable[Rule]) -> bytes:
    """The program of a list in which the last rule that fits decides, for each access by itself.

    So the rules are tried from the last to the first; what an `allow` grants is struck off the
    accesses still wanted, and what a `deny` meets ends it. An `a` rule fits everything. Nothing
    fits: no.
    """
    program = _PROLOGUE
    for allow, kind, major, minor, access in reversed(list(rules)):
        if kind == "a":
            return program + _answer(allow)
        program += _block(allow, kind, major, minor, access)
    return program + _answer(False)


def _block(allow: bool, kind: str, major: int, minor: int, access: str) -> bytes:
    """One rule: conditions that jump behind it when they do not hold, and what it does."""
    mask = sum(ACCESS[word] for word in access)
    if allow:
        act = _instruction(AND, WANTED, constant=~mask)
        act += _instruction(JUMP_NOT_EQUAL, WANTED, offset=2)
    else:
        act = _instruction(MOVE_REGISTER, SCRATCH, WANTED)
        act += _instruction(AND, SCRATCH, constant=mask)
        act += _instruction(JUMP_EQUAL, SCRATCH, offset=2)
    act += _answer(allow)
    for register, number in ((MINOR, minor), (MAJOR, major), (KIND, KINDS[kind])):
        if number >= 0:
            behind = len(act) // 8
            act = _instruction(JUMP_NOT_EQUAL, register, offset=behind, constant=number) + act
    return act


# --- bpf(2) --------------------------------------------------------------------------------------


def load(program: bytes) -> int:
    """Give a device program to the kernel's verifier; a descriptor of it.

    Raises:
        OSError: EPERM without CAP_BPF or CAP_SYS_ADMIN in the first user namespace.
    """
    code, license_ = foreign.buffer(program), foreign.buffer(b"GPL\0")
    # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags
    attr = struct.pack(
        "=IIQQIIQII", PROG_TYPE_CGROUP_DEVICE, len(program) // 8, foreign.addressof(code),
        foreign.addressof(license_), 0, 0, 0, 0, 0,
    )  # fmt: skip
    return syscalls.bpf(PROG_LOAD, attr)


def attached(group: int) -> tuple[int, ...]:
    """The ids of the device programs that are attached to this very group."""
    ids = (foreign.c_uint * 64)()
    # target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
    attr = struct.pack("=IIIIQI4x", group, CGROUP_DEVICE, 0, 0, foreign.addressof(ids), 64)
    buffer = foreign.buffer(attr)
    syscalls._call("bpf", PROG_QUERY, buffer, len(attr))
    return tuple(ids[: struct.unpack_from("=I", buffer, 24)[0]])


def attach(group: int, program: int, instead_of: int = -1) -> None:
    """Attach a program to a group, with `instead_of` in the place of another, at one stroke."""
    flags = F_ALLOW_MULTI | (F_REPLACE if instead_of >= 0 else 0)
    attr = struct.pack("=IIIII", group, program, CGROUP_DEVICE, flags, max(instead_of, 0))
    syscalls.bpf(PROG_ATTACH, attr)


def detach(group: int, program: int) -> None:
    """Take a program off a group: without one, what the groups above allow is allowed."""
    syscalls.bpf(PROG_DETACH, struct.pack("=IIII", group, program, CGROUP_DEVICE, 0))


def descriptor(program_id: int) -> int:
    """A descriptor of a program that the kernel already has."""
    return syscalls.bpf(PROG_GET_FD_BY_ID, struct.pack("=III", program_id, 0, 0))


def set_device_program(path: str, rules: Iterable[Rule]) -> None:
    """Make these rules the group's device list, in the place of the one before.

    Raises:
        OSError: bpf(2) refused; EPERM without CAP_BPF or CAP_SYS_ADMIN.
    """
    opened = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        group = opened[0]
        opened.append(load(assemble(rules)))
        before = [descriptor(number) for number in attached(group)]
        opened += before
        attach(group, opened[1], before[0] if before else -1)
        for old in before[1:]:
            detach(group, old)
    finally:
        for fd in opened:
            os.close(fd)
