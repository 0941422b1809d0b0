"""Content by its digest: what is written once, checked, and never changed.

    ingest/NAME ── write, hash ──▶ fsync, rename ──▶ blobs/sha256/HEX

A file below `blobs` is whole and right, whenever and however its writer ended; a half-written one
is in `ingest`. What is read is hashed again: a disk that lies is found out.
"""

from __future__ import annotations

import hashlib
import io
import os

from labcontainer import errors
from labcontainer.image import documents
from labcontainer.kernel import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Protocol, Self

    from _typeshed import WriteableBuffer

    class Hash(Protocol):
        """What hashlib gives."""

        def update(self, data: bytes, /) -> None: ...
        def hexdigest(self) -> str: ...


CHUNK = 1 << 20


class Blobs:
    """The blobs below a directory, which is made when something is written."""

    def __init__(self, path: str) -> None:
        self._top = path

    def path(self, digest: str) -> str:
        """Where a blob is or would be.

        Raises:
            SpecError: it is no digest.
        """
        algorithm, _, value = documents.check_digest(digest).partition(":")
        return f"{self._top}/blobs/{algorithm}/{value}"

    def has(self, digest: str) -> bool:
        """Whether it is there. One that is needed now is not collected as old: see store."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's store, that we may only read
            return os.path.exists(self.path(digest))
        return True

    def size(self, digest: str) -> int:
        """Its bytes.

        Raises:
            NotFoundError: it is not there.
        """
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def open(self, digest: str) -> Verified:
        """A file object that checks the digest when it comes to the end.

        Raises:
            NotFoundError: it is not there.
        """
        try:
            return Verified(self.path(digest), digest)
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: str, limit: int = documents.LARGEST) -> bytes:
        """All of it, checked.

        Raises:
            NotFoundError: it is not there.
            SpecError: it is larger than `limit`, or not what its digest says.
        """
        size = self.size(digest)
        if size > limit:
            raise errors.SpecError(digest, f"{size} bytes are more than the {limit} allowed")
        with self.open(digest) as file:
            return file.read()

    def write(self, data: bytes, algorithm: str = "sha256") -> str:
        """Put some bytes; their digest."""
        digest = documents.digest_of(data, algorithm)
        if not self.has(digest):
            with self.writer(digest, len(data)) as writer:
                writer.write(data)
                writer.commit()
        return digest

    def writer(
        self, digest: str = "", size: int = -1, *, resume: str = "", hash_late: bool = False
    ) -> Writer:
        """Something to write a blob with; `digest` and `size` (bytes), where known, are checked.

        With `resume` what is not committed is kept under that name, and the next writer of the
        name goes on where this one ended. With `hash_late` all is read and hashed by `commit`, so
        that many who each write a little need not each read all that is there.
        """
        os.makedirs(f"{self._top}/ingest", mode=0o700, exist_ok=True)
        return Writer(self, f"{self._top}/ingest", digest, size, resume, hash_late)

    def partial(self, resume: str) -> int:
        """How many bytes are kept under a name."""
        try:
            return os.stat(f"{self._top}/ingest/{resume}").st_size
        except FileNotFoundError:
            return 0

    def forget(self, resume: str) -> None:
        """Delete what is kept under a name."""
        _unlink(f"{self._top}/ingest/{resume}")

    def delete(self, digest: str) -> int:
        """Delete a blob, if it is there; the bytes that were freed."""
        try:
            size = self.size(digest)
            os.unlink(self.path(digest))
        except (FileNotFoundError, errors.NotFoundError):
            return 0
        return size

    def delete_older(self, digest: str, since: int) -> int:
        """Delete a blob that nobody has asked for since then (ns); the bytes, -1 where it stays.

        It is looked at again under a name that nobody knows: who asks for it now either does not
        find it, or has made it young in time.
        """
        if self.age(digest) >= since:
            return -1
        os.makedirs(f"{self._top}/ingest", mode=0o700, exist_ok=True)
        path, hidden = self.path(digest), f"{self._top}/ingest/tmp-gone-{os.urandom(8).hex()}"
        try:
            os.rename(path, hidden)
        except FileNotFoundError:
            return -1
        found = os.stat(hidden)
        if found.st_mtime_ns >= since:
            os.rename(hidden, path)
            return -1
        os.unlink(hidden)
        return found.st_size

    def all(self) -> Iterator[str]:
        """The digests of all blobs."""
        for algorithm in ("sha256", "sha512"):
            try:
                names = sorted(os.listdir(f"{self._top}/blobs/{algorithm}"))
            except FileNotFoundError:
                continue
            yield from (f"{algorithm}:{name}" for name in names)

    def age(self, digest: str) -> int:
        """When it was written or last asked for, in nanoseconds as the file system counts."""
        try:
            return os.stat(self.path(digest)).st_mtime_ns
        except FileNotFoundError:
            return 0

    def sweep_ingest(self, before: float) -> None:
        """Delete what nobody writes any more: kept ones only when older than `before` (s)."""
        try:
            names = os.listdir(f"{self._top}/ingest")
        except FileNotFoundError:
            return
        for name in names:
            path = f"{self._top}/ingest/{name}"
            try:
                kept = not name.startswith("tmp-") and os.stat(path).st_mtime >= before
            except FileNotFoundError:
                continue
            if not kept and (held := locks.hold_left(path)) >= 0:
                _unlink(path)  # while it is ours: whoever waits for it sees that it is gone
                os.close(held)


class Writer:
    """One blob on its way in. Without `commit` its block leaves nothing (or what is kept)."""

    def __init__(
        self, blobs: Blobs, folder: str, digest: str, size: int, resume: str, hash_late: bool
    ) -> None:
        self._blobs = blobs
        self._digest = documents.check_digest(digest) if digest else ""
        self._size = size
        self._kept = bool(resume)
        self.path = f"{folder}/{resume or f'tmp-{os.urandom(8).hex()}'}"
        self._fd = self._open()
        try:
            self.algorithm = self._digest.partition(":")[0] or "sha256"
            self._hash: Hash = hashlib.new(self.algorithm)
            self._late = hash_late
            self.written = os.lseek(self._fd, 0, os.SEEK_END) if hash_late else self._rehash()
        except BaseException:
            os.close(self._fd)
            raise

    def _open(self) -> int:
        """The file under its name, ours alone.

        Not the blob that another writer has just made of it, nor one that was swept away.
        """
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._lock(fd):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _lock(self, fd: int) -> bool:
        if not self._kept:  # nobody else has its name; a collector may be looking at it
            return locks.wait(fd, self.path)
        try:
            locks.hold(fd)
        except BlockingIOError:
            raise errors.StateError(f"{os.path.basename(self.path)} is being written") from None
        return locks.is_named(fd, self.path)

    def _rehash(self) -> int:
        """Take what an earlier writer left into the hash; how much it is."""
        count = 0
        while data := os.read(self._fd, CHUNK):
            self._hash.update(data)
            count += len(data)
        return count

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes) -> int:
        """Append.

        Raises:
            SpecError: it is more than was announced.
            OSError: the disk is full.
        """
        if self._size >= 0 and self.written + len(data) > self._size:
            raise errors.SpecError(self._digest or "blob", f"it is longer than {self._size} bytes")
        if not self._late:
            self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self.written += len(data)
        return len(data)

    def begin_again(self) -> None:
        """Forget what was written."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.new(self.algorithm)
        self.written = 0

    def commit(self, digest: str = "") -> tuple[str, int]:
        """Make it a blob; (digest, size). Writing the same content twice is no harm.

        Raises:
            SpecError: it is not what was announced; nothing is kept of it.
        """
        wanted = documents.check_digest(digest) if digest else self._digest
        algorithm = wanted.partition(":")[0] or self.algorithm
        if self._late or algorithm != self.algorithm:
            self._hash_again(algorithm)
        found = f"{self.algorithm}:{self._hash.hexdigest()}"
        if wanted not in ("", found):
            self._drop()
            raise errors.SpecError(wanted, f"the content's digest is {found}")
        if self._size not in (-1, self.written):
            raise errors.SpecError(found, f"{self.written} bytes, but {self._size} were announced")
        target = self._blobs.path(found)
        os.makedirs(os.path.dirname(target), mode=0o711, exist_ok=True)
        os.fchmod(self._fd, 0o444)
        os.fsync(self._fd)
        os.rename(self.path, target)
        self._close()
        return found, self.written

    def _hash_again(self, algorithm: str) -> None:
        self.algorithm, self._hash = algorithm, hashlib.new(algorithm)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._rehash()

    def _drop(self) -> None:
        _unlink(self.path)
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fd < 0:
            return
        if self._kept:
            self._close()
        else:
            self._drop()


class Verified(io.RawIOBase):
    """A blob's bytes in order; at the end the digest is checked."""

    def __init__(self, path: str, digest: str) -> None:
        self._file = open(path, "rb", buffering=0)
        self._digest = digest
        self._hash: Hash = hashlib.new(digest.partition(":")[0])
        self._checked = False
        self.size = os.fstat(self._file.fileno()).st_size

    def readable(self) -> bool:
        """It can be read, and nothing else."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """The next bytes.

        Raises:
            SpecError: at the end: it is not what its digest says.
        """
        count = self._file.readinto(buffer) or 0
        if count:
            self._hash.update(memoryview(buffer)[:count])  # type: ignore[arg-type]
        elif not self._checked and len(memoryview(buffer)):
            self._checked = True
            found = f"{self._digest.partition(':')[0]}:{self._hash.hexdigest()}"
            if found != self._digest:
                raise errors.SpecError(
                    self._digest, f"the stored content's digest is {found}: the disk changed it"
                )
        return count

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _missing(digest: str) -> errors.NotFoundError:
    return errors.NotFoundError(f"content {digest} does not exist in the image store")
