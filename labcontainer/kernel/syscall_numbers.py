"""What number a system call has on an architecture: read from the tables in syscall_table/."""

from __future__ import annotations

_tables: dict[str, dict[str, int]] = {}


def numbers(table: str) -> dict[str, int]:
    """Name to number, of x86_64, x32, i386 or aarch64; x32's come with their bit set."""
    if table not in _tables:
        _tables[table] = _read(table)
    return _tables[table]


def multiplexed() -> dict[str, tuple[str, int]]:
    """The calls that i386 also reaches through one other: that one, and its first argument."""
    from labcontainer.kernel.syscall_table import i386

    runs = {"socketcall": i386.SOCKETCALL, "ipc": i386.IPC}
    return {name: (call, number) for call in runs for name, number in _parse(runs[call]).items()}


def _read(table: str) -> dict[str, int]:
    # Each table is imported when it is asked for: a profile rarely needs all.
    if table == "i386":
        from labcontainer.kernel.syscall_table import i386

        return _parse(i386.RUNS)
    if table == "aarch64":
        from labcontainer.kernel.syscall_table import aarch64

        return _parse(aarch64.RUNS)
    if table == "x32":
        from labcontainer.kernel.syscall_table import x32

        absent = set(x32.ABSENT.split())
        names = {**numbers("x86_64"), **_parse(x32.RUNS)}
        return {name: nr | x32.BIT for name, nr in names.items() if name not in absent}
    from labcontainer.kernel.syscall_table import x86_64

    return _parse(x86_64.RUNS)


def _parse(runs: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in runs.strip().split("\n"):
        first, *names = line.split()
        found.update(zip(names, range(int(first), int(first) + len(names)), strict=True))
    return found
