"""Base root file systems without any network, made from the host's own programs.

Two recipes stand by: `busybox` (one binary, a link for each of its commands) and `host` (the shell
and the everyday commands of this machine). Any other is a list of programs: each is copied with the
closure of its libraries and its loader. Nothing of the host's is changed or linked into: a
container that writes to its root must never write to the host's files.

    recipe = hostbase.Recipe("mine", programs=("/bin/ls",))
    for entry in hostbase.plan(recipe):
        print(entry)
    hostbase.build(recipe, "/tmp/mine")
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from labcontainer import errors
from labcontainer.image import closure, elf, entries
from labcontainer.image.entries import Entry

# The everyday commands; those that a machine lacks are left out.
_EVERYDAY = """
sh bash ls cat cp mv rm ln mkdir rmdir touch chmod chown head tail wc sort uniq cut tr tee dd df du
stat date sleep true false echo printf env id whoami uname hostname nproc seq yes test expr dirname
basename readlink realpath mktemp mknod mkfifo sync timeout sha256sum md5sum od tty stty nice nohup
kill grep sed awk find xargs tar gzip more less ps top free mount umount findmnt lsns nsenter
unshare setpriv ip ping nc capsh vi
"""
EVERYDAY = tuple(_EVERYDAY.split())
_DIRECTORIES = {
    "/dev": 0o755,
    "/etc": 0o755,
    "/home": 0o755,
    "/proc": 0o555,
    "/root": 0o700,
    "/run": 0o755,
    "/sys": 0o555,
    "/tmp": 0o1777,
    "/usr": 0o755,
    "/usr/bin": 0o755,
    "/var": 0o755,
    "/var/tmp": 0o1777,
}
# Libraries that glibc opens by name while it runs, so no DT_NEEDED tells of them.
_OPENED_BY_GLIBC = ("libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1")
_TERMINALS = (
    *("ansi", "dumb", "linux", "vt100", "vt220", "xterm", "xterm-color", "xterm-256color"),
    *("screen", "screen-256color", "tmux", "tmux-256color"),
)
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True)
class Recipe:
    """What goes into a base root file system.

    `programs` must all be there; of `wanted` those are taken that this machine has.
    """

    name: str
    programs: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    busybox: str = ""
    python: bool = False
    terminfo: bool = False
    certificates: bool = False


@dataclass(frozen=True)
class Report:
    """What a build has made."""

    path: str
    files: int
    size: int  # bytes, as the files' lengths say
    missing: tuple[str, ...] = ()


def recipe(
    name: str,
    programs: tuple[str, ...] = (),
    *,
    python: bool = False,
    terminfo: bool = False,
    certificates: bool = False,
) -> Recipe:
    """The recipe that a name stands for: `busybox`, else the programs, else the everyday ones."""
    everyday = name == "host" or (name != "busybox" and not programs)
    return Recipe(
        name,
        programs,
        wanted=EVERYDAY if everyday else (),
        busybox="busybox" if name == "busybox" else "",
        python=python,
        terminfo=terminfo or everyday,
        certificates=certificates,
    )


def plan(recipe: Recipe) -> tuple[Entry, ...]:
    """Every entry of the root file system, parents first. Reads the host, changes nothing.

    Raises:
        NotFoundError: a program, library or loader is not on this machine.
        LabError: a torn ELF file.
    """
    return Planner(recipe).entries()


def build(recipe: Recipe, target: str, *, replace: bool = False) -> Report:
    """Make the root file system at `target`, whole or not at all.

    Raises:
        NotFoundError, LabError: as `plan`.
        ExistsError: `target` is there already and `replace` is not set.
        OSError: the disk is full, a file can't be read, …; nothing is left.
    """
    planner = Planner(recipe)
    made = planner.entries()
    entries.put(made, target, replace=replace)
    files = [entry for entry in made if entry.kind == "file"]
    size = sum(entry.size for entry in files)
    return Report(target, len(files), size, tuple(planner.missing))


# --- the plan ---------------------------------------------------------------------------------


class Planner:
    """Collects entries; a path that is a symbolic link brings the link and what it leads to."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.found: dict[str, Entry] = {}
        self.closure = closure.Closure()
        self.missing: list[str] = []

    def entries(self) -> tuple[Entry, ...]:
        if not self.found:
            self._fill()
        return tuple(self.found[path] for path in sorted(self.found, key=lambda p: p.split("/")))

    def _fill(self) -> None:
        self._layout()
        if self.recipe.busybox:
            self._busybox(closure.find_program(self.recipe.busybox))
        for name in self.recipe.programs:
            self._program(closure.find_program(name), "asked for")
        for name in self.recipe.wanted:
            try:
                path = closure.find_program(name)
            except errors.NotFoundError:
                self.missing.append(name)
            else:
                self._program(path, "an everyday command")
        if self.recipe.python:
            self._python()
        if self.recipe.terminfo:
            self._terminfo()
        if self.recipe.certificates or self.recipe.python:
            self._certificates(required=self.recipe.certificates)
        self._opened_by_glibc()
        self._etc()

    def add(self, path: str, why: str) -> str:
        """Add what `path` leads to, with each directory and symbolic link on the way."""
        at, parts, links = "", path.split("/"), 0
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            here = f"{at}/{part}"
            status = os.lstat(here)
            if not stat.S_ISLNK(status.st_mode):
                self._found(here, status, why, path)
                at = here
                continue
            target = os.readlink(here)
            self.found.setdefault(here, Entry(here, "link", why, 0o777, target=target))
            parts = target.split("/") + parts
            at = "" if target.startswith("/") else at
            links += 1
            if links > 40:
                raise errors.LabError(f"{path}: too many levels of symbolic links")
        return at

    def _found(self, path: str, status: os.stat_result, why: str, leads_to: str) -> None:
        if path in self.found:
            return
        if stat.S_ISDIR(status.st_mode):
            on_the_way = f"on the way to {leads_to}"
            self.found[path] = Entry(path, "dir", on_the_way, _mode(status) | 0o700)
        elif stat.S_ISREG(status.st_mode):
            entry = Entry(path, "file", why, _mode(status), status.st_size, source=path)
            self.found[path] = entry
        else:
            raise errors.LabError(f"{path}: neither a file, a directory nor a symbolic link")

    def _layout(self) -> None:
        """The directories of every root, and /bin, /lib, … as this host has them (usrmerge)."""
        for path, mode in _DIRECTORIES.items():
            self.found[path] = Entry(path, "dir", "every root file system has it", mode)
        for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
            if os.path.islink(name):
                self.add(name, "the host's layout (usrmerge)")
            elif name in ("/bin", "/sbin"):
                self.found[name] = Entry(name, "dir", "the host's layout", 0o755)

    def _program(self, path: str, why: str) -> None:
        real = self.add(path, why)
        for need in self.closure.of(real):
            self.add(need.path, need.why)

    def _busybox(self, path: str) -> None:
        self._program(path, "busybox: all commands in one file")
        for applet in _applets(path):
            place = self.add(f"/{os.path.dirname(applet)}", f"busybox's {os.path.basename(applet)}")
            link = f"{place}/{os.path.basename(applet)}"
            target = os.path.relpath(path, place)
            if link != path:
                self.found.setdefault(link, Entry(link, "link", "busybox", 0o777, target=target))

    def _tree(self, top: str, why: str, leave_out: frozenset[str] = frozenset()) -> None:
        for directory, names, files in os.walk(self.add(top, why)):
            names[:] = sorted(n for n in names if n not in leave_out and n[:7] != "config-")
            for name in sorted(files) + [n for n in names if os.path.islink(f"{directory}/{n}")]:
                path = f"{directory}/{name}"
                if not os.path.exists(path):
                    continue  # a dangling link, such as one into a package that is not installed
                real = self.add(path, why)
                if name.endswith(".so"):
                    for need in self.closure.libraries_of(real):
                        self.add(need.path, need.why)

    def _python(self) -> None:
        """The system's Python and its standard library, without tests, Tk and pip."""
        program = closure.find_program("python3")
        self._program(program, "python3")
        for directory in _stdlib(program):
            self._tree(directory, "python3's standard library", _NOT_STDLIB)

    def _terminfo(self) -> None:
        for top in ("/lib/terminfo", "/usr/share/terminfo", "/etc/terminfo"):
            for name in _TERMINALS:
                path = f"{top}/{name[0]}/{name}"
                if os.path.isfile(path):
                    self.add(path, "what the terminal understands: terminfo(5)")

    def _certificates(self, required: bool) -> None:
        bundle = next((path for path in _CERTIFICATES if os.path.isfile(path)), None)
        if bundle is None:
            if required:
                raise errors.NotFoundError("the bundle of CA certificates does not exist here")
            return
        self.add(bundle, "CA certificates")
        for path in ("/usr/lib/ssl/certs", "/usr/lib/ssl/cert.pem", "/usr/lib/ssl/openssl.cnf"):
            if os.path.exists(path):
                self.add(path, "where OpenSSL looks")

    def _opened_by_glibc(self) -> None:
        """What glibc opens by name later, beside the libc that was found; and the cache for all."""
        libc = next((p for p in self.closure.libraries if p.endswith("/libc.so.6")), None)
        if libc is None:
            return
        for name in _OPENED_BY_GLIBC:
            path = f"{os.path.dirname(libc)}/{name}"
            library = self.closure.read(path) if os.path.isfile(path) else None
            if library is not None:
                self.add(path, "opened by libc by name (dlopen)")
                self.closure.libraries[path] = library
        cache = elf.write_cache(dict(sorted(self.closure.libraries.items())))
        self.text("/etc/ld.so.cache", cache, "where the loader finds each library")

    def _etc(self) -> None:
        for path, text in _ETC.items():
            self.text(path, text.replace("NAME", self.recipe.name).encode(), "minimal /etc")
        link = Entry("/etc/mtab", "link", "minimal /etc", 0o777, target="/proc/mounts")
        self.found["/etc/mtab"] = link

    def text(self, path: str, data: bytes, why: str) -> None:
        """Add a file that is made here, in place of one that was found."""
        self.found[path] = Entry(path, "file", why, 0o644, len(data), data=data)


