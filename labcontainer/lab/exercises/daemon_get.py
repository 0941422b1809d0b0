"""daemon.get: one HTTP request over a Unix socket, by hand."""

from __future__ import annotations

import json
import os
import socket
import threading

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import json
import socket


def get(path: str, target: str) -> tuple[int, dict]:
    """GET `target` from the server at a Unix socket: (status, the JSON that it answers).

    A request is lines that end with \\\\r\\\\n: "GET /target HTTP/1.1", "Host: docker" and
    "Connection: close"; an empty line ends it. An answer is a line "HTTP/1.1 200 OK", headers, an
    empty line, and the body, up to the end.
    """
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        ...
        answer = b""
        while data := server.recv(4096):
            answer += data
    ...
'''

_SEND = """\
        lines = [f"GET {target} HTTP/1.1", "Host: docker", "Connection: close", "", ""]
        server.sendall("\\r\\n".join(lines).encode())
"""
_READ = """\
    head, _, body = answer.partition(b"\\r\\n\\r\\n")
    return int(head.split()[1]), json.loads(body)
"""
SOLUTION = HOLE.replace("        ...\n", _SEND).replace("    ...\n", _READ)

NO_EMPTY_LINE = SOLUTION.replace('"Connection: close", "", ""]', '"Connection: close", ""]')
NO_HOST = SOLUTION.replace('"Host: docker", ', "")
KEEPS_OPEN = SOLUTION.replace('"Connection: close", "", ""]', '"", ""]')
FIRST_BLANK = SOLUTION.replace(
    '    head, _, body = answer.partition(b"\\r\\n\\r\\n")\n',
    '    head, body = answer, answer[answer.index(b"{") :]\n',
).replace("int(head.split()[1])", "200")

WORDS = {
    "empty line": "An empty line ends the head: the last header's \\r\\n, and one more.",
    "host": "HTTP/1.1 wants a Host header, whatever is in it (RFC 9112, 3.2).",
    "close": "Without `Connection: close` the server keeps the connection for your next request.",
}


def _serve(
    listener: socket.socket, answers: dict[str, tuple[int, object]], told: list[str],
    asked: bytearray,
) -> None:  # fmt: skip
    """A server that is strict: `told` is what it missed, `asked` all that was sent to it."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(1)
            _answer(connection, answers, told, asked)


def _answer(
    connection: socket.socket, answers: dict[str, tuple[int, object]], told: list[str],
    asked: bytearray,
) -> None:  # fmt: skip
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            part = connection.recv(4096)
            if not part:
                return
            data += part
    except TimeoutError:
        told.append("empty line")
        return
    asked += data
    line, *headers = data.decode().split("\r\n")
    names = {name.lower().partition(":")[0]: name.partition(":")[2].strip() for name in headers}
    status, body = answers.get(line.split()[1], (404, {"message": "page not found"}))
    if "host" not in names:
        told.append("host")
        status, body = 400, {"message": "Host is missing"}
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nX-Odd: {{}}\r\nContent-Length: {len(text)}\r\n\r\n"
    connection.sendall(head.encode() + text)
    if names.get("connection", "").lower() != "close":
        told.append("close")
        threading.Event().wait(0.5)


def check(trial: Trial) -> Outcome:
    token = trial.secret()
    path = os.path.join(trial.room, "docker.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o777)
    listener.listen()
    answers: dict[str, tuple[int, object]] = {
        "/version": (200, {"Version": token}),
        "/containers/none/json": (404, {"message": f"No such container: {token}"}),
    }
    told: list[str] = []
    asked = bytearray()
    arguments = (listener, answers, told, asked)
    threading.Thread(target=_serve, args=arguments, daemon=True).start()
    for target, (status, body) in answers.items():
        found = trial.attempt("get", path, target)
        if told:
            return not_yet(
                expected="a request that a strict server takes",
                observed=f"it missed: {told[0]}",
                where="the lines of the request",
                hint=WORDS[told[0]],
            )
        if not found.returned or found.value != [status, body]:
            return not_yet(
                expected=f"{target}: {(status, body)}",
                observed=str(tuple(found.value)) if found.returned else found.error,
                where="what you make of the answer",
                hint="The status is the second word of the first line; 404 is an answer as well.",
            )
    listener.close()
    return done("two requests, two answers, one of them a no", f"{len(asked)} bytes asked")


EXERCISE = Exercise(
    id="daemon.get",
    notebook="14_daemon",
    title="Ask by hand",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Three lines and an empty one, joined by \\r\\n, and sent as bytes.",
        '`"\\r\\n".join([…, "", ""])`: two empty words at the end give the empty line.',
        'The answer: `answer.partition(b"\\r\\n\\r\\n")` parts head and body.',
    ),
    wrong=(
        Wrong(NO_EMPTY_LINE, "An empty line ends the head"),
        Wrong(NO_HOST, "wants a Host header"),
        Wrong(KEEPS_OPEN, "keeps the connection"),
        Wrong(FIRST_BLANK, "404 is an answer"),
    ),
)
