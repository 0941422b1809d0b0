"""Where labcontainer keeps its things, and root file systems that are plain directories.

As root in /var/lib/labcontainer, as another user in ~/.local/share/labcontainer; the environment
variable LABCONTAINER_HOME names another place for all of it.
"""

from __future__ import annotations

import os

from labcontainer import errors


def home() -> str:
    """The directory of all that labcontainer keeps for this user."""
    chosen = os.environ.get("LABCONTAINER_HOME", "")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/var/lib/labcontainer"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return f"{data}/labcontainer"


def is_path(image: str) -> bool:
    """Whether a word means a directory: `./rootfs`, `/srv/root`, `.`; else it is a name."""
    return image.startswith(("/", "./", "../")) or image in (".", "..")


def find(path: str) -> str:
    """The directory, without the links that lead to it.

    Raises:
        NotFoundError: there is none.
    """
    if not os.path.isdir(path):
        raise errors.NotFoundError(f"root file system {path} does not exist")
    return os.path.realpath(path)
