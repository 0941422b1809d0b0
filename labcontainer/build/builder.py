"""`build`: a context and a Dockerfile become an image.

    Dockerfile ── parse ── graph ──▶ stages, side by side ──▶ configuration and layers ──▶ store
                                        │ step by step: cache, or COPY / RUN / …

Stages are threads of this process; the program of a RUN is a process of the runner's. This process
must be root, or root of a user namespace: layers belong to many users.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from labcontainer import errors
from labcontainer.build import dockerfile, graph
from labcontainer.build.cache import Cache, Cached, key_of
from labcontainer.build.context import Context
from labcontainer.build.digests import Digests
from labcontainer.build.errors import DockerfileError
from labcontainer.build.graph import Stage
from labcontainer.build.instructions import Assign, Instruction
from labcontainer.build.options import Options
from labcontainer.build.progress import Built, Tagged, Tell, Warned, silent
from labcontainer.build.runner import Runner
from labcontainer.build.sources import Files
from labcontainer.build.stages import StageBuild
from labcontainer.build.state import PATH, PROXIES, State
from labcontainer.build.tree import Tree
from labcontainer.image import documents, reference
from labcontainer.image.documents import Descriptor, ImageConfig, Platform
from labcontainer.image.packing import Layer
from labcontainer.image.reference import Reference
from labcontainer.image.store import Image, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.build.flat import Flat

SIDE_BY_SIDE = 4
INLINE_CACHE = "BUILDKIT_INLINE_CACHE"
KEYS = "labcontainer.cache.v0"  # the field of a configuration that lists its steps' keys
_KNOWN = (*PROXIES, "SOURCE_DATE_EPOCH", INLINE_CACHE)


def build(
    context: Context, options: Options, store: Store, runner: Runner, tell: Tell = silent
) -> Image:
    """Build an image and give it its names.

    Raises:
        DockerfileError: a line is off.
        RunError: a RUN ended badly.
        LabError, OSError: something else failed. Whatever it was, no name has changed.
    """
    return Build(context, options, store, runner, tell).run()


def make_bases(context: Context, options: Options, store: Store) -> None:
    """Make the bases of this machine's own programs that a build will need.

    For an ordinary user, before it enters its user namespace: there all programs of the host belong
    to nobody, and whose they are can't be told.
    """
    from labcontainer.image import hostbase, hostimage

    try:
        stages = graph.draw_up(dockerfile.parse(context.text), options.arguments).stages
    except DockerfileError:
        return  # the build will tell
    for name in {image for stage in stages for image in stage.images}:
        try:
            if not hostimage.is_built_in(reference.parse(name)):
                continue
            store.image(name)
        except errors.NotFoundError:
            hostimage.make(store, hostbase.recipe(name.partition(":")[0]))
        except errors.UsageError:
            continue


class Build:
    """One build: what its stages share."""

    def __init__(
        self, context: Context, options: Options, store: Store, runner: Runner, tell: Tell
    ) -> None:
        self.context, self.options, self.store = context, options, store
        self.runner, self.tell = runner, tell
        self.newest = options.newest
        self.platform = options.platform or documents.host_platform()
        self.outer = _platform_arguments(self.platform)
        self.graph = self._draw_up()
        self._states: dict[int, Callable[[], State]] = {}  # waits for a stage that goes on
        self._images: dict[str, Image] = {}
        self._flat: Flat | None = None
        self._lock = threading.Lock()
        self._pulling = threading.Lock()  # held for long, and by one stage at a time
        self._error: BaseException | None = None

    def _draw_up(self) -> graph.Graph:
        try:
            file = dockerfile.parse(self.context.text)
            return graph.draw_up(file, self.options.arguments, self.outer)
        except DockerfileError as error:
            error.name = self.context.name
            raise

    def now(self) -> str:
        """The time of a step that is made now."""
        seconds = time.time() if self.newest is None else self.newest
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

    # --- all stages -------------------------------------------------------------------------------

    def run(self) -> Image:
        """The whole build."""
        try:
            with self.store.lease():
                needed = self.graph.needed(self.options.target)
                self._warn(needed)
                self._learn()
                final = self._build_all(needed)
                self.context.digests.save()
                return self._finish(final)
        except DockerfileError as error:
            error.name = self.context.name
            raise
        finally:
            if self._flat is not None:
                self._flat.remove()

    def _build_all(self, needed: tuple[Stage, ...]) -> State:
        """Build the stages, each as soon as those that it needs are there."""
        total = sum(1 + len(stage.steps) for stage in needed)
        first = 1
        builds = []
        for stage in needed:
            builds.append((stage.number, StageBuild(self, stage, first, total)))
            first += 1 + len(stage.steps)
        if len(needed) == 1 or not self.options.side_by_side:
            for number, one in builds:
                self._states[number] = partial(_itself, one.run())
        else:
            self._in_threads(builds)
        return self._states[needed[-1].number]()

    def _in_threads(self, builds: list[tuple[int, StageBuild]]) -> None:
        """The first error ends the others. Stages wait only for some before them in the list."""
        from concurrent.futures import ThreadPoolExecutor, wait

        with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(builds))) as pool:
            running = []
            for number, one in builds:
                running.append(pool.submit(self._watched, one))
                self._states[number] = running[-1].result
            try:
                wait(running)
            except BaseException as error:  # the user's interrupt
                self._fail(error)
                raise
        if self._error is not None:
            raise self._error

    def _watched(self, one: StageBuild) -> State:
        try:
            return one.run()
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
        self.runner.stop()

    def check_on(self) -> None:
        """Between two steps: go on only if no other stage has failed.

        Raises:
            StateError: one has.
        """
        if self._error is not None:
            raise errors.StateError("another stage failed")

    def _warn(self, needed: tuple[Stage, ...]) -> None:
        declared = {*_KNOWN, *self.graph.arguments, *self.outer}
        for stage in needed:
            for one in stage.steps:
                if isinstance(one, Assign) and one.line.keyword == "ARG":
                    declared |= {name for name, _ in one.pairs}
        unused = [name for name in self.options.arguments if name not in declared]
        if unused:
            text = f"One or more build-args [{' '.join(unused)}] were not consumed"
            self.tell(Warned(text=text))

    # --- what a stage asks for --------------------------------------------------------------------

    def base(self, stage: Stage, say: Callable[[str], None]) -> State:
        """The state that a stage begins with."""
        platform = self.platform
        if stage.platform:
            platform = documents.parse_platform(stage.platform)
        if isinstance(stage.base, int):
            found = self._states[stage.base]().child()
        elif stage.base == "scratch":
            found = State(platform, key_of("scratch", str(platform)))
        else:
            image = self.image(stage.base, platform if stage.platform else None, say)
            found = _state_of(image)
        if "PATH" not in found.environment:  # what BuildKit sets then, so that $PATH means it
            found.config["Env"] = [*(found.config.get("Env") or ()), f"PATH={PATH}"]
        found.escape = self.graph.escape
        found.given = self.options.arguments
        found.outer = {**self.outer, **self.graph.arguments}
        return found

    def image(
        self, name: str, platform: Platform | None = None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> Image:  # fmt: skip
        """A foreign image: from the store, or pulled into it."""
        with self._pulling:
            known = f"{name} {platform}"
            if known not in self._images:
                self._images[known] = self._get(name, platform or self.options.platform, say)
            return self._images[known]

    def _get(self, name: str, platform: Platform | None, say: Callable[[str], None]) -> Image:
        try:
            if not self.options.pull:
                return self.store.image(name, platform)
        except errors.NotFoundError:
            pass
        from labcontainer.image import hostimage

        parsed = reference.parse(name)
        if hostimage.is_built_in(parsed):
            from labcontainer.image import hostbase

            say(f"making {name} from this machine's own files")
            return hostimage.make(self.store, hostbase.recipe(name.partition(":")[0]))[0]
        from labcontainer.image import pull
        from labcontainer.image.progress import Event

        def tell(event: Event) -> None:
            if not event.moving:
                say(f"{event.id}: {event.status}" if event.id else event.status)

        who = True if self.options.login is None else self.options.login(parsed.registry)
        return pull.pull(self.store, parsed, platform=platform, tell=tell, credentials=who).image

    def layers(self, state: State) -> tuple[str, ...]:
        """The directories of a state's layers, the top one first, unpacked."""
        from labcontainer.image.snapshots import Snapshots

        snapshots = Snapshots(self.store)
        try:
            for layer in state.layers:
                snapshots.unpack_layer(layer.descriptor.digest, layer.diff_id)
        except PermissionError:  # no whiteouts can be made here, as on an overlayfs
            return (self._flattened(state),)
        return tuple(snapshots.directory(one.diff_id) for one in reversed(state.layers))

    def _flattened(self, state: State) -> str:
        """All layers in one directory, for as long as the build goes on."""
        from labcontainer.build import flat

        with self._lock:
            if self._flat is None:
                self._flat = flat.Flat(self.store)
        return self._flat.directory(state.layers)

    def tree(self, state: State) -> Tree:
        """The files of a state."""
        return Tree(self.layers(state))

    def _origin(self, origin: str) -> State:
        stage = graph.by_name(self.graph.stages, origin)
        if stage is not None:
            return self._states[stage.number]()
        return _state_of(self.image(origin))

    def files(self, one: Instruction, origin: str) -> tuple[Files, Digests]:
        """What a COPY or a mount takes from: the context, a stage, an image."""
        if not origin:
            if not self.context.path:
                raise one.line.wrong("there is no build context: the Dockerfile came alone")
            return self.context.files, self.context.digests
        return Files(self.tree(self._origin(origin)), what=origin), Digests()

    def origin_key(self, _one: Instruction, origin: str) -> str:
        """The key of a stage or an image."""
        return self._origin(origin).key

    # --- the cache of others ----------------------------------------------------------------------

    def _learn(self) -> None:
        """Take over the keys that images of --cache-from carry."""
        cache = Cache(self.store)
        for name in self.options.cache_from:
            try:
                image = self.image(name)
            except (errors.LabError, OSError) as error:
                self.tell(Warned(text=f"--cache-from {name}: {error}"))
                continue
            for key, cached in _remembered(image):
                if cache.find(key) is None:
                    cache.put(key, cached)

    # --- the end ----------------------------------------------------------------------------------

    def _finish(self, state: State) -> Image:
        """The image of the last stage, with its names."""
        if self.options.labels:
            labels = {**(state.config.get("Labels") or {}), **self.options.labels}
            state.config["Labels"] = labels
        names = [reference.parse(name) for name in self.options.names]
        if self.options.squash:
            from labcontainer.build import squash

            squash.squash(state, self.layers(state), self.store, self.newest, self.now())
        if state.origin is not None and not state.keys and not self.options.labels:
            image = self._named(state.origin, names)
        else:
            image = self.store.add_image(
                self._config(state), [one.descriptor for one in state.layers], names,
                docker=self.options.docker_types,
            )  # fmt: skip
        self.tell(Built(id=image.id))
        for name in names:
            self.tell(Tagged(name=name.familiar))
        return image

    def _named(self, origin: Descriptor, names: list[Reference]) -> Image:
        """The base itself, of a Dockerfile that changes nothing."""
        for name in names:
            self.store.tag(name, origin)
        return self.store.open(origin)

    def _config(self, state: State) -> ImageConfig:
        extra = {}
        if self.options.arguments.get(INLINE_CACHE) == "1":
            extra[KEYS] = state.keys
        created = state.history[-1].get("created", "") if state.history else self.now()
        return ImageConfig(
            state.platform, tuple(one.diff_id for one in state.layers), state.config,
            tuple(state.history), str(created or self.now()), state.author, extra,
        )  # fmt: skip


