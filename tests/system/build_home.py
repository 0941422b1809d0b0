"""Builds in the tests: a context from a table of files, the image looked at by its own parts."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

from labcontainer.build.tree import Tree
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Image, Store
from tests.system.lab_home import LabHome

Files = dict[str, str | bytes | None]


class BuildHome:
    """`labcontainer build` for one user, in a context of its own."""

    def __init__(self, lab: LabHome, context: Path) -> None:
        self.lab = lab
        self.context = context
        self.store = Store(f"{lab.home}/images")

    def write(self, files: Files) -> None:
        """Put files into the context: text, bytes, `-> target` for a link, None for a directory."""
        for name, data in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if data is None:
                path.mkdir(exist_ok=True)
            elif isinstance(data, str) and data.startswith("-> "):
                path.symlink_to(data[3:])
            else:
                path.write_bytes(data.encode() if isinstance(data, str) else data)
        for folder, _, names in os.walk(self.context):
            os.chmod(folder, 0o755)
            for name in names:
                if not os.path.islink(f"{folder}/{name}"):
                    os.chmod(f"{folder}/{name}", os.stat(f"{folder}/{name}").st_mode | 0o444)

    def call(
        self, dockerfile: str, *flags: str, files: Files | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Build to the end, whatever it is."""
        self.write({"Dockerfile": dockerfile, **(files or {})})
        return self.lab.call("build", *flags, str(self.context), **options)

    def build(self, dockerfile: str, *flags: str, files: Files | None = None) -> Image:
        """The image of a build that must go well."""
        done = self.call(dockerfile, *flags, files=files)
        assert done.returncode == 0, done.stderr
        self.said = done.stderr
        return self.store.image(done.stdout.split()[-1])

    def fails(self, dockerfile: str, *flags: str, files: Files | None = None) -> str:
        """The last line of a build that must not."""
        done = self.call(dockerfile, *flags, files=files)
        assert (done.returncode, done.stdout) == (1, "")
        last = done.stderr.splitlines()[-1]
        assert last.startswith("labcontainer: ")
        assert "Traceback" not in done.stderr
        return last.removeprefix("labcontainer: ")

    def tree(self, image: Image) -> Tree:
        """The image's files."""
        with self.store.lease():
            return Tree(Snapshots(self.store).unpack(image))

    def read(self, image: Image, path: str) -> str:
        """The text of one file of the image."""
        tree = self.tree(image)
        assert tree.find(tree.resolve(path)), f"{path} is not there"
        return tree.read(path)

    def listing(self, image: Image) -> list[str]:
        """`mode uid:gid path` of all files; links with their target."""
        return listing(self.tree(image))


def listing(tree: Tree, path: str = "") -> list[str]:
    """A line for each file below a path."""
    found = []
    for name in tree.listdir(path):
        inner = f"{path}/{name}" if path else name
        about = tree.lstat(inner)
        assert about is not None
        line = f"{stat.S_IMODE(about.st_mode):o} {about.st_uid}:{about.st_gid} {inner}"
        if stat.S_ISLNK(about.st_mode):
            line = f"link {inner} -> {os.readlink(tree.find(inner)[0])}"
        found.append(line + "/" * stat.S_ISDIR(about.st_mode))
        if stat.S_ISDIR(about.st_mode):
            found += listing(tree, inner)
    return found
