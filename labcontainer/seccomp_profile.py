"""The profile of system calls as OCI writes it, read and checked: `linux.seccomp` of config.json.

See config-linux.md, "Seccomp". What becomes of it is in seccomp.py.
"""

from __future__ import annotations

from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import SECCOMP_FILTER_FLAG
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Conditions = tuple["Compare", ...]

# The answers of a filter: linux/seccomp.h. The low 16 bits of ERRNO and TRACE carry a number.
KILL_PROCESS, KILL_THREAD = 0x80000000, 0x00000000
TRAP, ERRNO, NOTIFY = 0x00030000, 0x00050000, 0x7FC00000
TRACE, LOG, ALLOW = 0x7FF00000, 0x7FFC0000, 0x7FFF0000
EPERM, ENOSYS, MAX_ERRNO = 1, 38, 4095

ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_NOTIFY": NOTIFY,
}

OPERATORS = {
    "SCMP_CMP_EQ": "==",
    "SCMP_CMP_NE": "!=",
    "SCMP_CMP_LT": "<",
    "SCMP_CMP_LE": "<=",
    "SCMP_CMP_GT": ">",
    "SCMP_CMP_GE": ">=",
    "SCMP_CMP_MASKED_EQ": "&",
}

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": SECCOMP_FILTER_FLAG.TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": SECCOMP_FILTER_FLAG.LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SECCOMP_FILTER_FLAG.SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV,
}


class Architecture(Record):
    """One set of call numbers. `audit` is the kernel's word for it: AUDIT_ARCH_…, linux/audit.h."""

    table: str  # the module in kernel/syscall_table
    audit: int
    bits: int = 64  # of an argument


ARCHITECTURES = {
    "SCMP_ARCH_X86_64": Architecture("x86_64", 0xC000003E),
    "SCMP_ARCH_X86": Architecture("i386", 0x40000003, 32),
    # x32 says it is x86_64, and sets bit 30 of the number.
    "SCMP_ARCH_X32": Architecture("x32", 0xC000003E, 32),
    "SCMP_ARCH_AARCH64": Architecture("aarch64", 0xC00000B7),
}
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


class Compare(Record):
    """One condition on an argument: `argument index <operator> value`.

    For `&` it reads `argument & value == two`. `values`, of an `==`, may hold several.
    """

    index: int
    operator: str
    values: tuple[int, ...]
    two: int = 0
    bits: int = 64  # how much of the argument counts

    def cut(self, bits: int) -> Compare:
        """The same for a 32-bit architecture: a constant such as -1 is cut there, as elsewhere."""
        ones = (1 << bits) - 1
        values = tuple(value & ones for value in self.values)
        return self.replace(values=values, two=self.two & ones, bits=bits)

    def __str__(self) -> str:
        if self.operator == "&":
            return f"arg{self.index} & {self.values[0]:#x} == {self.two:#x}"
        return f"arg{self.index} {self.operator} {' or '.join(map(str, self.values))}"


class Rule(Record):
    """Calls, what they are answered with, and the conditions that must all hold."""

    names: tuple[str, ...]
    action: int
    conditions: Conditions = ()

    def __str__(self) -> str:
        shown = " ".join(self.names[:8]) + (" …" if len(self.names) > 8 else "")
        when = f" if {' and '.join(map(str, self.conditions))}" if self.conditions else ""
        return f"{action_name(self.action)} for {len(self.names)}: {shown}{when}"


class Profile(Record):
    """A checked profile. `architectures` holds the native one first."""

    default: int
    rules: tuple[Rule, ...]
    architectures: tuple[str, ...]
    flags: int = 0
    listener_path: str = ""
    listener_metadata: str = ""


def native() -> str:
    """The name of this machine's own architecture, `SCMP_ARCH_X86_64` or `SCMP_ARCH_AARCH64`.

    Raises:
        UnsupportedError: there is no table of call numbers for it.
    """
    if syscalls.MACHINE not in NATIVE:
        why = f"no table of system call numbers for {syscalls.MACHINE}"
        raise UnsupportedError("seccomp", why, "x86_64 and aarch64 have one")
    return NATIVE[syscalls.MACHINE]


def action_name(action: int) -> str:
    """`ALLOW`, `ERRNO(38)`: an action for people."""
    for name, value in ACTIONS.items():
        if action & 0xFFFF0000 == value and name != "SCMP_ACT_KILL":
            number = f"({action & 0xFFFF})" if value in (ERRNO, TRACE) else ""
            return name.removeprefix("SCMP_ACT_") + number
    return hex(action)


