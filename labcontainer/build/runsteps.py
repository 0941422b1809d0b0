"""RUN: what the program is, what it sees beside the image, and what its result depends on."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from labcontainer import errors
from labcontainer.build import copying
from labcontainer.build.errors import RunError
from labcontainer.build.ignore import Ignore
from labcontainer.build.instructions import Run, mounts_of
from labcontainer.build.mounts import Mount
from labcontainer.build.options import Options, Secret
from labcontainer.build.runner import Bind, File, Memory, Program, Runner
from labcontainer.build.state import State, listed
from labcontainer.build.tree import Tree
from labcontainer.build.work import Work
from labcontainer.image.packing import Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from labcontainer.build.filesteps import Around as FileAround

    class Around(FileAround, Protocol):
        """What a RUN asks of the build around it."""

        runner: Runner
        options: Options

        def layers(self, state: State) -> tuple[str, ...]:
            """The directories of a state's layers, the top one first."""


SCRIPT = "/dev/pipes"
LARGEST_SECRET = 500 << 10


class Running:
    """One RUN, its variables and mounts known."""

    def __init__(
        self, state: State, one: Run, around: Around, output: Callable[[bytes], object]
    ) -> None:
        self._state, self._one, self._around, self._output = state, one, around, output
        self._mounts = mounts_of(one, lambda text: state.expand(one, text))
        self._args, self._script = self._program()
        self._variables = state.seen_by_run()

    def _program(self) -> tuple[list[str], File | None]:
        """The words to run; a heredoc that begins with `#!` is a program of its own."""
        one = self._one
        if not one.line.heredocs:
            return self._state.command(one), None
        first = one.line.heredocs[0]
        from labcontainer.build.dockerfile import heredoc

        if heredoc(one.line.rest) is None:  # the shell reads them
            text = one.line.rest
            for each in one.line.heredocs:
                text += f"\n{each.data}{each.name}"
            return [*self._state.shell, text], None
        if first.content.startswith("#!"):
            path = f"{SCRIPT}/{first.name.rpartition('/')[2]}"
            return [path], File(path, first.content, 0o755)
        return [*self._state.shell, first.content], None

    def work(self) -> Work:
        """The step."""
        one, names = self._one, sorted(self._variables)
        said = [f"{name}={self._variables[name]}" for name in names]
        count = f"|{len(said)} {' '.join(said)} " if said else ""
        shown = " ".join(self._args) if one.shell else listed(self._args)[1:-1]
        words = f"RUN {count}{shown} # buildkit"
        facts = (self._args, self._script and self._script.text, said, one.network, one.security,
                 one.mounts, [self._fact(mount) for mount in self._mounts])  # fmt: skip
        identity = os.urandom(6).hex()
        return Work(words, facts, make=lambda: self.make(identity), container=identity)

    def _fact(self, mount: Mount) -> str:
        """What a mount adds to the key: the files of a bind; a cache or a secret adds nothing."""
        if mount.kind != "bind":
            return ""
        if mount.origin:
            return self._around.origin_key(self._one, mount.origin)
        files, digests = self._around.files(self._one, "")
        target = copying.Target("", True, (0, 0))
        found = copying.members(files, mount.source or "/", target, Ignore())
        return copying.digest(list(found), target, digests)

    # --- doing it ---------------------------------------------------------------------------------

    def make(self, identity: str) -> Layer | None:
        """Run it in a container of this name; what it wrote.

        Raises:
            RunError: it ended with another status than 0.
        """
        with ExitStack() as stack:
            program = self._assembled(stack, identity)
            status, layer = self._around.runner.run(program, self._output)
        if status:
            raise RunError(" ".join(self._args), status)
        return layer

    def _assembled(self, stack: ExitStack, identity: str) -> Program:
        tree = self._around.tree(self._state)
        files = [self._script] if self._script else []
        program = Program(
            layers=self._around.layers(self._state), args=tuple(self._args),
            env=tuple(self._state.run_environment()), cwd=self._state.workdir,
            user=self._state.config.get("User") or "",
            network=self._network(), insecure=self._one.security == "insecure",
            hosts=self._around.options.hosts, newest=self._around.newest, id=identity,
            limits=self._around.options.limits,
        )  # fmt: skip
        for mount in self._mounts:
            if mount.kind == "tmpfs":
                memory = Memory(mount.target, mount.size)
                program = program.replace(memories=(*program.memories, memory))
            elif mount.kind == "secret":
                program = self._with_secret(program, files, mount)
            else:
                source = self._cache(mount, stack) if mount.kind == "cache" else self._bound(mount)
                program = program.replace(binds=(*program.binds, source))
        binds = [bind.replace(target=_absolute(bind.target, program.cwd, tree))
                 for bind in program.binds]  # fmt: skip
        return program.replace(binds=tuple(binds), files=tuple(files))

    def _network(self) -> str:
        own = self._one.network
        return own if own != "default" else self._around.options.network

    def _with_secret(self, program: Program, files: list[File], mount: Mount) -> Program:
        secret = self._around.options.secrets.get(mount.id)
        if secret is None:
            if mount.required:
                raise self._one.line.wrong(f"secret {mount.id}: not found; give it by --secret")
            return program
        text = content_of(mount.id, secret)
        if mount.target:
            mode = 0o400 if mount.mode is None else mount.mode
            files.append(File(mount.target, text, mode, mount.uid, mount.gid))
        return program.replace(env=(*program.env, f"{mount.env}={text}")) if mount.env else program

    def _bound(self, mount: Mount) -> Bind:
        """Files of the context, a stage or an image; what is written to them is thrown away."""
        files, _ = self._around.files(self._one, mount.origin)
        path = files.tree.resolve(files.named(mount.source or "/")[0])
        return Bind(path, mount.target, mount.readonly, files.tree.directories,
                    tuple(self._hidden(files.tree, path, files.leaves_out)))  # fmt: skip

    def _hidden(self, tree: Tree, top: str, leaves_out: Callable[[str], bool]) -> Iterator[str]:
        """The topmost paths of a bound directory that `.dockerignore` leaves out."""
        todo = [top] if tree.is_directory(top) else []
        while todo:
            folder = todo.pop()
            for name in tree.listdir(folder):
                path = f"{folder}/{name}" if folder else name
                if leaves_out(path):
                    yield path
                elif tree.is_directory(path):
                    todo.append(path)

    def _cache(self, mount: Mount, stack: ExitStack) -> Bind:
        if mount.origin:
            raise self._one.line.wrong("from= of a cache mount is not supported")
        name = hashlib.sha256((mount.id or mount.target).encode()).hexdigest()[:32]
        folder = f"{self._around.store.path}/cache-mounts"
        os.makedirs(folder, mode=0o711, exist_ok=True)
        path = stack.enter_context(_held(f"{folder}/{name}", mount.sharing))
        try:
            os.mkdir(path)
        except FileExistsError:
            pass  # of a build before, or of another stage just now
        else:
            os.chmod(path, 0o755 if mount.mode is None else mount.mode)
            os.chown(path, mount.uid, mount.gid)
        return Bind("", mount.target, mount.readonly, (path,), kept=True)


