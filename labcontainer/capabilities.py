"""Root's power in 41 pieces, and which of them a container's processes may have.

A process has five sets of them: *effective* is what the kernel looks at, *permitted* what may be
made effective, *inheritable* and *ambient* what outlives an exec, *bounding* the most that an exec
can ever give. See capabilities(7).

The order matters, and is the caller's: `apply_bounding` while we still may, `keep` so that the
change of user leaves the permitted set alone, the change of user itself, then `apply`.
"""

from __future__ import annotations

from labcontainer.errors import UsageError
from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import PR, PR_CAP_AMBIENT
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order of their numbers: linux/capability.h.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
BITS = {name: number for number, name in enumerate(NAMES)}

# Docker's default: enough for root to install packages and serve a low port in its own house.
DEFAULT = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)


class Sets(Record):
    """The five sets, as tuples of names."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


def mask(names: Iterable[str]) -> int:
    """The names as a bit mask; those that we don't know are left out."""
    bits = 0
    for name in names:
        if name in BITS:
            bits |= 1 << BITS[name]
    return bits


def names(bits: int) -> tuple[str, ...]:
    """The names of a mask's bits; a bit newer than this list is `CAP_41`."""
    return tuple(
        NAMES[number] if number < len(NAMES) else f"CAP_{number}"
        for number in range(bits.bit_length())
        if bits >> number & 1
    )


def default_sets(chosen: Iterable[str] = DEFAULT, *, root: bool = True) -> Sets:
    """The sets that Docker gives: for root the chosen ones, for others nothing but the bound.

    Inheritable and ambient stay empty: an exec of an ordinary user's would otherwise gain rights.
    """
    chosen = tuple(chosen)
    own = chosen if root else ()
    return Sets(bounding=chosen, effective=own, permitted=own)


def choose(
    add: Iterable[str] = (), drop: Iterable[str] = (), *, privileged: bool = False
) -> tuple[str, ...]:
    """The names that `--cap-add`, `--cap-drop` and `--privileged` leave, as Docker reads them.

    `ALL` stands for every name; `chown` and `CAP_CHOWN` are the same.

    Raises:
        UsageError: a name that no kernel has.
    """
    if privileged:
        return NAMES
    added, dropped = {_full_name(name) for name in add}, {_full_name(name) for name in drop}
    if "ALL" in added:
        kept = set(NAMES) - dropped
    elif "ALL" in dropped:
        kept = added
    else:
        kept = set(DEFAULT) - dropped | added
    return tuple(name for name in NAMES if name in kept)


def _full_name(name: str) -> str:
    upper = name.upper()
    full = upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"
    if full != "ALL" and full not in BITS:
        raise UsageError(f"unknown capability {name!r}")
    return full


# --- reading ------------------------------------------------------------------------------------


def last() -> int:
    """The number of this kernel's highest capability."""
    try:
        return files.read_int("/proc/sys/kernel/cap_last_cap")
    except OSError:  # no /proc here: ask for one after the other
        number = 0
        while number < 64 and _bounding_has(number + 1):
            number += 1
        return number


def _bounding_has(number: int) -> bool:
    try:
        return syscalls.prctl(PR.CAPBSET_READ, number) in (0, 1)
    except OSError:  # EINVAL: no such capability
        return False


def bounding() -> int:
    """This process's bounding set as a mask."""
    bits = 0
    for number in range(len(NAMES)):
        try:
            bits |= syscalls.prctl(PR.CAPBSET_READ, number) << number
        except OSError:  # EINVAL: the kernel's list ends here
            break
    return bits


def read(pid: int | str = "self") -> Sets:
    """The five sets of a process, from /proc/PID/status.

    Raises:
        OSError: there is no such process.
    """
    fields = dict(
        line.split(":\t", 1)
        for line in files.read(f"/proc/{pid}/status").split("\n")
        if ":\t" in line
    )
    kinds = {"bounding": "Bnd", "effective": "Eff", "permitted": "Prm"}
    kinds |= {"inheritable": "Inh", "ambient": "Amb"}
    return Sets(**{kind: names(int(fields[f"Cap{key}"], 16)) for kind, key in kinds.items()})


