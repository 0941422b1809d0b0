"""Figures that move: drawn again and again beside the other cells, by a task of the kernel's loop.

    cell ── draw() ── shown at once, with its static twin ── the cell has ended
                         └─ task: draw() in a thread, put the drawing into the widget, sleep, …
                              the last frame takes the widget's place: it is what is saved

The loop belongs to the kernel: a draw() in it would keep every other cell waiting. Only the drawing
is made in the thread; the widget is touched in the loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from labcontainer.lab.cards import Card, box, inline
from labcontainer.lab.figures import Figure

Draw = Callable[[], Figure]
_moving: dict[str, Live] = {}  # by the name of what draws: a cell run again ends its own figure


class Live:
    """A figure under way. `await` it, or go on; `stop` ends it with the frame that is shown."""

    def __init__(self, draw: Draw, first: Figure, seconds: float, every: float) -> None:
        import asyncio

        import ipywidgets
        from IPython.display import display

        self.frame: Card = first
        self.frames = 1
        self._canvas = ipywidgets.HTML(first.html)
        bundle = {**first._repr_mimebundle_(), **self._canvas._repr_mimebundle_()}
        bundle["text/plain"] = first.text
        self._shown = display(bundle, raw=True, display_id=True)
        self.task = asyncio.get_running_loop().create_task(self._move(draw, seconds, every))

    async def _move(self, draw: Draw, seconds: float, every: float) -> None:
        import asyncio

        limit = time.monotonic() + seconds
        try:
            while time.monotonic() < limit:
                await asyncio.sleep(every)
                self.frame = await asyncio.to_thread(draw)
                self._canvas.value = self.frame.html
                self.frames += 1
        except Exception as error:  # a task's error would be told to nobody
            words = f"{type(error).__name__}: {error}"
            self.frame = Card(box("bad", "The drawing ended", inline(words)), words)
        finally:
            self._shown.update(self.frame)
            self._canvas.close()

    def stop(self) -> None:
        """End it now."""
        self.task.cancel()

    def __await__(self) -> Any:
        return self.task.__await__()

    def _ipython_display_(self) -> None:
        """Show nothing more: the figure is shown already."""


def live(draw: Draw, seconds: float = 5, every: float = 0.2) -> Figure | Live:
    """Draw again and again for some seconds, while other cells run; keep the last frame.

    Where nobody looks (LABCONTAINER_STATIC, no notebook) one frame is drawn, and is the value.
    """
    name = getattr(draw, "__qualname__", repr(draw))
    if name in _moving:
        _moving.pop(name).stop()
    first = draw()
    if not _somebody_looks():
        return first
    _moving[name] = Live(draw, first, seconds, every)
    return _moving[name]


def _somebody_looks() -> bool:
    if os.environ.get("LABCONTAINER_STATIC"):  # CI, and runs that store outputs
        return False
    try:
        import asyncio

        import ipywidgets  # noqa: F401
        from IPython import get_ipython

        asyncio.get_running_loop()
    except (ImportError, RuntimeError):
        return False
    return get_ipython() is not None
