"""What goes on for as long as there is something to tell: attach, logs, stats, wait."""

from __future__ import annotations

import os
import select
import time

from labcontainer import errors
from labcontainer.daemon import pump
from labcontainer.daemon.routing import Route
from labcontainer.engine import container as states
from labcontainer.engine import detaching, logs, moments, stats
from labcontainer.kernel import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from labcontainer.daemon.call import Call
    from labcontainer.engine.attachments import Seat
    from labcontainer.engine.container import Container

    Connection = tuple[socket.socket, bytes]

CONDITIONS = ("", "not-running", "next-exit", "removed")


# --- attach ---------------------------------------------------------------------------------------


def attach(call: Call) -> None:
    """POST /containers/{id}/attach: the client's connection becomes the container's streams."""
    container = call.engine.containers.find(call.words["id"])
    wanted = {name for name in ("stdout", "stderr") if call.flag(name)}
    given = detaching.detach_keys(call.text("detachKeys"))
    keys = detaching.Keys(given) if container.tty else None
    if container.state.status == states.PAUSED:
        raise errors.StateError(
            f"container {container.id} is paused, unpause the container before attach"
        )
    lives = call.engine.containers.lives
    lives.tell(container, "attach")
    # Our answer is what the client waits for to start the container: it has its seat before that.
    with lives.attachments.seat(container) as seat:
        sock, early = call.take_over(call.stream_type(container.tty))
        try:
            if call.flag("logs"):
                _tell_past(container, wanted, sock)
            if call.flag("stream") and (monitor := _monitor_of(call, container, seat)) >= 0:
                _pump(call, container, wanted, (sock, early), monitor, keys)
        finally:
            pump.finish(sock)


def _pump(
    call: Call, container: Container, wanted: set[str], connection: Connection, monitor: int,
    keys: detaching.Keys | None,
) -> None:  # fmt: skip
    sock, early = connection
    frames = None if container.tty else pump.Frames(wanted)
    typing = call.flag("stdin") and bool(container.config["OpenStdin"])
    try:
        detached = pump.Pump(sock, early, monitor, typing=typing, keys=keys, frames=frames).run()
    finally:
        os.close(monitor)
    if detached:
        call.engine.containers.lives.tell(container, "detach")
        sock.close()


def _monitor_of(call: Call, container: Container, seat: Seat) -> int:
    """A connection to the monitor: of the container that runs, or of its next start."""
    if seat.running:
        try:
            return sockets.connect(f"{container.home}/attach")
        except OSError:
            return -1  # it has just ended
    poll = select.poll()
    poll.register(seat.bell, select.POLLIN)
    # A client with nothing to type ends its half at once, and waits all the same: POLLHUP.
    poll.register(call.fileno(), 0)
    ready = {fd for fd, _ in poll.poll()}
    return seat.take() if seat.bell in ready else -1


def _tell_past(container: Container, wanted: set[str], sock: socket.socket) -> None:
    asked = logs.Wanted("stdout" in wanted, "stderr" in wanted)
    encode = logs.plain if container.tty else logs.frame
    for data in logs.lines(container, asked, encode):
        sock.sendall(data)


def resize(call: Call) -> None:
    """POST /containers/{id}/resize."""
    container = call.engine.containers.find(call.words["id"])
    call.engine.containers.lives.resize(container, call.number("h"), call.number("w"))
    call.empty(200)


# --- logs -----------------------------------------------------------------------------------------


def get_logs(call: Call) -> None:
    """GET /containers/{id}/logs."""
    container = call.engine.containers.find(call.words["id"])
    wanted = _wanted(call, container)
    if not (wanted.stdout or wanted.stderr):
        raise errors.UsageError("Bad parameters: you must choose at least one stream")
    if container.host["LogConfig"]["Type"] == "none":
        raise errors.UnsupportedError(
            "logs", "configured logging driver does not support reading", "use json-file"
        )
    encode = logs.plain if container.tty else logs.frame
    attachments = call.engine.containers.lives.attachments
    with (
        logs.Reader(container, wanted) as reader,
        attachments.bell(container) as bell,
        call.answer_stream(call.stream_type(container.tty)) as out,
    ):
        life = container.ends
        while True:
            goes_on = container.state.running and container.ends == life
            over = not (call.flag("follow") and goes_on)
            for stream, data in reader.now():
                out.write(encode(stream, data))
            if over or reader.over:
                return
            if call.fileno() in _wait_for_more(call, reader, bell, wanted):
                return


