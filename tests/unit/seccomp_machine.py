"""What the seccomp tests measure against: the kernel's filter machine, the spec, and libseccomp."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Mapping
from typing import Any

from labcontainer import seccomp
from labcontainer.kernel import classic_bpf
from labcontainer.kernel.syscall_numbers import numbers
from labcontainer.seccomp_profile import (
    ALLOW,
    ARCHITECTURES,
    ERRNO,
    TRACE,
    Compare,
    Profile,
    Rule,
)

KILL = 0
AUDIT_ARM = 0x40000028


def run(
    instructions: tuple[tuple[int, int, int, int], ...], arch: int, nr: int, args: list[int]
) -> int:
    """Interpret a filter on one call: bpf(4), and the kernel's net/core/filter.c."""
    words = {0: nr, 4: arch}
    for index, value in enumerate(args):
        words[16 + 8 * index] = value & 0xFFFFFFFF
        words[20 + 8 * index] = value >> 32
    a = here = 0
    while True:
        code, if_true, if_false, k = instructions[here]
        here += 1
        if code == 0x20:
            a = words[k]
        elif code == 0x54:
            a &= k
        elif code == 0x05:
            here += k
        elif code == 0x06:
            return k
        else:
            true = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[code]
            here += if_true if true else if_false


def holds(condition: Compare, args: list[int], bits: int) -> bool:
    """A condition, as the spec words it."""
    cut = (1 << bits) - 1
    argument, value = args[condition.index] & cut, condition.values[0] & cut
    return {
        "==": argument == value,
        "!=": argument != value,
        "<": argument < value,
        "<=": argument <= value,
        ">": argument > value,
        ">=": argument >= value,
        "&": argument & value == condition.two & cut,
    }[condition.operator]


def evaluate(profile: Profile, architecture: str, nr: int, args: list[int]) -> int:
    """What a profile says to a call, in the plainest words."""
    if architecture not in profile.architectures:
        return KILL
    if nr == 0xFFFFFFFF and architecture == "SCMP_ARCH_X86_64":
        return profile.default
    table = numbers(ARCHITECTURES[architecture].table)
    bits = ARCHITECTURES[architecture].bits
    rules = [rule for rule in profile.rules if rule.action != profile.default]
    if architecture == "SCMP_ARCH_X86":
        rules = [more for rule in rules for more in (rule, *seccomp._multiplexed(rule))]
    named = [rule for rule in rules if any(table.get(name) == nr for name in rule.names)]
    for rule in (*(r for r in named if not r.conditions), *named):
        if all(holds(condition, args, bits) for condition in rule.conditions):
            return rule.action
    return _otherwise(profile, table, nr)


def _otherwise(profile: Profile, table: Mapping[str, int], nr: int) -> int:
    known = [table[name] for rule in profile.rules for name in rule.names if name in table]
    permissive = TRACE <= profile.default <= ALLOW  # TRACE, LOG, ALLOW
    if known and nr > max(known) and not permissive:
        return ERRNO | 38
    return profile.default


# --- libseccomp ---------------------------------------------------------------------------------

LIBRARY = ctypes.util.find_library("seccomp")
OPERATORS = {"!=": 1, "<": 2, "<=": 3, "==": 4, ">=": 5, ">": 6, "&": 7}
TOKENS = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
}


class _Argument(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def libseccomp(profile: Profile) -> tuple[tuple[int, int, int, int], ...]:
    """The same profile, compiled by libseccomp the way runc has it done."""
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(profile.default)))
    native = library.seccomp_arch_native()
    for name in profile.architectures:
        if TOKENS[name] != ctypes.c_uint32(native).value:
            _ok(library.seccomp_arch_add(context, ctypes.c_uint32(TOKENS[name])))
    if "SCMP_ARCH_X86_64" not in profile.architectures:
        _ok(library.seccomp_arch_remove(context, ctypes.c_uint32(native)))
    for rule in profile.rules:
        if rule.action != profile.default:
            _add(library, context, rule)
    read, write = os.pipe()
    _ok(library.seccomp_export_bpf(context, write))
    os.close(write)
    with os.fdopen(read, "rb") as file:
        code = file.read()
    library.seccomp_release(context)
    return classic_bpf.decode(code)


def _add(library: Any, context: ctypes.c_void_p, rule: Rule) -> None:
    for name in rule.names:
        nr = library.seccomp_syscall_resolve_name(name.encode())
        if nr == -1:
            continue
        array = (_Argument * 6)()
        for slot, condition in zip(array, rule.conditions, strict=False):
            slot.arg, slot.op = condition.index, OPERATORS[condition.operator]
            slot.a, slot.b = condition.values[0], condition.two
        _ok(
            library.seccomp_rule_add_array(
                context, ctypes.c_uint32(rule.action), nr, len(rule.conditions), array
            )
        )


def _ok(result: int) -> None:
    assert result == 0, os.strerror(-result)
