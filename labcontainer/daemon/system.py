"""What is asked of the whole engine: ping, version, info, events, disk use."""

from __future__ import annotations

import select
import time

from labcontainer.daemon import api
from labcontainer.daemon.routing import Route
from labcontainer.engine import moments, system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.daemon.call import Call

HOUR = 3_600_000  # milliseconds: poll(2) takes no more than 24 days at once


def ping(call: Call) -> None:
    """GET and HEAD /_ping: the headers are what matters."""
    call.plain("OK", {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache",
                      "Builder-Version": "1", "Swarm": "inactive"})  # fmt: skip


def version(call: Call) -> None:
    """GET /version."""
    call.reply(system.version(api.NEWEST_WORD, api.OLDEST_WORD))


def info(call: Call) -> None:
    """GET /info."""
    call.reply(system.info(call.engine, debug=call.debug))


def df(call: Call) -> None:
    """GET /system/df."""
    kinds = call.texts("type") or ["container", "image", "volume", "build-cache"]
    call.reply(system.disk_usage(call.engine, kinds, call.version))


def events(call: Call) -> None:
    """GET /events: the past ones since a time, then those that come, until a time."""
    now = time.time()
    since = moments.parse(call.text("since"), now) if call.text("since") else None
    until = moments.parse(call.text("until"), now) if call.text("until") else None
    listener = call.engine.events.listen(system.event_filters(call.filters()), since)
    with listener, call.answer_stream() as out:
        poll = select.poll()
        poll.register(listener.fd, select.POLLIN)
        poll.register(call.fileno(), select.POLLRDHUP)
        while True:
            for event in listener.take():
                if until is None or event["timeNano"] <= until * 1e9:
                    out.tell(event)
            left = None if until is None else (until - time.time()) * 1000
            if listener.lost or (left is not None and left <= 0):
                return
            if call.fileno() in dict(poll.poll(left if left is None else min(left, HOUR))):
                return


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("GET", "/events", events),
    Route("GET", "/system/df", df),
)
