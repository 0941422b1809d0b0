"""registry.push_blob: send a blob, unless it is there."""

from __future__ import annotations

from labcontainer.image import documents
from labcontainer.lab import wire
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import hashlib

from labcontainer.lab.wire import ask


def push_blob(url: str, repository: str, path: str) -> str:
    """Send a file as a blob, unless the registry has it; returns its digest."""
    with open(path, "rb") as file:
        data = file.read()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    ...
    return digest
'''

_LOOK = """\
    if ask("HEAD", f"{url}/v2/{repository}/blobs/{digest}").status == 200:
        return digest
"""
_SEND = """\
    where = ask("POST", f"{url}/v2/{repository}/blobs/uploads/").location
    ask("PUT", f"{where}?digest={digest}", body=data)
"""
SOLUTION = HOLE.replace("    ...\n", _LOOK + _SEND)

SENDS_ALL = SOLUTION.replace(_LOOK, "")
NO_DIGEST = SOLUTION.replace("?digest={digest}", "")
UPSIDE_DOWN = SOLUTION.replace("== 200", "== 404")
NO_PUT = SOLUTION.replace('    ask("PUT", f"{where}?digest={digest}", body=data)\n', "")


def check(trial: Trial) -> Outcome:
    sizes = [trial.number(f"size{number}", 2000, 9000) for number in range(4)]
    blobs = [trial.secret().encode() * (size // 16) for size in sizes]
    files = {f"blob{number}": data for number, data in enumerate(blobs)}
    folder = trial.directory("blobs", dict(files))
    there = {1, 3}
    for number in there:
        wire.keep("/mnt/registry", "app", blobs[number])
    least = sum(len(data) for number, data in enumerate(blobs) if number not in there)
    with wire.serve("/mnt/registry") as registry:
        for number, data in enumerate(blobs):
            before = registry.received()
            trial.call("push_blob", registry.url, "app", f"{folder}/blob{number}")
            digest = documents.digest_of(data)
            if not registry.has("app", digest):
                return _missing(registry)
            if number in there and registry.received() > before:
                return _sent_again(registry.received() - before)
        received = registry.received()
    if received > least:
        return not_yet(
            expected=f"{least} bytes on the wire",
            observed=f"{received} bytes",
            where="`push_blob`",
            hint="Each missing blob needs to be sent once.",
        )
    return done("four blobs are there, and two of them were never sent", f"{received} bytes sent")


def _missing(registry: wire.Serving) -> Outcome:
    """Why a blob did not arrive, from what was asked."""
    log = registry.log()
    puts = [line for line in log if line.method == "PUT"]
    if not any(line.method == "POST" for line in log):
        hint = "The answer 404 says that it is not there: that is when it must be sent."
    elif not puts:
        hint = "POST only opens an upload. Its Location says where to PUT the bytes."
    elif "digest=" not in puts[-1].path:
        hint = "The last request says which digest the whole blob has: ?digest=sha256:…"
    else:
        hint = "Look at the status of your last request; its body says what is wrong."
    last = log[-1] if log else None
    return not_yet(
        expected="the blob in the registry's storage",
        observed=f"{last.method} answered with {last.status}" if last else "no request",
        where="`push_blob`",
        hint=hint,
    )


def _sent_again(count: int) -> Outcome:
    return not_yet(
        expected="0 bytes for a blob that the registry has",
        observed=f"{count} bytes",
        where="before the POST",
        hint="Ask first: HEAD of the blob's own address answers 200 or 404, without a body.",
    )


EXERCISE = Exercise(
    id="registry.push_blob",
    notebook="11_registry",
    title="Send only what is missing",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "Three requests: is it there? Where may I send it? Here it is, and its digest.",
        "HEAD /v2/<repository>/blobs/<digest>, then POST /v2/<repository>/blobs/uploads/.",
        '`where = ask("POST", …).location`, then PUT to `where` with `?digest=` and the body.',
    ),
    wrong=(
        Wrong(SENDS_ALL, "Ask first: HEAD"),
        Wrong(NO_DIGEST, "which digest the whole blob has"),
        Wrong(UPSIDE_DOWN, "that is when it must be sent"),
        Wrong(NO_PUT, "POST only opens an upload"),
    ),
)
