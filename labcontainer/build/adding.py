"""What only ADD does: unpack an archive, fetch a URL."""

from __future__ import annotations

import os
import stat

from labcontainer import errors
from labcontainer.build import copying
from labcontainer.build.copying import Target
from labcontainer.build.tree import Tree
from labcontainer.image import compression, diff, layers, tarformat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from labcontainer.image.compression import Readable

TIMEOUT = 60  # seconds without a byte


# --- archives -------------------------------------------------------------------------------------


def is_archive(path: str) -> bool:
    """Whether a file is a tar archive, packed or not, by its content."""
    try:
        with open(path, "rb") as file:
            for _entry in tarformat.Members(
                tarformat.Source(compression.Reader(file, foreign=True))
            ):
                return True
    except (errors.LabError, OSError, ValueError):
        pass  # it has the first letters of one, no more
    return False


def unpack(writer: diff.Writer, path: str, target: Target) -> None:
    """Add the members of an archive to a layer, below the target; owners as in the archive.

    Raises:
        LabError: it is torn, or has a name that leads out.
    """
    with open(path, "rb") as file:
        found = tarformat.Members(tarformat.Source(compression.Reader(file, foreign=True)))
        for entry in found:
            _put(writer, found, entry, target)


def directories(path: str, tree: Tree | None) -> list[str]:
    """A directory with those above it, but those that the tree has."""
    parts = path.split("/") if path else []
    every = ["/".join(parts[: place + 1]) for place in range(len(parts))]
    return [one for one in every if tree is None or not tree.is_directory(one)]


def _put(
    writer: diff.Writer, found: tarformat.Members, entry: tarformat.Entry, target: Target
) -> None:
    name = layers.inside(entry.name)
    if name.rpartition("/")[2].startswith(layers.WHITEOUT):
        raise errors.UnsupportedError(f"adding {entry.name}", "it is a mark of layers")
    if not name:
        return
    entry.name = "/".join(part for part in (target.path, name) if part)
    if entry.kind == tarformat.DIRECTORY:
        entry.name += "/"
    if entry.kind == tarformat.LINK:
        entry.target = "/".join(p for p in (target.path, layers.inside(entry.target)) if p)
    if target.owner not in (None, (0, 0)):
        assert target.owner is not None
        entry.uid, entry.gid = target.owner
    if target.mode is not None and entry.kind != tarformat.SYMLINK:
        kind = stat.S_IFDIR if entry.kind == tarformat.DIRECTORY else stat.S_IFREG
        entry.mode = target.mode(copying.made(kind | entry.mode))
    if entry.kind != tarformat.FILE:
        writer.add(entry)
        return
    import tempfile

    with tempfile.TemporaryFile() as content:
        found.copy(entry, content.fileno())
        content.seek(0)
        writer.add(entry, content.fileno())


# --- URLs -----------------------------------------------------------------------------------------


def fetch(url: str, checksum: str, folder: str) -> tuple[str, str]:
    """Get a URL into a file of `folder`: (its name, where it is).

    Raises:
        LabError: the server refused, or its answer has another digest.
    """
    import urllib3

    from labcontainer.build.repository import without_password
    from labcontainer.image import documents, session

    shown = f"ADD {without_password(url)}"
    wanted = documents.check_digest(checksum, "--checksum") if checksum else ""
    pool = urllib3.PoolManager(timeout=TIMEOUT, retries=urllib3.Retry(3, redirect=5))
    place = f"{folder}/{os.urandom(8).hex()}"
    try:
        answer = pool.request("GET", url, preload_content=False, decode_content=False)
        with answer, open(place, "wb") as file:
            if answer.status != 200:
                raise errors.LabError(f"{shown}: the server answered {answer.status}")
            found = _save(answer, file, wanted.partition(":")[0] or "sha256")
            _set_time(place, answer.headers.get("Last-Modified", ""))
            name = _name(url, answer.headers.get("Content-Disposition", ""))
    except urllib3.exceptions.HTTPError as error:
        raise errors.LabError(f"{shown}: {without_password(session.reason_of(error))}") from None
    if wanted and found != wanted:
        raise errors.LabError(f"{shown}: its digest is {found}, not {wanted}")
    return name, place


def _save(answer: Readable, file: IO[bytes], algorithm: str) -> str:
    import hashlib

    whole = hashlib.new(algorithm)
    while data := answer.read(1 << 20):
        whole.update(data)
        file.write(data)
    return f"{algorithm}:{whole.hexdigest()}"


def _set_time(path: str, modified: str) -> None:
    """The file is as old as the server says; without a word on it, from 1970."""
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(modified).timestamp()
    except (ValueError, TypeError):
        when = 0
    os.utime(path, (when, when))
    os.chmod(path, 0o600)


def _name(url: str, disposition: str) -> str:
    """What the file is called: the header's word, else the last part of the URL's path."""
    from urllib.parse import unquote, urlsplit

    _, _, rest = disposition.partition("filename=")
    named = rest.partition(";")[0].strip('" ')
    name = os.path.basename(named or unquote(urlsplit(url).path))
    return "" if name in (".", "..") else name
