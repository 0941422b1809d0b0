"""Which files a program needs to start: its loader, its libraries and theirs, its interpreter.

The search is the loader's own (ld.so(8)): DT_RPATH of the object and of those that loaded it,
DT_RUNPATH of the object, the cache, the default directories. A candidate for another machine or
word size is passed over, as the loader does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from labcontainer import errors
from labcontainer.image import elf

# Where a program named without a slash is looked for: what a container's PATH has.
PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

_MULTIARCH = {
    (62, 64): "x86_64-linux-gnu",
    (183, 64): "aarch64-linux-gnu",
    (3, 32): "i386-linux-gnu",
    (40, 32): "arm-linux-gnueabihf",
    (243, 64): "riscv64-linux-gnu",
}


@dataclass(frozen=True)
class Need:
    """One file that something needs. `why` is a half sentence for the notebook and the plan."""

    path: str
    why: str


def find_program(name: str) -> str:
    """The path of a program, found as a container's shell would find it.

    Raises:
        NotFoundError: it is in none of the directories, or the path leads nowhere.
    """
    if "/" in name:
        path = os.path.abspath(name)
        if not os.path.isfile(path):
            what = "is a directory" if os.path.isdir(path) else "does not exist"
            raise errors.NotFoundError(f"program {name} {what}")
        return path
    for directory in PATH:
        path = f"{directory}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise errors.NotFoundError(f"program {name} does not exist in {':'.join(PATH)}")


def script_interpreter(path: str) -> list[str]:
    """The words after `#!` of a script; [] when the file has none: execve(2)."""
    with open(path, "rb") as file:
        first = file.read(256).split(b"\n")[0]
    if not first.startswith(b"#!"):
        return []
    return first[2:].decode(errors="surrogateescape").split(None, 1)


class Closure:
    """Finds what programs need; remembers what it has read, for many programs have one libc."""

    def __init__(self, cache: dict[str, list[str]] | None = None) -> None:
        self._cache = elf.read_cache() if cache is None else cache
        self._read: dict[str, elf.Elf | None] = {}
        self.libraries: dict[str, elf.Elf] = {}

    def read(self, path: str) -> elf.Elf | None:
        """What `elf.read` says of a file, read once."""
        real = os.path.realpath(path)
        if real not in self._read:
            self._read[real] = elf.read(real)
        return self._read[real]

    def of(self, path: str, depth: int = 4) -> Iterator[Need]:
        """All that the program or script at `path` needs beside itself, in the order found.

        Raises:
            NotFoundError: a library or an interpreter is not on this machine.
            LabError: a torn ELF file, or a file that the kernel could not start.
        """
        program = self.read(path)
        if program is not None:
            loader = program.interpreter
            if loader and not (loader.startswith("/") and os.path.exists(loader)):
                raise errors.NotFoundError(f"loader {loader!r} of {path} does not exist")
            if loader:
                yield Need(loader, f"loader of {path} (PT_INTERP)")
            yield from self.libraries_of(path)
            return
        words = script_interpreter(path)
        if not words:
            if os.access(path, os.X_OK):
                raise errors.LabError(f"{path}: neither an ELF file nor a script with #!")
            return
        if depth == 0:
            raise errors.LabError(f"{path}: scripts that interpret scripts, more than 4 deep")
        for interpreter in _interpreters(path, words):
            yield Need(interpreter, f"interpreter of {path} (#!)")
            yield from self.of(interpreter, depth - 1)

    def libraries_of(self, path: str) -> Iterator[Need]:
        """The shared libraries of one object and, breadth first, theirs: ld.so's own order."""
        first = self.read(path)
        if first is None:
            return
        loaded: set[str] = set()
        queue: list[tuple[tuple[str, elf.Elf], ...]] = [((path, first),)]
        while queue:
            chain = queue.pop(0)
            by, loader = chain[-1]
            for name in loader.needed:
                if name in loaded:
                    continue
                found, how = self._search(name, chain)
                library = self.read(found)
                assert library is not None
                loaded |= {name, library.soname or name}
                self.libraries[found] = library
                yield Need(found, f"needed by {by} (DT_NEEDED {name}, {how})")
                queue.append((*chain, (found, library)))

    def _search(self, name: str, chain: tuple[tuple[str, elf.Elf], ...]) -> tuple[str, str]:
        """The path of a library and where it was found."""
        tried = []
        for candidate, how in self._candidates(name, chain):
            if self._fits(candidate, chain[-1][1]):
                return candidate, how
            tried.append(os.path.dirname(candidate))
        raise errors.NotFoundError(
            f"library {name}, which {chain[-1][0]} needs, "
            f"does not exist in {':'.join(dict.fromkeys(tried))}"
        )

    def _candidates(
        self, name: str, chain: tuple[tuple[str, elf.Elf], ...]
    ) -> Iterator[tuple[str, str]]:
        """Where the loader would look for a library, in its order: ld.so(8)."""
        if "/" in name:
            yield name, "by its path"
            return
        by, loader = chain[-1]
        if loader.runpath:
            places = [(by, loader.runpath, "RUNPATH")]
        else:
            places = [(path, one.rpath, "RPATH") for path, one in chain[::-1] if not one.runpath]
        for path, directories, how in places:
            for directory in directories:
                for expanded in _expand(directory, path, loader):
                    yield f"{expanded}/{name}", how
        for path in self._cache.get(name, ()):
            yield path, "ld.so.cache"
        for directory in default_directories(loader):
            yield f"{directory}/{name}", "default directory"

    def _fits(self, candidate: str, wanted: elf.Elf) -> bool:
        try:
            found = self.read(candidate)
        except OSError:
            return False
        return found is not None and found.fits(wanted)


def _interpreters(script: str, words: list[str]) -> list[str]:
    """The interpreter of a script, and with `env` also the program that env will start."""
    if not words[0].startswith("/"):
        raise errors.LabError(f"{script}: #! names {words[0]!r}, which is no absolute path")
    found = [find_program(words[0])]
    if os.path.basename(words[0]) == "env" and len(words) > 1:
        rest = [w for w in words[1].split() if not w.startswith("-") and "=" not in w]
        found += [find_program(rest[0])] if rest else []
    return found


def default_directories(wanted: elf.Elf) -> tuple[str, ...]:
    """The directories that a loader searches last; Debian's glibc has the multiarch ones first."""
    triplet = _MULTIARCH.get((wanted.machine, wanted.bits))
    multiarch = (f"/lib/{triplet}", f"/usr/lib/{triplet}") if triplet else ()
    wide = ("/lib64", "/usr/lib64") if wanted.bits == 64 else ()
    return (*multiarch, *wide, "/lib", "/usr/lib", "/usr/local/lib")


def _expand(directory: str, by: str, wanted: elf.Elf) -> Iterator[str]:
    """A search directory with $ORIGIN, $LIB and $PLATFORM replaced (ld.so(8), "rpath token")."""
    origin = os.path.dirname(os.path.realpath(by))
    triplet = _MULTIARCH.get((wanted.machine, wanted.bits), "")
    platform = triplet.partition("-")[0]
    directory = _replace(_replace(directory, "ORIGIN", origin), "PLATFORM", platform)
    if "LIB}" not in directory and "$LIB" not in directory:
        yield directory
        return
    for lib in (f"lib/{triplet}", "lib64" if wanted.bits == 64 else "lib32", "lib"):
        yield _replace(directory, "LIB", lib)


def _replace(text: str, token: str, value: str) -> str:
    return text.replace("${" + token + "}", value).replace("$" + token, value)
