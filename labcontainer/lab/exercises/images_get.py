"""images.get: read a blob, and refuse one that is not what its name says."""

from __future__ import annotations

import errno
import hashlib

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import hashlib


def get(store: str, digest: str) -> bytes:
    """The content of a blob. ValueError if it is not what its digest says."""
    algorithm, _, digits = digest.partition(":")
    ...
'''

_READ = """\
    if algorithm != "sha256" or len(digits) != 64 or not digits.isalnum():
        raise ValueError(f"{digest}: no digest")
    with open(f"{store}/blobs/sha256/{digits}", "rb") as file:
        data = file.read()
"""
_VERIFY = """\
    if hashlib.sha256(data).hexdigest() != digits:
        raise ValueError(f"{digest}: its content is another")
"""
SOLUTION = HOLE.replace("    ...\n", _READ + _VERIFY + "    return data\n")

TRUSTS = SOLUTION.replace(_VERIFY, "")
ANY_PATH = SOLUTION.replace(_READ[: _READ.index("    with")], "")
EMPTY = SOLUTION.replace('raise ValueError(f"{digest}: its content is another")', 'return b""')
ALWAYS = SOLUTION.replace("!= digits", "!= digest")

SCENE = """

def _get(store, digest):
    try:
        return get(store, digest).decode()
    except ValueError:
        return ["refused"]
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    text, secret = trial.token("content"), trial.secret()
    digits = hashlib.sha256(text.encode()).hexdigest()
    store = trial.directory("store", {f"blobs/sha256/{digits}": text})
    trial.directory("outside", {"secret": secret})
    whole = trial.call("_get", store, f"sha256:{digits}")
    if whole != text:
        return not_yet(
            expected="the content of a blob that is right",
            observed="it is refused" if whole == ["refused"] else repr(whole)[:40],
            where="the comparison",
            hint="The name in the folder is the digits alone, without `sha256:`.",
        )
    with open(f"{store}/blobs/sha256/{digits}", "r+") as file:
        file.write("#")  # one byte, the size stays
    found = trial.call("_get", store, f"sha256:{digits}")
    if found != ["refused"]:
        return not_yet(
            expected="ValueError, as one byte of the blob was changed",
            observed=repr(found)[:40],
            where="after reading",
            hint="Compute the digest of what you have read: is it the one that was asked for?"
            if found
            else "An empty answer looks like an empty file. Raise ValueError.",
        )
    return _elsewhere(trial, store, secret)


def _elsewhere(trial: Trial, store: str, secret: str) -> Outcome:
    """A digest comes out of a document that a stranger wrote."""
    for digits in ("../../../outside/secret", "..", "0" * 63 + "/"):
        found = trial.attempt("_get", store, f"sha256:{digits}")
        if found.value != ["refused"]:
            return not_yet(
                expected=f"ValueError for sha256:{digits}",
                observed=found.error or f"a file was read: {secret in str(found.value)}",
                where="before the file is opened",
                hint="A digest has 64 digits, 0 to f. Anything else may be a path to elsewhere.",
            )
    return done("one changed byte is noticed, and no digest leads out of the store")


EXERCISE = Exercise(
    id="images.get",
    notebook="10_images",
    title="Reject a tampered blob",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    errors=((errno.ENOENT, "The path is store/blobs/sha256/<digits>."),),
    hints=(
        "First look at `digits`, then open the file, then compute the digest of what you read.",
        "64 characters, all of them from 0123456789abcdef; else `raise ValueError(...)`.",
        "`if hashlib.sha256(data).hexdigest() != digits: raise ValueError(digest)`.",
    ),
    wrong=(
        Wrong(TRUSTS, "Compute the digest of what you have read"),
        Wrong(ANY_PATH, "may be a path to elsewhere"),
        Wrong(EMPTY, "looks like an empty file"),
        Wrong(ALWAYS, "without `sha256:`"),
    ),
)