@contextmanager
def _held(path: str, sharing: str) -> Iterator[str]:
    """The directory of a cache: waited for if it is locked, another one if it is private."""
    from labcontainer.kernel import files, locks

    if sharing == "shared":
        yield path
        return
    number = 0
    while sharing == "private" and locks.is_held(f"{path}.lock"):
        number += 1
        path = f"{path.partition('-private')[0]}-private{number}"
    fd = files.lock_file(f"{path}.lock")
    try:
        yield path
    finally:
        os.close(fd)


def _absolute(target: str, workdir: str, tree: Tree) -> str:
    return f"/{tree.resolve(os.path.join(workdir, target))}"


def content_of(name: str, secret: Secret) -> str:
    """The text of a secret.

    Raises:
        NotFoundError: its file or variable is not there.
        UsageError: it is too large for one.
    """
    if secret.env:
        if secret.env not in os.environ:
            raise errors.NotFoundError(f"secret {name}: there is no variable {secret.env}")
        return os.environ[secret.env]
    try:
        with open(secret.path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise errors.UsageError(f"secret {name}: {secret.path} is no regular file")
            data = file.read(LARGEST_SECRET + 1)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise errors.NotFoundError(f"secret {name}: {secret.path}: {why}") from None
    if len(data) > LARGEST_SECRET:
        raise errors.UsageError(f"secret {name}: it is larger than {LARGEST_SECRET} bytes")
    return data.decode(errors="surrogateescape")
