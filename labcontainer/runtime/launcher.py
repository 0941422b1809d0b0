"""Writes the `labcontainer-oci` command: `python -m labcontainer.runtime.launcher PATH`.

An engine starts this command several times for each container, so what Python does before our
first line counts. pip's console script imports `site` with all that the environment installs into
it, and `re`. This one starts the interpreter with `-IS`: no environment variables, no
site-packages. That also keeps whoever calls it from bringing code of his own. Then it takes the
runtime's code from one file (archive.py), where that is there and of this interpreter.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

from labcontainer.record import Record
from labcontainer.runtime.oci import VERBS

OLDEST = (3, 11)
SHEBANG_LIMIT = 127  # bytes of the first line that the kernel reads for sure: execve(2)
SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


class Command(Record):
    """A command to write. `entry`: the module whose `command` never returns.

    `roots` and `later`: what is in its archive, see archive.write.
    """

    name: str
    entry: str
    roots: tuple[str, ...]
    later: bool = True


OCI = Command("labcontainer-oci", "labcontainer.runtime.oci",
              tuple(f"labcontainer.runtime.{one}" for one in
                    ("oci", *(module for _, _, module in VERBS.values()))))  # fmt: skip


def interpreter(system: str = SYSTEM_PYTHON) -> str:
    """The Python that runs the command: the system's where it is new enough, else this one.

    The runtime needs the standard library only, and the system's Python stays when an
    environment is made anew.
    """
    asks = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        found = subprocess.run([system, "-IS", "-c", asks], capture_output=True, check=False)
    except OSError:
        return os.path.realpath(sys.executable)
    return os.path.realpath(sys.executable if found.returncode else system)


# The interpreter's own modules: `os` comes later, from the archive's code.
_SCRIPT = """\
import gc, marshal, posix, sys
from _frozen_importlib_external import MAGIC_NUMBER
gc.disable()
sys.path.append({above!r})
try:
    fd = posix.open({archive!r} + sys.implementation.cache_tag, posix.O_RDONLY | posix.O_CLOEXEC)
    data = memoryview(posix.read(fd, posix.fstat(fd).st_size))
    posix.close(fd)
    if data[:4] == MAGIC_NUMBER:
        start = 8 + int.from_bytes(data[4:8], "little")
        code, entries = marshal.loads(data[8:start])
        exec(code)
        install(entries, data[start:])
except (OSError, EOFError, ValueError, TypeError):
    pass
from {entry} import command
command()
"""


def script(command: Command, python: str, package: str = PACKAGE) -> str:
    """The text of the command. It collects no garbage: most end before there is any."""
    archive = f"{package}/__pycache__/{command.name}."
    above = os.path.dirname(package)
    return first_lines(python) + _SCRIPT.format(above=above, archive=archive, entry=command.entry)


def first_lines(python: str) -> str:
    """What makes the kernel start `python`: by way of sh where a `#!` line can't hold its path."""
    line = f"#!{python} -IS\n"
    if " " not in python and len(os.fsencode(line)) <= SHEBANG_LIMIT:
        return line
    # For sh the first word is `exec`; for Python both lines are one string.
    return f"#!/bin/sh\n'''exec' {shlex.quote(python)} -IS \"$0\" \"$@\"\n' '''\n"


def write(path: str, python: str = "", package: str = PACKAGE, command: Command = OCI) -> None:
    """Put the command at `path`, whole or not at all, and compile the package for its Python.

    Raises:
        OSError: the file can't be written.
    """
    python = python or interpreter()
    compile_for(command, python, package)
    new = f"{path}.new-{os.getpid()}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    try:
        with open(fd, "w") as file:
            file.write(script(command, python, package))
            os.fchmod(file.fileno(), 0o755)  # whatever the umask is
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise


def compile_for(command: Command, python: str, package: str) -> None:
    """Write the package's byte code, twice: without it the command works, only slower."""
    start = f"import sys; sys.path.insert(0, {os.path.dirname(package)!r}); "
    given = (command.name, command.roots, command.later)
    archive = f"from labcontainer.runtime import archive; archive.write(*{given!r})"
    for argv in (
        [python, "-I", "-m", "compileall", "-q", package],
        [python, "-IS", "-X", "no_debug_ranges", "-c", start + archive],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stdout or done.stderr).strip().split("\n")[-1]
            print(f"{command.name} will start slowly: {said}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m labcontainer.runtime.launcher PATH")
    write(sys.argv[1])
