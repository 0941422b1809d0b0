"""One step to be done: what its result depends on, and how it is made if it was not before."""

from __future__ import annotations

from collections.abc import Callable

from labcontainer.image.packing import Layer
from labcontainer.record import Record


class Work(Record):
    """`words` is its line of history. `facts` are all that the key has beside the state below.

    `content`, where given, tells by other facts whether the result is the same after all: asked
    only when `facts` are new, since it costs more. Without `make` no files change.

    `container` is the name of the container that makes it, as the classic builder tells it: 12
    hexadecimal digits. It has one for every step that copies no files.
    """

    words: str
    facts: tuple[object, ...] = ()
    content: Callable[[], object] | None = None
    make: Callable[[], Layer | None] | None = None
    container: str = ""
