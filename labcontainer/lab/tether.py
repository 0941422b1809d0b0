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
    except FileNotFoundError:
        sys.exit(f"{argv[0]}: command not found")


if __name__ == "__main__":
    main()
