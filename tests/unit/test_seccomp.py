"""The filter's compiler, run on an interpreter of the kernel's machine, against the spec's words
and against libseccomp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labcontainer import seccomp
from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.kernel import classic_bpf, syscalls
from labcontainer.kernel.flags import SECCOMP_FILTER_FLAG
from labcontainer.kernel.syscall_numbers import numbers
from labcontainer.seccomp import compile
from labcontainer.seccomp_default import default_profile
from labcontainer.seccomp_profile import (
    ALLOW,
    ARCHITECTURES,
    ERRNO,
    LOG,
    TRACE,
    Compare,
    Profile,
    Rule,
    read_profile,
)
from tests.unit import seccomp_machine as machine

X86_64 = "SCMP_ARCH_X86_64"
PODMAN = "/usr/share/containers/seccomp.json"
ALL_X86 = (X86_64, "SCMP_ARCH_X86", "SCMP_ARCH_X32")

needs_libseccomp = pytest.mark.skipif(
    machine.LIBRARY is None or os.uname().machine != "x86_64",
    reason="compares with libseccomp on x86_64, which isn't here",
)


def answer(program: seccomp.Program, name: str, *args: int, architecture: str = X86_64) -> int:
    """What a compiled filter says to a call by name."""
    entry = ARCHITECTURES[architecture]
    padded = [*args, 0, 0, 0, 0, 0, 0][:6]
    return machine.run(program.instructions, entry.audit, numbers(entry.table)[name], padded)


def rule(names: str, action: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"names": names.split(), "action": action, **more}


def arg(index: int, operator: str, value: int, two: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": two}


def profile(*rules: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


# --- the tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "name", "number"),
    [
        ("x86_64", "read", 0),
        ("x86_64", "seccomp", 317),
        ("x86_64", "mseal", 462),
        ("i386", "exit", 1),
        ("i386", "socketcall", 102),
        ("x32", "read", 0x40000000),
        ("x32", "execve", 0x40000000 | 520),
        ("aarch64", "openat", 56),
        ("aarch64", "clone3", 435),
    ],
)
def test_numbers_are_the_kernels(table: str, name: str, number: int) -> None:
    assert numbers(table)[name] == number


def test_x32_lacks_what_it_lacks() -> None:
    assert "uselib" not in numbers("x32")


@needs_libseccomp
@pytest.mark.parametrize("architecture", ALL_X86)
def test_numbers_agree_with_libseccomp(architecture: str) -> None:
    import ctypes

    library = ctypes.CDLL(machine.LIBRARY)
    token = ctypes.c_uint32(machine.TOKENS[architecture])
    for name, number in numbers(ARCHITECTURES[architecture].table).items():
        theirs = library.seccomp_syscall_resolve_name_arch(token, name.encode())
        # Negative: newer than this libseccomp, or one that it reaches by socketcall and ipc.
        assert theirs in (number, -1) or theirs <= -100, name


# --- single rules -------------------------------------------------------------------------------


def test_a_named_call_gets_its_action_and_others_the_default() -> None:
    program = compile(profile(rule("read write openat2")), X86_64)
    assert answer(program, "read") == ALLOW
    assert answer(program, "mount") == ERRNO | 1


def test_errno_is_the_profiles() -> None:
    program = compile(
        profile(rule("mount", "SCMP_ACT_ERRNO", errnoRet=22), default="SCMP_ACT_ALLOW"), X86_64
    )
    assert answer(program, "mount") == ERRNO | 22
    assert answer(program, "mseal") == ALLOW


def test_default_errno_is_the_profiles() -> None:
    program = compile(profile(rule("mseal"), defaultErrnoRet=38), X86_64)
    assert answer(program, "mount") == ERRNO | 38


def test_calls_newer_than_the_profile_say_enosys() -> None:
    program = compile(profile(rule("read openat2")), X86_64)
    assert answer(program, "mseal") == ERRNO | 38


def test_unknown_names_are_skipped() -> None:
    checked = read_profile(profile(rule("read no_such_call")), X86_64)
    assert answer(compile(checked), "read") == ALLOW
    assert seccomp.unknown_names(checked) == ("no_such_call",)


@pytest.mark.parametrize(
    ("operator", "value", "two", "yes", "no"),
    [
        ("EQ", 5, 0, [5], [4, 5 | 1 << 32]),
        ("NE", 5, 0, [4, 5 | 1 << 32], [5]),
        ("LT", 1 << 32, 0, [0, (1 << 32) - 1], [1 << 32, 1 << 33]),
        ("LE", 1 << 32, 0, [1 << 32], [(1 << 32) + 1, 1 << 33]),
        ("GT", 1 << 32, 0, [(1 << 32) + 1, 1 << 40], [1 << 32, 7]),
        ("GE", 1 << 32, 0, [1 << 32, 1 << 40], [(1 << 32) - 1]),
        ("MASKED_EQ", 0xF0, 0x10, [0x1F, 0x10 | 1 << 40], [0x20, 0]),
        ("MASKED_EQ", 1 << 40, 0, [0, 1 << 41], [1 << 40]),
    ],
)
def test_operators(operator: str, value: int, two: int, yes: list[int], no: list[int]) -> None:
    program = compile(profile(rule("ioctl", args=[arg(1, operator, value, two)])), X86_64)
    assert {answer(program, "ioctl", 0, each) for each in yes} == {ALLOW}
    assert {answer(program, "ioctl", 0, each) for each in no} == {ERRNO | 1}


def test_conditions_on_different_arguments_must_all_hold() -> None:
    program = compile(profile(rule("ioctl", args=[arg(0, "EQ", 1), arg(1, "EQ", 2)])), X86_64)
    assert answer(program, "ioctl", 1, 2) == ALLOW
    assert answer(program, "ioctl", 1, 3) == answer(program, "ioctl", 0, 2) == ERRNO | 1


def test_conditions_on_one_argument_are_alternatives() -> None:
    program = compile(profile(rule("ioctl", args=[arg(0, "EQ", 1), arg(0, "EQ", 2)])), X86_64)
    assert answer(program, "ioctl", 1) == answer(program, "ioctl", 2) == ALLOW
    assert answer(program, "ioctl", 3) == ERRNO | 1


def test_a_rule_without_conditions_outweighs_those_with() -> None:
    conditional = rule("ioctl", "SCMP_ACT_KILL_PROCESS", args=[arg(0, "EQ", 1)])
    for rules in ((conditional, rule("ioctl")), (rule("ioctl"), conditional)):
        assert answer(compile(profile(*rules), X86_64), "ioctl", 1) == ALLOW


# --- architectures ------------------------------------------------------------------------------


def test_other_architectures_are_closed() -> None:
    program = compile(profile(rule("read"), default="SCMP_ACT_ALLOW"), X86_64)
    assert answer(program, "read", architecture="SCMP_ARCH_X86") == machine.KILL
    assert answer(program, "read", architecture="SCMP_ARCH_X32") == machine.KILL
    assert machine.run(program.instructions, machine.AUDIT_ARM, 0, [0] * 6) == machine.KILL


def test_listed_architectures_have_their_own_numbers() -> None:
    program = compile(profile(rule("read"), architectures=list(ALL_X86)), X86_64)
    for architecture in ALL_X86:
        assert answer(program, "read", architecture=architecture) == ALLOW
        assert answer(program, "mount", architecture=architecture) != ALLOW


def test_an_architecture_without_a_table_stays_closed() -> None:
    program = compile(profile(rule("read"), architectures=["SCMP_ARCH_ARM"]), X86_64)
    assert program.closed == ("SCMP_ARCH_ARM",)
    assert machine.run(program.instructions, machine.AUDIT_ARM, 3, [0] * 6) == machine.KILL


def test_i386_socket_calls_are_seen_through_socketcall() -> None:
    document = profile(
        rule("socket", "SCMP_ACT_ERRNO", args=[arg(0, "EQ", 38)]),
        rule("shmget", "SCMP_ACT_ERRNO"),
        default="SCMP_ACT_ALLOW",
        architectures=["SCMP_ARCH_X86"],
    )
    program = compile(document, X86_64)
    i386 = "SCMP_ARCH_X86"
    assert answer(program, "socketcall", 1, architecture=i386) == ERRNO | 1
    assert answer(program, "socketcall", 2, architecture=i386) == ALLOW
    assert answer(program, "ipc", 23, architecture=i386) == ERRNO | 1


def test_a_machine_without_a_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "MACHINE", "s390x")
    with pytest.raises(UnsupportedError, match="s390x"):
        compile(profile(rule("read")))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "defaultAction: unknown action None"),
        (profile(default="SCMP_ACT_WAVE"), "unknown action 'SCMP_ACT_WAVE'"),
        (profile({"names": [], "action": "SCMP_ACT_ALLOW"}), r"syscalls\[0\].names"),
        (profile(rule("read", errnoRet=1)), "SCMP_ACT_ALLOW takes no errno"),
        (profile(rule("read", "SCMP_ACT_ERRNO", errnoRet=5000)), "errno 5000"),
        (profile(rule("read", args=[arg(6, "EQ", 0)])), "argument index 6"),
        (profile(rule("read", args=[arg(0, "XX", 0)])), "unknown operator"),
        (profile(rule("read", args=[arg(0, "EQ", -1)])), "-1 is not an unsigned"),
        (profile(flags=["SECCOMP_FILTER_FLAG_NONE"]), "unknown flag"),
        (profile(architectures=["Z80"]), "unknown architecture 'Z80'"),
        (profile(default="SCMP_ACT_NOTIFY"), "cannot be the default"),
        (profile(rule("read", "SCMP_ACT_NOTIFY")), "needs a listener"),
        (profile(rule("write", "SCMP_ACT_NOTIFY"), listenerPath="/x"), "cannot be used for write"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_place(document: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_profile(document, X86_64)


def test_a_program_too_long_for_the_kernel_is_refused() -> None:
    rules = [rule("ioctl", args=[arg(0, "GT", n << 33), arg(1, "LT", n)]) for n in range(900)]
    with pytest.raises(SpecError, match="the kernel takes 4096"):
        compile(profile(*rules), X86_64)


def test_flags() -> None:
    asked = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]
    both = SECCOMP_FILTER_FLAG.LOG | SECCOMP_FILTER_FLAG.TSYNC
    assert read_profile(profile(flags=asked), X86_64).flags == both
    assert read_profile(profile(flags=[]), X86_64).flags == 0
    assert read_profile(profile(), X86_64).flags == SECCOMP_FILTER_FLAG.SPEC_ALLOW


# --- far jumps ----------------------------------------------------------------------------------


def test_jumps_over_255_instructions_arrive() -> None:
    rules = [rule("ioctl", args=[arg(1, "GT", n), arg(2, "EQ", n)]) for n in range(300)]
    program = compile(profile(rule("read"), *rules, rule("mseal")), X86_64)
    assert len(program.instructions) > 2000
    assert answer(program, "read") == answer(program, "mseal") == ALLOW
    assert answer(program, "ioctl", 0, 300, 299) == ALLOW
    assert answer(program, "ioctl", 0, 299, 299) == ERRNO | 1
    assert answer(program, "mount") == ERRNO | 1


# --- property: the filter says what the profile says --------------------------------------------

NAMES = (
    *("read", "write", "open", "ioctl", "socket", "clone", "mount", "personality", "prctl"),
    *("shmget", "mseal", "bogus", "execve"),
)
words = st.sampled_from([0, 1, 2, 5, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 64) - 1])
arguments = words | st.integers(0, (1 << 64) - 1)
compares = st.builds(
    lambda index, operator, value, two: Compare(index, operator, (value,), two),
    st.integers(0, 5),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "&"]),
    arguments,
    words,
)
conjunctions = st.lists(compares, max_size=3, unique_by=lambda c: c.index).map(tuple)
actions = st.sampled_from([ALLOW, LOG, ERRNO | 1, ERRNO | 38, TRACE | 1])
rules = st.builds(
    Rule, st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple), actions, conjunctions
)
architectures = st.lists(st.sampled_from(ALL_X86[1:]), unique=True).map(lambda x: (X86_64, *x))
profiles = st.builds(Profile, actions, st.lists(rules, max_size=8).map(tuple), architectures)


@settings(deadline=None, max_examples=150)
@given(profiles, st.data())
def test_the_program_says_what_the_profile_says(checked: Profile, data: st.DataObject) -> None:
    program = compile(checked)
    classic_bpf.encode(program.instructions)  # every field fits
    for architecture in ALL_X86:
        entry = ARCHITECTURES[architecture]
        low = 0x40000000 if architecture == "SCMP_ARCH_X32" else 0
        table = numbers(entry.table)
        calls = [*(table.get(name, low + 1000) for name in NAMES), low, low + 999]
        for nr in (*calls, *(call + 1 for call in calls), *([0xFFFFFFFF] if not low else [])):
            args = (
                data.draw(st.lists(arguments, min_size=6, max_size=6))
                if nr == calls[3]
                else [5] * 6
            )
            got = machine.run(program.instructions, entry.audit, nr, args)
            assert got == machine.evaluate(checked, architecture, nr, args), (architecture, nr)


def all_inside(conditions: tuple[Compare, ...]) -> bool:
    return all(c.operator != "&" or not c.two & ~c.values[0] for c in conditions)


# One rule with conditions a call: libseccomp 2.5 errs when it merges several with < and >. And it
# forgets the bits of valueTwo that the mask doesn't have, where the spec has such a rule never fit.
simple = conjunctions.filter(all_inside)
simple_rules = st.lists(
    st.builds(lambda name, when: Rule((name,), ALLOW, when), st.sampled_from(NAMES), simple),
    min_size=1,
    max_size=6,
    unique_by=lambda rule: rule.names,
)


@needs_libseccomp
@settings(deadline=None, max_examples=150)
@given(simple_rules, st.lists(st.lists(arguments, min_size=6, max_size=6), min_size=1, max_size=8))
def test_the_program_agrees_with_libseccomp(rules: list[Rule], tries: list[list[int]]) -> None:
    checked = Profile(ERRNO | 1, tuple(rules), (X86_64,))
    ours, theirs = compile(checked).instructions, machine.libseccomp(checked)
    table = numbers("x86_64")
    newest = max(table.get(name, 0) for r in rules for name in r.names)
    for name in set(NAMES) - {"bogus", "mseal"}:
        for args in tries if table[name] <= newest else ():
            got = machine.run(ours, 0xC000003E, table[name], args)
            assert got == machine.run(theirs, 0xC000003E, table[name], args), (name, args)


# --- the default profile ------------------------------------------------------------------------


def everything(checked: Profile) -> list[tuple[str, int, list[int]]]:
    """Calls to try a profile with: every number, with arguments about the ones it looks at."""
    looked_at = {c.values[0] for r in checked.rules for c in r.conditions}
    values = sorted({v + d for v in looked_at for d in (-1, 0, 1) if v + d >= 0} | {0, 99, 1 << 32})
    tries = []
    for architecture in checked.architectures:
        for name, nr in numbers(ARCHITECTURES[architecture].table).items():
            used = any(name in rule.names and rule.conditions for rule in checked.rules)
            tries += [(architecture, nr, [v, 1, v, 0, 0, 0]) for v in (values if used else [0])]
    return tries


@pytest.mark.parametrize("capabilities", [[], ["CAP_SYS_ADMIN"], ["CAP_SYS_PTRACE", "CAP_SYSLOG"]])
def test_the_default_profile_compiled_says_what_it_says(capabilities: list[str]) -> None:
    document = default_profile(capabilities, "x86_64", (6, 1), foreign=True)
    checked = read_profile(document, X86_64)
    program = compile(checked)
    for architecture, nr, args in everything(checked):
        audit = ARCHITECTURES[architecture].audit
        got = machine.run(program.instructions, audit, nr, args)
        assert got == machine.evaluate(checked, architecture, nr, args)


def test_the_default_profile_is_short_and_closed_to_foreigners() -> None:
    program = compile(default_profile([], "x86_64", (6, 1)), X86_64)
    assert len(program.instructions) < 130
    assert answer(program, "read", architecture="SCMP_ARCH_X86") == machine.KILL
    assert answer(program, "read", architecture="SCMP_ARCH_X32") == machine.KILL


def test_the_default_profile_opens_with_capabilities_and_kernels() -> None:
    plain = compile(default_profile([], "x86_64", (6, 1)), X86_64)
    admin = compile(default_profile(["CAP_SYS_ADMIN"], "x86_64", (6, 1)), X86_64)
    old = compile(default_profile([], "x86_64", (4, 4)), X86_64)
    assert answer(plain, "mount") == ERRNO | 1
    assert answer(admin, "mount") == ALLOW
    assert answer(plain, "clone3") == ERRNO | 38
    assert answer(admin, "clone3") == ALLOW
    assert answer(plain, "clone", 0x10000000) == ERRNO | 1
    assert answer(plain, "clone", 17) == ALLOW
    assert answer(plain, "ptrace") == ALLOW
    assert answer(old, "ptrace") == ERRNO | 1
    assert answer(plain, "socket", 2) == ALLOW
    assert answer(plain, "socket", 38) == answer(plain, "socket", 40) == ERRNO | 1
    assert answer(plain, "io_uring_setup") == ERRNO | 1


def test_the_default_profile_has_aarch64() -> None:
    program = compile(default_profile([], "aarch64", (6, 1)), "SCMP_ARCH_AARCH64")
    assert answer(program, "openat", architecture="SCMP_ARCH_AARCH64") == ALLOW
    assert answer(program, "mount", architecture="SCMP_ARCH_AARCH64") == ERRNO | 1
    assert answer(program, "read") == machine.KILL


def runtime_profile(path: str, capabilities: list[str]) -> dict[str, Any]:
    """An engine's profile file as the engine resolves it for a container on amd64."""
    with open(path) as file:
        document = json.load(file)
    kept = []
    for entry in document["syscalls"]:
        includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
        arches, caps = includes.get("arches"), includes.get("caps")
        if (arches and "amd64" not in arches) or "amd64" in excludes.get("arches", ()):
            continue
        if caps and not set(caps) & set(capabilities):
            continue
        if set(excludes.get("caps", ())) & set(capabilities):
            continue
        entry = {key: entry.get(key) for key in ("names", "action", "errnoRet", "args")}
        kept.append(entry)
    more = {"defaultErrnoRet": document["defaultErrnoRet"], "architectures": list(ALL_X86)}
    return profile(*kept, default=document["defaultAction"], **more)


