"""What the engine remembers: one sqlite file, one writer.

    nouns   kind ("container", "network", "volume"), id, name, the whole document as JSON
    meta    key, value

A document is written as a whole in one transaction, so a daemon that is killed at any moment finds
the old one or the new one. The write-ahead log makes a write cheap (sqlite.org/wal.html);
`synchronous=NORMAL` holds through a kill of the process, and after a power cut the last writes may
be missing, but never half of one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Each step brings a file of the version before to the next; the number is PRAGMA user_version.
MIGRATIONS = (
    """
    CREATE TABLE nouns (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (kind, id),
        UNIQUE (kind, name)
    );
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
)


class Records:
    """The file; any thread may use it."""

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._lock = threading.Lock()
        self._path = path
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        os.chmod(path, 0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._migrate(path)

    def _migrate(self, path: str) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise errors.LabError(
                f"{path} is of a newer version ({version}) than this one understands "
                f"({len(MIGRATIONS)}): use the newer labcontainer"
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            steps = f"BEGIN; {script}; PRAGMA user_version={number}; COMMIT;"
            self._db.executescript(steps)

    def save(self, kind: str, identity: str, name: str, document: dict[str, Any]) -> None:
        """Write a noun, new or changed.

        Raises:
            ExistsError: another one of this kind has the name.
            LabError: the disk is full.
        """
        text = json.dumps(document, separators=(",", ":"))
        sql = (
            "INSERT INTO nouns VALUES (?, ?, ?, ?) ON CONFLICT (kind, id) "
            "DO UPDATE SET name = excluded.name, document = excluded.document"
        )
        try:
            self._write(sql, kind, identity, name, text)
        except sqlite3.IntegrityError:
            raise errors.ExistsError(f"{kind} name {name!r} is in use") from None

    def _write(self, sql: str, *values: str) -> None:
        with self._lock:
            try:
                self._db.execute(sql, values)
            except sqlite3.OperationalError as error:
                raise errors.LabError(f"cannot write {self._path}: {error}") from error

    def delete(self, kind: str, identity: str) -> None:
        """Forget a noun; quiet if there is none."""
        self._write("DELETE FROM nouns WHERE kind = ? AND id = ?", kind, identity)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The documents of all nouns of a kind, the oldest first."""
        sql = "SELECT document FROM nouns WHERE kind = ? ORDER BY rowid"
        with self._lock:
            return [json.loads(text) for (text,) in self._db.execute(sql, (kind,))]

    def get_meta(self, key: str, default: str = "") -> str:
        """A single value."""
        sql = "SELECT value FROM meta WHERE key = ?"
        with self._lock:
            found = self._db.execute(sql, (key,)).fetchone()
        return str(found[0]) if found else default

    def set_meta(self, key: str, value: str) -> None:
        """Write a single value."""
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    def delete_meta(self, key: str) -> None:
        """Forget a single value; quiet if there is none."""
        self._write("DELETE FROM meta WHERE key = ?", key)

    def close(self) -> None:
        """Write the log into the file and close it."""
        with self._lock:
            self._db.close()
