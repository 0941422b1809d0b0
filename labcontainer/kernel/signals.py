"""signal(7) by `_signal`, the C half of Python's `signal`: the other half costs 5 ms of import.

What it lacks is the names: a number prints as a number. Use as `signals.signal.SIGKILL`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
else:
    import _signal as signal  # noqa: F401
