"""One stage, step by step, each from the cache or made."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from labcontainer import errors
from labcontainer.build import dockerfile, filesteps, instructions
from labcontainer.build.cache import Cache, Cached, key_of
from labcontainer.build.errors import DockerfileError, RunError
from labcontainer.build.graph import Stage
from labcontainer.build.instructions import Copy, Instruction, Run
from labcontainer.build.progress import Done, Entered, Left, Output, Started, Step, Tell
from labcontainer.build.runsteps import Running
from labcontainer.build.state import SETTERS, State
from labcontainer.build.work import Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.build.builder import Build
    from labcontainer.image.packing import Layer

COMMENT = "buildkit.dockerfile.v0"


class StageBuild:
    """A stage being built. `first` is the number of its FROM among all steps of the build."""

    def __init__(self, build: Build, stage: Stage, first: int, total: int) -> None:
        self._build, self._stage = build, stage
        self._first, self._total = first, total
        self._cache = Cache(build.store)
        self._tell: Tell = build.tell
        options = build.options
        self._may_hit = options.cache and not ({stage.name, str(stage.number)}
                                               & set(options.fresh_stages))  # fmt: skip

    def run(self) -> State:
        """All steps; the state after the last.

        Raises:
            LabError: a step failed; it names its line.
        """
        state = self._base()
        for number, one in enumerate(self._stage.steps, 1):
            self._build.check_on()
            self._guarded(state, one, self._step(number, one.line.text))
        return state

    def _step(self, place: int, text: str) -> Step:
        named = len(self._build.graph.stages) > 1
        return Step(self._first + place, self._total, self._stage.name, place + 1,
                    len(self._stage.steps) + 1, text, named)  # fmt: skip

    # --- FROM -------------------------------------------------------------------------------------

    def _base(self) -> State:
        step = self._step(0, self._stage.origin.line.text)
        begun = time.monotonic()
        self._tell(Started(step))
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            self._tell(Output(step, text.encode() + b"\n"))

        try:
            state = self._build.base(self._stage, say)
        except errors.LabError as error:
            if isinstance(error, DockerfileError | RunError):
                raise
            raise self._stage.origin.line.wrong(str(error)) from error
        self._tell(Done(step, state.image_id or state.key, not said, time.monotonic() - begun))
        triggers = state.config.pop("OnBuild", None) or []
        if triggers:
            self._tell(Output(step, f"# Executing {len(triggers)} build triggers\n".encode()))
        for trigger in triggers:
            line = dockerfile.parse(f"{trigger}\n").lines[0]
            line = line.replace(number=self._stage.origin.line.number, text=f"ONBUILD {trigger}")
            self._guarded(state, instructions.read(line, state.escape), step.replace(text=trigger))
        return state

    # --- a step -----------------------------------------------------------------------------------

    def _guarded(self, state: State, one: Instruction, step: Step) -> None:
        """A step, its errors with the line they belong to."""
        try:
            self._one(state, one, step)
        except (DockerfileError, RunError):
            raise
        except errors.LabError as error:
            raise one.line.wrong(f"{one.line.keyword} failed: {error}") from error

    def _one(self, state: State, one: Instruction, step: Step) -> None:
        begun = time.monotonic()
        self._tell(Started(step))
        with ExitStack() as stack:
            work = self._work(state, one, step, stack)
            key, cached, hit = self._result(state.key, work, step)
        after = {"created": cached.created, "created_by": work.words, "comment": COMMENT}
        if cached.layer is None:
            state.history.append({**after, "empty_layer": True})
        else:
            state.layers.append(cached.layer)
            state.history.append(after)
        state.keys.append(key)
        state.key = key_of(key, cached.layer and cached.layer.diff_id)
        self._tell(Done(step, state.key, hit, time.monotonic() - begun))

    def _work(self, state: State, one: Instruction, step: Step, stack: ExitStack) -> Work:
        if isinstance(one, Copy):
            return stack.enter_context(filesteps.Copying(state, one, self._build)).work()
        if isinstance(one, Run):
            return Running(state, one, self._build, lambda data: self._tell(
                Output(step, data))).work()  # fmt: skip
        if one.line.keyword == "WORKDIR":
            work = filesteps.workdir(state, one, self._build)
        else:
            work = Work(SETTERS[one.line.keyword](state, one))
        return work.replace(container=os.urandom(6).hex())

    def _result(self, below: str, work: Work, step: Step) -> tuple[str, Cached, bool]:
        """(key, what the cache has under it or what is made now, whether the cache had it)."""
        key = key_of(below, work.words, *work.facts)
        cached = self._cache.find(key) if self._may_hit else None
        if cached is not None:
            return key, cached, True
        other = ""
        if work.content is not None:
            other = key_of(below, work.words, "content", work.content())
            cached = self._cache.find(other) if self._may_hit else None
        hit = cached is not None
        if cached is None:
            cached = Cached(self._build.now(), self._made(work, step))
        for one in (key, other) if other else (key,):
            self._cache.put(one, cached)
        return key, cached, hit

    def _made(self, work: Work, step: Step) -> Layer | None:
        """The step's layer; the classic builder makes every step in a container."""
        if work.container:
            self._tell(Entered(step, work.container))
        try:
            layer = work.make() if work.make else None
        except BaseException:
            if work.container:
                self._tell(Left(step, work.container, failed=True))
            raise
        if work.container:
            self._tell(Left(step, work.container))
        return layer