# --- plan and apply -----------------------------------------------------------------------------


def plan(sets: Sets) -> tuple[str, ...]:
    """What will be done, in order, a line a step."""
    dropped = [name for name in NAMES if name not in sets.bounding]
    return (
        f"drop from the bounding set: {_shown(dropped)}",
        "keep the permitted set across the change of user",
        "(change the user)",
        f"effective: {_shown(sets.effective)}",
        f"permitted: {_shown(sets.permitted)}",
        f"inheritable: {_shown(sets.inheritable)}",
        f"ambient: {_shown(sets.ambient)}",
    )


def _shown(chosen: Iterable[str]) -> str:
    return " ".join(name.removeprefix("CAP_") for name in chosen) or "none"


def apply_bounding(wanted: Iterable[str]) -> tuple[str, ...]:
    """Drop from the bounding set all that isn't wanted. Returns what can't be had, to warn about.

    The first step, as it needs CAP_SETPCAP. Nothing can be put back into this set.

    Raises:
        OSError: a drop was refused; the set is then larger than asked, so nothing may run.
    """
    wanted = tuple(wanted)
    keep, held = mask(wanted), bounding()
    for number in range(held.bit_length()):
        if held >> number & 1 and not keep >> number & 1:
            syscalls.prctl(PR.CAPBSET_DROP, number)
    _drop_newer(len(NAMES))
    unknown = tuple(f"{name}: unknown" for name in wanted if name not in BITS)
    return unknown + tuple(f"{name}: not in our own bounding set" for name in names(keep & ~held))


def _drop_newer(number: int) -> None:
    """Drop what a kernel newer than our list of names has above it."""
    while _bounding_has(number):
        syscalls.prctl(PR.CAPBSET_DROP, number)
        number += 1


def keep(yes: bool = True) -> None:
    """Whether the permitted set outlives the change from root to another user: SECBIT_KEEP_CAPS.

    An exec clears it by itself.
    """
    syscalls.prctl(PR.SET_KEEPCAPS, int(yes))


def apply(sets: Sets, no_new_privs: bool = False) -> tuple[str, ...]:
    """Set the sets, after the change of user. Returns what can't be had, to warn about.

    What this process doesn't have it can't give: the spec (config.md, "Linux Process") wants that
    to be no failure, so it is left out. Leaving out only ever takes rights away.

    Raises:
        OSError: the kernel refused; nothing may run then.
    """
    _, have, inherited = syscalls.capget()
    permitted = mask(sets.permitted) & have
    effective = mask(sets.effective) & permitted
    # An inheritable capability must be in the bounding set, or have been inheritable before.
    wanted = mask(sets.inheritable)
    inheritable = wanted & (inherited | bounding()) if wanted else 0
    syscalls.capset(effective, permitted, inheritable)
    ambient = mask(sets.ambient) & permitted & inheritable
    _set_ambient(ambient)
    keep(False)
    if no_new_privs:
        syscalls.prctl(PR.SET_NO_NEW_PRIVS, 1)
    given = {"permitted": permitted, "effective": effective}
    given |= {"inheritable": inheritable, "ambient": ambient}
    return tuple(
        f"{name}: cannot be made {kind}"
        for kind, bits in given.items()
        for name in getattr(sets, kind)
        if not mask((name,)) & bits
    )


def _set_ambient(bits: int) -> None:
    syscalls.prctl(PR.CAP_AMBIENT, PR_CAP_AMBIENT.CLEAR_ALL)
    for number in range(bits.bit_length()):
        if bits >> number & 1:
            syscalls.prctl(PR.CAP_AMBIENT, PR_CAP_AMBIENT.RAISE, number)
