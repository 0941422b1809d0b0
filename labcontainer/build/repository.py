"""A git repository as a build context, by the program `git`: URL[#REF[:DIRECTORY]].

https://example.org/team/app.git#v1.2:docker
git://example.org/app    git@example.org:team/app    github.com/team/app
"""

from __future__ import annotations

import os
import re
import shutil

from labcontainer import errors
from labcontainer.build.tree import Tree
from labcontainer.record import Record

BEGINNINGS = ("git://", "git@", "ssh://", "github.com/")
_BY_HTTP = re.compile(r"https?://[^#]*\.git(#.*)?")
_PASSWORD = re.compile(r"(//[^/@:]*):[^/@]*@")
PATIENCE = 600  # seconds of one command
# Nobody is asked, no file of this machine is read, and no program of the repository runs.
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "git:http:https:ssh",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    "LC_ALL": "C",
}
_ALL = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
_SETTINGS = ("core.hooksPath=/dev/null", "http.lowSpeedLimit=1", "http.lowSpeedTime=60")


class Repository(Record):
    """Where it is, which of its commits is meant, and which directory of that."""

    url: str
    ref: str = "HEAD"
    folder: str = ""


def is_one(word: str) -> bool:
    """Whether the address of a context is a repository's."""
    return word.startswith(BEGINNINGS) or _BY_HTTP.fullmatch(word) is not None


def read(word: str) -> Repository:
    """The parts of an address.

    Raises:
        UsageError: a ref that git would take for an option.
    """
    url, _, rest = word.partition("#")
    ref, _, folder = rest.partition(":")
    if url.startswith("github.com/"):
        url = f"https://{url}"
    if ref.startswith("-") or url.startswith("-"):
        raise errors.UsageError(f"invalid refspec: {ref or url}")
    return Repository(url, ref or "HEAD", folder)


def clone(word: str, path: str) -> str:
    """Fetch the one commit into an empty directory; the directory of it that is meant.

    Raises:
        UnsupportedError: there is no `git` here.
        LabError: git failed, in its own last line; or there is no such directory.
    """
    wanted = read(word)
    _git(path, "init", "--quiet", "--template=")
    _git(path, "remote", "add", "origin", wanted.url)
    try:
        _git(path, "fetch", "--quiet", "--depth", "1", "origin", wanted.ref)
    except errors.LabError:  # a server that gives no single commit, or not by its id
        _git(path, "fetch", "--quiet", "origin", *(_ALL if _is_id(wanted.ref) else (wanted.ref,)))
    commit = wanted.ref if _is_id(wanted.ref) else "FETCH_HEAD"
    _git(path, "checkout", "--quiet", "--detach", commit)
    if os.path.lexists(f"{path}/.gitmodules"):
        _git(path, "submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1")
    shutil.rmtree(f"{path}/.git")  # no COPY takes it: the address in it may have a password
    inner = Tree((path,)).resolve(wanted.folder)
    if not os.path.isdir(f"{path}/{inner}"):
        raise errors.LabError(f"error setting git context, {wanted.folder!r} is not a directory")
    return f"{path}/{inner}".rstrip("/")


def _is_id(ref: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}([0-9a-f]{24})?", ref) is not None


def _git(path: str, *words: str) -> None:
    import subprocess

    settings = [word for one in _SETTINGS for word in ("-c", one)]
    try:
        done = subprocess.run(
            ["git", *settings, *words], cwd=path, env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        why = "the program git is not here"
        raise errors.UnsupportedError("a git repository", why, "install it") from None
    except subprocess.TimeoutExpired:
        raise errors.LabError(f"git {words[0]} took longer than {PATIENCE} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        told = next((line for line in said if line.startswith(("fatal:", "error:"))), said[-1])
        raise errors.LabError(f"git {words[0]} failed: {without_password(told)}")


def without_password(text: str) -> str:
    """A text with addresses in it, as it may be shown."""
    return _PASSWORD.sub(r"\1:********@", text)
