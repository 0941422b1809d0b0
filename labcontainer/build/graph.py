"""The stages of a Dockerfile as a graph: who builds on whom, what is needed, in which order.

    FROM debian AS build   ─┐ COPY --from
    FROM debian AS docs     │            docs is not needed for `run`, and not built
    FROM busybox AS run   ◀─┘

A stage stands on another by FROM, by COPY --from and by RUN --mount=from=. Stages that do not stand
on one another are built side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from labcontainer import errors
from labcontainer.build import instructions
from labcontainer.build.dockerfile import Dockerfile
from labcontainer.build.instructions import Assign, Copy, From, Instruction, Run
from labcontainer.build.words import Lexer
from labcontainer.record import Record


class Stage(Record):
    """One stage: `base` is the image's name with its variables expanded, or a stage's number.

    `needs` are the numbers of all stages that must be there first; `images` the foreign images.
    """

    number: int
    origin: From
    base: str | int
    platform: str
    steps: tuple[Instruction, ...]
    needs: tuple[int, ...] = ()
    images: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the Dockerfile, or `stage-N`."""
        return self.origin.name or f"stage-{self.number}"


class Graph(Record):
    """All stages of a Dockerfile, by number, and the values of the ARGs before the first FROM."""

    stages: tuple[Stage, ...]
    arguments: Mapping[str, str] = {}
    escape: str = "\\"

    def find(self, target: str) -> Stage:
        """The stage of a name or number; "" is the last one.

        Raises:
            UsageError: there is none.
        """
        if not target:
            return self.stages[-1]
        found = by_name(self.stages, target)
        if found is None:
            raise errors.UsageError(f"target stage {target!r} could not be found")
        return found

    def needed(self, target: str = "") -> tuple[Stage, ...]:
        """What must be built for a target, each stage after all that it needs.

        Raises:
            DockerfileError: stages need one another.
        """
        done: dict[int, Stage] = {}
        self._visit(self.find(target), done, [])
        return tuple(done.values())

    def _visit(self, stage: Stage, done: dict[int, Stage], above: list[int]) -> None:
        if stage.number in done:
            return
        if stage.number in above:
            circle = [*above[above.index(stage.number) :], stage.number]
            names = " -> ".join(self.stages[one].name for one in circle)
            raise stage.origin.line.wrong(f"circular dependency detected on stage: {names}")
        for number in stage.needs:
            self._visit(self.stages[number], done, [*above, stage.number])
        done[stage.number] = stage

    def levels(self, target: str = "") -> tuple[tuple[Stage, ...], ...]:
        """The needed stages in groups: those of a group can be built side by side."""
        level: dict[int, int] = {}
        for stage in self.needed(target):
            level[stage.number] = 1 + max((level[one] for one in stage.needs), default=-1)
        groups: list[list[Stage]] = [[] for _ in range(1 + max(level.values()))]
        for number, one in level.items():
            groups[one].append(self.stages[number])
        return tuple(map(tuple, groups))

    def __str__(self) -> str:
        """A line for each stage, with what it stands on."""
        return "\n".join(self._drawn())

    def _drawn(self) -> Iterator[str]:
        width = max(len(stage.name) for stage in self.stages)
        for stage in self.stages:
            on = [self.stages[number].name for number in stage.needs] + list(stage.images)
            yield f"{stage.number}  {stage.name:{width}}  <- {', '.join(on) or 'scratch'}"


def by_name(stages: tuple[Stage, ...] | list[Stage], word: str) -> Stage | None:
    """The stage of that name, else of that number."""
    for stage in reversed(stages):
        if stage.origin.name and stage.origin.name == word.lower():
            return stage
    return stages[int(word)] if word.isdecimal() and int(word) < len(stages) else None


def draw_up(
    file: Dockerfile, given: Mapping[str, str] | None = None, platforms: Mapping[str, str] = {}
) -> Graph:
    """The graph of a Dockerfile; `given` are the build arguments.

    Raises:
        DockerfileError: an instruction is off, or a stage that is named is not there.
    """
    read = [instructions.read(line, file.escape) for line in file.lines]
    first = next((place for place, one in enumerate(read) if isinstance(one, From)), len(read))
    arguments = _global_arguments(read[:first], dict(platforms), given or {}, file.escape)
    if first == len(read):
        raise read[-1].line.wrong("no build stage in current context")
    stages: list[Stage] = []
    for one in read[first:]:
        if isinstance(one, From):
            stages.append(_stage(one, stages, arguments, file.escape))
        else:
            stages[-1] = stages[-1].replace(steps=(*stages[-1].steps, one))
    return Graph(tuple(_connect(stage, stages) for stage in stages), arguments, file.escape)


def _global_arguments(
    before: list[Instruction], known: dict[str, str], given: Mapping[str, str], escape: str
) -> dict[str, str]:
    """The ARGs before the first FROM; nothing else may stand there."""
    for one in before:
        if not (isinstance(one, Assign) and one.line.keyword == "ARG"):
            raise one.line.wrong("no build stage in current context")
        for name, default in one.pairs:
            if name in given:
                known[name] = given[name]
            elif default is not None:
                known[name] = expanded(one, default, known, escape)
    return known


def expanded(one: Instruction, text: str, variables: Mapping[str, str], escape: str) -> str:
    """A word of an instruction with its variables; an error names the line."""
    from labcontainer.build.errors import DockerfileError

    try:
        return Lexer(escape, variables).word(text)
    except DockerfileError as error:
        raise one.line.wrong(error.problem) from None


def _stage(origin: From, before: list[Stage], arguments: Mapping[str, str], escape: str) -> Stage:
    base: str | int = expanded(origin, origin.image, arguments, escape)
    if not base:
        raise origin.line.wrong(f"base name ({origin.image}) should not be blank")
    if origin.name and any(stage.origin.name == origin.name for stage in before):
        raise origin.line.wrong(f"duplicate name {origin.name}")
    named = by_name(before, str(base)) if not str(base).isdecimal() else None
    base = named.number if named is not None else base
    platform = expanded(origin, origin.platform, arguments, escape)
    return Stage(len(before), origin, base, platform, ())


def _connect(stage: Stage, stages: list[Stage]) -> Stage:
    """The stage, with what it needs."""
    needs = [stage.base] if isinstance(stage.base, int) else []
    images = [stage.base] if isinstance(stage.base, str) and stage.base != "scratch" else []
    for step, word in _origins(stage):
        found = by_name(stages, word)
        if found is not None:
            needs.append(found.number)
        elif word.isdecimal():
            raise step.line.wrong(f"invalid from flag value {word}: there is no such stage")
        else:
            images.append(word)
    return stage.replace(needs=tuple(dict.fromkeys(needs)), images=tuple(dict.fromkeys(images)))


def _origins(stage: Stage) -> Iterator[tuple[Instruction, str]]:
    """Each stage or image that the steps take files from."""
    for step in stage.steps:
        if isinstance(step, Copy) and step.origin:
            yield step, step.origin
        elif isinstance(step, Run):
            for mount in instructions.mounts_of(step, lambda text: text):
                if mount.origin:
                    yield step, mount.origin
