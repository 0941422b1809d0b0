"""Names of images: `busybox`, `localhost:5000/team/app:1.2`, `debian@sha256:…`.

The grammar and the defaults are those of Docker (github.com/distribution/reference): a first part
with a dot, a colon or the name `localhost` is a registry; else it is Docker Hub, where a name
without a slash is in `library/`.
"""

from __future__ import annotations

import re

from labcontainer import errors
from labcontainer.record import Record

HUB = "docker.io"
OFFICIAL = "library/"
DEFAULT_TAG = "latest"
LONGEST_NAME = 255

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")
_IDENTITY = re.compile(r"[0-9a-f]{64}")


class Reference(Record):
    """A name in its parts; `tag` and `digest` are "" where not given."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository: `docker.io/library/busybox`."""
        return f"{self.registry}/{self.repository}"

    @property
    def canonical(self) -> str:
        """All of it: `docker.io/library/busybox:latest`, `…@sha256:…`."""
        return f"{self.name}{self._end}"

    @property
    def familiar_name(self) -> str:
        """The name as Docker prints it: `busybox`, `team/app`, `localhost:5000/app`."""
        if self.registry != HUB:
            return self.name
        return self.repository.removeprefix(OFFICIAL)

    @property
    def familiar(self) -> str:
        """The short form with tag or digest: `busybox:latest`."""
        return f"{self.familiar_name}{self._end}"

    @property
    def _end(self) -> str:
        digest = f"@{self.digest}" if self.digest else ""
        return (f":{self.tag}" if self.tag else "") + digest

    def with_tag(self, tag: str) -> Reference:
        """The same repository, by a tag."""
        return self.replace(tag=check_tag(tag), digest="")

    def with_digest(self, digest: str) -> Reference:
        """The same repository, by a digest."""
        return self.replace(tag="", digest=digest)

    def __str__(self) -> str:
        return self.familiar


def check_tag(tag: str) -> str:
    """The tag itself, when it is one: letters, digits, `_`, `.`, `-`, at most 128.

    Raises:
        UsageError: it is none.
    """
    if not _TAG.fullmatch(tag):
        raise errors.UsageError(f"invalid tag {tag!r}: letters, digits, '_', '.' and '-'")
    return tag


def parse(text: str, *, default_tag: str = DEFAULT_TAG) -> Reference:
    """The reference that a word means; without tag and digest it gets `default_tag`.

    Raises:
        UsageError: it can't be the name of an image.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _bad(text, "the digest is sha256: and 64 hexadecimal digits")
    name, tag = _split_tag(rest)
    registry, repository = _split_registry(name)
    if _IDENTITY.fullmatch(name):
        raise _bad(text, "cannot specify 64-byte hexadecimal strings")
    if not _REGISTRY.fullmatch(registry):
        raise _bad(text, f"{registry!r} is no host")
    if not _PATH.fullmatch(repository):
        if repository.lower() != repository:
            raise _bad(text, "repository name must be lowercase")
        raise _bad(text)
    if len(f"{registry}/{repository}") > LONGEST_NAME:
        raise _bad(text, f"the name is longer than {LONGEST_NAME} letters")
    if tag and not _TAG.fullmatch(tag):
        raise _bad(text, f"{tag!r} is no tag")
    return Reference(registry, repository, tag or ("" if digest else default_tag), digest)


def _bad(text: str, why: str = "") -> errors.UsageError:
    return errors.UsageError(f"invalid reference format: {text!r}" + (f": {why}" if why else ""))


def _split_tag(rest: str) -> tuple[str, str]:
    """A colon after the last slash begins the tag; one before it is a port's."""
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return rest, ""
    if not tag:
        raise _bad(rest, "a tag is missing")
    return head, tag


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"
                         or first.lower() != first):  # fmt: skip
        registry, repository = HUB, name
    else:
        registry, repository = first, rest
    if registry in ("index.docker.io", HUB):
        registry = HUB
        if "/" not in repository:
            repository = OFFICIAL + repository
    return registry, repository
