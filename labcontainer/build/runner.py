"""What the builder needs of whoever runs a RUN: a program, in a stack of layers, with mounts.

`build` knows no containers; `engine.buildsteps` has one that makes them.
"""

from __future__ import annotations

from labcontainer.image.packing import Layer
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol
else:
    Protocol = object  # typing is two milliseconds of import, and does nothing at run time here


class Bind(Record):
    """The file or directory `source` of a stack of layers, shown at `target` while it runs.

    `hidden` are paths of the stack that are not shown. What is written there is thrown away, unless
    it is `kept`: then there is one layer, which is written to.
    """

    source: str
    target: str
    readonly: bool
    layers: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    kept: bool = False


class File(Record):
    """A file in memory at `target`, which leaves no trace on any disk."""

    target: str
    text: str
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class Memory(Record):
    """A tmpfs at `target`, at most `size` bytes (0: half of the machine's)."""

    target: str
    size: int = 0


class Program(Record):
    """One RUN. `layers` are directories, the top one first; `newest` bounds the files' times.

    `id` is its container's name, 12 hexadecimal digits; `limits` are those of the Options.
    """

    layers: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str = "/"
    user: str = ""
    network: str = "default"
    insecure: bool = False
    binds: tuple[Bind, ...] = ()
    memories: tuple[Memory, ...] = ()
    files: tuple[File, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    newest: int | None = None
    id: str = ""
    limits: Mapping[str, Any] = {}


class Runner(Protocol):
    """Runs programs, several at once if asked from several threads."""

    def run(self, program: Program, output: Callable[[bytes], object]) -> tuple[int, Layer | None]:
        """Run to the end: the exit status, and if it is 0 the layer that was written.

        Raises:
            LabError, OSError: it could not be run; nothing is left.
        """

    def stop(self) -> None:
        """End all that run now; their `run` returns or raises soon."""
