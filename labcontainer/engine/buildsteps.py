"""A build's RUN in a container of ours: the `Runner` that `build` asks for.

    builder ── stdin: the program ──▶ python -m labcontainer.engine.buildprocess
       ▲                                │  own mount namespace: overlay, container, its end
       ├── what the program prints ◀────┤
       └── status, layer ◀──────────────┘  what it wrote is packed, and moved to the layers

A process for each RUN: the builder has threads, and mounts belong to a process with one.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from labcontainer import errors, users
from labcontainer.build.runner import Program
from labcontainer.image import inside
from labcontainer.image.documents import Descriptor
from labcontainer.image.packing import Layer
from labcontainer.image.store import Store
from labcontainer.kernel.flags import CLONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

PARTS = ("binds", "memories", "files")  # records of their own in a Program


class Containers:
    """Runs programs for a store; as root, or as root of a user namespace (`rootless`)."""

    def __init__(self, store: Store) -> None:
        self._store = store.path
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, program: Program, output: Callable[[bytes], object]) -> tuple[int, Layer | None]:
        """Run to the end: the exit status, and if it is 0 the layer that was written.

        Raises:
            LabError: it could not be run; nothing is left.
        """
        answer, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            child = self._spawn(program, theirs)
        finally:
            os.close(theirs)
        try:
            assert child.stdout is not None
            while data := os.read(child.stdout.fileno(), 65536):
                output(data)
            found = b""
            while data := os.read(answer, 65536):
                found += data
        finally:
            os.close(answer)
            self._reap(child)
        return _understood(found)

    def _spawn(self, program: Program, answer: int) -> subprocess.Popen[bytes]:
        import subprocess

        words = [sys.executable, "-m", "labcontainer.engine.buildprocess", self._store, str(answer)]
        import labcontainer  # the package, for where it is

        home = os.path.dirname(labcontainer.__path__[0])
        with self._lock:
            if self._stopped:
                raise errors.StateError("the build was stopped")
            child = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=[answer], start_new_session=True, env={**os.environ, "PYTHONPATH": home},
            )  # fmt: skip
            self._running.add(child)
        assert child.stdin is not None
        try:
            child.stdin.write(encode(program))
            child.stdin.close()
        except BrokenPipeError:
            pass  # it has ended; its answer says why
        return child

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        """Let it end: it is asked to, in case that the builder has given up."""
        if child.poll() is None:
            child.terminate()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
        with self._lock:
            self._running.discard(child)

    def stop(self) -> None:
        """Ask all that run to end; they clean up first."""
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.terminate()


def enter() -> None:
    """Become root of a user namespace, unless this process is root: layers have many owners.

    The process must have one thread. To be called before anything is written.
    """
    if not inside.is_root():
        inside.enter_user_namespace(users.rootless_maps(os.geteuid(), os.getegid()), CLONE.NEWNS)


def _understood(answer: bytes) -> tuple[int, Layer | None]:
    if not answer:
        raise errors.StateError("the container was stopped")
    found = json.loads(answer)
    if "error" in found:
        raise errors.LabError(found["error"])
    layer = found["layer"]
    if layer is None:
        return found["status"], None
    descriptor = Descriptor.from_json(layer["descriptor"])
    return 0, Layer(descriptor, layer["diff_id"], layer["size"], layer["entries"])


def encode(program: Program) -> bytes:
    """A program as bytes."""
    found = program.as_dict()
    for name in PARTS:
        found[name] = [one.as_dict() for one in found[name]]
    return json.dumps(found).encode(errors="surrogatepass")
