"""COPY, ADD and WORKDIR: the steps that write files without running anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property

from labcontainer import errors
from labcontainer.build import copying, sources, state
from labcontainer.build.digests import Digests
from labcontainer.build.dockerfile import Heredoc
from labcontainer.build.instructions import Copy, Instruction
from labcontainer.build.sources import Files, Member
from labcontainer.build.state import State
from labcontainer.build.tree import Tree, ids
from labcontainer.build.work import Work
from labcontainer.image import packing
from labcontainer.image.packing import Layer
from labcontainer.image.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from labcontainer.image import diff
    from labcontainer.image.diff import Writable

    class Around(Protocol):
        """What a step asks of the build around it."""

        store: Store
        newest: int | None

        def tree(self, state: State) -> Tree:
            """The files of a state; its layers are unpacked if they are not."""

        def files(self, one: Instruction, origin: str) -> tuple[Files, Digests]:
            """What a COPY takes from: the context, a stage, an image."""

        def origin_key(self, one: Instruction, origin: str) -> str:
            """The key of a stage or an image."""


def workdir(state_: State, one: Instruction, around: Around) -> Work:
    """WORKDIR: the directory is made if the image has not got it."""
    words = state.set_workdir(state_, one)
    path = state_.workdir

    def make() -> Layer | None:
        from labcontainer.build import adding, copylayer

        tree = around.tree(state_)
        missing = adding.directories(tree.resolve(path), tree)
        if not missing:
            return None
        found = copying.with_parents([Member(name, "", copying.made()) for name in missing], tree)
        target = copying.Target("", True)
        return store(around, lambda out: copylayer.pack(found, target, out, around.newest))

    return Work(words, make=make)


def store(around: Around, pack: Callable[[Writable], diff.Packed]) -> Layer:
    """Put a layer into the store."""
    return packing.store_layer(around.store, pack)


class Copying:
    """One COPY or ADD, its words expanded."""

    def __init__(self, state_: State, one: Copy, around: Around) -> None:
        self._state, self._one, self._around = state_, one, around
        self._target = state_.expand(one, one.target)
        self._chown = state_.expand(one, one.chown)
        self._mode = copying.mode_of(state_.expand(one, one.chmod))
        self._exclude = sources.excluding(tuple(state_.expand(one, x) for x in one.exclude))
        self._sources = [word if word in one.files else state_.expand(one, word)
                         for word in one.sources]  # fmt: skip
        for source in self._sources if one.add else ():
            sources.refuse_git(source)
        self._stack = ExitStack()  # directories for what was fetched
        self._fetched: dict[str, tuple[str, str]] = {}

    @cached_property
    def _origin(self) -> tuple[Files, Digests]:
        """Where the files are: asked for late, since an origin's layers may not be unpacked."""
        return self._around.files(self._one, self._one.origin)

    def work(self) -> Work:
        """The step."""
        one = self._one
        words = f"{one.line.keyword} {one.line.rest} # buildkit"
        facts = (self._target, self._state.workdir, self._chown, self._state.expand(one, one.chmod),
                 one.exclude, one.link, one.parents, one.unpack, one.checksum)  # fmt: skip
        if not one.origin:
            return Work(words, (*facts, self.content()), make=self.make)
        key = self._around.origin_key(one, one.origin)
        return Work(
            words, (*facts, *self._sources, key), lambda: (facts, self.content()), self.make
        )

    def _owner(self, tree: Tree | None) -> tuple[int, int] | None:
        """Root for what comes from the context; what comes from an image keeps its owners."""
        if self._chown:
            return ids(tree, self._chown) if tree is not None else (0, 0)
        return None if self._one.origin else (0, 0)

    # --- what it is -------------------------------------------------------------------------------

    def content(self) -> str:
        """The digest of all that is copied, wherever it goes."""
        target = copying.Target("", True, self._owner(None), self._mode)
        found = [member for source in self._sources for member in self._members(source, target)]
        return copying.digest(found, target, self._origin[1])

    def _members(self, source: str, target: copying.Target) -> Iterator[Member]:
        heredoc = self._one.files.get(source)
        if heredoc is not None:
            yield self._here(heredoc, target)
        elif self._one.add and sources.is_url(source):
            yield self._remote(source, target)
        else:
            yield from copying.members(
                self._origin[0], source, target, self._exclude, parents=self._one.parents
            )

    def _here(self, heredoc: Heredoc, target: copying.Target) -> Member:
        text = heredoc.content
        text = self._expanded(text) if heredoc.expand else text
        name = heredoc.name.rpartition("/")[2]
        path = f"{target.path}/{name}".lstrip("/") if target.directory else target.path
        return Member(path, "", copying.made(0o100644), text.encode(
            errors="surrogateescape"))  # fmt: skip

    def _expanded(self, text: str) -> str:
        """Variables in the text of a heredoc; quotes there are letters like others."""
        quoted = text.replace('"', '\\"') if self._state.escape == "\\" else text
        return self._state.expand(self._one, f'"{quoted}"')

    def _remote(self, url: str, target: copying.Target) -> Member:
        if not target.path and self._one.checksum:  # only the digest is asked for
            return Member(url, "", copying.made(0o100600), b"")
        if url not in self._fetched:
            from labcontainer.build import adding, scratch

            folder = self._stack.enter_context(scratch.folder(self._around.store))
            self._fetched[url] = adding.fetch(url, self._one.checksum, folder)
        name, place = self._fetched[url]
        if target.directory and not name:
            raise errors.UsageError(
                f"ADD {url}: cannot determine a file name; name the destination"
            )
        path = f"{target.path}/{name}".lstrip("/") if target.directory else target.path
        return Member(path, place, os.stat(place))

    # --- the layer --------------------------------------------------------------------------------

    def make(self) -> Layer:
        """Write it."""
        from labcontainer.build import copylayer

        tree = self._around.tree(self._state)
        target = copying.target_of(self._target, self._state.workdir,
                                   None if self._one.link else tree)  # fmt: skip
        target = target.replace(owner=self._owner(tree), mode=self._mode)
        if not target.directory and sum(map(self._count, self._sources)) > 1:
            raise errors.UsageError(
                f"When using {self._one.line.keyword} with more than one source file, the "
                "destination must be a directory and end with a /"
            )
        base = None if self._one.link else tree
        archives = [path for source in self._sources for path in self._archives(source)]
        found = [member for source in self._sources for member in self._members(source, target)
                 if member.real not in archives]  # fmt: skip
        if archives:  # unpacked below the target, which is a directory then
            found.insert(0, Member(target.path, "", copying.made()))
        found = copying.with_parents(found, base)
        newest = self._around.newest
        return store(self._around, lambda out: copylayer.pack(found, target, out, newest, archives))

    def _count(self, source: str) -> int:
        """How many files or directories a source names."""
        if source in self._one.files or (self._one.add and sources.is_url(source)):
            return 1
        return len(self._origin[0].named(source))

    def _archives(self, source: str) -> list[str]:
        """The files that a source of ADD names and that are to be unpacked."""
        one = self._one
        remote = sources.is_url(source)
        wanted = one.unpack if one.unpack is not None else not remote
        if not one.add or not wanted or source in one.files:
            return []
        from labcontainer.build import adding

        return [path for path in self._paths(source) if adding.is_archive(path)]

    def _paths(self, source: str) -> list[str]:
        """The regular files that a source of ADD names."""
        if sources.is_url(source):
            return [self._remote(source, copying.Target("x", True)).real]
        files = self._origin[0]
        found = (files.tree.find(files.tree.resolve(one))[0] for one in files.named(source))
        return [path for path in found if os.path.isfile(path)]

    def __enter__(self) -> Copying:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()
