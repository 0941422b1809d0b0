"""Where COPY and ADD take files from: the build context, a stage, an image, a heredoc, a URL."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from labcontainer import errors
from labcontainer.build.ignore import Ignore, expression
from labcontainer.build.tree import Tree
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.build.ignore import Pattern

GIT = ("git@", "git://", "ssh://")
_MAGIC = re.compile(r"[*?\[\\]")


class Member(Record):
    """One file on its way into a layer: its path there, and where it is now.

    `data` is the content of one that is no file of the disk yet. `keeps`: a directory of the image
    itself, which keeps owner and mode whatever the instruction says.
    """

    path: str
    real: str
    about: os.stat_result
    data: bytes | None = None
    keeps: bool = False


class Files:
    """A tree to copy from, without what `.dockerignore` leaves out."""

    def __init__(self, tree: Tree, ignore: Ignore | None = None, what: str = "build context"):
        self.tree = tree
        self.ignore = ignore or Ignore()
        self.what = what

    def named(self, pattern: str) -> list[str]:
        """The paths that a source means, with its wildcards (Go's filepath.Match).

        Directories on the way are resolved; the last part may be a link, and names the copy.

        Raises:
            NotFoundError: there is nothing of that name.
        """
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if not any(_MAGIC.search(part) for part in parts):
            return [self._plain(pattern, "/".join(parts))]
        found = [""]
        for part in parts:
            found = [inner for one in found for inner in self._step(self.tree.resolve(one), part)]
        found = [path for path in found if not self.leaves_out(path)]
        if not found:
            raise errors.NotFoundError(f"no source files were specified: {pattern} matches nothing")
        return found

    def _plain(self, pattern: str, path: str) -> str:
        real = self.tree.resolve(path)
        path = self.tree.resolve(path, follow=False)
        if self.tree.lstat(real) is None or self.leaves_out(path) or self.leaves_out(real):
            where = f"in {self.what}"
            if self.ignore.patterns:
                where += " or excluded by .dockerignore"
            raise errors.NotFoundError(
                f"file not found {where}: stat {pattern}: file does not exist"
            )
        return path

    def _step(self, directory: str, part: str) -> list[str]:
        """The paths of a directory that one part of a pattern means, if they lead to something."""
        if part == "..":
            return [directory.rpartition("/")[0]]
        if not self.tree.is_directory(directory):
            return []
        names = [part]
        if _MAGIC.search(part):
            try:
                match = re.compile(expression(part.replace("**", "*")), re.DOTALL)
            except re.error as error:
                raise errors.UsageError(f"syntax error in pattern {part!r}: {error}") from None
            names = [name for name in self.tree.listdir(directory) if match.fullmatch(name)]
        paths = [f"{directory}/{name}" if directory else name for name in names]
        return [path for path in paths if self.tree.lstat(self.tree.resolve(path)) is not None]

    def leaves_out(self, path: str) -> bool:
        """Whether a path is left out, and nothing below it is taken back in."""
        if not path or not self.ignore.excludes(path):
            return False
        return not (self.tree.is_directory(path) and self.ignore.may_hold_exceptions(path))

    def below(self, top: str, exclude: Ignore) -> Iterator[tuple[str, str, os.stat_result]]:
        """All that is in a directory: (path relative to `top`, real path, lstat), parents first."""
        todo = [("", name) for name in reversed(self.tree.listdir(top))]
        while todo:
            folder, name = todo.pop()
            inner = f"{folder}/{name}" if folder else name
            path = f"{top}/{inner}" if top else inner
            if self.leaves_out(path) or _left_out(exclude, inner):
                continue
            real = self.tree.find(path)[0]
            about = os.lstat(real)
            ignored = self.ignore.excludes(path) or exclude.excludes(inner)
            if stat.S_ISDIR(about.st_mode):
                todo += [(inner, one) for one in reversed(self.tree.listdir(path))]
                if ignored:  # it comes along only if something in it does
                    continue
            if not ignored and not stat.S_ISSOCK(about.st_mode):
                yield inner, real, about


def _left_out(exclude: Ignore, path: str) -> bool:
    return exclude.excludes(path) and not exclude.may_hold_exceptions(path)


def excluding(patterns: tuple[str, ...]) -> Ignore:
    """The `--exclude` flags of a COPY.

    Raises:
        UsageError: one is malformed.
    """
    from labcontainer.build import ignore

    found: list[Pattern] = []
    for one in patterns:
        cleaned = ignore.clean(one)
        if cleaned is not None:
            found.append(ignore.pattern(cleaned))
    return Ignore(tuple(found))


def is_url(source: str) -> bool:
    """Whether ADD fetches it instead of looking into the context."""
    return source.startswith(("http://", "https://"))


def refuse_git(source: str) -> None:
    """Repositories are not added.

    Raises:
        UnsupportedError: it is one.
    """
    if source.startswith(GIT) or (is_url(source) and source.partition("#")[0].endswith(".git")):
        why = "a git repository as a source"
        raise errors.UnsupportedError(f"ADD {source}", why, "clone it in a RUN, or pass its files")