def _wait_for_more(call: Call, reader: logs.Reader, bell: int, wanted: logs.Wanted) -> set[int]:
    seconds = max(wanted.until - time.time(), 0) if wanted.until else None
    ready = reader.wait(bell, call.fileno(), seconds=seconds)
    if bell in ready:
        os.eventfd_read(bell)
    if wanted.until and time.time() >= wanted.until:
        ready.add(call.fileno())
    return ready


def _wanted(call: Call, container: Container) -> logs.Wanted:
    tail, now = call.text("tail", "all"), time.time()
    details = ""
    if call.flag("details"):
        chosen = container.host["LogConfig"]["Config"].get("labels", "").split(",")
        details = ",".join(f"{key}={container.labels[key]}" for key in chosen
                           if key in container.labels)  # fmt: skip
    return logs.Wanted(
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        tail=int(tail) if tail.isdecimal() else -1,
        since=moments.parse(call.text("since") or "0", now),
        until=moments.parse(call.text("until") or "0", now),
        timestamps=call.flag("timestamps"),
        details=details,
    )


# --- wait -----------------------------------------------------------------------------------------


def wait(call: Call) -> None:
    """POST /containers/{id}/wait: the head of the answer at once, its body with the end."""
    container = call.engine.containers.find(call.words["id"])
    condition = call.text("condition")
    if condition not in CONDITIONS:
        raise errors.UsageError(f"invalid condition: {condition!r}")
    containers = call.engine.containers
    with containers.lives.attachments.bell(container) as bell:
        before = container.ends
        with call.answer_stream() as out:
            while (status := _outcome(call, container, condition, before)) is None:
                poll = select.poll()
                poll.register(bell, select.POLLIN)
                poll.register(call.fileno(), select.POLLRDHUP)
                if call.fileno() in dict(poll.poll()):
                    return
                os.eventfd_read(bell)
            out.tell({"StatusCode": status})


def _outcome(call: Call, container: Container, condition: str, before: int) -> int | None:
    """The exit status, when what is waited for is so. With the lock: never halfway through it."""
    with container.lock:
        if condition == "next-exit":  # it may have been started again since
            return container.exits[before] if container.ends > before else None
        if condition == "removed":
            is_so = container not in call.engine.containers.all()
        else:
            over = not container.state.running
            is_so = over and container.state.status != states.RESTARTING
        return container.state.exit_code if is_so else None


# --- stats ----------------------------------------------------------------------------------------


def get_stats(call: Call) -> None:
    """GET /containers/{id}/stats: one after the other, or one."""
    container = call.engine.containers.find(call.words["id"])
    once = not call.flag("stream", True)
    one_shot = call.flag("one-shot")
    sampler = stats.Sampler(call.engine, container)
    if once:
        if not one_shot and container.state.running:
            sampler.sample()
            time.sleep(stats.PERIOD)
        call.reply(sampler.sample())
        return
    poll = select.poll()
    poll.register(call.fileno(), select.POLLRDHUP)
    with call.answer_stream() as out:
        while container in call.engine.containers.all():
            out.tell(sampler.sample())
            if poll.poll(stats.PERIOD * 1000):
                return


ROUTES = (
    Route("POST", "/containers/{id}/attach", attach),
    Route("POST", "/containers/{id}/resize", resize),
    Route("GET", "/containers/{id}/logs", get_logs),
    Route("POST", "/containers/{id}/wait", wait),
    Route("GET", "/containers/{id}/stats", get_stats),
)
