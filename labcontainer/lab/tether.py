"""`python -m labcontainer.lab.tether PARENT PROGRAM …`: run a program that dies with PARENT."""

from __future__ import annotations

import os
import sys

from labcontainer.lab.sandbox import die_with_parent


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent, *argv = sys.argv[1:]
    die_with_parent(int(parent))
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}")
        sys.exit(126 if isinstance(error, PermissionError) else 127)


if __name__ == "__main__":
    main()