def _itself(state: State) -> State:
    return state


def _state_of(image: Image) -> State:
    """The state that an image stands for."""
    config = image.config
    pairs = zip(image.manifest.layers, config.diff_ids, strict=True)
    found = State(
        config.platform, key_of("image", image.id), dict(config.config),
        [Layer(descriptor, diff_id) for descriptor, diff_id in pairs], config.history,
        config.author,
    )  # fmt: skip
    found.origin, found.image_id = image.descriptor, image.id.removeprefix("sha256:")
    return found


def _remembered(image: Image) -> Iterator[tuple[str, Cached]]:
    """The steps of an image by the keys that it carries."""
    keys = image.config.extra.get(KEYS)
    if not isinstance(keys, list) or len(keys) > len(image.config.history):
        return
    layers = iter(zip(image.manifest.layers, image.config.diff_ids, strict=True))
    history = image.config.history
    for place, one in enumerate(history):
        layer = None if one.get("empty_layer") else next(layers, None)
        number = place - (len(history) - len(keys))
        if number >= 0:
            yield (
                str(keys[number]),
                Cached(str(one.get("created", "")), Layer(*layer) if layer else None),
            )


def _platform_arguments(target: Platform) -> dict[str, str]:
    """The ARGs that are there without being given: TARGETPLATFORM and so on."""
    found = {}
    for name, platform in (("TARGET", target), ("BUILD", documents.host_platform())):
        found[f"{name}PLATFORM"] = str(platform)
        found[f"{name}OS"] = platform.os
        found[f"{name}ARCH"] = platform.architecture
        found[f"{name}VARIANT"] = platform.variant
    return found
