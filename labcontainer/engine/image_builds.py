"""POST /build: a context and a Dockerfile become an image, told as the classic builder tells it.

    {"stream": "Step 1/2 : FROM busybox\\n"}
    {"aux": {"ID": "sha256:…"}}
    {"errorDetail": {"code": 1, "message": "…"}, "error": "…"}

The last is told by who answers. The programs of RUN are processes of their own, see buildsteps; a
build is stopped between two of its words, and while one of those programs runs.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

from labcontainer import errors
from labcontainer.build import builder, context, graph, progress, repository, scratch
from labcontainer.build.cache import Cache
from labcontainer.build.errors import DockerfileError
from labcontainer.engine import image_transfer
from labcontainer.engine.buildsteps import Containers
from labcontainer.image import reference
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from labcontainer.build.context import Context
    from labcontainer.build.options import Options
    from labcontainer.engine.images import Images
    from labcontainer.image.compression import Readable
    from labcontainer.image.store import Image

    Document = dict[str, Any]
    Tell = Callable[[Document], object]


class BuildRequest(Record):
    """One build: `remote` is the context's address, "" where the context comes as a stream."""

    options: Options
    dockerfile: str = ""
    remote: str = ""
    quiet: bool = False
    force: bool = False  # tell of failed steps' containers that they are gone


class Running:
    """A build that goes on; any thread may stop it."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._runner = Containers(images.store)
        self._stopped = False

    def stop(self) -> None:
        """End it soon, and the program that it runs now."""
        self._stopped = True
        self._runner.stop()

    def run(self, asked: BuildRequest, stream: Readable, tell: Tell) -> Image:
        """Build to the end.

        Raises:
            UsageError: the Dockerfile is off; no step was begun.
            RunError: a RUN ended badly. LabError: something else failed.
        """
        with scratch.folder(self._images.store) as folder:
            source = _context(asked, stream, folder)
            _check(source, asked.options)
            kept: list[Document] = []  # of a quiet build: told only where it fails
            try:
                image = self._build(source, asked, kept.append if asked.quiet else tell)
            except (errors.LabError, OSError):
                for document in kept:
                    tell(document)
                raise
        for name in asked.options.names:
            self._images.tell("tag", image, reference.parse(name).familiar)
        if asked.quiet:
            tell({"stream": f"{image.id}\n"})
        return image

    def _build(self, source: Context, asked: BuildRequest, tell: Tell) -> Image:
        show = _shown(tell, asked.force)

        def told(event: progress.Event) -> None:
            if self._stopped:
                raise errors.StateError("the build was stopped")
            show(event)

        try:
            return builder.build(source, asked.options, self._images.store, self._runner, told)
        except DockerfileError as error:
            from labcontainer.image.session import RegistryError

            if isinstance(error.__cause__, RegistryError):
                raise errors.LabError(image_transfer.words_of(error.__cause__)) from error
            raise errors.LabError(error.problem) from error


def _shown(tell: Tell, force: bool) -> progress.Tell:
    classic = progress.Classic(lambda text: tell({"stream": text}), force=force)

    def show(event: progress.Event) -> None:
        if isinstance(event, progress.Built):
            tell({"aux": {"ID": event.id}})
        classic(event)

    return show


def _context(asked: BuildRequest, stream: Readable, folder: str) -> Context:
    try:
        if not asked.remote:
            return context.of_stream(stream, folder, asked.dockerfile)
        return context.of_url(asked.remote, folder, asked.dockerfile)
    except errors.NotFoundError:
        wanted = asked.dockerfile or context.NAMES[0]
        raise errors.UsageError(f"Cannot locate specified Dockerfile: {wanted}") from None
    except errors.LabError as error:
        if not asked.remote or isinstance(error, errors.UnsupportedError):
            raise
        why = str(error).removeprefix(f"ADD {asked.remote}: ")
        where = f"error downloading remote context {repository.without_password(asked.remote)}"
        raise errors.LabError(f"{where}: {why}") from None


def _check(source: Context, options: Options) -> None:
    """Refuse a Dockerfile that is off before anything is told."""
    from labcontainer.build import dockerfile

    if not source.text.strip():
        raise errors.UsageError(f"the Dockerfile ({source.name}) cannot be empty")
    try:
        graph.draw_up(dockerfile.parse(source.text), options.arguments).needed(options.target)
    except DockerfileError as error:
        where = f" line {error.line}" if error.line else ""
        raise errors.UsageError(f"dockerfile parse error{where}: {error.problem}") from None


class Builds:
    """The builds that go on, and what they leave for the next."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._running: dict[str, Running] = {}
        self._lock = threading.Lock()

    @contextmanager
    def begun(self, identity: str = "") -> Iterator[Running]:
        """A build for the time of the block, under the id by which it can be cancelled."""
        running = Running(self._images)
        with self._lock:
            self._running[identity] = running
        try:
            yield running
        finally:
            with self._lock:
                self._running.pop(identity, None)

    def cancel(self, identity: str) -> None:
        """Stop a build; quiet if it has ended."""
        with self._lock:
            running = self._running.get(identity)
        if running is not None:
            running.stop()

    def prune(self, unused_for: float = 0.0) -> Document:
        """Forget the steps that no build has needed for so many seconds."""
        cache = Cache(self._images.store)
        before = [key for key, _ in cache.entries()]
        _, freed = cache.prune(unused_for)
        left = {key for key, _ in cache.entries()}
        self._images.tell_pruned("builder", freed)
        gone = [key for key in before if key not in left]
        return {"CachesDeleted": gone or None, "SpaceReclaimed": freed}
