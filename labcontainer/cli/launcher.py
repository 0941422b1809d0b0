"""Writes the `labcontainer` command: `python -m labcontainer.cli.launcher PATH`.

It starts like `labcontainer-oci` (runtime/launcher.py), by this environment's Python: `run` and
its kin need nothing but our own code and the standard library. What else a command imports is found
all the same, see start.py.
"""

from __future__ import annotations

import sys

from labcontainer.runtime.launcher import Command, write

# What runs, ends and looks after containers by way of the daemon, and what runs one without it.
_ROOTS = (
    *("cli.start", "cli.run", "cli.create", "cli.creation", "cli.sessions", "cli.lifecycle"),
    *("client.daemon", "engine.single"),
)
LABCONTAINER = Command("labcontainer", "labcontainer.cli.start",
                       tuple(f"labcontainer.{name}" for name in _ROOTS), later=False)  # fmt: skip

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m labcontainer.cli.launcher PATH")
    write(sys.argv[1], sys.executable, command=LABCONTAINER)
