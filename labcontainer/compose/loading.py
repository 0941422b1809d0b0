"""From files to a project.

    each file:  text ──parse──> document ──interpolate──> ──schema──> ──long forms──> tree
                tree ──include: other projects──> ──extends: other services──> tree
    all files:  tree + tree ──merge──> tree ──defaults, checks──> Project

Whatever a file says of paths is relative to its project's directory; an included project and the
file of an extended service have directories of their own. Source: Compose Specification, "Include",
"Extends", "Merge".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from labcontainer import errors
from labcontainer.compose import (
    canonical,
    document,
    environment,
    finishing,
    interpolation,
    merging,
    schema,
    sources,
)
from labcontainer.compose.document import Document
from labcontainer.compose.model import Project
from labcontainer.compose.scalars import Tree

KINDS = ("services", "networks", "volumes", "secrets", "configs")
Warn = Callable[[str], None]


def load(
    asked: sources.Asked, cwd: str, warn: Warn = lambda _text: None, names: tuple[str, ...] = ()
) -> Project:
    """The project that the caller is in, with the services of its profiles and those named.

    Raises:
        SpecError: a file is wrong, with file, line and key.
        NotFoundError, UsageError: there is no file; a name is off.
    """
    found = sources.find(asked, cwd)
    documents = [read(one, asked.text) for one in found.files]
    values = dict(found.values)
    name = sources.project_name(asked, found, _name_of(documents, values))
    values["COMPOSE_PROJECT_NAME"] = name
    loader = Loader(found.directory, values, warn)
    tree: Tree = {}
    for one in documents:
        tree = loader.add(tree, one)
    loader.tell()
    return finishing.project(
        tree, loader.documents, name=name, directory=found.directory, files=found.files,
        environment=values, env_files=found.env_files, profiles=found.profiles, names=names,
    )  # fmt: skip


def written(asked: sources.Asked, cwd: str, warn: Warn = lambda _text: None) -> Tree:
    """All files as one, their variables left as they are written.

    Raises:
        SpecError: a file is wrong, with file, line and key.
        NotFoundError: there is no file.
    """
    found = sources.find(asked, cwd)
    documents = [read(one, asked.text) for one in found.files]
    values = dict(found.values)
    name = sources.project_name(asked, found, _name_of(documents, values))
    loader = Loader(found.directory, values, warn, interpolate=False)
    tree: Tree = {}
    for one in documents:
        tree = loader.add(tree, one)
    return {**tree, "name": name}


def read(path: str, stdin: str = "") -> Document:
    """Parse one file.

    Raises:
        SpecError: it is no Compose file at all.
    """
    if path == "-":
        return document.parse(stdin or sys.stdin.read(), "-")
    try:
        with open(path, encoding="utf-8") as file:
            return document.parse(file.read(), path)
    except UnicodeDecodeError:
        raise errors.SpecError(path, "it is no UTF-8 text") from None
    except OSError as error:
        raise errors.SpecError(path, os.strerror(error.errno or 0)) from None


def _name_of(documents: list[Document], values: dict[str, str]) -> str:
    name = ""
    for one in documents:
        given = one.data.get("name")
        if isinstance(given, str):
            name = interpolation.substitute(given, values)
    return name


@dataclass
class Loader:
    """Reads the files of one directory. `documents` are kept for errors that are found later."""

    directory: str
    values: dict[str, str]
    warn: Warn
    including: tuple[str, ...] = ()
    documents: list[Document] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)
    interpolate: bool = True

    def tell(self) -> None:
        """Warn once of each variable that was not set."""
        for name in dict.fromkeys(self.unset):
            self.warn(f'The "{name}" variable is not set. Defaulting to a blank string.')

    def add(self, tree: Tree, found: Document) -> Tree:
        """The tree with one more file merged into it."""
        found, own = self.prepared(found)
        self.documents.append(found)
        own = self._with_included(own, found)
        own = self._with_extended(own, tree, found)
        return merging.merge(tree, own, found.resets, found.overrides)

    def prepared(self, found: Document) -> tuple[Document, Tree]:
        """A document interpolated, checked, and in its long form."""
        if self.interpolate:
            found = interpolation.interpolate(found, self.values, self.unset.append)
        schema.check(found)
        if "version" in found.data:
            self.warn(f"{found.name}: the attribute `version` is obsolete, it will be ignored")
        lenient = not self.interpolate
        return found, canonical.document(found, self.directory, lenient=lenient)

    # --- include ---

    def _with_included(self, tree: Tree, found: Document) -> Tree:
        for at, one in enumerate(tree.pop("include", ())):
            entry = {"path": one} if isinstance(one, str) else one
            path = ("include", at)
            other = self._included(entry, found, path)
            for kind in KINDS:
                for key, value in other.get(kind, {}).items():
                    known = tree.setdefault(kind, {})
                    if key in known and known[key] != value:
                        raise found.refuse(path, f"conflicts: {kind}.{key} is defined here too")
                    known[key] = value
        return tree

    def _included(self, entry: Tree, found: Document, path: document.Path) -> Tree:
        given = entry["path"]
        words = [given] if isinstance(given, str) else given
        files = [os.path.normpath(os.path.join(self.directory, word)) for word in words]
        folder = os.path.join(
            self.directory, entry.get("project_directory") or os.path.dirname(files[0])
        )
        for one in files:
            if one in self.including or one == found.name:
                raise found.refuse(path, f"include cycle detected: {one} includes itself")
        inner = Loader(
            os.path.normpath(folder), self._variables(entry, folder), self.warn,
            (*self.including, found.name, *files), self.documents, self.unset, self.interpolate,
        )  # fmt: skip
        tree: Tree = {}
        for one in files:
            tree = inner.add(tree, read(one))
        return tree

    def _variables(self, entry: Tree, folder: str) -> dict[str, str]:
        """The variables of an included project; ours count more than its own."""
        given = entry.get("env_file", ())
        files = [given] if isinstance(given, str) else list(given)
        files = [os.path.join(self.directory, one) for one in files]
        usual = os.path.join(folder, ".env")
        if not files and os.path.isfile(usual):
            files = [usual]
        values: dict[str, str] = {}
        for one in files:
            values |= environment.read(one, {**values, **self.values})
        return {**values, **self.values}

    # --- extends ---

    def _with_extended(self, tree: Tree, earlier: Tree, found: Document) -> Tree:
        services = tree.get("services", {})
        known = {**earlier.get("services", {}), **services}
        for name in services:
            services[name] = self._extended(name, known, found, ())
        return tree

    def _extended(self, name: str, known: Tree, found: Document, trail: tuple[str, ...]) -> Tree:
        """A service with what it extends."""
        service: Tree = dict(known[name])
        asked = service.pop("extends", None)
        if asked is None:
            return service
        path: document.Path = ("services", name, "extends")
        step = f"{found.name}:{name}"
        if step in trail:
            way = " -> ".join(one.rpartition(":")[2] for one in (*trail, step))
            raise found.refuse(path, f"circular reference: {way}")
        other, theirs, loader = found, known, self
        if "file" in asked and asked["file"] != found.name:
            loader = Loader(os.path.dirname(asked["file"]), self.values, self.warn,
                            (), self.documents, self.unset, self.interpolate)  # fmt: skip
            other, tree = loader.prepared(read(asked["file"]))
            theirs = tree.get("services", {})
        if asked["service"] not in theirs:
            where = os.path.basename(other.name)
            raise found.refuse(path, f"service {asked['service']!r} not found in {where}")
        base = loader._extended(asked["service"], theirs, other, (*trail, step))
        return merging.service(base, service, ("services", name), found.resets, found.overrides)
