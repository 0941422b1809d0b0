"""`cp` and `commit`: files between here and a container, a container's changes as an image."""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import threading

from labcontainer import errors
from labcontainer.client import api, daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

CHUNK = 65536
DIRECTORY = 1 << 31  # Go's os.ModeDir


def configure_cp(parser: ArgumentParser) -> None:
    """The words of `labcontainer cp`."""
    parser.add_argument("-a", "--archive", action="store_true", help="keep owners")
    parser.add_argument("-L", "--follow-link", action="store_true",
                        help="copy what a link here leads to")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="taken for Docker's sake")
    parser.add_argument(
        "source", metavar="SRC", help="PATH, CONTAINER:PATH, or - for a tar archive"
    )
    parser.add_argument("target", metavar="DEST", help="the same; one of the two is a container's")


def run_cp(args: Namespace) -> int:
    """Copy from a container, or into one."""
    source, target = split(args.source), split(args.target)
    if source[0] and target[0]:
        raise errors.UsageError("copying between containers is not supported")
    if not source[0] and not target[0]:
        raise errors.UsageError("must specify at least one container source")
    client = daemon.client()
    if source[0]:
        from_container(client, *source, target[1], owners=args.archive)
    else:
        into_container(client, source[1], *target, follow=args.follow_link)
    return 0


def split(word: str) -> tuple[str, str]:
    """`CONTAINER:PATH` in two; ("", PATH) for one here: it begins with `/` or `.` or has no `:`."""
    container, colon, path = word.partition(":")
    if not colon or word.startswith(("/", ".")):
        return "", word
    return container, path


def about(client: api.Client, container: str, path: str) -> dict[str, Any] | None:
    """What the daemon tells of a path; None where nothing is there."""
    try:
        response = client.send("HEAD", f"/containers/{container}/archive", {"path": path})
    except api.ApiError as error:
        if error.status != 404:
            raise
        return None
    try:
        told = response.headers["x-docker-container-path-stat"]
        found: dict[str, Any] = json.loads(base64.b64decode(told))
        return found
    finally:
        response.close()


# --- out ------------------------------------------------------------------------------------------


def from_container(
    client: api.Client, container: str, path: str, target: str, *, owners: bool
) -> None:
    """Copy a path of a container's to a place here, or as a tar archive to standard output.

    Raises:
        ApiError: it is not there. UsageError: the place does not fit.
    """
    response = client.send("GET", f"/containers/{container}/archive", {"path": path})
    try:
        if target == "-":
            for data in response:
                sys.stdout.buffer.write(data)
            sys.stdout.flush()
            return
        told = response.headers["x-docker-container-path-stat"]
        unpack(response, path, json.loads(base64.b64decode(told)), target, owners)
    finally:
        response.close()


def unpack(response: Any, path: str, found: dict[str, Any], target: str, owners: bool) -> None:
    """Put the archive in its place: in a directory that is there, else under the target's name."""
    is_directory = bool(found["mode"] & DIRECTORY)
    whole = path.endswith("/.") or path == "/."
    if os.path.isdir(target) or whole:
        if whole:
            os.makedirs(target, exist_ok=True)
        _apply(response, target, owners)
        return
    if is_directory and os.path.lexists(target):
        raise errors.UsageError(f"cannot copy directory: {target} is a file")
    if target.endswith("/") and not is_directory:
        raise errors.UsageError(f"no such directory: {target}")
    parent = os.path.dirname(os.path.abspath(target.rstrip("/")))
    if not os.path.isdir(parent):
        raise errors.UsageError(f"no such directory: {parent}")
    with tempfile.TemporaryDirectory(dir=parent, prefix=".cp-") as folder:
        _apply(response, folder, owners)
        (name,) = os.listdir(folder)
        os.rename(f"{folder}/{name}", target.rstrip("/"))


