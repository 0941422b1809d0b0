"""An answer that tells how a long work goes on: JSON documents, one a line.

What fails before the first document is an error with its status. Afterwards the status is sent, and
the error is the last document.
"""

from __future__ import annotations

import threading

from labcontainer import errors
from labcontainer.build.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from labcontainer.daemon.call import Call, Stream


class Progress:
    """Call it with a document to tell it; any thread may. Begins the answer when it must."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._stream: Stream | None = None
        self._lock = threading.Lock()

    def __call__(self, document: dict[str, Any]) -> None:
        with self._lock:
            self._begun().tell(document)

    def _begun(self) -> Stream:
        if self._stream is None:
            self._stream = self._call.answer_stream()
        return self._stream

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:  # fmt: skip
        if error is None:
            self._begun().__exit__(None, None, None)
            return False
        if self._stream is None or not _is_told(error):
            return False
        self(document(error))
        self._stream.__exit__(None, None, None)
        return True


def _is_told(error: BaseException) -> bool:
    """Whether it is one for the client: not its own going away, and no fault of ours."""
    gone = isinstance(error, (ConnectionError, TimeoutError))
    return isinstance(error, (errors.LabError, OSError)) and not gone


def document(error: BaseException) -> dict[str, Any]:
    """An error as the last document; that of a RUN has its exit status as `code`."""
    code = {"code": error.status} if isinstance(error, RunError) else {}
    return {"errorDetail": {**code, "message": str(error)}, "error": str(error)}
