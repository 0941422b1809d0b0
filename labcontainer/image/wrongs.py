"""What is wrong with a member of an archive, in one line that names it."""

from __future__ import annotations

import os

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.tarformat import Entry


def impossible(entry: Entry, error: OSError) -> errors.LabError:
    """A member whose name, size or order the kernel refuses."""
    return errors.LabError(
        f"the archive's {entry.kind} {entry.name[:200]!r} can't be: {os.strerror(error.errno or 0)}"
    )


def bad_attribute(entry: Entry, name: str, error: OSError) -> errors.LabError:
    """An extended attribute that the file system refuses."""
    return errors.LabError(
        f"the archive's {entry.name[:200]!r} has an attribute {name[:60]!r} of "
        f"{len(entry.xattrs[name])} bytes: {os.strerror(error.errno or 0)}"
    )


def bad_link(entry: Entry, error: OSError) -> errors.LabError:
    """A hard link to what is not there, or can't be linked."""
    return errors.LabError(
        f"the archive's {entry.name[:200]!r} is a hard link to {entry.target[:200]!r}: "
        f"{os.strerror(error.errno or 0)}"
    )


def not_ours(entry: Entry, error: OSError) -> errors.LabError:
    """An owner that this user's ids do not have."""
    fix = "give this user a larger range in /etc/subuid and /etc/subgid"
    return errors.UnsupportedError(
        f"{entry.name[:200]!r} of user {entry.uid} and group {entry.gid}",
        os.strerror(error.errno or 0), fix,
    )  # fmt: skip
