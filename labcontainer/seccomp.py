"""Which system calls a container may make: a profile becomes a filter that the kernel runs.

A profile is the `linux.seccomp` object of an OCI config.json: a default action, and rules that name
calls, perhaps with conditions on their arguments. `compile` turns it into a program for the
kernel's small filter machine, `install` puts the calling process under it. There is no undo: a
filter stays until its last process has ended, and every child inherits it.

How the program decides: first by the architecture (an i386 program's calls have other numbers),
then by halving the ranges of numbers that share an answer, then, for the few calls with
conditions, by the arguments. See seccomp(2).
"""

from __future__ import annotations

from labcontainer.errors import SpecError
from labcontainer.kernel import classic_bpf, syscalls
from labcontainer.kernel.classic_bpf import JEQ, JGE, JGT, Assembler
from labcontainer.kernel.flags import PR, SECCOMP_FILTER_FLAG
from labcontainer.kernel.syscall_numbers import multiplexed, numbers
from labcontainer.record import Record
from labcontainer.seccomp_profile import (
    ALLOW,
    ARCHITECTURES,
    ENOSYS,
    ERRNO,
    KILL_THREAD,
    LOG,
    NOTIFY,
    TRACE,
    Compare,
    Profile,
    Rule,
    action_name,
    read_profile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from labcontainer.seccomp_profile import Conditions

    # What a call is answered with: an action, or conditions tried in turn, each with its action.
    Answer = int | tuple[tuple[Conditions, int], ...]

X32_BIT = 0x40000000
LOW, ALL = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
NO_CALL = 0xFFFFFFFF  # a tracer puts -1 there to have a call skipped


class Program(Record):
    """A compiled filter, with what the kernel must be told beside it."""

    instructions: tuple[classic_bpf.Instruction, ...]
    architectures: tuple[str, ...]
    closed: tuple[str, ...] = ()  # asked for, but without a table here
    flags: int = 0
    listener_path: str = ""
    listener_metadata: str = ""

    def load_flags(self) -> int:
        """The flags of seccomp(2) that it is loaded with."""
        flags = self.flags
        if self.listener_path:
            flags |= SECCOMP_FILTER_FLAG.NEW_LISTENER
            if flags & SECCOMP_FILTER_FLAG.TSYNC:  # both answer by the call's result: seccomp(2)
                flags |= SECCOMP_FILTER_FLAG.TSYNC_ESRCH
        return int(flags)

    def code(self) -> bytes:
        """The program as the kernel reads it."""
        return classic_bpf.encode(self.instructions)


# --- what each number is answered with ----------------------------------------------------------


def _multiplexed(rule: Rule) -> Iterable[Rule]:
    """What a rule means for i386's socketcall(2) and ipc(2), whose first argument says what to do.

    The arguments proper are behind a pointer, out of a filter's sight. So of a rule with conditions
    only a stricter answer carries over, and then for every argument.
    """
    if rule.conditions and rule.action in (ALLOW, LOG):
        return
    through = multiplexed()
    for name in rule.names:
        if name in through:
            call, which = through[name]
            yield Rule((call,), rule.action, (Compare(0, "==", (which,)),))


def answers(profile: Profile, architecture: str, table: Mapping[str, int]) -> dict[int, Answer]:
    """Number to answer, for every call of one architecture that the rules name.

    A rule without conditions outweighs those with; of several that fit, the first counts. A rule
    that asks for the default action says nothing: so it is with libseccomp.
    """
    bits = ARCHITECTURES[architecture].bits
    rules: list[Rule] = []
    for rule in profile.rules:
        rules.append(rule)
        if architecture == "SCMP_ARCH_X86":
            rules += _multiplexed(rule)
    found: dict[int, Answer] = {}
    for rule in rules:
        if rule.action == profile.default:
            continue
        conditions = rule.conditions
        if bits == 32:
            conditions = tuple(condition.cut(bits) for condition in conditions)
        for name in rule.names:
            number = table.get(name)
            if number is None:
                continue
            before = found.get(number, ())
            if isinstance(before, int):
                continue
            if rule.conditions:
                found[number] = (*before, (conditions, rule.action))
            else:
                found[number] = rule.action
    return found


def _newer(profile: Profile) -> int:
    """The answer for numbers above all that the profile names: calls its author didn't know.

    A forbidding profile says ENOSYS there, as runc does: libc then falls back to the older call,
    where EPERM would make it give up.
    """
    permissive = profile.default in (ALLOW, LOG) or profile.default & 0xFFFF0000 == TRACE
    return profile.default if permissive else ERRNO | ENOSYS


def ranges(profile: Profile, architecture: str) -> list[tuple[int, Answer]]:
    """(first number, answer) of each range of numbers, ascending, for one architecture."""
    table = numbers(ARCHITECTURES[architecture].table)
    found = answers(profile, architecture, table)
    known = [table[name] for rule in profile.rules for name in rule.names if name in table]
    newest = max(known, default=-1)
    result: list[tuple[int, Answer]] = []
    after = X32_BIT if architecture == "SCMP_ARCH_X32" else 0
    for number in (*sorted(found), newest + 1):
        if number > after:
            _extend(result, after, profile.default)
        if number in found:
            _extend(result, number, found[number])
            after = number + 1
    _extend(result, max(after, newest + 1), _newer(profile) if known else profile.default)
    return result


def _extend(result: list[tuple[int, Answer]], first: int, answer: Answer) -> None:
    if not result or result[-1][1] != answer:
        result.append((first, answer))


# --- from ranges to instructions ----------------------------------------------------------------


def _fold(rules: tuple[tuple[Conditions, int], ...]) -> list[tuple[Conditions, int]]:
    """Join neighbours that compare one argument for equality and answer alike."""
    folded: list[tuple[Conditions, int]] = []
    for conditions, action in rules:
        before = folded[-1] if folded else ((), -1)
        if len(conditions) == len(before[0]) == 1 and action == before[1]:
            new, old = conditions[0], before[0][0]
            same_high_word = new.values[0] >> 32 == old.values[0] >> 32
            if new.operator == old.operator == "==" and new.index == old.index and same_high_word:
                folded[-1] = ((old.replace(values=old.values + new.values),), action)
                continue
        folded.append((conditions, action))
    return folded


def compare(code: Assembler, condition: Compare, yes: int, no: int) -> int:
    """Instructions for one condition on a 64-bit argument, which the machine sees as two words.

    On a 32-bit architecture the high word doesn't count and isn't looked at.
    """
    high, low = classic_bpf.argument(condition.index)
    operator, value = condition.operator, condition.values[0]
    if operator in ("!=", "<", "<="):  # the opposite of ==, >= and >
        operator = {"!=": "==", "<": ">=", "<=": ">"}[operator]
        yes, no = no, yes
    if operator in (">", ">="):
        place = code.jump(JGT if operator == ">" else JGE, value & LOW, yes, no)
        place = code.load(low, place)
        if condition.bits == 32:
            return place
        decided = code.jump(JEQ, value >> 32, place, no)
        return code.load(high, code.jump(JGT, value >> 32, yes, decided))
    mask, wanted = (value, (condition.two,)) if operator == "&" else (ALL, condition.values)
    place = no
    for each in reversed(wanted):
        place = code.jump(JEQ, each & LOW, yes, place)
    place = code.load(low, place, mask & LOW)
    if condition.bits == 32 or mask >> 32 == wanted[0] >> 32 == 0:
        return place
    return code.load(high, code.jump(JEQ, wanted[0] >> 32, place, no), mask >> 32)


def _leaf(code: Assembler, answer: Answer, default: int) -> int:
    """The place that gives an answer."""
    if isinstance(answer, int):
        return code.ret(answer)
    place = code.ret(default)
    for conditions, action in reversed(_fold(answer)):
        otherwise, place = place, code.ret(action)
        for condition in reversed(conditions):
            place = compare(code, condition, place, otherwise)
    return place


def _tree(code: Assembler, parts: list[tuple[int, Answer]], default: int) -> int:
    """Find the range of a number by halving: the depth is the logarithm of their count."""
    if len(parts) == 1:
        return _leaf(code, parts[0][1], default)
    middle = len(parts) // 2
    above = _tree(code, parts[middle:], default)
    below = _tree(code, parts[:middle], default)
    return code.jump(JGE, parts[middle][0], above, below)


def _parts(profile: Profile, architecture: str) -> list[tuple[int, Answer]]:
    """The ranges of one audit architecture; x86_64's hold x32, open or closed."""
    parts = ranges(profile, architecture)
    if architecture == "SCMP_ARCH_X86_64":
        if "SCMP_ARCH_X32" in profile.architectures:
            parts += ranges(profile, "SCMP_ARCH_X32")
        else:
            parts.append((X32_BIT, KILL_THREAD))
        parts.append((NO_CALL, profile.default))
    return parts


def compile(profile: Mapping[str, Any] | Profile, machine: str = "") -> Program:
    """The program for a profile, on this machine or on another (a name of ARCHITECTURES).

    A call of an architecture that the profile doesn't list kills the thread, as libseccomp has it.

    Raises:
        SpecError: the profile is off, or needs a program longer than the kernel takes.
    """
    checked = profile if isinstance(profile, Profile) else read_profile(profile, machine)
    code = Assembler()
    place = code.ret(KILL_THREAD)
    for name in reversed(checked.architectures):
        if name not in ARCHITECTURES or name == "SCMP_ARCH_X32":
            continue
        tree = _tree(code, _parts(checked, name), checked.default)
        tree = code.load(classic_bpf.NUMBER, tree)
        place = code.jump(JEQ, ARCHITECTURES[name].audit, tree, place)
    code.load(classic_bpf.ARCH, place)
    instructions = code.program()
    if len(instructions) > classic_bpf.LONGEST:
        raise SpecError("linux.seccomp", f"{len(instructions)} instructions; the kernel takes 4096")
    return Program(
        instructions,
        tuple(name for name in checked.architectures if name in ARCHITECTURES),
        tuple(name for name in checked.architectures if name not in ARCHITECTURES),
        checked.flags,
        checked.listener_path if any(rule.action == NOTIFY for rule in checked.rules) else "",
        checked.listener_metadata,
    )


def unknown_names(profile: Profile) -> tuple[str, ...]:
    """Names that no architecture has here: skipped, as a profile may be newer than these tables."""
    known: set[str] = set()
    for architecture in ARCHITECTURES.values():
        known.update(numbers(architecture.table))
    named = dict.fromkeys(name for rule in profile.rules for name in rule.names)
    return tuple(name for name in named if name not in known)


# --- plan and apply -----------------------------------------------------------------------------


def plan(profile: Mapping[str, Any] | Profile, machine: str = "") -> tuple[str, ...]:
    """What a profile's filter will do, a line a decision."""
    checked = profile if isinstance(profile, Profile) else read_profile(profile, machine)
    program = compile(checked)
    return (
        *(f"take calls of {name.removeprefix('SCMP_ARCH_')}" for name in program.architectures),
        "answer calls of other architectures with KILL_THREAD",
        *(str(rule) for rule in checked.rules if rule.action != checked.default),
        f"{action_name(_newer(checked))} for calls newer than all of these",
        f"{action_name(checked.default)} for the rest",
        f"load {len(program.instructions)} instructions, flags {program.flags!r}",
    )


def disassemble(program: Program) -> list[str]:
    """The program as text, an instruction a line."""
    returned = {k for code, _, _, k in program.instructions if code == classic_bpf.RET}
    return classic_bpf.disassemble(
        program.instructions, {answer: action_name(answer) for answer in returned}
    )


def no_new_privs() -> None:
    """Give up gaining rights by exec, for good; an ordinary user may then load a filter."""
    syscalls.prctl(PR.SET_NO_NEW_PRIVS, 1)


def install(program: Program) -> int:
    """Put this process under the filter. Returns the listener's descriptor, or -1.

    Needs no_new_privs or CAP_SYS_ADMIN, so it comes last of all that a container's first process
    does: after it, a call that the profile forbids is forbidden to us too.

    Raises:
        OSError: the kernel refused, EACCES where neither of the two is there.
    """
    descriptor = classic_bpf.install(program.code(), program.load_flags())
    return descriptor if program.listener_path else -1