def _action(where: str, name: object, number: object) -> int:
    """The answer for an action's name, with the errno it is to give."""
    if name not in ACTIONS:
        raise SpecError(where, f"unknown action {name!r}")
    action = ACTIONS[str(name)]
    if action not in (ERRNO, TRACE):
        if number is not None:  # the spec: the runtime must fail then
            raise SpecError(where, f"{name} takes no errno")
        return action
    number = EPERM if number is None else number
    if not isinstance(number, int) or not 0 <= number <= MAX_ERRNO:
        raise SpecError(where, f"errno {number!r} is not between 0 and {MAX_ERRNO}")
    return action | number


def _compare(where: str, arg: Mapping[str, Any]) -> Compare:
    operator = OPERATORS.get(arg.get("op", ""))
    index, value, two = arg.get("index"), arg.get("value"), arg.get("valueTwo", 0)
    if operator is None:
        raise SpecError(where, f"unknown operator {arg.get('op')!r}")
    if not isinstance(index, int) or not 0 <= index <= 5:
        raise SpecError(where, f"argument index {index!r} is not between 0 and 5")
    for number in (value, two):  # value: the mask of an `&`
        if not isinstance(number, int) or not 0 <= number < 1 << 64:
            raise SpecError(where, f"{number!r} is not an unsigned 64-bit number")
    return Compare(index, operator, (int(value or 0),), two)


def _rules(where: str, entry: Mapping[str, Any]) -> Iterable[Rule]:
    """The rules of one entry of `syscalls`.

    Conditions on different arguments must all hold. Two on the same argument are alternatives:
    that is how runc and crun read them, and how older profiles were written.
    """
    names = entry.get("names")
    if not isinstance(names, list | tuple) or not names:
        raise SpecError(f"{where}.names", "at least one name is needed")
    action = _action(where, entry.get("action"), entry.get("errnoRet"))
    args = entry.get("args") or ()
    compares = tuple(_compare(f"{where}.args[{i}]", arg) for i, arg in enumerate(args))
    if len({compare.index for compare in compares}) == len(compares):
        return (Rule(tuple(names), action, compares),)
    return tuple(Rule(tuple(names), action, (compare,)) for compare in compares)


def read_profile(document: Mapping[str, Any], machine: str = "") -> Profile:
    """Check a profile: config-linux.md, "Seccomp". `machine` is a name of ARCHITECTURES.

    Raises:
        SpecError: an action, operator, number or flag is off; the message says which.
    """
    where = "linux.seccomp"
    default = _action(
        f"{where}.defaultAction", document.get("defaultAction"), document.get("defaultErrnoRet")
    )
    rules: list[Rule] = []
    for number, entry in enumerate(document.get("syscalls") or ()):
        rules += _rules(f"{where}.syscalls[{number}]", entry)
    asked = [name for name in document.get("architectures") or () if name != "SCMP_ARCH_NATIVE"]
    for name in asked:
        if not isinstance(name, str) or not name.startswith("SCMP_ARCH_"):
            raise SpecError(f"{where}.architectures", f"unknown architecture {name!r}")
    profile = Profile(
        default,
        tuple(rules),
        tuple(dict.fromkeys((machine or native(), *asked))),
        _flags(f"{where}.flags", document.get("flags")),
        document.get("listenerPath") or "",
        document.get("listenerMetadata") or "",
    )
    _check_listener(where, profile)
    return profile


def _flags(where: str, names: object) -> int:
    if names is None:  # runc's default: what a filter costs must not grow by a mitigation
        return SECCOMP_FILTER_FLAG.SPEC_ALLOW
    if not isinstance(names, list | tuple):
        raise SpecError(where, f"{names!r} is not a list")
    flags = SECCOMP_FILTER_FLAG(0)
    for name in names:
        if name not in FLAGS:
            raise SpecError(where, f"unknown flag {name!r}")
        flags |= FLAGS[name]
    return flags


# A call that waits for the listener's answer before the listener is there would wait for ever.
NEEDED_TO_PASS_IT_ON = ("write", "sendmsg")


def _check_listener(where: str, profile: Profile) -> None:
    """Who asks to be notified must listen, and must not be needed for passing the listener on."""
    notified = [rule for rule in profile.rules if rule.action == NOTIFY]
    if profile.default == NOTIFY:
        raise SpecError(f"{where}.defaultAction", "SCMP_ACT_NOTIFY cannot be the default")
    for name in NEEDED_TO_PASS_IT_ON:
        if any(name in rule.names for rule in notified):
            raise SpecError(where, f"SCMP_ACT_NOTIFY cannot be used for {name}")
    if notified and not profile.listener_path:
        raise SpecError(f"{where}.listenerPath", "SCMP_ACT_NOTIFY needs a listener")
