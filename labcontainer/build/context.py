"""The build context: a directory, a tar archive, a URL, or nothing but a Dockerfile."""

from __future__ import annotations

import hashlib
import os
import stat

from labcontainer import errors
from labcontainer.build import ignore
from labcontainer.build.digests import Digests
from labcontainer.build.ignore import Ignore
from labcontainer.build.sources import Files
from labcontainer.build.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.compression import Readable

NAMES = ("Dockerfile", "dockerfile")


class Context:
    """A directory with its Dockerfile's text. `memory` is where digests are kept; "" for not."""

    def __init__(
        self, path: str, text: bytes, name: str = "Dockerfile", *, left_out: Ignore | None = None,
        memory: str = "",
    ) -> None:  # fmt: skip
        self.path = path
        self.text = text
        self.name = name
        self.files = Files(Tree((path,) if path else ()), left_out)
        self.digests = Digests(memory)


def of_directory(
    path: str, dockerfile: str = "", text: bytes | None = None, memory: str = ""
) -> Context:
    """The context of a directory; the Dockerfile is in it, or at `dockerfile`, or given as text.

    `memory` is the directory for the digests of contexts.

    Raises:
        NotFoundError: there is no such directory or Dockerfile.
    """
    if not os.path.isdir(path):
        raise errors.NotFoundError(f"unable to prepare context: path {path!r} not found")
    path = os.path.realpath(path)
    place = dockerfile or _found(path)
    if text is None:
        text = _read(place)
    memory = memory and f"{memory}/{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}"
    left_out = _ignore(f"{place}.dockerignore", f"{path}/.dockerignore")
    return Context(path, text, os.path.basename(place), left_out=left_out, memory=memory)


def _found(path: str) -> str:
    for name in NAMES:
        if os.path.lexists(f"{path}/{name}"):
            return f"{path}/{name}"
    return f"{path}/{NAMES[0]}"


def _read(place: str) -> bytes:
    try:
        with open(place, "rb") as file:
            return file.read(8 << 20)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise errors.NotFoundError(f"failed to read Dockerfile {place}: {why}") from None


def _ignore(*places: str) -> Ignore:
    """The first of the files that is there: the Dockerfile's own comes before the context's."""
    for place in places:
        try:
            with open(place, "rb") as file:
                return ignore.parse(file.read(ignore.LARGEST + 1), os.path.basename(place))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return Ignore()


def of_stream(stream: Readable, folder: str, dockerfile: str = "") -> Context:
    """The context of a tar archive, packed or not, or of a Dockerfile alone; unpacked to `folder`.

    Raises:
        LabError: the archive is torn, leads out, or has no Dockerfile.
    """
    first = stream.read(512)
    if not _looks_like_archive(first):
        data = first
        while len(data) < 8 << 20 and (more := stream.read(1 << 20)):
            data += more
        return Context("", data)
    unpack(_Again(first, stream), folder)
    return _of_stranger(folder, (dockerfile,) if dockerfile else NAMES)


def _of_stranger(folder: str, names: tuple[str, ...]) -> Context:
    """The context of a directory whose links must not lead out of it."""
    tree = Tree((folder,))
    found = next((name for name in names if _is_file(tree, name)), "")
    if not found:
        raise errors.NotFoundError(f"failed to read Dockerfile {names[0]}: No such file")
    place = f"{folder}/{tree.resolve(found)}"
    own = [f"{folder}/{tree.resolve(name)}" for name in (f"{found}.dockerignore", ".dockerignore")
           if _is_file(tree, name)]  # fmt: skip
    return Context(folder, _read(place), os.path.basename(found), left_out=_ignore(*own))


def _is_file(tree: Tree, name: str) -> bool:
    about = tree.lstat(tree.resolve(name))
    return about is not None and stat.S_ISREG(about.st_mode)


def _looks_like_archive(first: bytes) -> bool:
    packed = first.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))
    return packed or first[257:262] == b"ustar" or (len(first) == 512 and first[100:101] == b"0")


class _Again:
    """A stream whose beginning was looked at."""

    def __init__(self, first: bytes, stream: Readable) -> None:
        self._first, self._stream = first, stream

    def read(self, size: int = -1, /) -> bytes:
        """The beginning once more, then the rest."""
        if not self._first:
            return self._stream.read(size)
        data, self._first = self._first, b""
        if 0 <= size < len(data):
            data, self._first = data[:size], data[size:]
        return data


def unpack(stream: Readable, folder: str) -> None:
    """Unpack a context; its owners do not matter."""
    from labcontainer.image import compression, layers

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        reader = compression.Reader(stream, foreign=True)
        layers.apply(reader, fd, whiteouts="apply", owners=False)
    finally:
        os.close(fd)


def of_url(url: str, folder: str, dockerfile: str = "") -> Context:
    """The context at a URL: a git repository, an archive, or a Dockerfile.

    Raises:
        LabError: it can't be fetched.
    """
    from labcontainer.build import adding, repository

    os.mkdir(f"{folder}/context")
    if repository.is_one(url):
        found = repository.clone(url, f"{folder}/context")
        return _of_stranger(found, (dockerfile,) if dockerfile else NAMES)
    _, place = adding.fetch(url, "", folder)
    with open(place, "rb") as file:
        return of_stream(file, f"{folder}/context", dockerfile)
