"""One chunk further than asked for: a thread unpacks and hashes while the caller writes files.

zlib, zstd and hashlib let go of Python's lock while they work, and so does write(2).
"""

from __future__ import annotations

import queue
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEPTH = 4  # chunks that wait at most


class Ahead:
    """What a function returns, again and again until it returns b""; to be closed."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self._fetch = fetch
        self._waiting: queue.Queue[bytes | BaseException] = queue.Queue(DEPTH)
        self._stopped = self._ended = False
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopped:
                data = self._fetch()
                self._waiting.put(data)
                if not data:
                    return
        except BaseException as error:  # whoever reads gets it
            self._waiting.put(error)

    def take(self) -> bytes:
        """The next result.

        Raises:
            Exception: what the function raised.
        """
        if self._ended:
            return b""
        found = self._waiting.get()
        if isinstance(found, BaseException):
            self._ended = True
            raise found
        self._ended = not found
        return found

    def close(self) -> None:
        """Let the thread end; what it has fetched meanwhile is dropped."""
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._waiting.get(timeout=0.01)
            except queue.Empty:
                continue
        self._thread.join()
