"""What processes take, as the host sees them: they, what descends from them, their monitors.

An engine's container is no child of the command that asked for it:

    docker run ── asks ──▶ dockerd        podman run ── conmon, which leaves its parent
                              └─ shim ─▶ container                └─▶ container

So a program is given a word that nobody else has, and looked for by it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator


def memory_of(pids: Iterable[int]) -> float:
    """MiB of processes and all that they have started: the sum of their shares (Pss, proc(5)).

    What several have in common counts a part for each, so the sum is no more than there is.
    """
    total = 0
    for pid in family(pids):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except OSError:
            continue  # it has ended, or is the kernel's own
    return total / 1024


def family(pids: Iterable[int]) -> set[int]:
    """These processes and what descends from them."""
    above = parents()
    found = set(pids)
    while more := {pid for pid, parent in above.items() if parent in found} - found:
        found |= more
    return found


def parents() -> dict[int, int]:
    """The parent of every process (proc(5), stat)."""
    return dict(_parents())


def _parents() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    yield int(name), int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue


def monitors(pids: Iterable[int], mark: str) -> set[int]:
    """The parents of programs that have a word in their command line and do not descend from
    `pids`: shims, conmons.

    A child that has not called execve(2) yet has its parent's command line, so a parent that has
    the word itself is a part of the program and no monitor.
    """
    above, own = parents(), family(pids)
    marked = {pid for pid in above if pid not in own and _says(pid, mark.encode())}
    return {above[pid] for pid in marked} - marked


def _says(pid: int, word: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return word in file.read()
    except OSError:
        return False  # it has ended
