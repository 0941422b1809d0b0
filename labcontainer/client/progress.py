"""The progress of pull, push, load and build as the API streams it, for a terminal or a file."""

from __future__ import annotations

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO


def show(events: Iterable[dict[str, Any]], out: TextIO) -> list[Any]:
    """Print a stream of JSON messages; what came in `aux`, such as a digest.

    On a terminal a layer has one line, which is written anew; elsewhere only what is final.

    Raises:
        LabError: the stream ends with an error.
    """
    found: list[Any] = []
    screen = Lines(out)
    for event in events:
        if "errorDetail" in event or "error" in event:
            detail = event.get("errorDetail") or {}
            raise errors.LabError(str(detail.get("message") or event.get("error")))
        if "aux" in event:
            found.append(event["aux"])
        elif "stream" in event:
            out.write(event["stream"])
            out.flush()
        elif "id" in event and "status" in event:
            screen.put(event["id"], event["status"], event.get("progress", ""),
                       bool(event.get("progressDetail")))  # fmt: skip
        elif "status" in event:
            screen.leave()
            print(event["status"], file=out, flush=True)
    screen.leave()
    return found


class Lines:
    """A line for each id, on a terminal; elsewhere a line for each change that is no progress."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._lines: dict[str, int] = {}

    def put(self, identity: str, status: str, progress: str, moving: bool) -> None:
        """Show what became of `identity`."""
        text = f"{identity}: {status} {progress}".rstrip()
        if not self._live:
            if not moving:
                print(text, file=self._out, flush=True)
            return
        if identity not in self._lines:
            self._lines[identity] = len(self._lines)
            print(text, file=self._out, flush=True)
            return
        up = len(self._lines) - self._lines[identity]
        # ECMA-48: so many lines up, erase that line, write, and so many down again.
        self._out.write(f"\x1b[{up}A\x1b[2K\r{text}\x1b[{up}B\r")
        self._out.flush()

    def leave(self) -> None:
        """What is written from now on stands below; these lines are final."""
        self._lines.clear()
