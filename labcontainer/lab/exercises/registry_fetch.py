"""registry.fetch: take a blob from a registry that may lie."""

from __future__ import annotations

import errno
import os

from labcontainer.image import blobs
from labcontainer.lab import wire
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import hashlib

from labcontainer.lab.wire import ask


def fetch(url: str, repository: str, digest: str, target: str) -> None:
    """Get a blob into `target`. ValueError, and no file, if it is not what was asked for."""
    answer = ask("GET", f"{url}/v2/{repository}/blobs/{digest}")
    ...
'''

_VERIFY = """\
    if "sha256:" + hashlib.sha256(answer.body).hexdigest() != digest:
        raise ValueError(f"{digest}: another content")
"""
_WRITE = """\
    with open(target, "wb") as file:
        file.write(answer.body)
"""
SOLUTION = HOLE.replace("    ...\n", _VERIFY + _WRITE)

TRUSTS = SOLUTION.replace(_VERIFY, "")
TOO_LATE = SOLUTION.replace(_VERIFY + _WRITE, _WRITE + _VERIFY)
ONLY_STATUS = SOLUTION.replace(
    _VERIFY, "    if answer.status != 200:\n        raise ValueError(answer.status)\n"
)
HEADER = SOLUTION.replace(
    '"sha256:" + hashlib.sha256(answer.body).hexdigest()',
    'answer.headers.get("docker-content-digest")',
)


def check(trial: Trial) -> Outcome:
    data = trial.secret().encode() * 100
    digest = wire.keep("/mnt/registry", "app", data)
    room = trial.directory("room")
    with wire.serve("/mnt/registry") as registry:
        trial.call("fetch", registry.url, "app", digest, f"{room}/whole")
        if not os.path.exists(f"{room}/whole"):
            return not_yet(expected="the blob in `target`", observed="no file", where="`fetch`")
        with open(f"{room}/whole", "rb") as file:
            if file.read() != data:
                return not_yet(expected="the blob's content in `target`", observed="another")
        stored = blobs.Blobs("/mnt/registry").path(digest)
        os.chmod(stored, 0o644)
        with open(stored, "r+b") as file:  # a registry that lies: the same length, another content
            file.write(b"mallory")
        return _lie(trial, registry, digest, f"{room}/lie") or _absent(trial, registry, room)


def _lie(trial: Trial, registry: wire.Serving, digest: str, target: str) -> Outcome | None:
    result = trial.attempt("fetch", registry.url, "app", digest, target)
    if os.path.exists(target):
        return not_yet(
            expected="no file, as the registry sent something else",
            observed="a file with what the registry sent",
            where="the order of your lines" if result.error else "`fetch`",
            hint="You notice it, but after it was written: somebody may use it already."
            if result.error
            else "200 and a header of the registry's prove nothing. Compute the digest yourself.",
        )
    if "ValueError" not in result.error:
        return not_yet(expected="ValueError", observed=result.error or "no error", where="`fetch`")
    return None


def _absent(trial: Trial, registry: wire.Serving, room: str) -> Outcome:
    """Nothing of an error's body may become a file."""
    result = trial.attempt("fetch", registry.url, "app", "sha256:" + "0" * 64, f"{room}/none")
    if result.error and not os.path.exists(f"{room}/none"):
        return done("a blob that is right is kept, a lie is refused before it is written")
    return not_yet(
        expected="an error for a blob that is not there",
        observed="a file" if os.path.exists(f"{room}/none") else "no error",
        where="`fetch`",
        hint="The body of a 404 is the registry's words about it. Its digest is another, too.",
    )


EXERCISE = Exercise(
    id="registry.fetch",
    notebook="11_registry",
    title="A registry that lies",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    errors=((errno.ENOENT, "`target` is the whole path of the new file."),),
    hints=(
        "The digest was in a manifest that you trust. What came must have it.",
        "Compute the digest of `answer.body`, compare, and only then write.",
        '`if "sha256:" + hashlib.sha256(answer.body).hexdigest() != digest: raise ValueError`.',
    ),
    wrong=(
        Wrong(TRUSTS, "Compute the digest yourself"),
        Wrong(TOO_LATE, "after it was written"),
        Wrong(ONLY_STATUS, "prove nothing"),
        Wrong(HEADER, "prove nothing"),
    ),
)