def _apply(response: Any, directory: str, owners: bool) -> None:
    """Unpack what a container sent, confined to a directory: its names are a stranger's."""
    from labcontainer.image import layers

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        layers.apply(response, fd, whiteouts="none", owners=owners)
    finally:
        os.close(fd)


# --- in -------------------------------------------------------------------------------------------


def into_container(
    client: api.Client, source: str, container: str, path: str, *, follow: bool
) -> None:
    """Copy a path here, or a tar archive from standard input, into a container.

    Raises:
        UsageError: it is not there, or does not fit the place. ApiError: the daemon refused.
    """
    if source == "-":
        _put(client, container, path, iter(lambda: sys.stdin.buffer.read(CHUNK), b""))
        return
    source = os.path.realpath(source) if follow else source
    if not os.path.lexists(source.rstrip("/") or "/"):
        raise errors.UsageError(f"lstat {source}: no such file or directory")
    folder, name = place(client, container, path, source)
    _put(client, container, folder, archive(source, name))


def place(client: api.Client, container: str, path: str, source: str) -> tuple[str, str]:
    """The container's directory to unpack in, and the name that the source has there.

    Raises:
        UsageError: a directory on a file, or a file in what is no directory.
    """
    is_directory = os.path.isdir(source)
    found = about(client, container, path)
    if found is not None and found["linkTarget"]:
        path = found["linkTarget"]
        found = about(client, container, path)
    name = "." if source.endswith("/.") else os.path.basename(os.path.normpath(source))
    if found is not None and found["mode"] & DIRECTORY:
        return path, name
    if found is not None and is_directory:
        raise errors.UsageError(f"cannot copy directory: {path} is a file")
    if found is None and path.endswith("/") and not is_directory:
        raise errors.UsageError(f"no such directory: {path}")
    above, _, last = path.rstrip("/").rpartition("/")
    return above or "/", last


def archive(source: str, name: str) -> Iterator[bytes]:
    """A path here as a tar archive, as it is read."""
    from labcontainer.image import diff

    folder, last = os.path.split(os.path.abspath(source))
    reading, writing = os.pipe()
    problem: list[BaseException] = []

    def pack() -> None:
        try:
            with open(writing, "wb") as out:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    diff.pack_member(fd, last or ".", name, out)
                finally:
                    os.close(fd)
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=pack)
    thread.start()
    try:
        while data := os.read(reading, CHUNK):
            yield data
    finally:
        os.close(reading)
        thread.join()
    if problem:
        raise problem[0]


def _put(client: api.Client, container: str, path: str, body: Iterator[bytes]) -> None:
    words = {"path": path, "noOverwriteDirNonDir": "true"}
    headers = {"Content-Type": "application/x-tar"}
    client.send(
        "PUT", f"/containers/{container}/archive", words, body=body, headers=headers
    ).close()


# --- commit ---------------------------------------------------------------------------------------


def configure_commit(parser: ArgumentParser) -> None:
    """The words of `labcontainer commit`."""
    add = parser.add_argument
    add("-a", "--author", default="", help="who made it")
    add("-c", "--change", action="append", default=[], metavar="LINE",
        help="an instruction of a Dockerfile, such as CMD")  # fmt: skip
    add("-m", "--message", default="", help="why")
    add("-p", "--pause", nargs="?", const="true", default="true", metavar="BOOL",
        help="let the container stand still meanwhile (default)")  # fmt: skip
    add("container", metavar="CONTAINER", help="name or id")
    add("image", nargs="?", default="", metavar="NAME[:TAG]", help="the new image's name")


def run_commit(args: Namespace) -> int:
    """Make an image of what a container has written; prints its id."""
    from labcontainer.image import reference

    name = reference.parse(args.image) if args.image else None
    found = daemon.client().post(
        "/commit", {}, container=args.container, author=args.author or None,
        comment=args.message or None, changes=args.change or None,
        repo=name.familiar_name if name else None, tag=name.tag if name else None,
        pause=0 if args.pause.lower() in ("false", "0") else 1,
    )  # fmt: skip
    print(found["Id"])
    return 0
