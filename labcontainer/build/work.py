"""One step to be done: what its result depends on, and how it is made if it was not before."""

from __future__ import annotations

from collections.abc import Callable

from labcontainer.image.packing import Layer
from labcontainer.record import Record


class Work(Record):
    """`words` is its line of history. `facts` are all that the key has beside the state below.

    `content`, where given, tells by other facts whether the result is the same after all: asked
    only when `facts` are new, since it costs more. Without `make` no files change.
    """

    words: str
    facts: tuple[object, ...] = ()
    content: Callable[[], object] | None = None
    make: Callable[[], Layer | None] | None = None