@needs_libseccomp
@pytest.mark.skipif(not os.path.exists(PODMAN), reason="podman's profile isn't installed")
@pytest.mark.parametrize("capabilities", [[], ["CAP_AUDIT_WRITE", "CAP_SYS_CHROOT"]])
def test_podmans_profile_compiles_to_what_libseccomp_makes(capabilities: list[str]) -> None:
    checked = read_profile(runtime_profile(PODMAN, capabilities), X86_64)
    ours, theirs = compile(checked), machine.libseccomp(checked)
    assert len(ours.instructions) < len(theirs) / 2
    for architecture, nr, args in everything(checked):
        audit = ARCHITECTURES[architecture].audit
        got = machine.run(ours.instructions, audit, nr, args)
        assert got == machine.run(theirs, audit, nr, args), (architecture, nr, args)


@needs_libseccomp
@pytest.mark.parametrize("foreign", [False, True])
def test_the_default_profile_compiles_to_what_libseccomp_makes(foreign: bool) -> None:
    document = default_profile([], "x86_64", (6, 1), foreign=foreign)
    checked = read_profile(document, X86_64)
    ours, theirs = compile(checked), machine.libseccomp(checked)
    for architecture, nr, args in everything(checked):
        if nr & 0xFFFF in (335, 336) or nr & 0xFFFF > 449:  # newer than this libseccomp's tables
            continue
        audit = ARCHITECTURES[architecture].audit
        got = machine.run(ours.instructions, audit, nr, args)
        assert got == machine.run(theirs, audit, nr, args), (architecture, nr, args)


# --- for people, and for speed ------------------------------------------------------------------


def test_plan_and_text() -> None:
    document = profile(rule("read"), rule("clone", args=[arg(0, "MASKED_EQ", 0xFF)]))
    plan = seccomp.plan(document, X86_64)
    assert "ALLOW for 1: clone if arg0 & 0xff == 0x0" in plan
    assert "ERRNO(1) for the rest" in plan
    text = "\n".join(seccomp.disassemble(compile(document, X86_64)))
    assert "A = architecture" in text
    assert "return ERRNO(1)" in text


def test_the_import_is_cheap() -> None:
    code = "import sys, labcontainer.seccomp, labcontainer.seccomp_default; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"json", "re", "enum", "typing", "dataclasses", "collections", "functools"}
    assert not heavy & set(done.stdout.split())
