"""What was changed on the host, written down before it is changed, so that it can be given back.

A JSON file that survives a `kill -9`: whoever opens it next sees what is there and can take it
away. Sections hold things by name; `values` holds the host's own settings (sysctls) with what was
found there.
"""

from __future__ import annotations

import json
import os

from labcontainer.errors import LabError
from labcontainer.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any, Self

    Section = dict[str, dict[str, Any]]


class FileLock:
    """A lock between processes; not between threads of one.

    With `leaves` false after the block, the file is removed while it is still locked: who waited
    for it finds that the name leads elsewhere by then, and takes the new file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self.leaves = True

    def __enter__(self) -> Self:
        self.leaves = True
        os.makedirs(os.path.dirname(self._path) or ".", mode=0o700, exist_ok=True)
        while True:
            self._fd = files.lock_file(self._path)
            if self._is_current():
                return self
            os.close(self._fd)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.leaves:
            os.unlink(self._path)
        os.close(self._fd)


class Ledger:
    """The file, read when its block begins; `save` writes it.

    Every use stands in a block, so that it is alone with the file:

    >>> with ledger:
    ...     ledger.section("bridges")["lc0"] = {...}
    ...     ledger.save()

    `lock` is any context manager; without it, a lock file beside the ledger.
    """

    def __init__(self, path: str, lock: AbstractContextManager[Any] | None = None) -> None:
        self.path = path
        self._lock = lock or FileLock(f"{path}.lock")
        self._data: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            self._data = self._load()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(self._lock, FileLock):
            self._lock.leaves = os.path.exists(self.path)
        self._lock.__exit__(kind, error, traceback)

    def _load(self) -> dict[str, Any]:
        empty = {"boot": _boot()}
        if not os.path.exists(self.path):
            return empty
        with open(self.path, encoding="utf-8") as file:
            try:
                data = json.load(file)
            except ValueError as error:
                raise LabError(f"{self.path} is torn ({error}); remove it") from None
        # What the file tells of is gone with the kernel that it was in.
        return data if isinstance(data, dict) and data.get("boot") == empty["boot"] else empty

    def section(self, name: str) -> Section:
        """The things of one kind, by name."""
        return self._data.setdefault(name, {})  # type: ignore[no-any-return]

    def save(self) -> None:
        """Write the file as a whole; with nothing left to give back, remove it."""
        if any(self._data.get(name) for name in self._data if name != "boot"):
            files.write_atomically(self.path, json.dumps(self._data).encode())
        elif os.path.exists(self.path):
            os.unlink(self.path)

    def set_value(self, path: str, wanted: str) -> None:
        """Change a setting of the host; what was found is in the file before it is changed."""
        found = files.read(path)
        if found == wanted:
            return
        values = self.section("values")
        values.setdefault(path, {"found": found})["set"] = wanted
        self.save()
        files.write(path, wanted)

    def give_back(self, *, keep: bool = False) -> None:
        """Put back each setting that still has the value we gave it; the last one first.

        One that somebody else has changed since is theirs now. With `keep`, all are.
        """
        values = self.section("values")
        for path in reversed(list(values)):
            if not keep and files.exists(path) and files.read(path) == values[path]["set"]:
                files.write(path, values[path]["found"])
        values.clear()
        self.save()


def _boot() -> str:
    return files.read("/proc/sys/kernel/random/boot_id")
