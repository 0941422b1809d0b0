"""Writes the `labcontainer-oci` command: `python -m labcontainer.runtime.launcher PATH`.

An engine starts this command several times for each container, so what Python does before our
first line counts. pip's console script imports `site` with all that the environment installs into
it, and `re`. This one starts the interpreter with `-IS`: no environment variables, no
site-packages. That also keeps whoever calls it from bringing code of his own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

OLDEST = (3, 11)
SHEBANG_LIMIT = 127  # bytes of the first line that the kernel reads for sure: execve(2)
SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


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


def script(python: str, package: str = PACKAGE) -> str:
    """The text of the command."""
    return (
        f"{first_lines(python)}"
        "import sys\n"
        f"sys.path.insert(0, {os.path.dirname(package)!r})\n"
        "from labcontainer.runtime.oci import main\n"
        "sys.exit(main())\n"
    )


def first_lines(python: str) -> str:
    """What makes the kernel start `python`: by way of sh where a `#!` line can't hold its path."""
    line = f"#!{python} -IS\n"
    if " " not in python and len(os.fsencode(line)) <= SHEBANG_LIMIT:
        return line
    # For sh the first word is `exec`; for Python both lines are one string.
    return f"#!/bin/sh\n'''exec' {shlex.quote(python)} -IS \"$0\" \"$@\"\n' '''\n"


def write(path: str, python: str = "", package: str = PACKAGE) -> None:
    """Put the command at `path`, whole or not at all, and compile the package for its Python.

    Raises:
        OSError: the file can't be written.
    """
    python = python or interpreter()
    compile_for(python, package)
    new = f"{path}.new-{os.getpid()}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    try:
        with open(fd, "w") as file:
            file.write(script(python, package))
            os.fchmod(file.fileno(), 0o755)  # whatever the umask is
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise


def compile_for(python: str, package: str) -> None:
    """Write the package's byte code; without it the command works, only slower."""
    argv = [python, "-I", "-m", "compileall", "-q", package]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"labcontainer-oci will start slowly: {done.stdout.strip()}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m labcontainer.runtime.launcher PATH")
    write(sys.argv[1])
