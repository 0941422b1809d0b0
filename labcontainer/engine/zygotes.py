"""The engine's zygote, started anew when somebody has killed it."""

from __future__ import annotations

import threading

from labcontainer import errors
from labcontainer.runtime.zygote import Zygote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.runtime.maker import Request
    from labcontainer.runtime.zygote import Handle


class Zygotes:
    """One zygote at a time; any thread may ask."""

    def __init__(self, first: Zygote, using: str = "") -> None:
        self._zygote = first
        self._using = using
        self._lock = threading.Lock()

    def begin(self, request: Request) -> Handle:
        """A container, or one more process in one, that prepares for its start (Zygote.begin).

        Raises:
            StepError: a step failed; nothing is left.
        """
        zygote = self._zygote
        try:
            return zygote.begin(request)
        except errors.StateError:
            return self._renewed(zygote).begin(request)

    def _renewed(self, dead: Zygote) -> Zygote:
        with self._lock:
            if self._zygote is dead:
                dead.close()
                self._zygote = Zygote.start(using=self._using)
            return self._zygote

    def close(self) -> None:
        """End it; containers run on."""
        self._zygote.close()