_ETC = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "user:x:1000:1000:user:/home:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "/etc/hostname": "",
    "/etc/resolv.conf": "",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
    "networks: files\nprotocols: files\nservices: files\n",
    "/etc/os-release": 'ID=labcontainer\nNAME="labcontainer base"\nVARIANT_ID=NAME\n'
    'PRETTY_NAME="labcontainer base NAME, from the host\'s own files"\n',
}
_NOT_STDLIB = frozenset(
    ["test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "pydoc_data"]
    + ["dist-packages", "site-packages"]
)


def _mode(status: os.stat_result) -> int:
    """The permission bits without setuid and setgid, which no base image should bring along."""
    return stat.S_IMODE(status.st_mode) & ~(stat.S_ISUID | stat.S_ISGID)


def _ask(program: str, *words: str) -> list[str]:
    """The lines that one of the host's own programs answers; only for those that root owns."""
    import subprocess

    status = os.stat(program)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        raise errors.LabError(f"{program}: others may change this program, so it is not asked")
    answer = subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=30, check=False,
        env={"PATH": ":".join(closure.PATH)}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if answer.returncode:
        raise errors.LabError(f"{program} {words[0]} ended with {answer.returncode}")
    return answer.stdout.split("\n")[:-1]


def _applets(busybox: str) -> list[str]:
    """The commands of a busybox with their places, such as `bin/ls`."""
    lines = _ask(busybox, "--list-full")
    return [line.strip() for line in lines if line.strip() and ".." not in line]


def _stdlib(python: str) -> list[str]:
    """The directories of a Python's standard library and of its compiled modules."""
    code = "import sysconfig as s; print(s.get_path('stdlib')); print(s.get_path('platstdlib'))"
    return list(dict.fromkeys(_ask(python, "-I", "-S", "-c", code)))
