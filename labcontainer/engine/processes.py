"""The processes of a container as the host's ps(1) shows them."""

from __future__ import annotations

import subprocess

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    Table = dict[str, list[str] | list[list[str]]]


def table(pids: Collection[int], words: str) -> Table:
    """ps(1) with these words, but only these processes.

    Raises:
        UsageError: the columns have no PID, by which lines are chosen; ps refuses the words.
    """
    argv = words.split() or ["-ef"]
    try:
        done = subprocess.run(["ps", *argv], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise errors.UnsupportedError("top", "this machine has no ps", "install procps") from None
    if done.returncode:
        raise errors.LabError(f"ps: {(done.stderr.strip() or 'error').splitlines()[-1]}")
    titles = done.stdout.partition("\n")[0].split()
    if "PID" not in titles:
        raise errors.UsageError("Couldn't find PID field in ps output")
    column, last = titles.index("PID"), len(titles) - 1
    wanted = set(map(str, pids))
    rows = [line.split(None, last) for line in done.stdout.splitlines()[1:]]
    return {
        "Titles": titles,
        "Processes": [row for row in rows if len(row) > column and row[column] in wanted],
    }
