"""Where labcontainer keeps its things, and root file systems that are plain directories.

As root in /var/lib/labcontainer, as another user in ~/.local/share/labcontainer; the environment
variable LABCONTAINER_HOME names another place for all of it.
"""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.kernel import mounts


def home() -> str:
    """The directory of all that labcontainer keeps for this user."""
    chosen = os.environ.get("LABCONTAINER_HOME", "")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/var/lib/labcontainer"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return f"{data}/labcontainer"


def make(path: str) -> None:
    """Make a directory in our home, and the home itself, if they are not there.

    The home is closed to other users: files of images and containers lie in it with their own
    modes, and a set-user-id program of an image would be anybody's to run (CVE-2021-41091).
    """
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if not os.path.isdir(above):
        os.makedirs(above, mode=closed_mode(), exist_ok=True)
    os.makedirs(path, mode=0o711, exist_ok=True)


def closed_mode() -> int:
    """The mode of a home. Without mounts by descriptor (Linux 5.12) a container in a user namespace
    has to walk through it as nobody of importance."""
    return 0o700 if mounts.modern() else 0o711


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
