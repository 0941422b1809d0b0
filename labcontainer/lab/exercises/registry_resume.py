"""registry.resume: go on where an upload broke off."""

from __future__ import annotations

from labcontainer.image import documents
from labcontainer.lab import wire
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.lab.wire import ask


def resume(where: str, data: bytes, digest: str) -> None:
    """Finish an upload of `data` that broke off. GET `where` says how far it got: Range: 0-LAST."""
    status = ask("GET", where)
    last = int(status.headers["range"].partition("-")[2])
    ...
'''

_REST = """\
    rest = data[last + 1 :]
    headers = {"Content-Range": f"{last + 1}-{len(data) - 1}"}
    ask("PATCH", where, headers, rest)
"""
_FINISH = '    ask("PUT", f"{where}?digest={digest}")\n'
SOLUTION = HOLE.replace("    ...\n", _REST + _FINISH)

OFF_BY_ONE = SOLUTION.replace("last + 1", "last")
FROM_THE_START = SOLUTION.replace(
    _REST, '    ask("PATCH", where, {"Content-Range": f"0-{len(data) - 1}"}, data)\n'
)
NO_FINISH = SOLUTION.replace(_FINISH, "")
NO_RANGE = SOLUTION.replace("last + 1", "last").replace(", headers, rest", ", {}, rest")

SCENE = """

def _resume(where, path, digest):
    with open(path, "rb") as file:
        resume(where, file.read(), digest)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    data = (trial.secret() * 4000).encode()
    sent = trial.number("sent", 1000, 40_000)
    room = trial.directory("room", {"blob": data})
    digest = documents.digest_of(data)
    path = wire.half("/mnt/registry", "app", data[:sent])
    with wire.serve("/mnt/registry") as registry:
        result = trial.attempt("_resume", registry.url + path, f"{room}/blob", digest)
        received, log = registry.received(), registry.log()
        if not registry.has("app", digest):
            return _why(log, result.error, len(data), sent)
    if received > len(data) - sent:
        return not_yet(
            expected=f"{len(data) - sent} bytes more, as {sent} had arrived",
            observed=f"{received} bytes",
            where="what you send",
            hint="The first part is there already: send data from last + 1 on.",
        )
    return done(f"{received} bytes more, and the blob is whole", f"{received} bytes sent")


def _why(log: list[wire.Line], error: str, size: int, sent: int) -> Outcome:
    last = log[-1]
    refused = [line for line in log if line.status == 416]
    if refused and refused[0].received == 0:
        hint = f"416: it has bytes 0 to {sent - 1}, so the next one is number {sent}: last + 1."
    elif not any(line.method == "PUT" for line in log):
        hint = "All bytes are there; PUT with ?digest= says that this is the end."
    else:
        hint = "The whole is not the content that the digest says: is a byte there twice?"
    return not_yet(
        expected=f"the blob of {size} bytes in the registry",
        observed=error or f"{last.method} answered with {last.status}",
        where="`resume`",
        hint=hint,
    )


EXERCISE = Exercise(
    id="registry.resume",
    notebook="11_registry",
    title="Resume an upload",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "Range: 0-LAST names the last byte that is there, counted from 0.",
        "PATCH the bytes from last + 1 on, with Content-Range: FIRST-LAST of what you send.",
        "Then PUT `where` with `?digest=` and no body.",
    ),
    wrong=(
        Wrong(OFF_BY_ONE, "the next one is number"),
        Wrong(FROM_THE_START, "the next one is number"),
        Wrong(NO_FINISH, "says that this is the end"),
        Wrong(NO_RANGE, "is a byte there twice"),
    ),
)
