"""Which function answers which request: a table of methods and path templates.

    Route("POST", "/containers/{id}/start", start)

A `{word}` stands for one part of a path, a `{word*}` for what may have slashes in it, as the names
of images have. Routes are tried in their order.
"""

from __future__ import annotations

import re

from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from labcontainer.daemon.call import Call

    Handler = Callable[[Call], object]


class Route(Record):
    """One line of the table."""

    method: str
    path: str
    handler: Handler


class Router:
    """Finds the handler of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [(one, _pattern(one.path)) for one in routes]

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """The handler for a path without its version, and the words in it; None: there is none."""
        for route, pattern in self._routes:
            if route.method == method and (found := pattern.fullmatch(path)):
                return route.handler, found.groupdict()
        return None

    def knows(self, path: str) -> bool:
        """Whether any method is there for a path."""
        return any(pattern.fullmatch(path) for _, pattern in self._routes)


def _pattern(template: str) -> re.Pattern[str]:
    text = re.sub(r"\\\{(\w+)\\\*\\\}", r"(?P<\1>.+)", re.escape(template))
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", text))
