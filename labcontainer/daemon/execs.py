"""/exec: more processes in running containers."""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.daemon import pump, wire
from labcontainer.daemon.routing import Route
from labcontainer.engine import detaching, logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from labcontainer.daemon.call import Call
    from labcontainer.engine.execs import Exec

PATIENCE = 60  # seconds that its end may take to be known when its streams have ended


def create(call: Call) -> None:
    """POST /containers/{id}/exec."""
    asked = call.body(wire.Exec)
    detaching.detach_keys(asked.detach_keys)
    made = call.engine.execs.create(call.words["id"], asked.as_dict())
    call.reply({"Id": made.id}, 201)


def start(call: Call) -> None:
    """POST /exec/{id}/start: detached, or with the connection as its streams."""
    asked = call.body(wire.ExecStart)
    exec_ = call.engine.execs.find(call.words["id"])
    call.engine.execs.claim(exec_)
    size = asked.console_size or exec_.asked.get("ConsoleSize")
    if asked.detach:
        os.close(call.engine.execs.start(exec_, size))
        call.empty(200)
        return
    sock, early = call.take_over(call.stream_type(exec_.asked["Tty"]))
    try:
        monitor = call.engine.execs.start(exec_, size)
    except (errors.LabError, OSError) as error:
        said = refusal(error)
        sock.sendall(said if exec_.asked["Tty"] else logs.frame("stdout", said))
        pump.finish(sock)
        return
    try:
        if not _pump(exec_, sock, early, monitor):
            exec_.ended.wait(PATIENCE)  # the client will ask how, as soon as its connection ends
        else:
            call.engine.containers.lives.tell(exec_.container, "exec_detach", execID=exec_.id)
    finally:
        os.close(monitor)
        pump.finish(sock)


def _pump(exec_: Exec, sock: socket.socket, early: bytes, monitor: int) -> bool:
    """Pass bytes on until it ends; whether the client detached instead."""
    asked = exec_.asked
    tty = asked["Tty"]
    wanted = {name for name in ("stdout", "stderr") if asked[f"Attach{name.capitalize()}"]}
    return pump.Pump(
        sock, early, monitor, typing=asked["AttachStdin"],
        keys=detaching.Keys(detaching.detach_keys(asked["DetachKeys"])) if tty else None,
        frames=None if tty else pump.Frames(wanted),
    ).run()  # fmt: skip


def refusal(error: Exception) -> bytes:
    """Why it did not start, in the words that the docker command looks for."""
    words = "OCI runtime exec failed: exec failed: unable to start container process: "
    return f"{words}{error}\r\n".encode()


def inspect(call: Call) -> None:
    """GET /exec/{id}/json."""
    call.reply(call.engine.execs.find(call.words["id"]).document())


def resize(call: Call) -> None:
    """POST /exec/{id}/resize."""
    call.engine.execs.resize(call.words["id"], call.number("h"), call.number("w"))
    call.empty(200)


ROUTES = (
    Route("POST", "/containers/{id}/exec", create),
    Route("POST", "/exec/{id}/start", start),
    Route("GET", "/exec/{id}/json", inspect),
    Route("POST", "/exec/{id}/resize", resize),
)
